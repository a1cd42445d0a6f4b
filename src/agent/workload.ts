import { type Logger, messageOf, type Ports, type TimerHandle, toTransporterError, TransporterError } from "../kit/mod.ts";
import { type LockSet, lockSet, type ParsedObject } from "../manifests/mod.ts";
import { formatDurationMs } from "../protocol/mod.ts";
import type { Delivery, Work } from "./delivery.ts";
import type { Ending, Executor } from "./executor.ts";
import type { Ledger, OpenDelivery } from "./ledger.ts";
import type { Parsing } from "./off-loop.ts";
import type { Outbound } from "./outbound.ts";
import { Schedule } from "./schedule.ts";
import type { Status } from "./status.ts";

export const WORKLOAD_LIMITS = {
  /** Parsed and waiting for their turn; what is behind waits as text. One is always parsed. */
  preparedCount: 32,
  preparedChars: 32 * 1024 * 1024,
  /** So often may the process die while an event is carried out; then the event is to blame. */
  crashes: 5,
  /** After the grace of a stop: for what was told to leave at once. */
  abandonMs: 500,
  /** After this much was parsed, memory is given back once there is nothing to do. */
  tidyChars: 256 * 1024,
  tidyAfterMs: 1_000,
} as const;

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
}

interface Item {
  readonly key: string;
  readonly work: Work;
  /** By the monotonic clock; undefined without bound or once it was started. */
  readonly expiresAt: number | undefined;
  readonly resumed: boolean;
  readonly crashes: number;
  /** Until they are parsed; undefined too after a restart, when the ledger has them. */
  manifestsJson: string | undefined;
  prepared: { readonly objects: readonly ParsedObject[] | TransporterError; readonly chars: number } | undefined;
}

const NO_LOCKS: LockSet = { writes: new Set(), reads: new Set() };

/**
 * The events this agent has accepted, from acceptance to their end: parsed in the order accepted, started as `Schedule` allows, carried
 * out, and ended in the ledger before their place is given to the next.
 */
export class Workload {
  readonly #options: WorkloadOptions;
  readonly #schedule: Schedule;
  /** Everything accepted and not finished, in the order accepted. */
  readonly #items = new Map<string, Item>();
  readonly #runs = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  readonly #abandon = new AbortController();
  #preparing = false;
  #parsedChars = 0;
  #expiry: TimerHandle | undefined;

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

  accept(delivery: Delivery, expiresAtMs: number | undefined): void {
    this.#add({ key: delivery.key, work: delivery.work, expiresAtMs, started: false, crashes: 0 }, delivery.manifestsJson);
  }

  /** What an earlier process accepted and did not finish. */
  recover(open: readonly OpenDelivery[]): void {
    for (const one of open) this.#add(one, undefined);
  }

