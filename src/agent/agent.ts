import { failpoint, type Logger, messageOf, toTransporterError } from "../kit/mod.ts";
import { dial, proxyFor } from "../net/mod.ts";
import { CLOSE, type Credit, type Feature, openDigest } from "../protocol/mod.ts";
import { type Agent, type AgentOptions, type AgentState, clientOf } from "./agent-options.ts";
import { Connection } from "./connection.ts";
import { CREDIT_LIMITS, CreditLine } from "./credit.ts";
import type { Work } from "./delivery.ts";
import { Executor, type ExecutorOptions } from "./executor.ts";
import { Fetch } from "./fetch.ts";
import { createKeeper, urlsWithIdentity } from "./identity-setup.ts";
import type { IdentityKeeper } from "./identity.ts";
import { HealthFile } from "./health-file.ts";
import { agentHealth } from "./health.ts";
import { Inbound } from "./inbound.ts";
import { type Ledger, MemoryLedger } from "./ledger.ts";
import { FileLedger } from "./ledger-file.ts";
import { createParsing, type Parsing } from "./off-loop.ts";
import { Outbound } from "./outbound.ts";
import { CAPABILITIES, registrationFrame } from "./registration.ts";
import { kubeSteps } from "./steps/kube-steps.ts";
import { Workload } from "./workload.ts";

const HEARTBEAT_MS = 10_000;
const MAX_CONCURRENT = 4;
/** Where objects go that name no namespace; 0.1's rule. */
const DEFAULT_NAMESPACE = "default";
const FIELD_MANAGER = "transporter";
const STOP_GRACE_MS = 8_000;
const FLUSH_MS = 500;

