import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Duty, Store } from "../stores/mod.ts";

const EVERY_MS = 2_000;
const TTL_MS = 6_000;

export interface DutiesOptions {
  readonly store: Pick<Store, "info" | "takeDuty">;
  readonly ports: Ports;
  readonly log: Logger;
  readonly replicaId: string;
}

interface Held {
  readonly gained: () => void;
  /** By the monotonic clock: until then nobody else has it. */
  untilMs: number;
}

/**
 * What one control plane does for all that share a store, as long as it asks for it again. Whoever dies loses it some seconds later. Two may
 * think for a moment that they have a duty, so what is done in it must be safe twice.
 */
export class Duties {
  readonly #options: DutiesOptions;
  readonly #held = new Map<Duty, Held>();
  #timer: TimerHandle | undefined;
  #asking = false;
  #failing = false;

  constructor(options: DutiesOptions) {
    this.#options = options;
  }

  /** Asks for a duty from the start on; `gained` is called whenever this control plane has come to it. */
  want(duty: Duty, gained: () => void): void {
    this.#held.set(duty, { gained, untilMs: Number.NEGATIVE_INFINITY });
  }

  holds(duty: Duty): boolean {
    if (!this.#options.store.info.shared) return true;
    return this.#options.ports.clock.monotonic() < (this.#held.get(duty)?.untilMs ?? Number.NEGATIVE_INFINITY);
  }

  start(): void {
    if (this.#options.store.info.shared) {
      this.#timer = this.#options.ports.timers.every(EVERY_MS, () => void this.ask(), { background: true });
      void this.ask();
    } else for (const { gained } of this.#held.values()) gained();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#held.clear();
  }

  /** Throws nothing: it is asked again soon. */
  async ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    const { store, ports, log, replicaId } = this.#options;
    try {
      for (const [duty, held] of this.#held) {
        const had = this.holds(duty);
        const askedMs = ports.clock.monotonic();
        if (!(await store.takeDuty(duty, replicaId, TTL_MS))) {
          held.untilMs = Number.NEGATIVE_INFINITY;
          continue;
        }
        held.untilMs = askedMs + TTL_MS;
        if (had || this.#held.get(duty) !== held) continue;
        log.info("This control plane has a duty for all", { duty, replica: replicaId });
        held.gained();
      }
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) log.warn("Duties could not be asked for", { error: messageOf(error) });
      this.#failing = true;
    } finally {
      this.#asking = false;
    }
  }
}
