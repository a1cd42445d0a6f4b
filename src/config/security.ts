import { TransporterError } from "../kit/mod.ts";
import { agentUrl } from "./address.ts";
import { isLoopbackHost } from "./host.ts";
import type { Places } from "./places.ts";
import { contradiction } from "./queue.ts";
import { type Origin, type Resolved, describeOrigin } from "./resolve.ts";
import {
  type ListenAddress,
  type NamedSecret,
  type PeoplesRole,
  SECURITY_SETTINGS,
  bareHost,
  hostPortOf,
  portOf,
  roleOf,
  secretOf,
} from "./security-settings.ts";
import type { Setting } from "./setting.ts";
import type { TrustedClusterConfig } from "./trusted-cluster.ts";

/** How it is secured. Durations in milliseconds; as `createSecurity` wants it. */
export interface SecurityConfig {
  readonly trust: {
    readonly directory?: string;
    readonly caFile?: string;
    readonly caKeyFile?: string;
    readonly certFile?: string;
    readonly keyFile?: string;
    readonly crlFile?: string;
    readonly clientCaFile?: string;
  };
  /** What stands in the directory's place; then that is where a copy is kept, if anywhere. */
  readonly secret?: NamedSecret | undefined;
  readonly copyDirectory?: string | undefined;
  readonly serverNames: readonly string[];
  readonly certificateTtlMs: number;
  readonly renewalGraceMs: number;
  readonly approveByHand: boolean;
  /** wss. */
  readonly agentUrls: readonly string[];
  readonly adminTokenFile?: string;
  readonly oidc?: {
    readonly issuer: string;
    readonly audience: string;
    readonly algorithms: readonly string[];
    readonly jwks?: string;
    readonly usernameClaim: string;
    readonly rolesClaim: string;
    readonly roles: readonly { readonly role: PeoplesRole; readonly value: string }[];
    readonly caFile?: string;
  };
  readonly clusters: readonly TrustedClusterConfig[];
}

/** What is listened on, and to whom. */
export interface ListenersConfig {
  readonly api: ListenAddress;
  readonly tls: { readonly min: "1.3" | "1.2"; readonly byProxy: boolean };
  readonly trustedProxies: readonly string[];
  readonly agentsBehindProxy: boolean;
  readonly agents: ListenAddress | undefined;
  readonly probes: ListenAddress | undefined;
  readonly legacy: (ListenAddress & { readonly agentIds: readonly string[] }) | undefined;
}

type SecurityName = keyof typeof SECURITY_SETTINGS;
type SecurityResolved = Pick<
  Resolved<typeof SECURITY_SETTINGS & { "ws-addr": Setting<string>; "ws-port": Setting<number>; insecure: Setting<boolean> }>,
  "values" | "origins"
>;

/** What means nothing, and would leave open what somebody meant to be closed, where nothing secures the control plane. */
const ONLY_SECURED: readonly SecurityName[] = [
  "tls-name",
  "ca-key-file",
  "tls-cert-file",
  "tls-key-file",
  "crl-file",
  "client-ca-file",
  "tls-min",
  "agent-addr",
  "agent-port",
  "advertise-agents",
  "legacy-addr",
  "legacy-agents",
  "tls-by-proxy",
  "agents-behind-proxy",
  "certificate-ttl",
  "renewal-grace",
  "approve-enrolments",
  "admin-token-file",
  "trust-cluster",
  "oidc-issuer",
];
const OF_OIDC = [
  "oidc-audience",
  "oidc-algorithms",
  "oidc-jwks",
  "oidc-username-claim",
  "oidc-roles-claim",
  "oidc-role",
  "oidc-ca-file",
] as const;

/** The directory that is used where none is named and it holds a CA. */
export function defaultSecurityDirectory(where: Places): string | undefined {
  return where.state === undefined ? undefined : `${where.state}/security`;
}

const isGiven = (origin: Origin): boolean => origin.from !== "default";

function invalid(origin: Origin, message: string, remedy: string): TransporterError {
  return new TransporterError("CONFIG_INVALID", `${describeOrigin(origin)} ${message}`, { remedy });
}

/**
 * Whether the control plane is secured, and how. `found`: the default directory holds a CA. CONFIG_INVALID where settings contradict each
 * other, or mean nothing without a security that nobody set up.
 */
