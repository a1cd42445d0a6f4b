import { Backoff, type Logger, messageOf, type Ports } from "../kit/mod.ts";
import type { Decoded, Delivery, Work } from "./delivery.ts";
import type { Ledger, NewDelivery } from "./ledger.ts";
import type { Parsing } from "./off-loop.ts";
import type { StatusRecord } from "./status.ts";

export interface InboundOptions {
  readonly ledger: Ledger;
  readonly parsing: Parsing;
  readonly ports: Ports;
  readonly log: Logger;
  /** Whether this delivery is waiting or running here. */
  readonly holds: (key: string) => boolean;
  /** Takes a recorded delivery over, to be carried out. */
  readonly accept: (delivery: Delivery, expiresAtMs: number | undefined) => void;
  readonly repeat: (key: string, work: Work, final: StatusRecord) => void;
  readonly statusesStored: (bootId: string, seq: number) => void;
  /** Sends an acknowledgement; to a 0.1 control plane nothing is sent. */
  readonly acknowledge: (work: Work) => void;
  /** True when the control plane at the other end hands finished events over again only to have them done again (0.1). */
  readonly repeatsMeanAgain: () => boolean;
}

type Found =
  | { readonly kind: "held" }
  | { readonly kind: "finished"; readonly final: StatusRecord }
  | { readonly kind: "new" }
  | { readonly kind: "trouble"; readonly error: unknown };

interface Arrival {
  readonly entry: NewDelivery;
  readonly found: Promise<Found>;
}

/**
 * What the control plane sends, in the order it came: a large frame that takes a while to decode holds back the events after it. Each
 * delivery is looked up in the ledger first: finished, its end is told again; known, it goes on; new, it is recorded, and only then
 * acknowledged and accepted. When the ledger cannot be written there is no acknowledgement, and recording is tried again for as long as it takes.
 */
export class Inbound {
  readonly #options: InboundOptions;
  /** Frames that wait for one before them to be decoded. */
  #decoding: Promise<void> | undefined;
  /** Deliveries on their way through the ledger, one after the other. */
  readonly #arrived: Arrival[] = [];
  readonly #arrivedKeys = new Set<string>();
  #taking = false;
  readonly #stopped = new AbortController();

  constructor(options: InboundOptions) {
    this.#options = options;
  }

  receive(text: string): void {
    if (this.#decoding === undefined) {
      const decoded = this.#options.parsing.frame(text);
      if (!(decoded instanceof Promise)) {
        this.#handle(decoded);
        return;
      }
      this.#follow(decoded);
      return;
    }
    this.#follow(this.#decoding.then(() => this.#options.parsing.frame(text)));
  }

  /** Takes no further event; what is not recorded by now will be handed over again. Acknowledgements still count. */
  stop(): void {
    this.#stopped.abort();
  }

  #follow(decoded: Promise<Decoded>): void {
    const mine = this.#handleLater(decoded).finally(() => {
      if (this.#decoding === mine) this.#decoding = undefined;
    });
    this.#decoding = mine;
  }

  async #handleLater(decoded: Promise<Decoded>): Promise<void> {
    try {
      this.#handle(await decoded);
    } catch (error) {
      this.#options.log.error("A frame could not be decoded", { error: messageOf(error) });
    }
  }

  #handle(decoded: Decoded): void {
    const { log } = this.#options;
    switch (decoded.kind) {
      case "event":
        this.#arrive(decoded.delivery);
        return;
      case "status_ack":
        this.#options.statusesStored(decoded.bootId, decoded.seq);
        return;
      case "unknown":
        log.warn("A frame of a type this agent does not know is ignored", { type: decoded.type });
        return;
      case "garbled":
        log.warn("A frame that is not understood is ignored", { error: decoded.why });
    }
  }

  #arrive(delivery: Delivery): void {
    if (this.#stopped.signal.aborted || this.#arrivedKeys.has(delivery.key)) return;
    this.#arrivedKeys.add(delivery.key);
    const receivedAtMs = this.#options.ports.clock.now();
    const expiresAtMs = delivery.expiresInMs === undefined ? undefined : receivedAtMs + delivery.expiresInMs;
    const entry: NewDelivery = { delivery, receivedAtMs, expiresAtMs };
    // Asked for at once, so that deliveries that come together share a commit; answered in order.
    this.#arrived.push({ entry, found: this.#look(entry) });
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
  }

  /** Looks a delivery up and records it when it is new; never rejects. */
  async #look(entry: NewDelivery): Promise<Found> {
    const { ledger, holds, repeatsMeanAgain } = this.#options;
    const { key } = entry.delivery;
    if (holds(key)) return { kind: "held" };
    try {
      const final = repeatsMeanAgain() ? undefined : await ledger.finished(key);
      if (final !== undefined) return { kind: "finished", final };
      await ledger.record(entry);
      return { kind: "new" };
    } catch (error) {
      return { kind: "trouble", error };
    }
  }

  async #take({ entry, found: first }: Arrival): Promise<void> {
    const { ports, log } = this.#options;
    const { work } = entry.delivery;
    const fields = { event_id: work.eventId, ...(work.revision === undefined ? {} : { revision: work.revision }) };
    const backoff = new Backoff({ firstMs: 1_000, maxMs: 15_000 }, ports.random);
    let found = await first;
    if (found.kind === "trouble")
      log.error("The event cannot be recorded and is not acknowledged", { ...fields, error: messageOf(found.error) });
    while (found.kind === "trouble" && !this.#stopped.signal.aborted) {
      await ports.timers.sleep(backoff.next(), this.#stopped.signal).catch(() => undefined);
      found = await this.#look(entry);
    }
    // What is recorded and not acknowledged when the agent stops is handed over again, and found.
    if (!this.#stopped.signal.aborted) this.#settle(entry, found, fields);
  }

  #settle(entry: NewDelivery, found: Found, fields: Readonly<Record<string, unknown>>): void {
    const { log, acknowledge, accept, repeat } = this.#options;
    const { key, work } = entry.delivery;
    switch (found.kind) {
      case "trouble":
        return;
      case "held":
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
        acknowledge(work);
        accept(entry.delivery, entry.expiresAtMs);
    }
  }
}
