import type { Role } from "../protocol/mod.ts";

/**
 * Everything that can be asked of a control plane, who may, and over what it reaches.
 * - `agents`: it is about one agent, or what is for it: a principal's scope decides besides the role. Lists and streams are filtered.
 * - `installation`: it is about all: only principals without a scope.
 * - `status`: it tells nothing of any agent: a scope changes nothing.
 */
export const ACTIONS = {
  "events:create": { roles: ["producer", "operator", "admin"], over: "agents" },
  "events:read": { roles: ["viewer", "producer", "operator", "admin", "agent"], over: "agents" },
  /** Payloads may hold Secrets. */
  "events:read-payload": { roles: ["operator", "admin", "agent"], over: "agents" },
  "events:cancel": { roles: ["producer", "operator", "admin"], over: "agents" },
  "events:retry": { roles: ["producer", "operator", "admin"], over: "agents" },
  "agents:read": { roles: ["viewer", "producer", "operator", "admin", "agent"], over: "agents" },
  "agents:pause": { roles: ["operator", "admin"], over: "agents" },
  "agents:remove": { roles: ["operator", "admin"], over: "agents" },
  "audit:read": { roles: ["operator", "admin"], over: "agents" },
  "status:read": { roles: ["viewer", "producer", "operator", "admin", "agent"], over: "status" },
  /** Tokens that let an agent in, approval, revocation: over the agents that they are for. */
  "enrolments:manage": { roles: ["operator", "admin"], over: "agents" },
  "tokens:manage": { roles: ["admin"], over: "installation" },
} as const satisfies Record<string, { readonly roles: readonly Role[]; readonly over: "agents" | "installation" | "status" }>;

export type Action = keyof typeof ACTIONS;

/** Who may call an endpoint: everybody; everybody who is somebody; or whoever may do this. */
export type Access = "public" | "authenticated" | Action;

/** What an action is about, as far as a scope can tell. */
export interface Target {
  readonly agentId: string;
  /** Of the agent, those that its enrolment gave it over its own; undefined where nobody looked yet. */
  readonly agentLabels?: Readonly<Record<string, string>>;
  readonly eventType?: string;
}
