import { describe, expect, test } from "bun:test";
import { openDigest } from "../../src/protocol/mod.ts";
import { ANONYMOUS } from "../../src/security/mod.ts";
import { ableAgent, configMap, startBareCore } from "../support/bare-core.ts";
import { eventually } from "../support/eventually.ts";
import { REGISTRATION_0_1 } from "../support/wire-agent.ts";

describe("credit", () => {
  test("no more is handed over than the agent is ready to hold, and again when it says so", async () => {
    const cp = await startBareCore();
    await cp.submit({ id: "a" }, { id: "b" }, { id: "c" }, { id: "d" });
    const agent = await cp.connect(ableAgent({ credit: { deliveries: 2, bytes: 1e9 } }));
    expect(agent.events()).toEqual(["a", "b"]);
    agent.complete("a");
    await cp.advance(100);
    expect(agent.events()).toEqual(["a", "b", "c"]);
    agent.send({ type: "credit", deliveries: 0, bytes: 1e9 });
    agent.complete("b");
    agent.complete("c");
    await cp.advance(100);
    expect(agent.events()).toEqual(["a", "b", "c"]);
    await cp.submit({ id: "e" });
    const waiting = await cp.event("e");
    expect(waiting.summary.state).toBe("queued");
    expect(waiting.log.at(-1)?.message).toContain("takes nothing at the moment");
    agent.send({ type: "credit", deliveries: 1, bytes: 1e9 });
    await cp.advance(100);
    expect(agent.events()).toEqual(["a", "b", "c", "d"]);
    // A heartbeat says it again, should the frame have been lost.
    agent.send({ type: "heartbeat", credit: { deliveries: 9, bytes: 1e9 } });
    await cp.advance(100);
    expect(agent.events()).toEqual(["a", "b", "c", "d", "e"]);
  });

  test("inline payload in flight stays within the bytes the agent named, and one always fits", async () => {
    const cp = await startBareCore();
    const big = (id: string) => ({ id, payload: { manifests: [`${configMap(id)}data:\n  x: ${"y".repeat(10_000)}\n`] } });
    await cp.submit(big("a"), big("b"), big("c"));
    const agent = await cp.connect(ableAgent({ credit: { deliveries: 9, bytes: 15_000 } }));
    expect(agent.events()).toEqual(["a"]);
    await cp.submit(big("d"));
    expect(agent.events()).toEqual(["a"]);
    agent.complete("a");
    await cp.advance(100);
    expect(agent.events()).toEqual(["a", "b"]);
    agent.send({ type: "credit", deliveries: 9, bytes: 25_000 });
    await cp.advance(100);
    expect(agent.events()).toEqual(["a", "b", "c"]);
    // Less than one of them: still one at a time.
    agent.send({ type: "credit", deliveries: 9, bytes: 10 });
    agent.complete("b");
    await cp.advance(100);
    expect(agent.events()).toHaveLength(3);
    agent.complete("c");
    await cp.advance(100);
    expect(agent.events()).toEqual(["a", "b", "c", "d"]);
  });

  test("0.1 gets one at a time, and an agent that only acknowledges the window of the control plane", async () => {
    const cp = await startBareCore({ maxInFlight: 3 });
    for (const [id, registration, expected] of [
      ["old", REGISTRATION_0_1, 1],
      ["acks", ableAgent({ features: ["ack"], credit: { deliveries: 1, bytes: 1 } }), 3],
    ] as const) {
      for (let at = 0; at < 5; at += 1) await cp.submit({ id: `${id}-${at}`, target_agent: id });
      const agent = await cp.connect({ ...registration, id });
      expect(agent.events()).toHaveLength(expected);
    }
  });
});

