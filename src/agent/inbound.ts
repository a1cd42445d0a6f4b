import { Backoff, failpoint, type Logger, messageOf, type Ports } from "../kit/mod.ts";
import type { CreditLine } from "./credit.ts";
import type { Decoded, Delivery, Work } from "./delivery.ts";
import type { Fetch } from "./fetch.ts";
import type { Ledger, NewDelivery, OpenDelivery } from "./ledger.ts";
import type { Parsing } from "./off-loop.ts";
import type { StatusRecord } from "./status.ts";

export const INBOUND_LIMITS = {
  /** Characters of frames that may wait for a large one before them to be decoded; one always may. */
  backlogChars: 64 * 1024 * 1024,
} as const;

export interface InboundOptions {
  readonly ledger: Ledger;
  readonly parsing: Parsing;
  readonly credit: Pick<CreditLine, "take" | "ledgerFailing">;
  readonly fetch: Pick<Fetch, "want" | "isFetching" | "nudge" | "piece">;
  readonly ports: Ports;
  readonly log: Logger;
  /** Whether this delivery is waiting or running here. */
  readonly holds: (key: string) => boolean;
  /** Takes a recorded delivery over, to be carried out. */
  readonly accept: (delivery: Delivery, expiresAtMs: number | undefined) => void;
  /** The same for one whose payload is still to be fetched: it has its place, and waits. */
  readonly reserve: (delivery: Delivery, expiresAtMs: number | undefined) => void;
  readonly repeat: (key: string, work: Work, final: StatusRecord) => void;
  readonly cancel: (eventId: string, revision: number) => void;
  readonly statusesStored: (bootId: string, seq: number) => void;
  readonly statusesLost: () => void;
  /** The control plane wants to know what is open here. */
  readonly tellOpen: () => void;
  /** What is trusted from now on (PEM), and whether a new certificate is to be asked for now. */
  readonly trust: (bundle: string, renew: boolean) => void;
  /** Sends an acknowledgement; to a 0.1 control plane nothing is sent. */
  readonly acknowledge: (work: Work) => void;
  /** True when the control plane at the other end hands finished events over again only to have them done again (0.1). */
  readonly repeatsMeanAgain: () => boolean;
  /** Whether the control plane at the other end goes by our credit. */
  readonly creditKnown: () => boolean;
  /** An event was missed: only a new connection, on which all that is open comes again in its order, mends that. */
  readonly beginAnew: () => void;
}

type Found =
  | { readonly kind: "held" }
  | { readonly kind: "finished"; readonly final: StatusRecord }
  | { readonly kind: "new" }
  /** One that came earlier could not be recorded so far. */
  | { readonly kind: "behind" }
  | { readonly kind: "trouble"; readonly error: unknown };

interface Arrival {
  readonly entry: NewDelivery;
  /** Which one it is of all that arrived. */
  readonly number: number;
  readonly found: Promise<Found>;
}

/** Frames that are small, mean the same whenever they are read, and must not wait for a large one to be decoded. As our control plane begins them. */
const OVERTAKING = [
  '{"type":"status_ack"',
  '{"type":"status_resend"',
  '{"type":"payload_piece"',
  '{"type":"resync"',
  '{"type":"trust"',
] as const;

/**
 * What the control plane sends, in the order it came: a large frame that takes a while to decode holds back the events after it. Each
 * delivery is looked up in the ledger first: finished, its end is told again; known, it goes on; new, it is recorded, and only then
 * acknowledged and accepted; one without its payload is acknowledged when that is here too. When the ledger cannot be written there is no
 * acknowledgement, and recording is tried again for as long as it takes. Where an event frame is missing, or comes beyond the credit, none is taken
 * after it, since later ones must not overtake it: the connection begins anew, and what was not acknowledged is handed over again.
 */
export class Inbound {
  readonly #options: InboundOptions;
  /** Frames that wait for one before them to be decoded. */
  #decoding: Promise<void> | undefined;
  #backlogChars = 0;
  /** Grows with each registration: what comes late from an earlier connection is told by it. */
  #link = 0;
  /** Event frames that were taken on this connection. */
  #events = 0;
  /** An event was missed: none of this connection is taken any more. */
  #broken = false;
  /** Too much waits to be decoded: what comes now is left out. */
  #overflowing = false;
  /** Deliveries on their way through the ledger, one after the other. */
  readonly #arrived: Arrival[] = [];
  readonly #arrivedKeys = new Set<string>();
  #arrivals = 0;
  /** Of the last that arrived, while it is on its way through the ledger. */
  #lastKey: string | undefined;
  /** Numbers of those that could not be recorded so far. */
  readonly #unrecorded = new Set<number>();
  #taking = false;
  readonly #stopped = new AbortController();

