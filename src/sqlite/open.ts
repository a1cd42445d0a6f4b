import { Database, type SQLQueryBindings, type Statement } from "bun:sqlite";
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Clock, type Logger, messageOf, TransporterError } from "../kit/mod.ts";
import { sqliteFailure } from "./failure.ts";
import { openGiven } from "./given.ts";
import { migrate, type Migration, userVersion } from "./migrate.ts";
import { type OwnerLock, takeOwnership } from "./owner-lock.ts";
import { checkWal } from "./wal-check.ts";

/** Files up to this size are checked at every start: it takes about a second. Larger ones only when they were not closed cleanly. */
const ALWAYS_CHECK_BYTES = 256 * 1024 * 1024;

export interface OpenOptions {
  /** A file, or ":memory:" (no lock, no durability). */
  readonly path: string;
  /** For messages: "store", "ledger". */
  readonly what: string;
  /** Marks the file as one of this purpose, so that no other program's database is ever migrated. A 32-bit integer, not 0. */
  readonly applicationId: number;
  readonly migrations: readonly Migration[];
  /** Whether SQLite holds rows to their REFERENCES; true when absent. */
  readonly foreignKeys?: boolean;
  readonly log: Logger;
  readonly clock: Clock;
  /** Check the whole file even if it is large and was closed cleanly. */
  readonly check?: boolean;
  /**
   * For proofs: a database that the caller has opened and that outlives whoever opens it here. One of these may be abandoned at any moment,
   * as if its process had died, and the next opened over the same database. `path` is only its name then; `close` leaves it open.
   */
  readonly database?: Database;
}

export interface OpenedDatabase {
  readonly db: Database;
  readonly path: string;
  readonly version: number;
  /** Prepares a statement that `close` finalises: one left alive keeps the file open, and its WAL behind, without a word. */
  prepare<Row, Parameters extends SQLQueryBindings[] = SQLQueryBindings[]>(sql: string): Statement<Row, Parameters>;
  /** Moves the WAL into the file and gives up ownership. Safe to call twice. */
  close(): void;
}

/**
 * Opens a database as its only owner: directory 0700 where it is made here, file 0600, WAL, synchronous FULL, foreign keys, schema up to
 * date. STORE_LOCKED, STORE_CORRUPT, STORE_TOO_NEW, STORE_INVALID (a database of something else), STORE_UNAVAILABLE (cannot be written).
 */
export function openDatabase(options: OpenOptions): OpenedDatabase {
  if (options.database !== undefined) return openGiven(options.database, options);
  if (options.path === ":memory:") return openMemory(options);
  const path = resolve(options.path);
  makePrivate(path, options);
  let lock: OwnerLock | undefined;
  let db: Database | undefined;
  try {
    lock = takeOwnership(`${path}-lock`, options.what);
    // Whoever closes a WAL database last removes its WAL: one that is still there was left by a crash.
    const unclean = existsSync(`${path}-wal`) && statSync(`${path}-wal`).size > 0;
    if (unclean) checkWal(path, options.what);
    db = new Database(path, { readwrite: true, create: true });
    db.run("PRAGMA busy_timeout = 5000");
    const fresh = isFresh(db, path, options);
    // Before anything is written: a damaged file stays as it was found.
    const bytes = statSync(path).size;
    if (bytes > 0 && (unclean || options.check === true || bytes <= ALWAYS_CHECK_BYTES)) checkFile(db, path, options);
    configure(db, options);
    if (fresh) db.run(`PRAGMA application_id = ${options.applicationId}`);
    const version = migrate({ db, migrations: options.migrations, what: options.what, path, log: options.log });
    return opened(db, path, version, lock);
  } catch (error) {
    db?.close();
    lock?.release();
    throw sqliteFailure(error, `${options.what} ${path}`);
  }
}

function openMemory(options: OpenOptions): OpenedDatabase {
  const db = new Database(":memory:");
  holdReferences(db, options);
  const version = migrate({ db, migrations: options.migrations, what: options.what, path: ":memory:", log: options.log });
  return opened(db, ":memory:", version, undefined);
}

function holdReferences(db: Database, options: Pick<OpenOptions, "foreignKeys">): void {
  db.run(`PRAGMA foreign_keys = ${options.foreignKeys === false ? "OFF" : "ON"}`);
}

