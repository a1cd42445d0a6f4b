import { Backoff, failpoint, type Logger, messageOf, type Ports, type TimerHandle, type TransporterError } from "../kit/mod.ts";
import { formatDurationMs, type Phase } from "../protocol/mod.ts";
import type { Delivery, Work } from "./delivery.ts";
import { cancelledStatus, EXPIRED, failedStatus } from "./endings.ts";
import type { Ending, Executor } from "./executor.ts";
import { type Item, mayRollBack, nextToRead, refusalOf, WORKLOAD_LIMITS } from "./item.ts";
import type { Ledger, ManifestSource, OpenDelivery } from "./ledger.ts";
import type { Parsing } from "./off-loop.ts";
import type { Outbound } from "./outbound.ts";
import { NOTHING, prepare, type Prepared } from "./preparation.ts";
import { Schedule } from "./schedule.ts";
import type { Status } from "./status.ts";

export interface WorkloadOptions {
  readonly ledger: Ledger;
  readonly outbound: Outbound;
  readonly parsing: Parsing;
  readonly executor: Executor;
  readonly maxConcurrent: number;
  /** Where objects go that name no namespace. */
  readonly defaultNamespace: string;
  readonly ports: Ports;
  readonly log: Logger;
  /** Something ended, so there is room for more. */
  readonly onRoom?: () => void;
}

/** What the agent holds that has not ended. */
export interface OpenWork {
  readonly eventId: string;
  readonly revision: number;
  readonly state: "waiting" | "running";
}

/**
 * The events this agent has accepted, from acceptance to their end: read in the order accepted, started as `Schedule` allows, carried
 * out, and ended in the ledger before their place is given to the next.
 */
