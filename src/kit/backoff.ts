import type { Random } from "./ports.ts";

export interface BackoffOptions {
  /** Upper bound of the first wait. */
  readonly firstMs: number;
  /** Upper bound of every wait. */
  readonly maxMs: number;
}

/**
 * Exponential backoff with full jitter: the n-th wait is drawn evenly from 0 to min(max, first * 2^n), so that a thousand agents
 * that lost the same control plane do not come back in step.
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: Random;
  #attempt = 0;

  constructor(options: BackoffOptions, random: Random) {
    this.#options = options;
    this.#random = random;
  }

  /** Milliseconds to wait now; each call raises the bound of the next. */
  next(): number {
    const bound = Math.min(this.#options.maxMs, this.#options.firstMs * 2 ** Math.min(this.#attempt, 30));
    this.#attempt += 1;
    return this.#random.float() * bound;
  }

  reset(): void {
    this.#attempt = 0;
  }
}
