import type { TimerHandle } from "../kit/mod.ts";
import { type Credit, hasFeature, type OpenDigest, openDigest } from "../protocol/mod.ts";
import type { DeliveryKey, DeliveryRow, PayloadSource } from "../stores/mod.ts";
import type { Precedence } from "./precedence.ts";
import type { DigestWatch } from "./resync.ts";
import type { AgentSession } from "./session.ts";

/** One delivery that an agent was given and has not ended. */
export interface InFlight {
  readonly revision: number;
  /** Of payload that went inside the event frame. */
  readonly inlineBytes: number;
  /** Of the payload, where the agent fetches it. */
  readonly digest: string | undefined;
  sentAtMs: number;
  acknowledged: boolean;
  /** How often it was sent again on this connection. */
  resent: number;
}

/** Somebody wants a delivery back. */
export interface Wish {
  readonly revision: number;
  /** On how many rounds running it was not in flight. */
  missed: number;
}

/** Which priorities wait in the store: none, one and the same, or nobody knows. */
export type Waiting = "none" | "any" | number;

/** So often in a row the same count is taken for the same deliveries. */
const LOOKS_SPARED = 6;

/** What one connection has been given and may still be given. */
export class Lane {
  readonly session: AgentSession;
  readonly cancels: boolean;
  readonly fetches: boolean;
  readonly resyncs: boolean;
  readonly precedence: Precedence;
  readonly watch: DigestWatch;
  readonly #maxInFlight: number;
  readonly #credits: boolean;
  #credit: Credit | undefined;
  readonly #inFlight = new Map<string, InFlight>();
  #inlineBytes = 0;
  /** What somebody wants back, whether it is in flight already or about to be. */
  readonly wishes = new Map<string, Wish>();
  /** What the agent holds though it has ended here: it will say so itself. */
  strays: readonly DeliveryKey[] = [];
  /** Places promised to events that are being committed. */
  reserved = 0;
  /** Of inline payload that comes with those. */
  reservedBytes = 0;
  /** Promised to the agent and never sent to it: they are to wait again. */
  readonly orphans: DeliveryRow[] = [];
  /** The store may hold deliveries that are not in flight. */
  backlog = true;
  waiting: Waiting = "any";
  /** What was handed over on an earlier connection goes out again first. */
  resuming = true;
  /** The agent was asked for its list since it connected. */
  askedForOpen = false;
  loading = false;
  /** What ended since the look began that is under way: it may be among what was found, and is not to be sent any more. */
  readonly #ended = new Set<string>();
  /** Somebody asked for a look while one was under way. */
  asked = false;
  /** Grows when something new is known to wait, so that a load that began before does not miss it. */
  version = 0;
  /** How many places were filled from what waited. */
  turns = 0;
  /** When the next delivery may start that waits for its time, as far as is known; while order is being kept among what waits. */
  nextStartMs: number | undefined;
  startsKnown = false;
  /** How much waited when it was looked for because of that count, how many places had been filled by then, and how often it was left at that. */
  #seen = { waiting: 0, turns: 0, times: 0 };
  /** Wakes the lane when something may start that waits for its time. */
  alarm: TimerHandle | undefined;
  /** Looks again after the store failed. */
  retry: TimerHandle | undefined;

  constructor(
    session: AgentSession,
    parts: { readonly maxInFlight: number; readonly precedence: Precedence; readonly watch: DigestWatch },
  ) {
    const { registration } = session;
    this.session = session;
    this.precedence = parts.precedence;
    this.watch = parts.watch;
    this.cancels = hasFeature(registration, "cancel");
    this.fetches = hasFeature(registration, "chunk");
    this.resyncs = hasFeature(registration, "resync");
    this.#credits = hasFeature(registration, "credit");
    this.#maxInFlight = session.acks ? parts.maxInFlight : 1;
    this.#credit = this.#credits ? (registration.credit ?? undefined) : undefined;
  }

