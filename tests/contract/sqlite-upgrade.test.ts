import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import type { State } from "../../src/protocol/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { STORE_APPLICATION_ID, STORE_MIGRATIONS } from "../../src/stores/drivers/sqlite/schema.ts";
import { aClaim, anAgent, anAudit, aReplica, HOUR_MS, newEvent, sha256, statusOf, T0, TENANT, textOf } from "../support/store-inputs.ts";

const ALL = { payload: true, log: true } as const;

interface Old {
  readonly id: string;
  readonly states: readonly State[];
  readonly payloadText?: string;
  readonly priority?: number;
}

const ENTERED: Readonly<Record<string, number>> = { created: 1, queued: 2, assigned: 4, in_progress: 8 };
const LARGE = JSON.stringify({ manifests: ["x".repeat(5000)] });

const OLD: readonly Old[] = [
  { id: "waits", states: ["queued"] },
  { id: "urgent", states: ["queued"], priority: 5 },
  { id: "handed", states: ["queued", "assigned"], payloadText: LARGE },
  { id: "runs", states: ["assigned", "in_progress", "in_progress"] },
  { id: "done", states: ["assigned", "in_progress", "completed"], payloadText: LARGE },
  { id: "failed", states: ["assigned", "in_progress", "failed"] },
];

