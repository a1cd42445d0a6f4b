import { hostname } from "node:os";
import { type Logger, Shutdown, TransporterError } from "../kit/mod.ts";
import type { VersionView } from "../protocol/mod.ts";
import { type CoreOptions, createCore } from "./core.ts";
import { BodyBudget } from "./http/body.ts";
import type { HttpContext } from "./http/context.ts";
import { Listeners, type ListenersOptions } from "./http/listeners.ts";

const STOP_BUDGET_MS = 8_000;
/** Longer than parts that do not stop in time may take. */
const STOP_GRACE_MS = 2_000;
/** How long agents are handed over to the other control planes, where there can be some, before this one stops. */
const DRAIN_MS = 5_000;
/** Above `drainMs`: how much longer draining may take. */
const DRAIN_GRACE_MS = 2_000;
/** How long requests may take that are being answered when the control plane stops. */
const HTTP_PATIENCE_MS = 3_000;
/** How many bodies of the largest size may be read at once. */
const BODIES_AT_ONCE = 8;

/** With `security` the control plane belongs to nobody who does not show who they are; it belongs to the control plane from here on. */
export interface ControlPlaneOptions
  extends Omit<CoreOptions, "version" | "metrics" | "parser" | "offLoopChars" | "legacyAgents">, ListenersOptions {
  /** Listens beyond loopback though nobody has to prove who they are. */
  readonly insecure: boolean;
  readonly version: VersionView;
  readonly maxEventBytes: number;
  /** Over how long a stop spreads its agents' way to the other control planes; 5 s on a store that is shared, else 0, when absent. */
  readonly drainMs?: number;
}

export interface ControlPlane {
  readonly url: string;
  readonly port: number;
  /** Where agents come with their certificates. */
  readonly agentsUrl: string | undefined;
  readonly probesUrl: string | undefined;
  /** Where those come that have no identity. */
  readonly legacyUrl: string | undefined;
  /** Of this one, among those that share its store. */
  readonly replicaId: string;
  /** No longer than this does `stop` take: two seconds above `drainMs`, and ten for the rest. */
  readonly stopBudgetMs: number;
  /**
   * Not ready any more, agents are told one after the other to connect elsewhere, events are still taken; then no new work, what is in
   * flight is safe, the agents that are left are told to come back, the store is closed. Safe to call often.
   */
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
  const { store, ports, log, security, legacy } = options;
  const loopbackOnly = isLoopback(options.host);
  if (security === undefined && !loopbackOnly && !options.insecure) {
    throw new TransporterError(
      "INSECURE_REFUSED",
      `listening on ${options.host} would let anybody who reaches it command every agent: nobody has to prove who they are`,
    );
  }
  let stopping = false;
  let draining = false;
  const drainMs = options.drainMs ?? (store.info.shared ? DRAIN_MS : 0);
  const replicaId = options.replicaId ?? `${hostname()}-${ports.ids.uuid().slice(-8)}`;
  const legacyAgents = legacy === undefined ? {} : { legacyAgents: legacy.agentIds };
  const core = createCore({ ...options, ...legacyAgents, replicaId, version: options.version.version });
  await core.begin();
  const { bell, gateway, membership } = core;
  const context: HttpContext = {
    ...core,
    store,
    ports,
    log,
    version: options.version,
    maxEventBytes: options.maxEventBytes,
    bodyBudget: new BodyBudget(options.maxEventBytes * BODIES_AT_ONCE),
    isStopping: () => stopping,
    isDraining: () => draining,
  };
  // Where nobody is asked who they are, a name that leads here may be a page's trick; where they are, the certificate says whose name it is.
  const guard = { loopbackOnly: loopbackOnly && security === undefined, hosts: [options.host.toLowerCase()] };
  const listeners = new Listeners(context, options, guard);
  const stopFollowing = security?.trust.onChange(() => listeners.renewTls());
  const shutdown = new Shutdown(log, ports.timers);
  core.stopWith(shutdown, async () => {
    // Requests that were being answered are answered; the agents' sockets were told before. Who takes long must leave time for the store.
    const patience = ports.timers.after(HTTP_PATIENCE_MS, () => void listeners.stop(true));
    bell.ringAll();
    await listeners.stop(false);
    patience.cancel();
  });
  const stop = async (): Promise<void> => {
    draining = true;
    stopFollowing?.();
    if (drainMs > 0) await handOver();
    stopping = true;
    await shutdown.run(STOP_BUDGET_MS);
    listeners.stop(true).catch(() => undefined);
  };
  let stopped: Promise<void> | undefined;
  const handOver = async (): Promise<void> => {
    const beganMs = ports.clock.monotonic();
    await gateway.drain(drainMs, DRAIN_GRACE_MS);
    // Whoever spreads requests over all of them takes a moment to notice that this one is not ready. Alone, there is nobody to spread over.
    const restMs = drainMs - (ports.clock.monotonic() - beganMs);
    if (restMs > 0 && membership.replicas.length > 1) await ports.timers.sleep(restMs);
  };
  const { api } = listeners;
  core.start(api.url);
  log.info("Control plane is listening", { address: api.address, store: store.info.location, version: options.version.version });
  sayWhoMay(listeners, { log, secured: security !== undefined, loopbackOnly, legacyAgents: legacy?.agentIds ?? [] });
  return {
    url: api.url,
    port: api.port,
    agentsUrl: listeners.agents?.url,
    probesUrl: listeners.probes?.url,
    legacyUrl: listeners.legacy?.url,
    replicaId,
    stopBudgetMs: (drainMs > 0 ? drainMs + DRAIN_GRACE_MS : 0) + STOP_BUDGET_MS + STOP_GRACE_MS,
    stop: () => (stopped ??= stop()),
  };
}

/** Says in the log who can come in by which listener. */
function sayWhoMay(
  { api, agents, probes, legacy }: Listeners,
  of: { readonly log: Logger; readonly secured: boolean; readonly loopbackOnly: boolean; readonly legacyAgents: readonly string[] },
): void {
  const { log } = of;
  const { address } = api;
  if (of.secured) log.info("Security is configured: nobody is let in who does not show who they are", { address });
  else if (of.loopbackOnly) log.info("No security is configured: only this machine can reach it", { address });
  else log.warn("No security is configured: anybody who reaches this address commands every agent", { address });
  if (agents !== undefined) log.info("Agents come with their certificates", { address: agents.address });
  if (probes !== undefined) log.info("Probes and metrics are answered to anybody", { address: probes.address });
  if (legacy !== undefined)
    log.warn(
      "Agents and producers of 0.1 are let in without showing who they are: anybody who reaches this address commands these agents",
      {
        address: legacy.address,
        agents: of.legacyAgents.join(", "),
      },
    );
}
