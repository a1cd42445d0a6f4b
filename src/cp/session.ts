import { failpoint, isRetryable, type Logger, messageOf, type Ports, type TimerHandle, TransporterError } from "../kit/mod.ts";
import type { Peer, SendOptions } from "../net/mod.ts";
import {
  acknowledges,
  CLOSE,
  checkAgentFrame,
  LIMITS,
  parseJson,
  parseTimestampMs,
  type Credit,
  type OpenDigest,
  type OpenFrame,
  type PayloadGet,
  type Registration,
  type StatusUpdate,
} from "../protocol/mod.ts";
import type { StatusOutcome, StatusWrite, Store } from "../stores/mod.ts";
import { cleanWords } from "./clean-words.ts";
import type { Entrant } from "./entrance.ts";
import type { Pulse } from "./pulse.ts";
import { StatusOrder } from "./status-order.ts";

/** How many statuses may wait for a store that does not answer before their agent is sent away to keep them itself. */
const MAX_PENDING = 20_000;
const MAX_PENDING_CHARS = 64 * 1024 * 1024;
const RETRY_FIRST_MS = 200;
/** How long an acknowledgement may wait for the next: agents report in bursts, one frame answers them all, and nobody waits for it. */
const ACK_AFTER_MS = 100;
const RETRY_MAX_MS = 5_000;
/** What a stranger wrote is cut before it goes to the log. */
const SHOWN_CHARS = 300;
const MOVE_ON_LOOK_MS = 10;
const STATUS_RESEND = `{"type":"status_resend"}`;
const URGENT: SendOptions = { urgent: true };

/** What a session tells its surroundings. */
export interface SessionEvents {
  /** The agent has the delivery on disk. */
  acknowledged(session: AgentSession, eventId: string, revision: number): void;
  /** It is ready to hold so much. */
  credit(session: AgentSession, credit: Credit): void;
  /** It asks for a piece of a payload. */
  payload(session: AgentSession, get: PayloadGet): void;
  /** In short, what it holds open. */
  heartbeat(session: AgentSession, open: OpenDigest): void;
  /** All that it holds open. */
  opened(session: AgentSession, frame: OpenFrame): void;
  /** A status was judged and, where it took effect, is durable. */
  status(session: AgentSession, update: StatusUpdate, outcome: StatusOutcome): void;
  /** Another connection owns the agent by now. */
  fenced(session: AgentSession): void;
  /** An agent that showed who it is says a status in the name of another. It is not stored. */
  foreign(session: AgentSession, update: StatusUpdate): void;
}

export interface SessionOptions {
  readonly tenant: string;
  readonly entrant: Entrant;
  readonly peer: Peer;
  readonly store: Store;
  readonly ports: Ports;
  readonly log: Logger;
  readonly events: SessionEvents;
  /** Lets statuses wait for those of other agents, so that they are committed together. */
  readonly pulse: Pulse;
}

interface Pending {
  readonly update: StatusUpdate;
  /** Of its frame. */
  readonly chars: number;
}

type Stored = StatusOutcome | { readonly failure: unknown };

/** Whether the same status may be stored later: a store that is away, or denies its rights for a moment, says nothing of the status. */
function isPassing(error: unknown): boolean {
  return isRetryable(error) || (error instanceof TransporterError && error.code.startsWith("STORE_"));
}

/** A number that may be stored and compared, or none. */
function isWhole(value: number | null | undefined): boolean {
  return value === undefined || value === null || Number.isSafeInteger(value);
}

/**
 * One registered agent on one socket: takes its frames, stores its statuses in the order they came, and acknowledges them when they are
 * durable. A frame that cannot be read is logged and survived. When the store fails, statuses wait here and are tried again.
 */
export class AgentSession {
  readonly agentId: string;
  readonly tenant: string;
  readonly clusterName: string;
  readonly capabilities: readonly string[];
  readonly acks: boolean;
  readonly protocol: number;
  readonly bootId: string | undefined;
  readonly registration: Registration;
  readonly remoteAddress: string;
  readonly connectedAtMs: number;
  /** Who it showed to be. */
  readonly entrant: Entrant;
  lastSeenMs: number;
  healthy = true;
  /** Heard of since its last-seen time was written. */
  touched = false;
  /** Nothing is handed over to it. */
  paused = false;
  /** A pause, or the end of one, was heard of before the agent was registered. */
  pauseKnown = false;
  /** Of this connection, from when its agent was claimed. */
  epoch = 0;
  clockOffsetMs: number | undefined;
  closed = false;
  /** It is being sent on. */
  #leaving = false;

