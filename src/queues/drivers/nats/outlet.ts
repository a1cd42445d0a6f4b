import { jetstream, jetstreamManager, RetentionPolicy, StorageType } from "@nats-io/jetstream";
import { headers, nanos, type NatsConnection } from "@nats-io/transport-node";
import { TransporterError } from "../../../kit/mod.ts";
import type { QueueOptions } from "../../open.ts";
import type { Outlet, OutletEvent, QueueInfo } from "../../port.ts";
import { type NatsAddress, parseNatsUrl } from "./address.ts";
import { domainOf } from "./dead-letters.ts";
import { API_CODE, apiCodeOf, queueFault } from "./fault.ts";
import { NatsLink } from "./link.ts";
import { HEADER_ROOM_BYTES, headerText } from "./message.ts";
import { covers, subjectsIn } from "./streams.ts";

/** Of a server that nobody configured. */
const DEFAULT_MAX_PAYLOAD = 1024 * 1024;
const AT_ONCE = 256;

/** Resolves when the URL is understood. Throws QUEUE_INVALID, FILE_UNREADABLE. */
export function openNatsOutlet(url: string, options: QueueOptions): Promise<Outlet> {
  return Promise.resolve().then(() => new NatsOutlet(parseNatsUrl(url, options.secrets ?? {}), options));
}

/** One token of a subject for any agent's id: what a token cannot have stands as %XX. */
export function subjectToken(text: string): string {
  return [...new TextEncoder().encode(text.toWellFormed())]
    .map((byte) => {
      const char = String.fromCharCode(byte);
      return /[A-Za-z0-9_-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    })
    .join("");
}

class NatsOutlet implements Outlet {
  readonly #address: NatsAddress;
  readonly #options: QueueOptions;
  readonly #link: NatsLink;
  #ensured: NatsConnection | undefined;

  constructor(address: NatsAddress, options: QueueOptions) {
    this.#address = address;
    this.#options = options;
    this.#link = new NatsLink({
      address,
      clientName: options.clientName ?? "transporter-cp-outlet",
      ports: options.ports,
      log: options.log,
    });
    this.#link.start();
  }

  get info(): QueueInfo {
    const { location, outStream } = this.#address;
    const most = this.#link.connection?.info?.max_payload ?? DEFAULT_MAX_PAYLOAD;
    return { driver: "nats", location, name: outStream, maxMessageBytes: most - HEADER_ROOM_BYTES };
  }

  async emit(events: readonly OutletEvent[]): Promise<void> {
    try {
      const connection = await this.#link.ready(this.#address.timeoutMs);
      await this.#ensure(connection);
      const client = jetstream(connection, domainOf(this.#address));
      for (let at = 0; at < events.length; at += AT_ONCE)
        await Promise.all(events.slice(at, at + AT_ONCE).map((event) => this.#publish(client, event)));
    } catch (error) {
      throw queueFault(error, `publishing statuses to stream ${this.#address.outStream}`);
    }
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  async #publish(client: ReturnType<typeof jetstream>, event: OutletEvent): Promise<void> {
    const made = headers();
    made.set("Content-Type", "application/cloudevents+json; charset=utf-8");
    await client.publish(this.#subjectOf(event), event.body, {
      msgID: headerText(event.id),
      headers: made,
      expect: { streamName: this.#address.outStream },
    });
  }

  #subjectOf({ kind, agentId }: OutletEvent): string {
    const { outSubject: subject } = this.#address;
    if (kind === "audit") return `${subject}.audit`;
    return `${subject}.status.${agentId === undefined ? "_" : subjectToken(agentId)}`;
  }

  async #ensure(connection: NatsConnection): Promise<void> {
    if (this.#ensured === connection) return;
    const { outStream: stream, outSubject: subject, outMaxAgeMs, replicas, dedupMs } = this.#address;
    const subjects = [`${subject}.status.*`, `${subject}.audit`];
    const manager = await jetstreamManager(connection, { ...domainOf(this.#address), checkAPI: false });
    let there = await manager.streams.info(stream).catch((error: unknown) => {
      if (apiCodeOf(error) === API_CODE.streamNotFound) return undefined;
      throw error;
    });
    if (there === undefined) {
      there = await manager.streams.add({
        name: stream,
        description: "Statuses and audit entries of Transporter, as CloudEvents",
        subjects,
        retention: RetentionPolicy.Limits,
        storage: StorageType.File,
        max_age: nanos(outMaxAgeMs),
        duplicate_window: nanos(outMaxAgeMs > 0 ? Math.min(dedupMs, outMaxAgeMs) : dedupMs),
        num_replicas: replicas,
      });
      this.#options.log.info("Made the stream", { stream, subjects: subjects.join(" ") });
    }
    const has = subjectsIn(there.config);
    const missing = subjects.find((one) => !has.some((pattern) => covers(pattern, one.replace("*", "x"))));
    if (missing !== undefined)
      throw new TransporterError("QUEUE_INVALID", `stream ${stream} is there already and does not take the subject ${missing}`, {
        remedy: "Add the subject to the stream, or name another one in the outlet's URL.",
      });
    this.#ensured = connection;
  }
}
