import { CAPABILITY_OF_TYPE, OPERATIONS_CAPABILITY } from "../protocol/mod.ts";
import type { EventMeta } from "../stores/mod.ts";

/** What the router has to know of an agent that is connected. */
export interface Candidate {
  readonly paused: boolean;
  readonly capabilities: readonly string[];
}

/** What the router has to know of an event. */
export type Wanted = Pick<EventMeta, "type" | "operation">;

export type Route =
  | { readonly kind: "send" }
  /** It stays in the store until the agent takes it. */
  | { readonly kind: "wait"; readonly why: string }
  /** No waiting can help: the connected agent cannot do this. */
  | { readonly kind: "refuse"; readonly why: string };

/** What an agent cannot do of an event; undefined where it can do all of it. An agent that does not know operations would apply what is to be deleted. */
function lacking({ type, operation }: Wanted, agentId: string, { capabilities }: Candidate): string | undefined {
  const needed = CAPABILITY_OF_TYPE[type];
  const has = `it has ${capabilities.join(", ")}`;
  if (!capabilities.includes(needed)) return `agent ${agentId} has no capability ${needed} for ${type} events; ${has}`;
  if (operation === undefined || capabilities.includes(OPERATIONS_CAPABILITY)) return undefined;
  const what = operation === "apply" ? "how this apply is to be done" : `the operation ${operation}`;
  return `agent ${agentId} has no capability ${OPERATIONS_CAPABILITY} and would not heed ${what}; ${has}; upgrade it`;
}

/** Decides what becomes of an event for an agent. Pure; `agent` is undefined while it is not connected. */
export function route(wanted: Wanted, agentId: string, agent: Candidate | undefined): Route {
  if (agent === undefined) return { kind: "wait", why: `agent ${agentId} is not connected` };
  if (agent.paused) return { kind: "wait", why: `delivery to agent ${agentId} is paused` };
  const why = lacking(wanted, agentId, agent);
  return why === undefined ? { kind: "send" } : { kind: "refuse", why };
}
