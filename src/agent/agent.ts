import type { Logger, Ports } from "../kit/mod.ts";
import { createKubeClient, type KubeAccessOptions, type KubeClient, loadKubeAccess } from "../k8s/mod.ts";
import { dial, type Dialer, type ProxyEnv, proxyFor } from "../net/mod.ts";
import { CLOSE } from "../protocol/mod.ts";
import { Connection, type LinkState } from "./connection.ts";
import { Executor, type ExecutorOptions } from "./executor.ts";
import { Inbound } from "./inbound.ts";
import { type Ledger, MemoryLedger } from "./ledger.ts";
import { FileLedger } from "./ledger-file.ts";
import { createParsing, type Parsing } from "./off-loop.ts";
import { Outbound } from "./outbound.ts";
import { type AgentIdentity, registrationFrame } from "./registration.ts";
import { kubeResources } from "./resources.ts";
import { Workload } from "./workload.ts";

/** How the agent gets at its cluster. */
export type ClusterSource =
  | { readonly access: Omit<KubeAccessOptions, "ports"> }
  | { readonly client: () => KubeClient | Promise<KubeClient> }
  /** In place of Kubernetes, for the simulation. */
  | { readonly resources: ExecutorOptions["resources"] };

export interface AgentOptions extends AgentIdentity {
  /** ws:// or wss://, for example ws://localhost:8080/ws. */
  readonly cpUrl: string;
  /** Certificate authorities to trust instead of the system's. */
  readonly caPem?: string;
  readonly insecureTls?: boolean;
  /** HTTPS_PROXY and its kin, as the composition root read them. */
  readonly proxyEnv: ProxyEnv;
  readonly heartbeatIntervalMs?: number;
  /** Where the ledger lies. Undefined: it is kept in memory, and a restart forgets what was accepted. */
  readonly stateDir: string | undefined;
  /** Say what would be done, and change nothing. */
  readonly readOnly?: boolean;
  /** Events carried out at the same time. */
  readonly maxConcurrent?: number;
  readonly cluster: ClusterSource;
  readonly ports: Ports;
  readonly log: Logger;
  readonly dialer?: Dialer;
  readonly parsing?: Parsing;
}

export interface AgentState {
  readonly link: LinkState;
  readonly bootId: string;
  /** 0 towards a 0.1 control plane; undefined while not registered. */
  readonly protocol: number | undefined;
  /** How often it has registered. */
  readonly registrations: number;
  /** When anything was last heard from the control plane, in milliseconds since the epoch. */
  readonly lastContactMs: number | undefined;
  readonly running: number;
  readonly waiting: number;
  /** Statuses that the control plane has not acknowledged. */
  readonly unacknowledged: number;
}

export interface Agent {
  state(): AgentState;
  /** Takes no new work, lets what runs reach a safe point, tells what there is to tell, says goodbye. At most 10 s. Safe to call often. */
  stop(): Promise<void>;
  /** Resolves when it has stopped. */
  readonly closed: Promise<void>;
}

const HEARTBEAT_MS = 10_000;
const MAX_CONCURRENT = 4;
/** Where objects go that name no namespace; 0.1's rule. */
const DEFAULT_NAMESPACE = "default";
const FIELD_MANAGER = "transporter";
const STOP_GRACE_MS = 8_000;
const FLUSH_MS = 500;

async function resourcesOf(source: ClusterSource, ports: Ports, log: Logger): Promise<ExecutorOptions["resources"]> {
  if ("resources" in source) return source.resources;
  const client =
    "client" in source ? await source.client() : createKubeClient(await loadKubeAccess({ ...source.access, ports }), { ports, log });
  return kubeResources(client, { defaultNamespace: DEFAULT_NAMESPACE, fieldManager: FIELD_MANAGER });
}

