import type { Database } from "bun:sqlite";
import { dirname, resolve } from "node:path";
import { type Logger, type Ports, TransporterError } from "../kit/mod.ts";
import type { Store } from "./port.ts";

export interface OpenStoreOptions {
  /** All of them for a store that several control planes share. */
  readonly ports: Pick<Ports, "clock" | "timers"> & Partial<Ports>;
  readonly log: Logger;
  /** For a Redis whose URL has none itself. */
  readonly password?: string;
  /** In Redis, keep 0.1's keys up to date beside our own, for people's scripts. */
  readonly compatKeys?: boolean;
  /** Check the whole file even if it is large and was closed cleanly. */
  readonly check?: boolean;
  /**
   * For proofs, with `memory:`: the database that the store lies in. It outlives the store: one may be abandoned at any moment, as if its
   * process had died, and the next be opened over what it committed. `resetGiven` and `closeGiven` of the sqlite room empty and close it.
   */
  readonly database?: Database;
}

/**
 * Opens the store that a URL names: `sqlite:PATH`, `sqlite:///absolute/path`, `memory:`, `redis://HOST[:PORT][/DB]` and its kin (TLS, sentinels,
 * cluster; `parseRedisUrl`). The driver is loaded only now. STORE_INVALID, STORE_DENIED, STORE_LOCKED, STORE_CORRUPT, STORE_TOO_NEW,
 * STORE_UNAVAILABLE.
 */
export async function openStore(url: string, options: OpenStoreOptions): Promise<Store> {
  if (isShared(url)) return openShared(url, options);
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

async function openShared(url: string, { ports, log, password, compatKeys }: OpenStoreOptions): Promise<Store> {
  const { clock, timers, random, ids } = ports;
  if (random === undefined || ids === undefined) throw new RangeError("a shared store needs randomness and ids as well");
  const { parseRedisUrl } = await import("../redis/mod.ts");
  const address = parseRedisUrl(url, password === undefined ? {} : { password });
  const { openRedisStore } = await import("./drivers/redis/store.ts");
  const all = { clock, timers, random, ids };
  const store = await openRedisStore({ address, ports: all, log });
  if (compatKeys !== true) return store;
  const { keepCompatKeys } = await import("./drivers/redis/compat-keys.ts");
  return keepCompatKeys(store, { address, ports: all, log });
}

/** Writes a consistent copy of a sqlite store that another process may be serving. The target must not exist; it gets mode 0600. Blocks meanwhile. */
export async function backupStoreFile(url: string, outPath: string): Promise<{ readonly bytes: number }> {
  const from = sqlitePath(fileOnly(url));
  const { copyDatabase } = await import("../sqlite/mod.ts");
  return copyDatabase({ from, to: outPath, what: "store" });
}

/** The directory that a sqlite store lies in: where there is room for another of its size. */
export function storeDirectory(url: string): string {
  return dirname(resolve(sqlitePath(fileOnly(url))));
}

/**
 * Puts a backup, which lies in `storeDirectory`, into the place of a sqlite store that nobody serves, after it was looked through and brought up to date. What was there stays
 * beside it. STORE_LOCKED, STORE_INVALID for what is no backup of a store, STORE_CORRUPT, STORE_TOO_NEW: then nothing has changed.
 */
export async function restoreStoreFile(
  url: string,
  from: string,
  options: OpenStoreOptions,
): Promise<{ readonly bytes: number; readonly before: string | undefined }> {
  const path = sqlitePath(fileOnly(url));
  const { replaceDatabase, requireDatabaseOf } = await import("../sqlite/mod.ts");
  const { STORE_APPLICATION_ID } = await import("./drivers/sqlite/schema.ts");
  requireDatabaseOf(from, STORE_APPLICATION_ID, "store");
  const store = await openStore(`sqlite:${from}`, { ...options, check: true });
  await store.close();
  return replaceDatabase({ from, path, what: "store" });
}

/** A store that is one file; STORE_INVALID for another. */
function fileOnly(url: string): string {
  if (url === "memory:")
    throw new TransporterError("STORE_INVALID", "a store in memory can only be backed up by the process that holds it");
  if (isShared(url))
    throw new TransporterError("STORE_INVALID", "a store in Redis is backed up and restored by the means of Redis", {
      remedy: "Copy its append-only file or a snapshot (BGSAVE), as docs/operations.md says.",
    });
  return url;
}

const ALLOWED = "sqlite:PATH, sqlite:///absolute/path, memory:, or redis://HOST:PORT/DB (rediss://, redis+sentinel://, redis+cluster://)";

/** Told by the scheme alone, before anything of Redis is loaded. */
function isShared(url: string): boolean {
  return /^rediss?(\+\w+)?:\/\//.test(url);
}

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
