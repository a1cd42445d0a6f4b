import { CP_SETTINGS, controlPlaneConfig } from "../../config/mod.ts";
import { command } from "../command.ts";
import { refuseUncheckedTls, runService, serviceLog } from "../service.ts";
import { versionView } from "../version-view.ts";

export const cp = command({
  summary: "Run the control plane",
  description:
    "Takes events over HTTP, keeps them, and hands them to the agents that connect to it. It listens on 127.0.0.1 unless told otherwise, and beyond this machine only with --insecure.\n\nSeveral control planes may share a Redis: each takes any event and any agent. A queue in front takes events in while none of them is there.",
  settings: CP_SETTINGS,
  ownSignals: true,
  examples: [
    "transporter cp",
    "transporter cp --ws-port 9000 --store sqlite:/var/lib/transporter/cp.db",
    "transporter cp --ws-addr 0.0.0.0 --insecure --retention 720h",
    "transporter cp --store redis://redis:6379/0 --queue nats://nats:4222/transporter --publish status,audit",
    "transporter cp --redis-addr redis:6379 --redis-db 0",
  ],
  run: async (call) => {
    const { host, ports } = call;
    const config = controlPlaneConfig(call, call.places);
    refuseUncheckedTls(host.env, config.insecure);
    const logging = serviceLog(host, ports, { debug: config.debug, format: config.logFormat });
    const { log } = logging;
    for (const warning of config.warnings) log.warn(warning);
    return runService(host, ports, logging, async () => {
      const [{ openStore }, { startControlPlane }] = await Promise.all([import("../../stores/mod.ts"), import("../../cp/mod.ts")]);
      const store = await openStore(config.storeUrl, {
        ports,
        log,
        compatKeys: config.redisCompatKeys,
        ...(config.storePassword === undefined ? {} : { password: config.storePassword }),
      });
      try {
        const controlPlane = await startControlPlane({
          host: config.host,
          port: config.port,
          insecure: config.insecure,
          store,
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
        return { stop: () => controlPlane.stop(), stopBudgetMs: controlPlane.stopBudgetMs };
      } catch (error) {
        await store.close();
        throw error;
      }
    });
  },
});
