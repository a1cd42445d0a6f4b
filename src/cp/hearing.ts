import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Security } from "../security/mod.ts";
import type { Store, Word, WordListener } from "../stores/mod.ts";
import type { Bell } from "./bell.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Gateway } from "./gateway.ts";
import type { OpenGauge } from "./open-gauge.ts";

/** Words may be lost; nothing waits longer for one than this. */
const LOOK_MS = 1_000;
/** Of those looks, one in so many is a thorough one. */
const STOCK_LOOKS = 60;

export interface HearingOptions {
  readonly store: Pick<Store, "info" | "hear" | "followEntries" | "lastSeq">;
  readonly dispatcher: Pick<Dispatcher, "queued" | "forget" | "recall" | "waiting" | "lookAtAll" | "takeStock">;
  readonly gateway: Pick<Gateway, "claimedElsewhere" | "changed" | "checkAll">;
  /** Undefined: nobody is asked who they are, and no document matters. */
  readonly security?: Pick<Security, "documentChanged" | "gap"> | undefined;
  readonly bell: Bell;
  readonly gauge: Pick<OpenGauge, "sample">;
  readonly ports: Ports;
  readonly log: Logger;
  /** Of this control plane. */
  readonly replicaId: string;
}

/**
 * What other control planes on the same store did, as far as it concerns this one: their words, which come at once and may be lost, and a
 * look every second, which finds whatever was. Either only makes somebody look: the store is the truth.
 */
export class Hearing implements WordListener {
  readonly #options: HearingOptions;
  #stopHearing: (() => void) | undefined;
  #timer: TimerHandle | undefined;
  #looking = false;
  #lastSeq = 0;
  #looks = 0;
  #heard = 0;
  #gaps = 0;

  constructor(options: HearingOptions) {
    this.#options = options;
  }

  /** Words heard, and how often some were certainly lost. */
  get counts(): { readonly heard: number; readonly gaps: number } {
    return { heard: this.#heard, gaps: this.#gaps };
  }

  start(): void {
    const { store, ports } = this.#options;
    if (!store.info.shared) return;
    const { bell } = this.#options;
    // Every step of every event is such a word, and mostly nobody looks on.
    bell.onFollowed((followed) => store.followEntries(followed));
    store.followEntries(bell.listeners > 0);
    this.#stopHearing = store.hear(this);
    this.#timer = ports.timers.every(LOOK_MS, () => void this.look(), { background: true });
  }

  stop(): void {
    this.#stopHearing?.();
    this.#timer?.cancel();
  }

  words(words: readonly Word[]): void {
    this.#heard += words.length;
    for (const word of words) this.#hear(word);
  }

  gap(): void {
    this.#gaps += 1;
    const { dispatcher, gateway, bell, log, security } = this.#options;
    log.info("Words of other control planes were lost; everything is looked at");
    dispatcher.lookAtAll();
    void dispatcher.takeStock();
    bell.ringAll();
    security?.gap();
    gateway.checkAll().catch((error: unknown) => log.warn("Agents could not be looked at", { error: messageOf(error) }));
  }

  #hear(word: Word): void {
    const { dispatcher, gateway, bell, replicaId, log } = this.#options;
    switch (word.kind) {
      case "queued":
        dispatcher.queued(word.agentId, word.priority);
        return;
      case "entry":
        bell.ringFor(word.eventId);
        return;
      case "ended":
        dispatcher.forget(word.agentId, word.eventId, word.revision);
        return;
      case "recall":
        dispatcher.recall(word.agentId, word.eventId, word.revision);
        return;
      case "claimed":
        if (word.replicaId !== replicaId) gateway.claimedElsewhere(word.agentId, word.epoch);
        return;
      case "agent":
        gateway
          .changed(word.agentId)
          .catch((error: unknown) => log.warn("An agent could not be looked at", { agent_id: word.agentId, error: messageOf(error) }));
        return;
      case "document":
        this.#options.security?.documentChanged(word.document.kind, word.document.id);
        return;
    }
  }

  /** Looks at the counts alone, and wakes whoever they say has missed something. Throws nothing. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const { store, dispatcher, bell, gauge, log } = this.#options;
    try {
      const [open, seq] = await Promise.all([gauge.sample(), bell.listeners > 0 ? store.lastSeq() : undefined]);
      dispatcher.waiting(open.byAgent);
      this.#looks += 1;
      if (this.#looks % STOCK_LOOKS === 0) void dispatcher.takeStock();
      if (seq !== undefined && seq !== this.#lastSeq) {
        this.#lastSeq = seq;
        bell.ringAll();
      }
    } catch (error) {
      log.debug("Nothing could be looked at", { error: messageOf(error) });
    } finally {
      this.#looking = false;
    }
  }
}
