import type { Statement } from "bun:sqlite";
import type { EventResult, LogEntry } from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import type { LogQuery, StoredEvent } from "../../port.ts";
import type { Deliveries } from "./deliveries.ts";
import { ALL_ORDS, NEWEST_ORD } from "./delivery.ts";
import { deliveryRow, eventMeta, type Events, eventSummary, JOINED, type JoinedRow } from "./events.ts";
import { logEntry, LOG_COLUMNS, LOG_SUBJECTS, type LogRow } from "./log-book.ts";

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
      `SELECT ${JOINED} FROM event e CROSS JOIN delivery d ON d.ord = ${NEWEST_ORD} WHERE e.tenant = ? AND e.id = ?`,
    );
    this.#result = database.prepare("SELECT result FROM entry WHERE seq = ?");
    this.#logOfEvent = database.prepare(
      `WITH RECURSIVE chain (seq) AS (
         SELECT d.last_seq FROM event e CROSS JOIN delivery d ON d.ord IN ${ALL_ORDS} AND d.event_no = e.no
           WHERE e.tenant = ? AND e.id = ? AND d.last_seq > ?
         UNION ALL SELECT l.prev FROM chain c CROSS JOIN entry l ON l.seq = c.seq WHERE l.prev > ?)
       SELECT ${LOG_COLUMNS} FROM chain c CROSS JOIN entry l ON l.seq = c.seq ${LOG_SUBJECTS} ORDER BY l.seq LIMIT ?`,
    );
    this.#logOfAll = database.prepare(
      `SELECT ${LOG_COLUMNS} FROM entry l ${LOG_SUBJECTS} WHERE l.seq > ? AND d.tenant = ? ORDER BY l.seq LIMIT ?`,
    );
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
