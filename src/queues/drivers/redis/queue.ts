import { TransporterError } from "../../../kit/mod.ts";
import type { RedisLink } from "../../../redis/mod.ts";
import type { DriverOptions } from "../../open.ts";
import {
  BANDS,
  type ConsumeOptions,
  type Consumption,
  type DeadLetter,
  type DeadLetters,
  type OutgoingEvent,
  type Queue,
  type QueueInfo,
  type QueueStatus,
  bandOf,
} from "../../port.ts";
import { RedisConsumption } from "./consumption.ts";
import { bandOfNumber, entriesOf, textField } from "./entry.ts";
import { Links } from "./links.ts";
import { LIST_DEAD, PUBLISH, RESEND, STATUS, runScript } from "./scripts.ts";
import { type RedisQueueSettings, redisQueueSettings } from "./settings.ts";

/**
 * A queue in Redis Streams: one stream for each band, a consumer group over them, and a stream of dead letters. A message is taken out of its
 * stream only when it is settled. Resolves without asking the server. Throws QUEUE_INVALID.
 */
export async function openRedisQueue(url: string, options: DriverOptions): Promise<Queue> {
  return new RedisQueue(redisQueueSettings(url, options.secrets?.password), options);
}

class RedisQueue implements Queue {
  readonly info: QueueInfo;
  readonly deadLetters: DeadLetters = { list: (limit) => this.#listDead(limit), resend: (id) => this.#resend(id) };
  readonly #settings: RedisQueueSettings;
  readonly #options: DriverOptions;
  readonly #links: Links;
  readonly #consumptions = new Set<RedisConsumption>();

  constructor(settings: RedisQueueSettings, options: DriverOptions) {
    this.#settings = settings;
    this.#options = options;
    this.#links = new Links(settings, options.ports, options.log);
    const { address, name, maxMessageBytes } = settings;
    this.info = { driver: "redis", location: address.location, name, maxMessageBytes };
  }

  async publish(event: OutgoingEvent): Promise<{ readonly duplicate: boolean }> {
    const { streams, ids, duplicatesMs, maxLength, maxMessageBytes, address, name } = this.#settings;
    if (event.body.byteLength > maxMessageBytes)
      throw new TransporterError(
        "QUEUE_MESSAGE_TOO_LARGE",
        `event ${event.id} has ${event.body.byteLength} bytes, and a message in ${name} at ${address.location} may have ${maxMessageBytes}`,
      );
    const stream = streams[BANDS.indexOf(bandOf(event.priority))] ?? streams[1];
    const link = await this.#links.main();
    const producer = this.#options.clientName ?? "transporter-cp";
    const kept = await this.#ask(link, async () => {
      const answer = await runScript(
        link.client,
        PUBLISH,
        [stream, `${ids}${event.id}`],
        [event.id, event.body, event.traceparent ?? "", producer, duplicatesMs, maxLength],
      );
      await this.#replicated(link);
      return Number(answer);
    });
    if (kept < 0)
      throw new TransporterError(
        "QUEUE_UNAVAILABLE",
        `the queue ${name} at ${address.location} is full: ${maxLength} messages wait in ${stream}`,
        { remedy: "Wait until control planes have taken some, or raise max-length in the queue's address." },
      );
    return { duplicate: kept === 0 };
  }

  async consume(options: ConsumeOptions): Promise<Consumption> {
    const consumption = new RedisConsumption(this.#settings, this.#links, this.#options, options);
    await consumption.begin();
    this.#consumptions.add(consumption);
    return consumption;
  }

  async status(): Promise<QueueStatus> {
    const { streams, dead, group } = this.#settings;
    const link = await this.#links.main();
    const reply = await this.#ask(link, () => runScript(link.client, STATUS, [...streams, dead], [group]));
    const rows = Array.isArray(reply) ? (reply as unknown[]) : [];
    const bands = rows.slice(0, BANDS.length).map((row) => {
      const [waiting, inHand, oldest] = Array.isArray(row) ? (row as unknown[]) : [];
      const sinceMs = Number(Buffer.isBuffer(oldest) ? oldest.toString().split("-")[0] : Number.NaN);
      return { waiting: Number(waiting), inHand: Number(inHand), sinceMs: Number(waiting) > 0 && sinceMs > 0 ? sinceMs : undefined };
    });
    const oldest = bands.flatMap(({ sinceMs }) => sinceMs ?? []);
    const [urgent, normal, low] = bands.map(({ waiting }) => waiting);
    return {
      waiting: { urgent: urgent ?? 0, normal: normal ?? 0, low: low ?? 0 },
      inHand: bands.reduce((sum, { inHand }) => sum + inHand, 0),
      dead: Number(rows[3]),
      oldestMs: oldest.length === 0 ? undefined : Math.max(0, Number(rows[4]) - Math.min(...oldest)),
    };
  }

  async #listDead(limit: number): Promise<readonly DeadLetter[]> {
    const link = await this.#links.main();
    const reply = await this.#ask(link, () => runScript(link.client, LIST_DEAD, [this.#settings.dead], [limit]));
    return entriesOf(reply).map(({ bandNumber, streamId, deliveries, fields, bytes }) => ({
      id: streamId,
      eventId: textField(fields, "event_id") ?? textField(fields, "id"),
      code: textField(fields, "code") ?? "",
      reason: textField(fields, "reason") ?? "",
      band: bandOfNumber(bandNumber),
      deliveries,
      bytes,
      atMs: Number(streamId.split("-")[0]),
    }));
  }

  async #resend(letterId: string): Promise<boolean> {
    if (!/^\d{1,20}-\d{1,20}$/.test(letterId)) return false;
    const { dead, streams } = this.#settings;
    const link = await this.#links.main();
    return Number(await this.#ask(link, () => runScript(link.client, RESEND, [dead, ...streams], [letterId]))) === 1;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#consumptions].map((consumption) => consumption.stop(0)));
    await this.#links.close();
  }

  async #ask<T>(link: RedisLink, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      throw link.fault(error);
    }
  }

  /** Where the address asks for it, a message counts only when so many replicas have it. */
  async #replicated(link: RedisLink): Promise<void> {
    const { address, name } = this.#settings;
    if (address.wait === 0) return;
    const replicas = await link.client.wait(address.wait, address.timeoutMs);
    if (replicas < address.wait)
      throw new TransporterError(
        "QUEUE_UNAVAILABLE",
        `only ${replicas} replica${replicas === 1 ? "" : "s"} of ${address.location} took the message for ${name}, and wait=${address.wait} asks for more`,
      );
  }
}
