import { hostname } from "node:os";
import { Backoff, TransporterError, type TimerHandle, messageOf } from "../../../kit/mod.ts";
import { type RedisLink, inspectRedis } from "../../../redis/mod.ts";
import type { DriverOptions } from "../../open.ts";
import type { ConsumeOptions, Consumption, QueueMessage } from "../../port.ts";
import { type StreamEntry, bandOfNumber, entriesOf, readEntries, textField } from "./entry.ts";
import { Hand } from "./hand.ts";
import type { Links } from "./links.ts";
import { CLAIM, TAKE, TIDY, runScript } from "./scripts.ts";
import type { RedisQueueSettings } from "./settings.ts";

/** How long one command waits for a message. */
const BLOCK_MS = 1000;
/** How often it looks for what others left behind, at most and at least. */
const SWEEP_MS = 1000;
const SWEEP_LEAST_MS = 200;
/** How soon it looks again when there is no room, or nothing to be had. */
const LOOK_MS = 100;
const TIDY_MS = 60_000;
/** A consumer that was not heard of for so long and has nothing is forgotten. */
const FORGET_MS = 3_600_000;
/** Bytes that one command may bring: bodies are large at times, and a reply is in memory as a whole. */
const TAKE_BYTES = 8 * 1024 * 1024;
const TAKE_COUNT = 64;
/** A window of this size or more keeps an eighth of it for urgent messages alone. */
const RESERVING_WINDOW = 16;
const AWAY = { firstMs: 200, maxMs: 2000 };
const EXHAUSTED_REASON = "it was handed out again and again and never settled";

/**
 * Takes messages for one control plane. One loop asks, so that a band is never asked while a more urgent one has something; what is taken is
 * kept in `Hand` until it is settled.
 */
export class RedisConsumption implements Consumption {
  readonly #settings: RedisQueueSettings;
  readonly #links: Links;
  readonly #driver: DriverOptions;
  readonly #options: ConsumeOptions;
  readonly #consumer: string;
  readonly #hand: Hand;
  readonly #backoff: Backoff;
  /** Places that only urgent ones may take, so that they never wait for a window full of others. */
  readonly #reserve: number;
  readonly #stop = new AbortController();
  #waiting: RedisLink | undefined;
  #paused = false;
  /** Something may have been handed to it that never arrived. */
  #recover = true;
  #inspected = false;
  #stopped: Promise<void> | undefined;
  #sweepAtMs = 0;
  #tidyAtMs = 0;
  #state: "connected" | "away" | undefined;
  #wake = Promise.withResolvers<void>();
  #running: Promise<void> = Promise.resolve();

  constructor(settings: RedisQueueSettings, links: Links, driver: DriverOptions, options: ConsumeOptions) {
    this.#settings = settings;
    this.#links = links;
    this.#driver = driver;
    this.#options = options;
    this.#consumer = `${hostname()}-${driver.ports.ids.uuid()}`;
    this.#reserve = options.window < RESERVING_WINDOW ? 0 : Math.floor(options.window / 8);
    this.#backoff = new Backoff(AWAY, driver.ports.random);
    this.#hand = new Hand(settings, links, driver, this.#consumer, () => this.#ring());
  }

  /** Throws what no repetition mends; a server that is away only delays it. */
  async begin(): Promise<void> {
    try {
      await this.#links.main();
    } catch (error) {
      if (!(error instanceof TransporterError) || error.code !== "QUEUE_UNAVAILABLE") throw error;
      this.#turn("away", error.message);
    }
    this.#hand.begin();
    this.#running = this.#run();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#ring();
  }

  stop(patienceMs: number): Promise<void> {
    this.#stopped ??= this.#end(patienceMs);
    return this.#stopped;
  }

  async #end(patienceMs: number): Promise<void> {
    const reachable = this.#state === "connected";
    this.#stop.abort(new Error("stopped"));
    this.#ring();
    await this.#waiting?.close();
    // An attempt to connect takes as long as it takes, and brings nothing any more.
    await (reachable ? this.#running : Promise.race([this.#running, this.#driver.ports.timers.sleep(LOOK_MS)]));
    if (reachable) await this.#claimLost();
    await this.#hand.end(patienceMs, reachable);
    if (reachable) await this.#tidy(this.#consumer).catch(() => undefined);
    await this.#waiting?.close();
  }

