import { type AuditEntry, formatTimestamp, type LogEntry, type State } from "../../../protocol/mod.ts";
import type { EventCounters, StoredAgent, StoredEvent } from "../../port.ts";

/** 0.1 kept the status of an event for so long after its last change. */
export const COMPAT_TTL_MS = 7 * 24 * 3_600_000;

export const COMPAT_STATES = ["created", "queued", "assigned", "in_progress", "completed", "failed", "expired"] as const;
export type CompatState = (typeof COMPAT_STATES)[number];

/** 0.1 knew no `cancelled`; whoever reads its keys finds that event failed, and in its message why. */
function stateOf(state: State): CompatState {
  return state === "cancelled" ? "failed" : state;
}

/** As Go left out what was empty. */
function filled(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => !isEmpty(value)));
}
function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

export interface CompatStatus {
  readonly id: string;
  readonly agentId: string;
  readonly state: CompatState;
  readonly receivedAtMs: number;
  /** Until when it stands. */
  readonly untilMs: number;
  readonly json: string;
}

/** `event:status:<id>`, field by field as 0.1 wrote it. */
export function statusOf({ summary, log, result }: StoredEvent): CompatStatus {
  const state = stateOf(summary.state);
  const last = log.at(-1);
  return {
    id: summary.id,
    agentId: summary.target_agent,
    state,
    receivedAtMs: Date.parse(summary.received_at),
    untilMs: Date.parse(summary.updated_at) + COMPAT_TTL_MS,
    json: JSON.stringify({
      event_id: summary.id,
      agent_id: summary.target_agent,
      state,
      // 0.1 began with this one.
      phase: summary.phase === "" ? "received" : summary.phase,
      message: summary.message,
      updated_at: last?.timestamp ?? summary.updated_at,
      execution_log: log.map(entryOf),
      ...(result === undefined ? {} : { result: filled({ ...result }) }),
    }),
  };
}

function entryOf({ timestamp, phase, level, message }: LogEntry): Record<string, unknown> {
  return { timestamp, phase, level, message };
}

/** `agent:<id>`. */
export function agentOf(agent: StoredAgent): { readonly id: string; readonly cluster: string; readonly json: string } {
  const { registration: it, status, remoteAddress, lastSeenMs, connectedAtMs } = agent;
  const cluster = it.cluster_name;
  const json = JSON.stringify({
    id: agent.id,
    name: it.name,
    cluster_name: cluster,
    cluster_provider: it.cluster_provider ?? "",
    region: it.region ?? "",
    version: it.version,
    connection_id: remoteAddress,
    status,
    last_heartbeat: formatTimestamp(lastSeenMs),
    connected_at: formatTimestamp(connectedAtMs ?? lastSeenMs),
    ...filled({ labels: it.labels, capabilities: it.capabilities, hostname: it.hostname, namespace: it.namespace, metadata: it.metadata }),
  });
  return { id: agent.id, cluster, json };
}

/** The field `data` of an entry of the stream `audit:log`. */
export function auditOf({ timestamp, event_id, agent_id, action, user, details }: AuditEntry): string {
  return JSON.stringify({ timestamp, event_id: event_id ?? "", agent_id: agent_id ?? "", action, ...filled({ user, details }) });
}

/** `stats:*` by key; what was never counted has no key. */
export function statsOf(counters: EventCounters): ReadonlyMap<string, number> {
  const stats = new Map<string, number>();
  if (counters.total > 0) stats.set("stats:events:total", counters.total);
  for (const state of COMPAT_STATES) {
    const count = counters[state] + (state === "failed" ? counters.cancelled : 0);
    if (count > 0) stats.set(`stats:events:state:${state}`, count);
  }
  return stats;
}
