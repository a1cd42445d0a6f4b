import type { Database } from "bun:sqlite";
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Clock, type Logger, messageOf, type Timers, TransporterError } from "../kit/mod.ts";
import type { PayloadRef, Phase } from "../protocol/mod.ts";
import { GroupCommit, openDatabase, type OpenedDatabase } from "../sqlite/mod.ts";
import {
  type EncodedPayload,
  LEDGER_LIMITS,
  type Ledger,
  type ManifestSource,
  type NewDelivery,
  type PayloadProgress,
  type Recovered,
} from "./ledger.ts";
import { type PayloadTraits, type Work, workFromLedger } from "./delivery.ts";
import { type DeliveryRow, LEDGER_APPLICATION_ID, LEDGER_MIGRATIONS, openDeliveryOf } from "./ledger-schema.ts";
import { sweepSome } from "./ledger-payloads.ts";
import { dropKept, dropKeptOfNobody, keepText, keptText } from "./ledger-kept.ts";
import type { StatusRecord } from "./status.ts";

/** Pieces read in one turn: a megabyte. */
const READ_PIECES = 8;
/** As much as an event brings along at most: a disk that takes less is full. */
const PROBE_BYTES = 256 * 1024;

export interface FileLedgerOptions {
  /** Directory of the agent's state; made where it is missing. */
  readonly stateDir: string;
  /** For proofs: an open database instead of a file in that directory. It stays the caller's, and outlives this ledger. */
  readonly database?: Database;
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

/**
 * A ledger in a SQLite file. A damaged file, or one that a newer version wrote, is moved aside and a fresh one begun, at the start and while
 * it runs: a lost ledger must never stop an agent, since the control plane hands over again what it has not seen finished.
 */
export class FileLedger implements Ledger {
  readonly #options: FileLedgerOptions;
  readonly path: string;
  #file: Statements;
  #finishes = 0;
  #sweeping = false;
  readonly payloadRoomBytes = Number.POSITIVE_INFINITY;
  readonly lasting = true;

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
        .query<DeliveryRow, []>(
          `SELECT key, work, expires_at_ms, state, crashes, payload, phase, reading,
             EXISTS (SELECT 1 FROM payloads WHERE digest = payload_digest) AS whole
           FROM deliveries WHERE state <> 'finished' ORDER BY ord`,
        )
        .all();
      // Until it is begun again, a crash is not its doing.
      db.run("UPDATE deliveries SET crashes = crashes + 1, state = 'interrupted' WHERE state = 'started'");
      db.run("UPDATE deliveries SET crashes = crashes + 1, reading = 0 WHERE reading = 1 AND state <> 'finished'");
      this.#prune();
      dropKeptOfNobody(db);
      const deliveries = rows.map(openDeliveryOf);
      this.sweepPayloads();
      const statuses = db
        .query<{ body: string }, []>(
          "SELECT body FROM statuses ORDER BY (SELECT min(ord) FROM statuses AS first WHERE first.boot_id = statuses.boot_id), seq",
        )
        .all()
        .map((row) => JSON.parse(row.body) as StatusRecord);
      const seenEpoch = db.query<{ epoch: number }, []>("SELECT epoch FROM seen").get()?.epoch ?? 0;
      return { deliveries, statuses, seenEpoch };
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

