import { Backoff, type Random, TransporterError } from "../kit/mod.ts";
import { canHeal } from "../k8s/mod.ts";
import type { RetryPolicy } from "../protocol/mod.ts";

/** How long to wait before the next attempt, or the error that is the last word. */
export type NextAttempt = { readonly waitMs: number } | { readonly last: TransporterError };

function waitAsked(error: TransporterError): number {
  const asked = error.details["retry_after_ms"];
  return typeof asked === "number" ? asked : 0;
}

/** Counts the attempts at one event and says whether there is another: only for what can heal, as often as its policy says, and within its deadline. */
export class Attempts {
  readonly #policy: RetryPolicy;
  readonly #backoff: Backoff;
  #current = 1;

  constructor(policy: RetryPolicy, random: Random) {
    this.#policy = policy;
    this.#backoff = new Backoff({ firstMs: policy.backoffMs, maxMs: policy.maxBackoffMs }, random);
  }

  /** The number of the attempt that is under way, from 1. */
  get current(): number {
    return this.#current;
  }

  get of(): number {
    return this.#policy.attempts;
  }

  /** The current attempt failed; `leftMs` is the time until the deadline. */
  failed(error: TransporterError, leftMs: number): NextAttempt {
    if (!canHeal(error)) return { last: this.#current === 1 ? error : this.#told(error, `at attempt ${this.#current}`) };
    if (this.#current >= this.#policy.attempts) {
      return { last: this.#told(error, this.#current === 1 ? "tried once" : `tried ${this.#current} times`) };
    }
    // What the API server asks for is the least, and the jitter goes on top, so that many who were told the same do not come back together.
    const waitMs = waitAsked(error) + this.#backoff.next();
    if (waitMs >= leftMs)
      return { last: this.#told(error, `tried ${this.#current} of ${this.#policy.attempts} times, then no time was left`) };
    this.#current += 1;
    return { waitMs };
  }

  #told(error: TransporterError, how: string): TransporterError {
    return new TransporterError(error.code, `${error.message} (${how})`, {
      details: { ...error.details, attempts: this.#current },
      remedy: error.remedy,
      cause: error.cause ?? error,
    });
  }
}
