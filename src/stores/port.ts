import type { AuditEntry, EventSummary, LogEntry, State } from "../protocol/mod.ts";
import type { AgentWrite, StoredAgent, AgentKey, AgentSeen, AgentClaim, Claimed, AgentRelease, AgentQuery } from "./agents.ts";
import type {
  NewEvent,
  CreateOutcome,
  EncodedPayload,
  DeliveryKey,
  HandedOver,
  DispatchItem,
  StoredEvent,
  Page,
  EventQuery,
  OpenQuery,
  WaitingQuery,
  DeliveryMove,
  MoveOutcome,
  StatusWrite,
  StatusOutcome,
  CancelInput,
  CancelOutcome,
  RetryInput,
  RetryOutcome,
  Ended,
  LogQuery,
} from "./events.ts";
import type { Document, DocumentChange, DocumentKey, DocumentOutcome, DocumentQuery, DocumentWrite } from "./documents.ts";
import type { ImportedEvent } from "./imports.ts";
import type { NewAudit, AuditQuery, EventCounters, OpenCounts, SweepInput, Swept } from "./records.ts";
import type { LeaseInput, Lease, Duty, WordListener } from "./sharing.ts";

export * from "./agents.ts";
export * from "./documents.ts";
export * from "./events.ts";
export * from "./imports.ts";
export * from "./records.ts";
export * from "./sharing.ts";

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

  getDocument(key: DocumentKey): Promise<Document | undefined>;
  /** Writes a document if it has the version that is expected. The same write sent again after its answer was lost is a conflict with itself. */
  writeDocument(write: DocumentWrite): Promise<DocumentOutcome>;
  /** By id, expired ones included. */
  listDocuments(query: DocumentQuery): Promise<readonly Document[]>;
  /**
   * Documents of all tenants whose last write has a sequence above `afterSeq`, by that sequence; each once. What `sweep` removed is not among
   * them. A store that failed over may have lost the last ones and give their numbers again: after `gap` all is to be looked at anew.
   */
  documentsAfter(afterSeq: number, limit: number): Promise<readonly DocumentChange[]>;
  /** The highest document sequence given so far; 0 when none. */
  lastDocumentSeq(): Promise<number>;

  appendAudit(entry: NewAudit): Promise<void>;
  listAudit(query: AuditQuery): Promise<Page<AuditEntry>>;
  /** Entries of all agents and events with a sequence above `afterSeq`, oldest first. */
  auditAfter(tenant: string, afterSeq: number, limit: number): Promise<AuditEntry[]>;

  /** How many events, each revision by itself, ever entered each state, and how many there were in all. Survives restarts and retention. */
  counters(): Promise<EventCounters>;
  /** How many deliveries are open now, in all and for each agent with any. */
  openCounts(): Promise<OpenCounts>;

  /** Removes finished events and audit entries older than the given times, and documents past theirs (`nowMs`), at most `limit` of each; answers how many went. */
  sweep(input: SweepInput): Promise<Swept>;
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
