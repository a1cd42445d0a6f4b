import { type Logger, messageOf, type Ports } from "../kit/mod.ts";
import type { OpenCounts, Store } from "../stores/mod.ts";

const FRESH_MS = 1_000;
const NOTHING: OpenCounts = { queued: 0, inFlight: 0, byAgent: new Map() };

/** How much is open, sampled from the store and at most a second old: a count that is kept by hand drifts. */
export class OpenGauge {
  readonly #store: Store;
  readonly #ports: Ports;
  readonly #log: Logger;
  #counts: OpenCounts = NOTHING;
  #takenAtMs = Number.NEGATIVE_INFINITY;
  #taking: Promise<OpenCounts> | undefined;

  constructor(store: Store, ports: Ports, log: Logger) {
    this.#store = store;
    this.#ports = ports;
    this.#log = log;
  }

  /** The last sample, without waiting; asks for a new one when it is old. */
  latest(): OpenCounts {
    if (this.#ports.clock.monotonic() - this.#takenAtMs > FRESH_MS) {
      this.sample().catch((error: unknown) => this.#log.debug("Open deliveries could not be counted", { error: messageOf(error) }));
    }
    return this.#counts;
  }

  async sample(): Promise<OpenCounts> {
    if (this.#ports.clock.monotonic() - this.#takenAtMs <= FRESH_MS) return this.#counts;
    this.#taking ??= this.#store
      .openCounts()
      .then((counts) => {
        this.#counts = counts;
        return counts;
      })
      .finally(() => {
        this.#takenAtMs = this.#ports.clock.monotonic();
        this.#taking = undefined;
      });
    return this.#taking;
  }
}
