import { type Logger, messageOf, type Ports } from "../kit/mod.ts";
import type { OpenCounts, Store } from "../stores/mod.ts";

const FRESH_MS = 1_000;
/** Agents that are counted by hand between two looks, before it is time for the next look. */
const MAX_COUNTED = 10_000;
const NOTHING: OpenCounts = { queued: 0, inFlight: 0, byAgent: new Map() };

/**
 * How much is open, sampled from the store and at most a second old: a count that is kept by hand drifts. What came in since the last look is
 * counted by hand all the same, so that a burst cannot pass a bound between two looks; each look starts that count anew.
 */
export class OpenGauge {
  readonly #store: Pick<Store, "openCounts">;
  readonly #ports: Pick<Ports, "clock">;
  readonly #log: Logger;
  #counts: OpenCounts = NOTHING;
  #takenAtMs = Number.NEGATIVE_INFINITY;
  #taking: Promise<OpenCounts> | undefined;
  /** Events whose commit is under way, by agent, and in all. */
  readonly #committing = new Map<string, number>();
  #committingAll = 0;
  /** Committed since the last look began; and, while one is under way, those of before, which it may or may not see. */
  #since = new Map<string, number>();
  #before: ReadonlyMap<string, number> = new Map();

  constructor(store: Pick<Store, "openCounts">, ports: Pick<Ports, "clock">, log: Logger) {
    this.#store = store;
    this.#ports = ports;
    this.#log = log;
  }

  /** How many events are being committed now. */
  get committing(): number {
    return this.#committingAll;
  }

  /** An event for this agent is about to be committed. */
  entering(agentId: string): void {
    this.#committingAll += 1;
    this.#committing.set(agentId, (this.#committing.get(agentId) ?? 0) + 1);
  }

  /** Its commit is over. */
  left(agentId: string, kept: boolean): void {
    this.#committingAll -= 1;
    const still = (this.#committing.get(agentId) ?? 0) - 1;
    if (still > 0) this.#committing.set(agentId, still);
    else this.#committing.delete(agentId);
    if (!kept) return;
    this.#since.set(agentId, (this.#since.get(agentId) ?? 0) + 1);
    if (this.#since.size > MAX_COUNTED) this.#refresh();
  }

  /** No more than this wait for the agent, those that are being committed included. Too high by what ended since the last look. */
  atMost(agentId: string): number {
    return (
      (this.#counts.byAgent.get(agentId)?.queued ?? 0) +
      (this.#before.get(agentId) ?? 0) +
      (this.#since.get(agentId) ?? 0) +
      (this.#committing.get(agentId) ?? 0)
    );
  }

  /** Whether there was a look at all; a store that is opened again may hold much. */
  get known(): boolean {
    return this.#takenAtMs !== Number.NEGATIVE_INFINITY;
  }

  /** The last sample, without waiting; asks for a new one when it is old. */
  latest(): OpenCounts {
    if (!this.#isFresh()) this.#refresh();
    return this.#counts;
  }

  /** A sample that is at most a second old. Throws what the store throws. */
  async sample(): Promise<OpenCounts> {
    return this.#isFresh() ? this.#counts : this.#take();
  }

  #isFresh(): boolean {
    return this.#ports.clock.monotonic() - this.#takenAtMs <= FRESH_MS;
  }

  #refresh(): void {
    this.#take().catch((error: unknown) => this.#log.debug("Open deliveries could not be counted", { error: messageOf(error) }));
  }

  #take(): Promise<OpenCounts> {
    this.#taking ??= this.#look().finally(() => (this.#taking = undefined));
    return this.#taking;
  }

  async #look(): Promise<OpenCounts> {
    const earlier = this.#before;
    this.#before = this.#since;
    this.#since = new Map();
    try {
      this.#counts = await this.#store.openCounts();
      this.#before = new Map();
      this.#takenAtMs = this.#ports.clock.monotonic();
      return this.#counts;
    } catch (error) {
      // Nothing was seen: what was counted counts still.
      const all = new Map(earlier);
      for (const counted of [this.#before, this.#since])
        for (const [agentId, count] of counted) all.set(agentId, (all.get(agentId) ?? 0) + count);
      this.#since = all;
      this.#before = new Map();
      throw error;
    }
  }
}
