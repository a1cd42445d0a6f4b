import { createInbox, type Msg, type NatsConnection, nanos, type Subscription } from "@nats-io/transport-node";
import { messageOf, type Ports, type TimerHandle } from "../../../kit/mod.ts";
import { type Band, BANDS } from "../../port.ts";
import { consumerOf, type NatsAddress } from "./address.ts";
import { type Place, placeOf } from "./message.ts";

/** `lost`: no answer in time, or the connection went. `fault`: the server said why it gives nothing. */
export interface PullEnd {
  readonly got: number;
  readonly end: "full" | "empty" | "lost" | "fault";
  readonly why?: string;
}

interface Pull {
  readonly token: string;
  readonly batch: number;
  got: number;
  readonly ended: (end: PullEnd) => void;
}

/**
 * Messages come under the subject that they were published to, and only the subscription tells what they answer: one for what is asked for
 * at once and one for what is waited for, of each band, with at most one request each.
 */
interface Slot {
  readonly band: Band;
  readonly inbox: string;
  readonly subscription: Subscription;
  pull: Pull | undefined;
}

/** How much longer than it asked for itself somebody waits for the end of a pull. */
const GRACE_MS = 3_000;

/**
 * Asks a stream's consumers for messages. The library's own way keeps a stock of messages of each consumer at the client, which is what
 * would let a full band go before a more urgent one; here it is asked for just what can be taken, when it can be.
 * Source of the protocol: nats-architecture-and-design, ADR-13.
 */
export class Puller {
  readonly #connection: NatsConnection;
  readonly #address: Pick<NatsAddress, "stream" | "consumer" | "domain">;
  readonly #ports: Ports;
  readonly #onMessage: (message: Msg, band: Band, place: Place) => void;
  readonly #slots = new Map<string, Slot>();
  #count = 0;

  constructor(
    connection: NatsConnection,
    address: Pick<NatsAddress, "stream" | "consumer" | "domain">,
    ports: Ports,
    onMessage: (message: Msg, band: Band, place: Place) => void,
  ) {
    this.#connection = connection;
    this.#address = address;
    this.#ports = ports;
    this.#onMessage = onMessage;
    for (const band of BANDS) for (const kind of ["now", "later"] as const) this.#open(band, kind);
  }

  #open(band: Band, kind: "now" | "later"): void {
    const inbox = createInbox();
    const slot: Slot = {
      band,
      inbox,
      pull: undefined,
      subscription: this.#connection.subscribe(`${inbox}.*`, {
        callback: (error, message) => {
          if (error !== null) slot.pull?.ended({ got: slot.pull.got, end: "lost", why: error.message });
          else this.#hear(slot, message);
        },
      }),
    };
    this.#slots.set(`${band} ${kind}`, slot);
  }

  /** Asks for up to `batch` messages of a band: those that are there when `waitMs` is 0, else the first that come within that time. */
  pull(band: Band, batch: number, waitMs: number): Promise<PullEnd> {
    const slot = this.#slots.get(`${band} ${waitMs === 0 ? "now" : "later"}`);
    if (slot === undefined || slot.pull !== undefined) throw new Error(`${band} is being asked already`);
    this.#count += 1;
    const { promise, resolve } = Promise.withResolvers<PullEnd>();
    const patience: { timer?: TimerHandle } = {};
    const pull: Pull = {
      token: String(this.#count),
      batch,
      got: 0,
      ended: (end) => {
        if (slot.pull !== pull) return;
        slot.pull = undefined;
        patience.timer?.cancel();
        resolve(end);
      },
    };
    slot.pull = pull;
    patience.timer = this.#ports.timers.after(waitMs + GRACE_MS, () =>
      pull.ended({ got: pull.got, end: "lost", why: "the server does not answer" }),
    );
    const { stream, domain } = this.#address;
    const prefix = domain === undefined ? "$JS.API" : `$JS.${domain}.API`;
    const request = waitMs === 0 ? { batch, no_wait: true } : { batch, expires: nanos(waitMs) };
    try {
      this.#connection.publish(`${prefix}.CONSUMER.MSG.NEXT.${stream}.${consumerOf(this.#address, band)}`, JSON.stringify(request), {
        reply: `${slot.inbox}.${pull.token}`,
      });
    } catch (error) {
      pull.ended({ got: 0, end: "lost", why: messageOf(error) });
    }
    return promise;
  }

  /** The connection went: what was asked for is forgotten there. */
  lose(why: string): void {
    for (const { pull } of this.#slots.values()) pull?.ended({ got: pull.got, end: "lost", why });
  }

  /** Nothing more is asked; what the server had sent by the time it hears of that is still handed on. */
  async close(): Promise<void> {
    this.lose("closed");
    await Promise.all([...this.#slots.values()].map(({ subscription }) => subscription.drain()));
  }

  #hear(slot: Slot, message: Msg): void {
    const place = message.reply === undefined ? undefined : placeOf(message.reply);
    const { pull } = slot;
    if (place !== undefined) {
      if (pull !== undefined) pull.got += 1;
      this.#onMessage(message, slot.band, place);
      if (pull !== undefined && pull.got >= pull.batch) pull.ended({ got: pull.got, end: "full" });
      return;
    }
    const code = message.headers?.code ?? 0;
    // 100 is a sign of life; what says the end of an earlier request is none of this one.
    if (pull === undefined || code < 400 || !message.subject.endsWith(`.${pull.token}`)) return;
    // 404: nothing is there; 408: nothing more came in time. Both are no fault.
    if (code === 404 || code === 408) pull.ended({ got: pull.got, end: "empty" });
    else
      pull.ended({
        got: pull.got,
        end: "fault",
        why: code === 503 ? "JetStream does not answer" : (message.headers?.description ?? String(code)),
      });
  }
}
