import { type Logger, messageOf, type Ports, Shutdown, TransporterError } from "../kit/mod.ts";
import { createMetrics } from "../metrics/mod.ts";
import type { VersionView } from "../protocol/mod.ts";
import { DEFAULT_TENANT } from "../security/mod.ts";
import type { Store } from "../stores/mod.ts";
import { Bell } from "./bell.ts";
import { BodyParser } from "./body-parser.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Expiry } from "./expiry.ts";
import { Gateway } from "./gateway.ts";
import { BodyBudget } from "./http/body.ts";
import { serveHttp } from "./http/server.ts";
import { Intake } from "./intake.ts";
import { OpenGauge } from "./open-gauge.ts";
import { Registry } from "./registry.ts";
import { Retention } from "./retention.ts";

const STOP_BUDGET_MS = 8_000;
/** How long requests may take that are being answered when the control plane stops. */
const HTTP_PATIENCE_MS = 3_000;
/** How many events may wait for one agent before more are turned away at the door. */
const MAX_QUEUED_PER_AGENT = 100_000;
/** How many bodies of the largest size may be read at once. */
const BODIES_AT_ONCE = 8;

export interface ControlPlaneOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Listens beyond loopback though nobody has to prove who they are. */
  readonly insecure: boolean;
  readonly store: Store;
  readonly version: VersionView;
  readonly heartbeatTimeoutMs: number;
  /** How often a delivery that its agent does not acknowledge is sent again on a connection. */
  readonly eventRetryMax: number;
  readonly maxEventBytes: number;
  /** Deliveries in flight per agent. */
  readonly maxInFlight: number;
  readonly retention: { readonly eventsMs: number; readonly auditMs: number };
  readonly ports: Ports;
  readonly log: Logger;
}

export interface ControlPlane {
  readonly url: string;
  readonly port: number;
  /** No new work, what is in flight is safe, agents are told to come back, the store is closed. At most ten seconds. */
  stop(): Promise<void>;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

/**
 * Starts a control plane on a store that is open. Throws INSECURE_REFUSED for an address beyond loopback without `insecure`,
 * CONFIG_INVALID when the address cannot be listened on. The store belongs to the control plane from here on.
 */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { store, ports, log } = options;
  const loopbackOnly = isLoopback(options.host);
  if (!loopbackOnly && !options.insecure) {
    throw new TransporterError(
      "INSECURE_REFUSED",
      `listening on ${options.host} would let anybody who reaches it command every agent: nobody has to prove who they are`,
    );
  }
  await store.disconnectAll(ports.clock.now());
  let stopping = false;
  const registry = new Registry();
  const bell = new Bell();
  const gauge = new OpenGauge(store, ports, log);
  const metrics = createMetrics({
    agents: () => ({ connected: registry.healthy, registered: registry.size }),
    eventsTotal: () => store.counters(),
    open: () => gauge.sample(),
    liveStreams: () => bell.listeners,
    version: options.version.version,
  });
  const expiry: Expiry = new Expiry({
    store,
    ports,
    log,
    connected: () => registry.ids(),
    onEnded: (ended) => {
      bell.ring(ended.entry);
      dispatcher.forget(ended.agentId, ended.eventId);
    },
  });
  const dispatcher: Dispatcher = new Dispatcher({
    tenant: DEFAULT_TENANT,
    store,
    registry,
    bell,
    ports,
    log,
    maxInFlight: options.maxInFlight,
    maxResends: options.eventRetryMax,
    onOverdue: () => expiry.run(),
  });
  const gateway = new Gateway({
    tenant: DEFAULT_TENANT,
    store,
    registry,
    dispatcher,
    bell,
    ports,
    log,
    heartbeatTimeoutMs: options.heartbeatTimeoutMs,
    onFrame: () => metrics.frame(),
  });
  const parser = new BodyParser();
  const intake = new Intake({
    store,
    dispatcher,
    bell,
    parser,
    ports,
    log,
    onAccepted: (expiresAtMs) => expiry.hint(expiresAtMs),
    maxQueuedPerAgent: MAX_QUEUED_PER_AGENT,
    queuedFor: (agentId) => gauge.latest().byAgent.get(agentId)?.queued ?? 0,
  });
  const retention = new Retention({ store, ports, log, ...options.retention });
  const context = {
    store,
    registry,
    dispatcher,
    intake,
    bell,
    gauge,
    metrics,
    ports,
    log,
    version: options.version,
    maxEventBytes: options.maxEventBytes,
    bodyBudget: new BodyBudget(options.maxEventBytes * BODIES_AT_ONCE),
    isStopping: () => stopping,
  };
  let server;
  try {
    server = serveHttp(context, {
      host: options.host,
      port: options.port,
      guard: { loopbackOnly, hosts: [options.host.toLowerCase()] },
      gateway,
    });
  } catch (error) {
    throw new TransporterError("CONFIG_INVALID", `cannot listen on ${options.host}:${options.port}: ${messageOf(error)}`, {
      cause: error,
      remedy: "Another program may use the port; choose one with --ws-port.",
    });
  }
  dispatcher.start();
  gateway.start();
  expiry.start();
  retention.start();
  const shutdown = new Shutdown(log, ports.timers);
  shutdown.add("store", () => store.close());
  shutdown.add("parser", () => parser.stop());
  shutdown.add("retention", () => retention.stop());
  shutdown.add("expiry", () => expiry.stop());
  // Requests that were being answered are answered; the agents' sockets were told before. Who takes long must leave time for the store.
  shutdown.add("http", async () => {
    const patience = ports.timers.after(HTTP_PATIENCE_MS, () => void server.stop(true));
    bell.ringAll();
    await server.stop(false);
    patience.cancel();
  });
  shutdown.add("dispatcher", () => dispatcher.stop());
  shutdown.add("gateway", () => gateway.stop());
  const port = server.port ?? options.port;
  const host = options.host.includes(":") && !options.host.startsWith("[") ? `[${options.host}]` : options.host;
  log.info("Control plane is listening", { address: `${host}:${port}`, store: store.info.location, version: options.version.version });
  if (loopbackOnly) log.info("No security is configured: only this machine can reach it", { address: `${host}:${port}` });
  else log.warn("No security is configured: anybody who reaches this address commands every agent", { address: `${host}:${port}` });
  return {
    url: `http://${host}:${port}`,
    port,
    stop: async () => {
      stopping = true;
      await shutdown.run(STOP_BUDGET_MS);
      server.stop(true).catch(() => undefined);
    },
  };
}
