import { promisify } from "node:util";
import { zstdDecompress, zstdDecompressSync } from "node:zlib";
import { type Logger, failpoint, messageOf, type Ports } from "../kit/mod.ts";
import { LIMITS, type PayloadGet, type PayloadRef } from "../protocol/mod.ts";
import type { Store } from "../stores/mod.ts";

const decompressLater = promisify(zstdDecompress);

export const PAYLOAD_LIMITS = {
  /** Pieces that are read for one agent at the same time; more wait their turn. */
  atOnce: 2,
  /** Requests of one agent that may wait; ours never has more than two out, so what comes beyond is not ours and gets no answer. */
  waiting: 16,
  /** Up to this many encoded bytes, and bytes of text, are decoded here and now: a thread would cost more than it saves. */
  inlineBytes: 64 * 1024,
  inlineTextBytes: 512 * 1024,
} as const;

export interface PayloadsOptions {
  readonly store: Pick<Store, "payloadPiece">;
  readonly ports: Ports;
  readonly log: Logger;
}

/** What is asked of whoever gets the pieces: an agent's session. */
export interface PieceTaker {
  readonly agentId: string;
  readonly congested: boolean;
  send(frame: string): boolean;
}

interface Line {
  running: number;
  readonly waiting: PayloadGet[];
}

const SHA256_HEX = /^[0-9a-f]{64}$/;

/** Payloads that lie apart, on their way out: in pieces to agents that fetch them, whole for those that cannot. */
export class Payloads {
  readonly #options: PayloadsOptions;
  readonly #lines = new WeakMap<PieceTaker, Line>();
  /** By digest, while they are being read: a thousand agents that get the same manifest cost one reading. */
  readonly #texts = new Map<string, Promise<string | undefined>>();

  constructor(options: PayloadsOptions) {
    this.#options = options;
  }

  /**
   * Answers one `payload_get`, in turn. Nothing is answered where the request makes no sense, too many wait, or the store does not answer:
   * the agent asks again. Throws nothing.
   */
  piece(session: PieceTaker, get: PayloadGet): void {
    const { log } = this.#options;
    if (!SHA256_HEX.test(get.digest) || get.offset % LIMITS.payloadPieceBytes !== 0) {
      log.warn("A request for a piece of a payload makes no sense and is not answered", {
        agent_id: session.agentId,
        offset: get.offset,
      });
      return;
    }
    let line = this.#lines.get(session);
    if (line === undefined) {
      line = { running: 0, waiting: [] };
      this.#lines.set(session, line);
    }
    if (line.waiting.some((one) => one.digest === get.digest && one.offset === get.offset)) return;
    if (line.waiting.length >= PAYLOAD_LIMITS.waiting) {
      log.warn("An agent asks for too many pieces at once; it gets no answer to this one", { agent_id: session.agentId });
      return;
    }
    line.waiting.push(get);
    if (line.running < PAYLOAD_LIMITS.atOnce) void this.#serve(session, line);
  }

  async #serve(session: PieceTaker, line: Line): Promise<void> {
    line.running += 1;
    for (let get = line.waiting.shift(); get !== undefined; get = line.waiting.shift()) await this.#answer(session, get);
    line.running -= 1;
  }

  async #answer(session: PieceTaker, { digest, offset }: PayloadGet): Promise<void> {
    try {
      const piece = await this.#options.store.payloadPiece(digest, offset);
      const data = piece === undefined ? null : Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength).toString("base64");
      // Base64 needs no escaping, and a second pass over it to find that out is what costs.
      session.send(`{"type":"payload_piece","digest":"${digest}","offset":${offset},"data":${data === null ? "null" : `"${data}"`}}`);
      failpoint("cp.payload.piece-sent");
    } catch (error) {
      this.#options.log.warn("A piece of a payload could not be read", { agent_id: session.agentId, error: messageOf(error) });
    }
  }

  /** The JSON text of a payload, for agents that cannot fetch it; undefined when it is not there or not what it should be. Throws what the store throws. */
  text(ref: PayloadRef): Promise<string | undefined> {
    const known = this.#texts.get(ref.digest);
    if (known !== undefined) return known;
    const reading = this.#read(ref).finally(() => this.#texts.delete(ref.digest));
    this.#texts.set(ref.digest, reading);
    return reading;
  }

  async #read(ref: PayloadRef): Promise<string | undefined> {
    const pieces: Uint8Array[] = [];
    for (let offset = 0; offset < ref.encoded_bytes;) {
      const piece = await this.#options.store.payloadPiece(ref.digest, offset);
      if (piece === undefined || piece.byteLength === 0) return undefined;
      pieces.push(piece);
      offset += piece.byteLength;
    }
    const encoded = Buffer.concat(pieces);
    // One byte more than there should be, so that more is an error and not a text cut short.
    const bound = { maxOutputLength: ref.bytes + 1 };
    try {
      const text =
        encoded.byteLength <= PAYLOAD_LIMITS.inlineBytes && ref.bytes <= PAYLOAD_LIMITS.inlineTextBytes
          ? zstdDecompressSync(encoded, bound)
          : await decompressLater(encoded, bound);
      if (text.byteLength !== ref.bytes) throw new Error(`it has ${text.byteLength} bytes instead of ${ref.bytes}`);
      return text.toString("utf8");
    } catch (error) {
      this.#options.log.error("A payload cannot be decoded", { digest: ref.digest, error: messageOf(error) });
      return undefined;
    }
  }
}
