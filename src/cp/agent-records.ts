import { type Logger, messageOf, type Ports } from "../kit/mod.ts";
import { agentPrincipal } from "../security/mod.ts";
import type { AgentKey, AgentRelease, Claimed, NewAudit, Store, StoredAgent } from "../stores/mod.ts";
import type { AgentSession } from "./session.ts";

const STORE_PATIENCE_MS = 8_000;
const STORE_RETRY_MS = 500;
/** Written down together; each of them is one step of a store that others wait for. */
const TOUCHED_AT_ONCE = 500;

export interface AgentRecordsOptions {
  readonly store: Store;
  readonly ports: Ports;
  readonly log: Logger;
  /** Of this control plane. */
  readonly replicaId: string;
}

/** What the store is told of agents: that they came, that they are there, that they went. */
export class AgentRecords {
  readonly #options: AgentRecordsOptions;
  /** By agent: farewells that the store did not take. */
  readonly #unreleased = new Map<string, { readonly release: AgentRelease; readonly audit: NewAudit }>();

  constructor(options: AgentRecordsOptions) {
    this.#options = options;
  }

  /**
   * Makes this control plane the agent's owner. Throws what the store throws, after some patience, or at once where it is not `wanted` any
   * more: the agent may be connected elsewhere by then, and would be taken away from there.
   */
  claim(session: AgentSession, requestId: string, wanted: () => boolean): Promise<Claimed> {
    const { store, replicaId } = this.#options;
    const { registration } = session;
    return this.#patiently(wanted, () =>
      store.claimAgent(
        {
          agent: {
            tenant: session.tenant,
            id: session.agentId,
            registration,
            status: "connected",
            principal: session.entrant.principal.name,
            remoteAddress: session.remoteAddress,
            connectedAtMs: session.connectedAtMs,
            disconnectedAtMs: undefined,
            lastSeenMs: session.lastSeenMs,
            clockOffsetMs: session.clockOffsetMs,
          },
          replicaId,
          seenEpoch: registration.seen_epoch ?? 0,
        },
        this.#audit(session, "agent_connected", requestId, store.info.shared ? { replica: replicaId } : undefined),
      ),
    );
  }

  /** Its connection has ended. Throws nothing; what the store does not take is tried again with the next touch. */
  async release(session: AgentSession, requestId: string, details: Record<string, unknown>): Promise<void> {
    const { tenant, agentId: id, epoch, lastSeenMs, clockOffsetMs } = session;
    const disconnectedAtMs = this.#options.ports.clock.now();
    const audit = this.#audit(session, "agent_disconnected", requestId, details);
    await this.#release({ tenant, id, epoch, disconnectedAtMs, lastSeenMs, clockOffsetMs }, audit);
  }

  /** Those that stand as connected here and are not. Throws what the store throws. */
  async releaseGhosts(agents: readonly StoredAgent[]): Promise<void> {
    const { store, ports, log } = this.#options;
    for (const { tenant, id, epoch, lastSeenMs, clockOffsetMs } of agents) {
      const atMs = ports.clock.now();
      const principal = agentPrincipal(id).name;
      const audit = { tenant, atMs, principal, action: "agent_disconnected", agentId: id, details: { reason: "not connected here" } };
      const released = await store.releaseAgent({ tenant, id, epoch, disconnectedAtMs: atMs, lastSeenMs, clockOffsetMs }, audit);
      if (released) log.warn("An agent that stood as connected here is not", { agent_id: id, epoch });
    }
  }

  /** Stores when agents were last heard of. Answers those that are somebody else's by now. Throws nothing. */
  async touch(sessions: readonly AgentSession[]): Promise<readonly AgentKey[]> {
    const { store, log, replicaId } = this.#options;
    const lost: AgentKey[] = [];
    try {
      for (const { release, audit } of this.#unreleased.values()) if (!(await this.#release(release, audit))) break;
      for (let at = 0; at < sessions.length; at += TOUCHED_AT_ONCE) {
        // One that has ended since must not stand as connected: its farewell is written already.
        const here = sessions.slice(at, at + TOUCHED_AT_ONCE).filter(({ closed }) => !closed);
        const seen = here.map((session) => ({
          tenant: session.tenant,
          id: session.agentId,
          epoch: session.epoch,
          status: session.healthy ? ("connected" as const) : ("unhealthy" as const),
          lastSeenMs: session.lastSeenMs,
          clockOffsetMs: session.clockOffsetMs,
          replicaId,
        }));
        lost.push(...(await store.touchAgents(seen)));
      }
    } catch (error) {
      log.warn("Last contact could not be stored", { agents: sessions.length, error: messageOf(error) });
    }
    return lost;
  }

  async #release(release: AgentRelease, audit: NewAudit): Promise<boolean> {
    try {
      await this.#options.store.releaseAgent(release, audit);
      if (this.#unreleased.get(release.id)?.release === release) this.#unreleased.delete(release.id);
      return true;
    } catch (error) {
      this.#unreleased.set(release.id, { release, audit });
      this.#options.log.error("Disconnect could not be stored", { agent_id: release.id, error: messageOf(error) });
      return false;
    }
  }

  #audit(session: AgentSession, action: string, requestId: string, details?: Record<string, unknown>): NewAudit {
    return {
      tenant: session.tenant,
      atMs: this.#options.ports.clock.now(),
      principal: session.entrant.principal.name,
      action,
      agentId: session.agentId,
      remoteAddress: session.remoteAddress,
      requestId,
      ...(details === undefined ? {} : { details }),
    };
  }

  /** A store that is away for moments must not turn agents away: a 0.1 agent does not come back. */
  async #patiently<T>(wanted: () => boolean, attempt: () => Promise<T>): Promise<T> {
    const { ports } = this.#options;
    const untilMs = ports.clock.monotonic() + STORE_PATIENCE_MS;
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if (ports.clock.monotonic() >= untilMs) throw error;
        await ports.timers.sleep(STORE_RETRY_MS);
        if (!wanted()) throw error;
      }
    }
  }
}