/** Writes a store as version 1 of the schema did: with its statements, and with the hole that a duplicate left in the numbers of events. */
function writeVersion1(path: string): void {
  const db = new Database(path, { create: true });
  db.run("PRAGMA journal_mode = WAL");
  db.run(STORE_MIGRATIONS[0]?.sql ?? "");
  db.run(`PRAGMA application_id = ${STORE_APPLICATION_ID}`);
  db.run("PRAGMA user_version = 1");
  const counted = new Map<string, number>();
  const count = (name: string): void => void counted.set(name, (counted.get(name) ?? 0) + 1);
  let seq = 0;
  let payloadNo: number | null = null;
  for (const [at, old] of OLD.entries()) {
    const input = newEvent({ id: old.id, ...(old.payloadText === undefined ? {} : { payloadText: old.payloadText }) });
    const { event } = input;
    const [ord, no] = [at + 1, at < 2 ? at + 1 : at + 4];
    const large = old.payloadText !== undefined;
    if (large && payloadNo === null) {
      payloadNo = 1;
      db.run("INSERT INTO payload (no, digest, bytes, text) VALUES (?, ?, ?, ?)", [1, sha256(LARGE), LARGE.length, LARGE]);
    }
    db.run(
      `INSERT INTO event (no, tenant, id, principal, type, target_agent, created_at, created_at_ms, created_by, ttl_ns, deadline_ms, priority,
       traceparent, received_at_ms, content_digest, payload_digest, payload_bytes, payload_no, labels, extra, payload)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      [
        no,
        TENANT,
        old.id,
        "local",
        event.type,
        "agent-1",
        event.createdAt ?? null,
        event.createdAtMs ?? null,
        event.createdBy,
        event.ttlNs,
        null,
        old.priority ?? 0,
        null,
        T0 + at,
        input.contentDigest,
        input.payloadDigest,
        input.payloadBytes,
        large ? payloadNo : null,
        '{"a":"b"}',
        null,
        large ? null : (input.payloadText ?? null),
      ],
    );
    let previous: number | null = null;
    let [entered, attempts, started, finished, result] = [1, 0, null as number | null, null as number | null, null as number | null];
    count("total");
    count("created");
    for (const state of old.states) {
      seq += 1;
      const ended = state === "completed" || state === "failed";
      db.run(
        `INSERT INTO execution_log (seq, delivery, prev, timestamp, state, phase, level, message, details, result)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        [
          seq,
          ord,
          previous,
          "2026-02-10T10:00:00.5Z",
          state,
          "",
          "info",
          `${old.id} ${state}`,
          state === "in_progress" ? '{"step":1}' : null,
          ended ? `{"success":${state === "completed"}}` : null,
        ],
      );
      previous = seq;
      if (((ENTERED[state] ?? 0) & entered) === 0 || ended) count(state);
      entered |= ENTERED[state] ?? 0;
      if (state === "assigned") attempts += 1;
      if (state === "in_progress") started ??= T0 + 100;
      if (ended) [finished, result] = [T0 + 200, seq];
    }
    const state = old.states.at(-1) ?? "queued";
    const due = state === "in_progress" ? T0 + 100 + HOUR_MS + 30_000 : T0 + HOUR_MS + (state === "assigned" ? 30_000 : 0);
    db.run(
      `INSERT INTO delivery (ord, event_no, tenant, agent_id, principal, revision, priority, expires_at_ms, due_at_ms, state, phase, entered,
       attempts, last_seq, result_seq, updated_at_ms, started_at_ms, finished_at_ms, seq, boot_id, message)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      [
        ord,
        no,
        TENANT,
        "agent-1",
        "local",
        1,
        old.priority ?? 0,
        T0 + HOUR_MS,
        due,
        state,
        "",
        entered,
        attempts,
        seq,
        result,
        T0 + 150,
        started,
        finished,
        started === null ? null : 7,
        started === null ? null : "boot",
        `${old.id} ${state}`,
      ],
    );
    db.run("INSERT INTO audit (seq, tenant, principal, at_ms, action, event_id) VALUES (?, ?, ?, ?, ?, ?)", [
      ord,
      TENANT,
      "local",
      T0 + at,
      "event_received_http",
      old.id,
    ]);
  }
  for (const [name, value] of [...counted, ["last_event", 9], ["last_ord", 6], ["last_seq", seq], ["last_audit", 6], ["last_payload", 1]])
    db.run(`UPDATE counter SET ${name} = ? WHERE id = 1`, [value ?? 0]);
  db.close();
}

async function upgraded(): Promise<{ readonly path: string; readonly open: () => Promise<Store> } & AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), "transporter-upgrade-"));
  const path = join(directory, "store.db");
  writeVersion1(path);
  return {
    path,
    open: () => openStore(`sqlite:${path}`, { ports: systemPorts, log: silentLogger }),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

describe("a store of schema 1", () => {
  test("opens, and all that it holds reads as it did", async () => {
    await using place = await upgraded();
    const store = await place.open();
    expect(store.info.schemaVersion).toBe(STORE_MIGRATIONS.at(-1)?.version ?? -1);
    expect(await store.counters()).toEqual({
      total: 6,
      created: 6,
      queued: 3,
      assigned: 4,
      in_progress: 3,
      completed: 1,
      failed: 1,
      expired: 0,
      cancelled: 0,
    });
    expect(await store.openCounts()).toEqual({ queued: 2, inFlight: 2, byAgent: new Map([["agent-1", { queued: 2, inFlight: 2 }]]) });
    for (const old of OLD) {
      const stored = await store.getEvent(TENANT, old.id, ALL);
      const input = newEvent({ id: old.id, ...(old.payloadText === undefined ? {} : { payloadText: old.payloadText }) });
      expect(stored?.event).toEqual({ ...input.event, labels: { a: "b" }, priority: old.priority ?? 0 });
      expect(textOf(stored?.payload)).toBe(input.payloadText);
      expect(stored?.log.map((entry) => [entry.state, entry.timestamp, entry.message])).toEqual(
        old.states.map((state) => [state, "2026-02-10T10:00:00.5Z", `${old.id} ${state}`]),
      );
      expect(stored?.summary).toMatchObject({ state: old.states.at(-1), revision: 1, updated_at: "2026-02-10T10:00:00.150Z" });
      expect(await store.createEvent(input)).toMatchObject({ kind: "duplicate" });
    }
    expect((await store.getEvent(TENANT, "done", ALL))?.result).toEqual({ success: true });
    expect((await store.getEvent(TENANT, "runs", ALL))?.log[1]?.details).toEqual({ step: 1 });
    expect((await store.listEvents({ tenant: TENANT, limit: 10 })).items.map((item) => item.id)).toEqual(
      OLD.map((old) => old.id).toReversed(),
    );
    expect((await store.listEvents({ tenant: TENANT, limit: 10, states: ["failed"] })).items.map((item) => item.id)).toEqual(["failed"]);
    expect(
      (await store.listEvents({ tenant: TENANT, limit: 10, states: ["assigned", "in_progress"] })).items.map((item) => item.id),
    ).toEqual(["runs", "handed"]);
    const audit = await store.listAudit({ tenant: TENANT, limit: 10, sinceMs: T0 + 1, untilMs: T0 + 4 });
    expect(audit.items.map((entry) => entry.event_id)).toEqual(["runs", "handed", "urgent"]);
    expect(await store.lastSeq()).toBe(13);
    expect(await store.nextDueMs()).toBe(T0 + HOUR_MS);
    await store.close();
    await (await place.open()).close();
  });

  test("goes on: what was open is handed out and ends, what has ended is tried again, what is new comes in", async () => {
    await using place = await upgraded();
    const store = await place.open();
    const query = { tenant: TENANT, agentId: "agent-1", skip: new Set<string>(), nowMs: T0, maxItems: 9, maxBytes: 1e9 } as const;
    const ids = async (states: readonly State[], order: "urgent" | "accepted"): Promise<string[]> =>
      (await store.openDeliveries({ ...query, states, order })).map((item) => item.event.id);
    expect(await ids(["queued"], "urgent")).toEqual(["urgent", "waits"]);
    expect(await ids(["queued"], "accepted")).toEqual(["waits", "urgent"]);
    expect(await ids(["assigned", "in_progress"], "accepted")).toEqual(["handed", "runs"]);
    const say = (id: string, state: State, seq: number) =>
      store.applyStatus(statusOf(newEvent({ id }), state, { bootId: "boot", seq, revision: 1, result: { success: true } }));
    expect((await say("runs", "completed", 7)).verdict).toBe("stale");
    expect(await say("runs", "completed", 8)).toMatchObject({ verdict: "apply", state: "completed" });
    expect((await say("done", "failed", 9)).verdict).toBe("late");
    const created = await store.createEvent(newEvent({ id: "new", state: "assigned" }));
    expect(created).toMatchObject({ kind: "created", delivery: { revision: 1 } });
    const retried = await store.retryEvent({
      tenant: TENANT,
      eventId: "failed",
      principal: "local",
      nowMs: T0 + 1000,
      message: "again",
      audit: anAudit(),
    });
    expect(retried).toMatchObject({ kind: "created", delivery: { revision: 2 } });
    const places = [created, retried].map((one) => (one.kind === "created" ? one.delivery.ord : -1));
    expect(Math.min(...places)).toBeGreaterThan(6);
    expect(new Set(places).size).toBe(2);
    expect((await say("new", "completed", 10)).verdict).toBe("apply");
    expect((await store.getEvent(TENANT, "failed", ALL))?.log.map((entry) => [entry.revision, entry.state])).toEqual([
      [1, "assigned"],
      [1, "in_progress"],
      [1, "failed"],
      [2, "queued"],
    ]);
    expect((await store.listEvents({ tenant: TENANT, limit: 10 })).items.map((item) => item.id)).toEqual([
      "new",
      "failed",
      "done",
      "runs",
      "handed",
      "urgent",
      "waits",
    ]);
    expect((await store.expireDue(T0 + 2 * HOUR_MS, 10)).map((ended) => `${ended.eventId} ${ended.state}`).toSorted()).toEqual([
      "failed expired",
      "handed failed",
      "urgent expired",
      "waits expired",
    ]);
    expect(await store.sweep({ finishedBeforeMs: T0 + 100 * HOUR_MS, auditBeforeMs: T0 + 3, limit: 100 })).toEqual({
      events: 7,
      audit: 5,
      documents: 0,
    });
    expect((await store.listEvents({ tenant: TENANT, limit: 10 })).items).toEqual([]);
    expect(await store.logAfter({ tenant: TENANT, afterSeq: 0, limit: 100 })).toEqual([]);
    await store.close();
    const db = new Database(place.path, { readonly: true });
    for (const table of ["event", "delivery", "entry", "payload"])
      expect(`${table} ${JSON.stringify(db.query(`SELECT count(*) AS n FROM ${table}`).get())}`).toBe(`${table} {"n":0}`);
    expect(db.query("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
    db.close();
  });
});

/** Writes a store as version 2 of the schema did: what version 1 left, and an agent that is connected. */
function writeVersion2(path: string): void {
  writeVersion1(path);
  const db = new Database(path);
  db.run(STORE_MIGRATIONS[1]?.sql ?? "");
  db.run("PRAGMA user_version = 2");
  const agent = anAgent("agent-1");
  db.run(
    `INSERT INTO agent (tenant, id, principal, cluster_name, status, paused, remote_address, connected_at_ms, last_seen_ms, registration)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    [TENANT, "agent-1", agent.principal, "kind", "connected", 1, agent.remoteAddress, T0, T0, JSON.stringify(agent.registration)],
  );
  db.close();
}

