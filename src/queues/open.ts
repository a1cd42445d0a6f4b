import { type Logger, type Ports, TransporterError } from "../kit/mod.ts";
import type { Outlet, Queue, QueueObserver, QueueWriter } from "./port.ts";

export interface QueueOptions {
  readonly log: Logger;
  readonly ports: Ports;
  /** Who this is, for the broker's own lists: `transporter-cp` where nothing is said. */
  readonly clientName?: string;
  /** What must not stand in a URL. Where both say something, this is taken. */
  readonly secrets?: QueueSecrets;
}

/** Each driver takes those that it knows. */
export interface QueueSecrets {
  readonly user?: string;
  readonly password?: string;
  readonly token?: string;
}

/** What a driver is opened with. */
export interface DriverOptions extends QueueOptions {
  /**
   * A producer only publishes: it must not need the right to do, and must not make, what only a control plane uses. An observer looks, and
   * makes nothing at all.
   */
  readonly role: "control-plane" | "producer" | "observer";
}

type Open = (url: string, options: DriverOptions) => Promise<Queue>;

/** By the URL's scheme. A driver and its library are loaded only when its URL is used. */
const DRIVERS: Readonly<Record<string, () => Promise<Open>>> = {
  nats: async () => (await import("./drivers/nats/queue.ts")).openNatsQueue,
  tls: async () => (await import("./drivers/nats/queue.ts")).openNatsQueue,
  memphis: async () => (await import("./drivers/memphis/queue.ts")).openMemphisQueue,
  redis: async () => (await import("./drivers/redis/queue.ts")).openRedisQueue,
  rediss: async () => (await import("./drivers/redis/queue.ts")).openRedisQueue,
  "redis+sentinel": async () => (await import("./drivers/redis/queue.ts")).openRedisQueue,
  "rediss+sentinel": async () => (await import("./drivers/redis/queue.ts")).openRedisQueue,
  "redis+cluster": async () => (await import("./drivers/redis/queue.ts")).openRedisQueue,
  "rediss+cluster": async () => (await import("./drivers/redis/queue.ts")).openRedisQueue,
};

function schemeOf(url: string): string {
  return /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1]?.toLowerCase() ?? "";
}

async function driverFor(url: string): Promise<Open> {
  const load = DRIVERS[schemeOf(url)];
  // The URL itself is not repeated: it may hold a password.
  if (load === undefined) throw new TransporterError("QUEUE_INVALID", "the queue's URL does not begin with nats, tls, memphis or redis");
  return load();
}

/**
 * A queue for a control plane. Resolves when the URL and the files that it names are understood, whether or not the queue answers yet:
 * `consume` goes on until it does, `publish` and `status` throw QUEUE_UNAVAILABLE until then. Throws QUEUE_INVALID, FILE_UNREADABLE.
 */
export async function openQueue(url: string, options: QueueOptions): Promise<Queue> {
  return (await driverFor(url))(url, { ...options, role: "control-plane" });
}

/** A queue for whoever only publishes. `publish` throws QUEUE_UNAVAILABLE when the queue does not answer within ten seconds or so. */
export async function openQueueWriter(url: string, options: QueueOptions): Promise<QueueWriter> {
  return (await driverFor(url))(url, { ...options, role: "producer" });
}

/** A queue to look at, for people. Nothing is made that is not there. */
export async function openQueueObserver(url: string, options: QueueOptions): Promise<QueueObserver> {
  return (await driverFor(url))(url, { ...options, role: "observer" });
}

/** Where statuses and audit entries go. As `openQueue`: whether it answers shows when something is emitted. */
export async function openOutlet(url: string, options: QueueOptions): Promise<Outlet> {
  const scheme = schemeOf(url);
  if (scheme === "nats" || scheme === "tls") {
    const { openNatsOutlet } = await import("./drivers/nats/outlet.ts");
    return openNatsOutlet(url, options);
  }
  if (/^rediss?(\+(sentinel|cluster))?$/.test(scheme)) {
    const { openRedisOutlet } = await import("./drivers/redis/outlet.ts");
    return openRedisOutlet(url, options);
  }
  throw new TransporterError("QUEUE_INVALID", "statuses and audit entries can be published to NATS and Redis only", {
    remedy: "Give --publish-to nats://HOST, tls://HOST or redis://HOST.",
  });
}
