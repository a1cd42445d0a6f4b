import type { AgentView, EventSummary } from "../protocol/mod.ts";
import { age } from "./age.ts";
import type { Shape } from "./output.ts";

const pairsText = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");

export function eventShape(nowMs: number): Shape<EventSummary> {
  return {
    name: (event) => `event/${event.id}`,
    columns: [
      { head: "ID", cell: (event) => event.id },
      { head: "NAME", cell: (event) => event.labels["name"] ?? "", wide: true },
      { head: "AGENT", cell: (event) => event.target_agent },
      { head: "TYPE", cell: (event) => event.type, wide: true },
      { head: "OPERATION", cell: (event) => event.operation ?? "", wide: true },
      { head: "STATE", cell: (event) => (event.cancel_requested === true ? `${event.state},cancelling` : event.state) },
      { head: "PHASE", cell: (event) => event.phase },
      { head: "PRIORITY", cell: (event) => String(event.priority), wide: true },
      { head: "CREATED BY", cell: (event) => event.created_by, wide: true },
      { head: "BYTES", cell: (event) => String(event.payload_bytes), wide: true },
      { head: "REVISION", cell: (event) => String(event.revision), wide: true },
      { head: "NOT BEFORE", cell: (event) => event.not_before ?? "", wide: true },
      { head: "EXPIRES", cell: (event) => event.expires_at, wide: true },
      { head: "LABELS", cell: (event) => pairsText(event.labels), wide: true },
      { head: "AGE", cell: (event) => age(event.received_at, nowMs) },
      { head: "MESSAGE", cell: (event) => event.message },
    ],
  };
}

/** How far an agent's clock is off, as a person reads it. */
export function clockText(offsetMs: number | undefined): string {
  if (offsetMs === undefined) return "";
  const sign = offsetMs < 0 ? "-" : "+";
  const abs = Math.abs(offsetMs);
  return abs < 1000 ? `${sign}${Math.round(abs)}ms` : `${sign}${(abs / 1000).toFixed(abs < 10_000 ? 1 : 0)}s`;
}

export function agentShape(nowMs: number): Shape<AgentView> {
  return {
    name: (agent) => `agent/${agent.id}`,
    columns: [
      { head: "ID", cell: (agent) => agent.id },
      { head: "NAME", cell: (agent) => agent.name, wide: true },
      { head: "CLUSTER", cell: (agent) => agent.cluster_name },
      { head: "PROVIDER", cell: (agent) => agent.cluster_provider, wide: true },
      { head: "REGION", cell: (agent) => agent.region, wide: true },
      { head: "STATUS", cell: (agent) => (agent.paused ? `${agent.status},paused` : agent.status) },
      { head: "VERSION", cell: (agent) => agent.version },
      { head: "LAST SEEN", cell: (agent) => age(agent.last_seen_at, nowMs) },
      { head: "CLOCK", cell: (agent) => clockText(agent.clock_offset_ms) },
      { head: "QUEUED", cell: (agent) => String(agent.queued) },
      { head: "IN FLIGHT", cell: (agent) => String(agent.in_flight) },
      { head: "REPLICA", cell: (agent) => agent.replica ?? "", wide: true },
      { head: "PROTOCOL", cell: (agent) => String(agent.protocol), wide: true },
      { head: "CAPABILITIES", cell: (agent) => agent.capabilities.join(","), wide: true },
      { head: "HOSTNAME", cell: (agent) => agent.hostname, wide: true },
      { head: "ADDRESS", cell: (agent) => agent.remote_address, wide: true },
      { head: "LABELS", cell: (agent) => pairsText(agent.labels), wide: true },
    ],
  };
}
