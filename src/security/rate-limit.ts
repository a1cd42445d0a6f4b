import { type Clock, TransporterError } from "../kit/mod.ts";
import { addressGroup } from "./addresses.ts";

export interface AttemptLimits {
  /** How many may fail at once. */
  readonly burst: number;
  /** How quickly they come back. */
  readonly perSecond: number;
  /** How many addresses are remembered; the one that was quiet longest is forgotten for a new one. */
  readonly maxAddresses: number;
}

const FAILED_ATTEMPTS: AttemptLimits = { burst: 20, perSecond: 1, maxAddresses: 10_000 };
/** For what succeeds and costs a signature. */
export const SIGNINGS: AttemptLimits = { burst: 100, perSecond: 10, maxAddresses: 10_000 };

interface Bucket {
  left: number;
  atMs: number;
}

/**
 * How often an address may try something that checks a secret. An attempt is taken before anything is looked at, so that a thousand at the
 * same time are not a thousand guesses, and given back when it was right.
 */
export class AttemptLimiter {
  readonly #clock: Clock;
  readonly #limits: AttemptLimits;
  /** In the order of use, so that the first is the one that was quiet longest. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(clock: Clock, limits: AttemptLimits = FAILED_ATTEMPTS) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Takes one attempt; throws TOO_MANY_ATTEMPTS (`details.retry_after_ms`) where there is none left. */
  take(address: string): void {
    const bucket = this.#bucket(addressGroup(address));
    if (bucket.left < 1) {
      const waitMs = Math.ceil(((1 - bucket.left) * 1000) / this.#limits.perSecond);
      throw new TransporterError("TOO_MANY_ATTEMPTS", "too many attempts from this address have failed", {
        details: { retry_after_ms: waitMs },
      });
    }
    bucket.left -= 1;
  }

  /** It was right: it counts for nothing. */
  giveBack(address: string): void {
    const bucket = this.#buckets.get(addressGroup(address));
    if (bucket !== undefined) bucket.left = Math.min(this.#limits.burst, bucket.left + 1);
  }

  /** How many addresses are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  #bucket(group: string): Bucket {
    const nowMs = this.#clock.monotonic();
    let bucket = this.#buckets.get(group);
    if (bucket === undefined) {
      if (this.#buckets.size >= this.#limits.maxAddresses) {
        const [oldest = ""] = this.#buckets.keys();
        this.#buckets.delete(oldest);
      }
      bucket = { left: this.#limits.burst, atMs: nowMs };
    } else {
      this.#buckets.delete(group);
      bucket.left = Math.min(this.#limits.burst, bucket.left + ((nowMs - bucket.atMs) * this.#limits.perSecond) / 1000);
      bucket.atMs = nowMs;
    }
    this.#buckets.set(group, bucket);
    return bucket;
  }
}
