import * as v from "valibot";
import { EventTypeSchema } from "./event.ts";
import { EventResultSchema } from "./frames.ts";
import { OperationSchema } from "./operation.ts";
import { LogLevelSchema, PhaseSchema, StateSchema } from "./states.ts";

const Timestamp = v.string();
const Labels = v.record(v.string(), v.string());

/** The answer to an accepted event, byte for byte 0.1's. */
export const AcceptedSchema = v.object({ event_id: v.string(), message: v.string(), status: v.literal("accepted") });
export type Accepted = v.InferOutput<typeof AcceptedSchema>;

/** The answer to `POST /v1/events/{id}/retry`. */
export const RetriedSchema = v.object({
  event_id: v.string(),
  revision: v.number(),
  status: v.literal("accepted"),
  message: v.string(),
});
export type Retried = v.InferOutput<typeof RetriedSchema>;

/** `cancelled`: it is over. `cancelling`: its agent has it and is told; it ends as cancelled at its next safe point, unless it ends before. */
export const CancelledSchema = v.object({ event_id: v.string(), status: v.picklist(["cancelled", "cancelling"]) });
export type Cancelled = v.InferOutput<typeof CancelledSchema>;

export const HealthSchema = v.object({ agent_count: v.number(), status: v.string(), version: v.string() });
export const MetricsSchema = v.object({
  agents: v.object({ connected: v.number(), total: v.number() }),
  events: v.object({
    assigned: v.number(),
    completed: v.number(),
    created: v.number(),
    expired: v.number(),
    failed: v.number(),
    in_progress: v.number(),
    queued: v.number(),
    total: v.number(),
  }),
});
export type MetricsView = v.InferOutput<typeof MetricsSchema>;

/** One step of an event's way; `seq` grows over all events of the installation and is the id on live streams. */
export const LogEntrySchema = v.object({
  seq: v.number(),
  event_id: v.string(),
  agent_id: v.string(),
  revision: v.number(),
  timestamp: Timestamp,
  state: StateSchema,
  /** "" for what the control plane itself did. */
  phase: v.union([PhaseSchema, v.literal("")]),
  level: LogLevelSchema,
  message: v.string(),
  details: v.optional(v.record(v.string(), v.unknown())),
  /** With the last entry. */
  result: v.optional(EventResultSchema),
});
export type LogEntry = v.InferOutput<typeof LogEntrySchema>;

export const EventSummarySchema = v.object({
  id: v.string(),
  type: EventTypeSchema,
  /** Where the payload says more than 0.1 knows; absent: a plain apply, or another type. */
  operation: v.optional(OperationSchema),
  target_agent: v.string(),
  state: StateSchema,
  phase: v.union([PhaseSchema, v.literal("")]),
  message: v.string(),
  priority: v.number(),
  labels: Labels,
  /** As the sender wrote it, or the time of receipt. */
  created_at: Timestamp,
  created_by: v.string(),
  principal: v.string(),
  received_at: Timestamp,
  updated_at: Timestamp,
  expires_at: Timestamp,
  finished_at: v.optional(Timestamp),
  /** Not to be started before; only where that was to come when the event was accepted. */
  not_before: v.optional(Timestamp),
  /** 1, and one more each time the event was tried again. */
  revision: v.number(),
  /** Somebody wants it cancelled, and its agent has not ended it yet. */
  cancel_requested: v.optional(v.boolean()),
  traceparent: v.optional(v.string()),
  payload_bytes: v.number(),
  payload_sha256: v.string(),
});
export type EventSummary = v.InferOutput<typeof EventSummarySchema>;

export const CloudEventRefSchema = v.object({ id: v.string(), source: v.string(), type: v.string(), subject: v.optional(v.string()) });

export const EventDetailSchema = v.object({
  ...EventSummarySchema.entries,
  /** Integer nanoseconds. */
  ttl: v.number(),
  deadline: v.optional(v.number()),
  /** As the sender asked for it, with defaults in place; durations are integer nanoseconds. Absent: the defaults hold. */
  retry: v.optional(v.object({ attempts: v.number(), backoff: v.number(), max_backoff: v.number() })),
  /** What the event came in, where that was a CloudEvent; a claim of whoever sent it. */
  cloudevent: v.optional(CloudEventRefSchema),
  /** How often the event was handed to its agent. */
  attempts: v.number(),
  /** Only when asked for with `payload=true`: it may hold Secrets. */
  payload: v.optional(v.record(v.string(), v.unknown())),
  log: v.array(LogEntrySchema),
  result: v.optional(EventResultSchema),
});
export type EventDetail = v.InferOutput<typeof EventDetailSchema>;

