import type { State } from "../protocol/mod.ts";

export interface NewAudit {
  readonly tenant: string;
  readonly atMs: number;
  readonly principal: string;
  readonly action: string;
  readonly eventId?: string;
  readonly agentId?: string;
  /** The sender's claim. */
  readonly user?: string;
  readonly remoteAddress?: string;
  readonly requestId?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}
export interface AuditQuery {
  readonly tenant: string;
  readonly action?: string;
  readonly eventId?: string;
  readonly agentId?: string;
  readonly sinceMs?: number;
  readonly untilMs?: number;
  readonly limit: number;
  readonly cursor?: string;
}

export type EventCounters = Readonly<Record<State | "total", number>>;
export interface OpenCounts {
  /** Waiting for their agent (`created`, `queued`) and handed over (`assigned`, `in_progress`). */
  readonly queued: number;
  readonly inFlight: number;
  readonly byAgent: ReadonlyMap<string, { readonly queued: number; readonly inFlight: number }>;
}

export interface SweepInput {
  readonly finishedBeforeMs: number;
  readonly auditBeforeMs: number;
  /** Documents past their time by this clock are removed as well. */
  readonly nowMs?: number;
  readonly limit: number;
}
/** How many were removed of each. */
export interface Swept {
  readonly events: number;
  readonly audit: number;
  readonly documents: number;
}
