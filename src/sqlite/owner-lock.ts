import { Database, SQLiteError } from "bun:sqlite";
import { TransporterError } from "../kit/mod.ts";

export interface OwnerLock {
  release(): void;
}

/**
 * Makes this process the only owner of a database file until it releases it or dies. The lock is a write transaction held open on a
 * second, tiny database beside the file: the kernel drops it with the process, kill -9 included, so there is never a stale one. The
 * first file itself stays unlocked, so that another process can back it up. Readers of the lock file still see the owner's pid.
 */
export function takeOwnership(path: string, what: string): OwnerLock {
  const db = new Database(path, { readwrite: true, create: true });
  try {
    db.run("PRAGMA busy_timeout = 250");
    // Nothing in it outlives its owner, so it need not reach the disk, and a full disk must not keep anybody from starting.
    db.run("PRAGMA journal_mode = MEMORY");
    db.run("PRAGMA synchronous = OFF");
    db.run("CREATE TABLE IF NOT EXISTS owner (id INTEGER PRIMARY KEY CHECK (id = 1), pid INTEGER NOT NULL)");
    db.run("INSERT INTO owner (id, pid) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET pid = excluded.pid", [process.pid]);
    db.run("BEGIN IMMEDIATE");
  } catch (error) {
    const pid = error instanceof SQLiteError && error.code?.startsWith("SQLITE_BUSY") === true ? ownerPid(db) : undefined;
    db.close();
    if (!(error instanceof SQLiteError) || error.code?.startsWith("SQLITE_BUSY") !== true) throw error;
    const who = pid === undefined ? "another process" : pid === process.pid ? "this process already" : `process ${pid}`;
    throw new TransporterError("STORE_LOCKED", `the ${what} is in use by ${who} (${path} is locked)`, {
      cause: error,
      details: pid === undefined ? { path } : { path, pid },
    });
  }
  return {
    release() {
      if (db.inTransaction) db.run("ROLLBACK");
      db.close();
    },
  };
}

function ownerPid(db: Database): number | undefined {
  try {
    return db.query<{ pid: number }, []>("SELECT pid FROM owner WHERE id = 1").get()?.pid;
  } catch {
    // The owner is writing its pid at this moment; the error is worth more without it than not at all.
    return undefined;
  }
}
