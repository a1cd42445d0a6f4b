import { CP_SETTINGS, type ControlPlaneConfig, type ListenersConfig, controlPlaneConfig } from "../../config/mod.ts";
import type { Logger, Ports } from "../../kit/mod.ts";
import type { Security } from "../../security/mod.ts";
import type { Store } from "../../stores/mod.ts";
import { type Call, command } from "../command.ts";
import { seenSecurity } from "../security-place.ts";
import { secretVault } from "../security-secret.ts";
import { refuseEnvironment, runService, serviceLog } from "../service.ts";
import { versionView } from "../version-view.ts";

export const cp = command({
  summary: "Run the control plane",
  description:
    "Takes events over HTTP, keeps them, and hands them to the agents that connect to it. Secured (see `transporter cp init`) it listens on all addresses: the API on 8080, agents on 8443, probes on 9090. Without security it listens on 127.0.0.1 only, unless --insecure opens it to everybody.\n\nSeveral control planes may share a Redis: each takes any event and any agent. A queue in front takes events in while none of them is there.",
  settings: CP_SETTINGS,
  ownSignals: true,
  examples: [
    "transporter cp",
    "transporter cp --ws-port 9000 --store sqlite:/var/lib/transporter/cp.db",
    "transporter cp --security-dir /etc/transporter/security --advertise-agents wss://cp.example.com:8443/ws",
    "transporter cp --security-secret transporter-system/transporter-cp-security --tls-name cp.example.com",
    "transporter cp --ca-file ca.crt --tls-cert-file tls.crt --tls-key-file tls.key",
    "transporter cp --ws-addr 0.0.0.0 --insecure --retention 720h",
    "transporter cp --store redis://redis:6379/0 --queue nats://nats:4222/transporter --publish status,audit",
    "transporter cp --redis-addr redis:6379 --redis-db 0",
  ],
  run: async (call) => {
    const { host, ports } = call;
    const config = controlPlaneConfig(call, call.places, seenSecurity(call));
    refuseEnvironment(host.env, config.insecure);
    const logging = serviceLog(host, ports, { debug: config.debug, format: config.logFormat });
    const { log } = logging;
    for (const warning of config.warnings) log.warn(warning);
    return runService(host, ports, logging, async () => {
      const { startControlPlane } = await import("../../cp/mod.ts");
      const parts: { close(): Promise<void> }[] = [];
      try {
        const { store, queue, outlet } = await openParts(config, { ports, log }, parts);
        const { listeners } = config;
        const security = await openSecurity(config, store, call, log);
        const controlPlane = await startControlPlane({
          host: listeners.api.host,
          port: listeners.api.port,
          insecure: config.insecure,
          store,
          ...(security === undefined ? {} : { security, tls: listeners.tls }),
          ...otherListeners(listeners),
          ...(queue === undefined ? {} : { queue }),
          ...(outlet === undefined ? {} : { outlet }),
          version: versionView(),
          heartbeatTimeoutMs: config.heartbeatTimeoutMs,
          eventRetryMax: config.eventRetryMax,
          maxEventBytes: config.maxEventBytes,
          maxInFlight: config.maxInFlight,
          retention: config.retention,
          // Of its own for each start: what an earlier one of this name left behind is not this one's.
          ...(config.replicaId === undefined ? {} : { replicaId: `${config.replicaId}-${ports.ids.uuid().slice(-8)}` }),
          ...(config.advertise === undefined ? {} : { advertise: config.advertise }),
          ...(config.drainMs === undefined ? {} : { drainMs: config.drainMs }),
          ports,
          log,
        });
        // Without security a SIGHUP ends the program, as ever: a terminal that was closed.
        const forget = security === undefined ? undefined : host.onHangup(() => void reloaded(security, log));
        const stop = async (): Promise<void> => {
          await controlPlane.stop();
          forget?.();
        };
        return { stop, stopBudgetMs: controlPlane.stopBudgetMs };
      } catch (error) {
        for (const part of parts.toReversed()) await part.close();
        throw error;
      }
    });
  },
});

async function reloaded(security: Security, log: Logger): Promise<void> {
  log.info("Looking at the files of certificates, as SIGHUP asks");
  await security.trust.reload().catch((error: unknown) => log.error("The files of certificates cannot be read", { error }));
}

function otherListeners({ trustedProxies, agentsBehindProxy, agents, probes, legacy }: ListenersConfig) {
  return {
    trustedProxies,
    agentsBehindProxy,
    ...(agents === undefined ? {} : { agents }),
    ...(probes === undefined ? {} : { probes }),
    ...(legacy === undefined ? {} : { legacy }),
  };
}

/** Undefined where whoever reaches it may do anything. What it knows lies in the store, so that all control planes know the same. */
async function openSecurity(
  { security }: ControlPlaneConfig,
  documents: Store,
  { host, ports, values }: Call<typeof CP_SETTINGS>,
  log: Logger,
): Promise<Security | undefined> {
  if (security === undefined) return undefined;
  const { createSecurity, hasInstallation, keepTrust } = await import("../../security/mod.ts");
  const { secret, copyDirectory, serverNames: names } = security;
  const kept =
    secret === undefined
      ? undefined
      : await keepTrust({
          vault: await secretVault(secret, values, { host, ports, log }),
          ports,
          log,
          names,
          copyDirectory,
          begun: () => hasInstallation(documents),
        });
  return createSecurity({ ...security, trust: { ...security.trust, ...(kept === undefined ? {} : { kept }) }, documents, ports, log });
}

/** What the control plane stands on. The queue first: its address is checked without asking anybody, and nothing is begun for a wrong one. */
async function openParts(
  config: ControlPlaneConfig,
  { ports, log }: { readonly ports: Ports; readonly log: Logger },
  opened: { close(): Promise<void> }[],
) {
  const keep = <T extends { close(): Promise<void> }>(part: T): T => {
    opened.push(part);
    return part;
  };
  const { queue, outlet, storePassword } = config;
  const queues = queue === undefined && outlet === undefined ? undefined : await import("../../queues/mod.ts");
  const openedQueue =
    queue === undefined ? undefined : await queues?.openQueue(queue.url, { log, ports, secrets: queue.secrets }).then(keep);
  const openedOutlet =
    outlet === undefined ? undefined : await queues?.openOutlet(outlet.url, { log, ports, secrets: outlet.secrets }).then(keep);
  const { openStore } = await import("../../stores/mod.ts");
  const store = await openStore(config.storeUrl, {
    ports,
    log,
    compatKeys: config.redisCompatKeys,
    ...(storePassword === undefined ? {} : { password: storePassword }),
  }).then(keep);
  return {
    store,
    queue: openedQueue,
    outlet: openedOutlet === undefined || outlet === undefined ? undefined : { outlet: openedOutlet, kinds: outlet.kinds },
  };
}
