import type { AgentKey } from "./agents.ts";
import type { DocumentKey } from "./documents.ts";

/** A control plane among those that share a store. */
export interface Replica {
  /** Of its own for each start of the process. */
  readonly id: string;
  readonly version: string;
  /** Where it says that it can be reached; for people. */
  readonly address: string;
  readonly startedAtMs: number;
  /** How many agents it holds, as of its last renewal; kept by the store as it was given. */
  readonly agents?: { readonly connected: number; readonly registered: number };
}
export interface LeaseInput {
  readonly replica: Replica;
  readonly ttlMs: number;
  readonly nowMs: number;
}
export interface Lease {
  /** Those with a lease, this one included, by id. */
  readonly replicas: readonly Replica[];
  /** This one had none any more: its agents stood as disconnected, and others may have them. */
  readonly lapsed: boolean;
  /** Agents that stand as disconnected since this call, because their control plane has no lease any more. */
  readonly orphaned: readonly AgentKey[];
}

/** What one control plane at a time does for all. */
export type Duty = "expiry" | "retention" | "publish";

/**
 * What another control plane did, told right after it was durable. Words may be lost, repeated, late or out of order: whoever hears one looks
 * into the store. `words.ts` says which follow from what.
 * - `queued`: something waits for this agent, of this priority where that is known.
 * - `entry`: the log of this event has grown.
 * - `ended`: this delivery is over, by no word of its agent.
 * - `recall`: somebody wants this delivery back.
 * - `claimed`: the agent is owned elsewhere, with this epoch.
 * - `agent`: it was paused, or goes on, or was removed.
 * - `document`: it was written.
 */
export type Word =
  | { readonly kind: "queued"; readonly agentId: string; readonly priority: number | undefined }
  | { readonly kind: "entry"; readonly eventId: string }
  | { readonly kind: "ended"; readonly eventId: string; readonly agentId: string; readonly revision: number }
  | { readonly kind: "recall"; readonly eventId: string; readonly agentId: string; readonly revision: number }
  | { readonly kind: "claimed"; readonly agentId: string; readonly epoch: number; readonly replicaId: string }
  | { readonly kind: "agent"; readonly agentId: string; readonly change: "paused" | "resumed" | "removed" }
  | { readonly kind: "document"; readonly document: DocumentKey };

export interface WordListener {
  words(words: readonly Word[]): void;
  /** Some were certainly lost, as the way that they come was broken: everything may have changed. */
  gap(): void;
}
