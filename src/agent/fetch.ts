import { Backoff, failpoint, type Logger, messageOf, type Ports, type TimerHandle, TransporterError } from "../kit/mod.ts";
import { LIMITS, type PayloadRef } from "../protocol/mod.ts";
import type { Decoded, PayloadTraits, Work } from "./delivery.ts";
import type { Ledger } from "./ledger.ts";
import type { Parsing } from "./off-loop.ts";
import { MAX_PAYLOAD_BYTES } from "./payload.ts";

export const FETCH_LIMITS = {
  /** Payloads at the same time, one piece each: what is on the wire for them never amounts to much. */
  atOnce: 2,
  answerMs: 10_000,
  /** On a slow link an answer takes longer than that, and asking again would only fill it: so many times what the last one took is waited. */
  answerFactor: 3,
  answerMaxMs: 60_000,
  /** So often may a payload turn out to be something else than announced. */
  attempts: 3,
  /** While the first in line waits for room. */
  roomLookMs: 1_000,
} as const;

export interface FetchOptions {
  readonly ledger: Ledger;
  readonly parsing: Parsing;
  readonly ports: Ports;
  readonly log: Logger;
  /** Sends a frame to a control plane that has payloads in pieces; false to any other, or to none. */
  readonly send: (text: string) => boolean;
  /** Whether this delivery is still open here: it may have been cancelled, or have expired. */
  readonly wanted: (key: string) => boolean;
  /** Its payload is whole, right and durable; `work` now says what the payload says. */
  readonly arrived: (key: string, work: Work) => void;
  readonly failed: (key: string, error: TransporterError) => void;
  readonly onLedgerFailing: () => void;
}

type Piece = Extract<Decoded, { readonly kind: "piece" }>;
type Answer = { readonly data: string | null } | "given up";

interface Fetching {
  readonly ref: PayloadRef;
  /** The deliveries that wait for it. */
  readonly wants: Map<string, Work>;
  active: boolean;
  offset: number;
  damaged: number;
  /** Set while an answer is awaited. */
  asked: ((answer: Answer) => void) | undefined;
  timer: TimerHandle | undefined;
  /** Since when the answer is awaited, on the present link; by the monotonic clock. */
  askedMs: number;
}

/**
 * Fetches the payloads that did not come along, in the order their events came, a piece at a time: the next is asked for when the last is
 * on disk. After a cut, or a restart, it goes on where it stopped. A payload that several deliveries have in common is fetched once.
 */
export class Fetch {
  readonly #options: FetchOptions;
  /** By digest, in the order they are to be fetched. */
  readonly #fetching = new Map<string, Fetching>();
  /** Fetched, and held by the ledger while one of these deliveries is open; by digest. Kept count of where the ledger's room is bounded. */
  readonly #kept = new Map<string, { readonly bytes: number; readonly keys: Set<string> }>();
  #active = 0;
  /** How long the last piece took to come. */
  #lastAnswerMs = 0;
  #roomLook: TimerHandle | undefined;
  readonly #stopped = new AbortController();

  constructor(options: FetchOptions) {
    this.#options = options;
  }

