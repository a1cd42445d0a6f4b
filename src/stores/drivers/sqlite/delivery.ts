import type { Phase, State } from "../../../protocol/mod.ts";

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

/** How much of a row must be written: what every log entry moves, the state and when it is due, or its end. Each touches more indexes. */
export const CLEAN = 0;
export const SAID = 1;
export const MOVED = 2;
export const ENDED = 3;

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
  state: State;
  phase: Phase | "";
  message: string;
  entered: number;
  attempts: number;
  bootId: string | undefined;
  seq: number | undefined;
  lastSeq: number;
  resultSeq: number | undefined;
  dueAtMs: number;
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
  readonly state: State;
  readonly phase: Phase | "";
  readonly message: string;
  readonly entered: number;
  readonly attempts: number;
  readonly boot_id: string | null;
  readonly seq: number | null;
  readonly last_seq: number;
  readonly result_seq: number | null;
  readonly due_at_ms: number;
  readonly updated_at_ms: number;
  readonly started_at_ms: number | null;
  readonly finished_at_ms: number | null;
  readonly newest: number;
}

/** Needs a WHERE. */
export const SELECT_DELIVERY = `SELECT d.ord, d.event_no, d.tenant, e.id AS event_id, d.agent_id, d.revision, d.expires_at_ms, e.deadline_ms, d.state, d.phase,
  d.message, d.entered, d.attempts, d.boot_id, d.seq, d.last_seq, d.result_seq, d.due_at_ms, d.updated_at_ms, d.started_at_ms, d.finished_at_ms,
  d.revision = (SELECT max(revision) FROM delivery WHERE event_no = e.no) AS newest FROM event e JOIN delivery d ON d.event_no = e.no`;

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
    state: row.state,
    phase: row.phase,
    message: row.message,
    entered: row.entered,
    attempts: row.attempts,
    bootId: row.boot_id ?? undefined,
    seq: row.seq ?? undefined,
    lastSeq: row.last_seq,
    resultSeq: row.result_seq ?? undefined,
    dueAtMs: row.due_at_ms,
    updatedAtMs: row.updated_at_ms,
    startedAtMs: row.started_at_ms ?? undefined,
    finishedAtMs: row.finished_at_ms ?? undefined,
    newest: row.newest === 1,
    unsaved: CLEAN,
  };
}
