import { type Msg } from "@nats-io/nats-core";
import { TransporterError } from "../../../kit/mod.ts";
import { refusalOf } from "./faults.ts";
import type { MemphisLink } from "./link.ts";
import { type Partition, partitionsOf } from "./names.ts";
import type { MemphisSettings } from "./settings.ts";
import type { Tuning } from "./tuning.ts";

/** The one that the broker's last clients speak; 2 to 5 are answered alike, less is refused. */
const REQUEST_VERSION = 4;
const LANGUAGE = "node.js";

/** Who asks, as all requests say it. */
export interface Asker {
  readonly connectionId: string;
  /** One for each process. */
  readonly appId: string;
}

/** The body of a station's creation. A field that is left out has a meaning of its own to the broker, so all are there. */
export function stationCreation(settings: MemphisSettings, name: string): Record<string, unknown> {
  return {
    name,
    retention_type: "message_age_sec",
    retention_value: settings.retentionSeconds,
    storage_type: "file",
    replicas: settings.replicas,
    idempotency_window_in_ms: settings.idempotencyWindowMs,
    schema_name: "",
    dls_configuration: { poison: true, schemaverse: true },
    username: settings.username,
    tiered_storage_enabled: false,
    partitions_number: settings.partitions,
    dls_station: "",
  };
}

export function producerCreation(settings: MemphisSettings, asker: Asker, station: string): Record<string, unknown> {
  return {
    name: settings.producer,
    station_name: station,
    connection_id: asker.connectionId,
    producer_type: "application",
    req_version: REQUEST_VERSION,
    username: settings.username,
    app_id: asker.appId,
    sdk_lang: LANGUAGE,
  };
}

export function consumerCreation(settings: MemphisSettings, asker: Asker, station: string): Record<string, unknown> {
  return {
    name: settings.consumer,
    station_name: station,
    connection_id: asker.connectionId,
    consumer_type: "application",
    consumers_group: settings.consumer,
    max_ack_time_ms: settings.ackWaitMs,
    max_msg_deliveries: settings.maxDeliveries,
    username: settings.username,
    start_consume_from_sequence: 1,
    // All that is there. Without it a new group would begin with what comes after it.
    last_messages: -1,
    req_version: REQUEST_VERSION,
    app_id: asker.appId,
    sdk_lang: LANGUAGE,
  };
}

/** What a durable tells about itself. */
export interface DurableState {
  readonly waiting: number;
  readonly inHand: number;
  /** The last message that was handed out, by its sequence in the stream. */
  readonly delivered: number;
}

/** Makes stations, producers and consumers by the broker's control subjects, and looks whether they are there. */
export class MemphisControl {
  readonly #link: MemphisLink;
  readonly #settings: MemphisSettings;
  readonly #tuning: Tuning;
  readonly #asker: Asker;
  readonly #known = new Map<string, readonly Partition[]>();

  constructor(link: MemphisLink, settings: MemphisSettings, tuning: Tuning, appId: string) {
    this.#link = link;
    this.#settings = settings;
    this.#tuning = tuning;
    this.#asker = { connectionId: link.connectionId, appId };
  }

  /**
   * Makes the station where there is none; one that exists stays as it is. The broker says yes even where it made nothing, so only what is
   * done with the station afterwards tells.
   */
  async createStation(name: string): Promise<void> {
    await this.#ask("$memphis_station_creations", stationCreation(this.#settings, name), `the station ${name}`);
  }

