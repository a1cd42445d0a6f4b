import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, manualPorts, silentLogger, systemPorts, workerHref } from "../../src/kit/mod.ts";
import { type CheckpointAnswer, Checkpointer, GroupCommit, openDatabase, type OpenedDatabase } from "../../src/sqlite/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { eventually } from "../support/eventually.ts";
import { handIn } from "../disk/control-plane.ts";
import { compiledTest, startProcess, startTransporter } from "../support/process.ts";
import { newEvent, TENANT } from "../support/store-inputs.ts";

const MIB = 1024 * 1024;
const MIGRATIONS = [{ version: 1, name: "rows", sql: "CREATE TABLE row (id INTEGER PRIMARY KEY, data BLOB NOT NULL)" }];
const openStoreAt = (path: string): Promise<Store> => openStore(`sqlite:${path}`, { ports: systemPorts, log: silentLogger });
const ourWorker = (): Worker => new Worker(workerHref("sqlite/checkpoint.worker.ts"));

interface Place extends AsyncDisposable {
  readonly path: string;
  /** What lies in the directory. */
  names(): string[];
}

async function place(): Promise<Place> {
  const directory = await mkdtemp(join(tmpdir(), "transporter-checkpoint-"));
  return {
    path: join(directory, "store.db"),
    names: () => readdirSync(directory).toSorted(),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

const openRows = (path: string): OpenedDatabase =>
  openDatabase({ path, what: "store", applicationId: 7, migrations: MIGRATIONS, log: silentLogger, clock: systemPorts.clock });

/** Writes about this much in one transaction. */
function write({ db }: Pick<OpenedDatabase, "db">, bytes: number): void {
  db.run("BEGIN");
  for (let at = 0; at < bytes; at += MIB / 4) db.run("INSERT INTO row (data) VALUES (zeroblob(?))", [Math.min(bytes - at, MIB / 4)]);
  db.run("COMMIT");
}

/** Pages in the log, and how many of them are in the file. */
function logOf({ db }: OpenedDatabase): { readonly log: number; readonly checkpointed: number } {
  const state = db.query<{ log: number; checkpointed: number }, []>("PRAGMA wal_checkpoint(NOOP)").get();
  if (state === null) throw new Error("no answer");
  return state;
}

function pragma({ db }: OpenedDatabase, name: string): number {
  return Object.values(db.query<Record<string, number>, []>(`PRAGMA ${name}`).get() ?? {})[0] ?? -1;
}

const events = (round: number, bytes: number): ReturnType<typeof newEvent>[] =>
  Array.from({ length: 8 }, (_, at) => newEvent({ id: `e-${round}-${at}`, payloadText: JSON.stringify(`${at}${"x".repeat(bytes)}`) }));

describe("sqlite: checkpoints by a worker", () => {
  test("under a load that never ceases the log begins anew again and again, and all is there afterwards", async () => {
    await using where = await place();
    const store = await openStoreAt(where.path);
    const wal = `${where.path}-wal`;
    let longest = 0;
    let round = 0;
    // Three times as much as a log may hold before a commit moves it after all.
    for (; round * 8 * 60_000 < 192 * MIB; round += 1) {
      const answers = events(round, 60_000).map((input) => store.createEvent(input));
      await Promise.all(answers);
      longest = Math.max(longest, statSync(wal).size);
    }
    expect(longest).toBeGreaterThan(4 * MIB);
    expect(longest).toBeLessThan(60 * MIB);
    await store.close();
    expect(where.names()).toEqual(["store.db", "store.db-lock"]);
    const again = await openStoreAt(where.path);
    expect((await again.counters()).total).toBe(round * 8);
    expect((await again.getEvent(TENANT, "e-0-0", { payload: false, log: false }))?.event.id).toBe("e-0-0");
    await again.close();
  }, 120_000);

  test("what a commit leaves in the log is moved without a further commit, and not by the commit", async () => {
    await using where = await place();
    const rows = openRows(where.path);
    const checkpointer = new Checkpointer({ database: rows, timers: systemPorts.timers, log: silentLogger });
    write(rows, 3 * MIB);
    checkpointer.committed();
    // So little is not worth it; a longer log than a commit moves by default stays for the worker.
    expect(checkpointer.active).toBe(true);
    write(rows, 17 * MIB);
    expect(logOf(rows).checkpointed).toBe(0);
    checkpointer.committed();
    await eventually(() => logOf(rows).checkpointed === logOf(rows).log, { timeoutMs: 30_000 });
    write(rows, MIB);
    expect(logOf(rows).log).toBeLessThan(1024);
    await checkpointer.stop();
    rows.close();
    expect(where.names()).toEqual(["store.db", "store.db-lock"]);
  }, 60_000);

  test("what was committed while the worker was at work is moved by the main loop when it is little, so that a long log begins anew", async () => {
    await using where = await place();
    const rows = openRows(where.path);
    const reader = new Database(where.path, { readonly: true });
    const startWorker = (): Worker => {
      const worker = new Worker(URL.createObjectURL(new Blob(["self.onmessage = () => self.postMessage({})"])));
      // In the place of the worker: a reader that leaves only now has it stop before the last commit, for certain.
      worker.addEventListener("message", () => {
        rows.db.run("PRAGMA wal_checkpoint(PASSIVE)");
        reader.run("COMMIT");
      });
      return worker;
    };
    const checkpointer = new Checkpointer({ database: rows, timers: systemPorts.timers, log: silentLogger, startWorker });
    write(rows, 17 * MIB);
    reader.run("BEGIN");
    expect(reader.query("SELECT count(*) AS n FROM row").get()).toEqual({ n: 68 });
    write(rows, 100_000);
    checkpointer.committed();
    await eventually(() => logOf(rows).checkpointed > 0, { timeoutMs: 30_000 });
    expect(logOf(rows).checkpointed).toBe(logOf(rows).log);
    write(rows, 4096);
    expect(logOf(rows).log).toBeLessThan(100);
    await checkpointer.stop();
    reader.close();
    rows.close();
  }, 60_000);

  test("a reader keeps it from moving what came after it began; it is not asked in vain all the time, and goes on afterwards", async () => {
    await using where = await place();
    const rows = openRows(where.path);
    let worker: Worker | undefined;
    let asked = 0;
    let refused = 0;
    const checkpointer = new Checkpointer({
      database: rows,
      timers: systemPorts.timers,
      log: silentLogger,
      startWorker: () => {
        expect(worker).toBeUndefined();
        worker = ourWorker();
        worker.addEventListener("message", (message: MessageEvent<CheckpointAnswer>) => {
          if (message.data.failed === undefined) asked += 1;
          else refused += 1;
        });
        return worker;
      },
    });
    const reader = new Database(where.path, { readonly: true });
    reader.run("BEGIN");
    expect(reader.query("SELECT count(*) AS n FROM row").get()).toEqual({ n: 0 });
    write(rows, 5 * MIB);
    checkpointer.committed();
    await eventually(() => asked === 1, { timeoutMs: 30_000 });
    for (let at = 0; at < 20; at += 1) {
      write(rows, 4096);
      checkpointer.committed();
    }
    // It answers in the order asked: had it been asked for one of these, that answer would be here before this one.
    worker?.postMessage({ path: `${where.path}-absent` });
    await eventually(() => refused === 1, { timeoutMs: 30_000 });
    expect(asked).toBe(1);
    write(rows, 5 * MIB);
    checkpointer.committed();
    await eventually(() => asked === 2, { timeoutMs: 30_000 });
    expect(reader.query("SELECT count(*) AS n FROM row").get()).toEqual({ n: 0 });
    reader.run("COMMIT");
    reader.close();
    write(rows, 5 * MIB);
    checkpointer.committed();
    await eventually(() => asked === 3, { timeoutMs: 30_000 });
    expect(logOf(rows).checkpointed).toBe(logOf(rows).log);
    await checkpointer.stop();
    rows.close();
  }, 60_000);

  for (const [how, startWorker] of [
    ["is killed at work", ourWorker],
    ["throws", () => new Worker(URL.createObjectURL(new Blob(["self.onmessage = () => { throw new Error('broken') }"])))],
    ["is not there", () => new Worker("file:///nowhere/at-all.ts")],
  ] as const) {
    test(`a worker that ${how}: commits move the log themselves, as they did before`, async () => {
      await using where = await place();
      const rows = openRows(where.path);
      const warnings: string[] = [];
      const log: Logger = { ...silentLogger, warn: (message) => void warnings.push(message) };
      let worker: Worker | undefined;
      const checkpointer = new Checkpointer({
        database: rows,
        timers: systemPorts.timers,
        log,
        startWorker: () => (worker = startWorker()),
      });
      expect(pragma(rows, "wal_autocheckpoint")).toBe(16_384);
      write(rows, 8 * MIB);
      checkpointer.committed();
      if (startWorker === ourWorker) worker?.terminate();
      await eventually(() => !checkpointer.active, { timeoutMs: 20_000 });
      expect(warnings.length).toBe(1);
      expect(pragma(rows, "wal_autocheckpoint")).toBe(4000);
      write(rows, 9 * MIB);
      checkpointer.committed();
      // A connection of the dead one may have held the log at that very moment; the next commit has it for itself.
      await eventually(() => {
        write(rows, 4096);
        return logOf(rows).checkpointed === logOf(rows).log || logOf(rows).log < 1000;
      });
      await checkpointer.stop();
      rows.close();
      const again = openRows(where.path);
      expect(again.db.query("SELECT sum(length(data)) >= ? AS whole FROM row").get(17 * MIB)).toEqual({ whole: 1 });
      again.close();
    }, 60_000);
  }

  test("closing while a checkpoint runs waits for it, and leaves no log behind", async () => {
    await using where = await place();
    for (let round = 0; round < 5; round += 1) {
      const store = await openStoreAt(where.path);
      await Promise.all(
        Array.from({ length: 100 }, (_, at) => events(round * 100 + at, 10_000).map((one) => store.createEvent(one))).flat(),
      );
      await store.close();
      expect(where.names()).toEqual(["store.db", "store.db-lock"]);
    }
    const store = await openStoreAt(where.path);
    expect((await store.counters()).total).toBe(4000);
    await store.close();
  }, 60_000);

  test("a checkpoint without an end does not keep its database from closing", async () => {
    await using where = await place();
    const rows = openRows(where.path);
    const time = manualPorts();
    const startWorker = (): Worker => new Worker(URL.createObjectURL(new Blob(["self.onmessage = () => undefined"])));
    const checkpointer = new Checkpointer({ database: rows, timers: time.ports.timers, log: silentLogger, startWorker });
    write(rows, 5 * MIB);
    checkpointer.committed();
    let stopped = false;
    const stop = checkpointer.stop().then(() => (stopped = true));
    await time.advance(9_000);
    expect(stopped).toBe(false);
    await time.advance(1_000);
    await stop;
    rows.close();
    expect(where.names()).toEqual(["store.db", "store.db-lock"]);
  });

  test("the second connection, once closed, takes neither the locks nor the log of the first with it", async () => {
    await using where = await place();
    const rows = openRows(where.path);
    const checkpointer = new Checkpointer({ database: rows, timers: systemPorts.timers, log: silentLogger });
    write(rows, 5 * MIB);
    checkpointer.committed();
    await eventually(() => logOf(rows).checkpointed > 0, { timeoutMs: 30_000 });
    await checkpointer.stop();
    rows.db.run("BEGIN IMMEDIATE");
    rows.db.run("INSERT INTO row (data) VALUES ('mine')");
    // Another process would otherwise write in between, and remove the log when it leaves.
    const script = `const { Database } = require("bun:sqlite"); const db = new Database(${JSON.stringify(where.path)});
      try { db.run("BEGIN IMMEDIATE"); console.log("written"); } catch (error) { console.log(error.code); } db.close(); console.log("left");`;
    await using other = await startProcess([process.execPath, "-e", script]);
    await other.line(/^left$/);
    expect(other.stdout()).toContain("SQLITE_BUSY");
    rows.db.run("COMMIT");
    expect(where.names()).toContain("store.db-wal");
    rows.close();
    const again = openRows(where.path);
    expect(again.db.query("SELECT count(*) AS n FROM row WHERE data = 'mine'").get()).toEqual({ n: 1 });
    again.close();
  }, 60_000);

  test("it does not keep its process alive, at work or not", async () => {
    await using where = await place();
    const script = `
      const { openDatabase, Checkpointer } = await import(${JSON.stringify(join(import.meta.dir, "../../src/sqlite/mod.ts"))});
      const { silentLogger, systemPorts } = await import(${JSON.stringify(join(import.meta.dir, "../../src/kit/mod.ts"))});
      const database = openDatabase({ path: ${JSON.stringify(where.path)}, what: "store", applicationId: 7, migrations: ${JSON.stringify(MIGRATIONS)}, log: silentLogger, clock: systemPorts.clock });
      const checkpointer = new Checkpointer({ database, timers: systemPorts.timers, log: silentLogger });
      database.db.run("INSERT INTO row (data) VALUES (zeroblob(6000000))");
      checkpointer.committed();
      console.log("asked");`;
    await using other = await startProcess([process.execPath, "-e", script]);
    await other.line(/^asked$/);
    expect(await other.exited).toBe(0);
    const again = openRows(where.path);
    expect(again.db.query("SELECT sum(length(data)) AS bytes FROM row").get()).toEqual({ bytes: 6_000_000 });
    again.close();
  }, 60_000);

  test("a look at the log may stand in the hook of a committer, and never throws", async () => {
    await using where = await place();
    const rows = openRows(where.path);
    const checkpointer = new Checkpointer({ database: rows, timers: systemPorts.timers, log: silentLogger });
    const hooks = { committed: () => checkpointer.committed() };
    const group = new GroupCommit({ db: rows.db, clock: systemPorts.clock, timers: systemPorts.timers, what: "store", hooks });
    await Promise.all([1, 2, 3].map(() => group.run(() => rows.db.run("INSERT INTO row (data) VALUES (zeroblob(3000000))"))));
    await eventually(() => logOf(rows).checkpointed > 0, { timeoutMs: 30_000 });
    await group.close();
    await checkpointer.stop();
    rows.close();
    expect(() => checkpointer.committed()).not.toThrow();
  }, 60_000);

  compiledTest("the executable brings the worker along, and what was accepted is there after kill -9", async () => {
    await using where = await place();
    const accepted: string[] = [];
    {
      const args = ["cp", "--ws-port", "0", "--log-format", "json", "--store", `sqlite:${where.path}`];
      await using running = await startTransporter(args, { compiled: true });
      const address = (await running.line(/"message":"Control plane is listening","address":"([^"]+)"/))[1] ?? "";
      // Less than a commit moves by itself.
      for (let at = 0; at < 90; at += 1) {
        const { id, status } = await handIn(`http://${address}`, `event-${at}`, "nobody", 80_000);
        expect(status).toBe(202);
        accepted.push(id);
      }
      await eventually(() => statSync(where.path).size > 3 * MIB, { timeoutMs: 30_000, what: "pages in the file" });
      await running.kill("SIGKILL");
      await running.exited;
    }
    const store = await openStoreAt(where.path);
    for (const id of accepted) expect((await store.getEvent(TENANT, id, { payload: false, log: false }))?.event.id).toBe(id);
    await store.close();
  });
});
