import { TransporterError } from "../kit/mod.ts";
import { idProblem } from "../protocol/mod.ts";
import { agentUrl, type ControlPlaneAddresses, controlPlaneAddresses } from "./address.ts";
import { CA_HASH, COMMON_SETTINGS, LOG_SETTINGS } from "./common.ts";
import type { Places } from "./places.ts";
import { type Resolved, describeOrigin } from "./resolve.ts";
import { durationOr, integerOr, listOr, pairs, text, textOr, toggle, type ValuesOf } from "./setting.ts";

export const AGENT_SETTINGS = {
  "agent-id": text({
    describe: "Id of this agent; events name it as their target (required)",
    hint: "ID",
    check: (id) => (id.trim() === "" || idProblem(id) !== undefined ? "1 to 253 characters, none of them a control character" : undefined),
  }),
  "agent-name": text({ describe: "Name for people; the id when not given", hint: "NAME" }),
  "cluster-name": textOr("default", { describe: "Name of the cluster it works on", hint: "NAME" }),
  "cluster-provider": textOr("kind", { describe: "Who provides the cluster", hint: "NAME" }),
  region: textOr("local", { describe: "Region of the cluster", hint: "NAME" }),
  namespace: textOr("default", { describe: "Namespace the agent runs in, for the record", hint: "NAME" }),
  label: pairs({ describe: "Label of the agent; repeatable", key: "labels" }),
  "cp-url": listOr(["ws://localhost:8080/ws"], {
    describe:
      "Control plane to connect to (ws, wss, http or https); several, separated by commas or by repeating the flag, are tried in turn",
    hint: "URL",
  }),
  "ca-file": text({ describe: "PEM file of the CA that signed the control plane's certificate", hint: "FILE", completes: "file" }),
  "ca-hash": text({
    describe: "Hash of the control plane's CA, as `transporter cp init` prints it: the first contact cannot be caught then",
    hint: "sha256:HEX",
    check: (hash) => (CA_HASH.test(hash) ? undefined : "sha256: and 64 hex digits"),
  }),
  "enrolment-token-file": text({
    describe:
      "File that holds the token that lets the agent in the first time, or its ServiceAccount's; also by TRANSPORTER_ENROLMENT_TOKEN itself, never as an argument",
    hint: "FILE",
    completes: "file",
  }),
  "identity-dir": text({
    describe: "Directory of the agent's key and certificate; without it `identity` in its state directory",
    hint: "DIR",
    completes: "dir",
  }),
  "identity-secret": text({
    describe: "Keep key and certificate in this Secret of the cluster instead",
    hint: "NAMESPACE/NAME",
    check: (name) => (SECRET.test(name) ? undefined : "NAMESPACE/NAME of a Secret"),
  }),
  insecure: toggle(false, { describe: "Do not check the control plane's certificate, and connect without TLS too", key: "agent-insecure" }),
  kubeconfig: text({ describe: "Kubeconfig of the cluster; without it KUBECONFIG or ~/.kube/config", hint: "FILE", completes: "file" }),
  context: text({
    describe: "Context of the kubeconfig; its current one when not given",
    hint: "NAME",
    key: "kube-context",
    aliases: ["kube-context"],
  }),
  "in-cluster": toggle(false, { describe: "Use the service account of the pod it runs in" }),
  "heartbeat-interval": durationOr(10_000, { describe: "Time between heartbeats", min: 100, max: 600_000 }),
  "state-dir": text({
    describe: "Directory of the ledger; without it one per agent in the state directory",
    hint: "DIR",
    completes: "dir",
  }),
  "health-file": text({
    describe: "What `transporter healthcheck agent` reads; without it `health.json` in the state directory",
    hint: "FILE",
    completes: "file",
  }),
  "read-only": toggle(false, { describe: "Report what would be done and change nothing" }),
  "require-impersonation": toggle(false, {
    describe: "Do nothing as itself: an event says with service_account or impersonate who is to do it, or is refused; scripts are too",
  }),
  "max-concurrent": integerOr(4, { describe: "Events carried out at the same time", min: 1, max: 256 }),
  ...LOG_SETTINGS,
  ...COMMON_SETTINGS,
} as const;

/** How an agent is to run. Durations in milliseconds. */
export interface AgentConfig {
  readonly id: string;
  readonly name: string;
  readonly clusterName: string;
  readonly clusterProvider: string;
  readonly region: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  /** ws or wss; at least one, each once. */
  readonly cpUrls: readonly [string, ...string[]];
  /** The same, as they matter to an agent that has or wants an identity. */
  readonly addresses: ControlPlaneAddresses;
  readonly caFile: string | undefined;
  /** `sha256:` and 64 hex digits in lower case. */
  readonly caHash: string | undefined;
  readonly enrolmentTokenFile: string | undefined;
  readonly identityHome: { readonly directory: string } | { readonly secret: { readonly namespace: string; readonly name: string } };
  readonly insecure: boolean;
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  readonly inCluster: boolean;
  readonly heartbeatIntervalMs: number;
  readonly stateDir: string;
  readonly healthFile: string;
  readonly readOnly: boolean;
  readonly requireImpersonation: boolean;
  readonly maxConcurrent: number;
  readonly debug: boolean;
  readonly logFormat: "text" | "json" | undefined;
  readonly warnings: readonly string[];
}

