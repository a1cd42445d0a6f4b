import { describe, expect, test } from "bun:test";
import { codeOf, statusOf, HOUR_MS, newEvent, sha256, T0, TENANT, textOf } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

/** Beyond 2^53, where a double still holds it exactly. */
const LONG_TTL_NS = 315_360_000 * 1e9;
const ALL = { payload: true, log: true } as const;

export function eventContract(subject: Subject): void {
  describe("taking events in", () => {
    test("an event comes back as it was sent, unknown fields included", async () => {
      const input = newEvent({
        id: "all-fields",
        meta: {
          priority: -7,
          labels: { environment: "test", 'quote"and\\': "ä\u0000\u2028" },
          deadlineMs: 1234.5,
          traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
          ttlNs: LONG_TTL_NS,
          ttlMs: LONG_TTL_NS / 1e6,
          extra: { later: { deep: [1, null, "x"] }, "odd key": true },
          operation: "delete",
        },
      });
      const created = await subject.store.createEvent(input);
      expect(created).toEqual({
        kind: "created",
        delivery: {
          ord: expect.any(Number) as number,
          tenant: TENANT,
          eventId: "all-fields",
          agentId: "agent-1",
          revision: 1,
          state: "queued",
          priority: -7,
          expiresAtMs: T0 + HOUR_MS,
          payloadBytes: input.payloadBytes,
          cancelRequested: false,
        },
        entries: [
          {
            seq: expect.any(Number) as number,
            event_id: "all-fields",
            agent_id: "agent-1",
            revision: 1,
            timestamp: "2026-02-10T10:00:00.000Z",
            state: "queued",
            phase: "",
            level: "info",
            message: "Event queued for offline agent",
          },
        ],
      });
      const stored = await subject.store.getEvent(TENANT, "all-fields", ALL);
      expect(stored?.event).toEqual(input.event);
      expect(textOf(stored?.payload)).toBe(input.payloadText);
      expect(stored?.attempts).toBe(0);
      expect(stored?.result).toBeUndefined();
      expect(stored?.log).toEqual(created.kind === "created" ? [...created.entries] : []);
      expect(stored?.summary).toEqual({
        id: "all-fields",
        type: "k8s_resource",
        operation: "delete",
        target_agent: "agent-1",
        state: "queued",
        phase: "",
        message: "Event queued for offline agent",
        priority: -7,
        labels: { environment: "test", 'quote"and\\': "ä\u0000\u2028" },
        created_at: "2026-02-10T09:59:59.123456789Z",
        created_by: "tester",
        principal: "local",
        received_at: "2026-02-10T10:00:00.000Z",
        updated_at: "2026-02-10T10:00:00.000Z",
        expires_at: "2026-02-10T11:00:00.000Z",
        revision: 1,
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        payload_bytes: input.payloadBytes,
        payload_sha256: input.payloadDigest,
      });
    });

    test("an event without created_at shows the time of receipt, and the payload only when asked for", async () => {
      const input = newEvent({ meta: { createdAt: undefined, createdAtMs: undefined } });
      await subject.store.createEvent(input);
      const stored = await subject.store.getEvent(TENANT, input.event.id, { payload: false, log: false });
      expect(stored?.summary.created_at).toBe("2026-02-10T10:00:00.000Z");
      expect(stored?.event.createdAt).toBeUndefined();
      expect(textOf(stored?.payload)).toBeUndefined();
      expect(stored?.log).toEqual([]);
    });

    test("nothing is found under another id or tenant", async () => {
      const input = newEvent();
      await subject.store.createEvent(input);
      expect(await subject.store.getEvent(TENANT, "other", ALL)).toBeUndefined();
      expect(await subject.store.getEvent("other", input.event.id, ALL)).toBeUndefined();
      expect(await subject.store.contentDigest("other", input.event.id)).toBeUndefined();
      expect((await subject.store.createEvent({ ...input, tenant: "other" })).kind).toBe("created");
    });

    test("the same id with the same content is a duplicate, with other content a conflict, and neither changes anything", async () => {
      const { store } = subject;
      const input = newEvent({ id: "twice" });
      await store.createEvent(input);
      expect(await store.createEvent({ ...input, receivedAtMs: T0 + 5, principal: "somebody" })).toEqual({
        kind: "duplicate",
        state: "queued",
      });
      expect(await store.createEvent({ ...input, contentDigest: sha256("other") })).toEqual({ kind: "conflict" });
      expect(await store.contentDigest(TENANT, "twice")).toEqual({ digest: input.contentDigest, state: "queued" });
      await store.applyStatus(statusOf(input, "completed"));
      expect(await store.createEvent(input)).toEqual({ kind: "duplicate", state: "completed" });
      expect(await store.createEvent({ ...input, contentDigest: sha256("other") })).toEqual({ kind: "conflict" });
      const counters = await store.counters();
      expect(counters.total).toBe(1);
      const audit = await store.listAudit({ tenant: TENANT, limit: 10 });
      expect(audit.items.map((entry) => entry.event_id)).toEqual(["twice"]);
      expect((await store.getEvent(TENANT, "twice", ALL))?.summary.principal).toBe("local");
    });

    test("one id sent a hundred times at once is accepted once; a conflict in large payloads leaves nothing behind", async () => {
      const { store } = subject;
      const large = "x".repeat(100_000);
      const input = newEvent({ id: "race", payloadText: JSON.stringify({ script: large }) });
      const other = newEvent({ id: "race", payloadText: JSON.stringify({ script: `${large}!` }) });
      const outcomes = await Promise.all(Array.from({ length: 100 }, (_, at) => store.createEvent(at % 2 === 0 ? input : other)));
      expect(outcomes.filter((outcome) => outcome.kind === "created").length).toBe(1);
      expect(outcomes.filter((outcome) => outcome.kind === "duplicate").length).toBe(49);
      expect(outcomes.filter((outcome) => outcome.kind === "conflict").length).toBe(50);
      expect(textOf((await store.getEvent(TENANT, "race", ALL))?.payload)).toBe(input.payloadText);
    });

    test("a thousand events at once are each accepted, in one order", async () => {
      const { store } = subject;
      const inputs = Array.from({ length: 1000 }, (_, at) => newEvent({ id: `many-${at}`, agentId: `agent-${at % 7}` }));
      const outcomes = await Promise.all(inputs.map((input) => store.createEvent(input)));
      const ords = outcomes.map((outcome) => (outcome.kind === "created" ? outcome.delivery.ord : -1));
      expect(ords).toEqual(ords.toSorted((a, b) => a - b));
      expect(new Set(ords).size).toBe(1000);
      expect((await store.counters()).total).toBe(1000);
      const counts = await store.openCounts();
      expect(counts.queued).toBe(1000);
      expect(counts.byAgent.size).toBe(7);
      expect([...counts.byAgent.values()].reduce((sum, agent) => sum + agent.queued, 0)).toBe(1000);
    });

    test("one that cannot be written takes none of those asked for with it along, and leaves nothing of itself", async () => {
      const { store } = subject;
      const running = newEvent({ id: "running", state: "assigned" });
      await store.createEvent(running);
      const circular: Record<string, unknown> = {};
      circular["self"] = circular;
      const calls = [
        store.createEvent(newEvent({ id: "before" })),
        store.applyStatus(statusOf(running, "in_progress", { phase: "applying" })),
        store.createEvent(newEvent({ id: "bad", audit: { details: { no_json: 1n } } })),
        store.applyStatus(statusOf(running, "in_progress", { phase: "verifying", details: circular })),
        store.createEvent(newEvent({ id: "after" })),
        store.applyStatus(statusOf(running, "completed")),
      ];
      const settled = await Promise.allSettled(calls);
      expect(settled.map((one) => one.status)).toEqual(["fulfilled", "fulfilled", "rejected", "rejected", "fulfilled", "fulfilled"]);
      expect(await store.getEvent(TENANT, "bad", ALL)).toBeUndefined();
      const stored = await store.getEvent(TENANT, "running", ALL);
      expect(stored?.log.map((entry) => entry.phase)).toEqual(["", "applying", "completed"]);
      expect(stored?.summary.state).toBe("completed");
      expect(await store.counters()).toMatchObject({ total: 3, queued: 2, assigned: 1, in_progress: 1, completed: 1 });
      expect(await store.openCounts()).toEqual({ queued: 2, inFlight: 0, byAgent: new Map([["agent-1", { queued: 2, inFlight: 0 }]]) });
      expect((await store.listAudit({ tenant: TENANT, limit: 10 })).items.map((entry) => entry.event_id)).toEqual([
        "after",
        "before",
        "running",
      ]);
    });

    test("texts that look like SQL, patterns or paths, and any Unicode, are only texts", async () => {
      const { store } = subject;
      const odd = [
        "'); DROP TABLE event; --",
        '" OR 1=1 --',
        "%",
        "_",
        "*",
        "../../etc/passwd",
        "a\u0000b",
        "a\u0000c",
        "🦄 ünï — \u202e",
        "$.a[0]",
        "__proto__",
        "constructor",
        " ",
      ];
      for (const text of odd) {
        const input = newEvent({
          id: text,
          agentId: text,
          message: text,
          meta: { labels: { [text]: text }, createdBy: text, extra: { [text]: text } },
        });
        expect((await store.createEvent(input)).kind).toBe("created");
        await store.applyStatus(statusOf(input, "in_progress", { message: text, details: { [text]: text } }));
      }
      for (const text of odd) {
        const stored = await store.getEvent(TENANT, text, ALL);
        expect(stored?.event.id).toBe(text);
        expect(Object.entries(stored?.event.labels ?? {})).toEqual([[text, text]]);
        expect(Object.entries(stored?.event.extra ?? {})).toEqual([[text, text]]);
        expect(stored?.log.map((entry) => entry.message)).toEqual([text, text]);
        expect(Object.entries(stored?.log[1]?.details ?? {})).toEqual([[text, text]]);
        const ids = async (filter: object): Promise<string[]> =>
          (await store.listEvents({ tenant: TENANT, limit: 50, ...filter })).items.map((item) => item.id);
        expect(await ids({ agentId: text })).toEqual([text]);
        expect(await ids({ createdBy: text })).toEqual([text]);
        expect(await ids({ labels: Object.fromEntries([[text, text]]) })).toEqual([text]);
        expect(await ids({ type: text })).toEqual([]);
      }
      expect((await store.counters()).total).toBe(odd.length);
    });

    test("a payload of 32 MiB is kept whole", async () => {
      const payloadText = JSON.stringify({ manifests: [`${"é".repeat(1000)}${"x".repeat(32 * 1024 * 1024 - 4096)}`] });
      const input = newEvent({ payloadText });
      expect((await subject.store.createEvent(input)).kind).toBe("created");
      const stored = await subject.store.getEvent(TENANT, input.event.id, { payload: true, log: false });
      expect(textOf(stored?.payload) === payloadText).toBe(true);
    });

    test("a payload that many events share comes back for each of them", async () => {
      const { store } = subject;
      const payloadText = JSON.stringify({ manifests: ["y".repeat(50_000)] });
      const inputs = Array.from({ length: 20 }, (_, at) => newEvent({ agentId: `agent-${at}`, payloadText }));
      await Promise.all(inputs.map((input) => store.createEvent(input)));
      for (const input of inputs) {
        const [item] = await store.openDeliveries({
          tenant: TENANT,
          agentId: input.event.targetAgent,
          states: ["queued"],
          skip: new Set(),
          order: "urgent",
          nowMs: T0,
          maxItems: 1,
          maxBytes: 1,
        });
        expect(textOf(item?.payload) === payloadText).toBe(true);
      }
    });

    test("what was accepted is there after the store was opened again", async () => {
      if (!subject.durable) return;
      const inputs = Array.from({ length: 50 }, (_, at) => newEvent({ id: `kept-${at}`, state: at % 2 === 0 ? "assigned" : "queued" }));
      await Promise.all(inputs.map((input) => subject.store.createEvent(input)));
      const [first] = inputs;
      if (first === undefined) throw new Error("no input");
      await subject.store.applyStatus(statusOf(first, "in_progress"));
      const before = await Promise.all([subject.store.counters(), subject.store.openCounts(), subject.store.lastSeq()]);
      const store = await subject.reopen();
      expect(await Promise.all([store.counters(), store.openCounts(), store.lastSeq()])).toEqual(before);
      for (const input of inputs) expect((await store.getEvent(TENANT, input.event.id, ALL))?.event).toEqual(input.event);
      const next = await store.createEvent(newEvent());
      expect(next.kind === "created" && (next.entries[0]?.seq ?? 0) > before[2]).toBe(true);
    });
  });

  describe("life", () => {
    test("it answers ping, and refuses everything after close", async () => {
      const { store } = subject;
      await store.ping();
      const accepted = store.createEvent(newEvent());
      await store.close();
      await store.close();
      expect((await accepted).kind).toBe("created");
      expect(await codeOf(store.createEvent(newEvent()))).toBe("STORE_UNAVAILABLE");
      expect(await codeOf(store.ping())).toBe("STORE_UNAVAILABLE");
    });

    test("it says what it is", () => {
      expect(subject.store.info.schemaVersion).toBeGreaterThanOrEqual(1);
      expect(subject.store.info.driver).not.toBe("");
      expect(subject.store.info.location).not.toBe("");
    });
  });
}
