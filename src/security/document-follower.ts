import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Documents } from "./documents.ts";

const LOOK_MS = 1_000;
const PAGE = 500;

/** Looks once a second at what was written by anybody, so that a word that was lost costs a second and not more. */
export class DocumentFollower {
  readonly #documents: Pick<Documents, "documentsAfter" | "lastDocumentSeq">;
  readonly #ports: Ports;
  readonly #log: Logger;
  readonly #tenant: string;
  readonly #changed: (kind: string, id: string) => void;
  readonly #putBack: () => void;
  #seq: number;
  #timer: TimerHandle | undefined;
  #looking: Promise<void> | undefined;

  constructor(of: {
    readonly documents: Pick<Documents, "documentsAfter" | "lastDocumentSeq">;
    readonly ports: Ports;
    readonly log: Logger;
    readonly tenant: string;
    /** What was written up to here is known already. */
    readonly afterSeq: number;
    readonly changed: (kind: string, id: string) => void;
    /** The store is at an earlier state than it was: everything may be otherwise. */
    readonly putBack: () => void;
  }) {
    this.#documents = of.documents;
    this.#ports = of.ports;
    this.#log = of.log;
    this.#tenant = of.tenant;
    this.#seq = of.afterSeq;
    this.#changed = of.changed;
    this.#putBack = of.putBack;
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
        if (changes.length < PAGE) break;
      }
      const last = await this.#documents.lastDocumentSeq();
      if (last >= this.#seq) return;
      // It gives numbers again that were read here, and what is written under them would be seen by nobody.
      this.#seq = last;
      this.#log.warn("The store was put back to an earlier state; everybody is asked again who they are");
      this.#putBack();
    } catch (error) {
      this.#log.debug("what was written cannot be looked at", { reason: messageOf(error) });
    }
  }
}
