import { describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Database } from "bun:sqlite";
import { decodeFrame, type Delivery } from "../../src/agent/delivery.ts";
import { FileLedger, ledgerFileName } from "../../src/agent/ledger-file.ts";
import type { StatusRecord } from "../../src/agent/status.ts";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { keepingLogger, MapCluster, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

interface StateDir extends AsyncDisposable {
  readonly path: string;
}
async function stateDir(): Promise<StateDir> {
  const path = await mkdtemp(join(tmpdir(), "transporter-ledger-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

function open(path: string, log = silentLogger): FileLedger {
  return new FileLedger({ stateDir: path, agentId: "agent-cluster-agent-1", clock: systemPorts.clock, timers: systemPorts.timers, log });
}

function delivery(id: string): Delivery {
  const text = JSON.stringify({
    type: "event",
    event: { id, type: "k8s_resource", target_agent: "a", payload: { manifests: ["x: 1"] } },
    revision: 1,
  });
  const decoded = decodeFrame(text);
  if (decoded.kind !== "event") throw new Error("no event");
  return decoded.delivery;
}

function status(seq: number, more: Partial<StatusRecord> = {}): StatusRecord {
  return {
    state: "in_progress",
    phase: "applying",
    message: "m",
    level: "info",
    bootId: "boot",
    seq,
    eventId: "e",
    revision: 1,
    timestamp: "t",
    ...more,
  };
}

/** A delivery whose payload lies apart, in pieces of this many bytes. */
function apart(id: string, digest: string, encodedBytes: number): Delivery {
  const text = JSON.stringify({
    type: "event",
    event: { id, type: "k8s_resource", target_agent: "a", payload: {} },
    revision: 1,
    payload: { digest, bytes: 9_999, encoding: "zstd", encoded_bytes: encodedBytes },
  });
  const decoded = decodeFrame(text);
  if (decoded.kind !== "event") throw new Error("no event");
  return decoded.delivery;
}

function bytes(count: number, value: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(count).fill(value);
}

const TRAITS = { verifyTimeoutMs: 7, forceConflicts: true };

test("of two in one commit the later is not kept where the earlier cannot be, so that it does not go first after a crash", async () => {
  const database = new Database(":memory:");
  const ledger = new FileLedger({
    stateDir: "",
    database,
    agentId: "agent-1",
    clock: systemPorts.clock,
    timers: systemPorts.timers,
    log: silentLogger,
  });
  const [earlier, later] = [delivery("earlier"), delivery("later")];
  const recordBoth = (): Promise<PromiseSettledResult<void>[]> =>
    Promise.allSettled([
      ledger.record({ delivery: earlier, receivedAtMs: 1, expiresAtMs: undefined }),
      ledger.record({ delivery: later, receivedAtMs: 2, expiresAtMs: undefined }, earlier.key),
    ]);
  await ledger.recover();
  // As a disk that takes small ones only.
  database.run(
    `CREATE TRIGGER small BEFORE INSERT ON deliveries WHEN NEW.key = '${earlier.key}' BEGIN SELECT RAISE(ABORT, 'no room'); END`,
  );
  expect((await recordBoth()).map(({ status: how }) => how)).toEqual(["rejected", "rejected"]);
  expect((await ledger.recover()).deliveries).toEqual([]);
  database.run("DROP TRIGGER small");
  expect((await recordBoth()).map(({ status: how }) => how)).toEqual(["fulfilled", "fulfilled"]);
  expect((await ledger.recover()).deliveries.map(({ work }) => work.eventId)).toEqual(["earlier", "later"]);
  await ledger.close();
});

describe("payloads in the ledger on disk", () => {
  const recordAll = async (ledger: FileLedger, ...all: readonly Delivery[]): Promise<void> => {
    for (const one of all) await ledger.record({ delivery: one, receivedAtMs: 1, expiresAtMs: undefined });
  };

  test("survive a restart, piece by piece; a delivery says whether its own is here", async () => {
    await using state = await stateDir();
    const first = open(state.path);
    await recordAll(first, apart("a", "da", 30), apart("b", "db", 10), delivery("plain"));
    await first.savePiece("da", 0, bytes(20, 1));
    await first.savePiece("db", 0, bytes(10, 2));
    await first.savePiece("db", 0, bytes(10, 9));
    await first.payloadArrived("db", TRAITS, [{ key: apart("b", "db", 10).key, work: { ...apart("b", "db", 10).work, ...TRAITS } }]);
    await first.close();
    const second = open(state.path);
    const { deliveries } = await second.recover();
    expect(deliveries.map((one) => [one.work.eventId, one.fetching, one.payload?.digest, one.work.verifyTimeoutMs])).toEqual([
      ["a", true, "da", 120_000],
      ["b", false, "db", 7],
      ["plain", false, undefined, 120_000],
    ]);
    expect(await second.payload("da")).toEqual({ bytes: 20, traits: undefined });
    expect(await second.payload("db")).toEqual({ bytes: 10, traits: TRAITS });
    expect(await second.manifests(apart("a", "da", 30).key)).toBeUndefined();
    expect(await second.manifests(apart("b", "db", 10).key)).toMatchObject({ type: "k8s_resource", pieces: [bytes(10, 2)] });
    expect(await second.manifests(delivery("plain").key)).toBe('["x: 1"]');
    await second.dropPayload("db");
    expect(await second.payload("db")).toEqual({ bytes: 0, traits: undefined });
    await second.close();
  });

  test("stay as long as an open delivery refers to them, however many share them, and go after the last", async () => {
    await using state = await stateDir();
    const ledger = open(state.path);
    const [a, b] = [apart("a", "shared", 400), apart("b", "shared", 400)];
    await recordAll(ledger, a, b);
    for (let at = 0; at < 40; at += 1) await ledger.savePiece("shared", at * 10, bytes(10, at));
    await ledger.payloadArrived("shared", TRAITS, []);
    await ledger.finish(a.key, a.work, status(1, { state: "completed" }), Date.now());
    expect(await ledger.payload("shared")).toEqual({ bytes: 400, traits: TRAITS });
    const whole = await ledger.manifests(b.key);
    expect(typeof whole === "object" && whole.pieces.length).toBe(40);
    await ledger.finish(b.key, b.work, status(2, { state: "completed" }), Date.now());
    await eventually(async () => (await ledger.payload("shared")).bytes === 0);
    await ledger.close();
  });

  test("that were given up while they were looked through are not taken for whole when they are wanted again", async () => {
    await using state = await stateDir();
    const ledger = open(state.path);
    const [first, again] = [apart("a", "given up", 10), apart("b", "given up", 10)];
    await recordAll(ledger, first);
    await ledger.savePiece("given up", 0, bytes(10, 1));
    await ledger.finish(first.key, first.work, status(1, { state: "cancelled" }), Date.now());
    await eventually(async () => (await ledger.payload("given up")).bytes === 0);
    await ledger.payloadArrived("given up", TRAITS, [{ key: first.key, work: first.work }]);
    await recordAll(ledger, again);
    expect(await ledger.payload("given up")).toEqual({ bytes: 0, traits: undefined });
    await ledger.close();
  });

  test("that nobody refers to, as a crash may leave them, go at the start", async () => {
    await using state = await stateDir();
    const first = open(state.path);
    await first.savePiece("orphan", 0, bytes(10, 1));
    await first.close();
    const second = open(state.path);
    await second.recover();
    await eventually(async () => (await second.payload("orphan")).bytes === 0);
    await second.close();
  });
});

describe("a ledger of the version before", () => {
  test("is taken over: what is open goes on, with the defaults for what it did not say", async () => {
    await using state = await stateDir();
    const { LEDGER_APPLICATION_ID, LEDGER_MIGRATIONS } = await import("../../src/agent/ledger-schema.ts");
    const path = join(state.path, "agent-agent-cluster-agent-1.db");
    const old = new Database(path, { create: true });
    old.run("PRAGMA journal_mode = WAL");
    old.run(`PRAGMA application_id = ${LEDGER_APPLICATION_ID}`);
    old.run(LEDGER_MIGRATIONS[0]?.sql ?? "");
    old.run("PRAGMA user_version = 1");
    const { retry: _retry, ...work } = delivery("old").work;
    old.run("INSERT INTO deliveries (key, work, received_at_ms, state) VALUES (?, ?, 1, 'open')", [
      delivery("old").key,
      JSON.stringify(work),
    ]);
    old.run("INSERT INTO manifests (key, body) VALUES (?, ?)", [delivery("old").key, '["x: 1"]']);
    old.close();
    const ledger = open(state.path);
    const { deliveries } = await ledger.recover();
    expect(deliveries[0]).toMatchObject({
      key: delivery("old").key,
      fetching: false,
      work: { eventId: "old", retry: { attempts: 8, backoffMs: 1_000, maxBackoffMs: 60_000 } },
    });
    expect(await ledger.manifests(delivery("old").key)).toBe('["x: 1"]');
    await ledger.close();
  });
});

describe("the ledger on disk", () => {
  test("gives back what is open, in order, with its manifests, and what was not acknowledged", async () => {
    await using state = await stateDir();
    const first = open(state.path);
    for (const id of ["c", "a", "b"])
      await first.record({ delivery: delivery(id), receivedAtMs: 5, expiresAtMs: id === "a" ? 9 : undefined });
    await first.started(delivery("c").key, "applying");
    await first.addStatus(status(1));
    await first.addStatus(status(2));
    await first.addStatus(status(3));
    await first.finish(delivery("b").key, delivery("b").work, status(4, { state: "completed" }), Date.now());
    await first.acknowledged("boot", 1);
    await first.dropStatuses([{ bootId: "boot", seq: 3 }]);
    await first.close();
    const second = open(state.path);
    const { deliveries, statuses } = await second.recover();
    expect(deliveries.map(({ work, started, crashes, expiresAtMs }) => ({ id: work.eventId, started, crashes, expiresAtMs }))).toEqual([
      { id: "c", started: true, crashes: 1, expiresAtMs: undefined },
      { id: "a", started: false, crashes: 0, expiresAtMs: 9 },
    ]);
    expect(await second.manifests(delivery("c").key)).toBe('["x: 1"]');
    expect(await second.manifests(delivery("b").key)).toBeUndefined();
    expect(statuses.map((one) => one.seq)).toEqual([2, 4]);
    expect((await second.finished(delivery("b").key))?.state).toBe("completed");
    expect(await second.finished(delivery("a").key)).toBeUndefined();
    await second.close();
  });

  test("a stop on purpose is no crash; each crash counts", async () => {
    await using state = await stateDir();
    const { key } = delivery("e");
    const counts: number[] = [];
    for (const end of ["crash", "stop", "crash", "look"]) {
      const ledger = open(state.path);
      await ledger.record({ delivery: delivery("e"), receivedAtMs: 1, expiresAtMs: undefined });
      counts.push((await ledger.recover()).deliveries[0]?.crashes ?? -1);
      if (end !== "look") await ledger.started(key, "applying");
      if (end === "stop") await ledger.interrupted(key);
      await ledger.close();
    }
    expect(counts).toEqual([0, 1, 1, 2]);
  });

  test("an event that killed its agent three times is put aside instead of a fourth", async () => {
    await using state = await stateDir();
    for (let at = 0; at < 3; at += 1) {
      const ledger = open(state.path);
      await ledger.recover();
      await ledger.record({ delivery: delivery("poison"), receivedAtMs: 1, expiresAtMs: undefined });
      await ledger.started(delivery("poison").key, "applying");
      await ledger.close();
    }
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources }, stateDir: state.path });
    expect(await cp.ended("poison")).toMatchObject({
      state: "failed",
      details: { code: "EVENT_QUARANTINED", crashes: 3, phase: "applying" },
      message: expect.stringContaining("ended 3 times"),
    });
    expect(cluster.history).toEqual([]);
  });

  test("forgets finished deliveries after seven days, and not before", async () => {
    await using state = await stateDir();
    const day = 24 * 3_600_000;
    const first = open(state.path);
    for (const [id, age] of [
      ["old", 7.1],
      ["young", 6.9],
    ] as const) {
      await first.record({ delivery: delivery(id), receivedAtMs: 1, expiresAtMs: undefined });
      await first.finish(
        delivery(id).key,
        delivery(id).work,
        status(1, { eventId: id, bootId: id, state: "completed" }),
        Date.now() - age * day,
      );
    }
    await first.close();
    const second = open(state.path);
    await second.recover();
    expect(await second.finished(delivery("old").key)).toBeUndefined();
    expect(await second.finished(delivery("young").key)).toBeDefined();
    await second.close();
  });

  test("found damaged while it runs it is moved aside, and the operation that found it succeeds in a fresh one", async () => {
    await using state = await stateDir();
    const { log, lines } = keepingLogger();
    const filled = open(state.path);
    // More than the cache holds, so that the damage is met.
    await Promise.all(Array.from({ length: 3000 }, (_, at) => filled.addStatus(status(at, { message: "x".repeat(2000) }))));
    await filled.close();
    // The start's own check must pass: the damage comes after it.
    const ledger = open(state.path, log);
    const bytes = (await stat(ledger.path)).size;
    const file = Bun.file(ledger.path);
    const content = new Uint8Array(await file.arrayBuffer());
    content.fill(0xa5, 4096, bytes);
    const { openSync, writeSync, closeSync } = await import("node:fs");
    const descriptor = openSync(ledger.path, "r+");
    writeSync(descriptor, content, 0, content.byteLength, 0);
    closeSync(descriptor);
    expect(await ledger.recover()).toEqual({ deliveries: [], statuses: [], seenEpoch: 0 });
    await ledger.record({ delivery: delivery("e"), receivedAtMs: 1, expiresAtMs: undefined });
    await ledger.finish(delivery("e").key, delivery("e").work, status(1, { state: "completed" }), Date.now());
    expect((await ledger.finished(delivery("e").key))?.state).toBe("completed");
    expect(lines.filter((line) => line.level === "error")).toHaveLength(1);
    expect((await readdir(state.path)).some((name) => name.includes(".damaged-"))).toBe(true);
    await ledger.close();
  });

  test("of a newer version it is moved aside as well; another program's database is left alone", async () => {
    await using state = await stateDir();
    const first = open(state.path);
    const { path } = first;
    await first.close();
    const raw = new Database(path);
    raw.run("PRAGMA user_version = 99");
    raw.close();
    const second = open(state.path);
    await second.record({ delivery: delivery("e"), receivedAtMs: 1, expiresAtMs: undefined });
    await second.close();
    const other = new Database(join(state.path, ledgerFileName("other")));
    other.run("CREATE TABLE theirs (x)");
    other.close();
    expect(
      () =>
        new FileLedger({ stateDir: state.path, agentId: "other", clock: systemPorts.clock, timers: systemPorts.timers, log: silentLogger }),
    ).toThrow(/database of something else/);
  });

  test("keeps 0600 files whose names fit any id, and no two ids the same", async () => {
    await using state = await stateDir();
    const ids = ["plain-1.x", "a/b", "a_b", "a b", "../../etc/passwd", ".hidden", "x".repeat(253), `${"x".repeat(252)}y`, "ünïcödé", "A:B"];
    const names = ids.map(ledgerFileName);
    expect(new Set(names).size).toBe(ids.length);
    for (const name of names) expect(name).toMatch(/^agent-[A-Za-z0-9_][A-Za-z0-9._-]{0,120}\.db$/);
    const ledger = open(state.path);
    expect((await stat(ledger.path)).mode & 0o777).toBe(0o600);
    await ledger.close();
  });
});
