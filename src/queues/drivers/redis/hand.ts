import { type Logger, type TimerHandle, messageOf } from "../../../kit/mod.ts";
import type { DriverOptions } from "../../open.ts";
import type { Settlement } from "../../port.ts";
import { type StreamEntry, entryKey } from "./entry.ts";
import type { Links } from "./links.ts";
import { DEAD, DONE, KEEP, RELEASE, runScript } from "./scripts.ts";
import type { RedisQueueSettings } from "./settings.ts";

/** Stands for nobody: what is given to it is claimed by whoever looks next. */
const NOBODY = "nobody";
const LONG_AGO_MS = 7 * 86_400_000;
const AGAIN_MS = 500;
/** Settlements that one command carries. */
const SETTLE_COUNT = 256;

interface Held {
  readonly entry: StreamEntry;
  settlement: Settlement | undefined;
}

/**
 * What was taken and is not settled: kept alive while it is worked on, settled when it is known what becomes of it, again and again where the
 * server is away at that moment.
 */
export class Hand {
  readonly #settings: RedisQueueSettings;
  readonly #links: Links;
  readonly #ports: DriverOptions["ports"];
  readonly #log: Logger;
  readonly #consumer: string;
  readonly #onRoom: () => void;
  readonly #held = new Map<string, Held>();
  /** Came when nothing more was wanted. */
  readonly #unwanted = new Map<string, StreamEntry>();
  #keeping: TimerHandle | undefined;
  #flushing: Promise<void> | undefined;
  #flushAgain = false;
  #over = false;
  #empty = Promise.withResolvers<void>();

  constructor(settings: RedisQueueSettings, links: Links, driver: DriverOptions, consumer: string, onRoom: () => void) {
    this.#settings = settings;
    this.#links = links;
    this.#ports = driver.ports;
    this.#log = driver.log;
    this.#consumer = consumer;
    this.#onRoom = onRoom;
  }

  get size(): number {
    return this.#held.size;
  }

  /** `band:id` of all that is held. */
  keys(): readonly string[] {
    return [...this.#held.keys(), ...this.#unwanted.keys()];
  }

  begin(): void {
    this.#keeping = this.#ports.timers.every(this.#settings.claimAfterMs / 3, () => void this.#keep(), { background: true });
  }

  take(entry: StreamEntry, work: () => Promise<Settlement>): void {
    const key = entryKey(entry);
    if (this.#held.has(key)) return;
    const held: Held = { entry, settlement: undefined };
    this.#held.set(key, held);
    void this.#carry(key, held, work);
  }

  async #carry(key: string, held: Held, work: () => Promise<Settlement>): Promise<void> {
    try {
      held.settlement = await work();
      this.#flushSoon();
    } catch (error) {
      // Nobody knows what becomes of it: it comes again when nobody has kept it alive for long enough, and counts.
      this.#log.error("A message of the queue could not be worked on", { queue: this.#settings.name, error: messageOf(error) });
      this.#forget(key);
    }
  }

  /** Gives back what came too late. */
  giveBack(entry: StreamEntry): void {
    this.#unwanted.set(entryKey(entry), entry);
    this.#flushSoon();
  }

  /** Waits for what is being worked on, at most so long, and gives the rest back where the server can be told. */
  async end(patienceMs: number, reachable: boolean): Promise<void> {
    const over = new AbortController();
    if (this.#held.size > 0)
      await Promise.race([this.#empty.promise, this.#ports.timers.sleep(patienceMs, over.signal).catch(() => undefined)]);
    over.abort(new Error("ended"));
    this.#over = true;
    this.#keeping?.cancel();
    if (!reachable) {
      this.#held.clear();
      return;
    }
    await this.#flushing;
    for (const [key, { entry, settlement }] of this.#held) if (settlement === undefined) this.#unwanted.set(key, entry);
    await this.#release().catch((error: unknown) => {
      this.#log.warn("Messages of the queue could not be given back; they come again by themselves", {
        queue: this.#settings.name,
        messages: this.#unwanted.size,
        error: messageOf(error),
      });
    });
    this.#held.clear();
  }

  #forget(key: string): void {
    this.#held.delete(key);
    if (this.#held.size === 0) {
      this.#empty.resolve();
      this.#empty = Promise.withResolvers<void>();
    }
    this.#onRoom();
  }

  /** Many settlements of one turn go in one command. */
  #flushSoon(): void {
    this.#flushAgain = true;
    if (this.#flushing !== undefined) return;
    this.#flushing = this.#flush().finally(() => {
      this.#flushing = undefined;
    });
  }

  async #flush(): Promise<void> {
    while (this.#flushAgain) {
      this.#flushAgain = false;
      await new Promise<void>((resolve) => this.#ports.timers.soon(resolve));
      try {
        await this.#settle();
        await this.#release();
      } catch (error) {
        this.#log.debug("Settling messages of the queue waits", { queue: this.#settings.name, error: messageOf(error) });
        if (this.#over) return;
        this.#flushAgain = true;
        await this.#ports.timers.sleep(AGAIN_MS);
      }
    }
  }

  async #settle(): Promise<void> {
    const { streams, dead, group, ids, maxDead } = this.#settings;
    const link = await this.#links.main();
    const settled = [...this.#held].flatMap(([key, { entry, settlement }]) =>
      settlement === undefined ? [] : [{ key, entry, settlement }],
    );
    const done = settled.filter(({ settlement }) => settlement.kind === "done").map(({ key }) => key);
    for (let at = 0; at < done.length; at += SETTLE_COUNT) {
      const part = done.slice(at, at + SETTLE_COUNT);
      await runScript(link.client, DONE, streams, [group, ...part]);
      for (const key of part) this.#forget(key);
    }
    for (const { key, entry, settlement } of settled) {
      if (settlement.kind !== "dead") continue;
      const { code, reason, eventId } = settlement;
      await runScript(link.client, DEAD, [...streams, dead], [group, key, entry.deliveries, code, reason, eventId ?? "", maxDead, ids]);
      this.#forget(key);
    }
  }

  async #release(): Promise<void> {
    if (this.#unwanted.size === 0) return;
    const link = await this.#links.main();
    const parts = [...this.#unwanted].map(([key, { deliveries }]) => `${key}:${deliveries}`);
    const { streams, group } = this.#settings;
    await runScript(link.client, RELEASE, streams, [group, this.#consumer, NOBODY, LONG_AGO_MS, ...parts]);
    this.#unwanted.clear();
  }

  async #keep(): Promise<void> {
    if (this.#held.size === 0) return;
    try {
      const link = await this.#links.main();
      const { streams, group } = this.#settings;
      const lost = Number(await runScript(link.client, KEEP, streams, [group, this.#consumer, ...this.#held.keys()]));
      if (lost > 0)
        this.#log.warn("Others work on messages of the queue that this control plane had in hand", {
          queue: this.#settings.name,
          messages: lost,
        });
    } catch (error) {
      this.#log.debug("Messages of the queue could not be kept alive", { queue: this.#settings.name, error: messageOf(error) });
    }
  }
}