describe("later starts", () => {
  test("an event is handed over when its time has come, and not before", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    const startMs = cp.ports.clock.now() + 90_000;
    await cp.submit({ id: "later", not_before: new Date(startMs).toISOString() }, { id: "delayed", delay: "40s" }, { id: "now" });
    expect(agent.events()).toEqual(["now"]);
    agent.ack("now");
    await cp.advance(41_000);
    expect(agent.events()).toEqual(["now", "delayed"]);
    agent.ack("delayed");
    await cp.advance(startMs - cp.ports.clock.now() - 5);
    expect(agent.events()).toEqual(["now", "delayed"]);
    await cp.advance(100);
    expect(agent.events()).toEqual(["now", "delayed", "later"]);
  });

  test("a clock that jumps forward is noticed within half a minute", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    const startMs = cp.ports.clock.now() + 3_600_000;
    await cp.submit({ id: "later", not_before: new Date(startMs).toISOString() });
    cp.setWallClock(startMs + 1);
    await cp.advance(30_100);
    expect(agent.events()).toEqual(["later"]);
  });

  test("an agent that was away gets it when it is back, and one timer a connection is all that is left behind", async () => {
    const cp = await startBareCore();
    for (let at = 0; at < 5; at += 1) await cp.submit({ id: `later-${at}`, delay: `${100 + at}s` });
    const before = cp.pending;
    const agent = await cp.connect();
    expect(cp.pending).toBeLessThanOrEqual(before + 1);
    await cp.advance(110_000);
    expect(agent.events()).toEqual(["later-0", "later-1", "later-2", "later-3", "later-4"]);
  });
});

describe("calling back", () => {
  async function cancel(cp: Awaited<ReturnType<typeof startBareCore>>, id: string): Promise<string> {
    const { dispatcher } = cp.core;
    const outcome = await cp.during(
      cp.store.cancelEvent({
        tenant: "default",
        eventId: id,
        nowMs: cp.ports.clock.now(),
        message: "cancelled",
        requestMessage: "cancellation asked for",
        audit: { tenant: "default", atMs: 0, principal: "test", action: "event_cancelled" },
      }),
    );
    if (outcome.kind === "requested") dispatcher.recall(outcome.agentId, id, outcome.revision);
    return outcome.kind;
  }

  test("an agent is told at once, again every ten seconds, after each hand-over, and no more when it has ended", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    await cp.submit({ id: "one" });
    agent.ack("one");
    expect(await cancel(cp, "one")).toBe("requested");
    expect(agent.ofType("cancel")).toEqual([{ type: "cancel", event_id: "one", revision: 1 }]);
    await cp.advance(25_000);
    expect(agent.ofType("cancel").length).toBeGreaterThanOrEqual(3);
    agent.hangUp();
    await cp.advance(10);
    const back = await cp.connect();
    const types = back.frames.map((frame) => frame["type"]);
    expect(types.indexOf("cancel")).toBe(types.indexOf("event") + 1);
    back.status("one", "cancelled", { phase: "failed", result: { success: false } });
    await cp.advance(100);
    expect((await cp.event("one")).summary.state).toBe("cancelled");
    const said = back.ofType("cancel").length;
    await cp.advance(60_000);
    expect(back.ofType("cancel")).toHaveLength(said);
  });

  test("a wish that comes while the event is on its way out is not lost, and one that comes too late is dropped", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    cp.core.dispatcher.recall("agent-1", "soon", 1);
    expect(agent.ofType("cancel")).toEqual([]);
    await cp.submit({ id: "soon" });
    expect(agent.ofType("cancel")).toHaveLength(1);
    cp.core.dispatcher.recall("agent-1", "gone", 1);
    await cp.advance(60_000);
    expect(agent.ofType("cancel").every((frame) => frame["event_id"] === "soon")).toBe(true);
  });

  test("who can be called back is known of agents that are away; 0.1 never", async () => {
    const cp = await startBareCore();
    const old = await cp.connect({ ...REGISTRATION_0_1, id: "old" });
    await cp.submit({ id: "held", target_agent: "old" });
    expect(old.events()).toEqual(["held"]);
    expect(await cancel(cp, "held")).toBe("refused");
    const able = await cp.connect(ableAgent({ id: "able" }));
    await cp.submit({ id: "kept", target_agent: "able" });
    expect(able.events()).toEqual(["kept"]);
    able.hangUp();
    await cp.advance(10);
    expect(await cancel(cp, "kept")).toBe("requested");
  });

  test("a newer revision is handed over, whatever is believed of the one before", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    await cp.submit({ id: "one" });
    // It ends without the dispatcher hearing of it.
    const status = {
      tenant: "default",
      eventId: "one",
      revision: 1,
      agentId: "agent-1",
      epoch: 1,
      bootId: undefined,
      seq: undefined,
      nowMs: 0,
    };
    const end = {
      state: "failed",
      phase: "failed",
      level: "error",
      message: "",
      details: undefined,
      result: undefined,
      timestamp: "",
    } as const;
    await cp.during(cp.store.applyStatus({ ...status, ...end }));
    await cp.during(cp.core.intake.retry("one", { principal: ANONYMOUS, remoteAddress: "", requestId: "", traceparent: undefined }));
    await cp.submit({ id: "two", object: "one" });
    await cp.advance(100);
    expect(agent.events()).toEqual(["one", "one", "two"]);
  });

  test("what is said of an older revision does not touch the newer one", async () => {
    const cp = await startBareCore({ maxInFlight: 1 });
    const agent = await cp.connect();
    await cp.submit({ id: "one" });
    agent.complete("one");
    await cp.advance(100);
    const retried = await cp.during(
      cp.core.intake.retry("one", {
        principal: ANONYMOUS,
        remoteAddress: "",
        requestId: "",
        traceparent: undefined,
      }),
    );
    expect(retried.revision).toBe(2);
    await cp.advance(50);
    expect(agent.events()).toEqual(["one", "one"]);
    // The old end is told once more.
    agent.send({ type: "status_update", event_id: "one", state: "completed", phase: "completed", revision: 1, boot_id: "boot-1", seq: 1 });
    await cp.submit({ id: "two" });
    await cp.advance(100);
    expect(agent.events()).toEqual(["one", "one"]);
  });
});