  constructor(options: InboundOptions) {
    this.#options = options;
  }

  receive(text: string): void {
    const { parsing, log } = this.#options;
    if (this.#decoding === undefined || OVERTAKING.some((start) => text.startsWith(start))) {
      const decoded = parsing.frame(text);
      if (decoded instanceof Promise) this.#follow(decoded, text.length);
      else this.#handle(decoded, this.#link);
      return;
    }
    if (this.#overflowing) return;
    if (this.#backlogChars + text.length > INBOUND_LIMITS.backlogChars) {
      log.warn("Too much waits to be decoded; no more is taken of this connection, and it begins anew", { chars: this.#backlogChars });
      this.#overflowing = true;
      return;
    }
    this.#follow(
      this.#decoding.then(() => parsing.frame(text)),
      text.length,
    );
  }

  /** Goes on with what an earlier process recorded and had not fetched yet; the deliveries have their places already. */
  recover(open: readonly OpenDelivery[]): void {
    for (const { key, work, payload, fetching } of open) {
      this.#options.credit.take(key, 0, { creditKnown: true, recovered: true });
      if (fetching === true && payload !== undefined) this.#options.fetch.want(key, work, payload);
    }
  }

  /** A registered link stands: the control plane counts from 0. */
  attach(): void {
    this.#link += 1;
    this.#events = 0;
    this.#broken = false;
    this.#overflowing = false;
  }

  /** Whether this delivery is on its way through the ledger. */
  isArriving(key: string): boolean {
    return this.#arrivedKeys.has(key);
  }

  /** Takes no further event; what is not recorded by now will be handed over again. Acknowledgements still count. */
  stop(): void {
    this.#stopped.abort();
  }

  #follow(decoded: Promise<Decoded>, chars: number): void {
    this.#backlogChars += chars;
    const mine = this.#handleLater(decoded, this.#link).finally(() => {
      this.#backlogChars -= chars;
      if (this.#decoding !== mine) return;
      this.#decoding = undefined;
      // Not sooner, or what waits would have to come again, and again be too much.
      if (this.#overflowing) this.#breakOff();
    });
    this.#decoding = mine;
  }

  async #handleLater(decoded: Promise<Decoded>, link: number): Promise<void> {
    try {
      this.#handle(await decoded, link);
    } catch (error) {
      this.#options.log.error("A frame could not be decoded", { error: messageOf(error) });
    }
  }

  #handle(decoded: Decoded, link: number): void {
    const { log } = this.#options;
    switch (decoded.kind) {
      case "event":
        if (this.#isNext(decoded.nth, link)) this.#arrive(decoded.delivery);
        return;
      case "status_ack":
        this.#options.statusesStored(decoded.bootId, decoded.seq);
        return;
      case "status_resend":
        this.#options.statusesLost();
        return;
      case "piece":
        this.#options.fetch.piece(decoded);
        return;
      case "cancel":
        this.#options.cancel(decoded.eventId, decoded.revision);
        return;
      case "resync":
        this.#options.tellOpen();
        return;
      case "trust":
        this.#options.trust(decoded.bundle, decoded.renew);
        return;
      case "unknown":
        log.warn("A frame of a type this agent does not know is ignored", { type: decoded.type });
        return;
      case "garbled":
        log.warn("A frame that is not understood is ignored", { error: decoded.why });
        // Counted all the same: were it missed, the same frame would end one connection after the other.
        if (decoded.nth !== undefined) this.#isNext(decoded.nth, link);
    }
  }

  /** Whether an event is the one that follows, or one that was taken before. */
  #isNext(nth: number | undefined, link: number): boolean {
    // It comes again on the connection that stands now.
    if (link !== this.#link || this.#broken) return false;
    if (nth === undefined || nth < this.#events) return true;
    if (nth === this.#events) {
      this.#events += 1;
      return true;
    }
    this.#options.log.warn("An event of the Control Plane is missing; the connection begins anew", { nth, expected: this.#events });
    this.#breakOff();
    return false;
  }

  /** Until the next connection stands, frames of this one may still come. */
  #breakOff(): void {
    this.#broken = true;
    this.#options.beginAnew();
  }

