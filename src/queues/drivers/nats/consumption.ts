import type { Msg, NatsConnection } from "@nats-io/transport-node";
import { Backoff, type Logger, messageOf, type Ports, type TimerHandle, type TransporterError } from "../../../kit/mod.ts";
import { type Band, BANDS, type ConsumeOptions, type Consumption, type Settlement } from "../../port.ts";
import type { NatsAddress } from "./address.ts";
import { buryMessage } from "./dead-letters.ts";
import { isNoResponders, queueFault } from "./fault.ts";
import type { NatsLink } from "./link.ts";
import { type Place, queueMessage } from "./message.ts";
import { Puller, type PullEnd } from "./puller.ts";
import type { ConsumerTraits } from "./streams.ts";

/** How long the server is asked to wait for the next message where there is none. */
const IDLE_MS = 20_000;
const ACK_TIMEOUT_MS = 5_000;
/** Places come free one by one; asking for each by itself would cost a round to the server each. */
const COALESCE_MS = 2;
/** A message whose `take` failed is handed out again after this long. */
const FAULT_DELAY_NS = 1_000_000_000;
/** A window of this size or more keeps an eighth of it for urgent messages alone. */
const RESERVING_WINDOW = 16;

const ACK = "+ACK";
const IN_PROGRESS = "+WPI";
const NAK = "-NAK";

interface InHand {
  readonly message: Msg;
  readonly band: Band;
  /** Of its latest delivery: what is acknowledged is acknowledged by that. */
  reply: string;
  place: Place;
  taken: boolean;
}

export interface ConsumptionOptions extends ConsumeOptions {
  readonly address: NatsAddress;
  readonly link: NatsLink;
  /** Makes sure that stream and consumers are there. */
  readonly ensure: (connection: NatsConnection) => Promise<Readonly<Record<Band, ConsumerTraits>>>;
  readonly ports: Ports;
  readonly log: Logger;
}

/** Takes messages by asking for as many as there is room for, the urgent band first, each time anew. */
export class NatsConsumption implements Consumption {
  readonly #options: ConsumptionOptions;
  /** By their place in the stream: what comes again while it is still in hand is the same one. */
  readonly #held = new Map<string, InHand>();
  /** Held, and not given to `take` yet. */
  readonly #next: Readonly<Record<Band, InHand[]>> = { urgent: [], normal: [], low: [] };
  readonly #idle = new Map<Band, Promise<PullEnd>>();
  readonly #stopped = new AbortController();
  readonly #unlisten: () => void;
  #traits: Readonly<Record<Band, ConsumerTraits>> | undefined;
  #puller: Puller | undefined;
  #taking = 0;
  #paused = false;
  #state: "connected" | "away" | undefined;
  #changed = Promise.withResolvers<void>();
  #alive: TimerHandle | undefined;
  #running: Promise<void> | undefined;