describe("counted statuses", () => {
  const acks = (agent: { ofType(type: string): Record<string, unknown>[] }): unknown[] =>
    agent.ofType("status_ack").map((frame) => frame["seq"]);

  test("after one that is missing nothing is taken until the agent begins again", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    await cp.submit({ id: "one" }, { id: "two" }, { id: "three" });
    agent.status("one", "in_progress", { nth: 0 });
    agent.status("two", "completed", { nth: 2, seq: 3 });
    agent.status("three", "completed", { nth: 3, seq: 4 });
    await cp.advance(200);
    expect(agent.ofType("status_resend")).toHaveLength(1);
    expect(acks(agent)).toEqual([1]);
    expect((await cp.event("two")).summary.state).toBe("assigned");
    agent.status("one", "completed", { nth: 0, round: 1, seq: 2 });
    agent.status("two", "completed", { nth: 1, round: 1, seq: 3 });
    // One from before comes late.
    agent.status("three", "completed", { nth: 3, seq: 4 });
    agent.status("three", "completed", { nth: 2, round: 1, seq: 4 });
    await cp.advance(200);
    expect(acks(agent)).toEqual([1, 4]);
    expect(agent.ofType("status_resend")).toHaveLength(1);
    for (const id of ["one", "two", "three"]) expect([id, (await cp.event(id)).summary.state]).toEqual([id, "completed"]);
  });

  test("a repeated one is dropped without a word", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    await cp.submit({ id: "one" });
    agent.status("one", "in_progress", { nth: 0, seq: 1 });
    agent.status("one", "in_progress", { nth: 1, seq: 2 });
    agent.status("one", "in_progress", { nth: 1, seq: 2 });
    agent.status("one", "completed", { nth: 2, seq: 3 });
    await cp.advance(200);
    expect(agent.ofType("status_resend")).toEqual([]);
    expect((await cp.event("one")).log.map(({ state }) => state)).toEqual(["assigned", "in_progress", "in_progress", "completed"]);
  });
});

