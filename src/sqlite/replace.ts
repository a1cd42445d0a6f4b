import { closeSync, existsSync, fsyncSync, linkSync, openSync, readSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { TransporterError } from "../kit/mod.ts";
import { sqliteFailure } from "./failure.ts";
import { takeOwnership } from "./owner-lock.ts";

export interface ReplaceOptions {
  /** A whole database beside `path`, on the same file system; it takes that place. */
  readonly from: string;
  readonly path: string;
  /** For messages: "store". */
  readonly what: string;
}

export interface Replaced {
  readonly bytes: number;
  /** Where what was there before lies now; undefined where there was nothing. */
  readonly before: string | undefined;
}

/** What belongs to a database file and must never lie beside another one: SQLite would read it into that. */
const COMPANIONS = ["-wal", "-shm"];

/**
 * Puts a database into the place of another that nobody has open: STORE_LOCKED while somebody owns it. What was there is kept beside it as
 * `.before-restore`, its log included, and takes the place of an earlier one that was kept so.
 */
export function replaceDatabase(options: ReplaceOptions): Replaced {
  const path = resolve(options.path);
  const kept = `${path}.before-restore`;
  try {
    const lock = takeOwnership(`${path}-lock`, options.what);
    try {
      const isThere = existsSync(path);
      if (isThere) keep(path, kept);
      for (const suffix of COMPANIONS) rmSync(`${options.from}${suffix}`, { force: true });
      // Whole at every moment: a crash leaves the one or the other, never none, which the next start would take for a new installation.
      renameSync(options.from, path);
      syncDirectory(dirname(path));
      return { bytes: statSync(path).size, before: isThere ? kept : undefined };
    } finally {
      lock.release();
    }
  } catch (error) {
    throw sqliteFailure(error, `${options.what} ${path}`);
  }
}

function keep(path: string, kept: string): void {
  for (const suffix of ["", ...COMPANIONS]) rmSync(`${kept}${suffix}`, { force: true });
  try {
    linkSync(path, kept);
  } catch {
    // A file system without links.
    renameSync(path, kept);
  }
  for (const suffix of COMPANIONS) if (existsSync(`${path}${suffix}`)) renameSync(`${path}${suffix}`, `${kept}${suffix}`);
}

const MAGIC = "SQLite format 3\u0000";
/** Where SQLite keeps the application's id in a file's header. */
const APPLICATION_ID_AT = 68;

/** STORE_INVALID unless the file is a database of this purpose. An empty file would pass as a new one everywhere else. */
export function requireDatabaseOf(path: string, applicationId: number, what: string): void {
  const header = Buffer.alloc(100);
  const descriptor = openSync(path, "r");
  let length = 0;
  try {
    length = readSync(descriptor, header, 0, header.length, 0);
  } finally {
    closeSync(descriptor);
  }
  const isOurs =
    length === header.length &&
    header.toString("latin1", 0, MAGIC.length) === MAGIC &&
    header.readInt32BE(APPLICATION_ID_AT) === applicationId;
  if (!isOurs)
    throw new TransporterError("STORE_INVALID", `what is to be restored is no backup of a Transporter ${what}`, {
      remedy: "Give a file that `transporter backup` wrote, unpacked.",
    });
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