/**
 * Starts an agent; resolves once it works on its own, registered or not, and it then goes on until stopped. Throws what no waiting cures:
 * KUBE_CONFIG_INVALID, CONFIG_INVALID (a proxy that cannot be used), STORE_LOCKED (another agent with this id has the ledger),
 * STORE_UNAVAILABLE (its directory cannot be written).
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { ports } = options;
  const log = options.log.with({ agent_id: options.id, cluster: options.clusterName });
  const proxy = proxyFor(options.cpUrl, options.proxyEnv);
  const resources = await resourcesOf(options.cluster, ports, log);
  const ledger: Ledger =
    options.stateDir === undefined
      ? new MemoryLedger()
      : new FileLedger({ stateDir: options.stateDir, agentId: options.id, clock: ports.clock, timers: ports.timers, log });
  return new RunningAgent(options, log, ledger, resources, proxy).start();
}

class RunningAgent implements Agent {
  readonly closed: Promise<void>;
  readonly #bootId: string;
  readonly #ledger: Ledger;
  readonly #parsing: Parsing;
  readonly #outbound: Outbound;
  readonly #workload: Workload;
  readonly #inbound: Inbound;
  readonly #connection: Connection;
  readonly #log: Logger;
  #stopping: Promise<void> | undefined;
  #markClosed: () => void = () => undefined;

  constructor(options: AgentOptions, log: Logger, ledger: Ledger, resources: ExecutorOptions["resources"], proxy: string | undefined) {
    const { ports } = options;
    this.closed = new Promise((resolve) => {
      this.#markClosed = resolve;
    });
    this.#log = log;
    this.#bootId = ports.ids.uuid();
    this.#ledger = ledger;
    this.#parsing = options.parsing ?? createParsing(ports.timers);
    this.#outbound = new Outbound({
      agentId: options.id,
      bootId: this.#bootId,
      ledger,
      ports,
      log,
      send: (text) => this.#connection.send(text),
    });
    this.#workload = new Workload({
      ledger,
      outbound: this.#outbound,
      parsing: this.#parsing,
      executor: new Executor({ readOnly: options.readOnly === true, ports, log, resources }),
      maxConcurrent: options.maxConcurrent ?? MAX_CONCURRENT,
      defaultNamespace: DEFAULT_NAMESPACE,
      ports,
      log,
    });
    this.#inbound = new Inbound({
      ledger,
      parsing: this.#parsing,
      ports,
      log,
      holds: (key) => this.#workload.holds(key),
      accept: (delivery, expiresAtMs) => this.#workload.accept(delivery, expiresAtMs),
      repeat: (key, work, final) => this.#outbound.repeat(key, work, final),
      statusesStored: (bootId, seq) => this.#outbound.acknowledged(bootId, seq),
      acknowledge: (work) => {
        if (this.#connection.agreement?.acknowledges !== true || work.revision === undefined) return;
        this.#connection.send(JSON.stringify({ type: "event_ack", event_id: work.eventId, revision: work.revision }));
      },
      repeatsMeanAgain: () => this.#connection.agreement?.protocol === 0,
    });
    this.#connection = new Connection({
      url: options.cpUrl,
      dialer: options.dialer ?? dial,
      dialOptions: () => ({
        ...(options.caPem === undefined ? {} : { ca: options.caPem }),
        ...(options.insecureTls === true ? { insecureTls: true } : {}),
        ...(proxy === undefined ? {} : { proxy }),
      }),
      register: () => registrationFrame(options, this.#bootId, ports.clock.now()),
      heartbeatIntervalMs: options.heartbeatIntervalMs ?? HEARTBEAT_MS,
      ports,
      log,
      onRegistered: (agreement) => this.#outbound.attach(agreement),
      onFrame: (text) => this.#inbound.receive(text),
      onLost: () => this.#outbound.detach(),
    });
  }

  async start(): Promise<this> {
    const { deliveries, statuses } = await this.#ledger.recover();
    this.#outbound.restore(statuses);
    if (deliveries.length > 0) this.#log.info("Events of before the restart go on", { events: deliveries.length });
    this.#workload.recover(deliveries);
    this.#connection.start();
    return this;
  }

  state(): AgentState {
    return {
      link: this.#connection.state,
      bootId: this.#bootId,
      protocol: this.#connection.agreement?.protocol,
      registrations: this.#connection.registrations,
      lastContactMs: this.#connection.lastContactMs,
      running: this.#workload.running,
      waiting: this.#workload.waiting,
      unacknowledged: this.#outbound.unacknowledged,
    };
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#log.info("Agent is stopping");
    this.#inbound.stop();
    await this.#workload.stop(STOP_GRACE_MS);
    await this.#outbound.flush(FLUSH_MS);
    this.#outbound.stop();
    await this.#connection.stop(CLOSE.goingAway, "the agent is stopping");
    this.#parsing.stop();
    await this.#ledger.close();
    this.#log.info("Agent stopped");
    this.#markClosed();
  }
}
