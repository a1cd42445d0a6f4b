import { type AuditEntry, formatTimestamp } from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import { cleanAudit } from "../../audit-text.ts";
import type { NewAudit } from "../../port.ts";
import { RowBatch } from "./row-batch.ts";
import type { Tally } from "./tally.ts";

export interface AuditRow {
  readonly seq: number;
  readonly principal: string;
  readonly at_ms: number;
  readonly action: string;
  readonly event_id: string | null;
  readonly agent_id: string | null;
  readonly user: string | null;
  readonly remote_address: string | null;
  readonly request_id: string | null;
  readonly details: string | null;
}

type Values = [
  number,
  string,
  string,
  number,
  string,
  string | null,
  string | null,
  string | null,
  string | null,
  string | null,
  string | null,
];

/** Who did what, when, from where. Entries are only added here; `retention` removes what is old. */
export class Audit {
  readonly #tally: Tally;
  readonly #rows: RowBatch<Values>;

  constructor(database: OpenedDatabase, tally: Tally) {
    this.#tally = tally;
    this.#rows = new RowBatch(database, "audit", [
      "seq",
      "tenant",
      "principal",
      "at_ms",
      "action",
      "event_id",
      "agent_id",
      "user",
      "remote_address",
      "request_id",
      "details",
    ]);
  }

  append(entry: NewAudit): void {
    const { user, details } = cleanAudit(entry);
    this.#rows.add(
      this.#tally.next("audit"),
      entry.tenant,
      entry.principal,
      entry.atMs,
      entry.action,
      entry.eventId ?? null,
      entry.agentId ?? null,
      user ?? null,
      entry.remoteAddress ?? null,
      entry.requestId ?? null,
      details === undefined ? null : JSON.stringify(details),
    );
  }

  /** Writes what the transaction added so far; before anybody reads the table, and before the commit. */
  flush(): void {
    this.#rows.flush();
  }

  undo(): void {
    this.#rows.clear();
  }
}

export function auditEntry(row: AuditRow): AuditEntry {
  return {
    seq: row.seq,
    timestamp: formatTimestamp(row.at_ms),
    principal: row.principal,
    action: row.action,
    ...(row.event_id === null ? {} : { event_id: row.event_id }),
    ...(row.agent_id === null ? {} : { agent_id: row.agent_id }),
    ...(row.user === null ? {} : { user: row.user }),
    ...(row.remote_address === null ? {} : { remote_address: row.remote_address }),
    ...(row.request_id === null ? {} : { request_id: row.request_id }),
    ...(row.details === null ? {} : { details: JSON.parse(row.details) as Record<string, unknown> }),
  };
}
