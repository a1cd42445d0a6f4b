/** Who is behind a request, an event, an agent or an audit line. Always there; without security configured it is anonymous. */
export interface Principal {
  readonly tenant: string;
  readonly name: string;
  readonly kind: "anonymous" | "user" | "agent";
}

export const DEFAULT_TENANT = "default";
export const ANONYMOUS: Principal = { tenant: DEFAULT_TENANT, name: "anonymous", kind: "anonymous" };

/** Who handed in what came by a queue: whoever the broker lets publish. */
export function queuePrincipal(driver: string): Principal {
  return { tenant: DEFAULT_TENANT, name: `queue:${driver}`, kind: "anonymous" };
}

/** An agent that proved nothing but its id, as all do until identities are configured. */
export function agentPrincipal(agentId: string): Principal {
  return { tenant: DEFAULT_TENANT, name: `agent:${agentId}`, kind: "agent" };
}
