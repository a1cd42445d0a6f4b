import { describe, expect, test } from "bun:test";
import type { EventDetail } from "../../src/protocol/mod.ts";
import recordedHttp from "../fixtures/wire/http-0.1.json" with { type: "json" };
import { anEvent, problem, startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";

type Json = Record<string, unknown>;

const recorded = (await Bun.file(new URL("../fixtures/wire/frames-0.1.jsonl", import.meta.url)).text())
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as { from: "agent" | "control-plane"; frame: string });

const NAMESPACE_EVENT = {
  id: "test-event-1770722316",
  type: "k8s_resource",
  target_agent: "agent-cluster-agent-1",
  payload: {
    manifests: [
      "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: test-namespace-1770722316\n  labels:\n    created-by: transporter-test",
    ],
  },
  created_at: new Date().toISOString(),
  created_by: "manual-test",
  ttl: 3_600_000_000_000,
  priority: 0,
};

describe("the recorded requests of 0.1", () => {
  const CODES_0_1: Readonly<Record<string, string>> = {
    "event ID is required": "MISSING_EVENT_ID",
    "target agent is required": "MISSING_TARGET_AGENT",
    "event type is required": "MISSING_EVENT_TYPE",
    "k8s_resource event must have at least one manifest": "EMPTY_MANIFESTS",
    "unknown event type": "UNKNOWN_EVENT_TYPE",
  };

  test("get their answers", async () => {
    await using cp = await startCp();
    let compared = 0;
    for (const { request, status, body } of recordedHttp) {
      if (request.method !== "POST" || request.body === undefined || !request.body.startsWith("{")) continue;
      const answer = await problem(await cp.post("/events", request.body, {}), status);
      const words = body.replace("Event validation failed: ", "").trim();
      expect(answer.code).toBe(CODES_0_1[words] ?? "");
      expect(answer.detail).toStartWith(words);
      compared += 1;
    }
    expect(compared).toBe(5);
    expect((await problem(await cp.post("/events", "not json", {}), 400)).code).toBe("INVALID_JSON");
    expect((await problem(await cp.get("/events"), 405)).code).toBe("METHOD_NOT_ALLOWED");
    const overdue = await cp.post("/events", anEvent({ created_at: "2020-01-01T00:00:00Z" }), {});
    expect((await problem(overdue, 410)).code).toBe("EVENT_EXPIRED");
  });

  test("and an accepted one is answered in the same shape, byte for byte", async () => {
    await using cp = await startCp();
    await using _agent = await dialAgent(cp.wsUrl, { id: NAMESPACE_EVENT.target_agent });
    const first = recordedHttp.find(({ status }) => status === 202);
    const response = await cp.post("/events", NAMESPACE_EVENT, {});
    expect(response.status).toBe(202);
    // 0.1 ends its answers with a newline; apart from that they are the same text.
    expect(await response.text()).toBe(first?.body.trim() ?? "");
    expect(await (await cp.get("/health")).json()).toEqual({ agent_count: 1, status: "healthy", version: "0.0.0-test" });
    const metrics = (await (await cp.get("/metrics")).json()) as Json;
    const asRecorded = JSON.parse(recordedHttp.find(({ request }) => request.path === "/metrics")?.body ?? "") as Json;
    expect(Object.keys(metrics).toSorted()).toEqual(Object.keys(asRecorded).toSorted());
    expect(Object.keys(metrics["events"] as Json).toSorted()).toEqual(Object.keys(asRecorded["events"] as Json).toSorted());
    expect(metrics).toMatchObject({ agents: { connected: 1, total: 1 }, events: { total: 1, created: 1, assigned: 1, queued: 0 } });
  });
});

