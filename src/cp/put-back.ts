import { messageOf } from "../kit/mod.ts";
import type { DeliveryRow } from "../stores/mod.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";
import type { Lane } from "./lane.ts";

const RETRY_MS = 1_000;

/**
 * Lets what was promised to an agent and never sent to it wait again, so that it can be cancelled or expire. The agent is given nothing
 * else meanwhile, and the last accepted goes back first: whatever ends this halfway, nothing stands as handed over behind something
 * that waits and was accepted before it.
 */
export class PutBack {
  readonly #options: Pick<DispatcherOptions, "store" | "bell" | "ports" | "log">;
  /** By agent: the lane whose promises are being settled. */
  readonly #held = new Map<string, Lane>();
  readonly #running = new Set<Lane>();
  readonly #done: (agentId: string) => void;
  #stopped = false;

  /** `done` is called with the agent whose deliveries wait again. */
  constructor(options: Pick<DispatcherOptions, "store" | "bell" | "ports" | "log">, done: (agentId: string) => void) {
    this.#options = options;
    this.#done = done;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Nothing may be handed to this agent now. */
  holds(agentId: string): boolean {
    return this.#held.has(agentId);
  }

  /** It was promised on this lane and not sent. */
  add(lane: Lane, delivery: DeliveryRow): void {
    lane.orphans.push(delivery);
    lane.expect(undefined);
    this.#held.set(lane.session.agentId, lane);
    this.settle(lane);
  }

  /** The agent of this lane is gone. */
  left(lane: Lane): void {
    if (lane.reserved === 0 && lane.orphans.length === 0) return;
    this.#held.set(lane.session.agentId, lane);
    this.settle(lane);
  }

  /** Some promise of the lane was kept or given up. */
  settle(lane: Lane): void {
    if (lane.reserved > 0 || this.#held.get(lane.session.agentId) !== lane || this.#running.has(lane)) return;
    this.#running.add(lane);
    void this.#run(lane);
  }

  async #run(lane: Lane): Promise<void> {
    const { agentId } = lane.session;
    while (!this.#stopped) {
      const orphans = lane.orphans.splice(0).toSorted((a, b) => b.ord - a.ord);
      if (orphans.length === 0) break;
      for (const delivery of orphans) if (!(await this.#move(lane, delivery))) break;
    }
    this.#running.delete(lane);
    this.#held.delete(agentId);
    if (!this.#stopped) this.#done(agentId);
  }

  /** False when another connection owns the agent by now: to that it has been handed over, with all the others. */
  async #move(lane: Lane, { tenant, eventId, revision, agentId }: DeliveryRow): Promise<boolean> {
    const { epoch } = lane.session;
    const { store, bell, ports, log } = this.#options;
    const message = `Event waits: agent ${agentId} went away`;
    while (!this.#stopped) {
      try {
        const moved = await store.moveDelivery({ tenant, eventId, revision, to: "queued", epoch, nowMs: ports.clock.now(), message });
        if (moved.kind === "moved") bell.ring(moved.entry);
        return moved.kind !== "fenced";
      } catch (error) {
        log.error("Event could not be put back", { event_id: eventId, agent_id: agentId, error: messageOf(error) });
        await ports.timers.sleep(RETRY_MS);
      }
    }
    return false;
  }
}
