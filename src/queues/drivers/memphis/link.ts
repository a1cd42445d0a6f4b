import type { Msg, MsgHdrs, NatsConnection, Subscription } from "@nats-io/nats-core";
import { connect, type NodeConnectionOptions } from "@nats-io/transport-node";
import { Backoff, type Logger, messageOf, type Ports, TransporterError } from "../../../kit/mod.ts";
import { faultOf } from "./faults.ts";
import type { MemphisSettings } from "./settings.ts";
import type { Tuning } from "./tuning.ts";

type Listener = (up: boolean, why: string | undefined) => void;

/**
 * The one connection to a broker: made when it is first wanted, then kept for ever under the same connection id, which is what ties our
 * producers and consumers to it. The broker may stand still with its connections open, so all that is asked has an end of our own.
 */
export class MemphisLink {
  /** Any text; the broker's own clients take a UUID. */
  readonly connectionId: string;
  readonly #settings: MemphisSettings;
  readonly #tuning: Tuning;
  readonly #ports: Ports;
  readonly #log: Logger;
  readonly #listeners = new Set<Listener>();
  #connection: NatsConnection | undefined;
  #dialling: Promise<NatsConnection> | undefined;
  #up = false;
  #why: string | undefined;
  #closed = false;

  constructor(settings: MemphisSettings, tuning: Tuning, ports: Ports, log: Logger) {
    this.#settings = settings;
    this.#tuning = tuning;
    this.#ports = ports;
    this.#log = log;
    this.connectionId = ports.ids.uuid();
  }

  get up(): boolean {
    return this.#up;
  }
  get closed(): boolean {
    return this.#closed;
  }
  /** What the broker said it takes at most, headers included; its own default until it has. */
  get maxPayload(): number {
    return this.#connection?.info?.max_payload ?? 1_048_576;
  }

  /** Told whenever the connection is lost or stands again. Answers how to be told no more. */
  onChange(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The connection, once it stands; tries for at most `patienceMs`. Throws QUEUE_UNAVAILABLE or QUEUE_DENIED. */
  async ready(patienceMs: number): Promise<NatsConnection> {
    const untilMs = this.#ports.clock.monotonic() + patienceMs;
    const backoff = new Backoff({ firstMs: 50, maxMs: 1_000 }, this.#ports.random);
    for (;;) {
      if (this.#closed) throw new TransporterError("QUEUE_UNAVAILABLE", "the connection to Memphis is closed");
      if (this.#connection !== undefined && this.#up) return this.#connection;
      let fault = this.#connection === undefined ? undefined : this.#away();
      if (fault === undefined)
        try {
          this.#dialling ??= this.#dial().finally(() => (this.#dialling = undefined));
          return await this.#dialling;
        } catch (error) {
          fault = faultOf(error, "the connection");
        }
      const waitMs = Math.max(20, backoff.next());
      if (fault.code === "QUEUE_DENIED" || this.#ports.clock.monotonic() + waitMs > untilMs) throw fault;
      await this.#ports.timers.sleep(waitMs);
    }
  }

  /** The connection as it is now. Throws QUEUE_UNAVAILABLE while there is none. */
  now(): NatsConnection {
    if (this.#connection === undefined || !this.#up) throw this.#away();
    return this.#connection;
  }

  /** Asks once. Throws QUEUE_UNAVAILABLE or QUEUE_DENIED; the cause tells `isUnserved`. */
  async request(subject: string, body: Uint8Array | string, what: string, timeoutMs: number, headers?: MsgHdrs): Promise<Msg> {
    const connection = this.now();
    try {
      return await connection.request(subject, body, { timeout: Math.max(1, timeoutMs), ...(headers === undefined ? {} : { headers }) });
    } catch (error) {
      throw faultOf(error, what);
    }
  }

  /** Resolves when the broker has read all that was sent before. */
  async flush(timeoutMs: number): Promise<void> {
    const connection = this.now();
    const giveUp = new AbortController();
    try {
      await Promise.race([
        connection.flush(),
        this.#ports.timers.sleep(timeoutMs, giveUp.signal).then(() => {
          throw new TransporterError("QUEUE_UNAVAILABLE", "Memphis does not answer");
        }),
      ]);
    } catch (error) {
      throw faultOf(error, "an answer");
    } finally {
      giveUp.abort();
    }
  }

  /** Ends the subscription without losing what is on its way; waits for that no longer than `timeoutMs`. */
  async leave(subscription: Subscription, timeoutMs: number): Promise<void> {
    if (subscription.isClosed() || this.#connection?.isClosed() !== false) return;
    if (!this.#up) {
      subscription.unsubscribe();
      return;
    }
    const giveUp = new AbortController();
    const patience = this.#ports.timers.sleep(timeoutMs, giveUp.signal);
    await Promise.race([subscription.drain(), patience]).catch(() => undefined);
    giveUp.abort();
    patience.catch(() => undefined);
  }

  /** At once: what must reach the broker was confirmed before. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#dialling?.catch(() => undefined);
    const connection = this.#connection;
    this.#tell(false, "closed");
    await connection?.close();
  }

  async #dial(): Promise<NatsConnection> {
    const connection = await connect(this.#options());
    if (this.#closed) {
      await connection.close();
      throw new TransporterError("QUEUE_UNAVAILABLE", "the connection to Memphis is closed");
    }
    this.#connection = connection;
    this.#tell(true, undefined);
    void this.#watch(connection);
    return connection;
  }

  #options(): NodeConnectionOptions {
    const { auth, username, servers, tls } = this.#settings;
    const backoff = { firstMs: this.#tuning.reconnectFirstMs, maxMs: this.#tuning.reconnectMaxMs };
    return {
      servers: [...servers],
      name: `${this.connectionId}::${username}`,
      ...(auth.kind === "token" ? { token: auth.token } : { user: `${username}$${auth.account}`, pass: auth.password }),
      // Null would forbid what the broker offers by itself.
      ...(tls === undefined ? {} : { tls }),
      // What a broker tells of its cluster are addresses of inside, which need not be reachable.
      ignoreClusterUpdates: true,
      timeout: this.#tuning.connectMs,
      pingInterval: this.#tuning.pingMs,
      maxPingOut: 2,
      maxReconnectAttempts: -1,
      // The broker also refuses everybody while its own database is away.
      ignoreAuthErrorAbort: true,
      reconnectDelayHandler: () => backoff.firstMs + this.#ports.random.float() * (backoff.maxMs - backoff.firstMs),
      noAsyncTraces: true,
    };
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type === "disconnect" || status.type === "staleConnection" || status.type === "reconnecting")
        this.#tell(false, "the connection was lost");
      else if (status.type === "reconnect") this.#tell(true, undefined);
      else if (status.type === "error") {
        this.#log.debug("the Memphis broker says an error", { error: messageOf(status.error) });
        if (!this.#up) this.#tell(false, messageOf(status.error));
      }
    }
    this.#tell(false, "closed");
    // Ended for good, which reconnecting for ever leaves to `close` and to bugs of the library: the next who asks dials anew.
    if (this.#connection === connection) this.#connection = undefined;
  }

  #tell(up: boolean, why: string | undefined): void {
    const same = this.#up === up && this.#why === why;
    this.#up = up;
    this.#why = why;
    if (same) return;
    for (const listener of this.#listeners) listener(up, why);
  }

  #away(): TransporterError {
    // Also where the broker refuses us now: it did let us in, and it refuses everybody while its own database is away.
    const why = this.#why ?? "not connected yet";
    return new TransporterError("QUEUE_UNAVAILABLE", `there is no connection to Memphis at ${this.#settings.location}: ${why}`);
  }
}
