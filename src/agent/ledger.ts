import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { TransporterError } from "../kit/mod.ts";
import type { PayloadRef, Phase } from "../protocol/mod.ts";
import type { Delivery, PayloadTraits, Work } from "./delivery.ts";
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
  /** In which phase, the last time, as far as `started` was told; or while its manifests were being read. */
  readonly diedIn?: Phase | "reading" | undefined;
  /** Its payload is not here yet: its place is taken, and what it touches is not known. */
  readonly fetching?: boolean;
  /** Where it came without its payload, fetched or not. */
  readonly payload?: PayloadRef;
}

/** A payload as it was fetched: encoded, in pieces, and not checked again since. */
export interface EncodedPayload {
  readonly ref: PayloadRef;
  /** Of the event that it belongs to. */
  readonly type: string;
  readonly pieces: readonly Uint8Array<ArrayBuffer>[];
  /** How long it is when decoded, for whoever bounds what is in memory. */
  readonly length: number;
}

/** What was asked for: JSON of the array of manifests, or a payload to be decoded. */
export type ManifestSource = string | EncodedPayload;

/** How much of a payload is here. */
export interface PayloadProgress {
  /** Encoded bytes from the beginning without a gap. */
  readonly bytes: number;
  /** There once it was found whole and right. */
  readonly traits: PayloadTraits | undefined;
}

export interface Recovered {
  /** In the order they were accepted. */
  readonly deliveries: readonly OpenDelivery[];
  /** Not acknowledged yet, in the order they were made. */
  readonly statuses: readonly StatusRecord[];
  /** The highest epoch that was kept; 0 for none. */
  readonly seenEpoch: number;
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
  /** `after`: the key of what came before it; where that is not on disk, this is refused with STORE_UNAVAILABLE, or it would go first after a crash. */
  record(entry: NewDelivery, after?: string): Promise<void>;
  /** The manifests of a recorded delivery; undefined when it is not known or finished, or its payload is not whole. */
  manifests(key: string): Promise<ManifestSource | undefined>;
  /** It is being carried out, and this far. A process that dies from here on counts as a crash of this delivery, until it ends or is interrupted. */
  started(key: string, phase: Phase): Promise<void>;
  /** Its manifests are so large that reading them may end the process: that, too, is then a crash of this delivery. */
  reading(key: string, yes: boolean): Promise<void>;
  /** A stop on purpose while it was running: that is no crash. */
  interrupted(key: string): Promise<void>;
  /** Whether what it holds outlives the process. */
  readonly lasting: boolean;
  /** Keeps a text by name for as long as the delivery is open; one of that name before it is forgotten. */
  keep(key: string, name: string, text: string): Promise<void>;
  kept(key: string, name: string): Promise<string | undefined>;
  addStatus(record: StatusRecord): Promise<void>;
  /** Ends a delivery and keeps its last status, in one step. */
  finish(key: string, work: Work, final: StatusRecord, nowMs: number): Promise<void>;
  /** The control plane has every status of this boot up to and with `seq`. */
  acknowledged(bootId: string, seq: number): Promise<void>;
  /** Single statuses that are not needed any more (coalesced, or told to a 0.1 control plane). */
  dropStatuses(records: readonly Pick<StatusRecord, "bootId" | "seq">[]): Promise<void>;
  /** Keeps the epoch of a connection; a lower one than is kept changes nothing. */
  saveEpoch(epoch: number): Promise<void>;

  // Payloads that are fetched in pieces. One is kept once for all open deliveries that refer to it, and goes after the last of them.

  /** How many encoded bytes of payloads it can hold; what is fetched beyond waits. */
  readonly payloadRoomBytes: number;
  payload(digest: string): Promise<PayloadProgress>;
  /** Keeps the piece that begins at `offset`; to be called in order. */
  savePiece(digest: string, offset: number, piece: Uint8Array<ArrayBuffer>): Promise<void>;
  /** All pieces, for one that is whole; undefined otherwise. */
  encoded(ref: PayloadRef, type: string): Promise<EncodedPayload | undefined>;
  /** A payload is whole and right; the works of the deliveries that waited for it now say what it says. */
  payloadArrived(digest: string, traits: PayloadTraits, works: readonly { readonly key: string; readonly work: Work }[]): Promise<void>;
  /** Forgets a payload that turned out wrong. */
  dropPayload(digest: string): Promise<void>;
  /** Removes, a little at a time and later, what no open delivery refers to. Never throws. */
  sweepPayloads(): void;
  /** Resolves when as much as an event brings could be written now. */
  probe(): Promise<void>;

  close(): Promise<void>;
}

interface MemoryDelivery {
  manifestsJson: string | undefined;
  readonly payload: PayloadRef | undefined;
  readonly type: string;
  final: StatusRecord | undefined;
  finishedAtMs: number;
  bytes: number;
}

/** Without a disk what is remembered costs memory, so it is less. */
const MEMORY_LIMITS = {
  finishedCount: 1000,
  finishedBytes: 16 * 1024 * 1024,
  payloadBytes: 64 * 1024 * 1024,
  keptBytes: 64 * 1024 * 1024,
} as const;

interface MemoryPayload {
  readonly pieces: Uint8Array<ArrayBuffer>[];
  bytes: number;
  traits: PayloadTraits | undefined;
}

