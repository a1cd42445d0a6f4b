import type { Ports } from "../kit/mod.ts";
import { type Action, allows, demand, needsLabels, type Principal, type Target } from "../security/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { Registry } from "./registry.ts";

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

  sees(principal: Principal, action: Action, target: Target): boolean | Promise<boolean> {
    const whole = this.#withLabels(principal, target);
    return whole instanceof Promise ? whole.then((known) => allows(principal, action, known)) : allows(principal, action, whole);
  }

  /** As `sees`, of something that is known by its event alone. What nobody knows any more is seen by nobody whose scope says types. */
  async seesEvent(principal: Principal, action: Action, agentId: string, eventId: string): Promise<boolean> {
    if (principal.scope?.event_types === undefined) return this.sees(principal, action, { agentId });
    const eventType = await this.#typeOf(principal.tenant, eventId);
    return eventType !== undefined && this.sees(principal, action, { agentId, eventType });
  }

  /** Throws ACCESS_DENIED for what `principal` may not do. */
  require(principal: Principal, action: Action, target: Target): void | Promise<void> {
    const whole = this.#withLabels(principal, target);
    if (whole instanceof Promise) return whole.then((known) => demand(principal, action, known));
    demand(principal, action, whole);
  }

  #withLabels(principal: Principal, target: Target): Target | Promise<Target> {
    if (!needsLabels(principal) || target.agentLabels !== undefined) return target;
    const labels = this.labelsOf(principal.tenant, target.agentId);
    if (labels instanceof Promise) return labels.then((agentLabels) => ({ ...target, agentLabels }));
    return { ...target, agentLabels: labels };
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
