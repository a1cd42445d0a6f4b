import type { AgentStatus, Registration } from "../protocol/mod.ts";

export interface AgentWrite {
  readonly tenant: string;
  readonly id: string;
  readonly registration: Registration;
  readonly status: AgentStatus;
  readonly principal: string;
  readonly remoteAddress: string;
  readonly connectedAtMs: number | undefined;
  readonly disconnectedAtMs: number | undefined;
  readonly lastSeenMs: number;
  readonly clockOffsetMs: number | undefined;
}
export interface StoredAgent extends AgentWrite {
  readonly paused: boolean;
  /** Of its last connection; 0 when it never had one. Grows with each. */
  readonly epoch: number;
  /** The control plane that it is connected to; undefined while it is not. */
  readonly replicaId: string | undefined;
}
export interface AgentKey {
  readonly tenant: string;
  readonly id: string;
}
export interface AgentSeen extends AgentKey {
  readonly epoch: number;
  readonly status: AgentStatus;
  readonly lastSeenMs: number;
  readonly clockOffsetMs: number | undefined;
  /** The control plane that it is connected to: a store that lost the claim has another, or none. What is stored stays where it is absent. */
  readonly replicaId?: string;
}

export interface AgentClaim {
  readonly agent: AgentWrite;
  readonly replicaId: string;
  /** The highest epoch that the agent remembers; 0 for one that remembers none. A store that lost what came last must not hand out its number again. */
  readonly seenEpoch: number;
}
export interface Claimed {
  /** Above the store's and what the agent has seen. */
  readonly epoch: number;
  readonly paused: boolean;
  /** Who had it before, where that control plane still holds a lease. */
  readonly before: string | undefined;
}
export interface AgentRelease extends AgentKey {
  readonly epoch: number;
  readonly disconnectedAtMs: number;
  readonly lastSeenMs: number;
  readonly clockOffsetMs: number | undefined;
}

export interface AgentQuery {
  readonly tenant: string;
  readonly clusterName?: string;
  readonly limit: number;
  readonly cursor?: string;
}
