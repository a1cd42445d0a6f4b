import { jetstream, jetstreamManager, RetentionPolicy, StorageType } from "@nats-io/jetstream";
import { headers, nanos, type NatsConnection } from "@nats-io/transport-node";
import { TransporterError } from "../../../kit/mod.ts";
import type { QueueOptions } from "../../open.ts";
import type { Outlet, OutletEvent, QueueInfo } from "../../port.ts";
import { type NatsAddress, parseNatsUrl } from "./address.ts";
import { domainOf } from "./dead-letters.ts";
import { API_CODE, apiCodeOf, queueFault } from "./fault.ts";
import { NatsLink } from "./link.ts";
import { headerText } from "./message.ts";
import { covers } from "./streams.ts";

const DEFAULT_STREAM = "TRANSPORTER_OUT";
const DEFAULT_SUBJECT = "transporter";
const DAY_MS = 86_400_000;
const KEPT_MS = 7 * DAY_MS;
const AT_ONCE = 256;

/** Resolves when the URL is understood. Throws QUEUE_INVALID, FILE_UNREADABLE. */
export function openNatsOutlet(url: string, options: QueueOptions): Promise<Outlet> {
  return Promise.resolve().then(() => {
    const address = parseNatsUrl(url, options.secrets ?? {}, { stream: DEFAULT_STREAM });
    // The events' default subject is none for what comes out of them.
    const subject = /[?&]subject=/.test(url) ? address.subject : DEFAULT_SUBJECT;
    return new NatsOutlet({ ...address, subject }, options);
  });
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
  readonly info: QueueInfo;
  readonly #address: NatsAddress;
  readonly #options: QueueOptions;
  readonly #link: NatsLink;
  #ensured: NatsConnection | undefined;

  constructor(address: NatsAddress, options: QueueOptions) {
    this.#address = address;
    this.#options = options;
    this.info = { driver: "nats", location: address.location, name: address.stream, maxMessageBytes: 1024 * 1024 };
    this.#link = new NatsLink({
      address,
      clientName: options.clientName ?? "transporter-cp-outlet",
      ports: options.ports,
      log: options.log,
    });
    this.#link.start();
  }

  async emit(events: readonly OutletEvent[]): Promise<void> {
    try {
      const connection = await this.#link.ready(this.#address.timeoutMs);
      await this.#ensure(connection);
      const client = jetstream(connection, domainOf(this.#address));
      for (let at = 0; at < events.length; at += AT_ONCE)
        await Promise.all(events.slice(at, at + AT_ONCE).map((event) => this.#publish(client, event)));
    } catch (error) {
      throw queueFault(error, `publishing statuses to stream ${this.#address.stream}`);
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
      expect: { streamName: this.#address.stream },
    });
  }

  #subjectOf({ kind, agentId }: OutletEvent): string {
    const { subject } = this.#address;
    if (kind === "audit") return `${subject}.audit`;
    return `${subject}.status.${agentId === undefined ? "_" : subjectToken(agentId)}`;
  }

  async #ensure(connection: NatsConnection): Promise<void> {
    if (this.#ensured === connection) return;
    const { stream, subject, maxAgeMs, maxBytes, replicas, dedupMs } = this.#address;
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
        max_age: nanos(maxAgeMs > 0 ? maxAgeMs : KEPT_MS),
        max_bytes: maxBytes,
        duplicate_window: nanos(dedupMs),
        num_replicas: replicas,
      });
      this.#options.log.info("Made the stream", { stream, subjects: subjects.join(" ") });
    }
    const has = there.config.subjects ?? [];
    const missing = subjects.find((one) => !has.some((pattern) => covers(pattern, one.replace("*", "x"))));
    if (missing !== undefined)
      throw new TransporterError("QUEUE_INVALID", `stream ${stream} is there already and does not take the subject ${missing}`, {
        remedy: "Add the subject to the stream, or name another one in the outlet's URL.",
      });
    this.#ensured = connection;
  }
}
