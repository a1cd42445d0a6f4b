import type { Delivery, Work } from "./delivery.ts";
import type { StatusRecord } from "./status.ts";

/** How long a finished delivery is remembered, so that one which is handed over again is answered and not done again. */
export const LEDGER_LIMITS = {
  finishedMs: 7 * 24 * 3_600_000,
  finishedCount: 10_000,
  finishedBytes: 128 * 1024 * 1024,
  /** Looked after every so many finished deliveries. */
  pruneEvery: 200,
} as const;

export interface NewDelivery {
  readonly delivery: Delivery;
  readonly receivedAtMs: number;
  /** By this machine's clock; undefined without bound. */
  readonly expiresAtMs: number | undefined;
}

/** A delivery that was not finished when the ledger was opened. */
export interface OpenDelivery {
  readonly key: string;
  readonly work: Work;
  readonly expiresAtMs: number | undefined;
  readonly started: boolean;
  /** How often the process died while it was being carried out. */
  readonly crashes: number;
}

export interface Recovered {
  /** In the order they were accepted. */
  readonly deliveries: readonly OpenDelivery[];
  /** Not acknowledged yet, in the order they were made. */
  readonly statuses: readonly StatusRecord[];
}

/**
 * What the agent must not forget: deliveries it has accepted, and statuses the control plane has not acknowledged. Calls made in one
 * order take effect in that order, and a promise resolves when the effect is durable (as durable as the ledger is). Operations may be
 * repeated. Errors: STORE_FULL and STORE_UNAVAILABLE (try again).
 *
 * It does NOT promise that an entry outlives a damaged file: then it begins anew, and the control plane hands over again what is open.
 */
export interface Ledger {
  /** What an earlier process left. To be called once, first. */
  recover(): Promise<Recovered>;
  /** How a finished delivery ended, or undefined when it is not known or not finished. */
  finished(key: string): Promise<StatusRecord | undefined>;
  record(entry: NewDelivery): Promise<void>;
  /** The manifests of a recorded delivery as JSON; undefined when it is not known or finished. */
  manifests(key: string): Promise<string | undefined>;
  started(key: string): Promise<void>;
  /** A stop on purpose while it was running: that is no crash. */
  interrupted(key: string): Promise<void>;
  addStatus(record: StatusRecord): Promise<void>;
  /** Ends a delivery and keeps its last status, in one step. */
  finish(key: string, work: Work, final: StatusRecord, nowMs: number): Promise<void>;
  /** The control plane has every status of this boot up to and with `seq`. */
  acknowledged(bootId: string, seq: number): Promise<void>;
  /** Single statuses that are not needed any more (coalesced, or told to a 0.1 control plane). */
  dropStatuses(records: readonly Pick<StatusRecord, "bootId" | "seq">[]): Promise<void>;
  close(): Promise<void>;
}

interface MemoryDelivery {
  manifestsJson: string | undefined;
  final: StatusRecord | undefined;
  finishedAtMs: number;
  bytes: number;
}

/** Without a disk what is remembered costs memory, so it is less. */
const MEMORY_LIMITS = { finishedCount: 1000, finishedBytes: 16 * 1024 * 1024 } as const;

/** A ledger for agents without a disk: it keeps its promises as long as the process lives. */
export class MemoryLedger implements Ledger {
  readonly #deliveries = new Map<string, MemoryDelivery>();
  #finished = 0;
  #finishedBytes = 0;

  recover(): Promise<Recovered> {
    return Promise.resolve({ deliveries: [], statuses: [] });
  }

  finished(key: string): Promise<StatusRecord | undefined> {
    return Promise.resolve(this.#deliveries.get(key)?.final);
  }

  record(entry: NewDelivery): Promise<void> {
    const { key, manifestsJson } = entry.delivery;
    this.#forget(key);
    this.#deliveries.set(key, { manifestsJson, final: undefined, finishedAtMs: 0, bytes: 0 });
    return Promise.resolve();
  }

  manifests(key: string): Promise<string | undefined> {
    return Promise.resolve(this.#deliveries.get(key)?.manifestsJson);
  }

  started(): Promise<void> {
    return Promise.resolve();
  }

  interrupted(): Promise<void> {
    return Promise.resolve();
  }

  addStatus(_record: StatusRecord): Promise<void> {
    return Promise.resolve();
  }

  finish(key: string, _work: Work, final: StatusRecord, nowMs: number): Promise<void> {
    this.#forget(key);
    const bytes = JSON.stringify(final).length;
    this.#deliveries.set(key, { manifestsJson: undefined, final, finishedAtMs: nowMs, bytes });
    this.#finished += 1;
    this.#finishedBytes += bytes;
    for (const [oldKey, old] of this.#deliveries) {
      if (old.final === undefined) continue;
      const fits = this.#finished <= MEMORY_LIMITS.finishedCount && this.#finishedBytes <= MEMORY_LIMITS.finishedBytes;
      if (fits && nowMs - old.finishedAtMs < LEDGER_LIMITS.finishedMs) break;
      this.#forget(oldKey);
    }
    return Promise.resolve();
  }

  /** Takes an entry out; set again, it stands at the end of the order. */
  #forget(key: string): void {
    const old = this.#deliveries.get(key);
    if (old?.final !== undefined) {
      this.#finished -= 1;
      this.#finishedBytes -= old.bytes;
    }
    this.#deliveries.delete(key);
  }

  acknowledged(_bootId: string, _seq: number): Promise<void> {
    return Promise.resolve();
  }

  dropStatuses(_records: readonly Pick<StatusRecord, "bootId" | "seq">[]): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
