import type {
  AgentStatus,
  AuditEntry,
  Event,
  EventResult,
  EventSummary,
  LogEntry,
  LogLevel,
  PayloadRef,
  Phase,
  Registration,
  State,
  Verdict,
} from "../protocol/mod.ts";

/**
 * The store: the truth of a control plane. Every method that changes something resolves only when the change is durable, and drivers
 * may commit many calls together, so callers should not wait for one before making the next where order does not matter. Calls made
 * in one order take effect in that order.
 *
 * Several control planes may share a store whose `info.shared` is true. The one that holds an agent's socket owns its deliveries: it claimed
 * the agent and got an epoch, and what it writes as owner carries that epoch. A write with an epoch that is not the agent's any more is
 * `fenced`: nothing is changed. Leases and words make it fast, the epoch makes it right.
 *
 * What it does NOT promise: that two processes may open one embedded store; that every word arrives; that payloads of finished events outlive the retention;
 * that `listEvents` is a snapshot (its cursor neither repeats nor skips an event that existed all along, and newer ones do not appear).
 *
 * Errors: STORE_UNAVAILABLE (retry), STORE_FULL (retry), STORE_CORRUPT. Times are milliseconds since the epoch.
 */
export interface Store {
  readonly info: StoreInfo;

  /**
   * Keeps an encoded payload apart, in several short transactions, so that nobody waits long for it. To be called before the event that
   * refers to it; the same digest again changes nothing. One that no event came to refer to is removed by `sweep` after an hour.
   */
  savePayload(payload: EncodedPayload): Promise<void>;
  /** The encoded bytes from `offset`, a whole number of `LIMITS.payloadPieceBytes`, at most one piece; undefined when it is not (or no longer) there. */
  payloadPiece(digest: string, offset: number): Promise<Uint8Array | undefined>;

  /**
   * Takes an event in. The same id with the same content is a duplicate; with other content a conflict. `conflict` too when its payload is not
   * there. One that is to be `assigned` is kept as `queued` all the same when its `epoch` is not its agent's any more, or when something
   * waits for its agent that may start now (it came in through another control plane, and nothing may overtake it): see the delivery in the answer.
   */
  createEvent(input: NewEvent): Promise<CreateOutcome>;
  getEvent(tenant: string, id: string, options: { readonly payload: boolean; readonly log: boolean }): Promise<StoredEvent | undefined>;
  /** What tells an event from another of the same id; undefined when there is none. */
  contentDigest(tenant: string, id: string): Promise<{ readonly digest: string; readonly state: State } | undefined>;
  listEvents(query: EventQuery): Promise<Page<EventSummary>>;

  /**
   * Hands out what an agent still has to do. `states` picks which; `skip` leaves out what the caller holds already; what must not start before
   * a time after `nowMs` is left out. Ends at `maxItems` or when `maxBytes` of inline payload are reached, but answers one where there is one.
   */
  openDeliveries(query: OpenQuery): Promise<DispatchItem[]>;
  /** What waits at an agent and was accepted after `afterOrd` and before `beforeOrd`, in the order accepted, without what may not start yet. */
  waitingBefore(query: WaitingQuery): Promise<DispatchItem[]>;
  /** When the next delivery of an agent may start that waits for its time; undefined when none does. */
  nextStartMs(tenant: string, agentId: string, nowMs: number): Promise<number | undefined>;
  /** Where these deliveries stand; undefined for one that is not known (at this agent). In the order asked. */
  positions(tenant: string, agentId: string, keys: readonly DeliveryKey[]): Promise<readonly (State | undefined)[]>;
  /** What stands as handed over to an agent and has not ended, and which of it somebody wants back; in no order. */
  handedOver(tenant: string, agentId: string): Promise<readonly HandedOver[]>;
  /** Writes that these deliveries are being handed to their agent (`assigned`, or again: the attempt counts) or wait again (`queued`). */
  moveDelivery(move: DeliveryMove): Promise<MoveOutcome>;
  /** Judges a status of an agent by the protocol's table and stores it when it takes effect; a late one goes to the log alone. */
  applyStatus(status: StatusWrite): Promise<StatusOutcome>;
  /**
   * Cancels the newest delivery of an event: at once when it was not handed over (`created`, `queued`); otherwise, where its agent can be
   * called back (it announced `cancel` when it registered last), the wish is kept with the delivery until it ends.
   */
  cancelEvent(input: CancelInput): Promise<CancelOutcome>;
  /** Makes the next revision of an event that has ended: a delivery of its own, accepted now. */
  retryEvent(input: RetryInput): Promise<RetryOutcome>;
  /**
   * Ends what is due at `nowMs`: `expired` where it was never handed over, `failed` with OUTCOME_UNKNOWN where it was and the agent never
   * said more. Deliveries that were handed over to an agent that is connected (to whichever control plane) and not begun are left to it and
   * are due again 30 s later; begun ones are not: their agents would have ended them at their deadline. Bounded by `limit`; once each, over
   * restarts too.
   */
  expireDue(nowMs: number, limit: number): Promise<Ended[]>;
  /** When the next open delivery is due; undefined when none is. */
  nextDueMs(): Promise<number | undefined>;

