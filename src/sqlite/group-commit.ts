import type { Database, Statement } from "bun:sqlite";
import { type Clock, type Timers, TransporterError } from "../kit/mod.ts";
import { sqliteFailure } from "./failure.ts";

/** What the owner of the tables keeps in memory about them, so that it goes with the transaction. All are called synchronously. */
export interface CommitHooks {
  /** Before a transaction: remember what `undo` must restore. */
  begin?(): void;
  /** Inside it, after its operations: write what was gathered. A throw counts as a failure of the transaction. */
  beforeCommit?(): void;
  /** Right before the commit and right after it. A throw ends this committer as a crash would: nothing is settled or run any more. */
  committing?(): void;
  committed?(): void;
  /** It is gone: nothing that happened since `begin` counts. */
  undo?(): void;
}

export interface GroupCommitOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly timers: Timers;
  /** For messages: "store", "ledger". */
  readonly what: string;
  readonly hooks?: CommitHooks;
  /** Prepares statements that somebody else finalises; without it, `close` does. */
  readonly prepare?: (sql: string) => Statement<unknown, []>;
  /** Most operations in one transaction; 1,000 when absent. */
  readonly maxOperations?: number;
  /** A transaction takes no further operation after this long, so that a batch never holds the event loop for long; 20 ms when absent. */
  readonly maxMs?: number;
}

interface Operation {
  readonly run: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Commits the operations of one turn of the event loop in ONE transaction, so that its fsync is shared, and resolves each with its own
 * value only after the commit. Operations are synchronous functions over prepared statements and run in the order they came, reads
 * included, so a read sees every write asked for before it. When one fails, the transaction is rolled back and its operations run again
 * one by one, each in a transaction of its own: an operation must therefore have no effect outside the database but through the hooks.
 */
export class GroupCommit {
  readonly #db: Database;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #what: string;
  readonly #hooks: CommitHooks;
  readonly #maxOperations: number;
  readonly #maxMs: number;
  readonly #ownsStatements: boolean;
  readonly #begin;
  readonly #commit;
  #queue: Operation[] = [];
  #scheduled = false;
  #closing: Promise<void> | undefined;
  #drained: (() => void) | undefined;
  /** Set once the file was found damaged; from then on nothing is served. */
  #dead: TransporterError | undefined;
  /** Set once a hook threw right before or after a commit. */
  #crashed = false;

  constructor(options: GroupCommitOptions) {
    this.#db = options.db;
    this.#clock = options.clock;
    this.#timers = options.timers;
    this.#what = options.what;
    this.#hooks = options.hooks ?? {};
    this.#maxOperations = options.maxOperations ?? 1000;
    this.#maxMs = options.maxMs ?? 20;
    const prepare = options.prepare ?? ((sql: string) => options.db.prepare<unknown, []>(sql));
    this.#ownsStatements = options.prepare === undefined;
    this.#begin = prepare("BEGIN");
    this.#commit = prepare("COMMIT");
  }

  /** How many operations wait. */
  get queued(): number {
    return this.#queue.length;
  }

  /** Runs the operation in the next transaction. STORE_FULL, STORE_UNAVAILABLE or STORE_CORRUPT when it could not be committed; or what it threw. */
  run<T>(operation: () => T): Promise<T> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    if (this.#crashed) return new Promise<never>(() => undefined);
    if (this.#closing !== undefined) return Promise.reject(new TransporterError("STORE_UNAVAILABLE", `the ${this.#what} is closed`));
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ run: operation, resolve: resolve as (value: unknown) => void, reject });
      this.#schedule();
    });
  }

  /** Takes nothing more and resolves when everything asked for before is committed or has failed. */
  close(): Promise<void> {
    this.#closing ??= this.#drain();
    return this.#closing;
  }

  async #drain(): Promise<void> {
    if (this.#queue.length > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    if (!this.#ownsStatements) return;
    this.#begin.finalize();
    this.#commit.finalize();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#timers.soon(() => {
      this.#scheduled = false;
      this.#flush();
      if (this.#queue.length > 0) this.#schedule();
      else this.#drained?.();
    });
  }

  #flush(): void {
    const queue = this.#queue;
    if (this.#crashed) {
      this.#queue = [];
      return;
    }
    if (this.#dead !== undefined) {
      this.#queue = [];
      for (const operation of queue) operation.reject(this.#dead);
      return;
    }
    const limit = Math.min(queue.length, this.#maxOperations);
    const values: unknown[] = [];
    const stopAtMs = this.#clock.monotonic() + this.#maxMs;
    try {
      this.#start();
      for (let at = 0; at < limit; at += 1) {
        values.push((queue[at] as Operation).run());
        if (this.#clock.monotonic() >= stopAtMs) break;
      }
      this.#finish();
    } catch (error) {
      this.#rollback();
      if (this.#crashed) throw error;
      this.#queue = queue.slice(this.#oneByOne(queue.slice(0, limit)));
      return;
    }
    this.#queue = values.length === queue.length ? [] : queue.slice(values.length);
    for (let at = 0; at < values.length; at += 1) (queue[at] as Operation).resolve(values[at]);
  }

  /** Answers how many of the operations are settled: the rest waits for the next turn, as each commit here costs an fsync. */
  #oneByOne(operations: readonly Operation[]): number {
    let unavailable: TransporterError | undefined;
    const stopAtMs = this.#clock.monotonic() + this.#maxMs;
    for (const [at, operation] of operations.entries()) {
      if (at > 0 && unavailable === undefined && this.#clock.monotonic() >= stopAtMs) return at;
      if (unavailable !== undefined) {
        operation.reject(unavailable);
        continue;
      }
      try {
        this.#start();
        const value = operation.run();
        this.#finish();
        operation.resolve(value);
      } catch (thrown) {
        this.#rollback();
        if (this.#crashed) throw thrown;
        const error = sqliteFailure(thrown, this.#what);
        operation.reject(error);
        if (error.code === "STORE_CORRUPT") this.#dead = error;
        // A lock or a failing disk would fail every one of them, each after a wait of its own. A full disk may still take small ones.
        if (error.code === "STORE_CORRUPT" || (error.code === "STORE_UNAVAILABLE" && error !== thrown)) unavailable = error;
      }
    }
    return operations.length;
  }

  #start(): void {
    this.#hooks.begin?.();
    this.#begin.run();
  }

  #finish(): void {
    this.#hooks.beforeCommit?.();
    this.#crashed = true;
    this.#hooks.committing?.();
    this.#crashed = false;
    this.#commit.run();
    this.#crashed = true;
    this.#hooks.committed?.();
    this.#crashed = false;
  }

  #rollback(): void {
    // SQLite itself rolls back on some errors (a full disk, an I/O error).
    if (this.#db.inTransaction) this.#db.run("ROLLBACK");
    this.#hooks.undo?.();
  }
}
