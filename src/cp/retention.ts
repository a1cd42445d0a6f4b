import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Store } from "../stores/mod.ts";

const EVERY_MS = 10 * 60_000;
/** Small steps with a pause between: nobody's event waits for a clean-up. */
const STEP = 200;
const PAUSE_MS = 50;

export interface RetentionOptions {
  readonly store: Store;
  readonly ports: Ports;
  readonly log: Logger;
  readonly eventsMs: number;
  readonly auditMs: number;
  /** Whether it is for this control plane to do; others may do it for all. */
  readonly isDue: () => boolean;
}

/** Removes finished events and audit entries that are older than they are to be kept, and documents past their time. */
export class Retention {
  readonly #options: RetentionOptions;
  #timer: TimerHandle | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer?.cancel();
    this.#timer = this.#options.ports.timers.every(EVERY_MS, () => void this.run(), { background: true });
    void this.run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  run(): Promise<void> {
    if (this.#stopped || !this.#options.isDue()) return Promise.resolve();
    this.#running ??= this.#sweep().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #sweep(): Promise<void> {
    const { store, ports, log } = this.#options;
    let events = 0;
    let audit = 0;
    let documents = 0;
    try {
      while (!this.#stopped) {
        const nowMs = ports.clock.now();
        const gone = await store.sweep({
          finishedBeforeMs: nowMs - this.#options.eventsMs,
          auditBeforeMs: nowMs - this.#options.auditMs,
          nowMs,
          limit: STEP,
        });
        events += gone.events;
        audit += gone.audit;
        documents += gone.documents;
        if (gone.events < STEP && gone.audit < STEP && gone.documents < STEP) break;
        await ports.timers.sleep(PAUSE_MS);
      }
      if (events + audit + documents > 0) log.info("Old records removed", { events, audit, documents });
    } catch (error) {
      log.error("Old records could not be removed", { error: messageOf(error) });
    }
  }
}
