import { CP_SETTINGS, controlPlaneConfig } from "../../config/mod.ts";
import { command } from "../command.ts";
import { refuseUncheckedTls, runService, serviceLog } from "../service.ts";
import { versionView } from "../version-view.ts";

export const cp = command({
  summary: "Run the control plane",
  description:
    "Takes events over HTTP, keeps them, and hands them to the agents that connect to it. It listens on 127.0.0.1 unless told otherwise, and beyond this machine only with --insecure.",
  settings: CP_SETTINGS,
  ownSignals: true,
  examples: [
    "transporter cp",
    "transporter cp --ws-port 9000 --store sqlite:/var/lib/transporter/cp.db",
    "transporter cp --ws-addr 0.0.0.0 --insecure --retention 720h",
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
      const store = await openStore(config.storeUrl, { ports, log });
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
