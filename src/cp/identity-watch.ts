import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Security } from "../security/mod.ts";
import type { Registry } from "./registry.ts";
import type { AgentSession } from "./session.ts";

/** Certificates are looked at that often; revocation is told. */
const LOOK_MS = 1_000;
/** After a store that did not answer, and while it is asked. */
const AGAIN_MS = 2_000;
/** Identities that are asked for at the same time, when all are. */
const AT_ONCE = 32;
const AGENT = "agent:";

export interface IdentityWatchOptions {
  readonly security: Pick<Security, "identities" | "onEnded">;
  readonly registry: Registry;
  readonly ports: Ports;
  readonly log: Logger;
  /** The agent of this session is not to be served any more. */
  readonly onEnded: (session: AgentSession, why: "revoked" | "expired") => void;
}

/** Ends connections whose agent has lost its identity since it showed it: at once where it was revoked, to the second where its certificate ran out. */
export class IdentityWatch {
  readonly #options: IdentityWatchOptions;
  #timer: TimerHandle | undefined;
  #stopListening: (() => void) | undefined;
  #endings = 0;
  #asking: Promise<void> = Promise.resolve();

  constructor(options: IdentityWatchOptions) {
    this.#options = options;
  }

  start(): void {
    const { security, ports } = this.#options;
    this.#stopListening = security.onEnded((credential) => this.#ended(credential));
    this.#timer = ports.timers.every(LOOK_MS, () => this.#look(), { background: true });
  }

  stop(): void {
    this.#stopListening?.();
    this.#timer?.cancel();
  }

  /** How often something ended so far. Whoever lets an agent in compares it from before to after. */
  get endings(): number {
    return this.#endings;
  }

  /** Whether the agent of a session that is about to be registered still has its identity, when others ended since `endings` was read. Throws what the store throws. */
  async stands(session: AgentSession, endings: number): Promise<boolean> {
    let seen = endings;
    while (seen !== this.#endings) {
      seen = this.#endings;
      if (!(await this.#still(session))) return false;
    }
    return true;
  }

  #ended(credential: string | undefined): void {
    this.#endings += 1;
    const { registry } = this.#options;
    if (credential === undefined) {
      this.#asking = this.#asking.then(() => this.#askAll());
      return;
    }
    if (!credential.startsWith(AGENT)) return;
    const session = registry.get(credential.slice(AGENT.length));
    if (session?.entrant.verified !== undefined) void this.#ask(session);
  }

  async #askAll(): Promise<void> {
    const verified = [...this.#options.registry.values()].filter((session) => session.entrant.verified !== undefined);
    for (let at = 0; at < verified.length; at += AT_ONCE)
      await Promise.all(verified.slice(at, at + AT_ONCE).map((session) => this.#ask(session)));
  }

  #look(): void {
    const nowMs = this.#options.ports.clock.now();
    for (const session of this.#options.registry.values())
      if (session.entrant.verified !== undefined && session.entrant.untilMs <= nowMs) {
        // Not again with the next look, while the store is asked.
        session.entrant.untilMs = nowMs + AGAIN_MS;
        void this.#ask(session);
      }
  }

  async #ask(session: AgentSession): Promise<void> {
    const { log, onEnded, ports } = this.#options;
    const { entrant } = session;
    if (session.closed) return;
    let stands: boolean;
    try {
      stands = await this.#still(session);
    } catch (error) {
      log.warn("An agent's identity could not be looked at", { agent_id: session.agentId, error: messageOf(error) });
      entrant.untilMs = ports.clock.now() + AGAIN_MS;
      return;
    }
    if (stands || session.closed) return;
    onEnded(session, entrant.verified !== undefined && entrant.verified.expiresAtMs <= ports.clock.now() ? "expired" : "revoked");
  }

  async #still(session: AgentSession): Promise<boolean> {
    const { verified } = session.entrant;
    if (verified === undefined) return true;
    const still = await this.#options.security.identities.still(session.agentId, verified.keySha256);
    if (still === undefined || still.expiresAtMs <= this.#options.ports.clock.now()) return false;
    session.entrant.untilMs = still.expiresAtMs;
    return true;
  }
}
