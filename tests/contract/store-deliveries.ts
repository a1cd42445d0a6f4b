import { describe, expect, test } from "bun:test";
import { OPEN_STATES, type State } from "../../src/protocol/mod.ts";
import type { OpenQuery } from "../../src/stores/mod.ts";
import { anAudit, newEvent, statusOf, T0, TENANT, textOf } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

const ALL = { payload: true, log: true } as const;

export function deliveryContract(subject: Subject): void {
  const open = (parts: Partial<OpenQuery> = {}) =>
    subject.store.openDeliveries({
      tenant: TENANT,
      agentId: "agent-1",
      states: ["created", "queued", "assigned"],
      skip: new Set(),
      order: "urgent",
      nowMs: T0,
      maxItems: 100,
      maxBytes: 1e9,
      ...parts,
    });
  const ids = async (parts: Partial<OpenQuery> = {}): Promise<string[]> => (await open(parts)).map((item) => item.event.id);
  const stateOf = async (id: string): Promise<State | undefined> => (await subject.store.getEvent(TENANT, id, ALL))?.summary.state;
  const move = (eventId: string, to: "assigned" | "queued", nowMs = T0 + 10) =>
    subject.store.moveDelivery({ tenant: TENANT, eventId, revision: 1, to, epoch: 0, nowMs, message: `to ${to}` });

  const cancel = (eventId: string) =>
    subject.store.cancelEvent({
      tenant: TENANT,
      eventId,
      nowMs: T0 + 50,
      message: "Event cancelled",
      requestMessage: "Event is to be cancelled",
      audit: anAudit({ action: "event_cancelled", eventId }),
    });

  describe("handing out", () => {
    test("most urgent first, then in the order accepted, and only what was asked for", async () => {
      const { store } = subject;
      for (const [id, priority] of [
        ["low", -1],
        ["first", 0],
        ["second", 0],
        ["urgent", 5],
      ] as const)
        await store.createEvent(newEvent({ id, meta: { priority } }));
      await store.createEvent(newEvent({ id: "handed" }));
      await move("handed", "assigned");
      await store.createEvent(newEvent({ id: "elsewhere", agentId: "agent-2" }));
      await store.createEvent(newEvent({ id: "of another tenant", tenant: "other" }));
      expect(await ids()).toEqual(["urgent", "first", "second", "handed", "low"]);
      expect(await ids({ states: ["queued"] })).toEqual(["urgent", "first", "second", "low"]);
      expect(await ids({ states: ["assigned", "in_progress"] })).toEqual(["handed"]);
      expect(await ids({ states: [] })).toEqual([]);
      expect(await ids({ maxItems: 2 })).toEqual(["urgent", "first"]);
      expect(await ids({ skip: new Set(["urgent", "second"]), maxItems: 2 })).toEqual(["first", "handed"]);
      expect(await ids({ agentId: "nobody" })).toEqual([]);
      await store.applyStatus(statusOf(newEvent({ id: "first" }), "completed"));
      expect(await ids()).toEqual(["urgent", "second", "handed", "low"]);
    });

    test("it ends when the payloads are too many bytes, and still hands out one", async () => {
      for (const [at, size] of [600, 600, 600, 5].entries())
        await subject.store.createEvent(newEvent({ id: `sized-${at}`, payloadText: JSON.stringify("x".repeat(size)) }));
      expect(await ids({ maxBytes: 1300 })).toEqual(["sized-0", "sized-1"]);
      expect(await ids({ maxBytes: 10 })).toEqual(["sized-0"]);
      expect(await ids({ maxBytes: 0 })).toEqual(["sized-0"]);
    });

    test("an item carries the whole event", async () => {
      const input = newEvent({ meta: { labels: { a: "b" }, extra: { c: 1 }, operation: "patch", notBeforeMs: T0 - 5 } });
      await subject.store.createEvent(input);
      const [item] = await open();
      expect(item?.event).toEqual(input.event);
      expect(textOf(item?.payload)).toBe(input.payloadText);
      expect(item?.delivery).toMatchObject({ eventId: input.event.id, agentId: "agent-1", revision: 1, state: "queued" });
    });

    test("which operation it asks for is known wherever it is handed out, also when it is tried again", async () => {
      const { store } = subject;
      const query = { tenant: TENANT, agentId: "agent-1", afterOrd: 0, beforeOrd: 1e9, nowMs: T0 + 1000, maxItems: 10, maxBytes: 1e9 };
      const seen = async (nowMs: number) => [
        (await open({ nowMs })).map(({ event }) => event.operation),
        (await store.waitingBefore({ ...query, nowMs })).map(({ event }) => event.operation),
        (await store.listEvents({ tenant: TENANT, limit: 10 })).items.map(({ operation }) => operation),
      ];
      const input = newEvent({ meta: { operation: "delete" } });
      await store.createEvent(input);
      expect(await seen(T0)).toEqual([["delete"], ["delete"], ["delete"]]);
      const { id: eventId } = input.event;
      await move(eventId, "assigned");
      await store.applyStatus(statusOf(input, "failed", { nowMs: T0 + 20 }));
      const [nowMs, audit] = [T0 + 30, anAudit({ action: "event_retried", eventId })];
      await store.retryEvent({ tenant: TENANT, eventId, principal: "somebody", nowMs, message: "again", audit });
      expect(await seen(nowMs)).toEqual([["delete"], ["delete"], ["delete"]]);
      await store.createEvent(newEvent({ agentId: "agent-1" }));
      expect((await open({ nowMs })).map(({ event }) => event.operation)).toEqual(["delete", undefined]);
    });

    test("assigned and back: each is logged once, every hand-over counts an attempt", async () => {
      const { store } = subject;
      await store.createEvent(newEvent({ id: "moved" }));
      const assigned = await move("moved", "assigned");
      expect(assigned).toMatchObject({
        kind: "moved",
        entry: { state: "assigned", message: "to assigned", event_id: "moved", level: "info" },
      });
      expect(await move("moved", "assigned")).toEqual({ kind: "moved", entry: undefined });
      expect(await move("moved", "queued")).toMatchObject({ kind: "moved", entry: { state: "queued" } });
      expect(await move("moved", "queued")).toEqual({ kind: "moved", entry: undefined });
      expect(await move("moved", "assigned")).toMatchObject({ kind: "moved", entry: { state: "assigned" } });
      const stored = await store.getEvent(TENANT, "moved", ALL);
      expect(stored?.attempts).toBe(3);
      expect(stored?.log.map((entry) => entry.state)).toEqual(["queued", "assigned", "queued", "assigned"]);
      expect(await store.counters()).toMatchObject({ total: 1, created: 1, queued: 1, assigned: 1, in_progress: 0 });
      expect(await store.openCounts()).toMatchObject({ queued: 0, inFlight: 1 });
    });

    test("what runs or has ended is not handed over again", async () => {
      const { store } = subject;
      const input = newEvent({ id: "running", state: "assigned" });
      await store.createEvent(input);
      await store.applyStatus(statusOf(input, "in_progress"));
      expect(await move("running", "assigned")).toEqual({ kind: "refused", state: "in_progress" });
      expect(await move("running", "queued")).toEqual({ kind: "refused", state: "in_progress" });
      await store.applyStatus(statusOf(input, "failed"));
      expect(await move("running", "assigned")).toEqual({ kind: "refused", state: "failed" });
      expect(await move("unknown", "assigned")).toEqual({ kind: "refused", state: undefined });
      const other = { tenant: TENANT, eventId: "running", revision: 2, to: "queued", epoch: 0, nowMs: T0, message: "" } as const;
      expect(await store.moveDelivery(other)).toEqual({ kind: "refused", state: undefined });
    });
  });

  describe("statuses", () => {
    test("the five of a good event, with its result", async () => {
      const { store } = subject;
      const input = newEvent({ id: "good", state: "assigned" });
      await store.createEvent(input);
      const result = { success: true, resource_status: [{ kind: "Namespace", name: "x", status: "created" }], duration: 12 };
      for (const [at, phase] of (["received", "validating", "applying", "verifying"] as const).entries()) {
        const outcome = await store.applyStatus(
          statusOf(input, "in_progress", { phase, bootId: "boot", seq: at + 1, revision: 1, nowMs: T0 + 100 * (at + 1), details: { at } }),
        );
        expect(outcome).toMatchObject({ verdict: "apply", state: "in_progress", entry: { phase, details: { at } } });
      }
      const last = await store.applyStatus(
        statusOf(input, "completed", { bootId: "boot", seq: 5, revision: 1, nowMs: T0 + 900, result, message: "all done" }),
      );
      expect(last).toMatchObject({ verdict: "apply", state: "completed", entry: { phase: "completed", result } });
      const stored = await store.getEvent(TENANT, "good", ALL);
      expect(stored?.log.map((entry) => entry.phase)).toEqual(["", "received", "validating", "applying", "verifying", "completed"]);
      expect(stored?.log.map((entry) => entry.timestamp)[1]).toBe("2026-02-10T10:00:01.5Z");
      expect(stored?.result).toEqual(result);
      expect(stored?.attempts).toBe(1);
      expect(stored?.summary).toMatchObject({
        state: "completed",
        phase: "completed",
        message: "all done",
        updated_at: "2026-02-10T10:00:00.900Z",
        finished_at: "2026-02-10T10:00:00.900Z",
      });
      expect(await store.counters()).toEqual({
        total: 1,
        created: 1,
        queued: 0,
        assigned: 1,
        in_progress: 1,
        completed: 1,
        failed: 0,
        expired: 0,
        cancelled: 0,
      });
      expect(await store.openCounts()).toEqual({ queued: 0, inFlight: 0, byAgent: new Map() });
    });

    test("all statuses asked for at once take effect in that order", async () => {
      const { store } = subject;
      const inputs = Array.from({ length: 50 }, (_, at) => newEvent({ id: `burst-${at}`, state: "assigned" }));
      await Promise.all(
        inputs.flatMap((input) => [
          store.createEvent(input),
          ...(["received", "applying", "verifying"] as const).map((phase) => store.applyStatus(statusOf(input, "in_progress", { phase }))),
          store.applyStatus(statusOf(input, "completed")),
        ]),
      );
      for (const input of inputs) {
        const stored = await store.getEvent(TENANT, input.event.id, ALL);
        expect(stored?.summary.state).toBe("completed");
        expect(stored?.log.map((entry) => entry.phase)).toEqual(["", "received", "applying", "verifying", "completed"]);
      }
    });

    test("a sequence seen before is stale, a new boot counts anew", async () => {
      const { store } = subject;
      const input = newEvent({ id: "seq", state: "assigned" });
      await store.createEvent(input);
      const say = (bootId: string, seq: number, state: State = "in_progress") => store.applyStatus(statusOf(input, state, { bootId, seq }));
      expect((await say("a", 5)).verdict).toBe("apply");
      expect(await say("a", 5)).toEqual({ verdict: "stale", state: "in_progress", entry: undefined });
      expect((await say("a", 4)).verdict).toBe("stale");
      expect((await say("b", 1)).verdict).toBe("apply");
      expect((await say("b", 2, "completed")).verdict).toBe("apply");
      expect((await say("b", 2, "completed")).verdict).toBe("stale");
      expect((await store.getEvent(TENANT, "seq", ALL))?.log.length).toBe(4);
    });

    test("a repeated status of an agent process before the present one is stale as well, after a restart too", async () => {
      const input = newEvent({ id: "boots", state: "assigned" });
      await subject.store.createEvent(input);
      const say = async (bootId: string, seq: number): Promise<string> =>
        (await subject.store.applyStatus(statusOf(input, "in_progress", { bootId, seq }))).verdict;
      expect([await say("a", 1), await say("a", 3), await say("b", 1), await say("c", 5)]).toEqual(["apply", "apply", "apply", "apply"]);
      await subject.reopenIfDurable();
      expect([await say("a", 3), await say("b", 1), await say("c", 5), await say("a", 2)]).toEqual(["stale", "stale", "stale", "stale"]);
      expect(await say("c", 6)).toBe("apply");
      expect((await subject.store.getEvent(TENANT, "boots", ALL))?.log.length).toBe(6);
    });

    test("a late status is logged as a warning and changes nothing, and is logged once", async () => {
      const { store } = subject;
      const input = newEvent({ id: "late", state: "assigned" });
      await store.createEvent(input);
      await store.applyStatus(statusOf(input, "completed", { bootId: "a", seq: 1, result: { success: true } }));
      const before = await store.getEvent(TENANT, "late", ALL);
      const counters = await store.counters();
      const late = statusOf(input, "failed", { bootId: "a", seq: 2, details: { x: 1 }, result: { success: false }, nowMs: T0 + 9000 });
      expect(await store.applyStatus(late)).toMatchObject({
        verdict: "late",
        state: "completed",
        entry: { level: "warning", state: "failed", details: { x: 1, late: true } },
      });
      expect((await store.applyStatus(late)).verdict).toBe("stale");
      const after = await store.getEvent(TENANT, "late", ALL);
      expect(after?.summary).toEqual(before?.summary);
      expect(after?.result).toEqual({ success: true });
      expect(after?.log.length).toBe((before?.log.length ?? 0) + 1);
      expect(await store.counters()).toEqual(counters);
    });

    test("what no agent may say, or another agent says, changes nothing", async () => {
      const { store } = subject;
      const input = newEvent({ id: "mine", state: "assigned" });
      await store.createEvent(input);
      expect(await store.applyStatus(statusOf(input, "queued"))).toEqual({ verdict: "forbidden", state: "assigned", entry: undefined });
      expect((await store.applyStatus(statusOf(input, "created"))).verdict).toBe("forbidden");
      const foreign = await store.applyStatus(statusOf(input, "completed", { agentId: "agent-2" }));
      expect(foreign).toEqual({ verdict: "unknown", state: undefined, entry: undefined });
      expect((await store.applyStatus(statusOf(input, "completed", { tenant: "other" }))).verdict).toBe("unknown");
      expect((await store.applyStatus(statusOf(input, "completed", { revision: 2 }))).verdict).toBe("unknown");
      expect((await store.applyStatus(statusOf(newEvent(), "completed"))).verdict).toBe("unknown");
      expect(await stateOf("mine")).toBe("assigned");
    });

    test("a status moves even what waits, and what went straight to its end never counts as in progress", async () => {
      const { store } = subject;
      const input = newEvent({ id: "skipped" });
      await store.createEvent(input);
      expect(await store.applyStatus(statusOf(input, "completed"))).toMatchObject({ verdict: "apply", state: "completed" });
      expect(await store.counters()).toMatchObject({ queued: 1, assigned: 0, in_progress: 0, completed: 1 });
      expect(await open({ states: OPEN_STATES })).toEqual([]);
    });
  });

  describe("cancelling", () => {
    test("only what was not handed over, once, with its audit entry", async () => {
      const { store } = subject;
      await store.createEvent(newEvent({ id: "handed", state: "assigned" }));
      await store.createEvent(newEvent({ id: "waiting" }));
      expect(await cancel("waiting")).toMatchObject({
        kind: "cancelled",
        agentId: "agent-1",
        entry: { state: "cancelled", message: "Event cancelled", timestamp: "2026-02-10T10:00:00.050Z" },
      });
      expect(await cancel("waiting")).toEqual({ kind: "already" });
      expect(await cancel("handed")).toEqual({ kind: "refused", state: "assigned" });
      expect(await cancel("unknown")).toEqual({ kind: "missing" });
      const audit = await store.listAudit({ tenant: TENANT, action: "event_cancelled", limit: 10 });
      expect(audit.items.map((entry) => entry.event_id)).toEqual(["waiting"]);
      expect(await store.counters()).toMatchObject({ cancelled: 1 });
      expect(await move("waiting", "assigned")).toEqual({ kind: "refused", state: "cancelled" });
    });

    test("of a cancellation and a hand-over at the same time exactly one wins", async () => {
      const { store } = subject;
      for (let at = 0; at < 20; at += 1) {
        const id = `either-${at}`;
        await store.createEvent(newEvent({ id }));
        const calls = at % 2 === 0 ? ([cancel(id), move(id, "assigned")] as const) : ([move(id, "assigned"), cancel(id)] as const);
        const kinds = (await Promise.all(calls)).map((outcome) => outcome.kind);
        expect(kinds).toEqual(at % 2 === 0 ? ["cancelled", "refused"] : ["moved", "refused"]);
      }
    });
  });
}
