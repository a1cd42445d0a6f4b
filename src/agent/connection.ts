import { Backoff, messageOf, type Logger, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Dialer, DialOptions, Socket } from "../net/mod.ts";
import { CLOSE, formatTimestamp, RegistrationReplySchema } from "../protocol/mod.ts";
import { type Agreement, readReply } from "./registration.ts";
import * as v from "valibot";

/** Times of the link, in milliseconds. */
export const LINK = {
  backoffFirst: 200,
  backoffMax: 15_000,
  /** A link that had stood: all who lost the same control plane come back spread over this, and soon. */
  lostSpread: 2_000,
  /** Turned away at the door (503 before the upgrade, 1013 after): there are too many at once, and it passes quickly. */
  refusedFirst: 1_000,
  refusedMax: 5_000,
  /** A link that stood this long counts as good: the next wait begins from the start again. */
  settled: 5_000,
  registrationTimeout: 10_000,
  /** The same while there are other addresses that were not tried yet: a process that stands still takes a connection and never answers. */
  impatientTimeout: 5_000,
  ping: 10_000,
  /** No life for this long: the link is half-open. Seen within 30 s, as it is looked for every second. */
  silence: 25_000,
  watch: 1_000,
  /** Told to go elsewhere, or with another address to try: soon, yet not all in the same moment. */
  moveSpread: 200,
  /** Another agent has our id, or we were removed: whoever is right, coming back at once would only start a fight. */
  /** Unless that may be a connection that we gave up ourselves and that a busy control plane took on all the same. */
  replacedPauseMin: 1_000,
  replacedPauseMax: 3_000,
  replacedMemory: 120_000,
  evictedPauseMin: 30_000,
  evictedPauseMax: 60_000,
  goodbye: 1_000,
} as const;

/** Of RFC 6455's registry: the store behind the control plane does not answer now. */
const CLOSE_TRY_AGAIN_LATER = 1013;

export interface ConnectionOptions {
  /** At least one; those after the first are other ways to the same installation. */
  readonly urls: readonly string[];
  readonly dialer: Dialer;
  /** Asked before each attempt, so that what may change (a proxy, a token) is read anew. A throw is logged and tried again. */
  readonly dialOptions: (url: string) => Omit<DialOptions, "handlers">;
  /** The registration frame, made anew for each attempt. */
  readonly register: () => string;
  readonly heartbeatIntervalMs: number;
  /** What a heartbeat says beside the time. */
  readonly heartbeat: () => Readonly<Record<string, unknown>>;
  readonly ports: Ports;
  readonly log: Logger;
  /**
   * Whether a connection of this epoch is to be taken, and it is safe to forget the ones before; asked before any frame of it is looked at.
   * Must not reject.
   */
  readonly admit: (epoch: number) => Promise<boolean>;
  readonly onRegistered: (agreement: Agreement) => void;
  readonly onFrame: (text: string) => void;
  readonly onLost: () => void;
}

export type LinkState = "idle" | "connecting" | "registering" | "registered" | "waiting" | "stopped";

/** One attempt, from dialling to its end. */
interface Attempt {
  readonly socket: Socket;
  readonly url: string;
  /** Frames that came while the epoch was being looked at. */
  early: string[] | undefined;
  readonly timers: TimerHandle[];
  lastLifeMs: number;
  registeredAtMs: number | undefined;
  agreement: Agreement | undefined;
}