  /** Starts nothing more; what runs may reach a safe point within `graceMs` and is then left to the next process. */
  async stop(graceMs: number): Promise<void> {
    this.#expiry?.cancel();
    this.#stop.abort();
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

  #add(open: OpenDelivery, manifestsJson: string | undefined): void {
    const { clock } = this.#options.ports;
    const { key, work, expiresAtMs, started, crashes } = open;
    if (this.#items.has(key)) return;
    // From here on the monotonic clock counts, so that a clock set right in between lets nothing expire.
    const expiresAt = expiresAtMs === undefined || started ? undefined : clock.monotonic() + (expiresAtMs - clock.now());
    this.#items.set(key, { key, work, expiresAt, resumed: started, crashes, manifestsJson, prepared: undefined });
    this.#schedule.add(key, work.priority);
    this.#pump();
  }

  #pump(): void {
    if (this.#stop.signal.aborted) return;
    this.#expire();
    void this.#prepare();
    for (const key of this.#schedule.start()) {
      const item = this.#items.get(key);
      if (item !== undefined) this.#begin(item);
    }
  }

  #expire(): void {
    const { clock, timers } = this.#options.ports;
    let next = Number.POSITIVE_INFINITY;
    for (const key of this.#schedule.waitingKeys()) {
      const item = this.#items.get(key);
      if (item?.expiresAt === undefined) continue;
      if (item.expiresAt > clock.monotonic()) {
        next = Math.min(next, item.expiresAt);
        continue;
      }
      this.#schedule.remove(key);
      this.#track(
        item,
        this.#end(item, {
          state: "expired",
          phase: "received",
          message: "The event's TTL ran out before its execution could start",
          level: "warning",
          details: { code: "EVENT_EXPIRED" },
        }),
      );
    }
    this.#expiry?.cancel();
    this.#expiry = Number.isFinite(next) ? timers.after(next - clock.monotonic(), () => this.#pump(), { background: true }) : undefined;
  }

  /** Parses what waits, one at a time and in order, as far ahead as the limits allow. */
  async #prepare(): Promise<void> {
    if (this.#preparing) return;
    this.#preparing = true;
    for (let item = this.#nextToPrepare(); item !== undefined; item = this.#nextToPrepare()) {
      const { locks, objects, chars } = await this.#parse(item);
      item.manifestsJson = undefined;
      item.prepared = { objects, chars };
      this.#schedule.setLocks(item.key, locks);
      // Not `pump`, which would come back here.
      for (const key of this.#stop.signal.aborted ? [] : this.#schedule.start()) {
        const startable = this.#items.get(key);
        if (startable !== undefined) this.#begin(startable);
      }
    }
    this.#preparing = false;
  }

  #nextToPrepare(): Item | undefined {
    if (this.#stop.signal.aborted) return undefined;
    let count = 0;
    let chars = 0;
    for (const key of this.#schedule.waitingKeys()) {
      const item = this.#items.get(key);
      if (item === undefined) continue;
      if (item.prepared === undefined) return item;
      count += 1;
      chars += item.prepared.chars;
      if (count >= WORKLOAD_LIMITS.preparedCount || chars >= WORKLOAD_LIMITS.preparedChars) return undefined;
    }
    return undefined;
  }

  async #parse(item: Item): Promise<{ locks: LockSet; objects: readonly ParsedObject[] | TransporterError; chars: number }> {
    if (item.work.type !== "k8s_resource" || item.work.fault !== undefined) return { locks: NO_LOCKS, objects: [], chars: 0 };
    let chars = 0;
    try {
      const json = item.manifestsJson ?? (await this.#options.ledger.manifests(item.key));
      if (json === undefined) throw new TransporterError("INTERNAL", "the manifests of the event are lost");
      chars = json.length;
      this.#parsedChars += chars;
      const objects = await this.#options.parsing.manifests(json);
      return { locks: lockSet(objects, this.#options.defaultNamespace), objects, chars };
    } catch (error) {
      // It touches nothing: it is going to fail with this.
      return { locks: NO_LOCKS, objects: toTransporterError(error), chars };
    }
  }

  #begin(item: Item): void {
    const { log, ledger } = this.#options;
    if (item.crashes >= WORKLOAD_LIMITS.crashes) {
      const error = new TransporterError(
        "OUTCOME_UNKNOWN",
        `the agent's process ended ${item.crashes} times while it carried out this event`,
      );
      const details = { code: error.code, remedy: error.remedy };
      this.#track(item, this.#end(item, { state: "failed", phase: "failed", message: error.message, level: "error", details }));
      return;
    }
    void ledger
      .started(item.key)
      .catch((error: unknown) => log.warn("The start of an event could not be recorded", { error: messageOf(error) }));
    this.#track(item, this.#execute(item));
  }

  #track(item: Item, run: Promise<void>): void {
    const tracked = run
      .catch((error: unknown) => {
        this.#options.log.error("An event could not be ended", { event_id: item.work.eventId, error: messageOf(error) });
      })
      .finally(() => {
        this.#runs.delete(item.key);
        this.#items.delete(item.key);
        this.#schedule.remove(item.key);
        this.#pump();
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

  async #execute(item: Item): Promise<void> {
    const { executor, ledger, outbound, ports } = this.#options;
    const beganMs = ports.clock.monotonic();
    const ending: Ending = await executor.execute({
      work: item.work,
      objects: item.prepared?.objects ?? [],
      resumed: item.resumed,
      report: (status) => {
        this.#logStatus(item, status);
        outbound.report(item.key, item.work, status);
      },
      stop: this.#stop.signal,
      abandon: this.#abandon.signal,
    });
    item.prepared = undefined;
    if (ending.kind === "interrupted") {
      this.#options.log.info("Event interrupted; it goes on after a restart", { event_id: item.work.eventId });
      await ledger.interrupted(item.key);
      return;
    }
    await this.#end(item, ending.status, formatDurationMs(ports.clock.monotonic() - beganMs));
  }

  async #end(item: Item, status: Status, took?: string): Promise<void> {
    this.#logStatus(item, status, took);
    await this.#options.outbound.finish(item.key, item.work, status);
  }

  #logStatus(item: Item, status: Status, took?: string): void {
    const { log } = this.#options;
    const { state, phase, message, details } = status;
    const fields = { event_id: item.work.eventId, state, phase, ...(took === undefined ? {} : { took }) };
    if (state === "failed") log.error("Event failed", { ...fields, error: message, code: details?.["code"] });
    else if (state === "expired") log.warn("Event expired", fields);
    else if (status.progress === true) log.info("Event in progress", { ...fields, at: message });
    else log.info(message, fields);
  }
}
