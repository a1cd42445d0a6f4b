import {
  collectDefaultMetrics,
  Counter,
  type CounterConfiguration,
  Gauge,
  type GaugeConfiguration,
  type Metric,
  Registry,
} from "prom-client";
import { Durations } from "./durations.ts";
import { type OutletFigures, outletMetrics, type QueueFigures, queueMetrics } from "./queue.ts";

/** What is asked for when somebody scrapes: read from where the truth is, so that the hot path counts nothing twice. */
export interface MetricSources {
  readonly agents: () => { readonly connected: number; readonly registered: number };
  /** Control planes that share the store, this one included, with the agents that each holds. */
  readonly replicas: () => readonly { readonly id: string; readonly agents: number }[];
  /** Sessions that ended because another connection owned their agent. */
  readonly fences: () => number;
  /** How often others took this control plane for dead. */
  readonly lapses: () => number;
  readonly words: () => { readonly heard: number; readonly gaps: number };
  readonly eventsTotal: () => Promise<Readonly<Record<string, number>>>;
  readonly open: () => Promise<{ readonly queued: number; readonly inFlight: number }>;
  readonly liveStreams: () => number;
  /** Undefined where no queue stands in front. */
  readonly queue?: (() => QueueFigures) | undefined;
  /** Undefined where nothing is published. */
  readonly outlet?: (() => readonly OutletFigures[]) | undefined;
  /** Undefined where nobody comes in without an identity, or everybody does. */
  readonly legacy?: (() => LegacyFigures | undefined) | undefined;
  readonly version: string;
}

/** Of the listener for those that have no identity. */
export interface LegacyFigures {
  /** Let in by name. */
  readonly agents: number;
  /** Connected now. */
  readonly connections: number;
  /** Taken so far. */
  readonly events: number;
}

export interface Metrics {
  /** One HTTP request is over. `route` is the pattern, never the path: ids must not become label values. */
  http(route: string, method: string, status: number, seconds: number): void;
  /** A frame of an agent came in. */
  frame(): void;
  /** Prometheus' text format and its content type. */
  render(): Promise<{ readonly body: string; readonly contentType: string }>;
}

const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** Names follow Prometheus' own rules: base units, `_total` on counters. */
export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });
  const registers = [registry];
  let frames = 0;
  const requests = new Durations(
    "transporter_http_request_duration_seconds",
    "Time to answer HTTP requests, by route, method and status.",
    SECONDS,
  );
  // The registry asks a metric for its name and, at each scrape, for its values; its types know its own kinds alone.
  registry.registerMetric(requests as unknown as Metric);
  const gauge = (configuration: GaugeConfiguration<string>): Gauge => new Gauge({ ...configuration, registers });
  const counter = (configuration: CounterConfiguration<string>): Counter => new Counter({ ...configuration, registers });
  gauge({
    name: "transporter_agents",
    help: "Agents whose socket is registered with this control plane now, by health.",
    labelNames: ["status"] as const,
    collect() {
      const { connected, registered } = sources.agents();
      this.set({ status: "connected" }, connected);
      this.set({ status: "unhealthy" }, registered - connected);
    },
  });
  gauge({
    name: "transporter_replica_agents",
    help: "Agents that each control plane on this store holds, as of its last renewal. The same from each of them: do not add up.",
    labelNames: ["replica"] as const,
    collect() {
      this.reset();
      for (const { id, agents } of sources.replicas()) this.set({ replica: id }, agents);
    },
  });
  gauge({
    name: "transporter_replicas",
    help: "Control planes with a lease on this store. The same from each of them: do not add up.",
    collect() {
      this.set(sources.replicas().length);
    },
  });
  const total = (name: string, help: string, count: () => number): void => {
    counter({
      name,
      help,
      collect() {
        this.reset();
        this.inc(count());
      },
    });
  };
  total("transporter_epoch_fences_total", "Connections that ended because another one owned their agent.", () => sources.fences());
  total("transporter_lease_lapses_total", "How often other control planes took this one for dead.", () => sources.lapses());
  total("transporter_words_heard_total", "What other control planes told this one.", () => sources.words().heard);
  total("transporter_word_gaps_total", "How often words of other control planes were certainly lost.", () => sources.words().gaps);
  counter({
    name: "transporter_events_total",
    help: "Events that ever entered the state, of all control planes on this store.",
    labelNames: ["state"] as const,
    async collect() {
      const counts = await sources.eventsTotal();
      this.reset();
      for (const [state, count] of Object.entries(counts)) if (state !== "total") this.inc({ state }, count);
    },
  });
  gauge({
    name: "transporter_deliveries_open",
    help: "Deliveries that are not finished, of all control planes on this store: waiting for their agent, or handed over.",
    labelNames: ["state"] as const,
    async collect() {
      const { queued, inFlight } = await sources.open();
      this.set({ state: "queued" }, queued);
      this.set({ state: "in_flight" }, inFlight);
    },
  });
  gauge({
    name: "transporter_live_streams",
    help: "Live streams that are being followed.",
    collect() {
      this.set(sources.liveStreams());
    },
  });
  if (sources.queue !== undefined) queueMetrics(sources.queue, { gauge, counter });
  if (sources.outlet !== undefined) outletMetrics(sources.outlet, { gauge, counter });
  const { legacy } = sources;
  if (legacy !== undefined) {
    const figure = (name: string, help: string, read: (of: LegacyFigures) => number): void => {
      gauge({
        name,
        help,
        collect() {
          const figures = legacy();
          if (figures !== undefined) this.set(read(figures));
        },
      });
    };
    figure("transporter_legacy_agents", "Agents that may come in without showing who they are.", ({ agents }) => agents);
    figure("transporter_legacy_connections", "Agents that are connected now without having shown who they are.", (of) => of.connections);
    total("transporter_legacy_events_total", "Events taken from producers that did not show who they are.", () => legacy()?.events ?? 0);
  }
  total("transporter_agent_frames_total", "Frames received from agents.", () => frames);
  gauge({ name: "transporter_build_info", help: "Always 1; the version is a label.", labelNames: ["version"] as const, registers }).set(
    { version: sources.version },
    1,
  );
  return {
    http(route, method, status, seconds) {
      requests.observe(route, method, status, seconds);
    },
    frame() {
      frames += 1;
    },
    async render() {
      return { body: await registry.metrics(), contentType: registry.contentType };
    },
  };
}