const SECRET = /^([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\/([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)$/;

/** An id as one path segment: two ids never share a directory, and none leaves it. */
function segment(id: string): string {
  return encodeURIComponent(id)
    .replaceAll("*", "%2A")
    .replace(/^\.+$/, (dots) => dots.replaceAll(".", "%2E"));
}

function stateDirectory(named: string | undefined, id: string, where: Places): string | undefined {
  return named ?? (where.state === undefined ? undefined : `${where.state}/agents/${segment(id)}`);
}

function healthFileIn(stateDir: string): string {
  return `${stateDir}/health.json`;
}

/** Of an agent's settings those that say where its health file is. */
export const HEALTH_FILE_SETTINGS = {
  "agent-id": AGENT_SETTINGS["agent-id"],
  "state-dir": AGENT_SETTINGS["state-dir"],
  "health-file": AGENT_SETTINGS["health-file"],
} as const;

/** Where an agent with these settings writes how it is. Throws CONFIG_INVALID where they do not say. */
export function healthFileOf(values: ValuesOf<typeof HEALTH_FILE_SETTINGS>, where: Places): string {
  if (values["health-file"] !== undefined) return values["health-file"];
  const id = values["agent-id"];
  const stateDir = values["state-dir"] ?? (id === undefined ? undefined : stateDirectory(undefined, id, where));
  if (stateDir !== undefined) return healthFileIn(stateDir);
  throw new TransporterError("CONFIG_INVALID", "nothing says where the agent's health file is", {
    remedy: "Give --health-file FILE, --state-dir DIR or --agent-id ID as the agent has it, or the variables of these names.",
  });
}

function controlPlanes(texts: readonly string[], origin: string): readonly [string, ...string[]] {
  const urls = texts.map((text) => {
    const url = agentUrl(text);
    if (url !== undefined) return url;
    throw new TransporterError(
      "CONFIG_INVALID",
      `${origin}: ${JSON.stringify(text)} cannot be used; allowed: a ws://, wss://, http:// or https:// URL without user, query or fragment`,
    );
  });
  const [first, ...others] = new Set(urls);
  if (first === undefined) throw new TransporterError("CONFIG_INVALID", `${origin}: no control plane is named`);
  return [first, ...others];
}

/** Turns resolved settings into what the agent is started with. Throws CONFIG_INVALID. */
export function agentConfig({ values, origins, warnings }: Resolved<typeof AGENT_SETTINGS>, where: Places): AgentConfig {
  const id = values["agent-id"];
  if (id === undefined)
    throw new TransporterError("CONFIG_INVALID", "--agent-id is required: events name the agent by it", {
      remedy: "Give --agent-id ID, TRANSPORTER_AGENT_ID, or agent-id in the configuration file.",
    });
  if (values["in-cluster"] && (values.kubeconfig !== undefined || values.context !== undefined)) {
    const other = values.kubeconfig === undefined ? origins.context : origins.kubeconfig;
    throw new TransporterError(
      "CONFIG_INVALID",
      `${describeOrigin(origins["in-cluster"])} and ${describeOrigin(other)} contradict each other: the pod's account has no kubeconfig`,
    );
  }
  const cpUrls = controlPlanes(values["cp-url"], describeOrigin(origins["cp-url"]));
  const stateDir = stateDirectory(values["state-dir"], id, where);
  if (stateDir === undefined)
    throw new TransporterError("CONFIG_INVALID", "there is no place for the ledger: neither HOME nor XDG_STATE_HOME is set", {
      remedy: "Give --state-dir DIR.",
    });
  const [, namespace, name] = SECRET.exec(values["identity-secret"] ?? "") ?? [];
  if (name !== undefined && values["identity-dir"] !== undefined)
    throw new TransporterError(
      "CONFIG_INVALID",
      `${describeOrigin(origins["identity-secret"])} and ${describeOrigin(origins["identity-dir"])} contradict each other: an identity is kept in one place`,
    );
  return {
    id,
    name: values["agent-name"] ?? id,
    clusterName: values["cluster-name"],
    clusterProvider: values["cluster-provider"],
    region: values.region,
    namespace: values.namespace,
    labels: values.label,
    cpUrls,
    addresses: controlPlaneAddresses(values["cp-url"]),
    caFile: values["ca-file"],
    caHash: values["ca-hash"]?.toLowerCase(),
    enrolmentTokenFile: values["enrolment-token-file"],
    identityHome:
      namespace === undefined || name === undefined
        ? { directory: values["identity-dir"] ?? `${stateDir}/identity` }
        : { secret: { namespace, name } },
    insecure: values.insecure,
    kubeconfig: values.kubeconfig,
    context: values.context,
    inCluster: values["in-cluster"],
    heartbeatIntervalMs: values["heartbeat-interval"],
    stateDir,
    healthFile: values["health-file"] ?? healthFileIn(stateDir),
    readOnly: values["read-only"],
    requireImpersonation: values["require-impersonation"],
    maxConcurrent: values["max-concurrent"],
    debug: values.debug,
    logFormat: values["log-format"],
    warnings,
  };
}