test("a 0.1 agent's whole recording is played against the control plane", async () => {
  await using cp = await startCp();
  const registration = recorded[0]?.frame ?? "";
  const agentId = (JSON.parse(registration) as Json)["id"] as string;
  await using agent = await dialAgent(cp.wsUrl, {}, { raw: registration });
  await eventually(() => agent.frames.length === 1);
  expect(agent.frames[0]).toEqual(JSON.parse(recorded[1]?.frame ?? "") as Json);

  const events: string[] = [];
  for (const { from, frame } of recorded.slice(2)) {
    const decoded = JSON.parse(frame) as Json;
    if (from === "agent") {
      agent.send(frame);
      continue;
    }
    // What 0.1's control plane sent is what a producer had handed in: hand it in, and expect the very same frame.
    const event = { ...(decoded["event"] as Json), created_at: new Date().toISOString() };
    expect((await cp.post("/events", event, {})).status).toBe(202);
    const id = (event as Json)["id"] as string;
    events.push(id);
    expect(await agent.event(id)).toEqual({ type: "event", event });
  }
  expect(events.length).toBeGreaterThanOrEqual(4);
  for (const id of events) {
    const terminal = id.startsWith("bad") ? "failed" : "completed";
    const detail = await eventually(async () => {
      const seen = await cp.json<EventDetail>(`/v1/events/${encodeURIComponent(id)}`);
      return seen.state === terminal ? seen : undefined;
    });
    // One entry of the control plane's own when it went out at once, two when it waited for the one before.
    const phases = detail.log.map(({ phase }) => phase).filter((phase, index) => index === 0 || phase !== "");
    if (terminal === "completed") {
      expect(phases).toEqual(["", "received", "validating", "applying", "verifying", "completed"]);
      expect(detail.result).toMatchObject({ success: true, resource_status: [{ status: "created" }] });
      expect(detail.result?.duration).toBeGreaterThan(1_000_000);
    } else {
      expect(phases).toEqual(["", "received", "validating", "failed"]);
      expect(detail.message).toContain('no matches for kind "Nope"');
    }
  }
  const view = await cp.json<Json>(`/v1/agents/${agentId}`);
  expect(view).toMatchObject({ status: "connected", protocol: 0, version: "0.1.0", cluster_provider: "kind" });
});

describe("a 0.1 agent", () => {
  test("gets one event at a time, the next after its terminal status, and none twice on a connection", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl);
    const events = [anEvent(), anEvent(), anEvent()];
    for (const event of events) expect((await cp.post("/events", event)).status).toBe(202);
    for (const [index, { id }] of events.entries()) {
      await agent.event(id);
      agent.report(id, "received");
      await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${id}`)).state === "in_progress");
      expect(agent.frames.filter((frame) => frame["type"] === "event")).toHaveLength(index + 1);
      agent.report(id);
    }
    await eventually(
      async () =>
        (await cp.json<Json>("/metrics"))["events"] !== undefined &&
        (await cp.json<{ events: { completed: number } }>("/metrics")).events.completed === 3,
    );
    for (const { id } of events) expect(agent.deliveries(id)).toBe(1);
  });

  test("is never sent a frame that it does not know, nor a field that is no string in its reply", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl);
    const event = anEvent();
    await cp.post("/events", event);
    await agent.event(event.id);
    agent.report(event.id);
    await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "completed");
    expect(Object.values(agent.frames[0] ?? {}).every((value) => typeof value === "string")).toBe(true);
    expect(Object.keys(agent.frames[0] ?? {}).toSorted()).toEqual(["message", "status"]);
    expect(agent.frames.slice(1).every((frame) => frame["type"] === "event" && Object.keys(frame).length === 2)).toBe(true);
  });

  test("is given what it had not finished again on a new connection", async () => {
    await using cp = await startCp();
    const event = anEvent();
    {
      await using agent = await dialAgent(cp.wsUrl);
      await cp.post("/events", event);
      await agent.event(event.id);
      agent.report(event.id, "received");
      await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "in_progress");
    }
    await using again = await dialAgent(cp.wsUrl);
    await again.event(event.id);
    again.report(event.id);
    await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "completed");
  });

  test("survives in spite of garbled frames", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl);
    const event = anEvent();
    await cp.post("/events", event);
    await agent.event(event.id);
    for (const garbage of [
      "{",
      '{"type":"status_update","event_id":"',
      "null",
      "[]",
      '"x"',
      '{"type":"status_update","event_id":"x","state":"nonsense","phase":"y"}',
      "\u0000",
    ])
      agent.send(garbage);
    agent.report(event.id);
    await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "completed");
  });
});

test("an agent that acknowledges gets its statuses acknowledged by boot and sequence", async () => {
  await using cp = await startCp();
  const registration = protocol2();
  await using agent = await dialAgent(cp.wsUrl, registration);
  expect(agent.frames[0]).toEqual({
    status: "registered",
    message: "Agent agent-1 registered successfully",
    protocol: "2",
    features: "ack",
  });
  const event = anEvent();
  await cp.post("/events", event);
  const frame = await agent.event(event.id);
  expect(frame).toMatchObject({ revision: 1, event: { id: event.id } });
  expect(frame["expires_in_ms"]).toBeGreaterThan(3_590_000);
  agent.send({ type: "event_ack", event_id: event.id, revision: 1 });
  agent.report(event.id);
  await eventually(() =>
    agent.frames.some((ack) => ack["type"] === "status_ack" && ack["boot_id"] === registration["boot_id"] && ack["seq"] === 5),
  );
  expect((await cp.json<EventDetail>(`/v1/events/${event.id}`)).log).toHaveLength(6);
});