  /** Log entries of one event or of all with a sequence above `afterSeq`, oldest first. */
  logAfter(query: LogQuery): Promise<LogEntry[]>;
  /** The highest sequence number given so far; 0 when none. */
  lastSeq(): Promise<number>;

  /** Writes down an agent that has connected here, and makes this control plane its owner. */
  claimAgent(claim: AgentClaim, audit: NewAudit): Promise<Claimed>;
  /** Its connection has ended. False, and nothing is written, when another control plane (or connection) has claimed it since. */
  releaseAgent(release: AgentRelease, audit: NewAudit): Promise<boolean>;
  /** Stores an agent that is not connected, as it was somewhere else. One that is there already is left alone: false. */
  importAgent(agent: AgentWrite): Promise<boolean>;
  /**
   * Stores when agents were last heard of; many at once, and losing the last few seconds of it in a crash is fine. Answers those that are
   * owned by somebody else by now, for which nothing was written.
   */
  touchAgents(seen: readonly AgentSeen[]): Promise<readonly AgentKey[]>;
  getAgent(tenant: string, id: string): Promise<StoredAgent | undefined>;
  listAgents(query: AgentQuery): Promise<Page<StoredAgent>>;
  setPaused(tenant: string, id: string, paused: boolean, audit: NewAudit): Promise<StoredAgent | undefined>;
  /** Forgets an agent and cancels what waits for it; what was handed over ends `failed` with OUTCOME_UNKNOWN. Undefined when there is none. */
  removeAgent(tenant: string, id: string, nowMs: number, audit: NewAudit): Promise<Ended[] | undefined>;
  /**
   * Joins those that share this store, or stays among them: for `ttlMs` from now, by the store's clock. Whoever was not heard of for that long
   * has no lease any more, and its agents stand as disconnected from then on. A store that is not shared knows one control plane at a time.
   */
  renewLease(input: LeaseInput): Promise<Lease>;
  /** Leaves: agents that are still this control plane's stand as disconnected. */
  endLease(replicaId: string, nowMs: number): Promise<void>;
  /** Whether this control plane is the one that does a duty, for `ttlMs` from now. Whoever has it keeps it by asking again. Fast, not safe: two may think so for a moment. */
  takeDuty(duty: Duty, replicaId: string, ttlMs: number): Promise<boolean>;
  /** Hears what other control planes did. A store that is not shared says nothing. Answers how to stop that. */
  hear(listener: WordListener): () => void;
  /** Whether `entry` words are wanted here; they are until somebody says otherwise. They are many, and only whoever follows events has use for them. */
  followEntries(on: boolean): void;

  /** Keeps a text under a name: how far somebody has come. */
  saveMark(name: string, value: string): Promise<void>;
  mark(name: string): Promise<string | undefined>;