  /** Says that we produce to the station; answers its partitions. */
  async createProducer(station: string): Promise<Partition[]> {
    const body = producerCreation(this.#settings, this.#asker, station);
    const reply = await this.#ask("$memphis_producer_creations", body, `a producer at the station ${station}`);
    return this.#learned(station, reply);
  }

  /** Makes the group's durables or joins it; answers the partitions, each looked at. */
  async createConsumer(station: string): Promise<Partition[]> {
    const body = consumerCreation(this.#settings, this.#asker, station);
    const reply = await this.#ask("$memphis_consumer_creations", body, `a consumer at the station ${station}`);
    const partitions = this.#learned(station, reply);
    for (const { stream } of partitions)
      if ((await this.durable(stream, durableOf(this.#settings))) === undefined)
        throw new TransporterError("QUEUE_UNAVAILABLE", `Memphis made no consumer at ${stream}, though it said so`);
    return partitions;
  }

  /** Those that the broker last told of, or those that we would ask for. */
  partitions(station: string): readonly Partition[] {
    const numbers = Array.from({ length: this.#settings.partitions }, (_, index) => index + 1);
    return this.#known.get(station) ?? partitionsOf(station, numbers);
  }

  #learned(station: string, reply: Record<string, unknown> | undefined): Partition[] {
    const partitions = partitionsOf(station, numbersOf(reply, station));
    this.#known.set(station, partitions);
    return partitions;
  }

  /** Undefined when there is no such durable, or no such stream. */
  async durable(stream: string, durable: string): Promise<DurableState | undefined> {
    const info = await this.#info(`$JS.API.CONSUMER.INFO.${stream}.${durable}`, `the consumer at ${stream}`);
    if (info === undefined) return undefined;
    const delivered = countOf((info["delivered"] as Record<string, unknown> | undefined)?.["stream_seq"]);
    return { waiting: countOf(info["num_pending"]), inHand: countOf(info["num_ack_pending"]), delivered };
  }

  /** How many messages it holds; undefined when there is no such stream. */
  async streamMessages(stream: string): Promise<number | undefined> {
    const info = await this.#info(`$JS.API.STREAM.INFO.${stream}`, `the stream ${stream}`);
    return info === undefined ? undefined : countOf((info["state"] as Record<string, unknown> | undefined)?.["messages"]);
  }

  /** When the first message after this sequence was published, in milliseconds since the epoch; undefined when there is none. */
  async publishedAfter({ stream, subject }: Partition, sequence: number): Promise<number | undefined> {
    const body = JSON.stringify({ seq: sequence + 1, next_by_subj: subject });
    const found = await this.#info(`$JS.API.STREAM.MSG.GET.${stream}`, `a message of ${stream}`, body);
    const time = (found?.["message"] as Record<string, unknown> | undefined)?.["time"];
    const timeMs = typeof time === "string" ? Date.parse(time) : Number.NaN;
    return Number.isNaN(timeMs) ? undefined : timeMs;
  }

  async #info(subject: string, what: string, body = ""): Promise<Record<string, unknown> | undefined> {
    const reply = jsonOf(await this.#link.request(subject, body, what, this.#tuning.answerMs));
    const error = reply?.["error"] as { readonly code?: number; readonly description?: string } | undefined;
    if (reply !== undefined && error === undefined) return reply;
    if (error?.code === 404) return undefined;
    throw new TransporterError("QUEUE_UNAVAILABLE", `Memphis tells nothing of ${what}: ${error?.description ?? "no JSON"}`);
  }

  /**
   * Only the first reply counts: a refused consumer gets two, and the second looks like a success. Silence is for whoever wanted it to ask again:
   * a consumer does so for ever, a producer for as long as its message may take.
   */
  async #ask(subject: string, body: Record<string, unknown>, what: string): Promise<Record<string, unknown> | undefined> {
    return readReply(await this.#link.request(subject, JSON.stringify(body), what, this.#tuning.controlMs), what);
  }
}

/** The durable of our group, by its name in streams. */
export function durableOf(settings: MemphisSettings): string {
  return settings.consumer.replaceAll(".", "#");
}

function jsonOf(reply: Msg): Record<string, unknown> | undefined {
  try {
    const value: unknown = reply.json();
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Nothing is a success, JSON says itself whether it is one, and any other text is what went wrong. */
export function readReply(reply: Msg, what: string): Record<string, unknown> | undefined {
  if (reply.data.byteLength === 0) return undefined;
  const json = jsonOf(reply);
  if (json === undefined) throw refusalOf(reply.string(), what);
  const error = json["error"];
  if (typeof error === "string" && error !== "") throw refusalOf(error, what);
  return json;
}

/** Null, absent and empty lists are those of stations that were made without partitions. */
function numbersOf(reply: Record<string, unknown> | undefined, station: string): number[] {
  const list = (reply?.["partitions_update"] as Record<string, unknown> | undefined)?.["partitions_list"] ?? [];
  if (!Array.isArray(list) || list.some((one) => !Number.isSafeInteger(one) || one < 1))
    throw new TransporterError("QUEUE_UNAVAILABLE", `Memphis tells no partitions of the station ${station}`);
  return list as number[];
}

function countOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}
