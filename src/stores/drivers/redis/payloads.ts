import { type Clock, failpoint, TransporterError } from "../../../kit/mod.ts";
import { LIMITS } from "../../../protocol/mod.ts";
import type { RedisLink } from "../../../redis/mod.ts";
import type { EncodedPayload, SweepInput, Swept } from "../../port.ts";
import type { Calls, Operation } from "./calls.ts";

/** Pieces that one call writes, and removes: half a megabyte, and two, so that nobody waits long behind it. */
const PIECES_AT_ONCE = 4;
const REMOVED_AT_ONCE = 16;
/** How long a payload without an event is kept: its event is about to come. */
const ORPHAN_MS = 3_600_000;
const EVENTS_AT_ONCE = 48;
const ENTRIES_AT_ONCE = 512;
const DOCUMENTS_AT_ONCE = 256;
/** Audit entries come in the order of time, or nearly so: a clock may have been set back. Only so many of the oldest are looked at. */
const AUDIT_LOOKED_AT = 4096;

/** Large payloads, encoded, in pieces, once for each digest. What is not there as a whole is not there for anybody, and is gone on with. */
export class Payloads {
  readonly #calls: Calls;
  readonly #link: RedisLink;
  readonly #clock: Clock;
  // One at a time for each digest: the second finds it there.
  readonly #saving = new Map<string, Promise<void>>();

  constructor(parts: { readonly calls: Calls; readonly link: RedisLink; readonly clock: Clock }) {
    this.#calls = parts.calls;
    this.#link = parts.link;
    this.#clock = parts.clock;
  }

  save(payload: EncodedPayload): Promise<void> {
    const running = this.#saving.get(payload.digest);
    if (running !== undefined) return running;
    const saved = this.#save(payload).finally(() => this.#saving.delete(payload.digest));
    this.#saving.set(payload.digest, saved);
    return saved;
  }

  async piece(digest: string, offset: number): Promise<Uint8Array | undefined> {
    const at = offset / LIMITS.payloadPieceBytes;
    if (!Number.isInteger(at) || at < 0 || at > 4096) return undefined;
    if (!this.#link.up) throw new TransporterError("STORE_UNAVAILABLE", `Redis at ${this.#link.address.location} is not connected`);
    const { prefix } = this.#link.address;
    const { client } = this.#link;
    try {
      // Whether it is whole is asked last: what was so then was so when the piece was read.
      const [data, whole] = await Promise.all([
        client.getBuffer(`{${prefix}}:xp:${digest}:${at}`),
        client.hget(`{${prefix}}:x:${digest}`, "ok"),
      ]);
      return data === null || whole !== "1" ? undefined : data;
    } catch (error) {
      throw this.#link.fault(error);
    }
  }

  async #save(payload: EncodedPayload): Promise<void> {
    const hash = payload.encodedHash ?? Bun.hash(payload.encoded).toString(16);
    for (let at = 0, whole = false; !whole;) {
      [at, whole] = await this.#calls.run(this.#some(payload, hash, at));
      failpoint("cp.intake.payload-piece");
    }
  }

  /** The next few pieces, from `from`; answers how many are there, which may be others than was thought, and whether these are all. */
  #some({ digest, bytes, encoded }: EncodedPayload, hash: string, from: number): Operation<[number, boolean]> {
    const all = Math.ceil(encoded.byteLength / LIMITS.payloadPieceBytes);
    const pieces = Array.from({ length: Math.min(all, from + PIECES_AT_ONCE) - from }, (_, at) => {
      const part = encoded.subarray((from + at) * LIMITS.payloadPieceBytes, (from + at + 1) * LIMITS.payloadPieceBytes);
      return Buffer.from(part.buffer, part.byteOffset, part.byteLength);
    });
    return {
      writes: true,
      weight: 16,
      build: (put) => ["ps", digest, bytes, encoded.byteLength, hash, all, this.#clock.now(), from, pieces.map((piece) => put(piece))],
      read(answer) {
        const [there, whole] = answer as [number, number];
        return [there, whole === 1];
      },
    };
  }

  async sweep(input: SweepInput): Promise<Swept> {
    const removed = { events: 0, audit: 0, documents: 0 };
    while (removed.events < input.limit) {
      const most = Math.min(EVENTS_AT_ONCE, input.limit - removed.events);
      const some = await this.#step(["sw", input.finishedBeforeMs, most], Number);
      removed.events += some;
      if (some < most) break;
    }
    const savedBeforeMs = this.#clock.now() - ORPHAN_MS;
    for (let steps = 0; steps < input.limit; steps += 1)
      if ((await this.#step(["po", savedBeforeMs, REMOVED_AT_ONCE], Number)) === 0) break;
    for (let after = 0, looked = 0; removed.audit < input.limit && looked < AUDIT_LOOKED_AT; looked += ENTRIES_AT_ONCE) {
      const most = Math.min(ENTRIES_AT_ONCE, input.limit - removed.audit);
      const [some, last, more] = await this.#step(
        ["su", input.auditBeforeMs, most, after, ENTRIES_AT_ONCE],
        (answer) => answer as [number, number, number],
      );
      removed.audit += some;
      after = last;
      if (some > 0) looked = 0;
      if (more === 0) break;
    }
    const { nowMs } = input;
    if (nowMs === undefined) return removed;
    while (removed.documents < input.limit) {
      const most = Math.min(DOCUMENTS_AT_ONCE, input.limit - removed.documents);
      const some = await this.#step(["dd", String(nowMs), most], Number);
      removed.documents += some;
      if (some < most) break;
    }
    return removed;
  }

  #step<T>(operation: readonly unknown[], read: (answer: unknown) => T): Promise<T> {
    return this.#calls.run({ writes: true, weight: 96, build: () => operation, read });
  }
}
