import { Database } from "bun:sqlite";
import { closeSync, existsSync, fsyncSync, linkSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Clock, messageOf, type Timers, TransporterError } from "../kit/mod.ts";
import { sqliteFailure } from "./failure.ts";

export interface CopyOptions {
  readonly from: string;
  /** Must not exist; the copy appears there only when it is whole and on disk, with mode 0600. */
  readonly to: string;
  /** For messages: "store", "ledger". */
  readonly what: string;
}

export interface Copied {
  readonly bytes: number;
}

/** Copies a database that another process may be writing, consistently; blocks until done. STORE_INVALID when `from` is absent or `to` is there. */
export function copyDatabase(options: CopyOptions): Copied {
  const target = reserve(options);
  try {
    const db = new Database(options.from, { readwrite: true, create: false });
    try {
      db.run("PRAGMA busy_timeout = 5000");
      db.run("VACUUM INTO ?", [target.partial]);
    } finally {
      db.close();
    }
    return target.publish();
  } catch (error) {
    throw sqliteFailure(error, `copy of the ${options.what}`);
  } finally {
    target.discard();
  }
}

/** Copies an open database in memory; blocks until done. */
export function copyMemory(db: Database, options: Omit<CopyOptions, "from">): Copied {
  const target = reserve({ ...options, from: undefined });
  try {
    db.run("VACUUM INTO ?", [target.partial]);
    return target.publish();
  } catch (error) {
    throw sqliteFailure(error, `copy of the ${options.what}`);
  } finally {
    target.discard();
  }
}

/**
 * Copies a database that this very process is writing, consistently as of the call, in steps of some milliseconds that leave the event
 * loop free in between: VACUUM INTO would hold up every agent until it is done. Works for tables with an INTEGER PRIMARY KEY of any
 * size; tables WITHOUT ROWID are copied in one step.
 */
export async function copyDatabaseInSteps(options: CopyOptions & { readonly clock: Clock; readonly timers: Timers }): Promise<Copied> {
  const { clock, timers } = options;
  const target = reserve(options);
  let db: Database | undefined;
  try {
    db = new Database(target.partial, { readwrite: true, create: false });
    // A copy that breaks off is thrown away, so it needs no journal; it is synced once, at the end.
    db.run("PRAGMA journal_mode = OFF");
    db.run("PRAGMA synchronous = OFF");
    db.run("ATTACH ? AS source", [options.from]);
    for (const pragma of ["application_id", "user_version"]) {
      const value = Object.values(db.query<Record<string, number>, []>(`PRAGMA source.${pragma}`).get() ?? {})[0] ?? 0;
      db.run(`PRAGMA main.${pragma} = ${value}`);
    }
    // The first read takes the snapshot, and the transaction holds it until the end.
    db.run("BEGIN");
    const parts = db
      .query<{ type: string; name: string; sql: string }, []>(
        "SELECT type, name, sql FROM source.sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type = 'table' DESC, rowid",
      )
      .all();
    for (const part of parts) db.run(part.sql);
    for (const part of parts) if (part.type === "table") await copyTable(db, part.name, part.sql, clock, timers);
    db.run("COMMIT");
    db.close();
    db = undefined;
    return target.publish();
  } catch (error) {
    throw sqliteFailure(error, `copy of the ${options.what}`);
  } finally {
    db?.close();
    target.discard();
  }
}

const STEP_MS = 8;

async function copyTable(db: Database, name: string, sql: string, clock: Clock, timers: Timers): Promise<void> {
  const table = `"${name.replaceAll('"', '""')}"`;
  if (/without\s+rowid/i.test(sql)) {
    db.run(`INSERT INTO main.${table} SELECT * FROM source.${table}`);
    return;
  }
  const last = db.prepare<{ last: number | null }, [number, number]>(
    `SELECT max(rowid) AS last FROM (SELECT rowid FROM source.${table} WHERE rowid > ? ORDER BY rowid LIMIT ?)`,
  );
  const insert = db.prepare<unknown, [number, number]>(
    `INSERT INTO main.${table} SELECT * FROM source.${table} WHERE rowid > ? AND rowid <= ? ORDER BY rowid`,
  );
  try {
    let after = Number.MIN_SAFE_INTEGER;
    let rows = 16;
    for (;;) {
      const began = clock.monotonic();
      const upTo = last.get(after, rows)?.last ?? undefined;
      if (upTo === undefined) return;
      insert.run(after, upTo);
      after = upTo;
      const tookMs = clock.monotonic() - began;
      if (tookMs < STEP_MS / 2) rows *= 2;
      else if (tookMs > STEP_MS * 2) rows = Math.max(1, Math.floor(rows / 4));
      // As long as the step took: the copy gets half of the processor at most.
      await timers.sleep(tookMs);
    }
  } finally {
    last.finalize();
    insert.finalize();
  }
}

interface Target {
  readonly partial: string;
  publish(): Copied;
  discard(): void;
}

function reserve(options: { readonly from: string | undefined; readonly to: string; readonly what: string }): Target {
  const to = resolve(options.to);
  const partial = `${to}.${process.pid}.partial`;
  if (options.from !== undefined && !existsSync(options.from))
    throw new TransporterError("STORE_INVALID", `there is no ${options.what} at ${options.from}`, { remedy: "Check the path." });
  if (existsSync(to)) throw targetExists(to);
  try {
    rmSync(partial, { force: true });
    // SQLite writes into an empty file that it is given, so the mode is right from the first byte.
    closeSync(openSync(partial, "ax", 0o600));
  } catch (error) {
    throw new TransporterError("STORE_UNAVAILABLE", `${to} cannot be written: ${messageOf(error)}`, {
      cause: error,
      remedy: `Make ${dirname(to)} and let the process's user write to it, or choose another path.`,
    });
  }
  return {
    partial,
    publish() {
      syncPath(partial);
      const bytes = statSync(partial).size;
      try {
        // A link, unlike a rename, never replaces what somebody put there meanwhile.
        linkSync(partial, to);
      } catch (error) {
        if (existsSync(to)) throw targetExists(to, error);
        renameSync(partial, to);
      }
      syncPath(dirname(to));
      return { bytes };
    },
    discard() {
      for (const suffix of ["", "-journal", "-wal", "-shm"]) rmSync(`${partial}${suffix}`, { force: true });
    },
  };
}

function targetExists(to: string, cause?: unknown): TransporterError {
  return new TransporterError("STORE_INVALID", `${to} exists already`, {
    cause,
    remedy: "Choose a path that does not exist; a backup never overwrites.",
  });
}

function syncPath(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
