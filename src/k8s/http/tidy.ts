import type { Clock } from "../../kit/mod.ts";

/** Requests whose leftovers are some megabytes. */
const ANSWERS = 250;
/** So much longer than it took is nothing collected again: at most a twentieth of the time goes there. */
const REST = 20;

/**
 * Collects what many requests have left. Left to itself the runtime lets tens of megabytes gather first, which an agent of little memory does
 * not have; and a large heap takes long to look through, so it is looked through less often.
 */
export class Tidy {
  readonly #clock: Clock;
  readonly #collect: () => void;
  #answers = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, collect: () => void = () => Bun.gc(true)) {
    this.#clock = clock;
    this.#collect = collect;
  }

  answered(): void {
    this.#answers += 1;
    if (this.#answers < ANSWERS) return;
    const startedMs = this.#clock.monotonic();
    if (startedMs < this.#notBeforeMs) return;
    this.#answers = 0;
    this.#collect();
    const endedMs = this.#clock.monotonic();
    this.#notBeforeMs = endedMs + REST * (endedMs - startedMs);
  }
}
