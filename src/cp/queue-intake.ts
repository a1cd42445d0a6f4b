import { Backoff, isRetryable, type Logger, messageOf, type Ports, toTransporterError, type TransporterError } from "../kit/mod.ts";
import type { Consumption, Queue, QueueInfo, QueueMessage, QueueStatus, Settlement } from "../queues/mod.ts";
import { type Principal, queuePrincipal } from "../security/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { Intake } from "./intake.ts";

/** Messages in hand at once. */
const WINDOW = 256;
/** How long those in hand may take to be settled at a stop. */
const STOP_PATIENCE_MS = 2_000;
const FRESH_MS = 2_000;
/** A fault that nobody foresaw may be one of the moment; after so many tries it is one of the message. */
const TRIES_AT_FAULTS = 5;
const RETRY = { firstMs: 200, maxMs: 5_000 };
const PROBE = { firstMs: 200, maxMs: 2_000 };
const CONSUME = { firstMs: 1_000, maxMs: 30_000 };

export interface QueueIntakeOptions {
  readonly queue: Queue;
  readonly intake: Pick<Intake, "submit">;
  readonly store: Pick<Store, "ping">;
  readonly ports: Ports;
  readonly log: Logger;
  /** As at the other door. */
  readonly maxEventBytes: number;
  readonly window?: number;
}

/** What has become of messages here, since the start. */
export interface QueueCounts {
  readonly taken: number;
  readonly done: number;
  /** Of those done: the store had their event already. */
  readonly duplicates: number;
  readonly dead: number;
  /** How often an event was tried again, because the store was away or a bound was reached. */
  readonly retries: number;
}

export interface QueueView {
  readonly info: QueueInfo;
  readonly state: "connected" | "away";
  readonly why: string | undefined;
  /** No messages are taken, because the store is away. */
  readonly paused: boolean;
  readonly counts: QueueCounts;
}

/**
 * Takes events from a queue as the HTTP door takes them from requests. A message is settled only when its event is durable, or when no
 * repetition can help. While the store is away, or an agent has more waiting than it may, messages stay in hand and are tried again; none is
 * given back for that, since brokers count how often they hand a message out.
 *
 * Messages that wait for one agent's bound hold their places in the window; others pass them as long as there is room. When the window is
 * full of them, nothing is taken until one gets through: the queue keeps the rest, which is what it is for.
 */
export class QueueIntake {
  readonly #options: QueueIntakeOptions;
  readonly #principal: Principal;
  readonly #stopped = new AbortController();
  readonly #counts = { taken: 0, done: 0, duplicates: 0, dead: 0, retries: 0 };
  #state: QueueView["state"] = "away";
  #why: string | undefined = "not connected yet";
  #consumption: Consumption | undefined;
  #starting: Promise<void> | undefined;
  /** Resolves when the store is back; undefined while it is there. */
  #storeBack: Promise<void> | undefined;
  #sample: { readonly atMs: number; readonly status: Promise<QueueStatus> } | undefined;

  constructor(options: QueueIntakeOptions) {
    this.#options = options;
    this.#principal = queuePrincipal(options.queue.info.driver);
  }

