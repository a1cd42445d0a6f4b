import type { Statement } from "bun:sqlite";
import type { AgentStatus, Registration } from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import { encodeCursor } from "../../cursor.ts";
import type { AgentQuery, AgentSeen, AgentWrite, Page, StoredAgent } from "../../port.ts";

interface AgentRow {
  readonly tenant: string;
  readonly id: string;
  readonly principal: string;
  readonly status: AgentStatus;
  readonly paused: number;
  readonly remote_address: string;
  readonly connected_at_ms: number | null;
  readonly disconnected_at_ms: number | null;
  readonly last_seen_ms: number;
  readonly clock_offset_ms: number | null;
  readonly registration: string;
}

const COLUMNS =
  "tenant, id, principal, status, paused, remote_address, connected_at_ms, disconnected_at_ms, last_seen_ms, clock_offset_ms, registration";

type MaybeNumber = number | null;

/** Agents as they last registered. */
export class Agents {
  readonly #save: Statement<
    unknown,
    [string, string, string, string, string, string, MaybeNumber, MaybeNumber, number, MaybeNumber, string]
  >;
  readonly #touch: Statement<unknown, [string, number, MaybeNumber, string, string]>;
  readonly #get: Statement<AgentRow, [string, string]>;
  readonly #list: Statement<AgentRow, [string, string, string | null, string | null, number]>;
  readonly #pause: Statement<unknown, [number, string, string]>;
  readonly #remove: Statement<unknown, [string, string]>;
  readonly #disconnectAll: Statement<unknown, [number]>;

  constructor(database: OpenedDatabase) {
    this.#save = database.prepare(
      `INSERT INTO agent (tenant, id, principal, cluster_name, status, remote_address, connected_at_ms, disconnected_at_ms, last_seen_ms,
       clock_offset_ms, registration) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (tenant, id) DO UPDATE SET principal = excluded.principal, cluster_name = excluded.cluster_name, status = excluded.status,
       remote_address = excluded.remote_address, connected_at_ms = excluded.connected_at_ms, disconnected_at_ms = excluded.disconnected_at_ms,
       last_seen_ms = excluded.last_seen_ms, clock_offset_ms = excluded.clock_offset_ms, registration = excluded.registration`,
    );
    this.#touch = database.prepare("UPDATE agent SET status = ?, last_seen_ms = ?, clock_offset_ms = ? WHERE tenant = ? AND id = ?");
    this.#get = database.prepare(`SELECT ${COLUMNS} FROM agent WHERE tenant = ? AND id = ?`);
    this.#list = database.prepare(
      `SELECT ${COLUMNS} FROM agent WHERE tenant = ? AND id > ? AND (? IS NULL OR cluster_name = ?) ORDER BY id LIMIT ?`,
    );
    this.#pause = database.prepare("UPDATE agent SET paused = ? WHERE tenant = ? AND id = ?");
    this.#remove = database.prepare("DELETE FROM agent WHERE tenant = ? AND id = ?");
    this.#disconnectAll = database.prepare(
      "UPDATE agent SET status = 'disconnected', disconnected_at_ms = ? WHERE status <> 'disconnected'",
    );
  }

  save(agent: AgentWrite): void {
    this.#save.run(
      agent.tenant,
      agent.id,
      agent.principal,
      agent.registration.cluster_name,
      agent.status,
      agent.remoteAddress,
      agent.connectedAtMs ?? null,
      agent.disconnectedAtMs ?? null,
      agent.lastSeenMs,
      agent.clockOffsetMs ?? null,
      JSON.stringify(agent.registration),
    );
  }

  touch(seen: readonly AgentSeen[]): void {
    for (const agent of seen) this.#touch.run(agent.status, agent.lastSeenMs, agent.clockOffsetMs ?? null, agent.tenant, agent.id);
  }

  get(tenant: string, id: string): StoredAgent | undefined {
    const row = this.#get.get(tenant, id);
    return row === null ? undefined : stored(row);
  }

  /** Those with an id above `after`. */
  list(query: AgentQuery, after: string): Page<StoredAgent> {
    const cluster = query.clusterName ?? null;
    const rows = this.#list.all(query.tenant, after, cluster, cluster, query.limit + 1);
    const items = rows.slice(0, query.limit).map(stored);
    const last = items.at(-1);
    return { items, nextCursor: rows.length > query.limit && last !== undefined ? encodeCursor("agents", last.id) : undefined };
  }

  setPaused(tenant: string, id: string, paused: boolean): StoredAgent | undefined {
    this.#pause.run(paused ? 1 : 0, tenant, id);
    return this.get(tenant, id);
  }

  remove(tenant: string, id: string): void {
    this.#remove.run(tenant, id);
  }

  disconnectAll(nowMs: number): void {
    this.#disconnectAll.run(nowMs);
  }
}

function stored(row: AgentRow): StoredAgent {
  return {
    tenant: row.tenant,
    id: row.id,
    registration: JSON.parse(row.registration) as Registration,
    status: row.status,
    principal: row.principal,
    remoteAddress: row.remote_address,
    connectedAtMs: row.connected_at_ms ?? undefined,
    disconnectedAtMs: row.disconnected_at_ms ?? undefined,
    lastSeenMs: row.last_seen_ms,
    clockOffsetMs: row.clock_offset_ms ?? undefined,
    paused: row.paused === 1,
  };
}
