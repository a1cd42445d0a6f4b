import { type Ports, TransporterError } from "../kit/mod.ts";
import { type Access, type Action, ACTIONS, type Principal, type Target } from "../security/mod.ts";
import type { Scope } from "../protocol/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { Registry } from "./registry.ts";

/** Stands in until the room of security has its own: no selector is understood. */
function inScope(scope: Scope, target: Target): boolean {
  const matches = (pattern: string): boolean => new Bun.Glob(pattern).match(target.agentId);
  if (scope.agents !== undefined && !scope.agents.some(matches)) return false;
  if (scope.selector !== undefined) return false;
  return scope.event_types === undefined || target.eventType === undefined || scope.event_types.some((type) => type === target.eventType);
}

type Labels = Readonly<Record<string, string>>;

/** What another control plane or an enrolment changed is seen after this. */
const FRESH_MS = 5_000;
const MAX_REMEMBERED = 10_000;
const NO_LABELS: Labels = {};

export interface PermitsOptions {
  readonly registry: Pick<Registry, "get">;
  readonly store: Pick<Store, "getAgent" | "getEvent">;
  readonly ports: Pick<Ports, "clock">;
  /** What enrolment gave an agent goes over what it says of itself; undefined where nobody enrols. */
  readonly granted?: (agentId: string) => Promise<Labels | undefined>;
}

interface Remembered<T> {
  readonly value: T;
  readonly atMs: number;
}

/** Whether somebody has a scope at all: an empty one restricts nothing. */
export function isScoped({ scope }: Principal): boolean {
  return scope !== undefined && (scope.agents !== undefined || scope.selector !== undefined || scope.event_types !== undefined);
}

/** Throws ACCESS_DENIED unless the role may do this, and over the whole installation only for whoever has no scope. */
export function requireRole(principal: Principal, action: Action): void {
  const { roles, over }: { readonly roles: readonly string[]; readonly over: string } = ACTIONS[action];
  if (!roles.includes(principal.role))
    throw new TransporterError("ACCESS_DENIED", `${principal.name} has the role ${principal.role}; ${action} is for ${roles.join(", ")}`, {
      details: { action },
    });
  if (over === "installation" && isScoped(principal))
    throw new TransporterError("ACCESS_DENIED", `${principal.name} has a scope; ${action} is over the whole installation`, {
      details: { action },
    });
}

/**
 * Whether what is asked lies within the scope of whoever asks. Answers at once wherever it can, which is for everybody without a selector:
 * only a selector needs the agent's labels, from its socket where it is connected here, else from the store.
 */
export class Permits {
  readonly #options: PermitsOptions;
  readonly #labels = new Map<string, Remembered<Labels>>();
  readonly #types = new Map<string, string>();

  constructor(options: PermitsOptions) {
    this.#options = options;
  }

  sees(principal: Principal, target: Target): boolean | Promise<boolean> {
    const { scope } = principal;
    if (scope === undefined) return true;
    if (scope.selector === undefined || target.agentLabels !== undefined) return inScope(scope, target);
    const labels = this.labelsOf(principal.tenant, target.agentId);
    if (!(labels instanceof Promise)) return inScope(scope, { ...target, agentLabels: labels });
    return labels.then((agentLabels) => inScope(scope, { ...target, agentLabels }));
  }

  /** As `sees`, of something that is known by its event alone. What nobody knows any more is seen by nobody with a scope. */
  async seesEvent(principal: Principal, agentId: string, eventId: string): Promise<boolean> {
    if (principal.scope?.event_types === undefined) return this.sees(principal, { agentId });
    const eventType = await this.#typeOf(principal.tenant, eventId);
    return eventType !== undefined && this.sees(principal, { agentId, eventType });
  }

  /** Throws ACCESS_DENIED for what `principal` does not see. */
  require(principal: Principal, action: Access, target: Target): void | Promise<void> {
    const seen = this.sees(principal, target);
    if (seen instanceof Promise)
      return seen.then((sees) => {
        if (!sees) throw beyond(principal, action, target);
      });
    if (!seen) throw beyond(principal, action, target);
  }

  /** An agent that never came and was never enrolled has none. */
  labelsOf(tenant: string, agentId: string): Labels | Promise<Labels> {
    const nowMs = this.#options.ports.clock.monotonic();
    const known = this.#labels.get(`${tenant} ${agentId}`);
    if (known !== undefined && nowMs - known.atMs < FRESH_MS) return known.value;
    return this.#look(tenant, agentId, nowMs);
  }

  async #look(tenant: string, agentId: string, atMs: number): Promise<Labels> {
    const { registry, store, granted } = this.#options;
    const session = registry.get(agentId);
    const registration = session === undefined ? (await store.getAgent(tenant, agentId))?.registration : session.registration;
    const given = await granted?.(agentId);
    const value = { ...(registration?.labels ?? NO_LABELS), ...given };
    remember(this.#labels, `${tenant} ${agentId}`, { value, atMs });
    return value;
  }

  /** What an event is of never changes. */
  async #typeOf(tenant: string, eventId: string): Promise<string | undefined> {
    const known = this.#types.get(eventId);
    if (known !== undefined) return known;
    const type = (await this.#options.store.getEvent(tenant, eventId, { payload: false, log: false }))?.event.type;
    if (type !== undefined) remember(this.#types, eventId, type);
    return type;
  }
}

/** Those that were asked for longest ago go first. */
function remember<T>(into: Map<string, T>, key: string, value: T): void {
  into.delete(key);
  into.set(key, value);
  if (into.size <= MAX_REMEMBERED) return;
  for (const oldest of into.keys()) {
    into.delete(oldest);
    return;
  }
}

function beyond(principal: Principal, action: Access, { agentId, eventType }: Target): TransporterError {
  const what = eventType === undefined ? `agent ${agentId}` : `${eventType} at agent ${agentId}`;
  return new TransporterError("ACCESS_DENIED", `${what} lies beyond the scope of ${principal.name}`, { details: { action } });
}
