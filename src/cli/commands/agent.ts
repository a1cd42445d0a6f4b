import { hostname } from "node:os";
import { AGENT_SETTINGS, agentConfig } from "../../config/mod.ts";
import { VERSION } from "../build-info.ts";
import { clusterAccess } from "../cluster-source.ts";
import { command } from "../command.ts";
import { refuseEnvironment, runService, serviceLog } from "../service.ts";

export const agent = command({
  summary: "Run the agent of one cluster",
  description:
    "Dials out to the control plane, carries out the events it is given, and tells how they go. It reconnects for ever, and takes up after a restart what it had accepted.",
  settings: AGENT_SETTINGS,
  ownSignals: true,
  examples: [
    "transporter agent --agent-id agent-1 --cp-url ws://localhost:8080/ws --kubeconfig ~/.kube/config --context kind-dev",
    "transporter agent --agent-id agent-1 --cp-url wss://cp.example.com/ws --ca-file ca.pem --in-cluster",
    "transporter agent --agent-id agent-1 --cp-url wss://cp-1.example.com/ws,wss://cp-2.example.com/ws --in-cluster",
    "transporter agent --agent-id agent-1 --read-only",
  ],
  run: async (call) => {
    const { host, ports } = call;
    const config = agentConfig(call, call.places);
    refuseEnvironment(host.env, config.insecure);
    const logging = serviceLog(host, ports, { debug: config.debug, format: config.logFormat });
    const { log } = logging;
    for (const warning of config.warnings) log.warn(warning);
    if (config.insecure) log.warn("The control plane's certificate is not checked", { cp_urls: config.cpUrls });
    return runService(host, ports, logging, async () => {
      const [{ startAgent }, { readCaFile }] = await Promise.all([import("../../agent/mod.ts"), import("../../net/mod.ts")]);
      const caPem = config.caFile === undefined ? undefined : await readCaFile(config.caFile);
      return startAgent({
        id: config.id,
        name: config.name,
        clusterName: config.clusterName,
        clusterProvider: config.clusterProvider,
        region: config.region,
        namespace: config.namespace,
        labels: config.labels,
        version: VERSION,
        hostname: hostname(),
        cpUrls: config.cpUrls,
        ...(caPem === undefined ? {} : { caPem }),
        insecureTls: config.insecure,
        proxyEnv: host.env,
        heartbeatIntervalMs: config.heartbeatIntervalMs,
        stateDir: config.stateDir,
        readOnly: config.readOnly,
        maxConcurrent: config.maxConcurrent,
        cluster: { access: clusterAccess(config, host.env) },
        ports,
        log,
      });
    });
  },
});