/**
 * Keeps one link to the control plane: dials, registers, sends heartbeats, notices a half-open link, and comes back for ever. What the
 * frames mean is not its business, and it keeps none: what was sent on a link that breaks may be lost, so others hold it until acknowledged.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #backoff: Backoff;
  readonly #refusals: Backoff;
  #state: LinkState = "idle";
  #attempt: Attempt | undefined;
  #retry: TimerHandle | undefined;
  #lastImmediateMs = Number.NEGATIVE_INFINITY;
  #lastContactMs: number | undefined;
  #connects = 0;
  /** Which of the URLs is dialled. */
  #at: number;
  /** When it was replaced last, and when it gave up waiting for an answer to its registration; monotonic. */
  #replacedMs = Number.NEGATIVE_INFINITY;
  #gaveUpMs = Number.NEGATIVE_INFINITY;
  /** Attempts that failed since one registered. */
  #failures = 0;
  #onClosed: (() => void) | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: LINK.backoffFirst, maxMs: LINK.backoffMax }, options.ports.random);
    this.#refusals = new Backoff({ firstMs: LINK.refusedFirst, maxMs: LINK.refusedMax }, options.ports.random);
    // Agents with the same list do not all come to its first.
    const count = options.urls.length;
    this.#at = count > 1 ? Math.floor(options.ports.random.float() * count) : 0;
  }

  get state(): LinkState {
    return this.#state;
  }

  /** When anything was last heard, in milliseconds since the epoch. */
  get lastContactMs(): number | undefined {
    return this.#lastContactMs;
  }

  /** How often it was registered. */
  get registrations(): number {
    return this.#connects;
  }

  get agreement(): Agreement | undefined {
    return this.#state === "registered" ? this.#attempt?.agreement : undefined;
  }

  start(): void {
    if (this.#state === "idle") this.#dial();
  }

  /** False when there is no registered link; nothing was sent. */
  send(text: string): boolean {
    return this.#state === "registered" && this.#attempt?.socket.send(text) === true;
  }

  /** Drops the link and comes back: what went over it is not whole. */
  beginAnew(): void {
    this.#attempt?.socket.terminate();
  }

  /** Bytes handed over that the operating system has not taken yet. */
  get bufferedBytes(): number {
    return this.#attempt?.socket.bufferedBytes ?? 0;
  }

  /** Says goodbye with this code and does not come back. Resolves when the link is gone, after a second at most. */
  async stop(code: number, reason: string): Promise<void> {
    if (this.#state === "stopped") return;
    this.#retry?.cancel();
    this.#state = "stopped";
    const attempt = this.#attempt;
    if (attempt === undefined) return;
    const { timers } = this.#options.ports;
    await new Promise<void>((resolve) => {
      const patience = timers.after(LINK.goodbye, () => attempt.socket.terminate());
      const surrender = timers.after(2 * LINK.goodbye, resolve);
      this.#onClosed = () => {
        patience.cancel();
        surrender.cancel();
        resolve();
      };
      if (attempt.registeredAtMs === undefined) attempt.socket.terminate();
      else attempt.socket.close(code, reason);
    });
  }

  get #url(): string {
    const { urls } = this.#options;
    return urls[this.#at % urls.length] ?? "";
  }

  #dial(): void {
    const { dialer, ports, log } = this.#options;
    const url = this.#url;
    this.#state = "connecting";
    let dialOptions: Omit<DialOptions, "handlers">;
    try {
      dialOptions = this.#options.dialOptions(url);
    } catch (error) {
      log.error("Cannot dial the Control Plane", { cp_url: url, error: messageOf(error) });
      this.#at += 1;
      this.#wait(this.#backoff.next());
      return;
    }
    // A dialer may call its handlers before it has answered with the socket.
    const early: (() => void)[] = [];
    let attempt: Attempt | undefined;
    const then =
      <A extends unknown[]>(run: (attempt: Attempt, ...args: A) => void) =>
      (...args: A): void => {
        if (attempt === undefined) early.push(() => attempt !== undefined && run(attempt, ...args));
        else run(attempt, ...args);
      };
    const socket = dialer(url, {
      ...dialOptions,
      handlers: {
        open: then((one) => this.#opened(one)),
        message: then((one, text: string) => this.#message(one, text)),
        alive: then((one) => this.#alive(one)),
        close: then((one, code: number, reason: string, fault: string | undefined) => this.#closed(one, code, reason, fault)),
      },
    });
    attempt = {
      socket,
      url,
      early: undefined,
      timers: [],
      lastLifeMs: ports.clock.monotonic(),
      registeredAtMs: undefined,
      agreement: undefined,
    };
    this.#attempt = attempt;
    const mine = attempt;
    const { length } = this.#options.urls;
    const timeoutMs = length > 1 && this.#failures < length ? LINK.impatientTimeout : LINK.registrationTimeout;
    attempt.timers.push(
      ports.timers.after(timeoutMs, () => {
        log.warn("The Control Plane did not answer the registration in time", { cp_url: url, timeout_ms: timeoutMs });
        this.#gaveUpMs = ports.clock.monotonic();
        mine.socket.terminate();
      }),
    );
    for (const run of early) run();
  }

  #opened(attempt: Attempt): void {
    if (this.#attempt !== attempt || this.#state !== "connecting") return;
    this.#alive(attempt);
    this.#state = "registering";
    this.#options.log.info("Connected to Control Plane", { cp_url: attempt.url });
    attempt.socket.send(this.#options.register());
  }

  #alive(attempt: Attempt): void {
    attempt.lastLifeMs = this.#options.ports.clock.monotonic();
    this.#lastContactMs = this.#options.ports.clock.now();
  }

  #message(attempt: Attempt, text: string): void {
    if (this.#attempt !== attempt) return;
    this.#alive(attempt);
    if (attempt.early !== undefined) attempt.early.push(text);
    else if (this.#state === "registering") this.#reply(attempt, text);
    else if (this.#state === "registered") this.#options.onFrame(text);
  }

  #reply(attempt: Attempt, text: string): void {
    const { log } = this.#options;
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch {
      parsed = undefined;
    }
    const reply = v.safeParse(RegistrationReplySchema, parsed);
    const verdict = reply.success ? readReply(reply.output) : ({ kind: "not_a_reply" } as const);
    switch (verdict.kind) {
      case "registered":
        void this.#admit(attempt, verdict.agreement);
        return;
      case "refused":
        log.error("The Control Plane refused the registration", { error: verdict.message.slice(0, 1000) });
        attempt.socket.close(CLOSE.goingAway, "refused");
        this.#hangUp(attempt);
        return;
      case "not_a_reply":
        log.error("The Control Plane's answer to the registration is not understood", { frame: text.slice(0, 200) });
        attempt.socket.close(CLOSE.protocolError, "not a registration reply");
        this.#hangUp(attempt);
    }
  }

  /** After a `close` of ours: drops a peer that does not answer it. */
  #hangUp(attempt: Attempt): void {
    attempt.timers.push(this.#options.ports.timers.after(LINK.goodbye, () => attempt.socket.terminate()));
  }

  /** A control plane that does not know that it was replaced, or lost what it knew, must not command this agent. */
  async #admit(attempt: Attempt, agreement: Agreement): Promise<void> {
    if (agreement.epoch === undefined) {
      this.#registered(attempt, agreement);
      return;
    }
    attempt.early = [];
    const admitted = await this.#options.admit(agreement.epoch);
    if (this.#attempt !== attempt || this.#state !== "registering") return;
    if (!admitted) {
      this.#options.log.warn("The Control Plane is behind one that this agent has seen, and is left", {
        cp_url: attempt.url,
        epoch: agreement.epoch,
      });
      attempt.socket.close(CLOSE.goingAway, "behind what this agent has seen");
      this.#hangUp(attempt);
      return;
    }
    this.#registered(attempt, agreement);
    const { early } = attempt;
    attempt.early = undefined;
    for (const text of early) if (this.#attempt === attempt) this.#options.onFrame(text);
  }

  #registered(attempt: Attempt, agreement: Agreement): void {
    const { ports, log } = this.#options;
    for (const timer of attempt.timers.splice(0)) timer.cancel();
    attempt.registeredAtMs = ports.clock.monotonic();
    attempt.agreement = agreement;
    this.#state = "registered";
    this.#connects += 1;
    this.#failures = 0;
    log.info("Agent registered successfully", { protocol: agreement.protocol });
    attempt.timers.push(
      ports.timers.every(this.#options.heartbeatIntervalMs, () => {
        // Alphabetical, as 0.1's agent writes it.
        const beat = { metrics: {}, ...this.#options.heartbeat(), timestamp: formatTimestamp(ports.clock.now()), type: "heartbeat" };
        attempt.socket.send(JSON.stringify(beat));
      }),
      ports.timers.every(LINK.ping, () => attempt.socket.ping()),
      ports.timers.every(LINK.watch, () => this.#watch(attempt)),
      ports.timers.after(LINK.settled, () => {
        this.#backoff.reset();
        this.#refusals.reset();
      }),
    );
    this.#options.onRegistered(agreement);
  }

  #watch(attempt: Attempt): void {
    const silentMs = this.#options.ports.clock.monotonic() - attempt.lastLifeMs;
    if (silentMs < LINK.silence) return;
    this.#options.log.warn("The link to the Control Plane is dead", { silent_ms: Math.round(silentMs) });
    attempt.socket.terminate();
  }

  #closed(attempt: Attempt, code: number, reason: string, fault: string | undefined): void {
    for (const timer of attempt.timers.splice(0)) timer.cancel();
    if (this.#attempt !== attempt) return;
    this.#attempt = undefined;
    const wasRegistered = attempt.registeredAtMs !== undefined;
    if (this.#state === "stopped") {
      this.#onClosed?.();
      if (wasRegistered) this.#options.onLost();
      return;
    }
    const delayMs = this.#delayAfter(attempt, code, fault);
    const fields = {
      code,
      ...(this.#options.urls.length > 1 ? { cp_url: attempt.url } : {}),
      ...(reason === "" ? {} : { reason }),
      ...(fault === undefined ? {} : { error: fault }),
      retry_in_ms: Math.round(delayMs),
    };
    if (code === CLOSE.replaced) this.#options.log.warn("Another connection registered with this agent's id", fields);
    else if (code === CLOSE.removed) this.#options.log.warn("The Control Plane removed this agent", fields);
    else if (code === CLOSE.moveOn) this.#options.log.info("The Control Plane sends this agent on to another", fields);
    else if (wasRegistered) this.#options.log.warn("Disconnected from Control Plane", fields);
    else this.#options.log.warn("Cannot connect to Control Plane", { cp_url: attempt.url, ...fields });
    this.#wait(delayMs);
    if (wasRegistered) this.#options.onLost();
  }

  #delayAfter(attempt: Attempt, code: number, fault: string | undefined): number {
    const { random, clock } = this.#options.ports;
    if (code === CLOSE.replaced && this.#mayBeOurs())
      return LINK.replacedPauseMin + random.float() * (LINK.replacedPauseMax - LINK.replacedPauseMin);
    if (code === CLOSE.replaced || code === CLOSE.removed) {
      return LINK.evictedPauseMin + random.float() * (LINK.evictedPauseMax - LINK.evictedPauseMin);
    }
    // When a 0.1 control plane sees an id twice it drops both connections, so whoever comes back first is right. But not in a loop.
    const immediate = attempt.agreement?.protocol === 0 && clock.monotonic() - this.#lastImmediateMs > LINK.settled;
    if (immediate) {
      this.#lastImmediateMs = clock.monotonic();
      return 0;
    }
    const { urls } = this.#options;
    const stoodMs = attempt.registeredAtMs === undefined ? 0 : clock.monotonic() - attempt.registeredAtMs;
    // Any of the others, so that those who lose one control plane do not all come to the same; then one after the other.
    this.#at += attempt.registeredAtMs === undefined || urls.length < 3 ? 1 : 1 + Math.floor(random.float() * (urls.length - 1));
    this.#failures += 1;
    // Not where it goes on like this: told to move on by each in turn, or turned away by all.
    const isSoon =
      (code === CLOSE.moveOn && stoodMs >= LINK.settled) || (attempt.registeredAtMs === undefined && this.#failures % urls.length !== 0);
    if (isSoon) return random.float() * LINK.moveSpread;
    // The transport says of a refused upgrade no more than this sentence.
    if (code === CLOSE_TRY_AGAIN_LATER || fault?.includes("503") === true) return this.#refusals.next();
    return stoodMs >= LINK.settled ? random.float() * LINK.lostSpread : this.#backoff.next();
  }

  /** Whether the connection that replaced this one may be an earlier one of this agent, and not somebody else with its id. */
  #mayBeOurs(): boolean {
    const nowMs = this.#options.ports.clock.monotonic();
    const isFirst = nowMs - this.#replacedMs > LINK.replacedMemory;
    this.#replacedMs = nowMs;
    return isFirst || nowMs - this.#gaveUpMs < LINK.replacedMemory;
  }

  #wait(delayMs: number): void {
    this.#state = "waiting";
    this.#retry = this.#options.ports.timers.after(delayMs, () => this.#dial());
  }
}
