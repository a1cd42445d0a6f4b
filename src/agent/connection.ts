import { messageOf, type Logger, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Dialer, DialOptions, Socket } from "../net/mod.ts";
import { type ChallengeFrame, ChallengeFrameSchema, CLOSE, formatTimestamp, type Proof, RegistrationReplySchema } from "../protocol/mod.ts";
import { Comeback } from "./comeback.ts";
import { LINK } from "./link-times.ts";
import { type Agreement, readReply } from "./registration.ts";
import * as v from "valibot";

export { LINK } from "./link-times.ts";

export interface ConnectionOptions {
  /** At least one; those after the first are other ways to the same installation. */
  readonly urls: readonly string[];
  readonly dialer: Dialer;
  /** Asked before each attempt, so that what may change (a proxy, a token) is read anew. A throw is logged and tried again. */
  readonly dialOptions: (url: string) => Omit<DialOptions, "handlers">;
  /** The registration frame, made anew for each attempt. */
  readonly register: (proof: Proof | undefined) => string;
  /**
   * Shows who the agent is, in answer to a challenge over a connection that is bound by `channel`; undefined as long as it has nothing to
   * show, and then it registers at once. Throws where the challenge is not to be answered. With it, nothing is said before a challenge.
   */
  readonly prover?: () => ((challenge: ChallengeFrame, channel: string) => Proof) | undefined;
  /** The control plane does not take the agent for whom it says it is, or not any more. `code` of the catalogue where it gave one. */
  readonly onUnwelcome?: (code: string | undefined, reason: string) => void;
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
  /** What this attempt shows; undefined where it shows nothing, or has done so. */
  prove: ((challenge: ChallengeFrame, channel: string) => Proof) | undefined;
  /** Why it was refused, where that was for who the agent is. */
  unwelcome: { readonly code: string | undefined; readonly reason: string } | undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const UNASKED = "Name the control plane that enrolled this agent with --cp-url, or give --identity-dir another directory.";
const UNKNOWN = "Enrol the agent: make a token with `transporter token create --agent ID` and give it as TRANSPORTER_ENROLMENT_TOKEN.";
/** Codes of refusals that are about who the agent is. */
const UNWELCOME = /^(IDENTITY_|TOO_MANY_ATTEMPTS$)/;

/**
 * Keeps one link to the control plane: dials, registers, sends heartbeats, notices a half-open link, and comes back for ever. What the
 * frames mean is not its business, and it keeps none: what was sent on a link that breaks may be lost, so others hold it until acknowledged.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #comeback: Comeback;
  #urls: readonly string[];
  #state: LinkState = "idle";
  #attempt: Attempt | undefined;
  #retry: TimerHandle | undefined;
  #lastContactMs: number | undefined;
  #connects = 0;
  #onClosed: (() => void) | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#urls = options.urls;
    this.#comeback = new Comeback(options.urls.length, options.ports);
  }

  get state(): LinkState {
    return this.#state;
  }

  /** When anything was last heard, in milliseconds since the epoch. */
  get lastContactMs(): number | undefined {
    return this.#lastContactMs;
  }

