import type { Clock, Random } from "../kit/mod.ts";

export interface AdmissionLimits {
  /** Registrations that may be on their way to the disk at the same time. */
  readonly atOnce: number;
  /** Sockets that may open in a second, on the average. */
  readonly perSecond: number;
  /** Sockets that may open in one moment. */
  readonly burst: number;
}

const SHORTEST_WAIT_MS = 1_000;
/** Whoever was sent away comes back within this much more, each at a time of its own. */
const SPREAD_MS = 4_000;

/**
 * Lets agents in at a rate that leaves the control plane responsive: after a restart all of them come back at once. Whoever is sent away is
 * told when to come again, each another time.
 */
export class Admission {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #limits: AdmissionLimits;
  #tokens: number;
  #filledAtMs: number;
  #registering = 0;

  constructor(ports: { readonly clock: Clock; readonly random: Random }, limits: AdmissionLimits) {
    this.#clock = ports.clock;
    this.#random = ports.random;
    this.#limits = limits;
    this.#tokens = limits.burst;
    this.#filledAtMs = ports.clock.monotonic();
  }

  /** Undefined: come in. */
  admit(): { readonly retryAfterMs: number } | undefined {
    const nowMs = this.#clock.monotonic();
    const { perSecond, burst, atOnce } = this.#limits;
    this.#tokens = Math.min(burst, this.#tokens + ((nowMs - this.#filledAtMs) / 1000) * perSecond);
    this.#filledAtMs = nowMs;
    if (this.#tokens >= 1 && this.#registering < atOnce) {
      this.#tokens -= 1;
      return undefined;
    }
    return { retryAfterMs: SHORTEST_WAIT_MS + Math.floor(this.#random.float() * SPREAD_MS) };
  }

  /** A registration is on its way to the disk. */
  began(): void {
    this.#registering += 1;
  }

  ended(): void {
    this.#registering -= 1;
  }
}