  constructor(options: ConsumptionOptions) {
    this.#options = options;
    this.#unlisten = options.link.listen((connection, why) => {
      this.#puller?.lose(why ?? "the connection was lost");
      if (connection === undefined) this.#say("away", why);
      this.#wake();
    });
  }

  /** Resolves when messages can be had for the first time. Throws QUEUE_DENIED, QUEUE_INVALID: what no repetition mends. */
  async begin(): Promise<void> {
    const { link, ensure, ports, log, address } = this.#options;
    const backoff = new Backoff({ firstMs: 500, maxMs: 5_000 }, ports.random);
    while (!this.#stopped.signal.aborted) {
      try {
        const connection = await link.ready(address.timeoutMs);
        this.#traits = await ensure(connection);
        break;
      } catch (error) {
        const fault = queueFault(error, `preparing stream ${address.stream}`);
        if (fault.kind === "denied" || fault.kind === "invalid") {
          this.#unlisten();
          throw fault;
        }
        if (this.#state !== "away") log.warn("The queue is not there yet", { queue: address.location, why: fault.message });
        this.#say("away", fault.message);
        await this.#pause(backoff.next());
      }
    }
    if (this.#stopped.signal.aborted) return;
    this.#keepAlive();
    this.#running = this.#run();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#serve();
    this.#wake();
  }

  async stop(patienceMs: number): Promise<void> {
    if (this.#stopped.signal.aborted) return this.#running;
    this.#stopped.abort(new Error("stopped"));
    this.#wake();
    await this.#running;
    // Whatever was still on its way here goes back at once, as it comes.
    for (const held of this.#held.values()) if (!held.taken) this.#giveBack(held);
    await this.#puller?.close().catch(() => undefined);
    const late = Promise.withResolvers<void>();
    const timer = this.#options.ports.timers.after(patienceMs, () => late.resolve());
    while (this.#taking > 0 && (await Promise.race([late.promise.then(() => "late"), this.#settled()])) !== "late");
    timer.cancel();
    for (const held of this.#held.values()) this.#giveBack(held);
    this.#alive?.cancel();
    this.#unlisten();
    await this.#options.link.connection?.flush().catch(() => undefined);
  }

  #settled(): Promise<string> {
    return this.#changed.promise.then(() => "changed");
  }

  #wake(): void {
    const before = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    before.resolve();
  }

  #pause(ms: number): Promise<void> {
    return this.#options.ports.timers.sleep(ms, this.#stopped.signal).catch(() => undefined);
  }

  #say(state: "connected" | "away", why: string | undefined): void {
    if (this.#state === state || this.#stopped.signal.aborted) return;
    this.#state = state;
    this.#options.onState(state, why);
  }

  async #run(): Promise<void> {
    const { link, ports } = this.#options;
    const backoff = new Backoff({ firstMs: 250, maxMs: 5_000 }, ports.random);
    let connection: NatsConnection | undefined;
    while (!this.#stopped.signal.aborted) {
      const current = link.connection;
      if (current === undefined || this.#paused) {
        await this.#changed.promise;
        continue;
      }
      if (this.#puller === undefined || current !== connection || this.#state !== "connected") {
        const fault = await this.#prepare(current);
        if (fault === undefined) {
          connection = current;
          this.#say("connected", undefined);
        } else {
          this.#say("away", fault.message);
          await this.#pause(backoff.next());
          continue;
        }
      }
      const before = this.#changed.promise;
      const end = await this.#round();
      if (end === "rest") {
        await before;
        continue;
      }
      if (end === "more") {
        backoff.reset();
        continue;
      }
      // One that was lost with its connection is asked for again on the next; what else goes wrong shows when all is looked at again.
      if (link.connection === current) this.#say("away", end.why);
      await this.#pause(backoff.next());
    }
  }

  async #prepare(connection: NatsConnection): Promise<TransporterError | undefined> {
    const { ensure, address, ports } = this.#options;
    try {
      this.#traits = await ensure(connection);
      await this.#puller?.close().catch(() => undefined);
      this.#idle.clear();
      this.#puller = new Puller(connection, address, ports, (message, band, place) => this.#arrive(message, band, place));
      return undefined;
    } catch (error) {
      return queueFault(error, `preparing stream ${address.stream}`);
    }
  }

  /**
   * Asks each band in turn for what there is room for. `rest`: nothing is there, or there is no room; a change is worth waiting for.
   */
  async #round(): Promise<"more" | "rest" | PullEnd> {
    const { window } = this.#options;
    const puller = this.#puller;
    if (puller === undefined) return "more";
    if (this.#held.size > 0 && this.#held.size < window && window - this.#held.size < window / 4) await this.#pause(COALESCE_MS);
    let got = 0;
    for (const band of BANDS) {
      const room = this.#limitOf(band) - this.#held.size;
      if (room <= 0 || this.#idle.has(band)) continue;
      const end = await puller.pull(band, room, 0);
      if (end.end === "lost" || end.end === "fault") return end;
      got += end.got;
      if (this.#stopped.signal.aborted || this.#paused) return "more";
      // There is nothing just now; whoever has something first wakes us.
      if (end.end === "empty" && end.got === 0) this.#await(puller, band);
    }
    return got > 0 ? "more" : "rest";
  }

  #limitOf(band: Band): number {
    const { window } = this.#options;
    return band === "urgent" || window < RESERVING_WINDOW ? window : window - Math.floor(window / 8);
  }

  /** One message at most is asked for ahead, so that hardly more can come than there is room for. */
  #await(puller: Puller, band: Band): void {
    const pull = puller.pull(band, 1, IDLE_MS);
    this.#idle.set(band, pull);
    void this.#forgetIdle(band, pull);
  }

  async #forgetIdle(band: Band, pull: Promise<PullEnd>): Promise<void> {
    await pull;
    if (this.#idle.get(band) !== pull) return;
    this.#idle.delete(band);
    this.#wake();
  }

  #arrive(message: Msg, band: Band, place: Place): void {
    const reply = message.reply ?? "";
    const known = this.#held.get(keyOf(place));
    if (known !== undefined) {
      known.reply = reply;
      known.place = place;
      return;
    }
    const held: InHand = { message, band, reply, place, taken: false };
    if (this.#stopped.signal.aborted) {
      this.#tell(held, NAK);
      return;
    }
    this.#held.set(keyOf(place), held);
    this.#next[band].push(held);
    this.#serve();
  }

  #serve(): void {
    while (!this.#paused && !this.#stopped.signal.aborted && this.#taking < this.#options.window) {
      const held = this.#next.urgent.shift() ?? this.#next.normal.shift() ?? this.#next.low.shift();
      if (held === undefined) return;
      held.taken = true;
      this.#taking += 1;
      void this.#take(held);
    }
  }

  async #take(held: InHand): Promise<void> {
    try {
      const settlement = await this.#judge(held);
      if (settlement === undefined) this.#tell(held, `${NAK} {"delay":${FAULT_DELAY_NS}}`);
      else await this.#settle(held, settlement);
    } finally {
      this.#taking -= 1;
      if (this.#held.get(keyOf(held.place)) === held) this.#held.delete(keyOf(held.place));
      this.#serve();
      this.#wake();
    }
  }

  /** Undefined when it could not be said, which is a fault of ours. */
  async #judge(held: InHand): Promise<Settlement | undefined> {
    const { take, log } = this.#options;
    const { deliveries } = held.place;
    const most = this.#traits?.[held.band].maxDeliver ?? Number.POSITIVE_INFINITY;
    const message = queueMessage(held.message, held.band, held.place);
    // Whoever took it did not live to settle it, again and again: the next one might not either.
    if (deliveries >= most) {
      return {
        kind: "dead",
        code: "QUEUE_DELIVERIES_EXHAUSTED",
        reason: `the message was handed out ${deliveries} times and never settled`,
        eventId: message.id,
      };
    }
    try {
      return await take(message);
    } catch (error) {
      log.error("Taking a message failed", { sequence: held.place.sequence, event_id: message.id, error: messageOf(error) });
      return undefined;
    }
  }

  /** Until it is done, or until nobody needs it any more: what is not acknowledged comes again, and the store knows it then. */
  async #settle(held: InHand, settlement: Settlement): Promise<void> {
    const { address, link, ports, log } = this.#options;
    const backoff = new Backoff({ firstMs: 200, maxMs: 10_000 }, ports.random);
    let buried = settlement.kind === "done";
    for (let attempt = 1; ; attempt += 1) {
      try {
        const connection = await link.ready(ACK_TIMEOUT_MS);
        if (!buried && settlement.kind === "dead") {
          const { message, place } = held;
          const dead = { body: message.data, headers: message.headers, subject: message.subject, ...place };
          await buryMessage(connection, address, dead, settlement);
          buried = true;
          log.warn("Put a message among the dead letters", {
            event_id: settlement.eventId,
            code: settlement.code,
            reason: settlement.reason,
            sequence: place.sequence,
            stream: address.deadStream,
          });
        }
        await connection.request(held.reply, ACK, { timeout: ACK_TIMEOUT_MS });
        return;
      } catch (error) {
        const fault = queueFault(error, buried ? "acknowledging a message" : "writing a dead letter");
        log[buried ? "debug" : "warn"]("A message could not be settled", { sequence: held.place.sequence, why: fault.message });
        // Without its consumer there is nothing to acknowledge.
        if (this.#stopped.signal.aborted || (buried && (isNoResponders(error) || attempt >= 5))) return;
        await this.#pause(100 + backoff.next());
        if (this.#stopped.signal.aborted) return;
      }
    }
  }

  #giveBack(held: InHand): void {
    this.#held.delete(keyOf(held.place));
    const waiting = this.#next[held.band];
    const at = waiting.indexOf(held);
    if (at >= 0) waiting.splice(at, 1);
    this.#tell(held, NAK);
  }

  #tell(held: InHand, word: string): void {
    try {
      this.#options.link.connection?.publish(held.reply, word);
    } catch (error) {
      this.#options.log.debug("NATS took no word of a message", { sequence: held.place.sequence, error: messageOf(error) });
    }
  }

  /** Three signs of life within the time that the server waits for one. */
  #keepAlive(): void {
    const shortest = Math.min(...BANDS.map((band) => this.#traits?.[band].ackWaitMs ?? this.#options.address.ackWaitMs));
    this.#alive = this.#options.ports.timers.every(
      shortest / 3,
      () => {
        for (const held of this.#held.values()) this.#tell(held, IN_PROGRESS);
      },
      { background: true },
    );
  }
}

/** A stream that was deleted and made again gives its numbers again, and two messages must never be taken for one. */
function keyOf({ sequence, storedAtMs }: Place): string {
  return `${sequence}-${storedAtMs}`;
}
