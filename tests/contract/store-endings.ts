import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/protocol/mod.ts";
import type { Store } from "../../src/stores/mod.ts";
import { aClaim, anAgent, anAudit, aReplica, HOUR_MS, newEvent, statusOf, T0, TENANT, textOf } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

const GRACE_MS = 30_000;
const ALL = { payload: true, log: true } as const;

async function finish(store: Store, id: string, nowMs: number, payloadText?: string): Promise<void> {
  const input = newEvent({ id, state: "assigned", ...(payloadText === undefined ? {} : { payloadText }) });
  await store.createEvent(input);
  await store.applyStatus(statusOf(input, "in_progress", { nowMs }));
  await store.applyStatus(statusOf(input, "completed", { nowMs, result: { success: true } }));
}

export function endingContract(subject: Subject): void {
  const due = async (nowMs: number, limit = 100): Promise<string[]> =>
    (await subject.store.expireDue(nowMs, limit)).map((ended) => `${ended.eventId} ${ended.state}`);
  /** The agent comes, and stays as long as its control plane has a lease; answers its epoch. */
  const comes = async (): Promise<number> => {
    await subject.store.renewLease({ replica: aReplica("replica-1"), ttlMs: HOUR_MS, nowMs: T0 });
    return (await subject.store.claimAgent(aClaim("agent-1"), anAudit())).epoch;
  };
  const goes = (epoch: number): Promise<boolean> =>
    subject.store.releaseAgent(
      { tenant: TENANT, id: "agent-1", epoch, disconnectedAtMs: T0, lastSeenMs: T0, clockOffsetMs: undefined },
      anAudit(),
    );

  const sweep = (finishedBeforeMs: number, limit = 1000, auditBeforeMs = 0) =>
    subject.store.sweep({ finishedBeforeMs, auditBeforeMs, limit });

  describe("expiry", () => {
    test("what was never handed over expires at its time, once", async () => {
      const { store } = subject;
      await store.createEvent(newEvent({ id: "soon", expiresAtMs: T0 + 1000 }));
      await store.createEvent(newEvent({ id: "later", expiresAtMs: T0 + 2000 }));
      await comes();
      expect(await store.nextDueMs()).toBe(T0 + 1000);
      expect(await due(T0 + 999)).toEqual([]);
      const [ended] = await store.expireDue(T0 + 1000, 100);
      expect(ended).toMatchObject({
        tenant: TENANT,
        eventId: "soon",
        agentId: "agent-1",
        revision: 1,
        state: "expired",
        entry: { state: "expired", message: "Event expired (TTL exceeded)", phase: "" },
      });
      expect(await due(T0 + 1000)).toEqual([]);
      expect(await store.nextDueMs()).toBe(T0 + 2000);
      const again = await subject.reopenIfDurable();
      expect((await again.expireDue(T0 + 5000, 100)).map((one) => one.eventId)).toEqual(["later"]);
      expect(await again.expireDue(T0 + 5000, 100)).toEqual([]);
      expect(await again.nextDueMs()).toBeUndefined();
      expect(await again.counters()).toMatchObject({ expired: 2 });
      expect((await again.getEvent(TENANT, "soon", ALL))?.summary).toMatchObject({
        state: "expired",
        finished_at: "2026-02-10T10:00:01.000Z",
      });
      expect(await again.openCounts()).toMatchObject({ queued: 0, inFlight: 0 });
    });

    test("what was handed over is left to a connected agent, and ends as unknown without one", async () => {
      const { store } = subject;
      await store.createEvent(newEvent({ id: "handed", state: "assigned", expiresAtMs: T0 + 1000 }));
      expect(await store.nextDueMs()).toBe(T0 + 1000 + GRACE_MS);
      expect(await due(T0 + 999 + GRACE_MS)).toEqual([]);
      const epoch = await comes();
      expect(await due(T0 + 1000 + GRACE_MS)).toEqual([]);
      // Looked at again within the grace time, so that it cannot hide what is due after it.
      const nextMs = await store.nextDueMs();
      expect(nextMs).toBeGreaterThan(T0 + 1000 + GRACE_MS);
      expect(nextMs).toBeLessThanOrEqual(T0 + 1000 + 2 * GRACE_MS);
      await goes(epoch);
      const [ended] = await store.expireDue(T0 + 1000 + 2 * GRACE_MS, 100);
      expect(ended).toMatchObject({
        eventId: "handed",
        state: "failed",
        entry: { level: "error", state: "failed", result: { success: false, error_code: "OUTCOME_UNKNOWN" } },
      });
      const stored = await store.getEvent(TENANT, "handed", ALL);
      expect(stored?.result).toMatchObject({ success: false, error_code: "OUTCOME_UNKNOWN" });
      expect(stored?.summary.state).toBe("failed");
    });

    test("what waits again after a hand-over expires at its TTL", async () => {
      const { store } = subject;
      await store.createEvent(newEvent({ id: "back", state: "assigned", expiresAtMs: T0 + 1000 }));
      await store.moveDelivery({ tenant: TENANT, eventId: "back", revision: 1, to: "queued", epoch: 0, nowMs: T0 + 1, message: "" });
      expect(await store.nextDueMs()).toBe(T0 + 1000);
      expect(await due(T0 + 1000)).toEqual(["back expired"]);
    });

    test("what runs ends as unknown when its deadline and the grace have passed, connected or not", async () => {
      const { store } = subject;
      const own = newEvent({ id: "own deadline", state: "assigned", meta: { deadlineMs: 60_000 } });
      const usual = newEvent({ id: "usual deadline", state: "assigned" });
      for (const input of [own, usual]) {
        await store.createEvent(input);
        await store.applyStatus(statusOf(input, "in_progress", { nowMs: T0 + 500 }));
        // A later phase does not push the deadline away.
        await store.applyStatus(statusOf(input, "in_progress", { phase: "verifying", nowMs: T0 + 50_000 }));
      }
      expect(await store.nextDueMs()).toBe(T0 + 500 + 60_000 + GRACE_MS);
      expect(await due(T0 + 499 + 60_000 + GRACE_MS)).toEqual([]);
      const epoch = await comes();
      expect(await due(T0 + 500 + 60_000 + GRACE_MS)).toEqual(["own deadline failed"]);
      expect(await store.nextDueMs()).toBe(T0 + 500 + LIMITS.deadlineDefaultMs + GRACE_MS);
      expect(await due(T0 + 500 + LIMITS.deadlineDefaultMs + GRACE_MS)).toEqual(["usual deadline failed"]);
      expect((await store.applyStatus(statusOf(own, "completed", { epoch }))).verdict).toBe("late");
    });

    test("it is bounded, and those left to their agents do not count against it", async () => {
      const { store } = subject;
      const left = Array.from({ length: 300 }, (_, at) => newEvent({ id: `left-${at}`, state: "assigned", expiresAtMs: T0 }));
      const waiting = Array.from({ length: 150 }, (_, at) =>
        newEvent({ id: `waits-${at}`, agentId: "gone", expiresAtMs: T0 + GRACE_MS + at }),
      );
      await Promise.all([...left, ...waiting].map((input) => store.createEvent(input)));
      await comes();
      expect((await due(T0 + HOUR_MS, 100)).length).toBe(100);
      expect((await due(T0 + HOUR_MS, 100)).length).toBe(50);
      expect(await due(T0 + HOUR_MS, 100)).toEqual([]);
      expect(await store.openCounts()).toMatchObject({ queued: 0, inFlight: 300 });
    });
  });

  describe("retention", () => {
    test("finished and old goes with all that belongs to it, and frees the id; what is open stays for ever", async () => {
      const { store } = subject;
      await finish(store, "old", T0 + 1000);
      await finish(store, "young", T0 + 5000);
      await store.createEvent(newEvent({ id: "open" }));
      const counters = await store.counters();
      expect(await sweep(T0 + 1000)).toEqual({ events: 0, audit: 0, documents: 0 });
      expect(await sweep(T0 + 1001)).toEqual({ events: 1, audit: 0, documents: 0 });
      expect(await store.getEvent(TENANT, "old", ALL)).toBeUndefined();
      expect((await store.logAfter({ tenant: TENANT, afterSeq: 0, limit: 100 })).map((entry) => entry.event_id)).not.toContain("old");
      expect(await sweep(T0 + 100 * HOUR_MS)).toEqual({ events: 1, audit: 0, documents: 0 });
      expect((await store.getEvent(TENANT, "open", ALL))?.summary.state).toBe("queued");
      expect(await store.counters()).toEqual(counters);
      expect((await store.createEvent(newEvent({ id: "old", payloadText: '{"other":1}' }))).kind).toBe("created");
    });

    test("it goes in bounded steps and takes old audit entries along", async () => {
      const { store } = subject;
      for (let at = 0; at < 150; at += 1) await finish(store, `done-${at}`, T0 + at);
      expect(await sweep(T0 + HOUR_MS, 100, T0 + HOUR_MS)).toEqual({ events: 100, audit: 100, documents: 0 });
      expect(await sweep(T0 + HOUR_MS, 100, T0 + HOUR_MS)).toEqual({ events: 50, audit: 50, documents: 0 });
      expect(await sweep(T0 + HOUR_MS, 100, T0 + HOUR_MS)).toEqual({ events: 0, audit: 0, documents: 0 });
      const left = await store.logAfter({ tenant: TENANT, afterSeq: 0, limit: 100 });
      expect(left).toEqual([]);
    });

    test("a shared payload stays as long as one event uses it", async () => {
      const { store } = subject;
      const payloadText = JSON.stringify({ manifests: ["z".repeat(20_000)] });
      await finish(store, "one", T0 + 1, payloadText);
      await store.createEvent(newEvent({ id: "two", payloadText }));
      expect((await sweep(T0 + HOUR_MS)).events).toBe(1);
      expect(textOf((await store.getEvent(TENANT, "two", ALL))?.payload)).toBe(payloadText);
      await store.applyStatus(statusOf(newEvent({ id: "two" }), "completed"));
      expect((await sweep(T0 + HOUR_MS)).events).toBe(1);
      await store.createEvent(newEvent({ id: "three", payloadText }));
      expect(textOf((await store.getEvent(TENANT, "three", ALL))?.payload)).toBe(payloadText);
    });

    test("an event that is gone is gone, also when a late word about it came: its id stands for what comes after", async () => {
      const { store } = subject;
      await finish(store, "again", T0 + 1);
      const late = statusOf(newEvent({ id: "again" }), "in_progress");
      expect(await store.applyStatus(late)).toMatchObject({ verdict: "late" });
      expect((await sweep(T0 + HOUR_MS)).events).toBe(1);
      expect(await store.applyStatus(late)).toEqual({ verdict: "unknown", state: undefined, entry: undefined });
      await store.createEvent(newEvent({ id: "again" }));
      const move = { tenant: TENANT, eventId: "again", revision: 1, to: "assigned", epoch: 0, nowMs: T0 + 2, message: "" } as const;
      expect(await store.moveDelivery(move)).toMatchObject({ kind: "moved" });
    });

    test("numbers of log entries are never given twice", async () => {
      await finish(subject.store, "gone", T0 + 1);
      const before = await subject.store.lastSeq();
      await sweep(T0 + HOUR_MS);
      const store = await subject.reopenIfDurable();
      const created = await store.createEvent(newEvent());
      expect(created.kind === "created" && created.entries[0]?.seq).toBeGreaterThan(before);
    });
  });

  describe("removing an agent", () => {
    test("what waits is cancelled, what was handed over is unknown, what is finished stays", async () => {
      const { store } = subject;
      await store.importAgent(anAgent("agent-1"));
      const [waiting, handed, running, done] = [
        newEvent({ id: "waiting" }),
        newEvent({ id: "handed", state: "assigned" }),
        newEvent({ id: "running", state: "assigned" }),
        newEvent({ id: "done", state: "assigned" }),
      ];
      for (const input of [handed, running, done, waiting]) await store.createEvent(input);
      await store.createEvent(newEvent({ id: "elsewhere", agentId: "agent-2" }));
      await store.applyStatus(statusOf(running, "in_progress"));
      await store.applyStatus(statusOf(done, "completed"));
      const ended = await store.removeAgent(TENANT, "agent-1", T0 + 9000, anAudit({ action: "agent_removed", agentId: "agent-1" }));
      expect(ended?.map((one) => `${one.eventId} ${one.state}`).toSorted()).toEqual([
        "handed failed",
        "running failed",
        "waiting cancelled",
      ]);
      expect(ended?.find((one) => one.eventId === "running")?.entry.result?.error_code).toBe("OUTCOME_UNKNOWN");
      expect(await store.getAgent(TENANT, "agent-1")).toBeUndefined();
      expect((await store.getEvent(TENANT, "done", ALL))?.summary.state).toBe("completed");
      expect((await store.getEvent(TENANT, "elsewhere", ALL))?.summary.state).toBe("queued");
      expect((await store.listAudit({ tenant: TENANT, action: "agent_removed", limit: 5 })).items.length).toBe(1);
      expect(await store.removeAgent(TENANT, "agent-1", T0 + 9001, anAudit())).toBeUndefined();
    });

    test("also when very much waits for it", async () => {
      const { store } = subject;
      await store.importAgent(anAgent("agent-1"));
      await Promise.all(Array.from({ length: 500 }, () => store.createEvent(newEvent())));
      const ended = await store.removeAgent(TENANT, "agent-1", T0 + 1, anAudit());
      expect(ended?.length).toBe(500);
      expect(await store.openCounts()).toEqual({ queued: 0, inFlight: 0, byAgent: new Map() });
      expect(await store.counters()).toMatchObject({ cancelled: 500 });
    });
  });
}
