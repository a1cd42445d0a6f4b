import type { Logger, Ports } from "../../../kit/mod.ts";
import { type RedisLink, openRedis } from "../../../redis/mod.ts";
import { QUEUE_CODES, type RedisQueueSettings } from "./settings.ts";

/** The connections of one queue, made when they are first needed. */
export class Links {
  readonly #settings: RedisQueueSettings;
  readonly #ports: Ports;
  readonly #log: Logger;
  #main: Promise<RedisLink> | undefined;
  #opened: RedisLink | undefined;
  #closed = false;

  constructor(settings: RedisQueueSettings, ports: Ports, log: Logger) {
    this.#settings = settings;
    this.#ports = ports;
    this.#log = log;
  }

  /** For commands that are answered at once. Throws QUEUE_UNAVAILABLE, QUEUE_DENIED, QUEUE_INVALID, FILE_UNREADABLE; then it may be asked again. */
  main(): Promise<RedisLink> {
    this.#main ??= this.#open("queue").catch((error: unknown) => {
      this.#main = undefined;
      throw error;
    });
    return this.#main;
  }

  /** One more, for a command that waits. Whoever asked closes it. */
  blocking(): Promise<RedisLink> {
    return this.#open("queue-wait", true);
  }

  /** Does not wait for a connection that is being made: that is closed when it is there. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#opened?.close();
  }

  async #open(purpose: string, blocking = false): Promise<RedisLink> {
    const link = await openRedis(this.#settings.address, { ports: this.#ports, log: this.#log, purpose, codes: QUEUE_CODES, blocking });
    if (this.#closed) {
      await link.close();
      throw link.fault(new Error("Connection is closed"));
    }
    if (!blocking) this.#opened = link;
    return link;
  }
}