describe("a store of schema 2", () => {
  test("its agents have had no epoch, are not connected any more, and go on from their next connection", async () => {
    const directory = await mkdtemp(join(tmpdir(), "transporter-upgrade-"));
    const path = join(directory, "store.db");
    writeVersion2(path);
    const open = (): Promise<Store> => openStore(`sqlite:${path}`, { ports: systemPorts, log: silentLogger });
    const store = await open();
    expect(store.info.schemaVersion).toBe(STORE_MIGRATIONS.at(-1)?.version ?? -1);
    expect(await store.getAgent(TENANT, "agent-1")).toEqual({ ...anAgent("agent-1"), paused: true, epoch: 0, replicaId: undefined });
    const lease = await store.renewLease({ replica: aReplica("replica-1"), ttlMs: HOUR_MS, nowMs: T0 + 5 });
    expect(lease.orphaned).toEqual([{ tenant: TENANT, id: "agent-1" }]);
    expect(await store.getAgent(TENANT, "agent-1")).toMatchObject({ status: "disconnected", disconnectedAtMs: T0 + 5 });
    expect(await store.claimAgent(aClaim("agent-1"), anAudit())).toEqual({ epoch: 1, paused: true, before: undefined });
    const runs = newEvent({ id: "runs" });
    expect((await store.applyStatus(statusOf(runs, "completed", { bootId: "boot", seq: 8 }))).verdict).toBe("fenced");
    expect(await store.applyStatus(statusOf(runs, "completed", { epoch: 1, bootId: "boot", seq: 8 }))).toMatchObject({ verdict: "apply" });
    await store.saveMark("how far", "here");
    expect(await store.importCounters("elsewhere", { total: 1 })).toBe(true);
    await store.close();
    const again = await open();
    expect(await again.mark("how far")).toBe("here");
    expect(await again.importCounters("elsewhere", { total: 1 })).toBe(false);
    expect(await again.getAgent(TENANT, "agent-1")).toMatchObject({ epoch: 1 });
    await again.close();
    await rm(directory, { recursive: true, force: true });
  });
});

