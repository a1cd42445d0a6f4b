import { CAPABILITY_OF_TYPE, type EventType } from "../protocol/mod.ts";

/** What the router has to know of an agent that is connected. */
export interface Candidate {
  readonly paused: boolean;
  readonly capabilities: readonly string[];
}

export type Route =
  | { readonly kind: "send" }
  /** It stays in the store until the agent takes it. */
  | { readonly kind: "wait"; readonly why: string }
  /** No waiting can help: the connected agent cannot do work of this type. */
  | { readonly kind: "refuse"; readonly why: string };

/** Decides what becomes of an event for an agent. Pure; `agent` is undefined while it is not connected. */
export function route(type: EventType, agentId: string, agent: Candidate | undefined): Route {
  if (agent === undefined) return { kind: "wait", why: `agent ${agentId} is not connected` };
  if (agent.paused) return { kind: "wait", why: `delivery to agent ${agentId} is paused` };
  const needed = CAPABILITY_OF_TYPE[type];
  if (!agent.capabilities.includes(needed)) {
    return {
      kind: "refuse",
      why: `agent ${agentId} has no capability ${needed} for ${type} events; it has ${agent.capabilities.join(", ")}`,
    };
  }
  return { kind: "send" };
}
