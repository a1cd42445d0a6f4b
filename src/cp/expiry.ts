import { failpoint, type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Ended, Store } from "../stores/mod.ts";

const BATCH = 500;
/** The store is asked at least this often, whatever it said last: clocks jump. */
const LONGEST_WAIT_MS = 30_000;
/** Where others take events in as well, they are not heard of here. */
const SHARED_WAIT_MS = 1_000;
/** Deliveries that are due but left to their connected agents must not turn this into a busy loop. */
const SHORTEST_WAIT_MS = 1_000;

export interface ExpiryOptions {
  readonly store: Store;
  readonly ports: Ports;
  readonly log: Logger;
  /** Whether it is for this control plane to look by itself; others may do it for all. */
  readonly isDue: () => boolean;
  readonly onEnded: (ended: Ended) => void;
}

/** Ends deliveries whose time is over: never started within the TTL, or handed over and never heard of again. */
export class Expiry {
  readonly #options: ExpiryOptions;
  readonly #longestWaitMs: number;
  #timer: TimerHandle | undefined;
  #wakeAtMs = Number.POSITIVE_INFINITY;
  #running: Promise<boolean> | undefined;
  #stopped = false;

  constructor(options: ExpiryOptions) {
    this.#options = options;
    this.#longestWaitMs = options.store.info.shared ? SHARED_WAIT_MS : LONGEST_WAIT_MS;
  }

  /** Looks by itself from now on, as long as that is for this control plane to do. */
  start(): void {
    this.#arm(this.#options.ports.clock.now());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  /** A delivery that is due at this time was stored. */
  hint(dueAtMs: number): void {
    // A wake-up that should have been by now means that the clock jumped: timers did not.
    if (dueAtMs < this.#wakeAtMs || this.#wakeAtMs < this.#options.ports.clock.now()) this.#arm(dueAtMs);
  }

  /** Looks now; resolves when what is due has ended, with false when the store would not have it. */
  run(): Promise<boolean> {
    this.#running ??= this.#sweep().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  #arm(atMs: number): void {
    if (this.#stopped) return;
    this.#timer?.cancel();
    const nowMs = this.#options.ports.clock.now();
    const waitMs = Math.min(this.#longestWaitMs, Math.max(0, atMs - nowMs));
    this.#wakeAtMs = nowMs + waitMs;
    this.#timer = this.#options.ports.timers.after(waitMs, () => this.#wake(), { background: true });
  }

  #wake(): void {
    if (this.#options.isDue()) void this.run();
    else this.#wakeAtMs = Number.POSITIVE_INFINITY;
  }

  async #sweep(): Promise<boolean> {
    const { store, ports, log } = this.#options;
    let nextMs = ports.clock.now() + this.#longestWaitMs;
    let carriedOut = true;
    try {
      for (;;) {
        const ended = await store.expireDue(ports.clock.now(), BATCH);
        if (ended.length > 0) failpoint("cp.expiry.ended");
        for (const one of ended) {
          log.warn(one.state === "expired" ? "Event expired" : "Event ended without word from its agent", {
            event_id: one.eventId,
            agent_id: one.agentId,
            state: one.state,
          });
          this.#options.onEnded(one);
        }
        if (ended.length < BATCH || this.#stopped) break;
      }
      nextMs = Math.min(nextMs, Math.max(ports.clock.now() + SHORTEST_WAIT_MS, (await store.nextDueMs()) ?? Number.POSITIVE_INFINITY));
    } catch (error) {
      log.error("Expiry could not be carried out", { error: messageOf(error) });
      nextMs = ports.clock.now() + SHORTEST_WAIT_MS;
      carriedOut = false;
    }
    this.#arm(nextMs);
    return carriedOut;
  }
}
