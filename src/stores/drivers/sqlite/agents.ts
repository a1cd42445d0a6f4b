import type { Statement } from "bun:sqlite";
import type { AgentStatus, Registration } from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import { encodeCursor } from "../../cursor.ts";
import type { AgentClaim, AgentKey, AgentQuery, AgentRelease, AgentSeen, AgentWrite, Claimed, Page, StoredAgent } from "../../port.ts";
import type { Leases } from "./leases.ts";
import type { Owners } from "./owners.ts";

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
  readonly epoch: number;
  readonly replica_id: string | null;
}

const COLUMNS = `tenant, id, principal, status, paused, remote_address, connected_at_ms, disconnected_at_ms, last_seen_ms, clock_offset_ms,
  registration, epoch, replica_id`;

type MaybeNumber = number | null;
type Values = [
  string,
  string,
  string,
  string,
  string,
  string,
  MaybeNumber,
  MaybeNumber,
  number,
  MaybeNumber,
  string,
  number,
  string | null,
];

/** Agents as they last registered, and who owns them. */
export class Agents {
  readonly #owners: Owners;
  readonly #leases: Leases;
  readonly #claim: Statement<unknown, Values>;
  readonly #import: Statement<unknown, Values>;
  readonly #touch: Statement<unknown, [string, number, MaybeNumber, string | null, string, string]>;
  readonly #release: Statement<unknown, [number, number, MaybeNumber, string, string]>;
  readonly #owner: Statement<Pick<AgentRow, "status" | "paused" | "replica_id">, [string, string]>;
  readonly #get: Statement<AgentRow, [string, string]>;
  readonly #list: Statement<AgentRow, [string, string, string | null, string | null, number]>;
  readonly #pause: Statement<unknown, [number, string, string]>;
  readonly #remove: Statement<unknown, [string, string]>;
  readonly #connected: Statement<Pick<AgentRow, "tenant" | "id" | "replica_id">, []>;
  readonly #disconnect: Statement<unknown, [number, string, string]>;
  readonly #disconnectReplica: Statement<unknown, [number, string]>;

