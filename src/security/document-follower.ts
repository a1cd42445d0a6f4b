import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Documents } from "./documents.ts";

const LOOK_MS = 1_000;
const PAGE = 500;

/** Looks once a second at what was written by anybody, so that a word that was lost costs a second and not more. */
export class DocumentFollower {
  readonly #documents: Pick<Documents, "documentsAfter">;
  readonly #ports: Ports;
  readonly #log: Logger;
  readonly #tenant: string;
  readonly #changed: (kind: string, id: string) => void;
  #seq: number;
  #timer: TimerHandle | undefined;
  #looking: Promise<void> | undefined;

  constructor(of: {
    readonly documents: Pick<Documents, "documentsAfter">;
    readonly ports: Ports;
    readonly log: Logger;
    readonly tenant: string;
    /** What was written up to here is known already. */
    readonly afterSeq: number;
    readonly changed: (kind: string, id: string) => void;
  }) {
    this.#documents = of.documents;
    this.#ports = of.ports;
    this.#log = of.log;
    this.#tenant = of.tenant;
    this.#seq = of.afterSeq;
    this.#changed = of.changed;
  }

  start(): void {
    this.#timer ??= this.#ports.timers.every(LOOK_MS, () => void this.look(), { background: true });
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#looking;
  }

  /** One look at a time: a slow store is not asked again meanwhile. */
  look(): Promise<void> {
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookOnce(): Promise<void> {
    try {
      for (;;) {
        const changes = await this.#documents.documentsAfter(this.#seq, PAGE);
        for (const { tenant, kind, id, seq } of changes) {
          if (tenant === this.#tenant) this.#changed(kind, id);
          this.#seq = seq;
        }
        if (changes.length < PAGE) return;
      }
    } catch (error) {
      this.#log.debug("what was written cannot be looked at", { reason: messageOf(error) });
    }
  }
}
