import type { Statement } from "bun:sqlite";
import type { EventResult, LogEntry, LogLevel, Phase, State } from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import type { LogQuery, StoredEvent } from "../../port.ts";
import type { Deliveries } from "./deliveries.ts";
import { deliveryRow, eventMeta, type Events, eventSummary, JOINED, type JoinedRow } from "./events.ts";

interface LogRow {
  readonly seq: number;
  readonly event_id: string;
  readonly agent_id: string;
  readonly revision: number;
  readonly timestamp: string;
  readonly state: State;
  readonly phase: Phase | "";
  readonly level: LogLevel;
  readonly message: string;
  readonly details: string | null;
  readonly result: string | null;
}

const LOG = `l.seq, e.id AS event_id, d.agent_id, d.revision, l.timestamp, l.state, l.phase, l.level, l.message, l.details, l.result
  FROM execution_log l JOIN delivery d ON d.ord = l.delivery JOIN event e ON e.no = d.event_no`;

/** Reads of single events and of the log. */
export class Reading {
  readonly #events: Events;
  readonly #deliveries: Deliveries;
  readonly #one: Statement<JoinedRow, [string, string]>;
  readonly #result: Statement<{ readonly result: string | null }, [number]>;
  readonly #logOfEvent: Statement<LogRow, [string, string, number, number, number]>;
  readonly #logOfAll: Statement<LogRow, [number, string, number]>;

  constructor(database: OpenedDatabase, parts: { readonly events: Events; readonly deliveries: Deliveries }) {
    this.#events = parts.events;
    this.#deliveries = parts.deliveries;
    this.#one = database.prepare(
      `SELECT ${JOINED} FROM event e JOIN delivery d ON d.event_no = e.no WHERE e.tenant = ? AND e.id = ? AND d.superseded IS NULL`,
    );
    this.#result = database.prepare("SELECT result FROM execution_log WHERE seq = ?");
    this.#logOfEvent = database.prepare(
      `WITH RECURSIVE chain (seq) AS (
         SELECT d.last_seq FROM event e JOIN delivery d ON d.event_no = e.no WHERE e.tenant = ? AND e.id = ? AND d.last_seq > ?
         UNION ALL SELECT l.prev FROM chain c JOIN execution_log l ON l.seq = c.seq WHERE l.prev > ?)
       SELECT ${LOG} JOIN chain c ON c.seq = l.seq ORDER BY l.seq LIMIT ?`,
    );
    this.#logOfAll = database.prepare(`SELECT ${LOG} WHERE l.seq > ? AND d.tenant = ? ORDER BY l.seq LIMIT ?`);
  }

  event(tenant: string, id: string, options: { readonly payload: boolean; readonly log: boolean }): StoredEvent | undefined {
    this.#deliveries.save();
    const row = this.#one.get(tenant, id);
    if (row === null) return undefined;
    const result = row.result_seq === null ? undefined : this.#result.get(row.result_seq)?.result;
    return {
      summary: eventSummary(row),
      event: eventMeta(row),
      delivery: deliveryRow(row),
      attempts: row.attempts,
      result: result === undefined || result === null ? undefined : (JSON.parse(result) as EventResult),
      payload: options.payload ? this.#events.payload(row.no) : undefined,
      log: options.log ? this.#logOfEvent.all(tenant, id, 0, 0, -1).map(logEntry) : [],
    };
  }

  log(query: LogQuery): LogEntry[] {
    this.#deliveries.save();
    const rows =
      query.eventId === undefined
        ? this.#logOfAll.all(query.afterSeq, query.tenant, query.limit)
        : this.#logOfEvent.all(query.tenant, query.eventId, query.afterSeq, query.afterSeq, query.limit);
    return rows.map(logEntry);
  }
}

function logEntry(row: LogRow): LogEntry {
  const { seq, event_id, agent_id, revision, timestamp, state, phase, level, message } = row;
  const entry: LogEntry = { seq, event_id, agent_id, revision, timestamp, state, phase, level, message };
  if (row.details !== null) entry.details = JSON.parse(row.details) as Record<string, unknown>;
  if (row.result !== null) entry.result = JSON.parse(row.result) as EventResult;
  return entry;
}
