import type { Logger, Ports, Shutdown } from "../kit/mod.ts";
import { createMetrics, type Metrics, type MetricSources, type QueueFigures } from "../metrics/mod.ts";
import { LIMITS } from "../protocol/mod.ts";
import { DEFAULT_TENANT, type Security } from "../security/mod.ts";
import type { Outlet, Queue } from "../queues/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { AdmissionLimits } from "./admission.ts";
import { Bell } from "./bell.ts";
import { CloudEvents } from "./cloud-events.ts";
import { BodyParser } from "./body-parser.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Duties } from "./duties.ts";
import { Expiry } from "./expiry.ts";
import { Footprints } from "./footprints.ts";
import { Gateway } from "./gateway.ts";
import { Intake, INTAKE_LIMITS, type IntakeLimits } from "./intake.ts";
import { Hearing } from "./hearing.ts";
import { Legacy } from "./legacy.ts";
import { Membership } from "./membership.ts";
import { OpenGauge } from "./open-gauge.ts";
import { Payloads } from "./payloads.ts";
import { Permits } from "./permits.ts";
import { type OutletKind, Publisher } from "./outlet.ts";
import { FootprintBudget } from "./precedence.ts";
import { QueueIntake } from "./queue-intake.ts";
import { Registry } from "./registry.ts";
import { Retention } from "./retention.ts";

/** How many waiting deliveries may be remembered for the sake of order, over all agents: some hundred bytes each. */
const MAX_FOOTPRINTS = 200_000;

