import type { Database } from "bun:sqlite";
import { type Logger, type Ports, TransporterError } from "../kit/mod.ts";
import type { Store } from "./port.ts";

export interface OpenStoreOptions {
  readonly ports: Pick<Ports, "clock" | "timers">;
  readonly log: Logger;
  /** Check the whole file even if it is large and was closed cleanly. */
  readonly check?: boolean;
  /**
   * For proofs, with `memory:`: the database that the store lies in. It outlives the store: one may be abandoned at any moment, as if its
   * process had died, and the next be opened over what it committed. `resetGiven` and `closeGiven` of the sqlite room empty and close it.
   */
  readonly database?: Database;
}

/**
 * Opens the store that a URL names: `sqlite:PATH`, `sqlite:///absolute/path`, `memory:`. The driver is loaded only now. STORE_INVALID,
 * STORE_LOCKED, STORE_CORRUPT, STORE_TOO_NEW, STORE_UNAVAILABLE.
 */
export async function openStore(url: string, options: OpenStoreOptions): Promise<Store> {
  const { clock, timers } = options.ports;
  const path = url === "memory:" ? ":memory:" : sqlitePath(url);
  const { openSqliteStore } = await import("./drivers/sqlite/store.ts");
  const { database } = options;
  return openSqliteStore({
    path,
    clock,
    timers,
    log: options.log,
    check: options.check === true,
    ...(database === undefined ? {} : { database }),
  });
}

/** Writes a consistent copy of a sqlite store that another process may be serving. The target must not exist; it gets mode 0600. Blocks meanwhile. */
export async function backupStoreFile(url: string, outPath: string): Promise<{ readonly bytes: number }> {
  if (url === "memory:")
    throw new TransporterError("STORE_INVALID", "a store in memory can only be backed up by the process that holds it");
  const from = sqlitePath(url);
  const { copyDatabase } = await import("../sqlite/mod.ts");
  return copyDatabase({ from, to: outPath, what: "store" });
}

const ALLOWED = "sqlite:PATH, sqlite:///absolute/path or memory:";

function sqlitePath(url: string): string {
  const invalid = (why: string): TransporterError =>
    // The address may be one with a password in it, so only its scheme is repeated.
    new TransporterError("STORE_INVALID", `the store ${JSON.stringify(`${/^[a-z0-9+.-]*:?/i.exec(url)?.[0] ?? ""}…`)} ${why}`, {
      remedy: `Use ${ALLOWED}.`,
    });
  if (!url.startsWith("sqlite:")) throw invalid(`is not one that is known; known are ${ALLOWED}`);
  const rest = url.slice("sqlite:".length);
  if (rest.startsWith("//") && !rest.startsWith("///")) throw invalid("names a host; a file on this machine has three slashes or none");
  const path = rest.startsWith("///") ? rest.slice(2) : rest;
  if (path === "" || path.endsWith("/")) throw invalid("names no file");
  if (path.startsWith(":")) throw invalid("is not a file; memory: is a store in memory");
  if (path.includes("\u0000")) throw invalid("has a NUL in its path");
  return path;
}
