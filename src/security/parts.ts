import type { Logger, Ports } from "../kit/mod.ts";
import type { Documents } from "./documents.ts";
import type { AttemptLimiter } from "./rate-limit.ts";
import type { RefusalAudit } from "./refusal-audit.ts";

/** What every part of this room is made with. */
export interface Parts {
  readonly documents: Documents;
  readonly ports: Ports;
  readonly log: Logger;
  readonly tenant: string;
  /** For what checks a secret or a signature, by address. */
  readonly attempts: AttemptLimiter;
  /** For enrolments and renewals that succeed, by address: they sign, which costs more than to check. */
  readonly signings: AttemptLimiter;
  readonly refusals: RefusalAudit;
  /** The installation's id: what challenges name as their audience. */
  readonly audience: string;
}

/** An enrolment token that was shown in full. Whether it is still good is for whoever asks: times and revocation are told. */
export interface EnrolmentToken {
  readonly id: string;
  readonly name: string;
  /** The id that the agent must have, or a pattern of it with `*`. */
  readonly agent: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdBy: string;
  readonly createdAtMs: number;
  /** Whose key it is bound to by now. */
  readonly usedBy: { readonly agentId: string; readonly keySha256: string; readonly atMs: number } | undefined;
}

/** What enrolment asks of tokens. */
export interface EnrolmentTokens {
  /** The token if it is one, its secret fits, and it is neither past its time nor revoked; `why` says what is wrong otherwise, for the audit. */
  find(bearer: string): Promise<{ readonly token: EnrolmentToken } | { readonly why: string; readonly id: string | undefined }>;
  /** Binds it to this agent and key, once for all control planes; true too where it is bound to just these already. */
  bind(id: string, to: { readonly agentId: string; readonly keySha256: string }): Promise<boolean>;
}

/** A ServiceAccount of a cluster that is trusted to vouch for its agents. */
export interface ClusterAccount {
  readonly cluster: string;
  /** `system:serviceaccount:NAMESPACE:NAME`. */
  readonly subject: string;
  /** The pattern that the agent's id must match. */
  readonly agent: string;
}

/** What enrolment asks of trusted clusters. */
export interface ClusterAccounts {
  /** Whether this looks like a JWT of a cluster, rather than like one of our tokens. */
  claims(bearer: string): boolean;
  /** ISSUER_UNAVAILABLE where the cluster's keys cannot be had. */
  verify(bearer: string): Promise<{ readonly account: ClusterAccount } | { readonly why: string }>;
}
