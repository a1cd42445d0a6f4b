import { TransporterError } from "../kit/mod.ts";
import type { Role } from "../protocol/mod.ts";
import { type Action, ACTIONS, type Target } from "./access.ts";
import type { Principal } from "./principal.ts";
import { isScoped, outsideScope } from "./scope.ts";

/** Whether somebody may, and why not. The reason names nothing that whoever asks does not know. */
export type Verdict = { readonly allowed: true } | { readonly allowed: false; readonly reason: string };

const ALLOWED: Verdict = { allowed: true };
const rolesOf = (action: Action): readonly Role[] => ACTIONS[action].roles;

/**
 * Whether `principal` may do this to `target`. Without a target: whether the role may at all, for what is filtered afterwards; an action over
 * the installation needs nobody's target and is refused to everybody with a scope.
 */
export function judge(principal: Principal, action: Action, target?: Target): Verdict {
  if (!rolesOf(action).includes(principal.role)) {
    return { allowed: false, reason: `the role ${principal.role} does not include ${action}` };
  }
  const { over } = ACTIONS[action];
  if (over === "status" || !isScoped(principal.scope)) return ALLOWED;
  if (over === "installation") return { allowed: false, reason: `${action} is about all agents, and the scope is not` };
  if (target === undefined) return ALLOWED;
  // An agent is itself and nobody else, even where its id looks like a pattern.
  if (principal.kind === "agent" && principal.name !== `agent:${target.agentId}`) return outside("agent");
  const what = outsideScope(principal.scope, target, action.startsWith("events:"));
  return what === undefined ? ALLOWED : outside(what);
}

function outside(what: "agent" | "labels" | "event type"): Verdict {
  return { allowed: false, reason: what === "labels" ? "the agent's labels are not of the scope" : `the ${what} is not of the scope` };
}

export function allows(principal: Principal, action: Action, target?: Target): boolean {
  return judge(principal, action, target).allowed;
}

/** Throws ACCESS_DENIED unless it is allowed. */
export function demand(principal: Principal, action: Action, target?: Target): void {
  const verdict = judge(principal, action, target);
  if (verdict.allowed) return;
  throw new TransporterError("ACCESS_DENIED", `${principal.name} may not: ${verdict.reason}`, { details: { action } });
}

/** Whether the labels of a target decide, so that somebody has to look them up. */
export function needsLabels(principal: Principal): boolean {
  return principal.scope?.selector !== undefined;
}
