import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import { CLOSE, type StatusUpdate } from "../protocol/mod.ts";
import type { Security } from "../security/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { AgentDoor } from "./agent-door.ts";
import { type Answer, type Asked, Entrance, type Entrant } from "./entrance.ts";
import { IdentityWatch } from "./identity-watch.ts";
import type { Legacy } from "./legacy.ts";
import type { Registry } from "./registry.ts";
import type { AgentSession } from "./session.ts";
import { StatusRefusals } from "./status-refusals.ts";
import { TrustNews } from "./trust-news.ts";

/** Who enrols while connected without an identity is noticed within this. */
const LEGACY_LOOK_MS = 5_000;

/** What of the security of a control plane is about agents. */
export type AgentSecurity = Pick<Security, "identities" | "trust" | "onEnded" | "refusals">;

export interface GatehouseOptions {
  /** Undefined: nobody is asked who they are, and all below does nothing. */
  readonly security: AgentSecurity | undefined;
  /** Who comes without an identity by the listener of 0.1; undefined where there is none. */
  readonly legacy: Legacy | undefined;
  readonly tenant: string;
  readonly store: Store;
  /** Of this control plane. */
  readonly replicaId: string;
  readonly registry: Registry;
  readonly ports: Ports;
  readonly log: Logger;
}

/** All that the gateway has to do with who agents are: whom it lets in, for how long, what they may say, and what they are to trust. */
export class Gatehouse {
  readonly #options: GatehouseOptions;
  readonly #entrance: Entrance;
  readonly #watch: IdentityWatch | undefined;
  readonly #news: TrustNews | undefined;
  readonly #statuses: StatusRefusals | undefined;
  #legacyTimer: TimerHandle | undefined;

  constructor(options: GatehouseOptions) {
    this.#options = options;
    const { security, store, ports, log, tenant, registry } = options;
    this.#entrance = new Entrance(options);
    if (security === undefined) return;
    this.#statuses = new StatusRefusals({ store, tenant, refusals: security.refusals, log });
    this.#news = new TrustNews({ trust: security.trust, sessions: () => registry.values(), ports });
    this.#watch = new IdentityWatch({ security, registry, ports, log, onEnded: (session, why) => this.#ended(session, why) });
  }

  start(): void {
    const { legacy, ports } = this.#options;
    this.#news?.start();
    this.#watch?.start();
    if (legacy !== undefined)
      this.#legacyTimer = ports.timers.every(LEGACY_LOOK_MS, () => void this.#lookAtLegacy(legacy), { background: true });
  }

  stop(): void {
    this.#legacyTimer?.cancel();
    this.#news?.stop();
    this.#watch?.stop();
  }

  /** What is to be said to a socket before it says anything. */
  ask(door: AgentDoor): Asked | undefined {
    return this.#entrance.ask(door);
  }

  /**
   * Lets an agent in, or throws: IDENTITY_REQUIRED, IDENTITY_REFUSED, IDENTITY_EXPIRED, IDENTITY_REVOKED, IDENTITY_CONFLICT,
   * TOO_MANY_ATTEMPTS, STORE_UNAVAILABLE. `entered` has to be told when it is registered, or is not.
   */
  async admit(answer: Answer): Promise<{ readonly entrant: Entrant; readonly stands: (session: AgentSession) => Promise<boolean> }> {
    const endings = this.#watch?.endings ?? 0;
    const entrant = await this.#entrance.admit(answer);
    return { entrant, stands: (session) => this.#watch?.stands(session, endings) ?? Promise.resolve(true) };
  }

  entered(entrant: Entrant): void {
    this.#entrance.entered(entrant);
  }

  connected(session: AgentSession): void {
    const { verified, principal } = session.entrant;
    if (verified !== undefined) this.#news?.connected(session);
    if (principal.via === "legacy")
      this.#options.log.warn("Agent let in without showing who it is", {
        agent_id: session.agentId,
        remote_address: session.remoteAddress,
      });
  }

  disconnected(session: AgentSession): void {
    this.#news?.disconnected(session);
  }

  /** A status in another agent's name, which was not stored. */
  foreign(session: AgentSession, update: StatusUpdate): void {
    this.#statuses?.foreign(session, update);
  }

  /** A status of an event that this agent does not have. */
  unknown(session: AgentSession, update: StatusUpdate): void {
    if (session.entrant.principal.via !== "none") void this.#statuses?.unknown(session, update);
  }

  /** Whoever was given an identity has to show it from then on: what comes under its id without one may be anybody. */
  async #lookAtLegacy(legacy: Legacy): Promise<void> {
    const { registry, log } = this.#options;
    const sessions = [...registry.values()].filter(({ entrant }) => entrant.principal.via === "legacy");
    try {
      for (const session of sessions) {
        const why = await legacy.why(session.agentId);
        if (why !== undefined) session.close(CLOSE.identityRefused, why);
      }
    } catch (error) {
      log.warn("Agents' identities could not be looked at", { agents: sessions.length, error: messageOf(error) });
    }
  }

  #ended(session: AgentSession, why: "revoked" | "expired"): void {
    this.#options.log.warn(why === "revoked" ? "Agent's identity was revoked" : "Agent's certificate ran out", {
      agent_id: session.agentId,
      remote_address: session.remoteAddress,
    });
    // What it says from here on counts no more, nor does what waits to be stored.
    session.fence();
    session.close(CLOSE.identityEnded, why === "revoked" ? "the agent's identity was revoked" : "the agent's certificate ran out");
  }
}
