import type { EventEmitter } from "node:events";
import { Cluster, Redis, type ClusterOptions, type RedisCommander, type RedisOptions } from "ioredis";
import { type TransporterError, Backoff, type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { RedisAddress } from "./address.ts";
import { redisFault, type RedisCodes, STORE_CODES } from "./fault.ts";
import { readMaterial, type RedisMaterial } from "./material.ts";

/** Commands, pipelines and messages: what a single server and a cluster have in common. */
export type RedisClient = RedisCommander<{ type: "default"; mapping: "resp2" }> &
  Pick<Redis, "pipeline" | "multi"> &
  Pick<EventEmitter, "on" | "off" | "once">;

export interface OpenRedisOptions {
  readonly ports: Pick<Ports, "timers" | "random">;
  readonly log: Logger;
  /** What this connection is for; `CLIENT LIST` shows it as `transporter-PURPOSE`. */
  readonly purpose: string;
  /** What to call faults; those of a store by default. */
  readonly codes?: RedisCodes;
  /** For commands that wait for data, such as XREADGROUP BLOCK: they may take as long as they say. */
  readonly blocking?: boolean;
}

/**
 * A connection that comes back by itself. While it is down every command is rejected at once; what was on its way when it broke is rejected and
 * may have been carried out (`mayHaveHappened`).
 */
export interface RedisLink {
  readonly address: RedisAddress;
  readonly client: RedisClient;
  /** Of a cluster it says only that some node answers. */
  readonly up: boolean;
  /** Hears of every change, not of the state at the moment. Answers how to stop that. */
  onState(listener: (state: "up" | "down") => void): () => void;
  /** Another connection to the same place: for subscriptions, or for commands that wait. */
  duplicate(options: { readonly purpose: string; readonly blocking?: boolean }): Promise<RedisLink>;
  /** The server itself; of a cluster, every master that is known now. */
  nodes(): readonly RedisClient[];
  /** Breaks the connection and makes another. */
  reset(): void;
  /** The error of this program for what a command was rejected with. */
  fault(thrown: unknown): TransporterError;
  close(): Promise<void>;
}

/** How often the server is asked whether it is still there: a machine that vanished closes no connection. */
const HEARTBEAT_MS = 2_000;
const RECONNECT = { firstMs: 100, maxMs: 1_000 };
/** A server that has just started may have much to read. */
const OPEN_MS = 30_000;

/**
 * Connects, and resolves when commands are answered. Throws the codes' `unavailable` (not reached, not trusted), `denied` (user, password,
 * rights), `invalid` (not what the address says it is), or FILE_UNREADABLE.
 */
export async function openRedis(address: RedisAddress, options: OpenRedisOptions): Promise<RedisLink> {
  const codes = options.codes ?? STORE_CODES;
  const material = await readMaterial(address, codes.invalid);
  const backoff = new Backoff(RECONNECT, options.ports.random);
  const client = makeClient(address, material, options, () => backoff.next());
  const link = new Link(address, client, { ...options, codes }, backoff);
  await link.opened();
  return link;
}

class Link implements RedisLink {
  readonly address: RedisAddress;
  readonly client: RedisClient;
  readonly #raw: Redis | Cluster;
  readonly #options: OpenRedisOptions & { readonly codes: RedisCodes };
  readonly #backoff: Backoff;
  readonly #listeners = new Set<(state: "up" | "down") => void>();
  #up = false;
  #closed = false;
  /** The last fault since it was up, and the last that was logged. */
  #said = "";
  #logged = "";
  #wasUp = false;
  #heartbeat: TimerHandle | undefined;
  #beating = false;

  constructor(address: RedisAddress, raw: Redis | Cluster, options: OpenRedisOptions & { readonly codes: RedisCodes }, backoff: Backoff) {
    this.address = address;
    this.client = raw;
    this.#raw = raw;
    this.#options = options;
    this.#backoff = backoff;
    raw.on("ready", () => this.#turn(true));
    raw.on("close", () => this.#turn(false));
    raw.on("end", () => {
      this.#turn(false);
      this.#revive();
    });
    raw.on("error", (error: Error) => this.#failed(messageOf(redisFault(error, address.location, options.codes))));
  }

  get up(): boolean {
    return this.#up;
  }

  async opened(): Promise<void> {
    const { timers } = this.#options.ports;
    const failed = Promise.withResolvers<never>();
    const onError = (error: Error): void => failed.reject(error);
    this.#raw.on("error", onError);
    const deadline = timers.after(OPEN_MS, () => failed.reject(new Error(this.#said === "" ? "timed out" : this.#said)));
    // The client rejects a moment before it tells why.
    const connecting = this.#raw.connect().catch(async (error: unknown) => {
      await timers.sleep(0);
      throw error;
    });
    try {
      await Promise.race([connecting, failed.promise]);
    } catch (error) {
      connecting.catch(() => undefined);
      await this.close();
      throw this.fault(error);
    } finally {
      failed.promise.catch(() => undefined);
      deadline.cancel();
      this.#raw.off("error", onError);
    }
    this.#turn(true);
    if (this.#options.blocking !== true) this.#heartbeat = timers.every(HEARTBEAT_MS, () => void this.#beat(), { background: true });
  }

  onState(listener: (state: "up" | "down") => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  duplicate(options: { readonly purpose: string; readonly blocking?: boolean }): Promise<RedisLink> {
    const { ports, log, codes } = this.#options;
    return openRedis(this.address, { ports, log, codes, ...options });
  }

  nodes(): readonly RedisClient[] {
    return this.#raw instanceof Cluster ? this.#raw.nodes("master") : [this.#raw];
  }

  reset(): void {
    if (!this.#closed) this.#raw.disconnect(true);
  }

  fault(thrown: unknown): TransporterError {
    return redisFault(thrown, this.address.location, this.#options.codes);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#heartbeat?.cancel();
    this.#listeners.clear();
    const ended = Promise.withResolvers<void>();
    this.#raw.once("end", () => ended.resolve());
    const { status } = this.#raw;
    if (status === "end") return;
    this.#raw.disconnect();
    // Between two attempts there is no connection whose end could be told.
    if (status === "reconnecting") return;
    await Promise.race([ended.promise, this.#options.ports.timers.sleep(DISCONNECT_MS * 2)]);
  }

  /** A password that was changed, a certificate that ran out: whoever looks for why it does not come back finds it in the log, once. */
  #failed(why: string): void {
    this.#said = why;
    if (this.#up || !this.#wasUp || this.#closed || why === this.#logged) return;
    this.#logged = why;
    this.#options.log.warn("Redis cannot be reached", { redis: this.address.location, purpose: this.#options.purpose, error: why });
  }

  #turn(up: boolean): void {
    if (up) this.#backoff.reset();
    if (this.#up === up || (this.#closed && up)) return;
    this.#up = up;
    this.#wasUp ||= up;
    if (up) this.#logged = "";
    if (!this.#closed) {
      const fields = { redis: this.address.location, purpose: this.#options.purpose };
      if (up) this.#options.log.debug("Connected to Redis", fields);
      else this.#options.log.warn("Connection to Redis lost", { ...fields, ...(this.#said === "" ? {} : { error: this.#said }) });
    }
    this.#said = "";
    for (const listener of this.#listeners) listener(up ? "up" : "down");
  }

  /**
   * The client gives up for good where the sentinels tell of a failover at the very moment in which it looks for the master. We never do.
   */
  #revive(): void {
    if (this.#closed) return;
    const again = (): void => {
      if (!this.#closed && this.#raw.status === "end") this.#raw.connect().catch(() => undefined);
    };
    this.#options.ports.timers.after(this.#backoff.next(), again, { background: true });
  }

  async #beat(): Promise<void> {
    if (!this.#up || this.#beating) return;
    this.#beating = true;
    try {
      await this.#raw.ping();
    } catch (error) {
      if (this.#up && /timed? ?out/i.test(messageOf(error))) {
        this.#said = messageOf(this.fault(error));
        this.reset();
      }
    } finally {
      this.#beating = false;
    }
  }
}

const DISCONNECT_MS = 500;

function makeClient(address: RedisAddress, material: RedisMaterial, options: OpenRedisOptions, nextWait: () => number): Redis | Cluster {
  const retry = (): number => nextWait();
  const { tls, password, sentinelPassword } = material;
  const common = {
    // The older protocol has what is needed, and every proxy and fork knows it.
    protocol: 2,
    connectionName: `transporter-${options.purpose}`,
    disableClientInfo: true,
    connectTimeout: address.timeoutMs,
    disconnectTimeout: DISCONNECT_MS,
    ...(options.blocking === true ? {} : { commandTimeout: address.timeoutMs }),
    autoResendUnfulfilledCommands: false,
    // Without it what was on its way when the connection broke would never be answered.
    maxRetriesPerRequest: 0,
    maxLoadingRetryTime: 1_000,
    // After a failover the old master is a replica: looked up again at once. The command that found out is not sent again.
    reconnectOnError: (error: Error): boolean => /\bREADONLY\b/.test(error.message),
    ...(address.user === undefined ? {} : { username: address.user }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
  } satisfies RedisOptions;

  if (address.kind === "cluster") {
    const cluster = {
      lazyConnect: true,
      enableOfflineQueue: false,
      clusterRetryStrategy: retry,
      // Looked for at other nodes a few times; whoever asks then decides whether to ask again.
      maxRedirections: 5,
      slotsRefreshTimeout: address.timeoutMs,
      // Certificates are made for names, so nodes are dialled by the names that the cluster tells.
      ...(tls === undefined ? {} : { dnsLookup: (host: string, done: (error: null, address: string) => void) => done(null, host) }),
      redisOptions: common,
    } satisfies ClusterOptions;
    return new Cluster([...address.nodes], cluster);
  }
  const single = {
    ...common,
    db: address.db,
    lazyConnect: true,
    enableOfflineQueue: false,
    retryStrategy: retry,
  } satisfies RedisOptions;
  if (address.kind === "single") {
    const [node] = address.nodes;
    return new Redis({ ...single, ...(node === undefined ? {} : { host: node.host, port: node.port }) });
  }
  return new Redis({
    ...single,
    sentinels: [...address.nodes],
    ...(address.master === undefined ? {} : { name: address.master }),
    sentinelRetryStrategy: retry,
    sentinelReconnectStrategy: retry,
    sentinelCommandTimeout: address.timeoutMs,
    failoverDetector: options.blocking !== true,
    ...(address.sentinelUser === undefined ? {} : { sentinelUsername: address.sentinelUser }),
    ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
    ...(tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: tls }),
  });
}