/** Writes a store as version 3 of the schema did: what version 2 left, with a mark and numbers that were given since. */
function writeVersion3(path: string): void {
  writeVersion2(path);
  const db = new Database(path);
  db.run(STORE_MIGRATIONS[2]?.sql ?? "");
  db.run("PRAGMA user_version = 3");
  db.run("INSERT INTO mark (name, value) VALUES ('how far', 'here')");
  db.run("UPDATE counter SET last_audit = 40, total = 9");
  db.close();
}

describe("a store of schema 3", () => {
  test("keeps what it has, has no documents, and takes them from then on", async () => {
    const directory = await mkdtemp(join(tmpdir(), "transporter-upgrade-"));
    const path = join(directory, "store.db");
    writeVersion3(path);
    const open = (): Promise<Store> => openStore(`sqlite:${path}`, { ports: systemPorts, log: silentLogger });
    const store = await open();
    expect(store.info.schemaVersion).toBe(4);
    expect(await store.mark("how far")).toBe("here");
    expect(await store.counters()).toMatchObject({ total: 9 });
    expect(await store.getAgent(TENANT, "agent-1")).toMatchObject({ paused: true, epoch: 0 });
    expect([await store.lastDocumentSeq(), await store.documentsAfter(0, 9)]).toEqual([0, []]);
    const key = { tenant: TENANT, kind: "token", id: "a" };
    const made = await store.writeDocument({ ...key, expect: 0, value: "v", expiresAtMs: undefined, audit: anAudit({ action: "made" }) });
    expect(made).toEqual({ kind: "written", version: 1, seq: 1 });
    expect((await store.listAudit({ tenant: TENANT, limit: 1 })).items).toMatchObject([{ seq: 41, action: "made" }]);
    await store.close();
    const again = await open();
    expect(await again.getDocument(key)).toEqual({ ...key, version: 1, seq: 1, value: "v", expiresAtMs: undefined });
    expect(await again.lastDocumentSeq()).toBe(1);
    await again.close();
    await rm(directory, { recursive: true, force: true });
  });
});