  #arrive(delivery: Delivery): void {
    const { ports, log, credit, holds, creditKnown } = this.#options;
    const { key, work } = delivery;
    if (this.#stopped.signal.aborted || this.#arrivedKeys.has(key)) return;
    failpoint("agent.inbound.received");
    if (!holds(key) && !credit.take(key, delivery.manifestsJson.length, { creditKnown: creditKnown() })) {
      log.warn("An event came beyond the credit and is left alone; it will be handed over again", { event_id: work.eventId });
      this.#breakOff();
      return;
    }
    this.#arrivedKeys.add(key);
    const receivedAtMs = ports.clock.now();
    const expiresAtMs = delivery.expiresInMs === undefined ? undefined : receivedAtMs + delivery.expiresInMs;
    const entry: NewDelivery = { delivery, receivedAtMs, expiresAtMs };
    // Asked for at once, so that deliveries that come together share a commit; answered in order.
    this.#arrivals += 1;
    const number = this.#arrivals;
    this.#arrived.push({ entry, number, found: this.#look(entry, number, this.#lastKey) });
    this.#lastKey = key;
    if (this.#taking) return;
    this.#taking = true;
    void this.#takeAll();
  }

  async #takeAll(): Promise<void> {
    for (let arrival = this.#arrived.shift(); arrival !== undefined; arrival = this.#arrived.shift()) {
      await this.#take(arrival);
      this.#arrivedKeys.delete(arrival.entry.delivery.key);
    }
    this.#taking = false;
    this.#lastKey = undefined;
  }

  /** Looks a delivery up and records it when it is new; never rejects. */
  async #look(entry: NewDelivery, number: number, after?: string): Promise<Found> {
    const { ledger, holds, repeatsMeanAgain, credit } = this.#options;
    const { key } = entry.delivery;
    if (holds(key)) return { kind: "held" };
    try {
      const final = repeatsMeanAgain() ? undefined : await ledger.finished(key);
      if (final !== undefined) return { kind: "finished", final };
      // The ledger is read in the order in which it was written: on disk before an earlier one, it would go first after a crash. The ledger
      // itself looks for the one before it as well, whose fate is not known here when both are of one commit.
      for (const other of this.#unrecorded) if (other < number) return { kind: "behind" };
      await ledger.record(entry, after);
      failpoint("agent.inbound.recorded");
      return { kind: "new" };
    } catch (error) {
      this.#unrecorded.add(number);
      credit.ledgerFailing();
      return { kind: "trouble", error };
    }
  }

  async #take({ entry, number, found: first }: Arrival): Promise<void> {
    const { ports, log } = this.#options;
    const { work } = entry.delivery;
    const fields = { event_id: work.eventId, ...(work.revision === undefined ? {} : { revision: work.revision }) };
    const backoff = new Backoff({ firstMs: 1_000, maxMs: 15_000 }, ports.random);
    let found = await first;
    // All that came before it have been recorded by now.
    if (found.kind === "behind") found = await this.#look(entry, number);
    if (found.kind === "trouble")
      log.error("The event cannot be recorded and is not acknowledged", { ...fields, error: messageOf(found.error) });
    while (found.kind === "trouble" && !this.#stopped.signal.aborted) {
      await ports.timers.sleep(backoff.next(), this.#stopped.signal).catch(() => undefined);
      found = await this.#look(entry, number);
    }
    this.#unrecorded.delete(number);
    // What is recorded and not acknowledged when the agent stops is handed over again, and found.
    if (!this.#stopped.signal.aborted) this.#settle(entry, found, fields);
  }

  #settle(entry: NewDelivery, found: Found, fields: Readonly<Record<string, unknown>>): void {
    const { log, acknowledge, accept, reserve, repeat, fetch } = this.#options;
    const { delivery, expiresAtMs } = entry;
    const { key, work, payload } = delivery;
    switch (found.kind) {
      case "behind":
      case "trouble":
        return;
      case "held":
        if (fetch.isFetching(key)) {
          log.debug("Event received again; its payload is being fetched", fields);
          fetch.nudge(key);
          return;
        }
        log.info("Event received again; it is already being carried out", fields);
        acknowledge(work);
        return;
      case "finished":
        log.info("Event received again; it is already finished", { ...fields, state: found.final.state });
        acknowledge(work);
        repeat(key, work, found.final);
        return;
      case "new":
        log.info("Received event", { ...fields, type: work.type });
        if (payload !== undefined) {
          reserve(delivery, expiresAtMs);
          fetch.want(key, work, payload);
          return;
        }
        acknowledge(work);
        failpoint("agent.inbound.acknowledged");
        accept(delivery, expiresAtMs);
    }
  }
}
