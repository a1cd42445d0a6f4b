import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { AgentRecords } from "./agent-records.ts";
import type { Registry } from "./registry.ts";
import { callRoll } from "./roll-call.ts";
import type { AgentSession } from "./session.ts";

const TOUCH_MS = 15_000;
/** What nobody told, and nobody knew the outcome of, is found that often. */
const ROLL_CALL_MS = 60_000;

export interface AttendanceOptions {
  readonly tenant: string;
  readonly store: Store;
  readonly registry: Registry;
  readonly records: AgentRecords;
  readonly replicaId: string;
  readonly heartbeatTimeoutMs: number;
  readonly ports: Ports;
  readonly log: Logger;
  /** Another connection owns the agent of this session by now. */
  readonly onFenced: (session: AgentSession) => void;
  /** Looks at one agent in the store. Throws what the store throws. */
  readonly look: (agentId: string) => Promise<void>;
}

/** Who is here: notices silence, writes down who was heard of, and compares that with what the store says. */
export class Attendance {
  readonly #options: AttendanceOptions;
  #timers: readonly TimerHandle[] = [];

  constructor(options: AttendanceOptions) {
    this.#options = options;
  }

  start(): void {
    const { ports, heartbeatTimeoutMs, store } = this.#options;
    const every = (ms: number, run: () => void): TimerHandle => ports.timers.every(ms, run, { background: true });
    this.#timers = [
      every(Math.max(100, heartbeatTimeoutMs / 6), () => this.#watchSilence()),
      every(TOUCH_MS, () => void this.touch()),
      ...(store.info.shared ? [every(ROLL_CALL_MS, () => void this.#tryCheckAll())] : []),
    ];
  }

  stop(): void {
    for (const timer of this.#timers) timer.cancel();
  }

  /** Writes down who was heard of, or everybody, and ends the sessions of those that are not ours any more. Throws nothing. */
  async touch(everybody = false): Promise<void> {
    const { registry, records, onFenced } = this.#options;
    const touched: AgentSession[] = [];
    for (const session of registry.values()) {
      if (!session.touched && !everybody) continue;
      session.touched = false;
      touched.push(session);
    }
    const lost = await records.touch(touched);
    if (lost.length === 0) return;
    const ids = new Set(lost.map(({ id }) => id));
    // Whoever has come back meanwhile has another session, and is ours.
    for (const session of touched) if (ids.has(session.agentId)) onFenced(session);
  }

  /**
   * Compares all that the store says of agents with those that are here: whose they are, which are paused or removed, and which stand as ours
   * and are not. Throws what the store throws.
   */
  async checkAll(): Promise<void> {
    const { registry, records, ports, look } = this.#options;
    await this.touch(true);
    const sessions = () => registry.values();
    const roll = await callRoll({ ...this.#options, sessions, sessionOf: (id) => registry.get(id) }, ports.clock.now());
    // Looked at once more: it may have changed since the list was read.
    for (const { session, agent } of roll.present) if (session.paused !== agent.paused) await look(session.agentId);
    for (const { agentId } of roll.unknown) await look(agentId);
    await records.releaseGhosts(roll.ghosts);
  }

  async #tryCheckAll(): Promise<void> {
    await this.checkAll().catch((error: unknown) => this.#options.log.warn("Agents could not be compared", { error: messageOf(error) }));
  }

  #watchSilence(): void {
    const { registry, ports, log, heartbeatTimeoutMs } = this.#options;
    const nowMs = ports.clock.now();
    let changed = false;
    for (const session of registry.values()) {
      const healthy = session.lastSeenMs >= nowMs - heartbeatTimeoutMs;
      if (healthy === session.healthy) continue;
      session.healthy = healthy;
      session.touched = true;
      changed = true;
      log.warn(healthy ? "Agent is heard of again" : "Agent is unhealthy", {
        agent_id: session.agentId,
        cluster: session.clusterName,
        silent_ms: nowMs - session.lastSeenMs,
      });
    }
    if (changed) void this.touch();
  }
}
