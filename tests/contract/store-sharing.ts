import { describe, expect, test } from "bun:test";
import type { Duty, ImportedEvent, Lease } from "../../src/stores/mod.ts";
import { eventually } from "../support/eventually.ts";
import { aClaim, anAudit, aReplica, HOUR_MS, newEvent, statusOf, T0, TENANT } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

const ALL = { payload: true, log: true } as const;
/** Long enough for a busy machine to come back in time, short enough to wait for its end. */
const SHORT_MS = 300;

function imported(id: string, parts: Partial<ImportedEvent> = {}): ImportedEvent {
  return {
    tenant: TENANT,
    principal: "migrated",
    id,
    agentId: "agent-1",
    type: "k8s_resource",
    labels: { team: "a" },
    receivedAtMs: T0 - HOUR_MS,
    finishedAtMs: T0 - HOUR_MS + 5000,
    state: "completed",
    phase: "completed",
    message: "all done",
    result: { success: true },
    log: [
      { timestamp: "2026-02-10T09:00:01Z", state: "in_progress", phase: "applying", level: "info", message: "applies" },
      { timestamp: "2026-02-10T09:00:05Z", state: "completed", phase: "completed", level: "info", message: "all done" },
    ],
    ...parts,
  };
}

export function sharingContract(subject: Subject): void {
  const renew = (id: string, ttlMs = HOUR_MS, nowMs = T0): Promise<Lease> =>
    subject.store.renewLease({ replica: aReplica(id), ttlMs, nowMs });
  const claim = (agentId: string, replicaId: string) => subject.store.claimAgent(aClaim(agentId, { replicaId }), anAudit());
  const statusOfAgent = async (id: string): Promise<string | undefined> => (await subject.store.getAgent(TENANT, id))?.status;

  describe("leases", () => {
    test("those who share the store know of each other, and leave", async () => {
      expect(await renew("b")).toEqual({ replicas: [aReplica("b")], lapsed: false, orphaned: [] });
      expect(await renew("a")).toEqual({ replicas: [aReplica("a"), aReplica("b")], lapsed: false, orphaned: [] });
      expect(await renew("b")).toEqual({ replicas: [aReplica("a"), aReplica("b")], lapsed: false, orphaned: [] });
      const { epoch } = await claim("agent-1", "a");
      await claim("agent-2", "b");
      await subject.store.endLease("a", T0 + 500);
      expect(await subject.store.getAgent(TENANT, "agent-1")).toMatchObject({
        status: "disconnected",
        disconnectedAtMs: T0 + 500,
        epoch,
        replicaId: undefined,
      });
      expect(await statusOfAgent("agent-2")).toBe("connected");
      expect(await renew("b")).toEqual({ replicas: [aReplica("b")], lapsed: false, orphaned: [] });
      // Whoever left may come back as if it were new.
      expect((await renew("a")).lapsed).toBe(false);
    });

    test("agents of one that is not heard of any more stand as disconnected, and are told once", async () => {
      await renew("stays");
      await renew("dies", SHORT_MS);
      await claim("agent-1", "dies");
      await claim("agent-2", "stays");
      await claim("agent-3", "dies");
      await claim("agent-3", "stays");
      const orphaned = await eventually(async () => {
        const lease = await renew("stays", HOUR_MS, T0 + 900);
        return lease.orphaned.length === 0 ? undefined : lease;
      });
      expect(orphaned).toEqual({ replicas: [aReplica("stays")], lapsed: false, orphaned: [{ tenant: TENANT, id: "agent-1" }] });
      expect(await subject.store.getAgent(TENANT, "agent-1")).toMatchObject({ status: "disconnected", disconnectedAtMs: T0 + 900 });
      expect(await Promise.all([statusOfAgent("agent-2"), statusOfAgent("agent-3")])).toEqual(["connected", "connected"]);
      expect((await renew("stays")).orphaned).toEqual([]);
      expect((await claim("agent-1", "stays")).before).toBeUndefined();
      expect(await renew("dies")).toMatchObject({ lapsed: true, orphaned: [] });
      expect(await renew("dies")).toMatchObject({ lapsed: false });
    });

    test("one that was only away and still has its agent says so with its next word of it", async () => {
      await renew("stays");
      await renew("away", SHORT_MS);
      const { epoch } = await claim("agent-1", "away");
      await eventually(async () => (await renew("stays")).orphaned.length === 1);
      expect(await statusOfAgent("agent-1")).toBe("disconnected");
      expect((await renew("away")).lapsed).toBe(true);
      const seen = { tenant: TENANT, id: "agent-1", epoch, status: "connected" as const, lastSeenMs: T0 + 9, clockOffsetMs: undefined };
      expect(await subject.store.touchAgents([seen])).toEqual([]);
      expect(await subject.store.getAgent(TENANT, "agent-1")).toMatchObject({
        status: "connected",
        replicaId: "away",
        disconnectedAtMs: undefined,
        lastSeenMs: T0 + 9,
      });
      expect((await renew("stays")).orphaned).toEqual([]);
      expect((await claim("agent-1", "stays")).before).toBe("away");
      expect(await subject.store.touchAgents([seen])).toEqual([{ tenant: TENANT, id: "agent-1" }]);
      expect(await subject.store.getAgent(TENANT, "agent-1")).toMatchObject({ replicaId: "stays" });
    });

    test("a lease that lapsed takes nothing from its owner: what it writes counts until somebody else claims the agent", async () => {
      const { store } = subject;
      await renew("stays");
      await renew("away", SHORT_MS);
      const { epoch } = await claim("agent-1", "away");
      const input = newEvent({ id: "one", state: "assigned", epoch });
      await store.createEvent(input);
      await eventually(async () => (await renew("stays")).orphaned.length === 1);
      expect(await store.applyStatus(statusOf(input, "in_progress", { epoch }))).toMatchObject({ verdict: "apply" });
      await claim("agent-1", "stays");
      expect((await store.applyStatus(statusOf(input, "completed", { epoch }))).verdict).toBe("fenced");
    });

    test("a duty is done by one, who keeps it by asking again, and goes on to another when it ends", async () => {
      const take = (id: string, ttlMs: number, duty: Duty = "expiry"): Promise<boolean> => subject.store.takeDuty(duty, id, ttlMs);
      expect(await take("a", HOUR_MS)).toBe(true);
      expect(await take("b", HOUR_MS)).toBe(false);
      expect(await take("b", HOUR_MS, "retention")).toBe(true);
      expect(await take("a", SHORT_MS, "retention")).toBe(false);
      expect(await take("a", SHORT_MS)).toBe(true);
      await eventually(() => take("b", HOUR_MS));
      expect(await take("a", HOUR_MS)).toBe(false);
      // Whoever leaves does not keep others waiting.
      await subject.store.endLease("b", T0);
      expect(await take("a", HOUR_MS)).toBe(true);
      expect(await take("a", HOUR_MS, "retention")).toBe(true);
    });
  });

  describe("marks", () => {
    test("a text under a name, over a restart too", async () => {
      const { store } = subject;
      expect(await store.mark("publish/x")).toBeUndefined();
      await store.saveMark("publish/x", "17");
      await store.saveMark("publish/y", "ünïcode\n\u0000 and 'quotes'");
      await store.saveMark("publish/x", "18");
      const again = await subject.reopenIfDurable();
      expect([await again.mark("publish/x"), await again.mark("publish/y"), await again.mark("publish")]).toEqual([
        "18",
        "ünïcode\n\u0000 and 'quotes'",
        undefined,
      ]);
      await again.saveMark("publish/x", "");
      expect(await again.mark("publish/x")).toBe("");
    });
  });

  describe("what comes from elsewhere", () => {
    test("an event that ended is there as it was, once, and is counted nowhere", async () => {
      const counters = await subject.store.counters();
      expect(await subject.store.importEvent(imported("old"))).toBe(true);
      expect(await subject.store.importEvent(imported("old", { message: "other" }))).toBe(false);
      const store = await subject.reopenIfDurable();
      const stored = await store.getEvent(TENANT, "old", ALL);
      expect(stored?.summary).toMatchObject({
        id: "old",
        type: "k8s_resource",
        target_agent: "agent-1",
        state: "completed",
        phase: "completed",
        message: "all done",
        labels: { team: "a" },
        principal: "migrated",
        received_at: "2026-02-10T09:00:00.000Z",
        finished_at: "2026-02-10T09:00:05.000Z",
        revision: 1,
      });
      expect(stored?.result).toEqual({ success: true });
      expect(stored?.log.map((entry) => [entry.timestamp, entry.state, entry.phase, entry.level, entry.message])).toEqual([
        ["2026-02-10T09:00:01Z", "in_progress", "applying", "info", "applies"],
        ["2026-02-10T09:00:05Z", "completed", "completed", "info", "all done"],
      ]);
      expect(await store.counters()).toEqual(counters);
      expect(await store.openCounts()).toMatchObject({ queued: 0, inFlight: 0 });
      expect(await store.nextDueMs()).toBeUndefined();
      expect((await store.listEvents({ tenant: TENANT, limit: 5, states: ["completed"] })).items.map((item) => item.id)).toEqual(["old"]);
    });

    test("its id is taken, nobody can ask for it again, and a late word about it changes nothing", async () => {
      const { store } = subject;
      await store.importEvent(imported("old", { state: "failed", phase: "failed", result: undefined, log: [] }));
      expect(await store.createEvent(newEvent({ id: "old" }))).toEqual({ kind: "conflict" });
      const retried = await store.retryEvent({
        tenant: TENANT,
        eventId: "old",
        principal: "p",
        nowMs: T0,
        message: "again",
        audit: anAudit(),
      });
      expect(retried).toEqual({ kind: "refused", state: "failed" });
      expect((await store.applyStatus(statusOf(newEvent({ id: "old" }), "completed"))).verdict).toBe("late");
      expect((await store.getEvent(TENANT, "old", ALL))?.summary.state).toBe("failed");
      await store.createEvent(newEvent({ id: "new" }));
      expect(await store.importEvent(imported("new"))).toBe(false);
      expect((await store.getEvent(TENANT, "new", ALL))?.summary.state).toBe("queued");
    });

    test("a listing since a time finds what is newer, wherever it came in", async () => {
      const { store } = subject;
      const day = 24 * HOUR_MS;
      await store.createEvent(newEvent({ id: "today" }));
      await store.importEvent(imported("a month ago", { receivedAtMs: T0 - 30 * day, finishedAtMs: T0 - 30 * day }));
      const since = await store.listEvents({ tenant: TENANT, limit: 5, sinceMs: T0 - day });
      expect(since.items.map((item) => item.id)).toEqual(["today"]);
      expect((await store.sweep({ finishedBeforeMs: T0 - day, auditBeforeMs: 0, limit: 10 })).events).toBe(1);
      expect(await store.getEvent(TENANT, "a month ago", ALL)).toBeUndefined();
      expect(await store.logAfter({ tenant: TENANT, eventId: "a month ago", afterSeq: 0, limit: 9 })).toEqual([]);
    });

    test("counters are added once for each source", async () => {
      const { store } = subject;
      await store.createEvent(newEvent({ id: "own" }));
      expect(await store.importCounters("redis 1", { total: 10, completed: 7, failed: 3 })).toBe(true);
      expect(await store.importCounters("redis 1", { total: 10, completed: 7, failed: 3 })).toBe(false);
      expect(await store.importCounters("redis 2", { total: 1, cancelled: 1 })).toBe(true);
      const again = await subject.reopenIfDurable();
      expect(await again.importCounters("redis 2", { total: 1, cancelled: 1 })).toBe(false);
      expect(await again.counters()).toMatchObject({ total: 12, created: 1, queued: 1, completed: 7, failed: 3, cancelled: 1 });
    });
  });

  describe("the audit from a place on", () => {
    test("oldest first, bounded, of one tenant", async () => {
      const { store } = subject;
      for (const action of ["a", "b", "c"])
        await store.appendAudit(anAudit({ action, eventId: `event ${action}`, details: { of: action } }));
      await store.appendAudit(anAudit({ tenant: "other", action: "foreign" }));
      await store.appendAudit(anAudit({ action: "d" }));
      const first = await store.auditAfter(TENANT, 0, 2);
      expect(first.map((entry) => [entry.action, entry.event_id, entry.details])).toEqual([
        ["a", "event a", { of: "a" }],
        ["b", "event b", { of: "b" }],
      ]);
      const rest = await store.auditAfter(TENANT, first.at(-1)?.seq ?? 0, 10);
      expect(rest.map((entry) => entry.action)).toEqual(["c", "d"]);
      expect(await store.auditAfter(TENANT, rest.at(-1)?.seq ?? 0, 10)).toEqual([]);
      expect((await store.listAudit({ tenant: TENANT, limit: 10 })).items.toReversed()).toEqual([...first, ...rest]);
    });
  });
}
