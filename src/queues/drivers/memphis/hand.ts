import type { Msg } from "@nats-io/nats-core";
import { BANDS, type Band, type QueueMessage } from "../../port.ts";
import { readHeaders } from "./headers.ts";
import type { Partition } from "./names.ts";
import type { PullSource } from "./pull.ts";

/** A stream that we consume from, and whose it is. */
export interface Source extends PullSource {
  readonly band: Band;
  readonly station: string;
  readonly partition: Partition;
}

/** A message that the broker handed to us and that is not settled there yet. */
export interface Held {
  readonly key: string;
  readonly source: Source;
  readonly message: QueueMessage;
  /** In its stream. */
  readonly sequence: number;
  /** Where the broker wants to hear of it; a later delivery of the same message brings another. Undefined for one out of the dead letters. */
  reply: string | undefined;
  /** Its number in the dead letters, where it came from there. */
  readonly letter: number | undefined;
  stage: "ready" | "taking" | "settling";
}

/** All that is in hand, by stream and sequence: what the broker hands out again meanwhile is the same message. */
export class Hand {
  readonly #held = new Map<string, Held>();
  readonly #ready: Record<Band, Held[]> = { urgent: [], normal: [], low: [] };
  #settling = 0;

  /** Nobody knows yet what becomes of these. */
  get open(): number {
    return this.#held.size - this.#settling;
  }
  /** What becomes of these is known, and the broker has not confirmed that it knows. */
  get settling(): number {
    return this.#settling;
  }
  get ready(): number {
    return BANDS.reduce((sum, band) => sum + this.#ready[band].length, 0);
  }
  [Symbol.iterator](): Iterator<Held> {
    return this.#held.values();
  }

  /** Undefined when it is in hand already, or is no message of a stream. */
  add(source: Source, given: Msg): Held | undefined {
    const place = readAckSubject(given.reply ?? "");
    if (place === undefined) return undefined;
    const key = `${source.stream}:${place.sequence}`;
    const known = this.#held.get(key);
    if (known !== undefined) {
      known.reply = given.reply;
      return undefined;
    }
    return this.#keep({ key, source, sequence: place.sequence, reply: given.reply, letter: undefined }, given, place.deliveries);
  }

  /** One that somebody had sent again out of the dead letters: no stream knows of it. */
  addLetter(source: Source, given: Msg): Held | undefined {
    const letter = Number(given.headers?.get("$memphis_pm_id") ?? "");
    const key = `letter:${source.station}:${letter}`;
    if (!Number.isSafeInteger(letter) || letter <= 0 || this.#held.has(key)) return undefined;
    return this.#keep({ key, source, sequence: 0, reply: undefined, letter }, given, 1);
  }

  /** The next to be taken, the most urgent first. */
  take(): Held | undefined {
    for (const band of BANDS) {
      const held = this.#ready[band].shift();
      if (held === undefined) continue;
      held.stage = "taking";
      return held;
    }
    return undefined;
  }

  settle(held: Held): void {
    if (held.stage !== "taking") return;
    held.stage = "settling";
    this.#settling += 1;
  }

  drop(held: Held): void {
    if (!this.#held.delete(held.key)) return;
    if (held.stage === "settling") this.#settling -= 1;
    if (held.stage === "ready") this.#ready[held.source.band] = this.#ready[held.source.band].filter((one) => one !== held);
  }

  #keep(parts: Omit<Held, "message" | "stage">, given: Msg, deliveries: number): Held {
    const { id, traceparent, producer } = readHeaders(given.headers);
    const message: QueueMessage = { id, traceparent, producer, deliveries, band: parts.source.band, body: given.data };
    const held: Held = { ...parts, message, stage: "ready" };
    this.#held.set(held.key, held);
    this.#ready[parts.source.band].push(held);
    return held;
  }
}

/** `$JS.ACK.[DOMAIN.ACCOUNT.]STREAM.DURABLE.DELIVERIES.STREAM-SEQUENCE.CONSUMER-SEQUENCE.TIME.PENDING[.…]`. */
export function readAckSubject(subject: string): { readonly deliveries: number; readonly sequence: number } | undefined {
  const parts = subject.split(".");
  if (parts[0] !== "$JS" || parts[1] !== "ACK" || parts.length < 9) return undefined;
  const first = parts.length >= 11 ? 6 : 4;
  const [deliveries, sequence] = [Number(parts[first]), Number(parts[first + 1])];
  return Number.isSafeInteger(deliveries) && Number.isSafeInteger(sequence) && sequence > 0 ? { deliveries, sequence } : undefined;
}
