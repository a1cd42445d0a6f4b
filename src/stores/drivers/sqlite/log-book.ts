import { type EventResult, formatTimestamp, type LogEntry, type LogLevel, type Phase, type State } from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import { RowBatch, type Value } from "./row-batch.ts";

// Their places are written into rows: new ones go to the end.
const STATES: readonly State[] = ["created", "queued", "assigned", "in_progress", "completed", "failed", "expired", "cancelled"];
const PHASES: readonly (Phase | "")[] = ["", "received", "validating", "applying", "verifying", "completed", "failed"];
const LEVELS: readonly LogLevel[] = ["debug", "info", "warning", "error"];
const STATE_CODES = codes(STATES);
const PHASE_CODES = codes(PHASES);
const LEVEL_CODES = codes(LEVELS);

function codes<T extends string>(names: readonly T[]): Readonly<Record<T, number>> {
  return Object.fromEntries(names.map((name, at) => [name, at])) as Record<T, number>;
}

/** What a delivery's log says next, and what becomes of it. */
export interface Step {
  readonly to: State;
  readonly phase: Phase | "";
  readonly level: LogLevel;
  readonly message: string;
  /** The agent's own; without it, `nowMs`. */
  readonly timestamp?: string;
  readonly nowMs: number;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly result?: EventResult | undefined;
}

export interface LogRow {
  readonly seq: number;
  readonly event_id: string;
  readonly agent_id: string;
  readonly revision: number;
  readonly at: string | number;
  readonly kind: number;
  readonly message: string;
  readonly details: string | null;
  readonly result: string | null;
}

/** Of entries `l`, which must come first, and their deliveries and events. */
export const LOG_COLUMNS = "l.seq, e.id AS event_id, d.agent_id, d.revision, l.at, l.kind, l.message, l.details, l.result";
export const LOG_SUBJECTS = "CROSS JOIN delivery d ON d.ord = l.delivery CROSS JOIN event e ON e.no = d.event_no";

interface Subject {
  readonly ord: number;
  readonly eventId: string;
  readonly agentId: string;
  readonly revision: number;
}

/**
 * The log of all deliveries, by far the most rows: state, phase and level are one number (three bits of each from the right, the state
 * above), a time of ours is milliseconds and an agent's the text that it sent.
 */
export class LogBook {
  readonly #rows: RowBatch<[number, number, number | null, Value, number, string, string | null, string | null]>;
  #stampedMs = 0;
  #stamp = formatTimestamp(0);

  constructor(database: OpenedDatabase) {
    this.#rows = new RowBatch(database, "entry", ["seq", "delivery", "prev", "at", "kind", "message", "details", "result"]);
  }

  /** `prev`: the delivery's last entry before this one, 0 when it is the first. */
  append(seq: number, of: Subject, prev: number, step: Step): LogEntry {
    const { details, result, to, phase, level, message } = step;
    this.#rows.add(
      seq,
      of.ord,
      prev === 0 ? null : prev,
      step.timestamp ?? step.nowMs,
      (STATE_CODES[to] << 6) | (PHASE_CODES[phase] << 3) | LEVEL_CODES[level],
      message,
      details === undefined ? null : JSON.stringify(details),
      result === undefined ? null : JSON.stringify(result),
    );
    const timestamp = step.timestamp ?? this.#stampOf(step.nowMs);
    const { eventId: event_id, agentId: agent_id, revision } = of;
    const entry: LogEntry = { seq, event_id, agent_id, revision, timestamp, state: to, phase, level, message };
    if (details !== undefined) entry.details = details;
    if (result !== undefined) entry.result = result;
    return entry;
  }

  flush(): void {
    this.#rows.flush();
  }

  undo(): void {
    this.#rows.clear();
  }

  #stampOf(nowMs: number): string {
    // Hundreds of entries share a millisecond.
    if (nowMs !== this.#stampedMs) {
      this.#stamp = formatTimestamp(nowMs);
      this.#stampedMs = nowMs;
    }
    return this.#stamp;
  }
}

export function logEntry(row: LogRow): LogEntry {
  const { seq, event_id, agent_id, revision, at, kind, message } = row;
  const timestamp = typeof at === "number" ? formatTimestamp(at) : at;
  const state = STATES[kind >> 6] ?? "failed";
  const phase = PHASES[(kind >> 3) & 7] ?? "";
  const level = LEVELS[kind & 7] ?? "info";
  const entry: LogEntry = { seq, event_id, agent_id, revision, timestamp, state, phase, level, message };
  if (row.details !== null) entry.details = JSON.parse(row.details) as Record<string, unknown>;
  if (row.result !== null) entry.result = JSON.parse(row.result) as EventResult;
  return entry;
}