function page<T extends v.GenericSchema>(item: T) {
  return v.object({ items: v.array(item), next_cursor: v.optional(v.string()) });
}
export const EventPageSchema = page(EventSummarySchema);
export type EventPage = v.InferOutput<typeof EventPageSchema>;

export const AgentStatusSchema = v.picklist(["connected", "unhealthy", "disconnected"]);
export type AgentStatus = v.InferOutput<typeof AgentStatusSchema>;

export const AgentViewSchema = v.object({
  id: v.string(),
  name: v.string(),
  cluster_name: v.string(),
  cluster_provider: v.string(),
  region: v.string(),
  version: v.string(),
  labels: Labels,
  capabilities: v.array(v.string()),
  hostname: v.string(),
  namespace: v.string(),
  metadata: v.record(v.string(), v.unknown()),
  status: AgentStatusSchema,
  paused: v.boolean(),
  /** 0 for 0.1 agents. */
  protocol: v.number(),
  features: v.array(v.string()),
  remote_address: v.string(),
  /** The control plane that it is connected to. */
  replica: v.optional(v.string()),
  connected_at: v.optional(Timestamp),
  disconnected_at: v.optional(Timestamp),
  last_seen_at: v.optional(Timestamp),
  /** The agent's clock minus ours, the way there included. */
  clock_offset_ms: v.optional(v.number()),
  /** Handed over and not finished. */
  in_flight: v.number(),
  /** Waiting for the agent. */
  queued: v.number(),
});
export type AgentView = v.InferOutput<typeof AgentViewSchema>;
export const AgentPageSchema = page(AgentViewSchema);
export type AgentPage = v.InferOutput<typeof AgentPageSchema>;

export const RemovedAgentSchema = v.object({ agent_id: v.string(), status: v.literal("removed"), cancelled_events: v.number() });
export type RemovedAgent = v.InferOutput<typeof RemovedAgentSchema>;

export const AuditEntrySchema = v.object({
  seq: v.number(),
  timestamp: Timestamp,
  principal: v.string(),
  action: v.string(),
  event_id: v.optional(v.string()),
  agent_id: v.optional(v.string()),
  /** The claim of the sender (`created_by`), not an identity. */
  user: v.optional(v.string()),
  remote_address: v.optional(v.string()),
  request_id: v.optional(v.string()),
  details: v.optional(v.record(v.string(), v.unknown())),
});
export type AuditEntry = v.InferOutput<typeof AuditEntrySchema>;
export const AuditPageSchema = page(AuditEntrySchema);
export type AuditPage = v.InferOutput<typeof AuditPageSchema>;

/** RFC 9457 problem details, with a stable `code`, the request's id and what to do next. */
export const ProblemSchema = v.looseObject({
  type: v.string(),
  title: v.string(),
  status: v.number(),
  detail: v.string(),
  code: v.string(),
  request_id: v.string(),
  remedy: v.string(),
  pointer: v.optional(v.string()),
  instance: v.optional(v.string()),
});
export type Problem = v.InferOutput<typeof ProblemSchema>;

/** One control plane of those that share a store; `agents` as of at most some seconds ago. */
export const ReplicaViewSchema = v.object({
  id: v.string(),
  version: v.string(),
  /** Where it says that it can be reached. */
  address: v.string(),
  started_at: Timestamp,
  agents: v.number(),
});
export type ReplicaView = v.InferOutput<typeof ReplicaViewSchema>;
export const ReplicasSchema = v.object({ items: v.array(ReplicaViewSchema) });
export type Replicas = v.InferOutput<typeof ReplicasSchema>;

export const VersionSchema = v.object({
  version: v.string(),
  commit: v.string(),
  protocol: v.number(),
  bun: v.string(),
  platform: v.string(),
});
export type VersionView = v.InferOutput<typeof VersionSchema>;
