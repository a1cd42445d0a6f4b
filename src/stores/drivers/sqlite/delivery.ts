import { isTerminal, type Phase, type State } from "../../../protocol/mod.ts";
import type { DeliveryRow } from "../../port.ts";
import { isInFlight, isWaiting } from "./tally.ts";

/** Bits of `delivery.entered`: each event counts once for each state, however often it comes there. Terminal states come once anyway. */
export const ENTERED: Readonly<Record<State, number>> = {
  created: 1,
  queued: 2,
  assigned: 4,
  in_progress: 8,
  completed: 0,
  failed: 0,
  expired: 0,
  cancelled: 0,
};

/** Where an open delivery stands in the index of what an agent still has to do. */
export const LANE = { handedOver: 0, waiting: 1, delayed: 2 } as const;

/** How much of a row must be written: what every log entry moves, the state, where it stands and when it is due, or its end. Each touches more indexes. */
export const CLEAN = 0;
export const SAID = 1;
export const MOVED = 2;
export const SHIFTED = 3;
export const ENDED = 4;

/** A delivery as it stands, the changes of the transaction included. Never to be kept from one operation to the next. */
export interface Delivery {
  readonly ord: number;
  readonly eventNo: number;
  readonly tenant: string;
  readonly eventId: string;
  readonly agentId: string;
  readonly revision: number;
  readonly expiresAtMs: number;
  readonly deadlineMs: number | undefined;
  readonly priority: number;
  readonly payloadBytes: number;
  state: State;
  phase: Phase | "";
  message: string;
  entered: number;
  attempts: number;
  bootId: string | undefined;
  seq: number | undefined;
  /** The last number of agent processes before that one, by boot. */
  earlier: Readonly<Record<string, number>> | undefined;
  lastSeq: number;
  resultSeq: number | undefined;
  /** When it is to be looked at; may be earlier than when it is due in its present state. */
  dueAtMs: number;
  /** Set while it waits for its time. */
  notBeforeMs: number | undefined;
  cancelRequested: boolean;
  updatedAtMs: number;
  startedAtMs: number | undefined;
  finishedAtMs: number | undefined;
  /** Whether it is the newest revision of its event; only those are kept in memory. */
  readonly newest: boolean;
  unsaved: number;
}

export interface DeliveryRecord {
  readonly ord: number;
  readonly event_no: number;
  readonly tenant: string;
  readonly event_id: string;
  readonly agent_id: string;
  readonly revision: number;
  readonly expires_at_ms: number;
  readonly deadline_ms: number | null;
  readonly priority: number;
  readonly payload_bytes: number;
  readonly state: State;
  readonly phase: Phase | "";
  readonly message: string;
  readonly entered: number;
  readonly attempts: number;
  readonly boot_id: string | null;
  readonly seq: number | null;
  readonly earlier: string | null;
  readonly last_seq: number;
  readonly result_seq: number | null;
  readonly due_at_ms: number;
  readonly not_before_ms: number | null;
  readonly cancel_at_ms: number | null;
  readonly updated_at_ms: number;
  readonly started_at_ms: number | null;
  readonly finished_at_ms: number | null;
  readonly newest: number;
}

const AGAIN = "FROM delivery a INDEXED BY delivery_again WHERE a.event_no = e.no AND a.event_no <> a.ord";
/** The number of the newest delivery of event `e`, and those of all of them. */
export const NEWEST_ORD = `coalesce((SELECT max(a.ord) ${AGAIN}), e.no)`;
export const ALL_ORDS = `(SELECT e.no UNION ALL SELECT a.ord ${AGAIN})`;

const COLUMNS = `d.ord, d.event_no, d.tenant, e.id AS event_id, d.agent_id, d.revision, d.expires_at_ms, e.deadline_ms, d.priority, e.payload_bytes,
  d.state, d.phase, d.message, d.entered, d.attempts, d.boot_id, d.seq, d.earlier, d.last_seq, d.result_seq, d.due_at_ms, d.not_before_ms,
  d.cancel_at_ms, d.updated_at_ms, d.started_at_ms, d.finished_at_ms, d.superseded IS NULL AS newest`;
export const SELECT_NEWEST = `SELECT ${COLUMNS} FROM event e CROSS JOIN delivery d ON d.ord = ${NEWEST_ORD} WHERE e.tenant = ? AND e.id = ?`;
export const SELECT_REVISION = `SELECT ${COLUMNS} FROM event e CROSS JOIN delivery d ON d.ord IN ${ALL_ORDS} AND d.event_no = e.no
  WHERE e.tenant = ? AND e.id = ? AND d.revision = ?`;
export const SELECT_ORD = `SELECT ${COLUMNS} FROM delivery d CROSS JOIN event e ON e.no = d.event_no WHERE d.ord = ?`;

export function fromRow(row: DeliveryRecord): Delivery {
  return {
    ord: row.ord,
    eventNo: row.event_no,
    tenant: row.tenant,
    eventId: row.event_id,
    agentId: row.agent_id,
    revision: row.revision,
    expiresAtMs: row.expires_at_ms,
    deadlineMs: row.deadline_ms ?? undefined,
    priority: row.priority,
    payloadBytes: row.payload_bytes,
    state: row.state,
    phase: row.phase,
    message: row.message,
    entered: row.entered,
    attempts: row.attempts,
    bootId: row.boot_id ?? undefined,
    seq: row.seq ?? undefined,
    earlier: row.earlier === null ? undefined : (JSON.parse(row.earlier) as Record<string, number>),
    lastSeq: row.last_seq,
    resultSeq: row.result_seq ?? undefined,
    dueAtMs: row.due_at_ms,
    notBeforeMs: row.not_before_ms ?? undefined,
    cancelRequested: row.cancel_at_ms !== null,
    updatedAtMs: row.updated_at_ms,
    startedAtMs: row.started_at_ms ?? undefined,
    finishedAtMs: row.finished_at_ms ?? undefined,
    newest: row.newest === 1,
    unsaved: CLEAN,
  };
}

/** What others get to see of it. */
export function rowOf(delivery: Delivery): DeliveryRow {
  const { ord, tenant, eventId, agentId, revision, state, priority, expiresAtMs, payloadBytes } = delivery;
  const cancelRequested = delivery.cancelRequested && !isTerminal(state);
  return { ord, tenant, eventId, agentId, revision, state, priority, expiresAtMs, payloadBytes, cancelRequested };
}

/** The lane of an open delivery; undefined when it has ended. */
export function laneOf(delivery: Delivery): number | undefined {
  if (isInFlight(delivery.state)) return LANE.handedOver;
  if (isWaiting(delivery.state)) return delivery.notBeforeMs === undefined ? LANE.waiting : LANE.delayed;
  return undefined;
}
