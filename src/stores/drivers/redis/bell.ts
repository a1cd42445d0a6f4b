import type { Clock, Logger } from "../../../kit/mod.ts";
import { messageOf } from "../../../kit/mod.ts";
import type { RedisLink } from "../../../redis/mod.ts";
import type { Word, WordListener } from "../../port.ts";

/** Where nobody else listens, words are said this seldom, to find out whether somebody does by now. */
const ALONE_MS = 1_000;

/** A channel, and whether anybody but us hears it. */
interface Channel {
  readonly name: string;
  /** We are subscribed to it. */
  ours: boolean;
  aloneSinceMs: number | undefined;
}

/**
 * Words between control planes, over pub/sub: `CLIENT [words as JSON]`, many in one message, never waited for. Words about entries of the
 * log, by far the most, have a channel of their own, which is heard only by those that follow events just now. Whoever begins to hear either
 * says so with a message without words, so that those who found themselves alone speak up again.
 */
export class Bell {
  readonly #clientId: string;
  readonly #words: Channel;
  readonly #entries: Channel;
  readonly #speaking: RedisLink;
  readonly #hearing: RedisLink;
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #log: Logger;
  readonly #listeners = new Set<WordListener>();
  #follows = true;
  #broken = false;

  constructor(parts: {
    readonly clientId: string;
    readonly speaking: RedisLink;
    readonly hearing: RedisLink;
    readonly clock: Pick<Clock, "monotonic">;
    readonly log: Logger;
  }) {
    this.#clientId = parts.clientId;
    this.#speaking = parts.speaking;
    this.#hearing = parts.hearing;
    this.#clock = parts.clock;
    this.#log = parts.log;
    const { prefix } = parts.speaking.address;
    this.#words = { name: `{${prefix}}:words`, ours: false, aloneSinceMs: undefined };
    this.#entries = { name: `{${prefix}}:entries`, ours: false, aloneSinceMs: undefined };
    this.#hearing.client.on("message", (_channel: string, message: string) => this.#heard(message));
    this.#hearing.onState((state) => {
      if (state === "down") {
        this.#broken = this.#listeners.size > 0;
        this.#words.ours = false;
        this.#entries.ours = false;
      } else if (this.#listeners.size > 0) void this.#subscribe();
    });
  }

  hear(listener: WordListener): () => void {
    this.#listeners.add(listener);
    void this.#subscribe();
    return () => {
      this.#listeners.delete(listener);
    };
  }

  followEntries(on: boolean): void {
    if (this.#follows === on) return;
    this.#follows = on;
    if (this.#listeners.size > 0) void this.#subscribe();
  }

  /** Tells others what is durable. */
  say(words: readonly Word[]): void {
    const [toAll, toFollowers] = [new Map<string, Word>(), new Map<string, Word>()];
    for (const word of words) {
      if (word.kind === "entry") toFollowers.set(word.eventId, word);
      else toAll.set(JSON.stringify(word), word);
    }
    this.#say(this.#words, toAll);
    this.#say(this.#entries, toFollowers);
  }

  #say(channel: Channel, words: ReadonlyMap<string, Word>): void {
    const { aloneSinceMs } = channel;
    if (words.size === 0 || (aloneSinceMs !== undefined && this.#clock.monotonic() - aloneSinceMs < ALONE_MS)) return;
    void this.#publish(channel, JSON.stringify([...words.values()]));
  }

  async #publish(channel: Channel, text: string): Promise<void> {
    if (!this.#speaking.up) return;
    const { ours } = channel;
    try {
      const hearers = await this.#speaking.client.publish(channel.name, `${this.#clientId} ${text}`);
      // Without ears of our own we could not hear that somebody came; in a cluster the count is of one node alone.
      const alone = this.#words.ours && hearers === (ours ? 1 : 0) && this.#speaking.address.kind !== "cluster";
      channel.aloneSinceMs = alone ? this.#clock.monotonic() : undefined;
    } catch (error) {
      this.#log.debug("Words for other control planes got lost", { error: messageOf(error) });
    }
  }

  /** Hears what is to be heard, and nothing else. */
  async #subscribe(): Promise<void> {
    const { client } = this.#hearing;
    const follows = this.#follows;
    let began = false;
    try {
      if (!follows && this.#entries.ours) {
        this.#entries.ours = false;
        await client.unsubscribe(this.#entries.name);
      }
      for (const channel of follows ? [this.#words, this.#entries] : [this.#words]) {
        if (channel.ours) continue;
        await client.subscribe(channel.name);
        channel.ours = true;
        began = true;
      }
    } catch (error) {
      this.#words.ours = false;
      this.#entries.ours = false;
      // What is said until it stands again is lost to those who wanted to hear it.
      this.#broken = true;
      this.#log.debug("Cannot hear other control planes", { error: messageOf(error) });
      return;
    }
    if (this.#broken) {
      this.#broken = false;
      for (const listener of this.#listeners) listener.gap();
    }
    if (began) await this.#publish(this.#words, "[]");
    // Somebody changed their mind meanwhile.
    if (this.#follows !== follows) await this.#subscribe();
  }

  #heard(message: string): void {
    const space = message.indexOf(" ");
    if (message.slice(0, space) === this.#clientId) return;
    this.#words.aloneSinceMs = undefined;
    let words: readonly Word[];
    try {
      words = JSON.parse(message.slice(space + 1)) as readonly Word[];
    } catch {
      return;
    }
    if (!Array.isArray(words)) return;
    if (words.length === 0) this.#entries.aloneSinceMs = undefined;
    else for (const listener of this.#listeners) listener.words(words);
  }
}
