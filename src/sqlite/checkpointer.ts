import type { Statement } from "bun:sqlite";
import { type Logger, messageOf, type TimerHandle, type Timers, workerHref } from "../kit/mod.ts";
import type { OpenedDatabase } from "./open.ts";

export interface CheckpointJob {
  readonly path: string;
}
/** `failed` says why nothing, or not all, was moved. */
export interface CheckpointAnswer {
  readonly failed?: string;
}

/** Pages of 4 KiB that wait in the log when the worker is asked: 4 MiB. */
const ASK_PAGES = 1024;
/** From this length on (16 MiB) the log shall begin anew, which SQLite does when it is written to while every page of it is in the file. */
const RESTART_PAGES = 4000;
/** So few that the main loop moves them itself: while commits go on, a worker alone never gets to the end of the log. */
const LAST_PAGES = 128;
/** A log that grows in spite of the worker has the main loop move more and more: this part of what is beyond RESTART_PAGES. */
const LAST_PART = 1 / 8;
/** At 64 MiB the main loop moves all that is left, whatever becomes of the worker. */
const FALLBACK_PAGES = 16_384;
/** A worker without work is ended, so that its memory goes back. */
const IDLE_MS = 60_000;
/** A checkpoint that takes longer than this does not keep its store from closing. */
const STOP_MS = 10_000;

export interface CheckpointerOptions {
  readonly database: OpenedDatabase;
  readonly timers: Timers;
  readonly log: Logger;
  /** Starts the worker; for tests. */
  readonly startWorker?: () => Worker;
}

/** What `PRAGMA wal_checkpoint` answers: pages in the log, and how many of them are in the file. */
interface LogState {
  readonly log: number;
  readonly checkpointed: number;
}

/**
 * Has the write-ahead log of a database file moved into the file by a worker, on a connection of its own, so that no commit stops to do
 * it: one checkpoint at a time, each when enough has gathered. Nothing waits for it: a log that is not moved only grows. When the worker
 * dies, commits move the log themselves, as they do without a Checkpointer.
 */
export class Checkpointer {
  readonly #database: OpenedDatabase;
  readonly #timers: Timers;
  readonly #log: Logger;
  readonly #startWorker: () => Worker;
  readonly #look: Statement<LogState, []>;
  readonly #move: Statement<LogState, []>;
  #worker: Worker | undefined;
  #idle: TimerHandle | undefined;
  #active: boolean;
  /** How the log was when the worker, which has not answered yet, was asked. */
  #asked: LogState | undefined;
  /** While somebody reads what is older, no page more can be moved: the worker is not asked again before the log is this long. */
  #notBelow = 0;
  #stopped: (() => void) | undefined;

  constructor(options: CheckpointerOptions) {
    this.#database = options.database;
    this.#timers = options.timers;
    this.#log = options.log;
    this.#startWorker = options.startWorker ?? (() => new Worker(workerHref("sqlite/checkpoint.worker.ts")));
    this.#look = options.database.prepare<LogState>("PRAGMA wal_checkpoint(NOOP)");
    this.#move = options.database.prepare<LogState>("PRAGMA wal_checkpoint(PASSIVE)");
    this.#active = knowsNoop(options.database);
    if (this.#active) this.#autocheckpoint(FALLBACK_PAGES);
  }

  /** Whether a worker moves the log. */
  get active(): boolean {
    return this.#active;
  }

  /** To be called after each commit, outside a transaction; takes some microseconds and never throws. */
  committed(): void {
    if (!this.#active || this.#asked !== undefined) return;
    const state = this.#state(this.#look);
    if (state === undefined) return;
    // A log shorter than that has begun anew.
    if (state.log + ASK_PAGES < this.#notBelow) this.#notBelow = 0;
    if (state.log - state.checkpointed >= ASK_PAGES && state.log >= this.#notBelow) this.#ask(state);
  }

  /** Asks nothing more and resolves when no checkpoint runs: only then may the database be closed. */
  async stop(): Promise<void> {
    this.#active = false;
    if (this.#asked !== undefined) {
      await new Promise<void>((resolve) => {
        this.#stopped = resolve;
        this.#idle?.cancel();
        this.#idle = this.#timers.after(STOP_MS, resolve);
      });
    }
    this.#end();
  }

  #ask(state: LogState): void {
    this.#idle?.cancel();
    this.#notBelow = 0;
    try {
      this.#worker ??= this.#start();
      this.#worker.postMessage({ path: this.#database.path } satisfies CheckpointJob);
      this.#asked = state;
    } catch (error) {
      this.#lost(messageOf(error));
    }
  }

  #start(): Worker {
    const worker = this.#startWorker();
    worker.unref();
    worker.addEventListener("message", (message: MessageEvent<CheckpointAnswer>) => {
      if (this.#worker === worker) this.#answered(message.data);
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      if (this.#worker === worker) this.#lost(event.message);
    });
    worker.addEventListener("close", () => {
      if (this.#worker === worker) this.#lost("it ended");
    });
    return worker;
  }

  #answered({ failed }: CheckpointAnswer): void {
    const before = this.#asked;
    this.#asked = undefined;
    this.#stopped?.();
    if (!this.#active || before === undefined) return;
    this.#idle = this.#timers.after(IDLE_MS, () => this.#end(), { background: true });
    if (failed !== undefined) this.#log.debug("The write-ahead log could not be moved into the file", { why: failed });
    const state = this.#state(this.#look);
    // A shorter one has begun anew.
    if (state === undefined || state.log < before.log) return;
    const left = state.log - state.checkpointed;
    if (state.checkpointed - before.checkpointed < LAST_PAGES) this.#notBelow = state.log + ASK_PAGES;
    else if (state.log < RESTART_PAGES || left === 0) return;
    else if (left <= mostForTheLoop(state.log)) this.#state(this.#move);
    else this.#ask(state);
  }

  #lost(why: string): void {
    this.#asked = undefined;
    this.#end();
    this.#stopped?.();
    if (!this.#active) return;
    this.#active = false;
    this.#log.warn("The worker that moves the write-ahead log into the file is gone; commits do it from now on", { why });
    this.#autocheckpoint(RESTART_PAGES);
  }

  #end(): void {
    this.#idle?.cancel();
    const worker = this.#worker;
    this.#worker = undefined;
    worker?.terminate();
  }

  #autocheckpoint(pages: number): void {
    this.#database.db.run(`PRAGMA wal_autocheckpoint = ${pages}`);
  }

  #state(statement: Statement<LogState, []>): LogState | undefined {
    try {
      return statement.get() ?? undefined;
    } catch {
      // The next commit meets the same and says it to whom it concerns.
      return undefined;
    }
  }
}

function mostForTheLoop(logPages: number): number {
  if (logPages >= FALLBACK_PAGES) return Number.POSITIVE_INFINITY;
  return Math.max(LAST_PAGES, (logPages - RESTART_PAGES) * LAST_PART);
}

/** To an older SQLite, as macOS may bring it, NOOP is an unknown word, and the look at the log would move it. */
function knowsNoop({ db }: OpenedDatabase): boolean {
  const version = db.query<{ version: string }, []>("SELECT sqlite_version() AS version").get()?.version ?? "0";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 3 || (major === 3 && minor >= 52);
}