  /** A recorded delivery needs this payload. */
  want(key: string, work: Work, ref: PayloadRef): void {
    if (ref.bytes > MAX_PAYLOAD_BYTES || ref.encoded_bytes > Math.min(this.#options.ledger.payloadRoomBytes, MAX_PAYLOAD_BYTES)) {
      const error = new TransporterError("STORE_FULL", `a payload of ${ref.encoded_bytes} bytes is more than this agent can keep`, {
        remedy: "Give the agent a state directory, or make the event smaller.",
      });
      this.#options.failed(key, error);
      return;
    }
    const known = this.#fetching.get(ref.digest);
    if (known !== undefined) {
      known.wants.set(key, work);
      return;
    }
    this.#fetching.set(ref.digest, {
      ref,
      wants: new Map([[key, work]]),
      active: false,
      offset: 0,
      damaged: 0,
      asked: undefined,
      timer: undefined,
      askedMs: 0,
    });
    this.#begin();
  }

  /** Whether this delivery waits for its payload. */
  isFetching(key: string): boolean {
    for (const one of this.#fetching.values()) if (one.wants.has(key)) return true;
    return false;
  }

  /** It was handed over again while its payload waits for its turn: a question shows the other side that it is not forgotten. */
  nudge(key: string): void {
    for (const one of this.#fetching.values()) if (!one.active && one.wants.has(key)) this.#sendGet(one);
  }

  /** A link stands: what was asked for on the last one will not be answered there. */
  attach(): void {
    for (const one of this.#fetching.values()) {
      if (one.asked === undefined) continue;
      one.askedMs = this.#options.ports.clock.monotonic();
      this.#sendGet(one);
    }
  }

  piece({ digest, offset, data }: Piece): void {
    const one = this.#fetching.get(digest);
    if (one?.asked !== undefined && one.offset === offset) one.asked({ data });
  }

  stop(): void {
    this.#stopped.abort(new Error("the agent is stopping"));
    this.#roomLook?.cancel();
    for (const one of this.#fetching.values()) one.asked?.("given up");
  }

  #begin(): void {
    for (const one of this.#fetching.values()) {
      if (this.#active >= FETCH_LIMITS.atOnce || this.#stopped.signal.aborted) return;
      if (one.active) continue;
      // Strictly in turn: were a small one let past, what is to be carried out first could wait for room for ever.
      if (!this.#hasRoom(one.ref)) return;
      this.#active += 1;
      one.active = true;
      void this.#run(one);
    }
  }

  #hasRoom(ref: PayloadRef): boolean {
    const room = this.#options.ledger.payloadRoomBytes;
    if (room === Number.POSITIVE_INFINITY) return true;
    let bytes = ref.encoded_bytes;
    for (const one of this.#fetching.values()) if (one.active) bytes += one.ref.encoded_bytes;
    for (const [digest, kept] of this.#kept) {
      for (const key of kept.keys) if (!this.#options.wanted(key)) kept.keys.delete(key);
      if (kept.keys.size === 0) this.#kept.delete(digest);
      else if (digest !== ref.digest) bytes += kept.bytes;
    }
    if (bytes <= room) return true;
    this.#roomLook ??= this.#options.ports.timers.after(
      FETCH_LIMITS.roomLookMs,
      () => {
        this.#roomLook = undefined;
        this.#begin();
      },
      { background: true },
    );
    return false;
  }

  async #run(one: Fetching): Promise<void> {
    try {
      // Once more for whoever came to want it while it was being given out.
      do while (!(await this.#fetch(one)));
      while (one.wants.size > 0 && !this.#stopped.signal.aborted);
    } catch (error) {
      if (!this.#stopped.signal.aborted) {
        this.#options.log.error("A payload could not be fetched", { digest: one.ref.digest, error: messageOf(error) });
        this.#fail(one, error instanceof TransporterError ? error : new TransporterError("INTERNAL", messageOf(error), { cause: error }));
      }
    }
    this.#active -= 1;
    one.active = false;
    if (this.#stopped.signal.aborted) return;
    this.#fetching.delete(one.ref.digest);
    this.#begin();
  }

  /** True when it is over: everybody has it, has failed, or does not want it any more. */
  async #fetch(one: Fetching): Promise<boolean> {
    const { ledger } = this.#options;
    const { digest, encoded_bytes: encodedBytes } = one.ref;
    const { bytes, traits } = await this.#patiently(() => ledger.payload(digest));
    if (traits !== undefined) return this.#deliver(one, traits);
    one.offset = bytes;
    while (one.offset < encodedBytes) {
      const answer = await this.#ask(one);
      if (answer === "given up") return this.#giveUp();
      if (answer.data === null) {
        this.#fail(one, new TransporterError("PAYLOAD_LOST", "the control plane does not have the payload of the event any more"));
        return true;
      }
      const piece = new Uint8Array(Buffer.from(answer.data, "base64"));
      if (piece.byteLength !== Math.min(LIMITS.payloadPieceBytes, encodedBytes - one.offset))
        return this.#startOver(one, `a piece has ${piece.byteLength} bytes`);
      await this.#patiently(() => ledger.savePiece(digest, one.offset, piece));
      failpoint("agent.payload.piece-stored");
      one.offset += piece.byteLength;
    }
    return this.#check(one);
  }

  async #check(one: Fetching): Promise<boolean> {
    const { ledger, parsing } = this.#options;
    const [first] = one.wants.values();
    const encoded = await this.#patiently(() => ledger.encoded(one.ref, first?.type ?? ""));
    if (encoded === undefined) return this.#startOver(one, "its pieces do not make a whole");
    const verdict = await parsing.payload(encoded);
    switch (verdict.kind) {
      case "whole":
        return this.#deliver(one, verdict.traits);
      case "refused":
        this.#fail(one, new TransporterError("INVALID_EVENT", `the payload of the event cannot be used: ${verdict.why}`));
        return true;
      case "damaged":
        return this.#startOver(one, verdict.why);
    }
  }

  async #startOver(one: Fetching, why: string): Promise<boolean> {
    one.damaged += 1;
    this.#options.log.warn("A payload is not what was announced", { digest: one.ref.digest, error: why, attempt: one.damaged });
    await this.#patiently(() => this.#options.ledger.dropPayload(one.ref.digest));
    if (one.damaged < FETCH_LIMITS.attempts) return false;
    this.#fail(one, new TransporterError("PAYLOAD_LOST", `the payload of the event came damaged ${one.damaged} times: ${why}`));
    return true;
  }

  async #deliver(one: Fetching, traits: PayloadTraits): Promise<true> {
    const { ledger, arrived, wanted } = this.#options;
    // More may come to want it while it is written down.
    while (one.wants.size > 0) {
      const works = [...one.wants].map(([key, work]) => ({ key, work: { ...work, ...traits } }));
      await this.#patiently(() => ledger.payloadArrived(one.ref.digest, traits, works));
      for (const { key, work } of works) {
        one.wants.delete(key);
        if (!wanted(key)) continue;
        this.#keep(one.ref, key);
        arrived(key, work);
      }
    }
    ledger.sweepPayloads();
    return true;
  }

  #keep(ref: PayloadRef, key: string): void {
    if (this.#options.ledger.payloadRoomBytes === Number.POSITIVE_INFINITY) return;
    const kept = this.#kept.get(ref.digest) ?? { bytes: ref.encoded_bytes, keys: new Set<string>() };
    kept.keys.add(key);
    this.#kept.set(ref.digest, kept);
  }

  #fail(one: Fetching, error: TransporterError): void {
    for (const key of one.wants.keys()) if (this.#options.wanted(key)) this.#options.failed(key, error);
    one.wants.clear();
    this.#options.ledger.sweepPayloads();
  }

  #giveUp(): true {
    // What nobody waits for any more goes; at a stop everything stays for the next process.
    if (!this.#stopped.signal.aborted) this.#options.ledger.sweepPayloads();
    return true;
  }

  /** Asks for the next piece until it comes; "given up" when nobody wants it any more or the agent stops. */
  async #ask(one: Fetching): Promise<Answer> {
    if (!this.#stillWanted(one)) return "given up";
    const { clock } = this.#options.ports;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    one.askedMs = clock.monotonic();
    one.asked = resolve;
    this.#sendGet(one);
    this.#awaitAnswer(one);
    const answer = await promise;
    this.#lastAnswerMs = clock.monotonic() - one.askedMs;
    one.timer?.cancel();
    one.asked = undefined;
    return answer;
  }

  #awaitAnswer(one: Fetching): void {
    const waitMs = Math.max(FETCH_LIMITS.answerMs, FETCH_LIMITS.answerFactor * this.#lastAnswerMs);
    const askAgain = (): void => {
      if (!this.#stillWanted(one)) {
        one.asked?.("given up");
        return;
      }
      this.#sendGet(one);
      this.#awaitAnswer(one);
    };
    one.timer = this.#options.ports.timers.after(Math.min(waitMs, FETCH_LIMITS.answerMaxMs), askAgain, { background: true });
  }

  #stillWanted(one: Fetching): boolean {
    if (this.#stopped.signal.aborted) return false;
    for (const key of one.wants.keys()) if (!this.#options.wanted(key)) one.wants.delete(key);
    return one.wants.size > 0;
  }

  #sendGet({ ref, offset }: Fetching): void {
    this.#options.send(JSON.stringify({ type: "payload_get", digest: ref.digest, offset }));
  }

  /** Tries until the ledger can, or the stop, which throws. */
  async #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    const { ports, log, onLedgerFailing } = this.#options;
    const backoff = new Backoff({ firstMs: 500, maxMs: 15_000 }, ports.random);
    for (;;) {
      this.#stopped.signal.throwIfAborted();
      try {
        return await attempt();
      } catch (error) {
        onLedgerFailing();
        log.warn("The ledger does not take a payload; it is tried again", { error: messageOf(error) });
        await ports.timers.sleep(backoff.next(), this.#stopped.signal);
      }
    }
  }
}
