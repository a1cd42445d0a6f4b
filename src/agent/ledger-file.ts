import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Clock, type Logger, messageOf, type Timers, TransporterError } from "../kit/mod.ts";
import { GroupCommit, type Migration, openDatabase, type OpenedDatabase } from "../sqlite/mod.ts";
import { LEDGER_LIMITS, type Ledger, type NewDelivery, type OpenDelivery, type Recovered } from "./ledger.ts";
import type { Work } from "./delivery.ts";
import type { StatusRecord } from "./status.ts";

/** "TPal": Transporter, agent's ledger. */
const APPLICATION_ID = 0x5450616c;

const MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    name: "deliveries and statuses",
    // Manifests lie apart: they are megabytes, and a change of state must not write them again.
    sql: `
      CREATE TABLE deliveries (
        ord INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        work TEXT NOT NULL,
        received_at_ms INTEGER NOT NULL,
        expires_at_ms INTEGER,
        state TEXT NOT NULL CHECK (state IN ('open', 'started', 'interrupted', 'finished')),
        crashes INTEGER NOT NULL DEFAULT 0,
        finished_at_ms INTEGER,
        final TEXT
      ) STRICT;
      CREATE INDEX deliveries_open ON deliveries (ord) WHERE state <> 'finished';
      CREATE TABLE manifests (
        key TEXT PRIMARY KEY REFERENCES deliveries (key) ON DELETE CASCADE,
        body TEXT NOT NULL
      ) STRICT;
      CREATE TABLE statuses (
        ord INTEGER PRIMARY KEY AUTOINCREMENT,
        boot_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (boot_id, seq)
      ) STRICT;
    `,
  },
];

export interface FileLedgerOptions {
  /** Directory of the agent's state. */
  readonly stateDir: string;
  readonly agentId: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** A file name that any agent id can be turned into, and that two ids never share. */
export function ledgerFileName(agentId: string): string {
  const safe = agentId.replaceAll(/[^A-Za-z0-9._-]/g, "_").slice(0, 80);
  if (safe === agentId && !safe.startsWith(".")) return `agent-${safe}.db`;
  return `agent-${safe.replace(/^\.+/, "_")}-${Bun.hash(agentId).toString(16).padStart(16, "0")}.db`;
}

interface Statements {
  readonly open: OpenedDatabase;
  readonly commits: GroupCommit;
}

interface DeliveryRow {
  readonly key: string;
  readonly work: string;
  readonly expires_at_ms: number | null;
  readonly state: string;
  readonly crashes: number;
}

/**
 * A ledger in a SQLite file. A damaged file, or one that a newer version wrote, is moved aside and a fresh one begun, at the start and while
 * it runs: a lost ledger must never stop an agent, since the control plane hands over again what it has not seen finished.
 */
export class FileLedger implements Ledger {
  readonly #options: FileLedgerOptions;
  readonly path: string;
  #file: Statements;
  #finishes = 0;

  /** STORE_LOCKED when another process has it, STORE_UNAVAILABLE when the directory cannot be written. */
  constructor(options: FileLedgerOptions) {
    this.#options = options;
    this.path = join(options.stateDir, ledgerFileName(options.agentId));
    this.#file = this.#openOrBegin();
  }