export function securityConfig(resolved: SecurityResolved, where: Places, found: boolean): SecurityConfig | undefined {
  const { values, origins } = resolved;
  const { directory, secret, copyDirectory } = placeOf(resolved, where, found);
  const given = (name: keyof SecurityResolved["origins"]): boolean => isGiven(origins[name]);
  if (directory === undefined && secret === undefined && values["ca-file"] === undefined) {
    const idle = [...ONLY_SECURED, ...OF_OIDC].find(given);
    if (idle === undefined) return undefined;
    throw invalid(
      origins[idle],
      "needs security, and there is none: neither a directory of a CA nor --ca-file",
      "Make one with `transporter cp init`, name it with --security-dir or --security-secret, or give --ca-file with --tls-cert-file and --tls-key-file.",
    );
  }
  if (values.insecure)
    throw contradiction(
      origins.insecure,
      secret !== undefined ? origins["security-secret"] : directory === undefined ? origins["ca-file"] : origins["security-dir"],
      `either this control plane is secured${directory === undefined ? "" : ` by ${directory}`}, or it is open to everybody; --security-dir none leaves what is there aside`,
    );
  const hasPlace = directory !== undefined || secret !== undefined;
  checkFiles(resolved, hasPlace);
  const roles = values["oidc-role"].flatMap((pair) => roleOf(pair) ?? []);
  return {
    trust: {
      ...(directory === undefined ? {} : { directory }),
      ...(values["ca-file"] === undefined ? {} : { caFile: values["ca-file"] }),
      ...(values["ca-key-file"] === undefined ? {} : { caKeyFile: values["ca-key-file"] }),
      ...(values["tls-cert-file"] === undefined ? {} : { certFile: values["tls-cert-file"] }),
      ...(values["tls-key-file"] === undefined ? {} : { keyFile: values["tls-key-file"] }),
      ...(values["crl-file"] === undefined ? {} : { crlFile: values["crl-file"] }),
      ...(values["client-ca-file"] === undefined ? {} : { clientCaFile: values["client-ca-file"] }),
    },
    ...(secret === undefined ? {} : { secret, copyDirectory }),
    serverNames: values["tls-name"],
    certificateTtlMs: values["certificate-ttl"],
    renewalGraceMs: values["renewal-grace"],
    approveByHand: values["approve-enrolments"],
    agentUrls: values["advertise-agents"].flatMap((url) => agentUrl(url) ?? []),
    ...(values["admin-token-file"] === undefined ? {} : { adminTokenFile: values["admin-token-file"] }),
    ...oidcOf(resolved, roles),
    clusters: values["trust-cluster"],
  };
}

function placeOf(
  resolved: SecurityResolved,
  where: Places,
  found: boolean,
): Pick<SecurityConfig, "secret" | "copyDirectory"> & { readonly directory?: string | undefined } {
  const { values, origins } = resolved;
  const named = values["security-dir"];
  const secret = secretOf(values["security-secret"] ?? "");
  if (secret === undefined) {
    const idle = (["kubeconfig", "kube-context"] as const).find((name) => origins[name].from === "flag");
    if (idle !== undefined)
      throw invalid(origins[idle], "means nothing without --security-secret", "Give --security-secret [NAMESPACE/]NAME, or leave it out.");
    return { directory: directoryOf(resolved, where, found), secret, copyDirectory: undefined };
  }
  if (values["ca-file"] !== undefined) throw contradiction(origins["security-secret"], origins["ca-file"], "each says where the CA is");
  if (named === "none") throw contradiction(origins["security-dir"], origins["security-secret"], "`none` is to be without security");
  return { secret, copyDirectory: named };
}

function directoryOf({ values, origins }: SecurityResolved, where: Places, found: boolean): string | undefined {
  const named = values["security-dir"];
  if (named === "none") {
    if (values["ca-file"] === undefined) return undefined;
    throw contradiction(origins["security-dir"], origins["ca-file"], "`none` is to be without security");
  }
  // With a CA of its own, what lies in the default place belongs to another installation.
  if (named !== undefined || values["ca-file"] !== undefined) return named;
  return found ? defaultSecurityDirectory(where) : undefined;
}

function checkFiles({ values, origins }: SecurityResolved, hasPlace: boolean): void {
  const both = (first: "tls-cert-file" | "tls-key-file", second: "tls-cert-file" | "tls-key-file"): void => {
    if (values[first] !== undefined && values[second] === undefined)
      throw invalid(origins[first], `needs --${second}: a certificate and its key go together`, `Give --${second} FILE.`);
  };
  both("tls-cert-file", "tls-key-file");
  both("tls-key-file", "tls-cert-file");
  if (values["ca-key-file"] !== undefined && values["ca-file"] === undefined)
    throw invalid(origins["ca-key-file"], "needs --ca-file: whose key it is", "Give --ca-file FILE.");
  if (hasPlace) return;
  const needsTls = !(values["tls-by-proxy"] && values["agents-behind-proxy"]);
  if (needsTls && values["tls-cert-file"] === undefined)
    throw invalid(
      origins["ca-file"],
      "needs --tls-cert-file and --tls-key-file: this control plane has to show a certificate itself",
      "Give both, or --security-dir DIR with server.crt and server.key in it.",
    );
  const issues = (["approve-enrolments", "trust-cluster"] as const).find((name) => isGiven(origins[name]));
  if (values["ca-key-file"] === undefined && issues !== undefined)
    throw invalid(
      origins[issues],
      "means nothing without --ca-key-file: this control plane issues no certificates",
      "Give --ca-key-file FILE, or leave it out: agents then have their certificates from elsewhere.",
    );
}