function opened(db: Database, path: string, version: number, lock: OwnerLock | undefined): OpenedDatabase {
  const statements: { finalize(): void }[] = [];
  let closed = false;
  return {
    db,
    path,
    version,
    prepare<Row, Parameters extends SQLQueryBindings[]>(sql: string) {
      const statement = db.prepare<Row, Parameters>(sql) as Statement<Row, Parameters>;
      statements.push(statement);
      return statement;
    },
    close() {
      if (closed) return;
      closed = true;
      try {
        for (const statement of statements) statement.finalize();
        db.clearQueryCache();
        db.close(true);
      } finally {
        lock?.release();
      }
    },
  };
}

function configure(db: Database, options: OpenOptions): void {
  const mode = db.query<{ journal_mode: string }, []>("PRAGMA journal_mode = WAL").get()?.journal_mode;
  if (mode !== "wal") {
    throw new TransporterError(
      "STORE_UNAVAILABLE",
      `the file system cannot hold a write-ahead log (journal mode is ${mode ?? "unknown"})`,
      {
        remedy: "Put the file on a local disk; network file systems without shared memory cannot hold it.",
      },
    );
  }
  db.run("PRAGMA synchronous = FULL");
  holdReferences(db, options);
  db.run("PRAGMA cache_size = -16384");
  db.run("PRAGMA temp_store = MEMORY");
  // Four times the default: pages that many commits touch go into the file once for all of them.
  db.run("PRAGMA wal_autocheckpoint = 4000");
  // A backup that reads for minutes lets the WAL grow; afterwards it shrinks to this again.
  db.run("PRAGMA journal_size_limit = 67108864");
  db.run("PRAGMA trusted_schema = OFF");
}

/** Whether nothing was ever written here; STORE_INVALID when something else was. */
function isFresh(db: Database, path: string, options: OpenOptions): boolean {
  const id = db.query<{ application_id: number }, []>("PRAGMA application_id").get()?.application_id ?? 0;
  if (id === options.applicationId) return false;
  const tables = db.query<{ n: number }, []>("SELECT count(*) AS n FROM sqlite_schema").get()?.n ?? 0;
  if (id !== 0 || tables > 0 || userVersion(db) !== 0) {
    throw new TransporterError("STORE_INVALID", `${path} is a database of something else, not a Transporter ${options.what}`, {
      details: { path, applicationId: id },
      remedy: "Give a path of its own.",
    });
  }
  return true;
}

/** Walks the whole file; STORE_CORRUPT with what is wrong when it is damaged. */
function checkFile(db: Database, path: string, options: Pick<OpenOptions, "what" | "log" | "clock">): void {
  const began = options.clock.monotonic();
  const faults = db
    .query<{ quick_check: string }, []>("PRAGMA quick_check(5)")
    .all()
    .map((row) => row.quick_check)
    .filter((line) => line !== "ok");
  if (faults.length > 0) {
    throw new TransporterError("STORE_CORRUPT", `the file of the ${options.what} ${path} is damaged: ${faults.join("; ")}`, {
      details: { path },
    });
  }
  options.log.debug("Database file checked", { path, ms: Math.round(options.clock.monotonic() - began) });
}

function makePrivate(path: string, options: OpenOptions): void {
  const directory = dirname(path);
  try {
    if (!existsSync(directory)) mkdirSync(directory, { recursive: true, mode: 0o700 });
    // SQLite gives the WAL and its index the mode of the file itself.
    for (const file of [path, `${path}-lock`]) {
      if (!existsSync(file)) {
        closeSync(openSync(file, "ax", 0o600));
        continue;
      }
      const found = statSync(file);
      if (!found.isFile()) throw new Error(`${file} is not a file`);
      if ((found.mode & 0o077) !== 0) chmodSync(file, 0o600);
    }
  } catch (error) {
    throw new TransporterError("STORE_UNAVAILABLE", `the ${options.what} ${path} cannot be made or written: ${messageOf(error)}`, {
      cause: error,
      details: { path },
      remedy: `Let the process's user write to ${directory}, or choose another path.`,
    });
  }
}
