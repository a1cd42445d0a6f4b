import type { Logger, Ports, Shutdown } from "../kit/mod.ts";
import { createMetrics, type Metrics, type MetricSources } from "../metrics/mod.ts";
import { DEFAULT_TENANT } from "../security/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { AdmissionLimits } from "./admission.ts";
import { Bell } from "./bell.ts";
import { BodyParser } from "./body-parser.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Expiry } from "./expiry.ts";
import { Footprints } from "./footprints.ts";
import { Gateway } from "./gateway.ts";
import { Intake, INTAKE_LIMITS, type IntakeLimits } from "./intake.ts";
import { KnownAgents } from "./known-agents.ts";
import { OpenGauge } from "./open-gauge.ts";
import { Payloads } from "./payloads.ts";
import { FootprintBudget } from "./precedence.ts";
import { Registry } from "./registry.ts";
import { Retention } from "./retention.ts";

/** How many waiting deliveries may be remembered for the sake of order, over all agents: some hundred bytes each. */
const MAX_FOOTPRINTS = 200_000;

export interface CoreOptions {
  readonly store: Store;
  readonly version: string;
  readonly heartbeatTimeoutMs: number;
  /** How often a delivery that its agent does not acknowledge is sent again on a connection. */
  readonly eventRetryMax: number;
  /** Deliveries in flight per agent. */
  readonly maxInFlight: number;
  readonly retention: { readonly eventsMs: number; readonly auditMs: number };
  /** Bounds at the door; `INTAKE_LIMITS` where nothing is said. */
  readonly intake?: Partial<IntakeLimits>;
  /** Bounds for agents that come; `ADMISSION_LIMITS` where nothing is said. */
  readonly admission?: Partial<AdmissionLimits>;
  readonly ports: Ports;
  readonly log: Logger;
  /** In place of those for Prometheus, which watch the real event loop, and of the parser with its thread: for the simulation. */
  readonly metrics?: (sources: MetricSources) => Metrics;
  readonly parser?: Pick<BodyParser, "prepare" | "stop">;
  /** Up to how many characters manifests are parsed on the main loop, to see what they touch; the simulation has no threads. */
  readonly offLoopChars?: number;
}

/**
 * A control plane without its doors: everything between the bytes of an event or a frame and the store. The server puts HTTP and sockets in
 * front of it; the simulation puts a network of its own there.
 */
export type Core = ReturnType<typeof createCore>;

export function createCore(options: CoreOptions) {
  const { store, ports, log } = options;
  const registry = new Registry();
  const bell = new Bell();
  const gauge = new OpenGauge(store, ports, log);
  const metrics = (options.metrics ?? createMetrics)({
    agents: () => ({ connected: registry.healthy, registered: registry.size }),
    eventsTotal: () => store.counters(),
    open: () => gauge.sample(),
    liveStreams: () => bell.listeners,
    version: options.version,
  });
  const expiry: Expiry = new Expiry({
    store,
    ports,
    log,
    connected: () => registry.ids(),
    onEnded: (ended) => {
      bell.ring(ended.entry);
      dispatcher.forget(ended.agentId, ended.eventId, ended.revision);
    },
  });
  const known = new KnownAgents();
  const payloads = new Payloads({ store, ports, log });
  const footprints = new Footprints(payloads, log, options.offLoopChars);
  const dispatcher: Dispatcher = new Dispatcher({
    tenant: DEFAULT_TENANT,
    store,
    bell,
    known,
    payloads,
    footprints,
    budget: new FootprintBudget(MAX_FOOTPRINTS),
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
    payloads,
    known,
    bell,
    ports,
    log,
    ...(options.admission === undefined ? {} : { admission: options.admission }),
    heartbeatTimeoutMs: options.heartbeatTimeoutMs,
    onFrame: () => metrics.frame(),
  });
  const parser = options.parser ?? new BodyParser();
  const intake = new Intake({
    store,
    dispatcher,
    bell,
    parser,
    ports,
    log,
    gauge,
    onAccepted: (expiresAtMs) => expiry.hint(expiresAtMs),
    limits: { ...INTAKE_LIMITS, ...options.intake },
  });
  const retention = new Retention({ store, ports, log, ...options.retention });
  return {
    registry,
    bell,
    gauge,
    metrics,
    expiry,
    dispatcher,
    gateway,
    intake,
    /** To be called once: nobody is connected to a control plane that has just begun. */
    async begin(): Promise<void> {
      await store.disconnectAll(ports.clock.now());
      await known.load(store, DEFAULT_TENANT);
    },
    start(): void {
      dispatcher.start();
      gateway.start();
      expiry.start();
      retention.start();
    },
    /** Registers what has to stop behind the doors, the store last, then what is before them; `doors` comes in between. */
    stopWith(shutdown: Shutdown, doors: () => Promise<void>): void {
      shutdown.add("store", () => store.close());
      shutdown.add("parser", () => parser.stop());
      shutdown.add("footprints", () => footprints.stop());
      shutdown.add("retention", () => retention.stop());
      shutdown.add("expiry", () => expiry.stop());
      shutdown.add("http", doors);
      shutdown.add("dispatcher", () => dispatcher.stop());
      shutdown.add("gateway", () => gateway.stop());
    },
  };
}