  /** Where it is connected to, or dials next. */
  get url(): string {
    return this.#attempt?.url ?? this.#urls[this.#comeback.index] ?? "";
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

  /** Other addresses, at least one, from the next attempt on. */
  redirect(urls: readonly string[]): void {
    if (urls.length === this.#urls.length && urls.every((url, at) => url === this.#urls[at])) return;
    this.#urls = urls;
    this.#comeback.restart(urls.length);
  }

  /** What it waited for is there: tries again now, where it waits. */
  hurry(): void {
    if (this.#state !== "waiting") return;
    this.#retry?.cancel();
    this.#dial();
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

  #dial(): void {
    const { dialer, ports, log } = this.#options;
    const url = this.#urls[this.#comeback.index] ?? "";
    this.#state = "connecting";
    let dialOptions: Omit<DialOptions, "handlers">;
    try {
      dialOptions = this.#options.dialOptions(url);
    } catch (error) {
      log.error("Cannot dial the Control Plane", { cp_url: url, error: messageOf(error) });
      this.#wait(this.#comeback.afterNoDial());
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
      prove: this.#options.prover?.(),
      unwelcome: undefined,
    };
    this.#attempt = attempt;
    const mine = attempt;
    const timeoutMs = this.#comeback.patienceMs;
    attempt.timers.push(
      ports.timers.after(timeoutMs, () => {
        if (mine.prove === undefined || this.#state === "connecting")
          log.warn("The Control Plane did not answer the registration in time", { cp_url: url, timeout_ms: timeoutMs });
        else log.error("The Control Plane did not ask who this agent is, so nothing was said to it", { cp_url: url, remedy: UNASKED });
        this.#comeback.gaveUp();
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
    if (attempt.prove === undefined) attempt.socket.send(this.#options.register(undefined));
  }

  #alive(attempt: Attempt): void {
    attempt.lastLifeMs = this.#options.ports.clock.monotonic();
    this.#lastContactMs = this.#options.ports.clock.now();
  }

  #message(attempt: Attempt, text: string): void {
    if (this.#attempt !== attempt) return;
    this.#alive(attempt);
    if (attempt.early !== undefined) attempt.early.push(text);
    else if (this.#state !== "registering") {
      if (this.#state === "registered") this.#options.onFrame(text);
    } else if (attempt.prove !== undefined) this.#asked(attempt, text, attempt.prove);
    else this.#reply(attempt, text);
  }

  /** The first frame, where the agent has something to show. */
  #asked(attempt: Attempt, text: string, prove: NonNullable<Attempt["prove"]>): void {
    const { log } = this.#options;
    const challenge = v.safeParse(ChallengeFrameSchema, parsed(text));
    try {
      if (!challenge.success) throw new Error("its first frame does not ask who this agent is");
      const sha256 = attempt.socket.serverCertificateSha256;
      const proof = prove(challenge.output, sha256 === undefined ? "none" : `tls-server-end-point:${sha256}`);
      // Once: what comes after is the answer.
      attempt.prove = undefined;
      attempt.socket.send(this.#options.register(proof));
    } catch (error) {
      log.error("This Control Plane is not the one that this agent belongs to, and is left", {
        cp_url: attempt.url,
        error: messageOf(error),
        remedy: UNASKED,
      });
      attempt.socket.close(CLOSE.goingAway, "not the control plane of this agent");
      this.#hangUp(attempt);
    }
  }

  #reply(attempt: Attempt, text: string): void {
    const { log } = this.#options;
    const frame = parsed(text);
    if (v.is(ChallengeFrameSchema, frame)) {
      log.warn("The Control Plane asks who its agents are, and this one has nothing to show", { cp_url: attempt.url, remedy: UNKNOWN });
      return;
    }
    const reply = v.safeParse(RegistrationReplySchema, frame);
    const verdict = reply.success ? readReply(reply.output) : ({ kind: "not_a_reply" } as const);
    switch (verdict.kind) {
      case "registered":
        void this.#admit(attempt, verdict.agreement);
        return;
      case "refused":
        log.error("The Control Plane refused the registration", {
          error: verdict.message.slice(0, 1000),
          ...(verdict.code === undefined ? {} : { code: verdict.code.slice(0, 80) }),
        });
        if (verdict.code !== undefined && UNWELCOME.test(verdict.code)) attempt.unwelcome = { code: verdict.code, reason: verdict.message };
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
    this.#comeback.registered();
    log.info("Agent registered successfully", { protocol: agreement.protocol });
    attempt.timers.push(
      ports.timers.every(this.#options.heartbeatIntervalMs, () => {
        // Alphabetical, as 0.1's agent writes it.
        const beat = { metrics: {}, ...this.#options.heartbeat(), timestamp: formatTimestamp(ports.clock.now()), type: "heartbeat" };
        attempt.socket.send(JSON.stringify(beat));
      }),
      ports.timers.every(LINK.ping, () => attempt.socket.ping()),
      ports.timers.every(LINK.watch, () => this.#watch(attempt)),
      ports.timers.after(LINK.settled, () => this.#comeback.settled()),
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
    if (code === CLOSE.identityRefused || code === CLOSE.identityEnded) attempt.unwelcome ??= { code: undefined, reason };
    const delayMs = this.#comeback.after({
      code,
      fault,
      unwelcome: attempt.unwelcome !== undefined,
      protocol: attempt.agreement?.protocol,
      stoodMs: attempt.registeredAtMs === undefined ? undefined : this.#options.ports.clock.monotonic() - attempt.registeredAtMs,
    });
    const fields = {
      code,
      ...(this.#urls.length > 1 ? { cp_url: attempt.url } : {}),
      ...(reason === "" ? {} : { reason }),
      ...(fault === undefined ? {} : { error: fault }),
      retry_in_ms: Math.round(delayMs),
    };
    if (code === CLOSE.replaced) this.#options.log.warn("Another connection registered with this agent's id", fields);
    else if (code === CLOSE.removed) this.#options.log.warn("The Control Plane removed this agent", fields);
    else if (attempt.unwelcome !== undefined) this.#options.log.error("The Control Plane does not let this agent in", fields);
    else if (code === CLOSE.moveOn) this.#options.log.info("The Control Plane sends this agent on to another", fields);
    else if (wasRegistered) this.#options.log.warn("Disconnected from Control Plane", fields);
    else this.#options.log.warn("Cannot connect to Control Plane", { cp_url: attempt.url, ...fields });
    this.#wait(delayMs);
    if (wasRegistered) this.#options.onLost();
    // Last, as it may have something to show by then and dial at once.
    if (attempt.unwelcome !== undefined) this.#options.onUnwelcome?.(attempt.unwelcome.code, attempt.unwelcome.reason);
  }

  #wait(delayMs: number): void {
    this.#state = "waiting";
    this.#retry = this.#options.ports.timers.after(delayMs, () => this.#dial());
  }
}