  readonly #peer: Peer;
  readonly #store: Store;
  readonly #ports: Ports;
  readonly #log: Logger;
  readonly #events: SessionEvents;
  readonly #pulse: Pulse;
  #fenced = false;
  #pending: Pending[] = [];
  #pendingChars = 0;
  readonly #order = new StatusOrder((nth) => {
    this.#log.warn("A status is missing; the agent is asked to send again", { agent_id: this.agentId, nth });
    this.send(STATUS_RESEND, URGENT);
  });
  /** Event frames that were sent on this connection. */
  #sentEvents = 0;
  #pumping = false;
  /** The highest sequence number stored and not acknowledged yet, by boot id. */
  readonly #unacknowledged = new Map<string, number>();
  #ackTimer: TimerHandle | undefined;
  #acknowledging: boolean;

  constructor(options: SessionOptions) {
    const { entrant, ports } = options;
    const { registration } = entrant;
    this.agentId = registration.id;
    this.tenant = options.tenant;
    this.clusterName = registration.cluster_name;
    this.capabilities = registration.capabilities;
    this.acks = acknowledges(registration);
    this.#acknowledging = this.acks;
    this.protocol = registration.protocol ?? 0;
    this.bootId = registration.boot_id ?? undefined;
    this.registration = registration;
    this.remoteAddress = entrant.origin.address;
    this.entrant = entrant;
    this.#peer = options.peer;
    this.#store = options.store;
    this.#ports = ports;
    this.#log = options.log;
    this.#events = options.events;
    this.#pulse = options.pulse;
    this.connectedAtMs = ports.clock.now();
    this.lastSeenMs = this.connectedAtMs;
    this.#noteClock(registration.sent_at);
  }

  /** Sends a frame that is already JSON. False when it was not taken; the socket is then being closed. */
  send(frame: string, options?: SendOptions): boolean {
    return !this.closed && this.#peer.send(frame, options);
  }

  /** Sends an event frame, made with its number: its agent notices by it when one is missing, and takes none out of order. */
  sendEvent(frame: (nth: number) => string): boolean {
    const sent = this.send(frame(this.#sentEvents));
    this.#sentEvents += 1;
    return sent;
  }

  /** Nothing more is to be sent for now: its agent has not taken yet what it was sent, or is being sent on. */
  get congested(): boolean {
    return this.#leaving || this.#peer.congested;
  }

  get fenced(): boolean {
    return this.#fenced;
  }

  /** Another connection owns the agent: its words count there, and it says again what was not acknowledged here. */
  fence(): void {
    this.#fenced = true;
    this.closed = true;
    this.#pending = [];
    this.#pendingChars = 0;
    this.#unacknowledged.clear();
  }

  /** Sends the agent on to another control plane when what it has said so far is stored, or after `patienceMs`. */
  async moveOn(patienceMs: number): Promise<void> {
    const untilMs = this.#ports.clock.monotonic() + patienceMs;
    this.#leaving = true;
    while (!this.closed && (this.#pumping || this.#pending.length > 0) && this.#ports.clock.monotonic() < untilMs)
      await this.#ports.timers.sleep(MOVE_ON_LOOK_MS);
    if (!this.closed) this.close(CLOSE.moveOn, "the control plane is stopping; connect to another");
  }

  close(code: number, reason: string): void {
    // What is stored need not be sent again on the next connection.
    this.#acknowledge();
    this.#peer.close(code, reason);
  }

  /** Takes one text frame of the agent. Throws nothing. */
  receive(text: string): void {
    if (this.#fenced) return;
    this.lastSeenMs = this.#ports.clock.now();
    this.touched = true;
    let decoded: unknown;
    try {
      decoded = parseJson(text, LIMITS.frameJson);
    } catch (error) {
      this.#log.warn("Frame is not JSON", { agent_id: this.agentId, bytes: text.length, error: messageOf(error) });
      return;
    }
    const frame = checkAgentFrame(decoded);
    if (!frame.ok) {
      this.#log.warn("Frame is not of the protocol", { agent_id: this.agentId, error: frame.message.slice(0, SHOWN_CHARS) });
      return;
    }
    const { value } = frame;
    switch (value.type) {
      case "heartbeat":
        this.#noteClock(value.timestamp);
        if (value.credit !== undefined && value.credit !== null) this.#events.credit(this, value.credit);
        if (value.open !== undefined && value.open !== null) this.#events.heartbeat(this, value.open);
        return;
      case "event_ack":
        this.#events.acknowledged(this, value.event_id, value.revision);
        return;
      case "status_update":
        this.#take(value, text.length);
        return;
      case "credit":
        this.#events.credit(this, value);
        return;
      case "payload_get":
        this.#events.payload(this, value);
        return;
      case "open":
        this.#events.opened(this, value);
        return;
    }
  }

  #noteClock(timestamp: string | null | undefined): void {
    const sentMs = timestamp === undefined || timestamp === null ? undefined : parseTimestampMs(timestamp);
    if (sentMs !== undefined) this.clockOffsetMs = sentMs - this.#ports.clock.now();
  }

  #take(update: StatusUpdate, chars: number): void {
    failpoint("cp.session.status-received");
    if (typeof update.nth === "number" && this.acks && !this.#order.isNext(update.nth, update.round ?? 0)) return;
    if (this.entrant.principal.via !== "none" && typeof update.agent_id === "string" && update.agent_id !== this.agentId) {
      this.#events.foreign(this, update);
      return;
    }
    if (!isWhole(update.seq) || !isWhole(update.revision)) {
      this.#log.warn("Frame is not of the protocol", { agent_id: this.agentId, error: "seq or revision is no number of ours" });
      return;
    }
    if (this.#pending.length >= MAX_PENDING || this.#pendingChars + chars > MAX_PENDING_CHARS) {
      this.close(CLOSE.tooSlow, "the store does not keep up");
      return;
    }
    this.#pending.push({ update, chars });
    this.#pendingChars += chars;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    this.#pulse.join(this.#onPulse);
  }

  readonly #onPulse = (): void => void this.#pump();

  /** Stores what has come in: calls of a round are committed together, and the next round waits for it, which keeps the order. */
  async #pump(): Promise<void> {
    let waitMs = RETRY_FIRST_MS;
    for (;;) {
      const round = this.#pending;
      this.#pending = [];
      if (round.length === 0) break;
      const outcomes = await this.#storeAll(round);
      const failedAt = this.#settle(round, outcomes);
      if (failedAt === undefined || this.#fenced) break;
      this.#pending = [...round.slice(failedAt), ...this.#pending];
      await this.#ports.timers.sleep(waitMs);
      waitMs = Math.min(RETRY_MAX_MS, waitMs * 2);
    }
    this.#pumping = false;
    if (this.#pending.length > 0) this.#schedule();
  }

  /** Resolves with what became of each: its outcome, or what the store threw. */
  #storeAll(round: readonly Pending[]): Promise<readonly Stored[]> {
    const outcomes: Stored[] = [];
    outcomes.length = round.length;
    return new Promise((resolve) => {
      let left = round.length;
      const arrived = (at: number, outcome: Stored): void => {
        outcomes[at] = outcome;
        left -= 1;
        if (left === 0) resolve(outcomes);
      };
      for (let at = 0; at < round.length; at += 1) {
        const { update } = round[at] as Pending;
        this.#storeOne(update).then(
          (outcome) => arrived(at, outcome),
          (error: unknown) => arrived(at, { failure: error }),
        );
      }
    });
  }

  #storeOne(update: StatusUpdate): Promise<StatusOutcome> {
    const write = this.#write(update);
    const storing = this.#store.applyStatus(write);
    if (write.details === undefined && write.result === undefined) return storing;
    // Whatever a stranger put into its details must not keep all that comes after it from being acknowledged: nested ten thousand deep, for
    // example, it cannot be written.
    return storing.catch((error: unknown) => {
      if (isPassing(error)) throw error;
      return this.#store.applyStatus({ ...write, details: { code: "INVALID_FRAME" }, result: undefined });
    });
  }

  /** Reports a round's outcomes and acknowledges up to the first that failed; answers its index, or undefined when all are stored. */
  #settle(round: readonly Pending[], outcomes: readonly Stored[]): number | undefined {
    failpoint("cp.session.status-stored");
    let failedAt: number | undefined;
    for (let index = 0; index < round.length; index += 1) {
      const { update, chars } = round[index] as Pending;
      const outcome = outcomes[index] as Stored;
      if ("failure" in outcome) {
        this.#log.error("Status could not be stored", {
          agent_id: this.agentId,
          event_id: update.event_id.slice(0, SHOWN_CHARS),
          error: messageOf(outcome.failure),
        });
        if (isPassing(outcome.failure)) {
          failedAt = index;
          break;
        }
        // A fault of ours that no repetition mends. Acknowledgements are cumulative, so from here on this connection gets none: the agent
        // keeps what is not stored, and tells it again on its next one.
        this.#acknowledging = false;
      } else if (outcome.verdict === "fenced") {
        this.#events.fenced(this);
        return undefined;
      } else {
        if (this.#acknowledging && typeof update.boot_id === "string" && typeof update.seq === "number")
          this.#unacknowledged.set(update.boot_id, update.seq);
        this.#events.status(this, update, outcome);
      }
      this.#pendingChars -= chars;
    }
    if (this.#unacknowledged.size > 0)
      this.#ackTimer ??= this.#ports.timers.after(ACK_AFTER_MS, () => this.#acknowledge(), { background: true });
    return failedAt;
  }

  #acknowledge(): void {
    this.#ackTimer?.cancel();
    this.#ackTimer = undefined;
    if (this.#unacknowledged.size > 0) failpoint("cp.session.before-ack");
    for (const [bootId, seq] of this.#unacknowledged)
      this.send(`{"type":"status_ack","boot_id":${JSON.stringify(bootId)},"seq":${seq}}`, URGENT);
    this.#unacknowledged.clear();
  }

  #write(update: StatusUpdate): StatusWrite {
    const nowMs = this.#ports.clock.now();
    return {
      tenant: this.tenant,
      eventId: update.event_id,
      revision: update.revision ?? undefined,
      agentId: this.agentId,
      epoch: this.epoch,
      bootId: update.boot_id ?? undefined,
      seq: update.seq ?? undefined,
      state: update.state,
      phase: update.phase,
      level: update.log_level ?? (update.state === "failed" ? "error" : "info"),
      ...cleanWords(update),
      details: update.details ?? undefined,
      timestamp: update.timestamp ?? new Date(nowMs).toISOString(),
      nowMs,
    };
  }
}
