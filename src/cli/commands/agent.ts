import { hostname } from "node:os";
import { AGENT_SETTINGS, type AgentConfig, agentConfig, ENROLMENT_TOKEN_VARIABLE } from "../../config/mod.ts";
import { messageOf, TransporterError } from "../../kit/mod.ts";
import { keepSecrets } from "../../redaction/mod.ts";
import { VERSION } from "../build-info.ts";
import { clusterAccess } from "../cluster-source.ts";
import { command } from "../command.ts";
import type { Host } from "../host.ts";
import { refuseEnvironment, runService, serviceLog } from "../service.ts";

/**
 * What lets the agent in the first time, read anew each time: the variable, or what the file holds now. A file may be removed once the agent
 * is enrolled. Throws FILE_UNREADABLE.
 */
function enrolmentToken(file: AgentConfig["enrolmentTokenFile"], env: Host["env"]): () => Promise<string | undefined> {
  let kept: { readonly token: string; readonly forget: () => void } | undefined;
  const keep = (token: string): string => {
    if (token === kept?.token) return token;
    const before = kept;
    kept = { token, forget: keepSecrets([token]) };
    before?.forget();
    return token;
  };
  return async () => {
    const given = (env[ENROLMENT_TOKEN_VARIABLE] ?? "").trim();
    if (file === undefined) return given === "" ? undefined : keep(given);
    let text: string;
    try {
      text = await Bun.file(file).text();
    } catch (error) {
      throw new TransporterError("FILE_UNREADABLE", `the enrolment token file ${file} cannot be read: ${messageOf(error)}`, {
        cause: error,
      });
    }
    const token = text.trim();
    if (token === "" || /\s/.test(token))
      throw new TransporterError("FILE_UNREADABLE", `the enrolment token file ${file} does not hold one token`, {
        remedy: "Write into it what `transporter token create --agent ID` shows, and nothing else.",
      });
    return keep(token);
  };
}

export const agent = command({
  summary: "Run the agent of one cluster",
  description:
    "Dials out to the control plane, carries out the events it is given, and tells how they go. It reconnects for ever, and takes up after a restart what it had accepted.\n\nWhere the control plane asks who its agents are, the agent is enrolled once, with a token of `transporter token create`; it keeps its key and certificate, and renews that by itself.",
  settings: AGENT_SETTINGS,
  ownSignals: true,
  examples: [
    "transporter agent --agent-id agent-1 --cp-url ws://localhost:8080/ws --kubeconfig ~/.kube/config --context kind-dev",
    "transporter agent --agent-id agent-1 --cp-url wss://cp.example.com/ws --ca-file ca.pem --in-cluster",
    "transporter agent --agent-id agent-1 --cp-url wss://cp-1.example.com/ws,wss://cp-2.example.com/ws --in-cluster",
    "transporter agent --agent-id agent-1 --cp-url https://cp.example.com:8080 --ca-hash sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "transporter agent --agent-id agent-1 --cp-url https://cp.example.com:8080 --enrolment-token-file token --in-cluster --identity-secret transporter/agent-identity",
    "transporter agent --agent-id agent-1 --read-only",
    "transporter agent --agent-id agent-1 --in-cluster --require-impersonation",
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
        identity: {
          home: config.identityHome,
          ...config.addresses,
          caHash: config.caHash,
          token: enrolmentToken(config.enrolmentTokenFile, host.env),
        },
        proxyEnv: host.env,
        heartbeatIntervalMs: config.heartbeatIntervalMs,
        stateDir: config.stateDir,
        healthFile: config.healthFile,
        readOnly: config.readOnly,
        requireImpersonation: config.requireImpersonation,
        maxConcurrent: config.maxConcurrent,
        cluster: { access: clusterAccess(config, host.env) },
        ports,
        log,
      });
    });
  },
});
