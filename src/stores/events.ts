import type {
  Event,
  EventResult,
  EventSummary,
  LogEntry,
  LogLevel,
  Operation,
  PayloadRef,
  Phase,
  State,
  Verdict,
} from "../protocol/mod.ts";
import type { NewAudit } from "./records.ts";

/** An event without its payload. */
export interface EventMeta extends Omit<Event, "payload"> {
  /** Where its payload says more than 0.1 knows; only an agent that knows operations may have it then. Undefined: a plain apply, or another type. */
  readonly operation?: Operation | undefined;
}

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
