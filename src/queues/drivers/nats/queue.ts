import { jetstream, jetstreamManager, type JetStreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { messageOf, TransporterError } from "../../../kit/mod.ts";
import type { DriverOptions } from "../../open.ts";
import {
  type Band,
  bandOf,
  BANDS,
  type ConsumeOptions,
  type Consumption,
  type DeadLetters,
  type OutgoingEvent,
  type Queue,
  type QueueInfo,
  type QueueStatus,
} from "../../port.ts";
import { consumerOf, type NatsAddress, parseNatsUrl, subjectOf } from "./address.ts";
import { NatsConsumption } from "./consumption.ts";
import { buryBySequence, domainOf } from "./dead-letters.ts";
import { API_CODE, apiCodeOf, isNoResponders, queueFault } from "./fault.ts";
import { letterBox } from "./letter-box.ts";
import { NatsLink } from "./link.ts";
import { HEADER_ROOM_BYTES, headersOf, headerText } from "./message.ts";
import { type ConsumerTraits, ensureConsumers, ensureDeadStream, ensureStream } from "./streams.ts";

/** Of a server that nobody configured. */
const DEFAULT_MAX_PAYLOAD = 1024 * 1024;
const STATUS_TIMEOUT_MS = 3_000;
/** A server that has no leader yet does not answer, and is better asked again. */
const API_TIMEOUT_MS = 5_000;
const RETRY_MS = 250;

/** Resolves when the URL is understood; the connection comes in the background. Throws QUEUE_INVALID, FILE_UNREADABLE. */
export function openNatsQueue(url: string, options: DriverOptions): Promise<Queue> {
  return Promise.resolve().then(() => new NatsQueue(parseNatsUrl(url, options.secrets ?? {}), options));
}

class NatsQueue implements Queue {
  readonly deadLetters: DeadLetters;
  readonly #address: NatsAddress;
  readonly #options: DriverOptions;
  readonly #link: NatsLink;
  readonly #clientName: string;
  readonly #consumptions = new Set<NatsConsumption>();
  #limits = { maxPayload: DEFAULT_MAX_PAYLOAD, maxStreamMessage: Number.POSITIVE_INFINITY };
  /** What was made sure of on which connection. */
  #ensured: { readonly connection: NatsConnection; readonly traits: Promise<Readonly<Record<Band, ConsumerTraits>>> } | undefined;

  constructor(address: NatsAddress, options: DriverOptions) {
    this.#address = address;
    this.#options = options;
    this.#clientName = options.clientName ?? (options.role === "producer" ? "transporter-send" : "transporter-cp");
    this.#link = new NatsLink({ address, clientName: this.#clientName, ports: options.ports, log: options.log });
    this.#link.listen((connection) => {
      if (connection === undefined) return;
      this.#limits = { ...this.#limits, maxPayload: connection.info?.max_payload ?? DEFAULT_MAX_PAYLOAD };
      if (options.role === "control-plane") this.#hearExhausted(connection);
    });
    this.#link.start();
    this.deadLetters = letterBox(address, async () => {
      const connection = await this.#link.now(STATUS_TIMEOUT_MS);
      return { connection, manager: await this.#manager(connection, STATUS_TIMEOUT_MS) };
    });
  }

  get info(): QueueInfo {
    const { maxPayload, maxStreamMessage } = this.#limits;
    return {
      driver: "nats",
      location: this.#address.location,
      name: this.#address.stream,
      maxMessageBytes: Math.max(0, Math.min(maxPayload, maxStreamMessage) - HEADER_ROOM_BYTES),
    };
  }

  async publish(event: OutgoingEvent): Promise<{ readonly duplicate: boolean }> {
    const address = this.#address;
    const { ports } = this.#options;
    const subject = subjectOf(address, bandOf(event.priority));
    const untilMs = ports.clock.monotonic() + address.timeoutMs;
    for (;;) {
      const leftMs = Math.max(1, untilMs - ports.clock.monotonic());
      try {
        const connection = await this.#link.ready(leftMs);
        if (this.#options.role === "control-plane") await this.#ensure(connection);
        if (event.body.byteLength > this.info.maxMessageBytes) throw this.#tooLarge(event);
        const { duplicate } = await jetstream(connection, domainOf(address)).publish(subject, event.body, {
          // The server knows it by that when an answer got lost and it is sent again.
          msgID: headerText(event.id),
          headers: headersOf(event, this.#clientName),
          timeout: Math.min(leftMs, 5_000),
          expect: { streamName: address.stream },
        });
        return { duplicate };
      } catch (error) {
        // The stream may have been deleted: it is looked at again.
        if (isNoResponders(error)) this.#ensured = undefined;
        const fault = this.#publishFault(error, subject, event);
        if (fault.kind !== "unavailable" || ports.clock.monotonic() + RETRY_MS >= untilMs) throw fault;
        await ports.timers.sleep(RETRY_MS);
      }
    }
  }

  async consume(options: ConsumeOptions): Promise<Consumption> {
    const { ports, log } = this.#options;
    const consumption = new NatsConsumption({
      ...options,
      address: this.#address,
      link: this.#link,
      ensure: (connection) => this.#ensureAnew(connection),
      ports,
      log,
    });
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
    const address = this.#address;
    try {
      const connection = await this.#link.now(STATUS_TIMEOUT_MS);
      if (this.#options.role !== "observer") await this.#ensure(connection);
      const manager = await this.#manager(connection, STATUS_TIMEOUT_MS);
      const [consumers, dead] = await Promise.all([
        Promise.all(BANDS.map((band) => manager.consumers.info(address.stream, consumerOf(address, band)))),
        manager.streams.info(address.deadStream).then(
          ({ state }) => state.messages,
          () => undefined,
        ),
      ]);
      const oldest = await Promise.all(
        BANDS.map(async (band, index) => {
          const info = consumers[index];
          if (info === undefined || info.num_pending === 0) return undefined;
          const after = { seq: info.delivered.stream_seq + 1, next_by_subj: subjectOf(address, band) };
          const stored = await manager.streams.getMessage(address.stream, after).catch(() => null);
          return stored?.time.getTime();
        }),
      );
      const times = oldest.filter((time) => time !== undefined);
      const [urgent = 0, normal = 0, low = 0] = consumers.map(({ num_pending }) => num_pending);
      return {
        waiting: { urgent, normal, low },
        inHand: consumers.reduce((sum, { num_ack_pending }) => sum + num_ack_pending, 0),
        dead,
        oldestMs: times.length === 0 ? undefined : Math.max(0, this.#options.ports.clock.now() - Math.min(...times)),
      };
    } catch (error) {
      throw queueFault(error, `asking for the state of stream ${address.stream}`);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#consumptions].map((consumption) => consumption.stop(0)));
    await this.#link.close();
  }

  #manager(connection: NatsConnection, timeoutMs = API_TIMEOUT_MS): Promise<JetStreamManager> {
    return jetstreamManager(connection, { ...domainOf(this.#address), timeout: timeoutMs, checkAPI: false });
  }

  /** Once for each connection. */
  #ensure(connection: NatsConnection): Promise<Readonly<Record<Band, ConsumerTraits>>> {
    return this.#ensured?.connection === connection ? this.#ensured.traits : this.#ensureAnew(connection);
  }

  #ensureAnew(connection: NatsConnection): Promise<Readonly<Record<Band, ConsumerTraits>>> {
    const traits = this.#prepare(connection);
    const ensured = { connection, traits };
    this.#ensured = ensured;
    traits.catch(() => {
      if (this.#ensured === ensured) this.#ensured = undefined;
    });
    return traits;
  }

  async #prepare(connection: NatsConnection): Promise<Readonly<Record<Band, ConsumerTraits>>> {
    const { log } = this.#options;
    const manager = await this.#manager(connection);
    const config = await ensureStream(manager, this.#address, log);
    this.#limits = {
      ...this.#limits,
      maxStreamMessage: config.max_msg_size > 0 ? config.max_msg_size : Number.POSITIVE_INFINITY,
    };
    await ensureDeadStream(manager, this.#address, log);
    return ensureConsumers(manager, this.#address, log);
  }

  #tooLarge(event: OutgoingEvent): TransporterError {
    const { maxMessageBytes, name } = this.info;
    return new TransporterError(
      "QUEUE_MESSAGE_TOO_LARGE",
      `event ${event.id} has ${event.body.byteLength} bytes; stream ${name} takes ${maxMessageBytes} at most`,
      { details: { bytes: event.body.byteLength, max_bytes: maxMessageBytes } },
    );
  }

  #publishFault(error: unknown, subject: string, event: OutgoingEvent): TransporterError {
    const code = apiCodeOf(error);
    if (code === API_CODE.messageTooLarge) return this.#tooLarge(event);
    const nobody = this.#options.role === "producer" && isNoResponders(error);
    if (nobody || code === API_CODE.wrongStream || code === API_CODE.streamNotFound)
      return new TransporterError(
        "QUEUE_UNAVAILABLE",
        nobody ? `no stream takes the subject ${subject}` : `the subject ${subject} belongs to another stream than ${this.#address.stream}`,
        {
          cause: error,
          remedy: "Check the stream's name; a control plane with --queue makes it when it starts.",
        },
      );
    return queueFault(error, `publishing to ${subject}`);
  }

  /** What the server gives up on is told once, to one of the control planes that listen. */
  #hearExhausted(connection: NatsConnection): void {
    const { stream, consumer } = this.#address;
    if (this.#heard === connection) return;
    this.#heard = connection;
    connection.subscribe(`$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.${stream}.*`, {
      queue: consumer,
      callback: (error, message) => {
        if (error !== null) return;
        const advisory = message.json<{ readonly stream_seq?: unknown; readonly deliveries?: unknown; readonly consumer?: unknown }>();
        const ours = BANDS.some((band) => consumerOf(this.#address, band) === advisory.consumer);
        if (ours && typeof advisory.stream_seq === "number") void this.#bury(advisory.stream_seq, Number(advisory.deliveries));
      },
    });
  }
  #heard: NatsConnection | undefined;

  async #bury(sequence: number, deliveries: number): Promise<void> {
    const { log, ports } = this.#options;
    for (let attempt = 1; attempt <= 5; attempt += 1) {
      try {
        const connection = await this.#link.ready(this.#address.timeoutMs);
        const there = await buryBySequence(connection, await this.#manager(connection), this.#address, sequence, {
          kind: "dead",
          code: "QUEUE_DELIVERIES_EXHAUSTED",
          reason: `the message was handed out ${deliveries} times and never settled`,
          eventId: undefined,
        });
        if (there)
          log.warn("Put a message among the dead letters", {
            sequence,
            code: "QUEUE_DELIVERIES_EXHAUSTED",
            stream: this.#address.deadStream,
          });
        return;
      } catch (error) {
        log.warn("A message that the server gave up could not be put among the dead letters", { sequence, error: messageOf(error) });
        await ports.timers.sleep(1_000 * attempt);
      }
    }
  }
}