  /** Takes in an event that ended under another system. One whose id is here already is left alone: false. Counts in no counter. */
  importEvent(event: ImportedEvent): Promise<boolean>;
  /** Adds to the counters what another system counted; at most once for each `source`: false when it was here before. */
  importCounters(source: string, counters: Partial<EventCounters>): Promise<boolean>;

  appendAudit(entry: NewAudit): Promise<void>;
  listAudit(query: AuditQuery): Promise<Page<AuditEntry>>;
  /** Entries of all agents and events with a sequence above `afterSeq`, oldest first. */
  auditAfter(tenant: string, afterSeq: number, limit: number): Promise<AuditEntry[]>;

  /** How many events, each revision by itself, ever entered each state, and how many there were in all. Survives restarts and retention. */
  counters(): Promise<EventCounters>;
  /** How many deliveries are open now, in all and for each agent with any. */
  openCounts(): Promise<OpenCounts>;

  /** Removes finished events and audit entries older than the given times, at most `limit` of each; answers how many went. */
  sweep(input: SweepInput): Promise<{ readonly events: number; readonly audit: number }>;
  /** Writes a consistent copy to a path that does not exist yet, while the store goes on working. Drivers that cannot throw STORE_INVALID. */
  backup(path: string): Promise<{ readonly bytes: number }>;
  /** Resolves when a write would be durable now; rejects with why not. */
  ping(): Promise<void>;
  /** What the promises of this store need of its surroundings, and whether they have it. Empty where there is nothing to say. */
  inspect(): Promise<readonly StoreFinding[]>;
  close(): Promise<void>;
}

export interface StoreInfo {
  readonly driver: string;
  /** Where it is, without secrets. */
  readonly location: string;
  readonly schemaVersion: number;
  /** Whether several control planes may use it at once. */
  readonly shared: boolean;
}

/** One thing that the store's promises rest on, for `readyz?verbose` and `doctor`. */
export interface StoreFinding {
  /** Short and stable, such as `appendfsync`. */
  readonly name: string;
  readonly level: "ok" | "warning" | "error";
  /** What is so. */
  readonly message: string;
  /** What is lost otherwise, and what to do; undefined where all is well. */
  readonly remedy?: string;
}

export type EventMeta = Omit<Event, "payload">;

export interface NewEvent {
  readonly tenant: string;
  readonly principal: string;
  readonly event: EventMeta;
  /** The payload as compact JSON text; undefined when it was saved apart. Not small, it is stored apart from rows and once per digest. */
  readonly payloadText: string | undefined;
  /** SHA-256 of `payloadText`, hex. */
  readonly payloadDigest: string;
  readonly payloadBytes: number;
  /** SHA-256 over what "the same content" means, hex. */
  readonly contentDigest: string;
  readonly receivedAtMs: number;
  /** min(created_at, received) + ttl; counted from `notBeforeMs` where that is later. */
  readonly expiresAtMs: number;
  /** Not to be handed over before; undefined: at once. */
  readonly notBeforeMs: number | undefined;
  /** `assigned` when a connected agent's window has room and it is sent right after the commit; `queued` otherwise. */
  readonly state: "assigned" | "queued";
  /** Of the connection that it is `assigned` to. */
  readonly epoch?: number;
  readonly message: string;
  readonly audit: NewAudit;
}

export type CreateOutcome =
  | { readonly kind: "created"; readonly delivery: DeliveryRow; readonly entries: readonly LogEntry[] }
  | { readonly kind: "duplicate"; readonly state: State }
  | { readonly kind: "conflict" };

/** A payload encoded for the wire. */
export interface EncodedPayload {
  /** SHA-256 of the text, hex. */
  readonly digest: string;
  /** UTF-8 bytes of the text. */
  readonly bytes: number;
  readonly encoding: "zstd";
  readonly encoded: Uint8Array;
  /** Tells two encodings of one text apart; made of `encoded` where it is absent, which takes a while for a large one. */
  readonly encodedHash?: string;
}