function oidcOf({ values, origins }: SecurityResolved, roles: NonNullable<SecurityConfig["oidc"]>["roles"]): Pick<SecurityConfig, "oidc"> {
  const issuer = values["oidc-issuer"];
  if (issuer === undefined) {
    const idle = OF_OIDC.find((name) => isGiven(origins[name]));
    if (idle === undefined) return {};
    throw invalid(origins[idle], "needs --oidc-issuer: whose tokens are meant", "Give --oidc-issuer URL.");
  }
  const audience = values["oidc-audience"];
  if (audience === undefined)
    throw invalid(
      origins["oidc-issuer"],
      "needs --oidc-audience: else any token of that issuer would do, whomever it was made for",
      "Give --oidc-audience with what the tokens for this control plane say in `aud`.",
    );
  if (roles.length === 0)
    throw invalid(
      origins["oidc-issuer"],
      "needs --oidc-role: else nobody of that issuer may do anything",
      "Give --oidc-role ROLE=VALUE, such as operator=platform-team.",
    );
  return {
    oidc: {
      issuer,
      audience,
      algorithms: values["oidc-algorithms"],
      ...(values["oidc-jwks"] === undefined ? {} : { jwks: values["oidc-jwks"] }),
      usernameClaim: values["oidc-username-claim"],
      rolesClaim: values["oidc-roles-claim"],
      roles,
      ...(values["oidc-ca-file"] === undefined ? {} : { caFile: values["oidc-ca-file"] }),
    },
  };
}

const PROBE_PORT = 9090;
const EVERYWHERE = "0.0.0.0";

/**
 * What is listened on. CONFIG_INVALID where two want one port or a proxy is trusted that nobody named, INSECURE_REFUSED where an open
 * control plane would be reached from other machines without anybody having said so.
 */
export function listenersConfig({ values, origins }: SecurityResolved, security: SecurityConfig | undefined): ListenersConfig {
  const secured = security !== undefined;
  const apiHost = secured && origins["ws-addr"].from === "default" ? EVERYWHERE : bareHost(values["ws-addr"]);
  if (!secured && !isLoopbackHost(apiHost) && !values.insecure)
    throw new TransporterError(
      "INSECURE_REFUSED",
      `${describeOrigin(origins["ws-addr"])}: listening on ${apiHost} would let anybody who reaches it change every cluster`,
      { remedy: "Secure it with `transporter cp init`; --insecure opens it all the same." },
    );
  if (values["tls-by-proxy"] && values["trusted-proxies"].length === 0)
    throw invalid(
      origins["tls-by-proxy"],
      "needs --trusted-proxies: whoever else reaches the listener would read and change what goes over it",
      "Give --trusted-proxies with the proxy's address, such as 10.0.0.7.",
    );
  const legacy = legacyOf({ values, origins });
  const probePort = values["probe-port"] === undefined ? (secured ? PROBE_PORT : undefined) : portOf(values["probe-port"]);
  if (probePort === undefined && isGiven(origins["probe-addr"]))
    throw invalid(origins["probe-addr"], "means nothing without a port for probes", "Give --probe-port PORT, or leave the address out.");
  const listeners: ListenersConfig = {
    api: { host: apiHost, port: values["ws-port"] },
    tls: { min: values["tls-min"], byProxy: values["tls-by-proxy"] },
    trustedProxies: values["trusted-proxies"],
    agentsBehindProxy: values["agents-behind-proxy"],
    // Behind a proxy that ends TLS for all there may be no certificate to show here.
    agents:
      security?.trust.directory !== undefined || security?.secret !== undefined || security?.trust.certFile !== undefined
        ? { host: bareHost(values["agent-addr"] ?? apiHost), port: values["agent-port"] }
        : undefined,
    probes: probePort === undefined ? undefined : { host: bareHost(values["probe-addr"] ?? apiHost), port: probePort },
    legacy,
  };
  const taken = new Map<number, string>();
  for (const [flag, address] of [
    ["--ws-port", listeners.api],
    ["--agent-port", listeners.agents],
    ["--probe-port", listeners.probes],
    ["--legacy-addr", listeners.legacy],
  ] as const) {
    if (address === undefined || address.port === 0) continue;
    const other = taken.get(address.port);
    if (other !== undefined)
      throw new TransporterError("CONFIG_INVALID", `${other} and ${flag} both say port ${address.port}`, {
        remedy: "Each listener needs a port of its own; the agents' and the API's do not speak the same.",
      });
    taken.set(address.port, flag);
  }
  return listeners;
}

function legacyOf({ values, origins }: SecurityResolved): ListenersConfig["legacy"] {
  const address = values["legacy-addr"] === undefined ? undefined : hostPortOf(values["legacy-addr"]);
  const agentIds = values["legacy-agents"];
  if (address === undefined) {
    if (agentIds.length === 0) return undefined;
    throw invalid(origins["legacy-agents"], "needs --legacy-addr: where agents of 0.1 may come", "Give --legacy-addr HOST:PORT.");
  }
  if (agentIds.length === 0)
    throw invalid(
      origins["legacy-addr"],
      "needs --legacy-agents: nobody there says who they are, so only agents that are named are let in",
      "Give --legacy-agents ID,ID.",
    );
  return { ...address, agentIds };
}
