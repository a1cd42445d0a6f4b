import type { Random } from "../kit/mod.ts";
import {
  type Accepted,
  AcceptedSchema,
  type AgentPage,
  AgentPageSchema,
  type AgentView,
  AgentViewSchema,
  type AuditPage,
  AuditPageSchema,
  type Cancelled,
  CancelledSchema,
  type EventDetail,
  EventDetailSchema,
  type EventPage,
  EventPageSchema,
  type LogEntry,
  type RemovedAgent,
  type Replicas,
  ReplicasSchema,
  type Retried,
  RetriedSchema,
  RemovedAgentSchema,
  type State,
  type VersionView,
  VersionSchema,
} from "../protocol/mod.ts";
import { type CallOptions, callerOf, checked } from "./caller.ts";
import { type SecurityClient, securityCalls } from "./security-calls.ts";
import { type StreamOptions, streamEntries } from "./stream.ts";
import { Transport, type TransportOptions } from "./transport.ts";

export interface ClientOptions extends TransportOptions {
  readonly random: Random;
}

export interface EventFilter {
  readonly states?: readonly State[] | undefined;
  readonly agent?: string | undefined;
  readonly type?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly createdBy?: string | undefined;
  /** RFC 3339, or a Go duration ago. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

export interface AgentFilter {
  readonly cluster?: string | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

export interface AuditFilter {
  readonly action?: string | undefined;
  readonly event?: string | undefined;
  readonly agent?: string | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

export interface Readiness {
  readonly ready: boolean;
  /** One line per part, as the control plane words them. */
  readonly text: string;
}

export interface SubmitCall extends CallOptions {
  readonly idempotencyKey?: string | undefined;
  /** The event says more than 0.1 knows (`needsOperations`). */
  readonly saysMore?: boolean | undefined;
}

/** The control plane's API, typed. Every method throws the error that the control plane answered with, or CP_UNREACHABLE, CP_ANSWER. */
export interface Client extends SecurityClient {
  readonly baseUrl: string;
  /** Hands an event in, as JSON text. The same event handed in again gets the same answer. */
  submit(eventJson: string, options?: SubmitCall): Promise<Accepted>;
  listEvents(filter: EventFilter, options?: CallOptions): Promise<EventPage>;
  getEvent(id: string, options?: CallOptions & { readonly payload?: boolean }): Promise<EventDetail>;
  /** `cancelling`: its agent is told; follow the event to see how it ends. */
  cancelEvent(id: string, options?: CallOptions): Promise<Cancelled>;
  /** Makes the next revision of an event that has ended. */
  retryEvent(id: string, options?: CallOptions): Promise<Retried>;
  /** From the beginning, or after `afterSeq`, until the event is finished. */
  followEvent(id: string, options?: StreamOptions): AsyncGenerator<LogEntry>;
  /** Every entry of every event from now on, without end. */
  followAll(options?: StreamOptions): AsyncGenerator<LogEntry>;
  listAgents(filter: AgentFilter, options?: CallOptions): Promise<AgentPage>;
  getAgent(id: string, options?: CallOptions): Promise<AgentView>;
  removeAgent(id: string, options?: CallOptions): Promise<RemovedAgent>;
  pauseAgent(id: string, options?: CallOptions): Promise<AgentView>;
  resumeAgent(id: string, options?: CallOptions): Promise<AgentView>;
  /** The control planes that share this one's store, itself included. */
  listReplicas(options?: CallOptions): Promise<Replicas>;
  listAudit(filter: AuditFilter, options?: CallOptions): Promise<AuditPage>;
  version(options?: CallOptions): Promise<VersionView>;
  readiness(options?: CallOptions): Promise<Readiness>;
  /** Any other GET, as text: for reports and checks. */
  text(path: string, options?: CallOptions): Promise<{ readonly status: number; readonly body: string }>;
}