  constructor(database: OpenedDatabase, parts: { readonly owners: Owners; readonly leases: Leases }) {
    this.#owners = parts.owners;
    this.#leases = parts.leases;
    const insert = `INSERT INTO agent (tenant, id, principal, cluster_name, status, remote_address, connected_at_ms, disconnected_at_ms,
       last_seen_ms, clock_offset_ms, registration, epoch, replica_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id)`;
    this.#claim = database.prepare(
      `${insert} DO UPDATE SET principal = excluded.principal, cluster_name = excluded.cluster_name, status = excluded.status,
       remote_address = excluded.remote_address, connected_at_ms = excluded.connected_at_ms, disconnected_at_ms = excluded.disconnected_at_ms,
       last_seen_ms = excluded.last_seen_ms, clock_offset_ms = excluded.clock_offset_ms, registration = excluded.registration,
       epoch = excluded.epoch, replica_id = excluded.replica_id`,
    );
    this.#import = database.prepare(`${insert} DO NOTHING`);
    this.#touch = database.prepare(
      `UPDATE agent SET status = ?, disconnected_at_ms = NULL, last_seen_ms = ?, clock_offset_ms = ?, replica_id = coalesce(?, replica_id)
       WHERE tenant = ? AND id = ?`,
    );
    this.#release = database.prepare(
      `UPDATE agent SET status = 'disconnected', disconnected_at_ms = ?, last_seen_ms = ?, clock_offset_ms = ?, replica_id = NULL
       WHERE tenant = ? AND id = ?`,
    );
    this.#owner = database.prepare("SELECT status, paused, replica_id FROM agent WHERE tenant = ? AND id = ?");
    this.#get = database.prepare(`SELECT ${COLUMNS} FROM agent WHERE tenant = ? AND id = ?`);
    this.#list = database.prepare(
      `SELECT ${COLUMNS} FROM agent WHERE tenant = ? AND id > ? AND (? IS NULL OR cluster_name = ?) ORDER BY id LIMIT ?`,
    );
    this.#pause = database.prepare("UPDATE agent SET paused = ? WHERE tenant = ? AND id = ?");
    this.#remove = database.prepare("DELETE FROM agent WHERE tenant = ? AND id = ?");
    this.#connected = database.prepare("SELECT tenant, id, replica_id FROM agent WHERE status <> 'disconnected'");
    // Whose it was stays: it may only have been away for a while, and says so with the next word of its agent.
    this.#disconnect = database.prepare("UPDATE agent SET status = 'disconnected', disconnected_at_ms = ? WHERE tenant = ? AND id = ?");
    this.#disconnectReplica = database.prepare(
      "UPDATE agent SET status = 'disconnected', disconnected_at_ms = ? WHERE status <> 'disconnected' AND replica_id = ?",
    );
  }

  claim({ agent, replicaId, seenEpoch }: AgentClaim): Claimed {
    const { tenant, id } = agent;
    const owner = this.#owner.get(tenant, id);
    const epoch = Math.max(this.#owners.of(tenant, id) ?? 0, seenEpoch) + 1;
    this.#claim.run(...valuesOf(agent, epoch, replicaId));
    this.#owners.set(tenant, id, epoch);
    this.#leases.used(replicaId);
    const before = owner === null || owner.status === "disconnected" ? undefined : (owner.replica_id ?? undefined);
    return { epoch, paused: owner?.paused === 1, before: before !== undefined && this.#leases.has(before) ? before : undefined };
  }

  release({ tenant, id, epoch, disconnectedAtMs, lastSeenMs, clockOffsetMs }: AgentRelease): boolean {
    if (this.#owners.of(tenant, id) === undefined || !this.#owners.admits(tenant, id, epoch)) return false;
    this.#release.run(disconnectedAtMs, lastSeenMs, clockOffsetMs ?? null, tenant, id);
    return true;
  }

  import(agent: AgentWrite): boolean {
    this.#owners.forget(agent.tenant, agent.id);
    const gone = { ...agent, status: "disconnected" as const };
    return this.#import.run(...valuesOf(gone, 0, null)).changes > 0;
  }

  /** Answers those that are not whom they say any more. */
  touch(seen: readonly AgentSeen[]): AgentKey[] {
    const others: AgentKey[] = [];
    for (const { tenant, id, epoch, status, lastSeenMs, clockOffsetMs, replicaId } of seen) {
      if (this.#owners.of(tenant, id) === undefined || !this.#owners.admits(tenant, id, epoch)) {
        others.push({ tenant, id });
        continue;
      }
      const owner = this.#owner.get(tenant, id);
      const of = replicaId ?? owner?.replica_id ?? "";
      if (owner?.status === "disconnected" || of !== owner?.replica_id) this.#leases.used(of);
      this.#touch.run(status, lastSeenMs, clockOffsetMs ?? null, replicaId ?? null, tenant, id);
    }
    return others;
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
    this.#owners.forget(tenant, id);
  }

  isConnected(tenant: string, id: string): boolean {
    const owner = this.#owner.get(tenant, id);
    return owner !== null && owner.status !== "disconnected";
  }

  /** Lets those stand as disconnected whose control plane has no lease; answers them. */
  orphan(nowMs: number): AgentKey[] {
    if (!this.#leases.mustCheck()) return [];
    const orphaned: AgentKey[] = [];
    for (const { tenant, id, replica_id } of this.#connected.all()) {
      if (replica_id !== null && this.#leases.has(replica_id)) continue;
      this.#disconnect.run(nowMs, tenant, id);
      orphaned.push({ tenant, id });
    }
    return orphaned;
  }

  disconnect(replicaId: string, nowMs: number): void {
    this.#disconnectReplica.run(nowMs, replicaId);
  }
}

function valuesOf(agent: AgentWrite, epoch: number, replicaId: string | null): Values {
  return [
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
    epoch,
    replicaId,
  ];
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
    epoch: row.epoch,
    replicaId: row.status === "disconnected" ? undefined : (row.replica_id ?? undefined),
  };
}
