import type { Clock, Logger } from "../../../kit/mod.ts";
import { messageOf } from "../../../kit/mod.ts";
import type { RedisLink } from "../../../redis/mod.ts";
import type { Word, WordListener } from "../../port.ts";

/** Where nobody else listens, words are said this seldom, to find out whether somebody does by now. */
const ALONE_MS = 1_000;

/**
 * Words between control planes, over pub/sub: `CLIENT [words as JSON]`, many in one message, never waited for. Whoever begins to hear says so
 * with a message without words, so that those who found themselves alone speak up again.
 */
export class Bell {
  readonly #clientId: string;
  readonly #channel: string;
  readonly #speaking: RedisLink;
  readonly #hearing: RedisLink;
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #log: Logger;
  readonly #listeners = new Set<WordListener>();
  #subscribed = false;
  #broken = false;
  #aloneSinceMs: number | undefined;

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
    this.#channel = `{${parts.speaking.address.prefix}}:words`;
    this.#hearing.client.on("message", (_channel: string, message: string) => this.#heard(message));
    this.#hearing.onState((state) => {
      if (state === "down") this.#broken = this.#listeners.size > 0;
      else if (this.#listeners.size > 0) void this.#subscribe();
    });
  }

  hear(listener: WordListener): () => void {
    this.#listeners.add(listener);
    if (!this.#subscribed) void this.#subscribe();
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Tells others what is durable. */
  say(words: readonly Word[]): void {
    if (words.length === 0 || this.#alone()) return;
    const said = new Map(words.map((word) => [JSON.stringify(word), word]));
    void this.#publish(`[${[...said.keys()].join(",")}]`);
  }

  #alone(): boolean {
    const sinceMs = this.#aloneSinceMs;
    return sinceMs !== undefined && this.#clock.monotonic() - sinceMs < ALONE_MS;
  }

  async #publish(text: string): Promise<void> {
    if (!this.#speaking.up) return;
    const own = this.#subscribed ? 1 : 0;
    try {
      const hearers = await this.#speaking.client.publish(this.#channel, `${this.#clientId} ${text}`);
      // Without ears of our own we could not hear that somebody came; in a cluster the count is of one node alone.
      const alone = own === 1 && hearers === own && this.#speaking.address.kind !== "cluster";
      this.#aloneSinceMs = alone ? this.#clock.monotonic() : undefined;
    } catch (error) {
      this.#log.debug("Words for other control planes got lost", { error: messageOf(error) });
    }
  }

  async #subscribe(): Promise<void> {
    this.#subscribed = true;
    try {
      await this.#hearing.client.subscribe(this.#channel);
    } catch (error) {
      this.#subscribed = false;
      // What is said until it stands again is lost to those who wanted to hear it.
      this.#broken = true;
      this.#log.debug("Cannot hear other control planes", { error: messageOf(error) });
      return;
    }
    if (this.#broken) {
      this.#broken = false;
      for (const listener of this.#listeners) listener.gap();
    }
    await this.#publish("[]");
  }

  #heard(message: string): void {
    const space = message.indexOf(" ");
    if (message.slice(0, space) === this.#clientId) return;
    this.#aloneSinceMs = undefined;
    let words: readonly Word[];
    try {
      words = JSON.parse(message.slice(space + 1)) as readonly Word[];
    } catch {
      return;
    }
    if (!Array.isArray(words) || words.length === 0) return;
    for (const listener of this.#listeners) listener.words(words);
  }
}
