import { describe, expect, test } from "bun:test";
import type { AgentKey } from "../../src/stores/mod.ts";
import { aClaim, anAgent, anAudit, aReplica, HOUR_MS, newEvent, statusOf, T0, TENANT } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

const ALL = { payload: true, log: true } as const;
const AGENT = { tenant: TENANT, id: "agent-1" } as const;

export function ownerContract(subject: Subject): void {
  const lease = (id: string) => subject.store.renewLease({ replica: aReplica(id), ttlMs: HOUR_MS, nowMs: T0 });
  const claim = (parts: Parameters<typeof aClaim>[1] = {}) =>
    subject.store.claimAgent(aClaim("agent-1", parts), anAudit({ action: "agent_connected" }));
  const release = (epoch: number): Promise<boolean> =>
    subject.store.releaseAgent(
      { ...AGENT, epoch, disconnectedAtMs: T0 + 70, lastSeenMs: T0 + 60, clockOffsetMs: 5 },
      anAudit({ action: "agent_disconnected" }),
    );
  const touch = (epoch: number): Promise<readonly AgentKey[]> =>
    subject.store.touchAgents([{ ...AGENT, epoch, status: "unhealthy", lastSeenMs: T0 + 33, clockOffsetMs: undefined }]);
  const move = (eventId: string, to: "assigned" | "queued", epoch: number) =>
    subject.store.moveDelivery({ tenant: TENANT, eventId, revision: 1, to, epoch, nowMs: T0 + 10, message: `to ${to}` });
  const agent = () => subject.store.getAgent(TENANT, "agent-1");
  /** Everything that a write of an owner could change. */
  const everything = async (ids: readonly string[]) => {
    const { store } = subject;
    return {
      agent: await agent(),
      events: await Promise.all(ids.map((id) => store.getEvent(TENANT, id, ALL))),
      counters: await store.counters(),
      open: await store.openCounts(),
      lastSeq: await store.lastSeq(),
      log: await store.logAfter({ tenant: TENANT, afterSeq: 0, limit: 1000 }),
      audit: await store.auditAfter(TENANT, 0, 1000),
      due: await store.nextDueMs(),
    };
  };

  describe("owners", () => {
    test("each claim is above the one before, above what the agent has seen, and says who had it", async () => {
      await lease("a");
      expect(await claim({ replicaId: "a" })).toEqual({ epoch: 1, paused: false, before: undefined });
      await lease("b");
      expect(await claim({ replicaId: "b", seenEpoch: 1 })).toEqual({ epoch: 2, paused: false, before: "a" });
      expect(await claim({ replicaId: "b" })).toEqual({ epoch: 3, paused: false, before: "b" });
      // The store was put back to an earlier state, and the agent knows: its number is not given out again.
      expect(await claim({ replicaId: "a", seenEpoch: 17 })).toEqual({ epoch: 18, paused: false, before: "b" });
      await subject.store.setPaused(TENANT, "agent-1", true, anAudit());
      expect(await claim({ replicaId: "without a lease", seenEpoch: 4 })).toEqual({ epoch: 19, paused: true, before: "a" });
      expect((await claim({ replicaId: "a" })).before).toBeUndefined();
      expect(await agent()).toMatchObject({ epoch: 20, replicaId: "a", status: "connected" });
      const other = await subject.store.claimAgent(aClaim("agent-1", { agent: { tenant: "other" } }), anAudit());
      expect(other.epoch).toBe(1);
    });

    test("epochs outlive the process", async () => {
      await claim({ seenEpoch: 6 });
      await subject.reopenIfDurable();
      expect(await agent()).toMatchObject({ epoch: 7 });
      expect(await touch(6)).toEqual([AGENT]);
      expect(await claim()).toMatchObject({ epoch: 8 });
    });

    test("a number above what most will ever see is kept to the last digit", async () => {
      const high = Number.MAX_SAFE_INTEGER - 10;
      expect((await claim({ seenEpoch: high })).epoch).toBe(high + 1);
      expect(await agent()).toMatchObject({ epoch: high + 1 });
      expect(await touch(high + 1)).toEqual([]);
      expect((await claim({ seenEpoch: 0 })).epoch).toBe(high + 2);
    });

    test("of many claims at once each has a number of its own, and the last holds", async () => {
      const claims = await Promise.all(Array.from({ length: 20 }, (_, at) => claim({ replicaId: `r${at}` })));
      expect(claims.map((one) => one.epoch).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, at) => at + 1));
      const last = claims.findIndex((one) => one.epoch === 20);
      expect(await agent()).toMatchObject({ epoch: 20, replicaId: `r${last}` });
    });

    test("who claimed it before is fenced, and changes nothing at all", async () => {
      const { store } = subject;
      const ids = ["waits", "handed", "runs"];
      const [waits, handed, runs] = [
        newEvent({ id: "waits" }),
        newEvent({ id: "handed", state: "assigned" }),
        newEvent({ id: "runs", state: "assigned" }),
      ];
      for (const input of [waits, handed, runs]) await store.createEvent(input);
      await store.applyStatus(statusOf(runs, "in_progress", { bootId: "b", seq: 1 }));
      expect((await claim({ replicaId: "a" })).epoch).toBe(1);
      expect((await claim({ replicaId: "b" })).epoch).toBe(2);
      const before = await everything(ids);
      const fenced = { verdict: "fenced", state: undefined, entry: undefined } as const;
      expect(await store.applyStatus(statusOf(handed, "in_progress", { epoch: 1, bootId: "b", seq: 1 }))).toEqual(fenced);
      expect(await store.applyStatus(statusOf(runs, "completed", { epoch: 1, bootId: "b", seq: 2, result: { success: true } }))).toEqual(
        fenced,
      );
      expect(await store.applyStatus(statusOf(newEvent({ id: "unknown" }), "completed", { epoch: 1 }))).toEqual(fenced);
      expect(await move("waits", "assigned", 1)).toEqual({ kind: "fenced" });
      expect(await move("handed", "assigned", 1)).toEqual({ kind: "fenced" });
      expect(await move("handed", "queued", 1)).toEqual({ kind: "fenced" });
      expect(await touch(1)).toEqual([AGENT]);
      expect(await release(1)).toBe(false);
      expect(await everything(ids)).toEqual(before);
      // Nothing of it was kept in memory either.
      await subject.reopenIfDurable();
      expect(await everything(ids)).toEqual(before);
      expect(await subject.store.applyStatus(statusOf(runs, "completed", { epoch: 2, bootId: "b", seq: 2 }))).toMatchObject({
        verdict: "apply",
      });
      expect(await move("waits", "assigned", 2)).toMatchObject({ kind: "moved", entry: { state: "assigned" } });
      expect(await touch(2)).toEqual([]);
      expect(await release(2)).toBe(true);
    });

    test("an event that was to be handed over by somebody else waits instead, and is taken in all the same", async () => {
      const { store } = subject;
      await claim();
      await claim();
      const input = newEvent({ id: "late", state: "assigned", epoch: 1 });
      const created = await store.createEvent(input);
      expect(created).toMatchObject({ kind: "created", delivery: { state: "queued", agentId: "agent-1" }, entries: [{ state: "queued" }] });
      expect(await store.getEvent(TENANT, "late", ALL)).toMatchObject({ attempts: 0, summary: { state: "queued" } });
      expect(await store.counters()).toMatchObject({ total: 1, created: 1, queued: 1, assigned: 0 });
      expect(await store.openCounts()).toMatchObject({ queued: 1, inFlight: 0 });
      expect(await store.nextDueMs()).toBe(T0 + HOUR_MS);
      expect(await store.createEvent(input)).toEqual({ kind: "duplicate", state: "queued" });
      expect((await store.listAudit({ tenant: TENANT, action: "event_received_http", limit: 5 })).items.length).toBe(1);
      await move("late", "assigned", 2);
      expect(await store.createEvent(newEvent({ id: "in time", state: "assigned", epoch: 2 }))).toMatchObject({
        delivery: { state: "assigned" },
      });
      // What waits is nobody's yet.
      expect(await store.createEvent(newEvent({ id: "waits", epoch: 1 }))).toMatchObject({ delivery: { state: "queued" } });
    });

    test("nothing is handed over past what waits, which may have come in elsewhere a moment ago", async () => {
      const { store } = subject;
      await claim();
      const direct = (id: string) => newEvent({ id, state: "assigned", epoch: 1 });
      // Others, and what must not start yet, are not waited for.
      await store.createEvent(newEvent({ id: "of another", agentId: "agent-2" }));
      await store.createEvent(newEvent({ id: "of another tenant", tenant: "other" }));
      await store.createEvent(newEvent({ id: "delayed", notBeforeMs: T0 + HOUR_MS, expiresAtMs: T0 + 2 * HOUR_MS }));
      expect(await store.createEvent(direct("first"))).toMatchObject({ delivery: { state: "assigned" } });
      const [, past] = await Promise.all([store.createEvent(newEvent({ id: "elsewhere", epoch: 0 })), store.createEvent(direct("past"))]);
      expect(past).toMatchObject({ kind: "created", delivery: { state: "queued" }, entries: [{ state: "queued" }] });
      expect(await store.getEvent(TENANT, "past", ALL)).toMatchObject({ attempts: 0, summary: { state: "queued" } });
      await move("elsewhere", "assigned", 1);
      expect(await store.createEvent(direct("after"))).toMatchObject({ delivery: { state: "queued" } });
      await move("past", "assigned", 1);
      await move("after", "assigned", 1);
      expect(await store.createEvent(direct("free"))).toMatchObject({ delivery: { state: "assigned" } });
    });

    test("nothing is handed over past what waited for its time, once that has come, though nobody has looked for it yet", async () => {
      const { store } = subject;
      await claim();
      await store.createEvent(newEvent({ id: "delayed", notBeforeMs: T0 + 1000, expiresAtMs: T0 + 2 * HOUR_MS }));
      const at = (id: string, receivedAtMs: number) =>
        store.createEvent({ ...newEvent({ id, state: "assigned", epoch: 1 }), receivedAtMs, expiresAtMs: T0 + HOUR_MS });
      expect(await at("before", T0 + 999)).toMatchObject({ delivery: { state: "assigned" } });
      expect(await at("past", T0 + 1000)).toMatchObject({ delivery: { state: "queued" } });
      await move("past", "assigned", 1);
      await move("delayed", "assigned", 1);
      expect(await at("after", T0 + 1001)).toMatchObject({ delivery: { state: "assigned" } });
    });

    test("a store that lost the newest epoch takes it from whoever has it, and fences those before", async () => {
      const { store } = subject;
      await claim();
      const [one, two] = [newEvent({ id: "one", state: "assigned", epoch: 5 }), newEvent({ id: "two" })];
      expect(await store.createEvent(one)).toMatchObject({ delivery: { state: "assigned" } });
      expect(await agent()).toMatchObject({ epoch: 5 });
      await store.createEvent(two);
      expect(await move("two", "assigned", 6)).toMatchObject({ kind: "moved" });
      expect(await move("two", "queued", 5)).toEqual({ kind: "fenced" });
      expect(await store.applyStatus(statusOf(two, "in_progress", { epoch: 7 }))).toMatchObject({ verdict: "apply" });
      expect((await store.applyStatus(statusOf(two, "completed", { epoch: 6 }))).verdict).toBe("fenced");
      await subject.reopenIfDurable();
      expect(await agent()).toMatchObject({ epoch: 7 });
      expect(await touch(8)).toEqual([]);
      expect(await release(7)).toBe(false);
      expect((await claim({ seenEpoch: 8 })).epoch).toBe(9);
      expect(await release(10)).toBe(true);
      expect(await agent()).toMatchObject({ status: "disconnected", epoch: 10 });
      expect((await claim({ seenEpoch: 8 })).epoch).toBe(11);
    });

    test("an agent whose claim the store lost stands as connected where it is, with the next word of it", async () => {
      const { store } = subject;
      await lease("before");
      await lease("here");
      const word = (epoch: number) => [
        { ...AGENT, epoch, status: "connected" as const, lastSeenMs: T0 + 33, clockOffsetMs: undefined, replicaId: "here" },
      ];
      await claim({ replicaId: "before" });
      expect(await store.touchAgents(word(2))).toEqual([]);
      expect(await agent()).toMatchObject({ status: "connected", replicaId: "here", epoch: 2 });
      await store.endLease("before", T0);
      expect(await agent()).toMatchObject({ status: "connected" });
      // Whoever had it before says farewell, and the store lost who has it now.
      await release(2);
      expect(await store.touchAgents(word(3))).toEqual([]);
      expect(await agent()).toMatchObject({ status: "connected", replicaId: "here", epoch: 3 });
      expect(await store.touchAgents([{ ...AGENT, epoch: 3, status: "unhealthy", lastSeenMs: T0 + 34, clockOffsetMs: undefined }])).toEqual(
        [],
      );
      expect(await agent()).toMatchObject({ status: "unhealthy", replicaId: "here" });
      await store.endLease("here", T0 + 50);
      expect(await agent()).toMatchObject({ status: "disconnected", disconnectedAtMs: T0 + 50 });
    });

    test("an agent without a row is nobody's: what it says counts, but it has to register", async () => {
      const { store } = subject;
      const input = newEvent({ id: "one", state: "assigned", epoch: 4 });
      expect(await store.createEvent(input)).toMatchObject({ delivery: { state: "assigned" } });
      expect(await move("one", "queued", 3)).toMatchObject({ kind: "moved" });
      expect(await store.applyStatus(statusOf(input, "in_progress", { epoch: 2 }))).toMatchObject({ verdict: "apply" });
      expect(await touch(9)).toEqual([AGENT]);
      expect(await release(9)).toBe(false);
      expect(await agent()).toBeUndefined();
      expect((await claim()).epoch).toBe(1);
      await store.removeAgent(TENANT, "agent-1", T0, anAudit());
      expect(await touch(1)).toEqual([AGENT]);
      expect(await release(1)).toBe(false);
      expect(await agent()).toBeUndefined();
      expect((await claim({ seenEpoch: 1 })).epoch).toBe(2);
    });

    test("its owner lets it go: it is disconnected since then, and its next claim goes on counting", async () => {
      const { store } = subject;
      await lease("replica-1");
      const { epoch } = await claim();
      expect(await release(epoch)).toBe(true);
      const gone = {
        status: "disconnected",
        disconnectedAtMs: T0 + 70,
        lastSeenMs: T0 + 60,
        clockOffsetMs: 5,
        epoch,
        replicaId: undefined,
      };
      expect(await agent()).toMatchObject(gone);
      expect((await store.listAudit({ tenant: TENANT, action: "agent_disconnected", limit: 5 })).items.length).toBe(1);
      expect(await claim({ agent: anAgent("agent-1", { connectedAtMs: T0 + 90 }) })).toEqual({
        epoch: epoch + 1,
        paused: false,
        before: undefined,
      });
      expect(await agent()).toMatchObject({ status: "connected", connectedAtMs: T0 + 90, disconnectedAtMs: undefined });
      // The one before has only now found out that its connection was over.
      expect(await release(epoch)).toBe(false);
      expect(await agent()).toMatchObject({ status: "connected", replicaId: "replica-1" });
      expect((await store.listAudit({ tenant: TENANT, action: "agent_disconnected", limit: 5 })).items.length).toBe(1);
    });

    test("the promises of the store are looked at, and it says nothing to whom nobody else told anything", async () => {
      for (const finding of await subject.store.inspect()) {
        expect(["ok", "warning", "error"]).toContain(finding.level);
        expect(finding.level === "ok" || finding.remedy !== undefined).toBe(true);
      }
      const heard: unknown[] = [];
      const stop = subject.store.hear({ words: (words) => heard.push(...words), gap: () => heard.push("gap") });
      await claim();
      await subject.store.createEvent(newEvent({ id: "mine" }));
      await subject.store.lastSeq();
      // What one did itself one knows already.
      expect(heard.filter((word) => word !== "gap")).toEqual([]);
      stop();
    });
  });
}
