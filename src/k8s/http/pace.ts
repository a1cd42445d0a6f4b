import type { Clock } from "../../kit/mod.ts";
import { Limiter } from "./limiter.ts";

/** The first time after a refusal in which nothing is tried; doubled by each further one, as long as it is not all well again. */
const FIRST_REST_MS = 1_000;
const MAX_REST_MS = 16_000;

/**
 * How many requests are in flight for one identity: all that may be, until the API server says that it is too much (429). Then half as many, and
 * after a while without a refusal half as many more, up to all. The API server's limits are by identity too (API Priority and Fairness), so one that is
 * throttled slows down no other.
 * Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
 */
export class Pace {
  readonly #limiter: Limiter;
  readonly #most: number;
  readonly #clock: Clock;
  #size: number;
  #changedAtMs = Number.NEGATIVE_INFINITY;
  #restMs = FIRST_REST_MS;

  constructor(most: number, clock: Clock) {
    this.#most = most;
    this.#clock = clock;
    this.#size = most;
    this.#limiter = new Limiter(most);
  }

  /** Requests that may be in flight now. */
  get size(): number {
    return this.#size;
  }

  /** Resolves to the function that gives the place back. */
  acquire(signal?: AbortSignal): Promise<() => void> {
    return this.#limiter.acquire(signal);
  }

  /** The API server refused a request that was sent at `sentAtMs` (monotonic), because it has too many. */
  refused(sentAtMs: number): void {
    // What was sent before there were fewer says nothing about the fewer.
    if (sentAtMs < this.#changedAtMs) return;
    // Grown too early, after a refusal: the next time it takes longer.
    if (this.#size < this.#most) this.#restMs = Math.min(MAX_REST_MS, this.#restMs * 2);
    this.#change(Math.max(1, Math.floor(this.#size / 2)));
  }

  /** The API server took a request. */
  taken(): void {
    if (this.#size >= this.#most || this.#clock.monotonic() - this.#changedAtMs < this.#restMs) return;
    this.#change(Math.min(this.#most, Math.ceil(this.#size * 1.5)));
    if (this.#size === this.#most) this.#restMs = FIRST_REST_MS;
  }

  #change(size: number): void {
    this.#size = size;
    this.#changedAtMs = this.#clock.monotonic();
    this.#limiter.resize(size);
  }
}