export interface DeliveryKey {
  readonly eventId: string;
  readonly revision: number;
}

export interface HandedOver extends DeliveryKey {
  readonly cancelRequested: boolean;
}

/** One event at one agent: what becomes of what was asked. */
export interface DeliveryRow {
  /** Grows in the order accepted. */
  readonly ord: number;
  readonly tenant: string;
  readonly eventId: string;
  readonly agentId: string;
  readonly revision: number;
  readonly state: State;
  readonly priority: number;
  readonly expiresAtMs: number;
  readonly payloadBytes: number;
  /** Somebody wants it cancelled, and its agent has not ended it yet. */
  readonly cancelRequested: boolean;
}

/** What goes to an agent as payload: its JSON text, or where it lies. */
export type PayloadSource = { readonly text: string } | { readonly apart: PayloadRef };

export interface DispatchItem {
  readonly delivery: DeliveryRow;
  readonly event: EventMeta;
  readonly payload: PayloadSource;
}

export interface StoredEvent {
  readonly summary: EventSummary;
  readonly event: EventMeta;
  readonly delivery: DeliveryRow;
  readonly attempts: number;
  readonly result: EventResult | undefined;
  /** Undefined when it was not asked for. */
  readonly payload: PayloadSource | undefined;
  readonly log: readonly LogEntry[];
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Opaque; undefined on the last page. */
  readonly nextCursor: string | undefined;
}

export interface EventQuery {
  readonly tenant: string;
  readonly states?: readonly State[];
  readonly agentId?: string;
  readonly type?: string;
  /** All of them must match. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly createdBy?: string;
  /** Received at or after, and before. */
  readonly sinceMs?: number;
  readonly untilMs?: number;
  readonly limit: number;
  /** From an earlier answer; INVALID_CURSOR when it is not. */
  readonly cursor?: string;
}

export interface OpenQuery {
  readonly tenant: string;
  readonly agentId: string;
  readonly states: readonly State[];
  readonly skip: ReadonlySet<string>;
  /** `urgent`: highest priority first, then in the order accepted. `accepted`: in the order accepted alone. */
  readonly order: "urgent" | "accepted";
  readonly nowMs: number;
  readonly maxItems: number;
  readonly maxBytes: number;
}

export interface WaitingQuery {
  readonly tenant: string;
  readonly agentId: string;
  readonly afterOrd: number;
  readonly beforeOrd: number;
  readonly nowMs: number;
  readonly maxItems: number;
  readonly maxBytes: number;
}

export interface DeliveryMove {
  readonly tenant: string;
  readonly eventId: string;
  readonly revision: number;
  readonly to: "assigned" | "queued";
  /** Of the connection that it is handed to, or was to be. */
  readonly epoch: number;
  readonly nowMs: number;
  readonly message: string;
}
/** `fenced`: another connection owns the agent by now. `refused`: the table does not allow it any more (finished, cancelled, already running); the caller forgets it. A repeated `assigned` counts an attempt and logs nothing. */
export type MoveOutcome =
  | { readonly kind: "moved"; readonly entry: LogEntry | undefined }
  | { readonly kind: "refused"; readonly state: State | undefined }
  | { readonly kind: "fenced" };

export interface StatusWrite {
  readonly tenant: string;
  readonly eventId: string;
  /** Undefined for 0.1 agents: the newest revision. */
  readonly revision: number | undefined;
  /** Who says it; only a delivery of this agent is changed. */
  readonly agentId: string;
  /** Of the connection on which it was said. */
  readonly epoch: number;
  readonly bootId: string | undefined;
  readonly seq: number | undefined;
  readonly state: State;
  readonly phase: Phase;
  readonly level: LogLevel;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>> | undefined;
  readonly result: EventResult | undefined;
  /** The agent's own timestamp when it gave one, for the log. */
  readonly timestamp: string;
  readonly nowMs: number;
}
/** `unknown`: no such delivery at this agent. `fenced`: another connection owns the agent by now; it is told there again. */
export type StatusOutcome = {
  readonly verdict: Verdict | "unknown" | "fenced";
  readonly state: State | undefined;
  readonly entry: LogEntry | undefined;
};

