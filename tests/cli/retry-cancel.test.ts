import { describe, expect, test } from "bun:test";
import type { EventDetail } from "../../src/protocol/mod.ts";
import { runCli, startCli } from "../support/cli.ts";
import { anEvent, startCp, type TestControlPlane } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";

const MANIFEST = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n";
type Json = Record<string, unknown>;

async function stateOf(cp: TestControlPlane, id: string): Promise<string> {
  return (await cp.json<EventDetail>(`/v1/events/${id}`)).state;
}

describe("transporter retry", () => {
  test("makes the next revision, and says so in every format", async () => {
    await using cp = await startCp();
    for (const id of ["one", "two"]) {
      await cp.post("/v1/events", anEvent({ id, target_agent: "absent" }));
      await cp.delete(`/v1/events/${id}`);
    }
    expect(await runCli(["retry", "one", "two", "--cp-url", cp.url])).toEqual({
      code: 0,
      out: "event/one accepted as revision 2\nevent/two accepted as revision 2\n",
      err: "",
    });
    const again = await runCli(["retry", "one", "nobody", "--cp-url", cp.url]);
    expect(again).toMatchObject({ code: 5, out: "" });
    expect(again.err).toContain("code:  EVENT_NOT_RETRYABLE");
    expect(again.err).toContain("code:  EVENT_NOT_FOUND");
    await cp.delete("/v1/events/one");
    expect(JSON.parse((await runCli(["retry", "one", "-o", "json", "--cp-url", cp.url])).out)).toMatchObject({
      event_id: "one",
      revision: 3,
      status: "accepted",
    });
    expect((await runCli(["describe", "event", "one", "--cp-url", cp.url])).out).toMatch(/Revision: +3\n/);
  });

  test("--wait follows that revision to its end and nothing of the one before", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    await cp.post("/v1/events", anEvent({ id: "one" }));
    await agent.event("one");
    agent.report("one", "failed");
    await eventually(async () => (await stateOf(cp, "one")) === "failed");
    const cli = startCli(["retry", "one", "--wait", "--cp-url", cp.url]);
    await eventually(() => agent.deliveries("one") === 2);
    agent.report("one", "completed", 2);
    const run = await cli.ended;
    expect(run).toMatchObject({ code: 0 });
    expect(run.err).toContain("Event tried again as revision 2");
    expect(run.err).toContain("completed");
    expect(run.err).not.toContain("validation failed");
    expect(run.out).toContain("Namespace");
  });
});

describe("transporter cancel", () => {
  const recallable = (): Json => protocol2({ features: ["ack", "cancel"] });

  test("asks for what is with its agent, says so, and with --wait waits for its end", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, recallable());
    for (const id of ["asked", "stopped", "late"]) {
      await cp.post("/v1/events", anEvent({ id }));
      await agent.event(id);
      agent.report(id, "received");
      await eventually(async () => (await stateOf(cp, id)) === "in_progress");
    }
    const asked = await runCli(["cancel", "asked", "--cp-url", cp.url]);
    expect(asked).toMatchObject({ code: 0, out: "event/asked cancelling\n" });
    expect(asked.err).toContain("transporter watch asked");
    expect(await agent.frame("cancel")).toMatchObject({ event_id: "asked", revision: 1 });
    expect((await runCli(["get", "events", "--cp-url", cp.url])).out).toContain("in_progress,cancelling");
    expect((await runCli(["describe", "event", "asked", "--cp-url", cp.url])).out).toContain("in_progress, cancelling");
    const stopped = startCli(["cancel", "stopped", "--wait", "--cp-url", cp.url]);
    await eventually(() => agent.frames.some((frame) => frame["type"] === "cancel" && frame["event_id"] === "stopped"));
    agent.end("stopped", "cancelled");
    expect(await stopped.ended).toMatchObject({ code: 0, out: "event/stopped cancelled\n" });
    const late = startCli(["cancel", "late", "--wait", "--cp-url", cp.url]);
    await eventually(() => agent.frames.some((frame) => frame["type"] === "cancel" && frame["event_id"] === "late"));
    agent.end("late", "completed");
    const told = await late.ended;
    expect(told).toMatchObject({ code: 5, out: "" });
    expect(told.err).toContain("event late ended as completed before it could be stopped");
  });
});