export function createClient(options: ClientOptions): Client {
  const transport = new Transport(options);
  const caller = callerOf(transport);
  const { get, change, segment, withQuery } = caller;

  return {
    ...securityCalls(caller),
    baseUrl: transport.baseUrl,
    async submit(eventJson, call = {}) {
      const what = "submitting the event";
      const { idempotencyKey, saysMore } = call;
      return checked(
        AcceptedSchema,
        // Not under /v1: this is the one call that a 0.1 control plane answers too. It would drop what it does not know, and have applied what is
        // to be deleted, so what says more goes where 0.1 has nothing.
        await transport.json({
          method: "POST",
          path: saysMore === true ? "/v1/events" : "/events",
          body: eventJson,
          what,
          signal: call.signal,
          ...(idempotencyKey === undefined ? {} : { headers: { "idempotency-key": idempotencyKey } }),
        }),
        what,
      );
    },
    listEvents: (filter, call) =>
      get(
        EventPageSchema,
        withQuery("/v1/events", [
          ["state", filter.states === undefined || filter.states.length === 0 ? undefined : filter.states.join(",")],
          ["agent", filter.agent],
          ["type", filter.type],
          ...Object.entries(filter.labels ?? {}).map(([key, value]) => ["label", `${key}=${value}`] as const),
          ["created_by", filter.createdBy],
          ["since", filter.since],
          ["until", filter.until],
          ["limit", filter.limit],
          ["cursor", filter.cursor],
        ]),
        "listing events",
        call,
      ),
    getEvent: (id, call) =>
      get(
        EventDetailSchema,
        withQuery(`/v1/events/${segment(id)}`, [["payload", call?.payload === true ? "true" : undefined]]),
        `reading event ${id}`,
        call,
      ),
    cancelEvent: (id, call) => change(CancelledSchema, "DELETE", `/v1/events/${segment(id)}`, `cancelling event ${id}`, call),
    retryEvent: (id, call) => change(RetriedSchema, "POST", `/v1/events/${segment(id)}/retry`, `trying event ${id} again`, call),
    followEvent: (id, stream = {}) =>
      streamEntries(transport, options.random, { path: `/v1/events/${segment(id)}/stream`, what: `following event ${id}` }, stream),
    followAll: (stream = {}) => streamEntries(transport, options.random, { path: "/v1/stream", what: "following all events" }, stream),
    listAgents: (filter, call) =>
      get(
        AgentPageSchema,
        withQuery("/v1/agents", [
          ["cluster", filter.cluster],
          ["limit", filter.limit],
          ["cursor", filter.cursor],
        ]),
        "listing agents",
        call,
      ),
    getAgent: (id, call) => get(AgentViewSchema, `/v1/agents/${segment(id)}`, `reading agent ${id}`, call),
    removeAgent: (id, call) => change(RemovedAgentSchema, "DELETE", `/v1/agents/${segment(id)}`, `removing agent ${id}`, call),
    pauseAgent: (id, call) => change(AgentViewSchema, "POST", `/v1/agents/${segment(id)}/pause`, `pausing agent ${id}`, call),
    resumeAgent: (id, call) => change(AgentViewSchema, "POST", `/v1/agents/${segment(id)}/resume`, `resuming agent ${id}`, call),
    listReplicas: (call) => get(ReplicasSchema, "/v1/replicas", "listing control planes", call),
    listAudit: (filter, call) =>
      get(
        AuditPageSchema,
        withQuery("/v1/audit", [
          ["action", filter.action],
          ["event", filter.event],
          ["agent", filter.agent],
          ["since", filter.since],
          ["until", filter.until],
          ["limit", filter.limit],
          ["cursor", filter.cursor],
        ]),
        "reading the audit",
        call,
      ),
    version: (call) => get(VersionSchema, "/v1/version", "asking for the version", call),
    async readiness(call = {}) {
      const answer = await transport.ask({
        method: "GET",
        path: "/readyz?verbose",
        what: "asking whether it is ready",
        accept: "*/*",
        signal: call.signal,
      });
      return { ready: answer.status === 200, text: answer.body };
    },
    async text(path, call = {}) {
      const answer = await transport.ask({ method: "GET", path, what: `reading ${path}`, accept: "*/*", signal: call.signal });
      return { status: answer.status, body: answer.body };
    },
  };
}