export interface CoreOptions {
  readonly store: Store;
  readonly version: string;
  /** Of this control plane among those that share the store, and of this start of it; made up where nothing is said. */
  readonly replicaId?: string;
  /** Where it can be reached, for people who look at all of them. */
  readonly advertise?: string;
  readonly heartbeatTimeoutMs: number;
  /** How often a delivery that its agent does not acknowledge is sent again on a connection. */
  readonly eventRetryMax: number;
  /** Undefined: nobody is asked who they are. */
  readonly security?: Security;
  /** The agents that are let in without an identity, by a listener of their own; only with `security`. */
  readonly legacyAgents?: readonly string[];
  /** Deliveries in flight per agent. */
  readonly maxInFlight: number;
  readonly retention: { readonly eventsMs: number; readonly auditMs: number };
  /** Bounds at the door; `INTAKE_LIMITS` where nothing is said. */
  readonly intake?: Partial<IntakeLimits>;
  /** Events are taken from there as well. It belongs to the control plane from here on, as the store does. */
  readonly queue?: Queue;
  /** Where what happens is published, and what of it. It belongs to the control plane likewise. */
  readonly outlet?: { readonly outlet: Outlet; readonly kinds: readonly OutletKind[] };
  /** The largest body of an event, for what comes by the queue; the HTTP door has the same. */
  readonly maxEventBytes?: number;
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
  const cloudEvents = new CloudEvents({ store, ports, tenant: DEFAULT_TENANT });
  const gauge = new OpenGauge(store, ports, log);
  const replicaId = options.replicaId ?? `cp-${ports.ids.uuid()}`;
  const agents = () => ({ connected: registry.healthy, registered: registry.size });
  let fences = 0;
  const membership: Membership = new Membership({
    store,
    ports,
    log,
    id: replicaId,
    version: options.version,
    address: options.advertise ?? "",
    agents,
    onLapsed: () => hearing.gap(),
  });
  const metrics = (options.metrics ?? createMetrics)({
    agents,
    replicas: () => membership.replicas.map(({ id, agents: held }) => ({ id, agents: held?.registered ?? 0 })),
    fences: () => fences,
    lapses: () => membership.lapses,
    words: () => hearing.counts,
    eventsTotal: () => store.counters(),
    open: () => gauge.sample(),
    liveStreams: () => bell.listeners,
    queue: options.queue === undefined ? undefined : () => queueFigures(queue),
    outlet: options.outlet === undefined ? undefined : () => publisher?.figures ?? [],
    legacy: options.legacyAgents === undefined ? undefined : () => legacy?.figures,
    version: options.version,
  });
  const expiry: Expiry = new Expiry({
    store,
    ports,
    log,
    isDue: () => duties.holds("expiry"),
    onEnded: (ended) => {
      bell.ring(ended.entry);
      dispatcher.forget(ended.agentId, ended.eventId, ended.revision);
    },
  });
  const payloads = new Payloads({ store, ports, log });
  const footprints = new Footprints(payloads, log, options.offLoopChars);
  const dispatcher: Dispatcher = new Dispatcher({
    tenant: DEFAULT_TENANT,
    store,
    bell,
    payloads,
    footprints,
    budget: new FootprintBudget(MAX_FOOTPRINTS),
    ports,
    log,
    maxInFlight: options.maxInFlight,
    maxResends: options.eventRetryMax,
    onOverdue: () => expiry.run(),
    onFenced: (session) => gateway.fenced(session),
  });
  const { security } = options;
  const legacy =
    security === undefined || options.legacyAgents === undefined
      ? undefined
      : new Legacy({ agentIds: options.legacyAgents, identities: security.identities, registry, ports });
  const gateway: Gateway = new Gateway({
    tenant: DEFAULT_TENANT,
    store,
    registry,
    dispatcher,
    payloads,
    bell,
    replicaId,
    ports,
    log,
    ...(options.admission === undefined ? {} : { admission: options.admission }),
    heartbeatTimeoutMs: options.heartbeatTimeoutMs,
    onFrame: () => metrics.frame(),
    onFenced: () => (fences += 1),
    ...(security === undefined ? {} : { security }),
    ...(legacy === undefined ? {} : { legacy }),
  });
  const permits = new Permits({
    registry,
    store,
    ports,
    ...(security === undefined ? {} : { granted: async (agentId) => (await security.identities.get(agentId))?.labels }),
  });
  const parser = options.parser ?? new BodyParser();
  const intake = new Intake({
    store,
    dispatcher,
    bell,
    parser,
    permits,
    ports,
    log,
    gauge,
    hasOthers: () => membership.replicas.length > 1,
    onAccepted: (expiresAtMs) => expiry.hint(expiresAtMs),
    limits: { ...INTAKE_LIMITS, ...options.intake },
  });
  const retention = new Retention({ store, ports, log, isDue: () => duties.holds("retention"), ...options.retention });
  const duties: Duties = new Duties({ store, ports, log, replicaId });
  duties.want("expiry", () => expiry.start());
  duties.want("retention", () => retention.start());
  const maxEventBytes = options.maxEventBytes ?? LIMITS.eventBytes;
  const queue =
    options.queue === undefined ? undefined : new QueueIntake({ queue: options.queue, intake, store, ports, log, maxEventBytes });
  const isPublisher = (): boolean => duties.holds("publish");
  const publisher =
    options.outlet === undefined
      ? undefined
      : new Publisher({ ...options.outlet, store, bell, ports, log, tenant: DEFAULT_TENANT, isDue: isPublisher });
  if (publisher !== undefined) duties.want("publish", () => publisher.start());
  const hearing: Hearing = new Hearing({ store, dispatcher, gateway, bell, gauge, ports, log, replicaId, security });
  return {
    security,
    legacy,
    registry,
    bell,
    cloudEvents,
    gauge,
    metrics,
    expiry,
    dispatcher,
    gateway,
    intake,
    permits,
    membership,
    duties,
    hearing,
    queue,
    /** To be called once: nobody is connected to a control plane that has just begun. */
    begin: async (): Promise<void> => {
      await membership.begin();
      await publisher?.begin();
    },
    /** `address`: where it can be reached, as far as that is known only now. */
    start(address?: string): void {
      security?.start();
      hearing.start();
      dispatcher.start();
      gateway.start();
      membership.start(options.advertise ?? address);
      duties.start();
      queue?.start();
    },
    /** Registers what has to stop behind the doors, the store last, then what is before them; `doors` comes in between. */
    stopWith(shutdown: Shutdown, doors: () => Promise<void>): void {
      shutdown.add("store", () => store.close());
      shutdown.add("parser", () => parser.stop());
      shutdown.add("footprints", () => footprints.stop());
      if (security !== undefined) shutdown.add("security", () => security.stop());
      shutdown.add("lease", () => membership.stop());
      if (publisher !== undefined) shutdown.add("outlet", () => publisher.stop());
      shutdown.add("retention", () => retention.stop());
      shutdown.add("expiry", () => expiry.stop());
      shutdown.add("duties", () => duties.stop());
      shutdown.add("words", () => hearing.stop());
      shutdown.add("http", doors);
      shutdown.add("dispatcher", () => dispatcher.stop());
      shutdown.add("gateway", () => gateway.stop());
      if (queue !== undefined) shutdown.add("queue", () => queue.stop());
    },
  };
}

function queueFigures(queue: QueueIntake | undefined): QueueFigures {
  if (queue === undefined) throw new Error("there is no queue");
  const { state, counts } = queue.view;
  return { connected: state === "connected", counts, status: () => queue.status() };
}