export interface CancelInput {
  readonly tenant: string;
  readonly eventId: string;
  readonly nowMs: number;
  readonly message: string;
  /** The log's word where the wish is kept instead. */
  readonly requestMessage: string;
  readonly audit: NewAudit;
}
/** `requested`: the agent is to be told; said again, `entry` is undefined. `refused`: it has ended, or its agent cannot be called back. */
export type CancelOutcome =
  | { readonly kind: "cancelled"; readonly entry: LogEntry; readonly agentId: string }
  | { readonly kind: "requested"; readonly entry: LogEntry | undefined; readonly agentId: string; readonly revision: number }
  | { readonly kind: "already" }
  | { readonly kind: "refused"; readonly state: State }
  | { readonly kind: "missing" };

export interface RetryInput {
  readonly tenant: string;
  readonly eventId: string;
  readonly principal: string;
  readonly nowMs: number;
  readonly message: string;
  readonly audit: NewAudit;
}
/**
 * A new revision waits (`queued`) with a full TTL from now, or from its `not_before` where that is still to come; its delay is over. It
 * counts once more in `counters`, so that what was accepted is what is open and what has ended. `refused`: the newest has not ended.
 */
export type RetryOutcome =
  | { readonly kind: "created"; readonly delivery: DeliveryRow; readonly entry: LogEntry }
  | { readonly kind: "refused"; readonly state: State }
  | { readonly kind: "missing" };

/** A delivery that the control plane itself ended. */
export interface Ended {
  readonly tenant: string;
  readonly eventId: string;
  readonly agentId: string;
  readonly revision: number;
  readonly state: State;
  readonly entry: LogEntry;
}

export interface LogQuery {
  readonly tenant: string;
  readonly eventId?: string;
  readonly afterSeq: number;
  readonly limit: number;
}

export interface AgentWrite {
  readonly tenant: string;
  readonly id: string;
  readonly registration: Registration;
  readonly status: AgentStatus;
  readonly principal: string;
  readonly remoteAddress: string;
  readonly connectedAtMs: number | undefined;
  readonly disconnectedAtMs: number | undefined;
  readonly lastSeenMs: number;
  readonly clockOffsetMs: number | undefined;
}
export interface StoredAgent extends AgentWrite {
  readonly paused: boolean;
  /** Of its last connection; 0 when it never had one. Grows with each. */
  readonly epoch: number;
  /** The control plane that it is connected to; undefined while it is not. */
  readonly replicaId: string | undefined;
}
export interface AgentKey {
  readonly tenant: string;
  readonly id: string;
}
export interface AgentSeen extends AgentKey {
  readonly epoch: number;
  readonly status: AgentStatus;
  readonly lastSeenMs: number;
  readonly clockOffsetMs: number | undefined;
  /** The control plane that it is connected to: a store that lost the claim has another, or none. What is stored stays where it is absent. */
  readonly replicaId?: string;
}

export interface AgentClaim {
  readonly agent: AgentWrite;
  readonly replicaId: string;
  /** The highest epoch that the agent remembers; 0 for one that remembers none. A store that lost what came last must not hand out its number again. */
  readonly seenEpoch: number;
}
export interface Claimed {
  /** Above the store's and what the agent has seen. */
  readonly epoch: number;
  readonly paused: boolean;
  /** Who had it before, where that control plane still holds a lease. */
  readonly before: string | undefined;
}
export interface AgentRelease extends AgentKey {
  readonly epoch: number;
  readonly disconnectedAtMs: number;
  readonly lastSeenMs: number;
  readonly clockOffsetMs: number | undefined;
}