describe("comparing what is open", () => {
  const digestOf = (...ids: string[]) => openDigest(ids.map((eventId) => ({ eventId, revision: 1 })));
  const listOf = (state: string, ...ids: string[]) => ({
    type: "open",
    deliveries: ids.map((event_id) => ({ event_id, revision: 1, state })),
  });

  test("the agent is asked after the resume, and again when the digests differ on two heartbeats running", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    expect(agent.ofType("resync")).toHaveLength(1);
    await cp.submit({ id: "one" });
    agent.ack("one");
    agent.send({ type: "heartbeat", open: digestOf("one") });
    agent.send({ type: "heartbeat", open: digestOf("one") });
    agent.send({ type: "heartbeat", open: digestOf() });
    agent.send({ type: "heartbeat", open: digestOf("one") });
    agent.send({ type: "heartbeat", open: digestOf() });
    expect(agent.ofType("resync")).toHaveLength(1);
    agent.send({ type: "heartbeat", open: digestOf() });
    expect(agent.ofType("resync")).toHaveLength(2);
    // It has lost the delivery: it gets it again.
    agent.send(listOf("waiting"));
    await cp.advance(50);
    expect(agent.events()).toEqual(["one", "one"]);
  });

  test("what the agent has not acknowledged may be on its way still and is not handed over again", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    await cp.submit({ id: "one" });
    agent.send(listOf("waiting"));
    await cp.advance(50);
    expect(agent.events()).toEqual(["one"]);
  });

  test("what the agent holds counts as in flight, is called back when it was cancelled, and is left to it when it has ended", async () => {
    const cp = await startBareCore({ maxInFlight: 2 });
    const first = await cp.connect();
    await cp.submit({ id: "held" }, { id: "cancelled" }, { id: "waits" });
    first.ack("held");
    first.status("cancelled", "cancelled", { phase: "failed" });
    await cp.advance(100);
    first.hangUp();
    await cp.advance(10);
    const agent = await cp.connect(ableAgent({ credit: { deliveries: 0, bytes: 0 } }));
    agent.send(listOf("running", "held", "cancelled", "unheard-of"));
    await cp.advance(50);
    expect(cp.core.dispatcher.inFlightOf("agent-1")).toBe(1);
    expect(agent.ofType("cancel")).toEqual([{ type: "cancel", event_id: "cancelled", revision: 1 }]);
    // Both agree on that now, so nobody asks again.
    const asked = agent.ofType("resync").length;
    for (let beat = 0; beat < 8; beat += 1) agent.send({ type: "heartbeat", open: digestOf("held", "cancelled", "unheard-of") });
    expect(agent.ofType("resync")).toHaveLength(asked);
    agent.send({ type: "credit", deliveries: 9, bytes: 1e9 });
    await cp.advance(50);
    expect(agent.events()).toEqual(["waits"]);
  });

  test("what waits here and is held there counts as handed over and is not sent", async () => {
    const cp = await startBareCore();
    await cp.submit({ id: "one" });
    const agent = await cp.connect(ableAgent({ credit: { deliveries: 0, bytes: 0 } }));
    agent.send(listOf("waiting", "one"));
    await cp.advance(50);
    expect((await cp.event("one")).summary.state).toBe("assigned");
    agent.send({ type: "credit", deliveries: 9, bytes: 1e9 });
    await cp.advance(50);
    expect(agent.events()).toEqual([]);
    agent.complete("one");
    await cp.advance(100);
    expect((await cp.event("one")).summary.state).toBe("completed");
  });
});

