import { connect, type NatsConnection } from "@nats-io/transport-node";
import { Backoff, type Logger, type Ports, TransporterError } from "../../../kit/mod.ts";
import type { NatsAddress } from "./address.ts";
import { queueFault } from "./fault.ts";

const HANDSHAKE_TIMEOUT_MS = 5_000;
/** A server that stands still is noticed after three of them at most. */
const PING_EVERY_MS = 5_000;
const RECONNECT = { leastMs: 200, spreadMs: 400 };

export interface LinkOptions {
  readonly address: Pick<NatsAddress, "connection" | "location">;
  readonly clientName: string;
  readonly ports: Ports;
  readonly log: Logger;
}

/**
 * One connection to NATS, made in the background and made again for ever. Whoever needs it asks for it; whoever lives by it is told when it
 * comes and goes.
 */
export class NatsLink {
  readonly #options: LinkOptions;
  readonly #listeners = new Set<(connection: NatsConnection | undefined, why: string | undefined) => void>();
  readonly #ended = new AbortController();
  #connection: NatsConnection | undefined;
  #up = false;
  /** Why the last attempt failed, before the first success. */
  #fault: TransporterError | undefined;
  #started = false;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /** The connection while it stands. */
  get connection(): NatsConnection | undefined {
    return this.#up ? this.#connection : undefined;
  }

  /** Tells the connection when it stands (again), undefined when it does not any more. Answers how to stop that. */
  listen(listener: (connection: NatsConnection | undefined, why: string | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Whether there is a reason to think that it does not answer: an attempt has failed, or the connection was lost. */
  get away(): boolean {
    return !this.#up && (this.#fault !== undefined || this.#connection !== undefined);
  }

  /** Begins to connect; safe to call often. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    void this.#run();
  }

  /** Throws QUEUE_DENIED when the server did not let us in, QUEUE_UNAVAILABLE when time is up. */
  ready(timeoutMs: number): Promise<NatsConnection> {
    return this.#await(timeoutMs, true);
  }

  /** The same for who only wants to know: an attempt that fails is an answer, and so is one that failed before. */
  now(timeoutMs: number): Promise<NatsConnection> {
    return this.#await(this.away ? 0 : timeoutMs, false);
  }

  async #await(timeoutMs: number, patient: boolean): Promise<NatsConnection> {
    this.start();
    if (this.connection !== undefined) return this.connection;
    if (this.#ended.signal.aborted) throw closed(this.#options.address.location);
    const waiting = Promise.withResolvers<NatsConnection>();
    const look = (): void => {
      if (this.connection !== undefined) waiting.resolve(this.connection);
      else if (this.#fault !== undefined && (!patient || this.#fault.code === "QUEUE_DENIED")) waiting.reject(this.#fault);
      else if (this.#ended.signal.aborted) waiting.reject(closed(this.#options.address.location));
    };
    const forget = this.listen(look);
    const timer = this.#options.ports.timers.after(timeoutMs, () => {
      const { location } = this.#options.address;
      const fault = this.#fault ?? new TransporterError("QUEUE_UNAVAILABLE", `the connection to ${location} does not stand`);
      waiting.reject(fault);
    });
    try {
      // An attempt that was refused already tells nothing of the next one, which may be under way with other credentials.
      return await waiting.promise;
    } finally {
      timer.cancel();
      forget();
    }
  }

  async close(): Promise<void> {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(new Error("closed"));
    this.#say(undefined, undefined);
    // An attempt that is under way is not waited for: it ends by itself, and what it brings is closed at once.
    await this.#connection?.close();
  }

  async #run(): Promise<void> {
    const { ports } = this.#options;
    const backoff = new Backoff({ firstMs: 500, maxMs: 2_000 }, ports.random);
    while (!this.#ended.signal.aborted) {
      const connection = await this.#dial();
      if (connection === undefined) {
        await ports.timers.sleep(100 + backoff.next(), this.#ended.signal).catch(() => undefined);
        continue;
      }
      if (this.#ended.signal.aborted) {
        await connection.close();
        return;
      }
      backoff.reset();
      this.#connection = connection;
      this.#come(connection);
      void this.#follow(connection);
      // The library goes on by itself; should it ever give up, all begins anew.
      const why = await connection.closed();
      this.#go(why?.message);
      this.#connection = undefined;
    }
  }

  async #dial(): Promise<NatsConnection | undefined> {
    const { address, clientName, log, ports } = this.#options;
    try {
      return await connect({
        ...address.connection,
        name: clientName,
        timeout: HANDSHAKE_TIMEOUT_MS,
        pingInterval: PING_EVERY_MS,
        maxPingOut: 2,
        maxReconnectAttempts: -1,
        reconnectDelayHandler: () => RECONNECT.leastMs + ports.random.float() * RECONNECT.spreadMs,
        // Credentials that are refused now may be allowed tomorrow, without a restart of ours.
        ignoreAuthErrorAbort: true,
        noAsyncTraces: true,
      });
    } catch (error) {
      const fault = queueFault(error, `connecting to ${address.location}`);
      if (this.#fault?.message !== fault.message)
        log.warn("The queue cannot be reached", { queue: address.location, code: fault.code, why: fault.message });
      this.#fault = fault;
      this.#say(undefined, fault.message);
      return undefined;
    }
  }

  async #follow(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type === "disconnect") this.#go("the connection was lost");
      else if (status.type === "reconnect") this.#come(connection);
      else if (status.type === "error")
        this.#options.log.debug("NATS says", { queue: this.#options.address.location, error: status.error.message });
    }
  }

  #come(connection: NatsConnection): void {
    if (this.#ended.signal.aborted) return;
    this.#up = true;
    this.#fault = undefined;
    this.#say(connection, undefined);
  }

  #go(why: string | undefined): void {
    if (!this.#up) return;
    this.#up = false;
    this.#say(undefined, why);
  }

  #say(connection: NatsConnection | undefined, why: string | undefined): void {
    for (const listener of this.#listeners) listener(connection, why);
  }
}

function closed(location: string): TransporterError {
  return new TransporterError("QUEUE_UNAVAILABLE", `the connection to ${location} was closed`);
}
