import { Backoff, type Logger, messageOf, type Ports, toTransporterError, TransporterError } from "../../../kit/mod.ts";
import { BANDS, type Band, type ConsumeOptions, type Consumption, type Settlement } from "../../port.ts";
import { durableOf, type MemphisControl } from "./control.ts";
import { Hand, type Held, type Source } from "./hand.ts";
import { Letters } from "./letters.ts";
import type { MemphisLink } from "./link.ts";
import { isFinal, stationOf } from "./publisher.ts";
import { Pull, type PullEnd } from "./pull.ts";
import { Settler } from "./settle.ts";
import type { MemphisSettings } from "./settings.ts";
import type { Tuning } from "./tuning.ts";

export interface ConsumptionParts {
  readonly link: MemphisLink;
  readonly control: MemphisControl;
  readonly settings: MemphisSettings;
  readonly tuning: Tuning;
  readonly ports: Ports;
  readonly log: Logger;
}

/** Whoever wants to consume is told that it began, though it waits for the broker still. */
const BEGIN_MS = 10_000;
/** Between a round that brought nothing but faults and the next. */
const FAULT_PAUSE_MS = 500;
/** Places that become free one by one are asked for together: each time costs the broker and us several requests. */
const GATHER_MS = 2;
/** A window of this size or more keeps an eighth of it for urgent messages alone. */
const RESERVING_WINDOW = 16;
/** A wait that ended sooner, and empty, was refused rather than served. */
const REFUSED_WAIT_MS = 20;

/**
 * Asks the stations of the bands in their order for as many messages as there is room for, hands them to `take`, and tells the broker what
 * became of them. Only when nothing is there does it wait, at all of them at once.
 */
export class MemphisConsumption implements Consumption {
  readonly #parts: ConsumptionParts;
  readonly #options: ConsumeOptions;
  readonly #hand = new Hand();
  readonly #settler: Settler;
  readonly #letters: Letters;
  readonly #sources = new Map<Band, Source[]>();
  /** Bands without a station or a right to it, and when to try again. */
  readonly #without = new Map<Band, number>();
  readonly #pulls = new Set<Pull>();
  readonly #wakers = new Set<() => void>();
  readonly #forget: (() => void)[] = [];
  #taking = 0;
  /** Why a stream could not be asked, since the last look. */
  #gone: string | undefined;
  #askedMs = Number.NEGATIVE_INFINITY;
  #paused = false;
  #stopping = false;
  #over = false;
  #state: "connected" | "away" | undefined;
  /** Resolves with the first state, and rejects where there will never be a good one. */
  readonly #begun = Promise.withResolvers<void>();

  constructor(parts: ConsumptionParts, options: ConsumeOptions) {
    this.#parts = parts;
    this.#options = options;
    const { link, settings, tuning, ports, log } = parts;
    this.#settler = new Settler(link, settings, tuning, ports, log);
    this.#letters = new Letters(link, (source, message) => {
      // What does not fit stays in the dead letters, from where it can be sent again.
      if (this.#over || this.#stopping || this.#hand.ready >= options.window) return;
      if (this.#hand.addLetter(source, message) === undefined) return;
      this.#dispatch();
      this.#wake();
    });
  }

