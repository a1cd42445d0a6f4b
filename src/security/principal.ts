import type { PrincipalKindSchema, PrincipalViaSchema, Role, Scope } from "../protocol/mod.ts";
import type { InferOutput } from "valibot";

export type PrincipalKind = InferOutput<typeof PrincipalKindSchema>;
export type PrincipalVia = InferOutput<typeof PrincipalViaSchema>;

/** Who is behind a request, an event, an agent or an audit line, and what they may do. Always there; where nobody is asked it is anonymous. */
export interface Principal {
  readonly tenant: string;
  /** `token:NAME`, `oidc:SUBJECT`, `cert:NAME`, `agent:ID`, `queue:DRIVER`, `legacy`, `anonymous`. */
  readonly name: string;
  readonly kind: PrincipalKind;
  readonly via: PrincipalVia;
  readonly role: Role;
  /** Undefined: no restriction within the role. */
  readonly scope?: Scope;
  /** What has to be revoked to end it: the id of its token, or of the agent's identity. */
  readonly credential?: string;
  readonly expiresAtMs?: number;
}

export const DEFAULT_TENANT = "default";

/** Where nobody has to prove who they are, anybody may do anything. */
export const ANONYMOUS: Principal = { tenant: DEFAULT_TENANT, name: "anonymous", kind: "anonymous", via: "none", role: "admin" };

/** Whoever asks what anybody may, where everything else is refused to those who do not show who they are. */
export const NOBODY: Principal = {
  tenant: DEFAULT_TENANT,
  name: "nobody",
  kind: "anonymous",
  via: "none",
  role: "viewer",
  scope: { agents: [] },
};

/** Who handed in what came by a queue: whoever the broker lets publish. */
export function queuePrincipal(driver: string): Principal {
  return { tenant: DEFAULT_TENANT, name: `queue:${driver}`, kind: "system", via: "queue", role: "producer" };
}

/** An agent; `via` says whether it proved more than its id. */
export function agentPrincipal(agentId: string, via: "none" | "legacy" | "proof" = "none"): Principal {
  return {
    tenant: DEFAULT_TENANT,
    name: `agent:${agentId}`,
    kind: "agent",
    via,
    role: "agent",
    scope: { agents: [agentId] },
    ...(via === "proof" ? { credential: `agent:${agentId}` } : {}),
  };
}

/** Whoever hands events in by the listener that 0.1 has: nobody knows who, so only for the agents that were named for it. */
export function legacyPrincipal(agentIds: readonly string[]): Principal {
  return { tenant: DEFAULT_TENANT, name: "legacy", kind: "anonymous", via: "legacy", role: "producer", scope: { agents: [...agentIds] } };
}
