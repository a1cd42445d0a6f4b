import type { DriverOptions } from "../../open.ts";
import {
  type Band,
  BANDS,
  type ConsumeOptions,
  type Consumption,
  type OutgoingEvent,
  type Queue,
  type QueueInfo,
  type QueueStatus,
} from "../../port.ts";
import { MemphisConsumption } from "./consumption.ts";
import { durableOf, MemphisControl } from "./control.ts";
import { MemphisLink } from "./link.ts";
import { MemphisPublisher, stationOf } from "./publisher.ts";
import { type MemphisSettings, readMemphisUrl } from "./settings.ts";
import { type Tuning, TUNING } from "./tuning.ts";

/** Kept free for headers, with an id of 253 characters that all have to be encoded. */
const HEADER_BYTES = 4_096;

/**
 * A queue on a Memphis broker. Resolves when the URL and its files are understood; the broker is spoken to when something is wanted of it.
 * Throws QUEUE_INVALID or FILE_UNREADABLE.
 */
export async function openMemphisQueue(url: string, options: DriverOptions, tuning: Tuning = TUNING): Promise<Queue> {
  const settings = await readMemphisUrl(url, options.secrets);
  if (settings.secretInUrl)
    options.log.warn("a secret stands in the queue's URL, where lists of processes show it; give it in the environment or in a file");
  return new MemphisQueue(settings, options, tuning);
}

class MemphisQueue implements Queue {
  readonly #settings: MemphisSettings;
  readonly #options: DriverOptions;
  readonly #tuning: Tuning;
  readonly #link: MemphisLink;
  readonly #control: MemphisControl;
  readonly #publisher: MemphisPublisher;
  readonly #consumptions = new Set<MemphisConsumption>();

  constructor(settings: MemphisSettings, options: DriverOptions, tuning: Tuning) {
    const { ports, log } = options;
    this.#settings = settings;
    this.#options = options;
    this.#tuning = tuning;
    this.#link = new MemphisLink(settings, tuning, ports, log);
    this.#control = new MemphisControl(this.#link, settings, tuning, ports.ids.uuid());
    this.#publisher = new MemphisPublisher(this.#link, this.#control, settings, tuning, ports, log);
  }

  get info(): QueueInfo {
    const { location, station } = this.#settings;
    return { driver: "memphis", location, name: station, maxMessageBytes: this.#link.maxPayload - HEADER_BYTES };
  }

  publish(event: OutgoingEvent): Promise<{ readonly duplicate: boolean }> {
    return this.#publisher.publish(event);
  }

  async consume(options: ConsumeOptions): Promise<Consumption> {
    const { ports, log } = this.#options;
    const consumption = new MemphisConsumption(
      { link: this.#link, control: this.#control, settings: this.#settings, tuning: this.#tuning, ports, log },
      options,
    );
    this.#consumptions.add(consumption);
    try {
      await consumption.begin();
    } catch (error) {
      this.#consumptions.delete(consumption);
      throw error;
    }
    return consumption;
  }

  async status(): Promise<QueueStatus> {
    await this.#link.ready(0);
    const waiting: Record<Band, number> = { urgent: 0, normal: 0, low: 0 };
    let inHand = 0;
    let oldestMs: number | undefined;
    for (const band of BANDS)
      for (const partition of this.#control.partitions(stationOf(this.#settings, band))) {
        const durable = await this.#control.durable(partition.stream, durableOf(this.#settings));
        // Before the first consumer all that is there waits.
        const count = durable?.waiting ?? (await this.#control.streamMessages(partition.stream)) ?? 0;
        waiting[band] += count;
        inHand += durable?.inHand ?? 0;
        if (count === 0) continue;
        const atMs = await this.#control.publishedAfter(partition, durable?.delivered ?? 0);
        if (atMs !== undefined) oldestMs = Math.max(oldestMs ?? 0, this.#options.ports.clock.now() - atMs);
      }
    // Its dead letters are in a database that only its own user interface reads.
    return { waiting, inHand, dead: undefined, oldestMs };
  }

  async close(): Promise<void> {
    for (const consumption of this.#consumptions) await consumption.stop(0);
    await this.#link.close();
  }
}