/** A control plane among those that share a store. */
export interface Replica {
  /** Of its own for each start of the process. */
  readonly id: string;
  readonly version: string;
  /** Where it says that it can be reached; for people. */
  readonly address: string;
  readonly startedAtMs: number;
  /** How many agents it holds, as of its last renewal; kept by the store as it was given. */
  readonly agents?: { readonly connected: number; readonly registered: number };
}
export interface LeaseInput {
  readonly replica: Replica;
  readonly ttlMs: number;
  readonly nowMs: number;
}
export interface Lease {
  /** Those with a lease, this one included, by id. */
  readonly replicas: readonly Replica[];
  /** This one had none any more: its agents stood as disconnected, and others may have them. */
  readonly lapsed: boolean;
  /** Agents that stand as disconnected since this call, because their control plane has no lease any more. */
  readonly orphaned: readonly AgentKey[];
}

/** What one control plane at a time does for all. */
export type Duty = "expiry" | "retention" | "publish";

/**
 * What another control plane did, told right after it was durable. Words may be lost, repeated, late or out of order: whoever hears one looks
 * into the store. `words.ts` says which follow from what.
 * - `queued`: something waits for this agent, of this priority where that is known.
 * - `entry`: the log of this event has grown.
 * - `ended`: this delivery is over, by no word of its agent.
 * - `recall`: somebody wants this delivery back.
 * - `claimed`: the agent is owned elsewhere, with this epoch.
 * - `agent`: it was paused, or goes on, or was removed.
 */
export type Word =
  | { readonly kind: "queued"; readonly agentId: string; readonly priority: number | undefined }
  | { readonly kind: "entry"; readonly eventId: string }
  | { readonly kind: "ended"; readonly eventId: string; readonly agentId: string; readonly revision: number }
  | { readonly kind: "recall"; readonly eventId: string; readonly agentId: string; readonly revision: number }
  | { readonly kind: "claimed"; readonly agentId: string; readonly epoch: number; readonly replicaId: string }
  | { readonly kind: "agent"; readonly agentId: string; readonly change: "paused" | "resumed" | "removed" };

export interface WordListener {
  words(words: readonly Word[]): void;
  /** Some were certainly lost, as the way that they come was broken: everything may have changed. */
  gap(): void;
}

/** An event of another system, which has ended; nothing more is known of what was asked. */
export interface ImportedEvent {
  readonly tenant: string;
  readonly principal: string;
  readonly id: string;
  readonly agentId: string;
  readonly type: Event["type"];
  readonly labels: Readonly<Record<string, string>>;
  readonly receivedAtMs: number;
  readonly finishedAtMs: number;
  /** Terminal. */
  readonly state: State;
  readonly phase: Phase | "";
  readonly message: string;
  readonly result: EventResult | undefined;
  readonly log: readonly ImportedEntry[];
}
export interface ImportedEntry {
  readonly timestamp: string;
  readonly state: State;
  readonly phase: Phase | "";
  readonly level: LogLevel;
  readonly message: string;
}

export interface AgentQuery {
  readonly tenant: string;
  readonly clusterName?: string;
  readonly limit: number;
  readonly cursor?: string;
}

export interface NewAudit {
  readonly tenant: string;
  readonly atMs: number;
  readonly principal: string;
  readonly action: string;
  readonly eventId?: string;
  readonly agentId?: string;
  /** The sender's claim. */
  readonly user?: string;
  readonly remoteAddress?: string;
  readonly requestId?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}
export interface AuditQuery {
  readonly tenant: string;
  readonly action?: string;
  readonly eventId?: string;
  readonly agentId?: string;
  readonly sinceMs?: number;
  readonly untilMs?: number;
  readonly limit: number;
  readonly cursor?: string;
}

export type EventCounters = Readonly<Record<State | "total", number>>;
export interface OpenCounts {
  /** Waiting for their agent (`created`, `queued`) and handed over (`assigned`, `in_progress`). */
  readonly queued: number;
  readonly inFlight: number;
  readonly byAgent: ReadonlyMap<string, { readonly queued: number; readonly inFlight: number }>;
}

export interface SweepInput {
  readonly finishedBeforeMs: number;
  readonly auditBeforeMs: number;
  readonly limit: number;
}