  get inFlight(): ReadonlyMap<string, InFlight> {
    return this.#inFlight;
  }

  /** Bytes of payload that the agent was given inside event frames, of what is in flight. */
  get inlineBytes(): number {
    return this.#inlineBytes;
  }

  /** How many deliveries may be unfinished at the agent at once. */
  get window(): number {
    return this.#credit === undefined ? this.#maxInFlight : Math.min(this.#maxInFlight, this.#credit.deliveries);
  }

  get room(): number {
    return this.window - this.#inFlight.size - this.reserved;
  }

  /** What the agent is ready to hold from now on. */
  credit(credit: Credit): void {
    if (this.#credits) this.#credit = credit;
  }

  /** Bytes of a payload that would go inside the event frame to this agent. */
  inlineOf(payload: PayloadSource, payloadBytes: number): number {
    return this.fetches && "apart" in payload ? 0 : payloadBytes;
  }

  /** How many bytes of inline payload it may still be given. */
  get freeBytes(): number {
    return this.#credit === undefined ? Number.POSITIVE_INFINITY : this.#credit.bytes - this.#inlineBytes - this.reservedBytes;
  }

  /** Whether its credit covers so many inline bytes beside those that are to go with them; one delivery always fits, however large. */
  fits(bytes: number, besides = 0): boolean {
    return bytes === 0 || this.#inlineBytes + this.reservedBytes + besides === 0 || bytes + besides <= this.freeBytes;
  }

  /** A look into the store begins. */
  look(): void {
    this.#ended.clear();
  }

  /** A delivery is over. */
  ended(eventId: string, revision: number | undefined): void {
    if (this.loading) this.#ended.add(revision === undefined ? eventId : `${eventId}\u0000${revision}`);
  }

  /** Whether it ended since the look began. */
  hasEnded({ eventId, revision }: DeliveryKey): boolean {
    return this.#ended.size > 0 && (this.#ended.has(`${eventId}\u0000${revision}`) || this.#ended.has(eventId));
  }

  /** Whether something may wait that this lane was not told of, as so much waits. What waits for its time is looked for now and then only. */
  hasMissed(waiting: number): boolean {
    const seen = this.#seen;
    const isSame = waiting === seen.waiting && this.turns === seen.turns;
    if (isSame && seen.times < LOOKS_SPARED) {
      seen.times += 1;
      return false;
    }
    this.#seen = { waiting, turns: this.turns, times: 0 };
    return waiting > 0 && !this.backlog;
  }

  /** It is over: nothing wakes it any more. */
  end(): void {
    this.alarm?.cancel();
    this.retry?.cancel();
    this.precedence.clear();
  }

  put(eventId: string, entry: InFlight): void {
    this.take(eventId);
    this.#inFlight.set(eventId, entry);
    this.#inlineBytes += entry.inlineBytes;
  }

  /** Takes a delivery out; false when there was none, or only one of another revision. */
  take(eventId: string, revision?: number): boolean {
    const entry = this.#inFlight.get(eventId);
    if (entry === undefined || (revision !== undefined && entry.revision !== revision)) return false;
    this.#inFlight.delete(eventId);
    this.#inlineBytes -= entry.inlineBytes;
    return true;
  }

  /** What the control plane believes that the agent holds, to be compared with what the agent says. */
  openDigest(): OpenDigest {
    return openDigest(this.#open());
  }

  *#open(): Generator<DeliveryKey> {
    for (const [eventId, { revision }] of this.#inFlight) yield { eventId, revision };
    yield* this.strays;
  }

  /** Something is about to wait in the store for this agent, of this priority where that is known. */
  expect(priority: number | undefined): void {
    this.backlog = true;
    this.version += 1;
    this.startsKnown = false;
    if (priority === undefined) this.waiting = "any";
    else if (this.waiting === "none") this.waiting = priority;
    else if (this.waiting !== priority) this.waiting = "any";
  }
}
