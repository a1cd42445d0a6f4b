import { describe, expect, test } from "bun:test";
import type { EventQuery } from "../../src/stores/mod.ts";
import { codeOf, anAudit, newEvent, statusOf, T0, TENANT } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

export function listingContract(subject: Subject): void {
  const list = (parts: Partial<EventQuery> = {}) => subject.store.listEvents({ tenant: TENANT, limit: 50, ...parts });
  const ids = async (parts: Partial<EventQuery> = {}): Promise<string[]> => (await list(parts)).items.map((item) => item.id);

  describe("listing events", () => {
    test("newest first, by each filter and by all together", async () => {
      const { store } = subject;
      const inputs = [
        newEvent({ id: "a", meta: { labels: { env: "test", team: "x" } } }),
        newEvent({ id: "b", agentId: "agent-2", receivedAtMs: T0 + 1000, meta: { labels: { env: "prod" } } }),
        newEvent({ id: "c", receivedAtMs: T0 + 2000, meta: { type: "script", createdBy: "somebody" } }),
        newEvent({ id: "d", receivedAtMs: T0 + 3000, meta: { labels: { env: "test" } } }),
      ] as const;
      for (const input of inputs) await store.createEvent(input);
      await store.createEvent(newEvent({ id: "foreign", tenant: "other" }));
      await store.applyStatus(statusOf(inputs[0], "completed"));
      await store.applyStatus(statusOf(inputs[1], "failed"));
      expect(await ids()).toEqual(["d", "c", "b", "a"]);
      expect(await ids({ states: ["completed"] })).toEqual(["a"]);
      expect(await ids({ states: ["failed", "expired", "cancelled"] })).toEqual(["b"]);
      expect(await ids({ states: ["queued", "assigned"] })).toEqual(["d", "c"]);
      expect(await ids({ states: ["queued", "completed", "queued"] })).toEqual(["d", "c", "a"]);
      expect(await ids({ states: [] })).toEqual([]);
      expect(await ids({ agentId: "agent-2" })).toEqual(["b"]);
      expect(await ids({ type: "script" })).toEqual(["c"]);
      expect(await ids({ createdBy: "somebody" })).toEqual(["c"]);
      expect(await ids({ labels: { env: "test" } })).toEqual(["d", "a"]);
      expect(await ids({ labels: { env: "test", team: "x" } })).toEqual(["a"]);
      expect(await ids({ labels: { env: "prod", team: "x" } })).toEqual([]);
      expect(await ids({ labels: { team: "" } })).toEqual([]);
      expect(await ids({ labels: {} })).toEqual(["d", "c", "b", "a"]);
      expect(await ids({ sinceMs: T0 + 1000 })).toEqual(["d", "c", "b"]);
      expect(await ids({ untilMs: T0 + 1000 })).toEqual(["a"]);
      expect(await ids({ sinceMs: T0 + 1000, untilMs: T0 + 3000, agentId: "agent-1" })).toEqual(["c"]);
      expect(
        await ids({ states: ["queued"], agentId: "agent-1", type: "k8s_resource", labels: { env: "test" }, createdBy: "tester" }),
      ).toEqual(["d"]);
    });

    test("an empty store has an empty page", async () => {
      expect(await list()).toEqual({ items: [], nextCursor: undefined });
    });

    test("pages neither repeat nor skip while newer events come in and others change", async () => {
      const { store } = subject;
      const inputs = Array.from({ length: 95 }, (_, at) => newEvent({ id: `page-${at}` }));
      await Promise.all(inputs.map((input) => store.createEvent(input)));
      const seen: string[] = [];
      let cursor: string | undefined;
      let pages = 0;
      do {
        const page = await list({ limit: 10, ...(cursor === undefined ? {} : { cursor }) });
        expect(page.items.length).toBe(pages < 9 ? 10 : 5);
        seen.push(...page.items.map((item) => item.id));
        cursor = page.nextCursor;
        pages += 1;
        await Promise.all(Array.from({ length: 7 }, () => store.createEvent(newEvent())));
        const changed = inputs[pages];
        if (changed !== undefined) await store.applyStatus(statusOf(changed, "completed"));
      } while (cursor !== undefined);
      expect(seen).toEqual(inputs.map((input) => input.event.id).toReversed());
    });

    test("a full last page says that it is the last", async () => {
      for (let at = 0; at < 4; at += 1) await subject.store.createEvent(newEvent({ id: `four-${at}` }));
      const first = await list({ limit: 2 });
      const second = await list({ limit: 2, cursor: first.nextCursor ?? "none" });
      expect(second.items.map((item) => item.id)).toEqual(["four-1", "four-0"]);
      expect(second.nextCursor).toBeUndefined();
    });

    test("few among many are found, and the listing does not hold up what comes meanwhile", async () => {
      const { store } = subject;
      const rare = Math.round(subject.veryMany * 0.07);
      const inputs = Array.from({ length: subject.veryMany / 5 }, (_, at) =>
        newEvent({ id: `needle-${at}`, meta: { labels: { rare: at % rare === 0 ? "yes" : "no" } } }),
      );
      await Promise.all(inputs.map((input) => store.createEvent(input)));
      const found = ids({ labels: { rare: "yes" } });
      const created = await store.createEvent(newEvent({ id: "meanwhile", meta: { labels: { rare: "yes" } } }));
      expect(created.kind).toBe("created");
      expect((await found).filter((id) => id !== "meanwhile")).toEqual([`needle-${2 * rare}`, `needle-${rare}`, "needle-0"]);
      expect((await ids({ labels: { rare: "yes" }, limit: 2 })).length).toBe(2);
    });

    test("what is not a cursor of this listing is refused", async () => {
      await subject.store.createEvent(newEvent());
      await subject.store.createEvent(newEvent());
      const good = (await list({ limit: 1 })).nextCursor ?? "";
      expect(good).not.toBe("");
      const bad = [
        "",
        "x",
        "🦄",
        `${good}=`,
        good.slice(1),
        "a".repeat(10_000),
        encode({}),
        encode(null),
        encode({ v: 99, k: "events", at: 1 }),
      ];
      bad.push(
        encode({ v: 1, k: "events", at: "1; DROP TABLE event" }),
        encode({ v: 1, k: "events", at: -1 }),
        encode({ v: 1, k: "events", at: 1.5 }),
      );
      for (const cursor of bad) expect(await codeOf(list({ cursor }))).toBe("INVALID_CURSOR");
      expect(await codeOf(subject.store.listAudit({ tenant: TENANT, limit: 1, cursor: good }))).toBe("INVALID_CURSOR");
      expect(await codeOf(subject.store.listAgents({ tenant: TENANT, limit: 1, cursor: good }))).toBe("INVALID_CURSOR");
    });
  });

  describe("the log", () => {
    test("of one event and of all, oldest first, after a number, bounded", async () => {
      const { store } = subject;
      const [one, two] = [newEvent({ id: "one", state: "assigned" }), newEvent({ id: "two", state: "assigned" })] as const;
      await store.createEvent(one);
      await store.createEvent(two);
      for (const input of [one, two, one]) await store.applyStatus(statusOf(input, "in_progress", { details: { of: input.event.id } }));
      await store.createEvent(newEvent({ id: "foreign", tenant: "other" }));
      const log = (afterSeq: number, limit = 100, eventId?: string) =>
        store.logAfter({ tenant: TENANT, afterSeq, limit, ...(eventId === undefined ? {} : { eventId }) });
      const all = await log(0);
      expect(all.map((entry) => entry.event_id)).toEqual(["one", "two", "one", "two", "one"]);
      expect(all.map((entry) => entry.seq)).toEqual(all.map((entry) => entry.seq).toSorted((a, b) => a - b));
      expect(await log(all[2]?.seq ?? -1)).toEqual(all.slice(3));
      expect(await log(0, 2)).toEqual(all.slice(0, 2));
      const ofOne = all.filter((entry) => entry.event_id === "one");
      expect(await log(0, 100, "one")).toEqual(ofOne);
      expect(await log(0, 2, "one")).toEqual(ofOne.slice(0, 2));
      expect(await log(ofOne[0]?.seq ?? -1, 100, "one")).toEqual(ofOne.slice(1));
      expect(await log(ofOne[2]?.seq ?? -1, 100, "one")).toEqual([]);
      expect(await log(0, 100, "unknown")).toEqual([]);
      expect(await store.lastSeq()).toBeGreaterThanOrEqual(all.at(-1)?.seq ?? Number.MAX_SAFE_INTEGER);
    });

    test("of nothing is empty", async () => {
      expect(await subject.store.lastSeq()).toBe(0);
      expect(await subject.store.logAfter({ tenant: TENANT, afterSeq: 0, limit: 10 })).toEqual([]);
    });
  });

  describe("audit", () => {
    test("newest first, by each filter, in pages, with all it was given", async () => {
      const { store } = subject;
      await store.appendAudit(
        anAudit({
          action: "everything",
          principal: "p",
          eventId: "e",
          agentId: "a",
          user: "u",
          remoteAddress: "10.0.0.1",
          requestId: "r",
          details: { deep: [1] },
        }),
      );
      for (let at = 0; at < 9; at += 1)
        await store.appendAudit(anAudit({ action: `act-${at % 3}`, atMs: T0 + at * 1000, eventId: `e-${at}` }));
      await store.appendAudit(anAudit({ tenant: "other" }));
      const page = await store.listAudit({ tenant: TENANT, limit: 100 });
      expect(page.items.length).toBe(10);
      expect(page.items.at(-1)).toEqual({
        seq: expect.any(Number) as number,
        timestamp: "2026-02-10T10:00:00.000Z",
        principal: "p",
        action: "everything",
        event_id: "e",
        agent_id: "a",
        user: "u",
        remote_address: "10.0.0.1",
        request_id: "r",
        details: { deep: [1] },
      });
      const events = async (filter: object): Promise<(string | undefined)[]> =>
        (await store.listAudit({ tenant: TENANT, limit: 100, ...filter })).items.map((entry) => entry.event_id);
      expect(await events({ action: "act-1" })).toEqual(["e-7", "e-4", "e-1"]);
      expect(await events({ eventId: "e-5" })).toEqual(["e-5"]);
      expect(await events({ agentId: "a" })).toEqual(["e"]);
      expect(await events({ sinceMs: T0 + 7000 })).toEqual(["e-8", "e-7"]);
      expect(await events({ sinceMs: T0 + 1, untilMs: T0 + 2000 })).toEqual(["e-1"]);
      const first = await store.listAudit({ tenant: TENANT, limit: 6 });
      const second = await store.listAudit({ tenant: TENANT, limit: 6, cursor: first.nextCursor ?? "none" });
      expect([...first.items, ...second.items]).toEqual([...page.items]);
      expect(second.nextCursor).toBeUndefined();
    });
  });
}
