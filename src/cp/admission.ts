import type { Clock, Logger, Random } from "../kit/mod.ts";

export interface AdmissionLimits {
  /** Sockets that may be open and not registered yet, at the same time. */
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

  /** A socket is open and its agent not registered yet. */
  began(): void {
    this.#registering += 1;
  }

  ended(): void {
    this.#registering -= 1;
  }
}

/** How often the log says that agents are sent away. */
const SENT_AWAY_MS = 5_000;

/** Says now and then that agents are sent away: a line for each would be most of the work. */
class SentAway {
  readonly #clock: Clock;
  readonly #log: Logger;
  #count = 0;
  #saidAtMs = Number.NEGATIVE_INFINITY;

  constructor(ports: { readonly clock: Clock }, log: Logger) {
    this.#clock = ports.clock;
    this.#log = log;
  }

  note(): void {
    this.#count += 1;
    if (this.#clock.monotonic() - this.#saidAtMs < SENT_AWAY_MS) return;
    this.#saidAtMs = this.#clock.monotonic();
    this.#log.warn("Many agents are connecting at once; some are sent away for a moment", { sent_away: this.#count });
    this.#count = 0;
  }
}

/**
 * One admission for each way in: whoever holds sockets open where nobody has to show who they are must not keep those out who do, and agents
 * that come back by one listener not those of another.
 */
export class Admissions {
  readonly #ports: { readonly clock: Clock; readonly random: Random };
  readonly #limits: AdmissionLimits;
  readonly #sentAway: SentAway;
  readonly #byWay = new Map<string, Admission>();

  constructor(ports: { readonly clock: Clock; readonly random: Random }, limits: AdmissionLimits, log: Logger) {
    this.#ports = ports;
    this.#limits = limits;
    this.#sentAway = new SentAway(ports, log);
  }

  of(way: string): Admission {
    let admission = this.#byWay.get(way);
    if (admission === undefined) {
      admission = new Admission(this.#ports, this.#limits);
      this.#byWay.set(way, admission);
    }
    return admission;
  }

  /** Undefined: come in. */
  admit(way: string): ReturnType<Admission["admit"]> {
    const later = this.of(way).admit();
    if (later !== undefined) this.#sentAway.note();
    return later;
  }
}

interface Waiting {
  readonly who: object;
  readonly called: (inTime: boolean) => void;
}

/**
 * So many at the disk at a time, and of those who wait the last to come first. When more come than can be served, whoever has waited longest
 * is about to give up, and what is done for it is done in vain: served in the order they came, nobody would ever get in.
 */
export class Turns {
  readonly #waiting: Waiting[] = [];
  #free: number;

  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  /** True when it is this one's turn, which it then has to give back; false when it left before. */
  take(who: object): Promise<boolean> {
    if (this.#free > 0) {
      this.#free -= 1;
      return Promise.resolve(true);
    }
    return new Promise((resolve) => this.#waiting.push({ who, called: resolve }));
  }

  give(): void {
    const next = this.#waiting.pop();
    if (next === undefined) this.#free += 1;
    else next.called(true);
  }

  /** It waits no longer, if it did. */
  leave(who: object): void {
    const at = this.#waiting.findIndex((one) => one.who === who);
    if (at !== -1) this.#waiting.splice(at, 1)[0]?.called(false);
  }
}
