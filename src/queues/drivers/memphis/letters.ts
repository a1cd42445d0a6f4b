import type { Msg, Subscription } from "@nats-io/nats-core";
import type { Source } from "./hand.ts";
import type { MemphisLink } from "./link.ts";
import { internalName } from "./names.ts";
import type { MemphisSettings } from "./settings.ts";

/** Where the broker sends what somebody had it send again out of the dead letters of a station, for our group. */
export function lettersSubject(station: string, group: string, old: boolean): string {
  return `$memphis_dls_${internalName(station)}${old ? "_" : "."}${internalName(group)}`;
}

/** Listens for dead letters that are sent again. They come as plain messages, without a stream that would keep them for us. */
export class Letters {
  readonly #link: MemphisLink;
  readonly #onLetter: (source: Source, message: Msg) => void;
  readonly #subscriptions = new Map<string, Subscription>();

  constructor(link: MemphisLink, onLetter: (source: Source, message: Msg) => void) {
    this.#link = link;
    this.#onLetter = onLetter;
  }

  join(source: Source | undefined, settings: MemphisSettings): void {
    if (source === undefined) return;
    // A broker whose stations have no partitions used another form of the subject. Later ones use both.
    const old = source.stream === internalName(source.station);
    const subject = lettersSubject(source.station, settings.consumer, old);
    const known = this.#subscriptions.get(subject);
    if (known?.isClosed() === false) return;
    const callback = (error: Error | null, message: Msg): void => {
      if (error === null) this.#onLetter(source, message);
    };
    // In a group of its own name: one of us gets each.
    this.#subscriptions.set(subject, this.#link.now().subscribe(subject, { queue: subject, callback }));
  }

  leave(): void {
    for (const subscription of this.#subscriptions.values()) if (!subscription.isClosed()) subscription.unsubscribe();
    this.#subscriptions.clear();
  }
}