  get view(): QueueView {
    const { queue } = this.#options;
    return { info: queue.info, state: this.#state, why: this.#why, paused: this.#storeBack !== undefined, counts: { ...this.#counts } };
  }

  /** Begins in the background: a queue that is away, or does not let us in, keeps nobody from sending events over HTTP. */
  start(): void {
    this.#starting ??= this.#begin();
  }

  /** Takes no more; what is not settled in time goes to the other control planes. The queue is closed. */
  async stop(): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort(new Error("stopped"));
    const { queue, log } = this.#options;
    await this.#consumption?.stop(STOP_PATIENCE_MS).catch((error: unknown) => {
      log.warn("The queue's messages in hand could not be given back", { queue: queue.info.location, error: messageOf(error) });
    });
    await queue.close();
    await this.#starting;
  }

  /** What waits in the queue, at most two seconds old. Throws QUEUE_UNAVAILABLE. */
  status(): Promise<QueueStatus> {
    const { queue, ports } = this.#options;
    const nowMs = ports.clock.monotonic();
    if (this.#sample === undefined || nowMs - this.#sample.atMs > FRESH_MS) this.#sample = { atMs: nowMs, status: queue.status() };
    return this.#sample.status;
  }

  async #begin(): Promise<void> {
    const { queue, ports, log, window = WINDOW } = this.#options;
    const backoff = new Backoff(CONSUME, ports.random);
    while (!this.#stopped.signal.aborted) {
      try {
        const consumption = await queue.consume({
          window,
          take: (message) => this.#take(message),
          onState: (state, why) => this.#turned(state, why),
        });
        this.#consumption = consumption;
        if (this.#storeBack !== undefined) consumption.pause();
        if (this.#stopped.signal.aborted) await consumption.stop(0);
        return;
      } catch (error) {
        if (this.#stopped.signal.aborted) return;
        const { code, message, remedy } = toTransporterError(error);
        this.#state = "away";
        this.#why = `${code}: ${message}`;
        log.error("Events cannot be taken from the queue", { queue: queue.info.location, code, error: message, remedy });
        await this.#sleep(500 + backoff.next());
      }
    }
  }

  #turned(state: "connected" | "away", why: string | undefined): void {
    const { queue, log } = this.#options;
    const about = { queue: queue.info.location, name: queue.info.name };
    if (state === "connected") log.info("Taking events from the queue", about);
    else log.warn("The queue is away", { ...about, why });
    this.#state = state;
    this.#why = why;
  }

  async #take(message: QueueMessage): Promise<Settlement> {
    const { intake, queue, ports, maxEventBytes } = this.#options;
    this.#counts.taken += 1;
    if (message.body.byteLength > maxEventBytes)
      return this.#refuse(message, "BODY_TOO_LARGE", `the body has ${message.body.byteLength} bytes; ${maxEventBytes} are accepted`);
    const source = {
      principal: this.#principal,
      remoteAddress: queue.info.location,
      requestId: ports.ids.uuid(),
      traceparent: message.traceparent,
      via: "queue" as const,
    };
    const backoff = new Backoff(RETRY, ports.random);
    for (let tries = 1; ; tries += 1) {
      try {
        const { duplicate } = await intake.submit(message.body, source);
        this.#counts.done += 1;
        if (duplicate) this.#counts.duplicates += 1;
        return { kind: "done" };
      } catch (thrown) {
        const error = toTransporterError(thrown);
        if (!isPassing(error, tries)) return this.#refuse(message, error.code, error.message, error);
        this.#counts.retries += 1;
        await this.#better(error, 50 + backoff.next());
        if (this.#stopped.signal.aborted) return unsettled();
      }
    }
  }

  /** When it is worth trying again. */
  async #better(error: TransporterError, waitMs: number): Promise<void> {
    if (isOfStore(error)) this.#storeAway(error);
    await this.#sleep(waitMs);
    await this.#storeBack;
  }

  /** One asks for all when the store is back; nothing is taken until then. */
  #storeAway(error: TransporterError): void {
    if (this.#storeBack !== undefined) return;
    const { log, queue } = this.#options;
    log.warn("The store is away: no messages are taken from the queue", {
      queue: queue.info.location,
      code: error.code,
      error: error.message,
    });
    this.#consumption?.pause();
    this.#storeBack = this.#awaitStore();
  }

  async #awaitStore(): Promise<void> {
    await this.#probe();
    this.#storeBack = undefined;
    if (this.#stopped.signal.aborted) return;
    const { log, queue } = this.#options;
    this.#consumption?.resume();
    log.info("The store is back: messages are taken from the queue again", { queue: queue.info.location });
  }

  async #probe(): Promise<void> {
    const { store, ports } = this.#options;
    const backoff = new Backoff(PROBE, ports.random);
    while (!this.#stopped.signal.aborted) {
      await this.#sleep(50 + backoff.next());
      const well = await store.ping().then(
        () => true,
        () => false,
      );
      if (well) return;
    }
  }

  #refuse(message: QueueMessage, code: string, reason: string, error?: TransporterError): Settlement {
    const { log, queue } = this.#options;
    const eventId = idIn(message.body) ?? message.id;
    this.#counts.dead += 1;
    log.warn("A message of the queue goes to the dead letters", {
      queue: queue.info.location,
      event_id: eventId,
      code,
      reason,
      producer: message.producer,
      deliveries: message.deliveries,
      ...(error?.kind === "bug" && error.cause !== undefined ? { cause: messageOf(error.cause) } : {}),
    });
    const pointer = error?.details["pointer"];
    return { kind: "dead", code, reason: typeof pointer === "string" ? `${reason} (at ${pointer})` : reason, eventId };
  }

  #sleep(ms: number): Promise<void> {
    return this.#options.ports.timers.sleep(ms, this.#stopped.signal).catch(() => undefined);
  }
}

function isOfStore({ code }: TransporterError): boolean {
  return code.startsWith("STORE_");
}

/** Whether the same message may be taken later. A store that is damaged today may be restored tomorrow, and the message is none the worse. */
function isPassing(error: TransporterError, tries: number): boolean {
  if (isRetryable(error) || isOfStore(error)) return true;
  return error.kind === "bug" && tries < TRIES_AT_FAULTS;
}

/** Never: who stops leaves it to the queue to hand it to somebody else. */
function unsettled(): Promise<Settlement> {
  return new Promise(() => undefined);
}

/** The event's own id, where the body is good enough to have one. */
function idIn(body: Uint8Array): string | undefined {
  try {
    const id: unknown = (JSON.parse(new TextDecoder().decode(body)) as { readonly id?: unknown } | null)?.id;
    return typeof id === "string" && id !== "" ? id : undefined;
  } catch {
    return undefined;
  }
}