/** A ledger for agents without a disk: it keeps its promises as long as the process lives. */
export class MemoryLedger implements Ledger {
  readonly #deliveries = new Map<string, MemoryDelivery>();
  readonly #payloads = new Map<string, MemoryPayload>();
  #finished = 0;
  #finishedBytes = 0;
  #payloadBytes = 0;
  readonly #kept = new Map<string, Map<string, Uint8Array>>();
  #keptBytes = 0;
  readonly payloadRoomBytes = MEMORY_LIMITS.payloadBytes;
  readonly lasting = false;

  recover(): Promise<Recovered> {
    return Promise.resolve({ deliveries: [], statuses: [], seenEpoch: 0 });
  }

  finished(key: string): Promise<StatusRecord | undefined> {
    return Promise.resolve(this.#deliveries.get(key)?.final);
  }

  record(entry: NewDelivery): Promise<void> {
    const { key, manifestsJson, payload, work } = entry.delivery;
    this.#forget(key);
    this.#deliveries.set(key, { manifestsJson, payload, type: work.type, final: undefined, finishedAtMs: 0, bytes: 0 });
    return Promise.resolve();
  }

  manifests(key: string): Promise<ManifestSource | undefined> {
    const known = this.#deliveries.get(key);
    if (known?.payload !== undefined && known.final === undefined) return this.encoded(known.payload, known.type);
    return Promise.resolve(known?.manifestsJson);
  }

  payload(digest: string): Promise<PayloadProgress> {
    const known = this.#payloads.get(digest);
    return Promise.resolve({ bytes: known?.bytes ?? 0, traits: known?.traits });
  }

  savePiece(digest: string, offset: number, piece: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.#payloadBytes + piece.byteLength > MEMORY_LIMITS.payloadBytes)
      return Promise.reject(new TransporterError("STORE_FULL", "there is no memory left for payloads"));
    const known = this.#payloads.get(digest) ?? { pieces: [], bytes: 0, traits: undefined };
    if (offset === known.bytes) {
      known.pieces.push(piece);
      known.bytes += piece.byteLength;
      this.#payloadBytes += piece.byteLength;
    }
    this.#payloads.set(digest, known);
    return Promise.resolve();
  }

  encoded(ref: PayloadRef, type: string): Promise<EncodedPayload | undefined> {
    const known = this.#payloads.get(ref.digest);
    if (known === undefined || known.bytes !== ref.encoded_bytes) return Promise.resolve(undefined);
    // Copies, because whoever decodes them gives them away to a worker.
    return Promise.resolve({ ref, type, pieces: known.pieces.map((piece) => piece.slice()), length: ref.bytes });
  }

  payloadArrived(digest: string, traits: PayloadTraits): Promise<void> {
    const known = this.#payloads.get(digest);
    if (known !== undefined) known.traits = traits;
    return Promise.resolve();
  }

  dropPayload(digest: string): Promise<void> {
    this.#payloadBytes -= this.#payloads.get(digest)?.bytes ?? 0;
    this.#payloads.delete(digest);
    return Promise.resolve();
  }

  sweepPayloads(): void {
    const wanted = new Set<string>();
    for (const one of this.#deliveries.values()) if (one.final === undefined && one.payload !== undefined) wanted.add(one.payload.digest);
    for (const digest of this.#payloads.keys()) if (!wanted.has(digest)) void this.dropPayload(digest);
  }

  probe(): Promise<void> {
    return Promise.resolve();
  }

  started(_key: string, _phase: Phase): Promise<void> {
    return Promise.resolve();
  }

  reading(_key: string, _yes: boolean): Promise<void> {
    return Promise.resolve();
  }

  interrupted(_key: string): Promise<void> {
    return Promise.resolve();
  }

  keep(key: string, name: string, text: string): Promise<void> {
    const body = zstdCompressSync(text);
    const mine = this.#kept.get(key) ?? new Map<string, Uint8Array>();
    const bytes = this.#keptBytes + body.byteLength - (mine.get(name)?.byteLength ?? 0);
    if (bytes > MEMORY_LIMITS.keptBytes)
      return Promise.reject(new TransporterError("STORE_FULL", "there is no memory left for what events have to remember"));
    this.#keptBytes = bytes;
    this.#kept.set(key, mine.set(name, body));
    return Promise.resolve();
  }

  kept(key: string, name: string): Promise<string | undefined> {
    const body = this.#kept.get(key)?.get(name);
    return Promise.resolve(body === undefined ? undefined : zstdDecompressSync(body).toString("utf8"));
  }

  addStatus(_record: StatusRecord): Promise<void> {
    return Promise.resolve();
  }

  finish(key: string, work: Work, final: StatusRecord, nowMs: number): Promise<void> {
    this.#forget(key);
    for (const body of this.#kept.get(key)?.values() ?? []) this.#keptBytes -= body.byteLength;
    this.#kept.delete(key);
    const bytes = JSON.stringify(final).length;
    this.#deliveries.set(key, { manifestsJson: undefined, payload: undefined, type: work.type, final, finishedAtMs: nowMs, bytes });
    this.#finished += 1;
    this.#finishedBytes += bytes;
    for (const [oldKey, old] of this.#deliveries) {
      if (old.final === undefined) continue;
      const fits = this.#finished <= MEMORY_LIMITS.finishedCount && this.#finishedBytes <= MEMORY_LIMITS.finishedBytes;
      if (fits && nowMs - old.finishedAtMs < LEDGER_LIMITS.finishedMs) break;
      this.#forget(oldKey);
    }
    if (this.#payloads.size > 0) this.sweepPayloads();
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

  saveEpoch(_epoch: number): Promise<void> {
    return Promise.resolve();
  }

  dropStatuses(_records: readonly Pick<StatusRecord, "bootId" | "seq">[]): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