  /** What was handed over on the connection that has just been closed. */
  async #claimLost(): Promise<void> {
    try {
      await this.#claim(await this.#links.main(), TAKE_COUNT, true);
    } catch (error) {
      this.#driver.log.debug("What was on its way from the queue comes again by itself", { error: messageOf(error) });
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const brought = await this.#turnOnce();
        this.#backoff.reset();
        this.#turn("connected", undefined);
        if (brought === "nothing") await this.#sleep(LOOK_MS);
      } catch (error) {
        if (signal.aborted) return;
        this.#recover = true;
        const main = await this.#links.main().catch(() => undefined);
        this.#turn("away", messageOf(main === undefined ? error : main.fault(error)));
        await this.#sleep(this.#backoff.next());
      }
    }
  }

  /** One look at the queue. `nothing`: there is no reason to look again at once. */
  async #turnOnce(): Promise<"some" | "nothing"> {
    const link = await this.#links.main();
    if (this.#paused) {
      // Knows all the same whether the queue is there.
      await link.client.ping();
      await this.#sleep(SWEEP_MS);
      return "some";
    }
    const room = this.#options.window - this.#hand.size;
    if (room <= 0) return "nothing";
    const calm = room - this.#reserve;
    const nowMs = this.#driver.ports.clock.monotonic();
    if (this.#recover) {
      await this.#claim(link, room, true);
      this.#recover = false;
      return "some";
    }
    if (nowMs >= this.#sweepAtMs) {
      this.#sweepAtMs = nowMs + Math.min(SWEEP_MS, Math.max(SWEEP_LEAST_MS, this.#settings.claimAfterMs / 5));
      if ((await this.#claim(link, room, false)) > 0) return "some";
    }
    if (nowMs >= this.#tidyAtMs) {
      this.#tidyAtMs = nowMs + TIDY_MS;
      await this.#tidy("");
    }
    const { streams, group } = this.#settings;
    const taken = entriesOf(
      await runScript(link.client, TAKE, streams, [group, this.#consumer, Math.min(room, TAKE_COUNT), TAKE_BYTES, this.#reserveOf(room)]),
    );
    this.#take(taken);
    if (taken.length > 0) return "some";
    // It may bring one of each band.
    if (calm < streams.length) return "nothing";
    return this.#await();
  }

  /** How much of what one command may bring is for urgent ones alone. */
  #reserveOf(room: number): number {
    return Math.max(0, Math.min(room, TAKE_COUNT) - Math.max(0, room - this.#reserve));
  }

  /** What nobody works on any more; or, with `own`, what was handed to this consumer and was lost on the way. */
  async #claim(link: RedisLink, room: number, own: boolean): Promise<number> {
    const { streams, dead, group, ids, claimAfterMs, maxDeliveries, maxDead } = this.#settings;
    const reply = await runScript(
      link.client,
      CLAIM,
      [...streams, dead],
      [
        group,
        this.#consumer,
        own ? 0 : claimAfterMs,
        Math.min(room, TAKE_COUNT),
        TAKE_BYTES,
        maxDeliveries,
        "QUEUE_DELIVERIES_EXHAUSTED",
        EXHAUSTED_REASON,
        maxDead,
        own ? "1" : "0",
        ids,
        this.#reserveOf(room),
        ...this.#hand.keys(),
      ],
    );
    const [claimed, buried] = Array.isArray(reply) ? (reply as unknown[]) : [];
    for (const row of Array.isArray(buried) ? (buried as unknown[]) : []) {
      const [, id] = Array.isArray(row) ? (row as unknown[]) : [];
      this.#driver.log.warn("A message was handed out too often and is in the dead letters", {
        event_id: String(id),
        deliveries: maxDeliveries,
        queue: this.#settings.name,
      });
    }
    const entries = entriesOf(claimed);
    this.#take(entries);
    return entries.length;
  }

  /** Waits for the next message, on a connection of its own. */
  async #await(): Promise<"some"> {
    const waiting = this.#waiting ?? (await this.#links.blocking());
    if (this.#stop.signal.aborted) {
      await waiting.close();
      return "some";
    }
    this.#waiting = waiting;
    const { streams, group, address } = this.#settings;
    // A server that vanished closes no connection.
    const guard: TimerHandle = this.#driver.ports.timers.after(BLOCK_MS + address.timeoutMs, () => waiting.reset());
    try {
      const reply: unknown = await waiting.client.xreadgroupBuffer(
        "GROUP",
        group,
        this.#consumer,
        "COUNT",
        1,
        "BLOCK",
        BLOCK_MS,
        "STREAMS",
        ...streams,
        ...streams.map(() => ">"),
      );
      this.#take(readEntries(reply, streams));
    } catch (error) {
      // Its streams are gone or not there yet; whoever takes next makes them.
      if (!/NOGROUP|UNBLOCKED/.test(messageOf(error))) throw error;
    } finally {
      guard.cancel();
    }
    return "some";
  }

  #take(entries: readonly StreamEntry[]): void {
    for (const entry of entries) {
      // It was told to take no more while this was on its way.
      if (this.#paused || this.#stop.signal.aborted) this.#hand.giveBack(entry);
      else this.#hand.take(entry, () => this.#options.take(messageOfEntry(entry)));
    }
  }

  async #tidy(own: string): Promise<void> {
    const link = await this.#links.main();
    await runScript(link.client, TIDY, this.#settings.streams, [this.#settings.group, FORGET_MS, own]);
  }

  #turn(state: "connected" | "away", why: string | undefined): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.onState(state, why);
    if (state === "connected" && !this.#inspected) void this.#inspect();
  }

  /** Says once what the server's settings lose of what waits there. */
  async #inspect(): Promise<void> {
    this.#inspected = true;
    try {
      for (const { level, name, message, remedy } of await inspectRedis(await this.#links.main()))
        if (level !== "ok") this.#driver.log.warn(`The queue's Redis: ${message}`, { setting: name, remedy, queue: this.#settings.name });
    } catch {
      // It is away again; it was told that.
      this.#inspected = false;
    }
  }

  #ring(): void {
    this.#wake.resolve();
  }

  /** Until that long, or until there is a reason to look. */
  async #sleep(ms: number): Promise<void> {
    const over = new AbortController();
    const slept = this.#driver.ports.timers.sleep(ms, over.signal).catch(() => undefined);
    await Promise.race([slept, this.#wake.promise]);
    over.abort(new Error("woken"));
    this.#wake = Promise.withResolvers<void>();
  }
}

function messageOfEntry({ bandNumber, deliveries, fields }: StreamEntry): QueueMessage {
  return {
    id: textField(fields, "id"),
    body: fields.get("body") ?? new Uint8Array(),
    band: bandOfNumber(bandNumber),
    deliveries,
    traceparent: textField(fields, "traceparent"),
    producer: textField(fields, "producer"),
  };
}