  /** Resolves when the first messages may come, or when that has to wait for the broker. Throws QUEUE_DENIED or QUEUE_INVALID. */
  async begin(): Promise<void> {
    const { link, settings, ports } = this.#parts;
    const beat = ports.timers.every(Math.max(100, settings.ackWaitMs / 4), () => this.#keepAlive(), { background: true });
    this.#forget.push(
      () => beat.cancel(),
      link.onChange((up, why) => {
        if (!up) this.#say("away", why);
        else this.#keepAlive();
        this.#wake();
      }),
    );
    const patience = ports.timers.after(BEGIN_MS, () => this.#say("away", "Memphis does not answer yet"));
    void this.#run();
    try {
      await this.#begun.promise;
    } catch (error) {
      this.#end();
      throw error;
    } finally {
      patience.cancel();
    }
  }

  pause(): void {
    this.#paused = true;
    this.#wake();
  }
  resume(): void {
    this.#paused = false;
    this.#dispatch();
    this.#wake();
  }

  async stop(patienceMs: number): Promise<void> {
    if (this.#over) return;
    const { ports } = this.#parts;
    const untilMs = ports.clock.monotonic() + patienceMs;
    this.#stopping = true;
    this.#wake();
    await Promise.all([...this.#pulls].map((pull) => pull.leave()));
    this.#letters.leave();
    // A place that becomes free goes to what came while we were leaving: nobody else can have it before its ack wait is over.
    while (this.#taking + this.#hand.settling + (this.#paused ? 0 : this.#hand.ready) > 0) {
      const leftMs = untilMs - ports.clock.monotonic();
      if (leftMs <= 0) break;
      await this.#change(leftMs);
    }
    this.#end();
  }

  #end(): void {
    this.#over = true;
    this.#stopping = true;
    for (const forget of this.#forget.splice(0)) forget();
    this.#letters.leave();
    this.#begun.resolve();
    this.#wake();
  }

  async #run(): Promise<void> {
    const { link, ports, log } = this.#parts;
    const backoff = new Backoff({ firstMs: 2 * FAULT_PAUSE_MS, maxMs: 10_000 }, ports.random);
    while (!this.#stopping) {
      try {
        // The library comes back by itself; before the first time nobody does.
        if (!link.up) await link.ready(this.#state === undefined ? 0 : 1_000);
        await this.#joinMissing();
        if (!this.#hasRoom()) {
          // With nothing to be asked for, a connection is all that can be told of.
          this.#say("connected", undefined);
          await this.#change(1_000);
          // What is settled together frees its places together, and is asked for together.
          await new Promise<void>((resolve) => ports.timers.soon(resolve));
          continue;
        }
        const room = Math.max(...BANDS.map((band) => this.#room(band)));
        if (room * 4 < this.#options.window && ports.clock.monotonic() - this.#askedMs < GATHER_MS) await ports.timers.sleep(GATHER_MS);
        this.#askedMs = ports.clock.monotonic();
        if ((await this.#round()) === 0) await this.#wait();
        if (this.#gone !== undefined) await this.#lookAgain(this.#gone);
        backoff.reset();
      } catch (error) {
        if (this.#stopping) return;
        if (this.#state === undefined && isFinal(error)) {
          this.#begun.reject(error);
          return;
        }
        const fault = toTransporterError(error);
        if (fault.kind === "bug") log.error("a fault of ours while consuming from Memphis", { error: messageOf(error) });
        this.#say("away", fault.message);
        // A connection that comes back is not waited for any longer.
        await this.#change(link.up ? FAULT_PAUSE_MS + backoff.next() : FAULT_PAUSE_MS);
      }
    }
  }

  #hasRoom(): boolean {
    const { window } = this.#options;
    return !this.#paused && !this.#stopping && this.#hand.open < window && this.#hand.settling < 4 * window;
  }

  /** Messages of this band that may come into hand now. */
  #room(band: Band): number {
    if (!this.#hasRoom() || !this.#sources.has(band)) return 0;
    const { window } = this.#options;
    const kept = band === "urgent" || window < RESERVING_WINDOW || !this.#sources.has("urgent") ? 0 : Math.floor(window / 8);
    return Math.max(0, window - kept - this.#hand.open);
  }

  /** Makes or joins what is missing. The normal station must be there; a band without one does without. */
  async #join(): Promise<void> {
    const { control, settings, tuning, ports, log } = this.#parts;
    for (const band of BANDS) {
      if (this.#sources.has(band) || (this.#without.get(band) ?? 0) > ports.clock.monotonic()) continue;
      const station = stationOf(settings, band);
      try {
        await control.createStation(station);
        const durable = durableOf(settings);
        const partitions = await control.createConsumer(station);
        this.#sources.set(
          band,
          partitions.map((partition) => ({ band, station, partition, stream: partition.stream, durable })),
        );
        this.#letters.join(this.#sources.get(band)?.[0], settings);
      } catch (error) {
        if (band === "normal" || !isFinal(error)) throw error;
        if (!this.#without.has(band))
          log.warn("the Memphis station of a band cannot be consumed from; the others go on", { band, station, reason: messageOf(error) });
        this.#without.set(band, ports.clock.monotonic() + tuning.againMs);
      }
    }
    this.#say("connected", undefined);
  }

  async #joinMissing(): Promise<void> {
    const now = this.#parts.ports.clock.monotonic();
    if (BANDS.some((band) => !this.#sources.has(band) && (this.#without.get(band) ?? 0) <= now)) await this.#join();
  }

  /** Asks each band in its order for what is there now, while there is room. Answers how many came. */
  async #round(): Promise<number> {
    let came = 0;
    for (const band of BANDS) {
      const sources = this.#sources.get(band) ?? [];
      const room = this.#room(band);
      if (room === 0) continue;
      const pulls: Pull[] = [];
      for (const [index, source] of rotated(sources, this.#parts.ports.random.float()).entries()) {
        const batch = Math.floor(room / sources.length) + (index < room % sources.length ? 1 : 0);
        if (batch > 0) pulls.push(this.#pull(source, batch, undefined, () => (came += 1)));
      }
      this.#judge(await Promise.all(pulls.map(({ ended }) => ended)));
    }
    return came;
  }

  /** Waits at all streams that there is room for until one has something, or there is a reason to wait no more, or elsewhere. */
  async #wait(): Promise<void> {
    const bands = BANDS.filter((band) => this.#room(band) > 0);
    if (bands.length === 0) return;
    const { tuning, ports } = this.#parts;
    const sinceMs = ports.clock.monotonic();
    const something = Promise.withResolvers<void>();
    let came = 0;
    const sources = bands.flatMap((band) => this.#sources.get(band) ?? []);
    const pulls = sources.map((source) =>
      this.#pull(source, 1, tuning.pullMs, () => {
        came += 1;
        something.resolve();
      }),
    );
    const all = Promise.all(pulls.map(({ ended }) => ended));
    // Where there is no room any more, somebody else may have some.
    const waker = (): void => {
      if (!this.#parts.link.up || BANDS.some((band) => this.#room(band) > 0 !== bands.includes(band))) something.resolve();
    };
    this.#wakers.add(waker);
    await Promise.race([something.promise, all]);
    this.#wakers.delete(waker);
    await Promise.all(pulls.map((pull) => pull.leave()));
    if (!this.#parts.link.up || this.#stopping) return;
    this.#judge(await all);
    if (came === 0 && ports.clock.monotonic() - sinceMs < REFUSED_WAIT_MS) await this.#change(FAULT_PAUSE_MS);
  }

  #pull(source: Source, batch: number, expiresMs: number | undefined, onCame: () => void): Pull {
    const { link, ports, tuning } = this.#parts;
    const mode = expiresMs === undefined ? ({ kind: "now" } as const) : ({ kind: "wait", expiresMs } as const);
    const pull = new Pull(link, ports, tuning.graceMs, source, batch, mode, (message) => {
      if (this.#over) return;
      if (this.#hand.add(source, message) !== undefined) onCame();
      this.#dispatch();
    });
    this.#pulls.add(pull);
    void pull.ended.then(() => this.#pulls.delete(pull));
    return pull;
  }

  #judge(ends: readonly PullEnd[]): void {
    if (!this.#parts.link.up) return;
    for (const end of ends)
      if (end.kind === "gone") this.#gone = end.why;
      // A broker says nothing at all to who asks for messages of a durable that is not there.
      else if (end.kind === "silent") this.#gone ??= "it does not answer";
    if (this.#gone === undefined && ends.some(({ kind }) => kind === "full" || kind === "empty")) this.#say("connected", undefined);
  }

  /**
   * A stream could not be asked: its durable is made again where it really is missing. Right after a start the broker has not found anything
   * yet, and making what is there costs it dearly.
   */
  async #lookAgain(why: string): Promise<void> {
    this.#gone = undefined;
    for (const [band, sources] of this.#sources)
      for (const { stream, durable } of sources)
        if ((await this.#parts.control.durable(stream, durable)) === undefined) this.#sources.delete(band);
    throw new TransporterError("QUEUE_UNAVAILABLE", `a consumer at Memphis cannot be asked for messages: ${why}`);
  }

  #dispatch(): void {
    while (!this.#paused && !this.#over && this.#taking < this.#options.window) {
      const held = this.#hand.take();
      if (held === undefined) break;
      this.#taking += 1;
      void this.#take(held);
    }
  }

  async #take(held: Held): Promise<void> {
    let settlement: Settlement | undefined;
    try {
      settlement = await this.#options.take(held.message);
    } catch (error) {
      // Kept alive no more, it comes again to somebody, and ends in the broker's dead letters when that does not help.
      this.#parts.log.error("a message from Memphis could not be taken; it comes again", {
        event: held.message.id,
        error: messageOf(error),
      });
    }
    this.#taking -= 1;
    if (settlement === undefined) this.#hand.drop(held);
    else {
      this.#hand.settle(held);
      void this.#settle(held, settlement);
    }
    this.#dispatch();
    this.#wake();
  }

  async #settle(held: Held, settlement: Settlement): Promise<void> {
    await this.#settler.settle(held, settlement);
    this.#hand.drop(held);
    this.#wake();
  }

  #keepAlive(): void {
    for (const held of this.#hand) this.#settler.keepAlive(held);
  }

  #say(state: "connected" | "away", why: string | undefined): void {
    if (this.#state === state || this.#over) return;
    this.#state = state;
    this.#options.onState(state, why);
    this.#begun.resolve();
  }

  #wake(): void {
    for (const wake of this.#wakers) wake();
  }

  /** Resolves at the next change of what is in hand, paused or connected, or after `ms`. */
  async #change(ms: number): Promise<void> {
    const changed = Promise.withResolvers<void>();
    this.#wakers.add(changed.resolve);
    const timer = this.#parts.ports.timers.after(ms, changed.resolve);
    await changed.promise;
    timer.cancel();
    this.#wakers.delete(changed.resolve);
  }
}

/** The same in another order, so that no partition is always asked first. `at` is from 0 to 1. */
function rotated<T>(all: readonly T[], at: number): T[] {
  const start = Math.floor(at * all.length);
  return [...all.slice(start), ...all.slice(0, start)];
}