  recover(): Promise<Recovered> {
    return this.#run(() => {
      const { db } = this.#file.open;
      const rows = db
        .query<DeliveryRow, []>("SELECT key, work, expires_at_ms, state, crashes FROM deliveries WHERE state <> 'finished' ORDER BY ord")
        .all();
      db.run("UPDATE deliveries SET crashes = crashes + 1 WHERE state = 'started'");
      this.#prune();
      const deliveries = rows.map((row): OpenDelivery => ({
        key: row.key,
        work: JSON.parse(row.work) as Work,
        expiresAtMs: row.expires_at_ms ?? undefined,
        started: row.state !== "open",
        crashes: row.crashes + (row.state === "started" ? 1 : 0),
      }));
      const statuses = db
        .query<{ body: string }, []>("SELECT body FROM statuses ORDER BY ord")
        .all()
        .map((row) => JSON.parse(row.body) as StatusRecord);
      return { deliveries, statuses };
    });
  }

  finished(key: string): Promise<StatusRecord | undefined> {
    return this.#run(() => {
      const row = this.#file.open.db
        .query<{ final: string }, [string]>("SELECT final FROM deliveries WHERE key = ? AND state = 'finished' AND final IS NOT NULL")
        .get(key);
      return row === null ? undefined : (JSON.parse(row.final) as StatusRecord);
    });
  }

  record(entry: NewDelivery): Promise<void> {
    const { key, work, manifestsJson } = entry.delivery;
    const workJson = JSON.stringify(work);
    return this.#run(() => {
      const { db } = this.#file.open;
      // A finished one that is to be done again goes to the end of the order.
      db.query("DELETE FROM deliveries WHERE key = ? AND state = 'finished'").run(key);
      db.query(
        "INSERT INTO deliveries (key, work, received_at_ms, expires_at_ms, state) VALUES (?, ?, ?, ?, 'open') ON CONFLICT (key) DO NOTHING",
      ).run(key, workJson, Math.round(entry.receivedAtMs), entry.expiresAtMs === undefined ? null : Math.round(entry.expiresAtMs));
      db.query("INSERT INTO manifests (key, body) VALUES (?, ?) ON CONFLICT (key) DO NOTHING").run(key, manifestsJson);
    });
  }

  manifests(key: string): Promise<string | undefined> {
    return this.#run(
      () => this.#file.open.db.query<{ body: string }, [string]>("SELECT body FROM manifests WHERE key = ?").get(key)?.body ?? undefined,
    );
  }

  started(key: string): Promise<void> {
    return this.#setState(key, "started");
  }

  interrupted(key: string): Promise<void> {
    return this.#setState(key, "interrupted");
  }

  addStatus(record: StatusRecord): Promise<void> {
    const body = JSON.stringify(record);
    return this.#run(() => this.#insertStatus(record, body));
  }

  finish(key: string, work: Work, final: StatusRecord, nowMs: number): Promise<void> {
    const body = JSON.stringify(final);
    const workJson = JSON.stringify(work);
    return this.#run(() => {
      const { db } = this.#file.open;
      // Also where the row is not there: the file may have been begun anew while this was running.
      db.query(
        `INSERT INTO deliveries (key, work, received_at_ms, state, finished_at_ms, final) VALUES (?1, ?2, ?3, 'finished', ?3, ?4)
         ON CONFLICT (key) DO UPDATE SET state = 'finished', finished_at_ms = ?3, final = ?4`,
      ).run(key, workJson, Math.round(nowMs), body);
      db.query("DELETE FROM manifests WHERE key = ?").run(key);
      this.#insertStatus(final, body);
      this.#finishes += 1;
      if (this.#finishes % LEDGER_LIMITS.pruneEvery === 0) this.#prune();
    });
  }

  acknowledged(bootId: string, seq: number): Promise<void> {
    return this.#run(() => {
      this.#file.open.db.query("DELETE FROM statuses WHERE boot_id = ? AND seq <= ?").run(bootId, seq);
    });
  }

  dropStatuses(records: readonly Pick<StatusRecord, "bootId" | "seq">[]): Promise<void> {
    return this.#run(() => {
      const drop = this.#file.open.db.query("DELETE FROM statuses WHERE boot_id = ? AND seq = ?");
      for (const { bootId, seq } of records) drop.run(bootId, seq);
    });
  }

  async close(): Promise<void> {
    await this.#file.commits.close();
    this.#file.open.close();
  }

  #setState(key: string, state: "started" | "interrupted"): Promise<void> {
    return this.#run(() => {
      this.#file.open.db.query("UPDATE deliveries SET state = ? WHERE key = ? AND state <> 'finished'").run(state, key);
    });
  }

  #insertStatus(record: StatusRecord, body: string): void {
    this.#file.open.db
      .query("INSERT INTO statuses (boot_id, seq, body) VALUES (?, ?, ?) ON CONFLICT (boot_id, seq) DO NOTHING")
      .run(record.bootId, record.seq, body);
  }

  #prune(): void {
    const oldestMs = Math.round(this.#options.clock.now() - LEDGER_LIMITS.finishedMs);
    this.#file.open.db
      .query(
        `DELETE FROM deliveries WHERE state = 'finished' AND (finished_at_ms < ?1 OR ord IN (
           SELECT ord FROM (
             SELECT ord, row_number() OVER newest AS place, sum(length(final)) OVER newest AS bytes
             FROM deliveries WHERE state = 'finished' WINDOW newest AS (ORDER BY ord DESC)
           ) WHERE place > ?2 OR bytes > ?3))`,
      )
      .run(oldestMs, LEDGER_LIMITS.finishedCount, LEDGER_LIMITS.finishedBytes);
  }

  /** Runs an operation; when the file turns out to be damaged, begins a fresh one and runs it there. */
  async #run<T>(operation: () => T): Promise<T> {
    const file = this.#file;
    try {
      return await file.commits.run(operation);
    } catch (error) {
      if (!(error instanceof TransporterError) || error.code !== "STORE_CORRUPT") throw error;
      // Several operations may find the damage; the first begins the fresh file for all of them.
      if (this.#file === file) this.#beginAnew(file, error);
      return this.#file.commits.run(operation);
    }
  }

  #beginAnew(file: Statements, error: TransporterError): void {
    try {
      file.open.close();
    } catch (closeError) {
      this.#options.log.warn("The damaged ledger could not be closed", { path: this.path, error: messageOf(closeError) });
    }
    this.#moveAside(error);
    this.#file = this.#open();
  }

  #openOrBegin(): Statements {
    try {
      return this.#open();
    } catch (error) {
      if (!(error instanceof TransporterError) || (error.code !== "STORE_CORRUPT" && error.code !== "STORE_TOO_NEW")) throw error;
      this.#moveAside(error);
      return this.#open();
    }
  }

  #open(): Statements {
    const { clock, timers, log } = this.#options;
    const open = openDatabase({ path: this.path, what: "ledger", applicationId: APPLICATION_ID, migrations: MIGRATIONS, log, clock });
    // An agent's memory matters more than a cache of what it reads once.
    open.db.run("PRAGMA cache_size = -1024");
    return { open, commits: new GroupCommit({ db: open.db, clock, timers, what: "ledger" }) };
  }

  #moveAside(error: TransporterError): void {
    const stamp = new Date(this.#options.clock.now()).toISOString().replaceAll(/[:.]/g, "-");
    const aside = `${this.path}.damaged-${stamp}`;
    this.#options.log.error("The ledger cannot be used and is moved aside; a fresh one begins", {
      path: this.path,
      moved_to: aside,
      code: error.code,
      error: error.message,
    });
    renameSync(this.path, aside);
    // The write-ahead log belongs to the old file and would be poison for the fresh one.
    if (existsSync(`${this.path}-wal`)) renameSync(`${this.path}-wal`, `${aside}-wal`);
    rmSync(`${this.path}-shm`, { force: true });
  }
}