describe("large payloads", () => {
  const filler = "y".repeat(300_000);
  const large = (id: string) => ({ id, payload: { manifests: [`${configMap(id)}data:\n  x: ${filler}\n`] } });

  test("an agent that fetches gets the name of the payload, asking for it counts as life; another gets it whole, in order", async () => {
    const cp = await startBareCore({ eventRetryMax: 1 });
    await cp.submit(large("large"), { id: "small" });
    const agent = await cp.connect();
    const [frame] = agent.ofType("event");
    expect(frame?.["event"]).toMatchObject({ payload: {} });
    const ref = frame?.["payload"] as { digest: string; bytes: number; encoding: string };
    expect(ref).toMatchObject({ encoding: "zstd", bytes: expect.any(Number) as number });
    agent.ack("small");
    for (let at = 0; at < 12; at += 1) {
      agent.send({ type: "payload_get", digest: ref.digest, offset: 0 });
      await cp.advance(20_000);
    }
    expect(agent.events()).toEqual(["large", "small"]);
    expect(agent.ofType("payload_piece").length).toBeGreaterThan(0);
    expect(agent.closedWith).toBeUndefined();
    const whole = await cp.connect(ableAgent({ features: ["ack"] }));
    // Decoding is done by a thread, in real time.
    const given = (count: number) =>
      eventually(async () => {
        await cp.advance(10);
        return whole.events().length === count;
      });
    await given(2);
    expect(whole.events()).toEqual(["large", "small"]);
    expect(JSON.stringify(whole.frames[1]).length).toBeGreaterThan(300_000);
    // The same for one that arrives while the agent is here, with another right behind it.
    await cp.during(Promise.all([cp.submitting(large("large-2")), cp.submitting({ id: "small-2" })]));
    await given(4);
    const [first, second] = await Promise.all([cp.event("large-2"), cp.event("small-2")].map(async (one) => (await one).delivery.ord));
    const accepted = (first ?? 0) < (second ?? 0) ? ["large-2", "small-2"] : ["small-2", "large-2"];
    expect(whole.events().slice(2)).toEqual(accepted);
  });

  test("one whose payload is gone fails and blocks nobody", async () => {
    const cp = await startBareCore({
      around: (store) =>
        new Proxy(store, {
          get(target, name) {
            if (name === "payloadPiece") return () => Promise.resolve(undefined);
            const value: unknown = Reflect.get(target, name);
            return typeof value === "function" ? (value.bind(target) as unknown) : value;
          },
        }),
    });
    await cp.submit(large("large"), { id: "small" });
    const agent = await cp.connect(ableAgent({ features: ["ack"] }));
    await cp.advance(100);
    expect(agent.events()).toEqual(["small"]);
    expect((await cp.event("large")).result?.error_code).toBe("PAYLOAD_LOST");
  });
});

describe("whatever an agent sends", () => {
  test("a status that cannot be written as it came is stored without its details, and what follows is acknowledged", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    await cp.submit({ id: "one" });
    const deep = `${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}`;
    const frame = { type: "status_update", event_id: "one", state: "in_progress", phase: "received", revision: 1, boot_id: "boot-1" };
    const raw = JSON.stringify({ ...frame, seq: 1, details: "DEEP" }).replace('"DEEP"', deep);
    cp.core.registry.get("agent-1")?.receive(raw);
    agent.status("one", "completed", { seq: 2 });
    await cp.advance(200);
    expect((await cp.event("one")).summary.state).toBe("completed");
    expect(agent.ofType("status_ack").at(-1)).toMatchObject({ seq: 2 });
  });

  test("statuses that pile up because the store is away are bounded, and their agent is sent away to keep them itself", async () => {
    const cp = await startBareCore({
      around: (store) =>
        new Proxy(store, {
          get(target, name) {
            if (name === "applyStatus") return () => new Promise(() => undefined);
            const value: unknown = Reflect.get(target, name);
            return typeof value === "function" ? (value.bind(target) as unknown) : value;
          },
        }),
    });
    const agent = await cp.connect();
    const details = { filler: "x".repeat(1024 * 1024) };
    for (let at = 0; at < 70 && agent.closedWith === undefined; at += 1) agent.status("one", "in_progress", { details });
    expect(agent.closedWith).toBe(4004);
  });
});
