import type { AgentSession } from "./session.ts";

/** The agents whose sockets are registered now, by id. The store remembers those that are not. */
export class Registry {
  readonly #sessions = new Map<string, AgentSession>();

  get(agentId: string): AgentSession | undefined {
    return this.#sessions.get(agentId);
  }

  /** Puts a session in its agent's place; answers the one it replaces. */
  put(session: AgentSession): AgentSession | undefined {
    const before = this.#sessions.get(session.agentId);
    this.#sessions.set(session.agentId, session);
    return before;
  }

  /** Takes a session out, unless another has replaced it. */
  remove(session: AgentSession): boolean {
    if (this.#sessions.get(session.agentId) !== session) return false;
    this.#sessions.delete(session.agentId);
    return true;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** Those heard of within the heartbeat timeout. */
  get healthy(): number {
    let count = 0;
    for (const session of this.#sessions.values()) if (session.healthy) count += 1;
    return count;
  }

  values(): IterableIterator<AgentSession> {
    return this.#sessions.values();
  }
}
