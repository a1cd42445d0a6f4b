import { describe, expect, test } from "bun:test";
import { join, resolve } from "node:path";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { type QueueMessage, type Settlement, openQueue } from "../../src/queues/mod.ts";
import { startCp } from "../support/cp.ts";
import { runCli, startCli, temporaryDirectory } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { uniqueName } from "../support/kube.ts";
import { SKIP_REDIS, sharedRedis } from "../support/redis.ts";

const NAMESPACE = join(resolve(import.meta.dir, "../.."), "examples/manifests/namespace.yaml");
const SEND = ["send", "k8s", "--agent", "agent-1", "-f", NAMESPACE];

/** A queue of the test's own, and whatever takes from it. */
async function freshQueue() {
  const { url } = await sharedRedis();
  const address = `${url}/0?stream=${uniqueName("send")}`;
  const queue = await openQueue(address, { log: silentLogger, ports: systemPorts });
  return {
    url: address,
    queue,
    /** Calls for each message; what it resolves to is settled. */
    async consume(take: (message: QueueMessage) => Promise<Settlement | void>) {
      const consumption = await queue.consume({
        window: 8,
        onState: () => undefined,
        take: async (message) => (await take(message)) ?? { kind: "done" },
      });
      return { [Symbol.asyncDispose]: () => consumption.stop(1000) };
    },
    [Symbol.asyncDispose]: () => queue.close(),
  };
}

describe.skipIf(SKIP_REDIS)("send through a queue", () => {
  test("says what 0.1's producer said, and leaves the event there, by its priority", async () => {
    await using place = await freshQueue();
    const run = await runCli([...SEND, "--queue", place.url, "--id", "deploy-1", "--priority", "5", "--ttl=1h"]);
    expect(run).toMatchObject({ code: 0, out: "deploy-1\n" });
    const { location, name } = place.queue.info;
    expect(run.err.split("\n").filter((line) => !line.startsWith("  Created At:"))).toEqual([
      "Publishing event deploy-1 to agent agent-1",
      `Sending event to queue ${name} at ${location}...`,
      "Event is in the queue",
      "Event published successfully!",
      "",
      "Event Details:",
      "  ID:           deploy-1",
      "  Type:         k8s_resource",
      "  Target Agent: agent-1",
      "  Created By:   cli",
      "  TTL:          1h0m0s",
      "  Manifests:    1 file(s)",
      "A control plane takes it from there; follow it with: transporter watch deploy-1",
      "",
    ]);
    expect((await place.queue.status()).waiting).toEqual({ urgent: 1, normal: 0, low: 0 });
    const again = await runCli([...SEND, "--queue", place.url, "--mode", "redis", "--id", "deploy-1", "--priority", "5", "-o", "json"]);
    expect(again.err).toContain("The queue has this event already");
    expect(JSON.parse(again.out)).toEqual({ event_id: "deploy-1", status: "queued", message: "Event is in the queue" });
    const taken: QueueMessage[] = [];
    await using _consumer = await place.consume(async (message) => void taken.push(message));
    await eventually(() => taken.length === 1);
    expect(taken[0]).toMatchObject({ id: "deploy-1", band: "urgent" });
    expect(JSON.parse(new TextDecoder().decode(taken[0]?.body))).toMatchObject({
      id: "deploy-1",
      target_agent: "agent-1",
      priority: 5,
      payload: { manifests: [await Bun.file(NAMESPACE).text()] },
    });
  });

  test("--mode http goes past a queue that is set for others", async () => {
    await using place = await freshQueue();
    await using cp = await startCp();
    const env = { TRANSPORTER_QUEUE: place.url };
    const run = await runCli([...SEND, "--mode", "http", "--cp-url", cp.url], { env });
    expect(run.err).toContain("Event accepted by Control Plane");
    expect((await runCli(SEND, { env })).err).toContain("Event is in the queue");
    expect((await place.queue.status()).waiting.normal).toBe(1);
  });

  test("--wait follows it at the control plane as soon as that knows it", async () => {
    await using place = await freshQueue();
    await using cp = await startCp();
    const sending = startCli([...SEND, "--queue", place.url, "--id", "later", "--cp-url", cp.url, "--wait", "--wait-timeout=30s"]);
    await eventually(() => sending.err().includes("Event Details"));
    await using _consumer = await place.consume(async ({ body }) => {
      await fetch(`${cp.url}/events`, { method: "POST", body });
    });
    await eventually(() => sending.err().includes("Event waits: agent agent-1 is not connected"));
    await fetch(`${cp.url}/v1/events/later`, { method: "DELETE" });
    const ended = await sending.ended;
    expect(ended.code).toBe(1);
    expect(ended.err).toContain("event later was cancelled");
  });

  test("--wait ends when the event has gone to the dead letters, now and not by an earlier letter", async () => {
    await using place = await freshQueue();
    await using cp = await startCp();
    await using _consumer = await place.consume(async () => ({ kind: "dead", code: "EVENT_TTL", reason: "too late", eventId: "x" }));
    const args = [...SEND, "--queue", place.url, "--id", "x", "--cp-url", cp.url, "--wait"];
    const run = await runCli([...args, "--wait-timeout=30s"], { terminal: 80 });
    expect(run.code).toBe(1);
    expect(run.err).toContain("event x was refused: too late (EVENT_TTL)");
    // Sent again under its id it is a message of its own, with a letter of its own.
    const again = await runCli([...args, "--wait-timeout=30s"]);
    expect(again.code).toBe(1);
    expect(again.err).toContain("Event is in the queue");
  });

  test("--wait-timeout counts while it lies in the queue as well", async () => {
    await using place = await freshQueue();
    await using cp = await startCp();
    const run = await runCli([...SEND, "--queue", place.url, "--id", "x", "--cp-url", cp.url, "--wait", "--wait-timeout=300ms"]);
    expect(run.code).toBe(8);
    expect(run.err).toContain("event x did not finish within 300ms");
  });

  test("a queue that refuses the password is exit 3 with its address, and the password is never shown", async () => {
    const { url, port } = await sharedRedis();
    const run = await runCli([...SEND, "--queue", `${url.replace("//", "//somebody:hunter2@")}/0`]);
    expect(run.code).toBe(3);
    expect(run.err).toContain(`Redis at redis://127.0.0.1:${port}/0 refuses this user and password`);
    expect(run.err).toContain("use TRANSPORTER_QUEUE instead");
    expect(run.err).not.toContain("hunter2");
  });

  test("one that is too large is refused by name before anything is sent", async () => {
    await using place = await freshQueue();
    await using files = await temporaryDirectory();
    const large = await files.file("large.yaml", `kind: ConfigMap\ndata: {x: "${"x".repeat(33 * 1024 * 1024)}"}\n`);
    const run = await runCli(["send", "k8s", "--agent", "a", "-f", large, "--id", "large", "--queue", place.url]);
    expect(run.code).toBe(2);
    expect(run.err).toMatch(/event large has \d+ bytes, and a message in \S+ at \S+ may have 33554432/);
    expect(await place.queue.status()).toMatchObject({ waiting: { normal: 0 } });
  });
});
