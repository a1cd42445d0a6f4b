import type { TimerHandle, Timers } from "../kit/mod.ts";

/**
 * Brings together what may wait a moment. Each commit costs a write to the disk during which the control plane does nothing else, so the
 * statuses of all agents within a few milliseconds share one, and a new event finds the disk free.
 */
export class Pulse {
  readonly #timers: Timers;
  readonly #everyMs: number;
  #waiting: (() => void)[] = [];
  #timer: TimerHandle | undefined;

  constructor(timers: Timers, everyMs: number) {
    this.#timers = timers;
    this.#everyMs = everyMs;
  }

  /** Calls `run` with the next beat, in the order asked. */
  join(run: () => void): void {
    this.#waiting.push(run);
    this.#timer ??= this.#timers.after(this.#everyMs, () => this.beat());
  }

  /** Beats now, for whoever cannot wait. */
  beat(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const run of waiting) run();
  }
}
