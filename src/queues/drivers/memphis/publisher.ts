import type { Msg } from "@nats-io/nats-core";
import { type Logger, messageOf, type Ports, TransporterError } from "../../../kit/mod.ts";
import { type Band, bandOf, type OutgoingEvent } from "../../port.ts";
import type { MemphisControl } from "./control.ts";
import { isUnserved } from "./faults.ts";
import { messageBytes, messageHeaders } from "./headers.ts";
import type { MemphisLink } from "./link.ts";
import type { Partition } from "./names.ts";
import { partitionForKey } from "./partition-key.ts";
import type { MemphisSettings } from "./settings.ts";
import type { Tuning } from "./tuning.ts";

/** Faults that no repetition mends, so that a band may have to do without its station. */
export function isFinal(error: unknown): boolean {
  return error instanceof TransporterError && (error.code === "QUEUE_DENIED" || error.code === "QUEUE_INVALID");
}

/** The station of a band: the plain name is what 0.1's producers fill and its control planes read. */
export function stationOf(settings: MemphisSettings, band: Band): string {
  return band === "normal" ? settings.station : `${settings.station}.${band}`;
}

interface PublishReply {
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly error?: { readonly code?: number; readonly err_code?: number; readonly description?: string };
}

/** JetStream's own number for a message above the stream's limit. */
const TOO_LARGE = 10_054;

/** Puts messages into the stations, made when they are first needed. */
export class MemphisPublisher {
  readonly #link: MemphisLink;
  readonly #control: MemphisControl;
  readonly #settings: MemphisSettings;
  readonly #tuning: Tuning;
  readonly #ports: Ports;
  readonly #log: Logger;
  readonly #stations = new Map<Band, Promise<Partition[]>>();
  /** Bands whose station cannot be made. */
  readonly #without = new Set<Band>();

  constructor(link: MemphisLink, control: MemphisControl, settings: MemphisSettings, tuning: Tuning, ports: Ports, log: Logger) {
    this.#link = link;
    this.#control = control;
    this.#settings = settings;
    this.#tuning = tuning;
    this.#ports = ports;
    this.#log = log;
  }

  /** Resolves when a station has the message durably. The same message may be sent several times before; its id keeps it single. */
  async publish(event: OutgoingEvent): Promise<{ readonly duplicate: boolean }> {
    const untilMs = this.#ports.clock.monotonic() + this.#tuning.publishMs;
    const leftMs = (): number => untilMs - this.#ports.clock.monotonic();
    const headers = messageHeaders(event, this.#link.connectionId, this.#settings.producer);
    for (let attempt = 1, sent = 0; ; attempt += 1) {
      try {
        await this.#link.ready(Math.max(0, leftMs()));
        this.#refuseTooLarge(event, messageBytes(headers, event.body));
        const partitions = await this.#partitions(bandOf(event.priority));
        // By the id, so that the same id meets itself: each partition de-duplicates for itself.
        const { subject } = partitionForKey(partitions, event.id);
        sent += 1;
        const reply = await this.#link.request(subject, event.body, "a message", this.#tuning.answerMs, headers);
        const kept = readPublishReply(reply, event);
        // What an earlier try of ours may have put there is not somebody else's.
        return { duplicate: kept.duplicate && sent === 1 };
      } catch (error) {
        if (!(error instanceof TransporterError) || error.code !== "QUEUE_UNAVAILABLE") throw error;
        // The station is gone, or the broker has not found it again yet after a start.
        if (isUnserved(error)) this.#stations.clear();
        const waitMs = Math.min(1_000, 50 * 2 ** attempt);
        if (this.#link.closed || leftMs() <= waitMs) throw error;
        await this.#ports.timers.sleep(waitMs);
      }
    }
  }

  #refuseTooLarge(event: OutgoingEvent, bytes: number): void {
    const most = this.#link.maxPayload;
    if (bytes > most) throw tooLarge(event, `has ${bytes} bytes with its headers, and Memphis takes ${most}`, { bytes, most });
  }

  async #partitions(band: Band): Promise<Partition[]> {
    if (band !== "normal" && !this.#without.has(band))
      try {
        return await this.#station(band);
      } catch (error) {
        if (!isFinal(error)) throw error;
        this.#without.add(band);
        this.#log.warn("the Memphis station of a band cannot be made; its messages go to the normal one", {
          band,
          station: stationOf(this.#settings, band),
          reason: messageOf(error),
        });
      }
    return this.#station("normal");
  }

  #station(band: Band): Promise<Partition[]> {
    let making = this.#stations.get(band);
    if (making === undefined) {
      const begun = this.#make(band);
      making = begun;
      this.#stations.set(band, begun);
      begun.catch(() => {
        if (this.#stations.get(band) === begun) this.#stations.delete(band);
      });
    }
    return making;
  }

  async #make(band: Band): Promise<Partition[]> {
    const station = stationOf(this.#settings, band);
    // First, though a producer would make one too: with the broker's own settings it would keep messages for an hour only.
    await this.#control.createStation(station);
    return this.#control.createProducer(station);
  }
}

function tooLarge(event: OutgoingEvent, why: string, details: Record<string, unknown>): TransporterError {
  return new TransporterError("QUEUE_MESSAGE_TOO_LARGE", `event ${event.id} ${why}`, { details });
}

function readPublishReply(given: Msg, event: OutgoingEvent): { readonly duplicate: boolean } {
  let reply: PublishReply = {};
  try {
    reply = given.json<PublishReply>();
  } catch {
    // No JSON is no promise.
  }
  if (reply.error === undefined && reply.seq !== undefined) return { duplicate: reply.duplicate === true };
  const said = reply.error?.description ?? "its answer is not one";
  if (reply.error?.err_code === TOO_LARGE) throw tooLarge(event, `is more than its station takes: ${said}`, {});
  throw new TransporterError("QUEUE_UNAVAILABLE", `Memphis did not keep event ${event.id}: ${said}`);
}