  record(entry: NewDelivery, after?: string): Promise<void> {
    const { key, work, manifestsJson, payload } = entry.delivery;
    const workJson = JSON.stringify(work);
    const payloadJson = payload === undefined ? null : JSON.stringify(payload);
    return this.#run(() => {
      const { db } = this.#file.open;
      if (after !== undefined && db.query("SELECT 1 FROM deliveries WHERE key = ?").get(after) === null)
        throw new TransporterError("STORE_UNAVAILABLE", "an event that came before this one could not be recorded");
      // A finished one that is to be done again goes to the end of the order.
      db.query("DELETE FROM deliveries WHERE key = ? AND state = 'finished'").run(key);
      db.query(
        `INSERT INTO deliveries (key, work, received_at_ms, expires_at_ms, state, payload, payload_digest) VALUES (?, ?, ?, ?, 'open', ?, ?)
         ON CONFLICT (key) DO NOTHING`,
      ).run(
        key,
        workJson,
        Math.round(entry.receivedAtMs),
        entry.expiresAtMs === undefined ? null : Math.round(entry.expiresAtMs),
        payloadJson,
        payload?.digest ?? null,
      );
      if (payload === undefined)
        db.query("INSERT INTO manifests (key, body) VALUES (?, ?) ON CONFLICT (key) DO NOTHING").run(key, manifestsJson);
    });
  }

  async manifests(key: string): Promise<ManifestSource | undefined> {
    const found = await this.#run(() =>
      this.#file.open.db
        .query<{ body: string | null; payload: string | null; work: string }, [string]>(
          "SELECT body, payload, work FROM deliveries LEFT JOIN manifests USING (key) WHERE key = ? AND state <> 'finished'",
        )
        .get(key),
    );
    if (found === null) return undefined;
    if (found.payload === null) return found.body ?? undefined;
    return this.encoded(JSON.parse(found.payload) as PayloadRef, workFromLedger(found.work).type);
  }

  payload(digest: string): Promise<PayloadProgress> {
    return this.#run(() => {
      const { db } = this.#file.open;
      const bytes = db
        .query<{ bytes: number | null }, [string]>("SELECT max(offset + length(body)) AS bytes FROM pieces WHERE digest = ?")
        .get(digest)?.bytes;
      const row = db.query<{ traits: string }, [string]>("SELECT traits FROM payloads WHERE digest = ?").get(digest);
      return { bytes: bytes ?? 0, traits: row === null ? undefined : (JSON.parse(row.traits) as PayloadTraits) };
    });
  }

  savePiece(digest: string, offset: number, piece: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#run(() => {
      this.#file.open.db
        .query("INSERT INTO pieces (digest, offset, body) VALUES (?, ?, ?) ON CONFLICT (digest, offset) DO NOTHING")
        .run(digest, offset, piece);
    });
  }

  async encoded(ref: PayloadRef, type: string): Promise<EncodedPayload | undefined> {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let bytes = 0;
    // A megabyte in a turn: reading all of a large one at once would hold up everybody else.
    for (;;) {
      const rows = await this.#run(() =>
        this.#file.open.db
          .query<{ body: Uint8Array<ArrayBuffer> }, [string, number, number]>(
            "SELECT body FROM pieces WHERE digest = ? AND offset >= ? ORDER BY offset LIMIT ?",
          )
          .all(ref.digest, bytes, READ_PIECES),
      );
      for (const { body } of rows) {
        pieces.push(body);
        bytes += body.byteLength;
      }
      if (rows.length < READ_PIECES) break;
    }
    return bytes === ref.encoded_bytes ? { ref, type, pieces, length: ref.bytes } : undefined;
  }

  payloadArrived(digest: string, traits: PayloadTraits, works: readonly { readonly key: string; readonly work: Work }[]): Promise<void> {
    const rows = works.map(({ key, work }) => ({ key, work: JSON.stringify(work) }));
    return this.#run(() => {
      const { db } = this.#file.open;
      // Nobody may want it any more, and its pieces be gone, or going: it must not be taken for whole by whoever wants it next.
      db.query(
        `INSERT INTO payloads (digest, traits) SELECT ?1, ?2
         WHERE EXISTS (SELECT 1 FROM deliveries WHERE payload_digest = ?1 AND state <> 'finished') AND EXISTS (SELECT 1 FROM pieces WHERE digest = ?1)
         ON CONFLICT (digest) DO NOTHING`,
      ).run(digest, JSON.stringify(traits));
      for (const row of rows) db.query("UPDATE deliveries SET work = ? WHERE key = ?").run(row.work, row.key);
    });
  }

  dropPayload(digest: string): Promise<void> {
    return this.#run(() => {
      this.#file.open.db.query("DELETE FROM payloads WHERE digest = ?").run(digest);
      this.#file.open.db.query("DELETE FROM pieces WHERE digest = ?").run(digest);
    });
  }

  sweepPayloads(): void {
    if (this.#sweeping) return;
    this.#sweeping = true;
    void this.#sweep()
      .catch((error: unknown) =>
        this.#options.log.warn("Payloads that are not needed any more could not be removed", { error: messageOf(error) }),
      )
      .finally(() => (this.#sweeping = false));
  }

  async #sweep(): Promise<void> {
    for (let left = true; left;) left = await this.#run(() => sweepSome(this.#file.open.db));
  }

  async probe(): Promise<void> {
    // In two commits: what is written and removed in one need not reach the disk.
    await this.#run(
      () => void this.#file.open.db.query("INSERT OR REPLACE INTO probe (id, body) VALUES (1, zeroblob(?))").run(PROBE_BYTES),
    );
    await this.#run(() => void this.#file.open.db.query("DELETE FROM probe").run());
  }

  started(key: string, phase: Phase): Promise<void> {
    return this.#note("UPDATE deliveries SET state = 'started', phase = ?2 WHERE key = ?1 AND state <> 'finished'", key, phase);
  }

  reading(key: string, yes: boolean): Promise<void> {
    return this.#note("UPDATE deliveries SET reading = ?2 WHERE key = ?1", key, yes ? 1 : 0);
  }

  interrupted(key: string): Promise<void> {
    return this.#note("UPDATE deliveries SET state = 'interrupted' WHERE key = ?1 AND state <> 'finished'", key);
  }

  keep(key: string, name: string, text: string): Promise<void> {
    return this.#run(() => keepText(this.#file.open.db, key, name, text));
  }

  kept(key: string, name: string): Promise<string | undefined> {
    return this.#run(() => keptText(this.#file.open.db, key, name));
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
      dropKept(db, key);
      const apart = db
        .query<{ payload_digest: string | null }, [string]>("SELECT payload_digest FROM deliveries WHERE key = ?")
        .get(key)?.payload_digest;
      if (typeof apart === "string") this.sweepPayloads();
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

  saveEpoch(epoch: number): Promise<void> {
    return this.#note("INSERT INTO seen (id, epoch) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET epoch = max(epoch, ?1)", epoch);
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

  #note(sql: string, ...values: readonly (string | number)[]): Promise<void> {
    return this.#run(() => void this.#file.open.db.query(sql).run(...values));
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
      if (!(error instanceof TransporterError) || error.code !== "STORE_CORRUPT" || this.#options.database !== undefined) throw error;
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
      if (this.#options.database !== undefined) throw error;
      this.#moveAside(error);
      return this.#open();
    }
  }

  #open(): Statements {
    const { clock, timers, log, database } = this.#options;
    const open = openDatabase({
      ...(database === undefined ? {} : { database }),
      path: this.path,
      what: "ledger",
      applicationId: LEDGER_APPLICATION_ID,
      migrations: LEDGER_MIGRATIONS,
      log,
      clock,
    });
    // An agent's memory matters more than a cache of what it reads once.
    if (database === undefined) {
      open.db.run("PRAGMA cache_size = -1024");
      // Little and often: a checkpoint holds up everything else while it lasts, and a payload brings megabytes.
      open.db.run("PRAGMA wal_autocheckpoint = 512");
    }
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