/**
 * Starts an agent; resolves once it works on its own, registered or not, and it then goes on until stopped. Throws what no waiting cures:
 * KUBE_CONFIG_INVALID, CONFIG_INVALID (a proxy that cannot be used), STORE_LOCKED (another agent with this id has the ledger),
 * STORE_UNAVAILABLE (its directory cannot be written).
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { ports } = options;
  const log = options.log.with({ agent_id: options.id, cluster: options.clusterName });
  const proxies = new Map(options.cpUrls.map((url) => [url, proxyFor(url, options.proxyEnv)]));
  const client = clientOf(options.cluster, ports, log);
  const resources =
    "resources" in options.cluster
      ? options.cluster.resources
      : kubeSteps(await client(), {
          defaultNamespace: DEFAULT_NAMESPACE,
          fieldManager: FIELD_MANAGER,
          lookOnly: options.readOnly === true,
          requireImpersonation: options.requireImpersonation === true,
        });
  const { identity, caPem, insecureTls = false, proxyEnv, id: agentId } = options;
  let running: RunningAgent | undefined;
  const onChange = (): void => running?.identityChanged();
  const keeper =
    identity === undefined
      ? undefined
      : await createKeeper({ agentId, identity, caPem, insecureTls, proxyEnv, client, ports, log, onChange });
  running = new RunningAgent(options, log, options.ledger ?? openLedger(options, log), resources, proxies, keeper);
  return running.start();
}

function openLedger({ stateDir, id, ports: { clock, timers } }: AgentOptions, log: Logger): Ledger {
  return stateDir === undefined ? new MemoryLedger() : new FileLedger({ stateDir, agentId: id, clock, timers, log });
}

interface OpenHere {
  readonly eventId: string;
  readonly revision: number;
  readonly state: "waiting" | "running" | "finished";
}

class RunningAgent implements Agent {
  readonly closed: Promise<void>;
  readonly ended: Promise<Error>;
  readonly #options: AgentOptions;
  readonly #keeper: IdentityKeeper | undefined;
  readonly #bootId: string;
  readonly #ledger: Ledger;
  readonly #parsing: Parsing;
  readonly #outbound: Outbound;
  readonly #workload: Workload;
  readonly #credit: CreditLine;
  readonly #fetch: Fetch;
  readonly #inbound: Inbound;
  readonly #connection: Connection;
  readonly #log: Logger;
  readonly #health: HealthFile | undefined;
  /** What the last registration said of it. */
  #registeredCredit: Credit;
  #seenEpoch = 0;
  #registeredSinceMs: number | undefined;
  #stopping: Promise<void> | undefined;
  #markClosed: () => void = () => undefined;
  #markEnded: (error: Error) => void = () => undefined;

  constructor(
    options: AgentOptions,
    log: Logger,
    ledger: Ledger,
    resources: ExecutorOptions["resources"],
    proxies: ReadonlyMap<string, string | undefined>,
    keeper: IdentityKeeper | undefined,
  ) {
    const { ports } = options;
    this.#options = options;
    this.#keeper = keeper;
    this.ended = new Promise((resolve) => {
      this.#markEnded = resolve;
    });
    // At most once can be promised only by who remembers that it has begun.
    const runners = options.stateDir === undefined && options.ledger === undefined ? undefined : options.runners;
    this.closed = new Promise((resolve) => {
      this.#markClosed = resolve;
    });
    this.#log = log;
    const { healthFile } = options;
    this.#health =
      healthFile === undefined ? undefined : new HealthFile({ path: healthFile, report: () => agentHealth(this.state()), ports, log });
    this.#bootId = ports.ids.uuid();
    this.#ledger = ledger;
    this.#parsing = options.parsing ?? createParsing(ports.timers);
    const onLedgerFailing = (): void => this.#credit.ledgerFailing();
    this.#outbound = new Outbound({
      agentId: options.id,
      bootId: this.#bootId,
      ledger,
      ports,
      log,
      send: (text) => this.#connection.send(text),
      bufferedBytes: () => this.#connection.bufferedBytes,
      onLedgerFailing,
    });
    this.#workload = new Workload({
      ledger,
      outbound: this.#outbound,
      parsing: this.#parsing,
      executor: new Executor({
        readOnly: options.readOnly === true,
        requireImpersonation: options.requireImpersonation === true,
        ports,
        log,
        resources,
        ...(runners === undefined ? {} : { runners }),
      }),
      maxConcurrent: options.maxConcurrent ?? MAX_CONCURRENT,
      defaultNamespace: DEFAULT_NAMESPACE,
      ports,
      log,
    });
    this.#credit = new CreditLine({
      hold: options.hold ?? { deliveries: CREDIT_LIMITS.deliveries, bytes: CREDIT_LIMITS.bytes },
      ledger,
      ports,
      log,
      holds: (key) => this.#workload.holds(key) || this.#inbound.isArriving(key),
      send: (text) => this.#has("credit") && this.#connection.send(text),
    });
    this.#registeredCredit = this.#credit.current;
    this.#fetch = new Fetch({
      ledger,
      parsing: this.#parsing,
      ports,
      log,
      send: (text) => this.#has("chunk") && this.#connection.send(text),
      wanted: (key) => this.#workload.holds(key),
      arrived: (key, work) => {
        this.#acknowledge(work);
        failpoint("agent.inbound.acknowledged");
        this.#workload.arrived(key, work);
      },
      failed: (key, error) => this.#workload.failed(key, error),
      onLedgerFailing,
    });
    this.#inbound = new Inbound({
      ledger,
      parsing: this.#parsing,
      credit: this.#credit,
      fetch: this.#fetch,
      ports,
      log,
      holds: (key) => this.#workload.holds(key),
      accept: (delivery, expiresAtMs) => this.#workload.accept(delivery, expiresAtMs),
      reserve: (delivery, expiresAtMs) => this.#workload.reserve(delivery, expiresAtMs),
      repeat: (key, work, final) => this.#outbound.repeat(key, work, final),
      cancel: (eventId, revision) => this.#cancel(eventId, revision),
      statusesStored: (bootId, seq) => this.#outbound.acknowledged(bootId, seq),
      statusesLost: () => this.#outbound.resend(),
      tellOpen: () => {
        const deliveries = this.#open().map(({ eventId, revision, state }) => ({ event_id: eventId, revision, state }));
        this.#connection.send(JSON.stringify({ type: "open", deliveries }));
      },
      trust: (bundle, renew) => keeper?.trusts(bundle, renew),
      acknowledge: (work) => this.#acknowledge(work),
      repeatsMeanAgain: () => this.#connection.agreement?.protocol === 0,
      creditKnown: () => this.#has("credit"),
      beginAnew: () => this.#connection.beginAnew(),
    });
    this.#connection = new Connection({
      urls: options.cpUrls,
      dialer: options.dialer ?? dial,
      dialOptions: (url) => {
        const proxy = proxies.has(url) ? proxies.get(url) : proxyFor(url, options.proxyEnv);
        const ca = keeper === undefined ? options.caPem : keeper.trust;
        const identity = keeper?.identity;
        return {
          ...(ca === undefined ? {} : { ca }),
          ...(options.insecureTls === true ? { insecureTls: true } : {}),
          ...(identity === undefined ? {} : { client: { certificate: identity.certificate, key: identity.key } }),
          ...(proxy === undefined ? {} : { proxy }),
        };
      },
      register: (proof) => {
        this.#registeredCredit = this.#credit.current;
        return registrationFrame(options, {
          bootId: this.#bootId,
          nowMs: ports.clock.now(),
          credit: this.#registeredCredit,
          seenEpoch: this.#seenEpoch,
          proof,
          capabilities: runners?.script === undefined ? CAPABILITIES : [...CAPABILITIES, "script_exec"],
        });
      },
      prover: () => (keeper?.identity === undefined ? undefined : (challenge, channel) => keeper.prove(challenge, channel)),
      onUnwelcome: (code, reason) => keeper?.unwelcome(code, reason),
      heartbeatIntervalMs: options.heartbeatIntervalMs ?? HEARTBEAT_MS,
      heartbeat: () => ({
        ...(this.#has("credit") ? { credit: this.#credit.current } : {}),
        ...(this.#has("resync") ? { open: openDigest(this.#open()) } : {}),
      }),
      ports,
      log,
      admit: (epoch) => this.#admit(epoch),
      onRegistered: (agreement) => {
        this.#registeredSinceMs = ports.clock.now();
        this.#inbound.attach();
        this.#credit.attach(this.#registeredCredit);
        this.#outbound.attach(agreement);
        this.#fetch.attach();
        this.#health?.touch();
      },
      onFrame: (text) => this.#inbound.receive(text),
      onLost: () => {
        this.#credit.detach();
        this.#outbound.detach();
        this.#health?.touch();
      },
    });
  }

  async start(): Promise<this> {
    const { deliveries, statuses, seenEpoch } = await this.#ledger.recover();
    // Not before the ledger is ours: another agent with it would write there.
    if (this.#health !== undefined) await this.#health.start();
    this.#seenEpoch = seenEpoch;
    this.#outbound.restore(statuses);
    if (deliveries.length > 0) this.#log.info("Events of before the restart go on", { events: deliveries.length });
    this.#workload.recover(deliveries);
    this.#inbound.recover(deliveries);
    if (this.#keeper === undefined) this.#connection.start();
    else void this.#begin(this.#keeper);
    return this;
  }

  /** What was accepted before is carried out meanwhile; only the connection waits. */
  async #begin(keeper: IdentityKeeper): Promise<void> {
    try {
      const held = await keeper.open();
      if (this.#stopping !== undefined) return;
      if (held) this.#redirect();
      this.#connection.start();
    } catch (error) {
      if (this.#stopping === undefined) this.#markEnded(toTransporterError(error));
    }
  }

  #redirect(): void {
    const { identity, insecureTls = false } = this.#options;
    const held = this.#keeper?.identity;
    if (identity !== undefined && held !== undefined) this.#connection.redirect(urlsWithIdentity(identity, held.agentUrls, insecureTls));
  }

  /** There is another certificate: a connection that stands goes on, one that is waited for need not wait. */
  identityChanged(): void {
    if (this.#connection.state === "idle") return;
    try {
      this.#redirect();
    } catch (error) {
      this.#log.error("The Control Plane names an address that cannot be used", { error: messageOf(error) });
    }
    this.#connection.hurry();
  }

  /** Takes a connection on whose epoch is above all that were seen, and remembers that on disk first. */
  async #admit(epoch: number): Promise<boolean> {
    if (epoch <= this.#seenEpoch) return false;
    this.#seenEpoch = epoch;
    try {
      await this.#ledger.saveEpoch(epoch);
    } catch (error) {
      // On a disk that takes nothing no event can be taken on either; what is acknowledged now may make room on it.
      this.#log.warn("The epoch of the connection is kept in memory alone", { epoch, error: messageOf(error) });
    }
    return true;
  }

  /** Whether both sides of the present link can do this. */
  #has(feature: Feature): boolean {
    return this.#connection.agreement?.features.has(feature) === true;
  }

  #acknowledge(work: Work): void {
    if (this.#connection.agreement?.acknowledges !== true || work.revision === undefined) return;
    this.#connection.send(JSON.stringify({ type: "event_ack", event_id: work.eventId, revision: work.revision }));
  }

  #cancel(eventId: string, revision: number): void {
    // What is not known is either on its way here, and the wish is said again, or over, and its end is on its way there.
    if (this.#workload.cancel(eventId, revision) === "unknown")
      this.#log.debug("An event that is not open here was called back", { event_id: eventId, revision });
  }

  /** What is not finished, and what is and the control plane does not know yet; each once. */
  #open(): OpenHere[] {
    const open = new Map<string, OpenHere>();
    for (const one of this.#workload.open()) open.set(`${one.eventId}\u0000${one.revision}`, one);
    for (const { eventId, revision } of this.#outbound.untoldEnds()) {
      const key = `${eventId}\u0000${revision}`;
      if (!open.has(key)) open.set(key, { eventId, revision, state: "finished" });
    }
    return [...open.values()];
  }

  state(): AgentState {
    return {
      link: this.#connection.state,
      cpUrl: this.#connection.url,
      registeredSinceMs: this.#connection.state === "registered" ? this.#registeredSinceMs : undefined,
      ledgerFailing: this.#credit.failing,
      bootId: this.#bootId,
      protocol: this.#connection.agreement?.protocol,
      registrations: this.#connection.registrations,
      lastContactMs: this.#connection.lastContactMs,
      running: this.#workload.running,
      waiting: this.#workload.waiting,
      unacknowledged: this.#outbound.unacknowledged,
      certificateExpiresAtMs: this.#keeper?.identity?.expiresAtMs,
    };
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#log.info("Agent is stopping");
    const kept = this.#keeper?.stop();
    this.#credit.stop();
    this.#inbound.stop();
    this.#fetch.stop();
    await this.#workload.stop(STOP_GRACE_MS);
    await this.#outbound.flush(FLUSH_MS);
    this.#outbound.stop();
    await this.#connection.stop(CLOSE.goingAway, "the agent is stopping");
    this.#parsing.stop();
    const late = new AbortController();
    // A Secret may take longer than a stop has time for; what is half written is found, and goes on.
    await Promise.race([kept, this.#options.ports.timers.sleep(FLUSH_MS, late.signal).catch(() => undefined)]);
    late.abort(new Error("kept in time"));
    await this.#health?.stop();
    await this.#ledger.close();
    this.#log.info("Agent stopped");
    this.#markClosed();
  }
}
