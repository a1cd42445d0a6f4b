import { createHash } from "node:crypto";
import { TransporterError } from "../../src/kit/mod.ts";
import type { Registration, State } from "../../src/protocol/mod.ts";
import type { AgentClaim, AgentWrite, EventMeta, NewAudit, NewEvent, PayloadSource, Replica, StatusWrite } from "../../src/stores/mod.ts";

export const TENANT = "default";
/** A fixed moment to count from: 2026-02-10T10:00:00.000Z. */
export const T0 = Date.UTC(2026, 1, 10, 10);
export const HOUR_MS = 3_600_000;

let counter = 0;

/** The text of a payload that is not kept apart. */
export function textOf(source: PayloadSource | undefined): string | undefined {
  return source !== undefined && "text" in source ? source.text : undefined;
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** The code of the TransporterError that a call ends with; "none" when it succeeds. */
export async function codeOf(call: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof call === "function" ? call() : call);
    return "none";
  } catch (error) {
    if (error instanceof TransporterError) return error.code;
    throw error;
  }
}

export interface EventParts extends Partial<Omit<NewEvent, "event" | "audit">> {
  readonly id?: string;
  readonly agentId?: string;
  readonly meta?: Partial<EventMeta>;
  /** Whether the audit entry is more than the least; it always belongs to the event. */
  readonly audit?: Partial<NewAudit>;
}

/** An event as the intake hands it to a store; received at T0, expiring an hour later, waiting for its agent. */
export function newEvent(parts: EventParts = {}): NewEvent {
  counter += 1;
  const { id = `event-${process.pid}-${counter}`, agentId = "agent-1", meta, audit, ...rest } = parts;
  const payloadText = rest.payloadText ?? JSON.stringify({ manifests: [`kind: Namespace # ${id}`] });
  const receivedAtMs = rest.receivedAtMs ?? T0;
  const state = rest.state ?? "queued";
  return {
    tenant: TENANT,
    principal: "local",
    event: {
      id,
      type: "k8s_resource",
      targetAgent: agentId,
      createdAt: "2026-02-10T09:59:59.123456789Z",
      createdAtMs: T0 - 877,
      createdBy: "tester",
      ttlNs: HOUR_MS * 1e6,
      ttlMs: HOUR_MS,
      priority: 0,
      labels: {},
      deadlineMs: undefined,
      notBeforeMs: undefined,
      delayMs: undefined,
      retry: undefined,
      traceparent: undefined,
      extra: {},
      ...meta,
    },
    payloadText,
    payloadDigest: sha256(payloadText),
    payloadBytes: Buffer.byteLength(payloadText),
    contentDigest: sha256(`${agentId}${payloadText}`),
    receivedAtMs,
    expiresAtMs: receivedAtMs + HOUR_MS,
    notBeforeMs: undefined,
    state,
    ...(state === "assigned" ? { epoch: 0 } : {}),
    message: state === "queued" ? "Event queued for offline agent" : "Event assigned to agent",
    audit: {
      tenant: rest.tenant ?? TENANT,
      atMs: receivedAtMs,
      principal: "local",
      action: "event_received_http",
      eventId: id,
      agentId,
      ...audit,
    },
    ...rest,
  };
}

const PHASE_OF: Readonly<Record<State, StatusWrite["phase"]>> = {
  created: "received",
  queued: "received",
  assigned: "received",
  in_progress: "applying",
  completed: "completed",
  failed: "failed",
  expired: "failed",
  cancelled: "failed",
};

/** A status of a 0.1 agent (no revision, boot id or sequence) unless they are given. */
export function statusOf(
  event: { readonly event: { readonly id: string; readonly targetAgent: string } },
  state: State,
  parts: Partial<StatusWrite> = {},
): StatusWrite {
  return {
    tenant: TENANT,
    eventId: event.event.id,
    revision: undefined,
    agentId: event.event.targetAgent,
    epoch: 0,
    bootId: undefined,
    seq: undefined,
    state,
    phase: PHASE_OF[state],
    level: state === "failed" ? "error" : "info",
    message: `now ${state}`,
    details: undefined,
    result: undefined,
    timestamp: "2026-02-10T10:00:01.5Z",
    nowMs: T0 + 1500,
    ...parts,
  };
}

export function anAudit(parts: Partial<NewAudit> = {}): NewAudit {
  return { tenant: TENANT, atMs: T0, principal: "local", action: "test", ...parts };
}

export function anAgent(
  id: string,
  parts: Partial<Omit<AgentWrite, "registration">> & { readonly registration?: Partial<Registration> } = {},
): AgentWrite {
  const { registration, ...rest } = parts;
  return {
    tenant: TENANT,
    id,
    status: "connected",
    principal: `agent:${id}`,
    remoteAddress: "127.0.0.1",
    connectedAtMs: T0,
    disconnectedAtMs: undefined,
    lastSeenMs: T0,
    clockOffsetMs: undefined,
    ...rest,
    registration: { id, name: `Agent ${id}`, cluster_name: "kind", version: "0.2.0", capabilities: ["k8s_crud"], ...registration },
  };
}

/** An agent that comes to `replica-1` and has never seen an epoch. */
export function aClaim(
  id: string,
  parts: Partial<Omit<AgentClaim, "agent">> & { readonly agent?: Parameters<typeof anAgent>[1] } = {},
): AgentClaim {
  const { agent, ...rest } = parts;
  return { agent: anAgent(id, agent), replicaId: "replica-1", seenEpoch: 0, ...rest };
}

export function aReplica(id: string): Replica {
  return { id, version: "0.3.0", address: `127.0.0.1:8080 (${id})`, startedAtMs: T0 };
}