export class Workload {
  readonly #options: WorkloadOptions;
  readonly #schedule: Schedule;
  /** Everything accepted and not finished, in the order accepted. */
  readonly #items = new Map<string, Item>();
  /** How many of them have which priority. */
  readonly #priorities = new Map<number, number>();
  readonly #runs = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  readonly #abandon = new AbortController();
  #preparing = false;
  #parsedChars = 0;
  /** A large event under suspicion is being read: of the others none may run beside it, or nobody would know which it was. */
  #readingSuspect: Item | undefined;
  #whenQuiet: (() => void) | undefined;
  readonly #readingLarge = new Set<Item>();
  #expiry: TimerHandle | undefined;
  #expiryAt = Number.POSITIVE_INFINITY;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#schedule = new Schedule(options.maxConcurrent);
  }

  get running(): number {
    return this.#schedule.running;
  }

  get waiting(): number {
    return this.#schedule.waiting;
  }

  holds(key: string): boolean {
    return this.#items.has(key);
  }

  /** All that has not ended, in the order accepted. From its last word on an event is among those of `Outbound.untoldEnds` instead. */
  *open(): Iterable<OpenWork> {
    for (const item of this.#items.values()) {
      const { eventId, revision } = item.work;
      if (revision === undefined || item.ended) continue;
      yield { eventId, revision, state: this.#schedule.isRunning(item.key) ? "running" : "waiting" };
    }
  }

  accept(delivery: Delivery, expiresAtMs: number | undefined): void {
    this.#add({ key: delivery.key, work: delivery.work, expiresAtMs, started: false, crashes: 0 }, delivery.manifestsJson);
  }

  /** Takes a place for a delivery whose manifests are still to come: later ones wait for it. Its TTL counts already. */
  reserve(delivery: Delivery, expiresAtMs: number | undefined): void {
    this.#add({ key: delivery.key, work: delivery.work, expiresAtMs, started: false, crashes: 0, fetching: true }, undefined);
  }

  /** The ledger has the manifests of a reserved delivery; `work` is it with what they say of it. */
  arrived(key: string, work?: Work): void {
    const item = this.#items.get(key);
    if (item === undefined || !item.fetching) return;
    item.fetching = false;
    if (work !== undefined) item.work = work;
    this.#pump();
  }

  /** The manifests of a reserved delivery cannot be had: it ends with this. */
  failed(key: string, error: TransporterError): void {
    const item = this.#items.get(key);
    if (item === undefined || !item.fetching || this.#runs.has(key)) return;
    this.#endWaiting(item, failedStatus(error));
    this.#pump();
  }

  /** What an earlier process accepted and did not finish. */
  recover(open: readonly OpenDelivery[]): void {
    for (const one of open) this.#add(one, undefined, true);
  }

  /**
   * Calls a delivery back: one that waits ends at once, one that runs at the next safe point; one that is ending already ends as it does.
   * `unknown`: nothing of the kind is open here.
   */
  cancel(eventId: string, revision: number): "held" | "unknown" {
    let known = false;
    for (const item of this.#items.values()) {
      if (item.work.eventId !== eventId || item.work.revision !== revision) continue;
      known = true;
      if (item.cancel.signal.aborted || item.ended) continue;
      this.#options.log.info("Event is called back", { event_id: eventId, revision });
      item.cancel.abort(new Error("the event was called back"));
      if (this.#runs.has(item.key)) continue;
      failpoint("agent.run.cancelled");
      this.#endWaiting(item, cancelledStatus("before it was started"));
    }
    if (known) this.#pump();
    return known ? "held" : "unknown";
  }

  /** Starts nothing more; what runs may reach a safe point within `graceMs` and is then left to the next process. */
  async stop(graceMs: number): Promise<void> {
    this.#expiry?.cancel();
    this.#stop.abort();
    // What is being read is dropped, and that is no crash.
    for (const item of this.#readingLarge) this.#record(item, this.#options.ledger.reading(item.key, false));
    const { timers } = this.#options.ports;
    const within = async (ms: number): Promise<boolean> => {
      const late = Promise.withResolvers<false>();
      const timer = timers.after(ms, () => late.resolve(false));
      const settled = await Promise.race([Promise.all(this.#runs.values()).then(() => true), late.promise]);
      timer.cancel();
      return settled;
    };
    if (await within(graceMs)) return;
    this.#options.log.warn("Events are left unfinished; they go on after a restart", { events: this.#runs.size });
    this.#abandon.abort();
    await within(WORKLOAD_LIMITS.abandonMs);
  }

  #add(open: OpenDelivery, source: ManifestSource | undefined, recovered = false): void {
    const { clock } = this.#options.ports;
    const { key, work, expiresAtMs, started, crashes } = open;
    if (this.#items.has(key)) return;
    // From here on the monotonic clock counts, so that a clock set right in between lets nothing expire.
    const expiresAt = expiresAtMs === undefined || started ? undefined : clock.monotonic() + (expiresAtMs - clock.now());
    this.#items.set(key, {
      key,
      work,
      expiresAt,
      resumed: started,
      recovered,
      crashes,
      diedIn: open.diedIn,
      cancel: new AbortController(),
      fetching: open.fetching === true,
      source,
      read: false,
      prepared: undefined,
      begun: false,
      ended: false,
    });
    this.#priorities.set(work.priority, (this.#priorities.get(work.priority) ?? 0) + 1);
    this.#schedule.add(key, work.priority, crashes > 0);
    if (expiresAt !== undefined && expiresAt < this.#expiryAt) this.#awaitExpiry(expiresAt);
    this.#pump();
  }

  #pump(): void {
    if (this.#stop.signal.aborted) return;
    this.#launch();
    void this.#prepareAll();
  }

  #launch(): void {
    if (this.#stop.signal.aborted) return;
    this.#expire();
    for (const key of this.#schedule.start(this.#readingSuspect !== undefined)) {
      const item = this.#items.get(key);
      if (item !== undefined) this.#begin(item);
    }
  }

  #awaitExpiry(at: number): void {
    const { clock, timers } = this.#options.ports;
    this.#expiry?.cancel();
    this.#expiryAt = at;
    const look = (): void => {
      // Whatever is due, and if the timer came a moment too early, the rest of the wait.
      this.#expiryAt = Number.NEGATIVE_INFINITY;
      this.#pump();
    };
    this.#expiry = Number.isFinite(at) ? timers.after(at - clock.monotonic(), look, { background: true }) : undefined;
  }

  #expire(): void {
    const nowAt = this.#options.ports.clock.monotonic();
    if (nowAt < this.#expiryAt) return;
    let next = Number.POSITIVE_INFINITY;
    for (const item of this.#waitingItems()) {
      if (item.expiresAt === undefined) continue;
      if (item.expiresAt > nowAt) next = Math.min(next, item.expiresAt);
      else this.#endWaiting(item, EXPIRED);
    }
    this.#awaitExpiry(next);
  }

  /** Reads what waits, one at a time and in order, as far ahead as the limits allow. */
  async #prepareAll(): Promise<void> {
    if (this.#preparing) return;
    this.#preparing = true;
    for (;;) {
      const next = this.#stop.signal.aborted ? undefined : nextToRead(this.#waitingItems(), this.#priorities.size > 1);
      if (next === undefined) break;
      const { item, keep } = next;
      const prepared = await this.#prepare(item);
      item.source = undefined;
      item.read = true;
      if (keep) item.prepared = prepared;
      this.#schedule.setLocks(item.key, prepared.locks);
      this.#launch();
    }
    this.#preparing = false;
  }

  *#waitingItems(): Generator<Item> {
    for (const key of this.#schedule.waitingKeys()) {
      const item = this.#items.get(key);
      if (item !== undefined) yield item;
    }
  }

  async #prepare(item: Item): Promise<Prepared> {
    // What is not going to be carried out touches nothing.
    if (refusalOf(item) !== undefined && !mayRollBack(item)) return NOTHING;
    const prepared = await prepare(item.key, item.work, item.source, {
      ...this.#options,
      beforeLarge: () => this.#beforeLarge(item),
      afterLarge: () => {
        if (this.#readingSuspect === item) this.#readingSuspect = undefined;
        this.#readingLarge.delete(item);
        this.#record(item, this.#options.ledger.reading(item.key, false));
      },
    });
    this.#parsedChars += prepared.chars;
    return prepared;
  }

  /** What dies of reading has to be found out as what dies of being carried out. */
  async #beforeLarge(item: Item): Promise<void> {
    if (item.crashes > 0 && !this.#schedule.isRunning(item.key)) {
      while (this.#schedule.suspectRunning) await new Promise<void>((resolve) => (this.#whenQuiet = resolve));
      this.#readingSuspect = item;
    }
    this.#readingLarge.add(item);
    const recorded = this.#options.ledger.reading(item.key, true);
    this.#record(item, recorded);
    await recorded.catch(() => undefined);
  }

  #record(item: Item, recorded: Promise<void>): void {
    recorded.catch((error: unknown) =>
      this.#options.log.warn("How far an event is could not be recorded", { event_id: item.work.eventId, error: messageOf(error) }),
    );
  }

  #begin(item: Item): void {
    const refusal = refusalOf(item);
    const ends = refusal !== undefined && !mayRollBack(item);
    this.#track(item, ends ? this.#end(item, failedStatus(refusal)) : this.#execute(item, refusal));
  }

  #endWaiting(item: Item, status: Status): void {
    this.#schedule.remove(item.key);
    this.#track(item, this.#end(item, status));
  }

  #track(item: Item, run: Promise<void>): void {
    const tracked = run
      .catch((error: unknown) => {
        this.#options.log.error("An event could not be ended", { event_id: item.work.eventId, error: messageOf(error) });
      })
      .finally(() => {
        this.#runs.delete(item.key);
        this.#items.delete(item.key);
        const alike = (this.#priorities.get(item.work.priority) ?? 1) - 1;
        if (alike === 0) this.#priorities.delete(item.work.priority);
        else this.#priorities.set(item.work.priority, alike);
        this.#schedule.remove(item.key);
        if (!this.#schedule.suspectRunning) this.#whenQuiet?.();
        this.#pump();
        this.#options.onRoom?.();
        if (this.#items.size === 0 && this.#parsedChars > WORKLOAD_LIMITS.tidyChars) this.#tidyLater();
      });
    this.#runs.set(item.key, tracked);
  }

  /** A large event leaves tens of megabytes of garbage that an idle engine would keep for as long as the agent has nothing to do. */
  #tidyLater(): void {
    this.#parsedChars = 0;
    this.#options.ports.timers.after(
      WORKLOAD_LIMITS.tidyAfterMs,
      () => {
        if (this.#items.size === 0) Bun.gc(true);
      },
      { background: true },
    );
  }

  async #execute(item: Item, refusal: TransporterError | undefined): Promise<void> {
    const { executor, ledger, outbound, ports } = this.#options;
    const beganMs = ports.clock.monotonic();
    const { content } = item.prepared ?? (await this.#prepare(item));
    let phase: Phase = "received";
    const ending: Ending = await executor.execute({
      work: item.work,
      content,
      resumed: item.resumed,
      recovered: item.recovered,
      refusal,
      report: (status) => {
        this.#logStatus(item, status);
        outbound.report(item.key, item.work, status);
        phase = status.phase;
      },
      started: () => this.#recordStart(item, phase),
      keep: {
        lasting: ledger.lasting,
        set: (name, text) => ledger.keep(item.key, name, text),
        get: (name) => ledger.kept(item.key, name),
      },
      cancel: item.cancel.signal,
      stop: this.#stop.signal,
      abandon: this.#abandon.signal,
    });
    item.prepared = undefined;
    if (ending.kind === "interrupted") {
      this.#options.log.info("Event interrupted; it goes on after a restart", { event_id: item.work.eventId });
      if (item.begun) await ledger.interrupted(item.key);
      return;
    }
    await this.#end(item, ending.status, formatDurationMs(ports.clock.monotonic() - beganMs));
  }

  /** A script must not run before this is durable, so for one it is tried until then, or until there is no reason any more; else once. */
  async #recordStart(item: Item, phase: Phase): Promise<void> {
    const { log, ledger, ports } = this.#options;
    if (!item.begun) failpoint("agent.run.before-started");
    const first = !item.begun;
    item.begun = true;
    const backoff = new Backoff({ firstMs: 500, maxMs: 15_000 }, ports.random);
    for (;;) {
      try {
        await ledger.started(item.key, phase);
        break;
      } catch (error) {
        log.warn("The start of an event could not be recorded", { event_id: item.work.eventId, error: messageOf(error) });
        if (item.work.type !== "script") return;
        const waiting = AbortSignal.any([item.cancel.signal, this.#stop.signal]);
        await ports.timers.sleep(backoff.next(), waiting).catch(() => undefined);
        // What was called back in the meantime is ended by the executor, which looks before it goes on.
        if (waiting.aborted) return;
      }
    }
    if (first) failpoint("agent.run.started");
  }

  async #end(item: Item, status: Status, took?: string): Promise<void> {
    item.ended = true;
    this.#logStatus(item, status, took);
    await this.#options.outbound.finish(item.key, item.work, status);
  }

  #logStatus(item: Item, status: Status, took?: string): void {
    const { log } = this.#options;
    const { state, phase, message, details } = status;
    const fields = { event_id: item.work.eventId, state, phase, ...(took === undefined ? {} : { took }) };
    if (state === "failed") log.error("Event failed", { ...fields, error: message, code: details?.["code"] });
    else if (state === "expired" || state === "cancelled") log.warn(`Event ${state}`, fields);
    else if (status.level === "warning") log.warn(message, fields);
    else if (status.progress === true) log.info("Event in progress", { ...fields, at: message });
    else log.info(message, fields);
  }
}