describe("transporter send", () => {
  const send = (cp: TestControlPlane, args: readonly string[]): ReturnType<typeof runCli> =>
    runCli(["send", "k8s", "--agent", "absent", "-f", "-", "--cp-url", cp.url, ...args], { stdin: MANIFEST });

  test("--idempotency-key makes the same event of the same key, however often it is sent", async () => {
    await using cp = await startCp();
    const first = await send(cp, ["--idempotency-key", "release-7"]);
    expect(first.code).toBe(0);
    expect(first.err).toContain("Publishing event with key release-7 to agent absent");
    expect(first.err).toContain(`ID:           ${first.out.trim()}`);
    expect((await send(cp, ["--idempotency-key", "release-7"])).out).toBe(first.out);
    expect((await send(cp, ["--idempotency-key", "release-7", "--priority", "2"])).code).toBe(5);
    expect((await send(cp, ["--idempotency-key", "release-7", "--id", "mine"])).code).toBe(2);
    expect((await send(cp, ["--idempotency-key", "two words"])).code).toBe(2);
    expect((await cp.json<{ items: unknown[] }>("/v1/events")).items).toHaveLength(1);
    expect(JSON.parse((await send(cp, ["--idempotency-key", "x", "--dry-run=client", "-o", "json"])).out)).not.toHaveProperty("id");
  });

  test("takes when to start and how to try again", async () => {
    await using cp = await startCp();
    const at = "2099-01-01T00:00:00Z";
    const dry = await send(cp, ["--dry-run=client", "-o", "json", "--not-before", at, "--delay", "10m", "--retry-attempts", "3"]);
    expect(JSON.parse(dry.out)).toMatchObject({ not_before: at, delay: 600_000_000_000, retry: { attempts: 3 } });
    expect((await send(cp, ["--not-before", "tomorrow"])).err).toContain("RFC 3339");
    expect((await send(cp, ["--not-before", at])).err).toContain("more than ten years ahead");
    const sent = await send(cp, ["--id", "later", "--delay", "1h", "--retry-backoff", "2s", "--retry-max-backoff", "30s"]);
    expect(sent.code).toBe(0);
    const { out } = await runCli(["describe", "event", "later", "--cp-url", cp.url]);
    expect(out).toMatch(/Not Before: +\d{4}-/);
    expect(out).toMatch(/Retry: +8 attempts, waits of at most 2s, doubled up to 30s/);
    expect((await runCli(["get", "events", "-o", "wide", "--cp-url", cp.url])).out).toContain("NOT BEFORE");
  });

  test("an event file may say the same, and a flag goes over one part of it", async () => {
    const file = `type: k8s_resource\ntarget_agent: absent\ndelay: 5m\nretry:\n  attempts: 2\n  backoff: 3s\npayload:\n  manifests:\n    - |\n      apiVersion: v1\n      kind: Namespace\n      metadata:\n        name: x\n`;
    const run = await runCli(["send", "from-file", "-f", "-", "--dry-run=client", "-o", "json", "--retry-attempts", "9"], { stdin: file });
    expect(JSON.parse(run.out)).toMatchObject({ delay: 300_000_000_000, retry: { attempts: 9, backoff: 3_000_000_000 } });
  });

  test("waits out a control plane that is away for a moment, and sends the very same", async () => {
    const asked: string[] = [];
    const server = Bun.serve({
      port: 0,
      async fetch(request) {
        asked.push(await request.text());
        if (asked.length < 3) return new Response("away", { status: 503, headers: { "retry-after": "0" } });
        return Response.json({ event_id: "once", message: "m", status: "accepted" }, { status: 202 });
      },
    });
    const run = await runCli(["send", "k8s", "--agent", "a", "-f", "-", "--cp-url", `http://127.0.0.1:${server.port}`], {
      stdin: MANIFEST,
    });
    expect(run).toMatchObject({ code: 0, out: "once\n" });
    expect(asked).toHaveLength(3);
    expect(new Set(asked).size).toBe(1);
    await server.stop(true);
  });
});
