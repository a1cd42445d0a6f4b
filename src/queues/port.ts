/**
 * A queue in front of the control planes: producers put events in, whichever control plane is free takes them out. The store stays the truth:
 * a message is settled only after its event is durable there, so whatever dies on the way, the message comes again, and the store knows by the
 * event's id that it has it.
 *
 * What it does NOT promise: that a message comes once, or in order (the store's order is what counts from the commit on); that what is in
 * one band waits for what is in another (a band is only asked first).
 *
 * Errors: QUEUE_UNAVAILABLE (retry), QUEUE_INVALID (its settings), QUEUE_DENIED (its credentials), QUEUE_MESSAGE_TOO_LARGE.
 */
export interface Queue extends QueueWriter {
  /**
   * Begins to take messages, and goes on over lost connections until stopped. `take` is called for each, at most `window` at once, and resolves
   * when it is known what becomes of it; a driver keeps the message alive meanwhile, however long that takes, and never gives it back on its
   * own. Rejects only for what no repetition mends.
   */
  consume(options: ConsumeOptions): Promise<Consumption>;
  /** Throws QUEUE_UNAVAILABLE while the queue does not answer. */
  status(): Promise<QueueStatus>;
}

/** The side of those who look after it. */
export type QueueObserver = Pick<Queue, "info" | "status" | "deadLetters" | "close">;

/** What was given up, for people to look at. Its methods throw QUEUE_UNAVAILABLE while the queue does not answer. */
export interface DeadLetters {
  /** The newest first, at most so many. */
  list(limit: number): Promise<readonly DeadLetter[]>;
  /** Puts one back into the queue, behind what waits in its band, and takes it out of the dead letters. False when there is none of this id. */
  resend(letterId: string): Promise<boolean>;
}
export interface DeadLetter {
  /** Among the dead letters. */
  readonly id: string;
  readonly eventId: string | undefined;
  readonly code: string;
  readonly reason: string;
  readonly band: Band;
  readonly deliveries: number | undefined;
  readonly bytes: number;
  readonly atMs: number;
}

/** The side of those who send. */
export interface QueueWriter {
  readonly info: QueueInfo;
  /** Resolves when the queue has the message durably. The same id again within the queue's window is kept once: `duplicate`. */
  publish(event: OutgoingEvent): Promise<{ readonly duplicate: boolean }>;
  /** Undefined where only the engine's own tools show them. Who may only publish gets QUEUE_DENIED of it. */
  readonly deadLetters?: DeadLetters;
  close(): Promise<void>;
}

export interface QueueInfo {
  readonly driver: "memphis" | "nats" | "redis";
  /** Where it is, without secrets. */
  readonly location: string;
  /** The name that people know it by: station, stream. */
  readonly name: string;
  /** Bytes that one message may have. */
  readonly maxMessageBytes: number;
}

/** Which messages are asked for first. Higher priorities go before lower ones again in the store; the bands keep a full queue from hiding them. */
export const BANDS = ["urgent", "normal", "low"] as const;
export type Band = (typeof BANDS)[number];

/** The band of an event's priority: what was given any priority above the default is urgent, below it low. */
export function bandOf(priority: number): Band {
  if (priority > 0) return "urgent";
  return priority < 0 ? "low" : "normal";
}

export interface OutgoingEvent {
  /** The event's id; the queue drops what has the same one for as long as it remembers. */
  readonly id: string;
  /** JSON, as for `POST /v1/events`. */
  readonly body: Uint8Array;
  readonly priority: number;
  readonly traceparent?: string;
}

export interface QueueMessage {
  /** As the producer gave it; undefined when it gave none. */
  readonly id: string | undefined;
  readonly body: Uint8Array;
  readonly band: Band;
  /** How often it was handed out, this time included. */
  readonly deliveries: number;
  readonly traceparent: string | undefined;
  /** Who put it in, as far as the queue tells; a claim, for the log. */
  readonly producer: string | undefined;
}

/** `done`: its event is durable. `dead`: no repetition helps; it goes to the dead letters with the reason. */
export type Settlement =
  | { readonly kind: "done" }
  | { readonly kind: "dead"; readonly code: string; readonly reason: string; readonly eventId: string | undefined };

export interface ConsumeOptions {
  /** Messages in hand at once. */
  readonly window: number;
  readonly take: (message: QueueMessage) => Promise<Settlement>;
  /** Told when messages cannot be had any more, and when they come again; for the log and for readiness. */
  readonly onState: (state: "connected" | "away", why: string | undefined) => void;
}

export interface Consumption {
  /** Takes no more messages until `resume`; those in hand are kept alive. For a store that is away. */
  pause(): void;
  resume(): void;
  /**
   * Takes no more messages and waits for those in hand, at most `patienceMs`; what is not settled then comes again to somebody, soon where
   * the queue can be told, without counting as a failure of the message where it can be helped.
   */
  stop(patienceMs: number): Promise<void>;
}

export interface QueueStatus {
  /** Messages that nobody has taken yet; by band. */
  readonly waiting: Readonly<Record<Band, number>>;
  /** Handed out and not settled, by all consumers together. */
  readonly inHand: number;
  /** In the dead letters; undefined where the queue does not tell. */
  readonly dead: number | undefined;
  /** Age of the oldest message that waits; undefined where the queue does not tell, or nothing waits. */
  readonly oldestMs: number | undefined;
}

/** Where statuses and audit entries go for others to read, as CloudEvents. */
export interface Outlet {
  readonly info: QueueInfo;
  /** Resolves when all are durable there. The same id again is kept once for as long as the queue remembers. */
  emit(events: readonly OutletEvent[]): Promise<void>;
  close(): Promise<void>;
}
export interface OutletEvent {
  /** For de-duplication; of the entry's content as well as its number, since a store that was restored gives numbers again. */
  readonly id: string;
  readonly kind: "status" | "audit";
  readonly agentId: string | undefined;
  /** A structured-mode CloudEvent 1.0, JSON. */
  readonly body: string;
}
