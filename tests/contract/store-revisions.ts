import { describe, expect, test } from "bun:test";
import { TERMINAL_STATES } from "../../src/protocol/mod.ts";
import type { RetryOutcome, Store } from "../../src/stores/mod.ts";
import { aClaim, anAudit, HOUR_MS, newEvent, statusOf, T0, TENANT } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

const ALL = { payload: true, log: true } as const;
const NOBODY: ReadonlySet<string> = new Set();

export function revisionContract(subject: Subject): void {
  const retry = (eventId: string, nowMs: number, tenant = TENANT): Promise<RetryOutcome> =>
    subject.store.retryEvent({
      tenant,
      eventId,
      principal: "somebody",
      nowMs,
      message: "Event queued again",
      audit: anAudit({ action: "event_retried", eventId }),
    });
  const cancel = (eventId: string, nowMs: number) =>
    subject.store.cancelEvent({
      tenant: TENANT,
      eventId,
      nowMs,
      message: "Event cancelled",
      requestMessage: "Cancellation asked for",
      audit: anAudit({ action: "event_cancelled", eventId }),
    });
  /** The agent registers with these features; answers its epoch. */
  const comes = async (features: string[]): Promise<number> =>
    (await subject.store.claimAgent(aClaim("agent-1", { agent: { registration: { protocol: 2, features } } }), anAudit())).epoch;
  const fail = async (id: string, nowMs: number): Promise<void> => {
    const input = newEvent({ id, state: "assigned" });
    await subject.store.createEvent(input);
    await subject.store.applyStatus(statusOf(input, "in_progress", { bootId: "a", seq: 1, revision: 1, nowMs }));
    await subject.store.applyStatus(
      statusOf(input, "failed", { bootId: "a", seq: 2, revision: 1, nowMs, result: { success: false, error_code: "OLD" } }),
    );
  };
  const positions = (store: Store, keys: readonly (readonly [string, number])[], agentId = "agent-1") =>
    store.positions(
      TENANT,
      agentId,
      keys.map(([eventId, revision]) => ({ eventId, revision })),
    );

  describe("trying again", () => {
    test("an ended event gets a delivery of its own with a full TTL, which is what the event is from then on", async () => {
      await fail("again", T0 + 1000);
      const first = await subject.store.getEvent(TENANT, "again", ALL);
      const outcome = await retry("again", T0 + 5 * HOUR_MS);
      expect(outcome).toMatchObject({
        kind: "created",
        delivery: {
          eventId: "again",
          agentId: "agent-1",
          revision: 2,
          state: "queued",
          expiresAtMs: T0 + 6 * HOUR_MS,
          cancelRequested: false,
          payloadBytes: first?.delivery.payloadBytes,
        },
        entry: { revision: 2, state: "queued", message: "Event queued again", event_id: "again" },
      });
      if (outcome.kind !== "created") throw new Error("not created");
      expect(outcome.delivery.ord).toBeGreaterThan(first?.delivery.ord ?? Number.MAX_SAFE_INTEGER);
      const store = await subject.reopenIfDurable();
      const stored = await store.getEvent(TENANT, "again", ALL);
      expect(stored).toMatchObject({ attempts: 0, summary: { revision: 2, state: "queued", principal: "local" } });
      expect(stored?.result).toBeUndefined();
      expect(stored?.summary.finished_at).toBeUndefined();
      expect(stored?.payload).toEqual(first?.payload);
      expect(stored?.log).toEqual([...(first?.log ?? []), outcome.entry]);
      expect(await store.logAfter({ tenant: TENANT, eventId: "again", afterSeq: 0, limit: 100 })).toEqual([...(stored?.log ?? [])]);
      expect(await store.logAfter({ tenant: TENANT, eventId: "again", afterSeq: first?.log.at(-1)?.seq ?? -1, limit: 100 })).toEqual([
        outcome.entry,
      ]);
      expect((await store.contentDigest(TENANT, "again"))?.state).toBe("queued");
      const audit = await store.listAudit({ tenant: TENANT, action: "event_retried", limit: 5 });
      expect(audit.items.map((entry) => entry.event_id)).toEqual(["again"]);
    });

    test("only when it has ended; one that is not there is missing", async () => {
      const { store } = subject;
      const input = newEvent({ id: "open", state: "assigned" });
      await store.createEvent(input);
      expect(await retry("open", T0)).toEqual({ kind: "refused", state: "assigned" });
      await store.applyStatus(statusOf(input, "in_progress"));
      expect(await retry("open", T0)).toEqual({ kind: "refused", state: "in_progress" });
      expect(await retry("unknown", T0)).toEqual({ kind: "missing" });
      expect(await retry("open", T0, "other")).toEqual({ kind: "missing" });
      await store.applyStatus(statusOf(input, "completed"));
      expect((await retry("open", T0)).kind).toBe("created");
      expect(await retry("open", T0)).toEqual({ kind: "refused", state: "queued" });
      expect((await store.listAudit({ tenant: TENANT, action: "event_retried", limit: 5 })).items.length).toBe(1);
    });

    test("of ten at once one makes the revision", async () => {
      await fail("raced", T0);
      const kinds = (await Promise.all(Array.from({ length: 10 }, () => retry("raced", T0 + 1)))).map((outcome) => outcome.kind);
      expect(kinds).toEqual(["created", ...Array.from({ length: 9 }, () => "refused" as const)]);
      expect((await subject.store.getEvent(TENANT, "raced", ALL))?.delivery.revision).toBe(2);
    });

    test("in the transaction in which the first ended, too", async () => {
      const { store } = subject;
      const input = newEvent({ id: "together", state: "assigned" });
      const [, , second] = await Promise.all([
        store.createEvent(input),
        store.applyStatus(statusOf(input, "completed", { revision: 1 })),
        retry("together", T0 + 1),
        store.applyStatus(statusOf(input, "in_progress", { revision: 2 })),
      ]);
      expect(second.kind).toBe("created");
      expect(await positions(store, [["together", 1]])).toEqual(["completed"]);
      expect(await positions(store, [["together", 2]])).toEqual(["in_progress"]);
    });

    test("a status is judged against the revision that it names, and without one against the newest", async () => {
      await fail("two", T0);
      await retry("two", T0 + 10);
      const { store } = subject;
      const input = newEvent({ id: "two" });
      const late = statusOf(input, "completed", { revision: 1, bootId: "a", seq: 3 });
      expect(await store.applyStatus(late)).toMatchObject({ verdict: "late", state: "failed", entry: { revision: 1 } });
      expect((await store.applyStatus(late)).verdict).toBe("stale");
      expect((await store.getEvent(TENANT, "two", ALL))?.summary.state).toBe("queued");
      expect(await store.applyStatus(statusOf(input, "in_progress", { revision: 2, bootId: "a", seq: 1 }))).toMatchObject({
        verdict: "apply",
        entry: { revision: 2 },
      });
      expect(await store.applyStatus(statusOf(input, "completed"))).toMatchObject({ verdict: "apply", entry: { revision: 2 } });
      expect((await store.applyStatus(statusOf(input, "completed", { revision: 3 }))).verdict).toBe("unknown");
      const stored = await store.getEvent(TENANT, "two", ALL);
      expect(stored?.log.map((entry) => [entry.revision, entry.state])).toEqual([
        [1, "assigned"],
        [1, "in_progress"],
        [1, "failed"],
        [2, "queued"],
        [1, "completed"],
        [2, "in_progress"],
        [2, "completed"],
      ]);
    });

    test("hand-over, expiry and cancelling mean the newest; the first stays as it ended", async () => {
      for (const id of ["handed", "expiring", "cancelling"]) {
        await fail(id, T0);
        await retry(id, T0 + 10);
      }
      const { store } = subject;
      const move = { tenant: TENANT, eventId: "handed", to: "assigned", epoch: 0, nowMs: T0 + 20, message: "assigned again" } as const;
      expect(await store.moveDelivery({ ...move, revision: 1 })).toEqual({ kind: "refused", state: "failed" });
      expect(await store.moveDelivery({ ...move, revision: 2 })).toMatchObject({ kind: "moved", entry: { revision: 2 } });
      expect(await cancel("cancelling", T0 + 20)).toMatchObject({ kind: "cancelled", entry: { revision: 2 } });
      const ended = await store.expireDue(T0 + 10 + HOUR_MS, 10);
      expect(ended.map((one) => [one.eventId, one.revision, one.state])).toEqual([["expiring", 2, "expired"]]);
      for (const id of ["handed", "expiring", "cancelling"]) expect(await positions(store, [[id, 1]])).toEqual(["failed"]);
    });

    test("it is handed out like all others, and counts again", async () => {
      await fail("counted", T0);
      await retry("counted", T0 + 10);
      const { store } = subject;
      const query = {
        tenant: TENANT,
        agentId: "agent-1",
        states: ["queued"],
        skip: NOBODY,
        nowMs: T0 + 20,
        maxItems: 9,
        maxBytes: 1,
      } as const;
      const items = await store.openDeliveries({ ...query, order: "urgent" });
      expect(items.map((item) => [item.event.id, item.delivery.revision])).toEqual([["counted", 2]]);
      await store.createEvent(newEvent({ id: "other" }));
      const counters = await store.counters();
      const open = await store.openCounts();
      expect(counters).toMatchObject({ total: 3, failed: 1, completed: 0 });
      expect(open).toEqual({ queued: 2, inFlight: 0, byAgent: new Map([["agent-1", { queued: 2, inFlight: 0 }]]) });
      expect(TERMINAL_STATES.reduce((sum, state) => sum + counters[state], 0) + open.queued + open.inFlight).toBe(counters.total);
    });

    test("a listing shows the event once, as it stands now, where it came; and pages stay whole while some are tried again", async () => {
      const names = Array.from({ length: 30 }, (_, at) => `listed-${at}`);
      for (const id of names) await fail(id, T0);
      const { store } = subject;
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await store.listEvents({ tenant: TENANT, limit: 7, ...(cursor === undefined ? {} : { cursor }) });
        seen.push(...page.items.map((item) => item.id));
        cursor = page.nextCursor;
        await retry(names[seen.length - 10] ?? "none", T0 + 10);
        await retry(names[names.length - seen.length - 3] ?? "none", T0 + 10);
      } while (cursor !== undefined);
      expect(seen).toEqual(names.toReversed());
      await retry("listed-7", T0 + 20);
      const ids = async (states?: ("failed" | "queued")[]): Promise<string[]> =>
        (await store.listEvents({ tenant: TENANT, limit: 100, ...(states === undefined ? {} : { states }) })).items.map((item) => item.id);
      expect((await ids()).length).toBe(30);
      expect(await ids(["queued"])).toContain("listed-7");
      expect(await ids(["failed"])).not.toContain("listed-7");
      expect((await ids(["queued"])).length + (await ids(["failed"])).length).toBe(30);
    });

    test("retention takes an event when all its revisions have ended long ago", async () => {
      await fail("kept", T0);
      await retry("kept", T0 + 10);
      const { store } = subject;
      const sweep = async (finishedBeforeMs: number): Promise<number> =>
        (await store.sweep({ finishedBeforeMs, auditBeforeMs: 0, limit: 100 })).events;
      expect(await sweep(T0 + HOUR_MS)).toBe(0);
      await store.applyStatus(statusOf(newEvent({ id: "kept" }), "completed", { nowMs: T0 + 5 * HOUR_MS }));
      expect(await sweep(T0 + 5 * HOUR_MS)).toBe(0);
      expect(await sweep(T0 + 6 * HOUR_MS)).toBe(1);
      expect(await store.getEvent(TENANT, "kept", ALL)).toBeUndefined();
      expect(await store.logAfter({ tenant: TENANT, afterSeq: 0, limit: 100 })).toEqual([]);
      expect(await positions(store, [["kept", 1]])).toEqual([undefined]);
    });

    test("what an agent was handed is told, each once, and what of it somebody wants back", async () => {
      const { store } = subject;
      const told = async (agentId = "agent-1") =>
        (await store.handedOver(TENANT, agentId))
          .map(({ eventId, revision, cancelRequested }) => `${eventId} ${revision} ${cancelRequested}`)
          .toSorted();
      expect(await told()).toEqual([]);
      await fail("again", T0);
      await retry("again", T0 + 10);
      await comes(["ack", "cancel"]);
      const direct = (id: string, agentId = "agent-1") => newEvent({ id, agentId, state: "assigned", epoch: 1 });
      expect(await told()).toEqual([]);
      await store.moveDelivery({ tenant: TENANT, eventId: "again", revision: 2, to: "assigned", epoch: 1, nowMs: T0 + 20, message: "" });
      for (const one of [direct("wanted back"), direct("ends"), direct("ü: elsewhere", "agent-2"), newEvent({ id: "waits" })])
        await store.createEvent(one);
      expect((await cancel("wanted back", T0 + 30)).kind).toBe("requested");
      await store.applyStatus(statusOf(direct("ends"), "completed", { epoch: 1 }));
      expect(await told()).toEqual(["again 2 false", "wanted back 1 true"]);
      expect(await told("agent-2")).toEqual(["ü: elsewhere 1 false"]);
      expect(await store.handedOver("other", "agent-1")).toEqual([]);
    });

    test("a delay is over, a time that is still to come holds", async () => {
      const { store } = subject;
      const notBeforeMs = T0 + 10 * HOUR_MS;
      const delayed = newEvent({
        id: "delayed",
        notBeforeMs: T0 + 2 * HOUR_MS,
        expiresAtMs: T0 + 3 * HOUR_MS,
        meta: { delayMs: 2 * HOUR_MS },
      });
      const later = newEvent({ id: "later", notBeforeMs, expiresAtMs: notBeforeMs + HOUR_MS, meta: { notBeforeMs } });
      for (const input of [delayed, later]) {
        await store.createEvent(input);
        await cancel(input.event.id, T0 + 1);
      }
      expect(await retry("delayed", T0 + HOUR_MS)).toMatchObject({ delivery: { expiresAtMs: T0 + 2 * HOUR_MS } });
      expect(await retry("later", T0 + HOUR_MS)).toMatchObject({ delivery: { expiresAtMs: notBeforeMs + HOUR_MS } });
      const waiting = await store.openDeliveries({
        tenant: TENANT,
        agentId: "agent-1",
        states: ["queued"],
        skip: NOBODY,
        order: "accepted",
        nowMs: T0 + HOUR_MS,
        maxItems: 9,
        maxBytes: 1e6,
      });
      expect(waiting.map((item) => item.event.id)).toEqual(["delayed"]);
      expect(await store.nextStartMs(TENANT, "agent-1", T0 + HOUR_MS)).toBe(notBeforeMs);
    });
  });

  describe("positions", () => {
    test("in the order asked, of this agent alone", async () => {
      const { store } = subject;
      await store.createEvent(newEvent({ id: "waits" }));
      await store.createEvent(newEvent({ id: "runs", state: "assigned" }));
      await store.createEvent(newEvent({ id: "elsewhere", agentId: "agent-2" }));
      await store.applyStatus(statusOf(newEvent({ id: "runs" }), "in_progress"));
      expect(
        await positions(store, [
          ["runs", 1],
          ["unknown", 1],
          ["waits", 1],
          ["runs", 2],
          ["elsewhere", 1],
        ]),
      ).toEqual(["in_progress", undefined, "queued", undefined, undefined]);
      expect(await positions(store, [["elsewhere", 1]], "agent-2")).toEqual(["queued"]);
      expect(await positions(store, [])).toEqual([]);
    });
  });

  describe("calling back", () => {
    test("what was handed over keeps the wish until it ends, and is asked for once in the log", async () => {
      const { store } = subject;
      const input = newEvent({ id: "held", state: "assigned" });
      await store.createEvent(input);
      const epoch = await comes(["ack", "cancel"]);
      const outcome = await cancel("held", T0 + 100);
      expect(outcome).toMatchObject({
        kind: "requested",
        agentId: "agent-1",
        revision: 1,
        entry: { state: "assigned", message: "Cancellation asked for", timestamp: "2026-02-10T10:00:00.100Z" },
      });
      expect(await cancel("held", T0 + 200)).toEqual({
        kind: "requested",
        agentId: "agent-1",
        revision: 1,
        entry: undefined,
      });
      expect((await store.listAudit({ tenant: TENANT, action: "event_cancelled", limit: 5 })).items.length).toBe(1);
      const again = await subject.reopenIfDurable();
      const handedOver = await again.openDeliveries({
        tenant: TENANT,
        agentId: "agent-1",
        states: ["assigned", "in_progress"],
        skip: NOBODY,
        order: "accepted",
        nowMs: T0,
        maxItems: 9,
        maxBytes: 1e6,
      });
      expect(handedOver.map((item) => item.delivery.cancelRequested)).toEqual([true]);
      await again.applyStatus(statusOf(input, "in_progress", { epoch, bootId: "b", seq: 1 }));
      const running = await again.getEvent(TENANT, "held", ALL);
      expect(running?.delivery.cancelRequested).toBe(true);
      expect(running?.summary).toMatchObject({ state: "in_progress", message: "now in_progress" });
      const result = { success: false, error_code: "EVENT_CANCELLED" };
      expect(await again.applyStatus(statusOf(input, "cancelled", { epoch, bootId: "b", seq: 2, result }))).toMatchObject({
        verdict: "apply",
        state: "cancelled",
      });
      const stored = await again.getEvent(TENANT, "held", ALL);
      expect(stored).toMatchObject({ result, delivery: { cancelRequested: false, state: "cancelled" } });
      expect(stored?.log.map((entry) => entry.state)).toEqual(["assigned", "assigned", "in_progress", "cancelled"]);
      expect(await cancel("held", T0 + 300)).toEqual({ kind: "already" });
      expect(await again.counters()).toMatchObject({ cancelled: 1, assigned: 1, in_progress: 1 });
    });

    test("too late, the real end holds; where nobody can be called back it is refused", async () => {
      const { store } = subject;
      const input = newEvent({ id: "late", state: "assigned" });
      await store.createEvent(input);
      expect(await cancel("late", T0 + 1)).toEqual({ kind: "refused", state: "assigned" });
      await comes(["ack", "credit"]);
      expect(await cancel("late", T0 + 1)).toEqual({ kind: "refused", state: "assigned" });
      expect((await store.getEvent(TENANT, "late", ALL))?.delivery.cancelRequested).toBe(false);
      expect((await store.listAudit({ tenant: TENANT, action: "event_cancelled", limit: 5 })).items).toEqual([]);
      const epoch = await comes(["ack", "cancel"]);
      await cancel("late", T0 + 2);
      await store.applyStatus(statusOf(input, "completed", { epoch, result: { success: true } }));
      expect(await cancel("late", T0 + 3)).toEqual({ kind: "refused", state: "completed" });
      expect((await store.getEvent(TENANT, "late", ALL))?.delivery).toMatchObject({ state: "completed", cancelRequested: false });
    });

    test("a new revision does not inherit the wish", async () => {
      const { store } = subject;
      const input = newEvent({ id: "fresh", state: "assigned" });
      await store.createEvent(input);
      const epoch = await comes(["ack", "cancel"]);
      await cancel("fresh", T0 + 1);
      await store.applyStatus(statusOf(input, "cancelled", { epoch }));
      expect(await retry("fresh", T0 + 2)).toMatchObject({ delivery: { revision: 2, cancelRequested: false } });
    });
  });
}
