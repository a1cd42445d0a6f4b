import { isIP } from "node:net";
import type { Role } from "../protocol/mod.ts";
import { agentUrl } from "./address.ts";
import { type Setting, choiceOr, durationOr, integerOr, list, listOr, text, textOr, toggle } from "./setting.ts";
import { trustedClusters } from "./trusted-cluster.ts";

const HOUR_MS = 3_600_000;
const YEAR_MS = 8760 * HOUR_MS;
const ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"] as const;

/** The roles that people and programs may have. */
export const PEOPLES_ROLES = ["viewer", "producer", "operator", "admin"] as const satisfies readonly Role[];
export type PeoplesRole = (typeof PEOPLES_ROLES)[number];

/** Why a text cannot be a host to listen on; undefined when it may be. */
export function hostProblem(value: string): string | undefined {
  return /^[\w.:%[\]-]+$/.test(value) && !/^[^:]+:\d+$/.test(value) ? undefined : "a host name or an IP address, without a port";
}

/** Without the brackets that an IPv6 address has before a port. */
export function bareHost(value: string): string {
  return value.replace(/^\[(.*)\]$/, "$1");
}

export function portOf(value: string): number | undefined {
  return /^\d{1,5}$/.test(value) && Number(value) <= 65_535 ? Number(value) : undefined;
}

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** `HOST:PORT`, with an IPv6 address in brackets. */
export function hostPortOf(value: string): ListenAddress | undefined {
  const match = /^(\[[0-9a-f:.%\w]+\]|[\w.-]+):(\d{1,5})$/i.exec(value);
  const port = portOf(match?.[2] ?? "");
  return match === null || port === undefined ? undefined : { host: bareHost(match[1] ?? ""), port };
}

/** One address, or a range of them: `10.0.0.0/8`. */
export function isCidr(value: string): boolean {
  const [address = "", bits, ...more] = value.split("/");
  const family = isIP(address);
  if (family === 0 || more.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
}

/** `ROLE=VALUE`. */
export function roleOf(pair: string): { readonly role: PeoplesRole; readonly value: string } | undefined {
  const at = pair.indexOf("=");
  const role = PEOPLES_ROLES.find((known) => known === pair.slice(0, Math.max(0, at)));
  const value = pair.slice(at + 1);
  return role === undefined || value === "" ? undefined : { role, value };
}

const SECRET = /^(?:([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\/)?([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)$/;

/** A Secret as people name it; without a namespace it is one of where the program runs. */
export interface NamedSecret {
  readonly namespace: string | undefined;
  readonly name: string;
}

/** `[NAMESPACE/]NAME`. */
export function secretOf(text: string): NamedSecret | undefined {
  const [, namespace, name] = SECRET.exec(text) ?? [];
  return name === undefined ? undefined : { namespace, name };
}

const file = (describe: string): Setting<string | undefined> => text({ describe, hint: "FILE", completes: "file" });

/** Who is let in, and where. */
export const SECURITY_SETTINGS = {
  "security-dir": text({
    describe:
      "Directory of the CA, the server certificate and its key, as `transporter cp init` makes it; without it DIR/security in the state directory where that holds a CA. `none`: without security",
    hint: "DIR",
    completes: "dir",
  }),
  "security-secret": text({
    describe:
      "Secret of the cluster that holds the same instead; where it is empty it is filled at the start, the first admin token in `admin-token`. NAMESPACE is the pod's own when not given. With --security-dir a copy is kept there, for starts while the API server cannot be reached",
    hint: "[NAMESPACE/]NAME",
    check: (name) => (secretOf(name) === undefined ? "[NAMESPACE/]NAME of a Secret" : undefined),
  }),
  kubeconfig: text({
    describe: "Kubeconfig of the cluster of that Secret; without it KUBECONFIG or ~/.kube/config, else the pod's account",
    hint: "FILE",
    completes: "file",
  }),
  "kube-context": text({ describe: "Context of that kubeconfig; its current one when not given", hint: "NAME" }),
  "tls-name": list({
    describe:
      "Name or IP address that the server's certificate must have beside localhost; where our own CA issued it and one is missing, it is issued anew at the start",
    hint: "NAME",
    key: "tls-names",
  }),
  "ca-file": text({
    describe: "PEM file of the CA that issues agents' certificates, then others that are trusted; instead of the one in the directory",
    hint: "FILE",
    completes: "file",
    // The same flag tells agents and people what to trust; a machine may have both set.
    key: "cp-ca-file",
  }),
  "ca-key-file": file("PEM file of that CA's key; without one this control plane issues no certificates"),
  "tls-cert-file": file("PEM file of the server's certificate and what leads to its CA"),
  "tls-key-file": file("PEM file of the server certificate's key"),
  "crl-file": file("PEM file of revoked certificates, where another than this control plane issues them"),
  "client-ca-file": file("PEM file of the CAs of people's certificates; never the agents' own CA"),
  "tls-min": choiceOr("1.3", ["1.3", "1.2"], { describe: "Oldest TLS that is spoken" }),
  "agent-addr": text({
    describe: "Address of the listener for agents; that of --ws-addr when not given",
    hint: "HOST",
    check: hostProblem,
  }),
  "agent-port": integerOr(8443, { describe: "Port for agents, when secured; 0 takes a free one", min: 0, max: 65_535 }),
  "advertise-agents": list({
    describe:
      "Where agents connect (wss://HOST:PORT/ws); told to them when they enrol. Without it they connect to the host they enrolled at",
    hint: "URL",
    check: (url) =>
      agentUrl(url)?.startsWith("wss://") === true ? undefined : "wss:// or https:// addresses without user, query or fragment",
  }),
  "probe-addr": text({
    describe: "Address of the listener for probes; that of --ws-addr when not given",
    hint: "HOST",
    check: hostProblem,
  }),
  "probe-port": text({
    describe: "Port for probes and Prometheus, without TLS; 0 takes a free one, `none` opens none; 9090 when secured, else none",
    hint: "PORT",
    check: (port) => (port === "none" || portOf(port) !== undefined ? undefined : "a port from 0 to 65535, or none"),
  }),
  "legacy-addr": text({
    describe: "Listener for agents and producers of 0.1, who do not say who they are; needs --legacy-agents",
    hint: "HOST:PORT",
    check: (address) => (hostPortOf(address) === undefined ? "HOST:PORT, such as 10.0.0.5:8081" : undefined),
  }),
  "legacy-agents": list({ describe: "Ids of the agents that may come by that listener, and for which events may", hint: "ID" }),
  "trusted-proxies": list({
    describe: "Addresses whose X-Forwarded-For and X-Forwarded-Proto are believed, such as 10.0.0.0/8",
    hint: "CIDR",
    check: (range) => (isCidr(range) ? undefined : "IP addresses, or ranges of them such as 10.0.0.0/8 or fd00::/8"),
  }),
  "tls-by-proxy": toggle(false, { describe: "A proxy ends TLS: speak HTTP on the API's listener, to --trusted-proxies only" }),
  "agents-behind-proxy": toggle(false, { describe: "Take agents on the API's listener too, who prove by signature alone who they are" }),
  "certificate-ttl": durationOr(720 * HOUR_MS, { describe: "How long agents' certificates are good", min: 60_000, max: 10 * YEAR_MS }),
  "renewal-grace": durationOr(336 * HOUR_MS, {
    describe: "How long after its end a certificate may still be renewed",
    min: 0,
    max: 10 * YEAR_MS,
  }),
  "approve-enrolments": toggle(false, { describe: "Have each new agent approved by hand: `transporter agents approve`" }),
  "admin-token-file": file("File of an admin token, or of the hashes that `transporter cp init` wrote; taken in at the first start"),
  "trust-cluster": trustedClusters(
    "Kubernetes cluster whose ServiceAccount tokens let agents enrol: name=NAME; issuer=URL; subjects=NAMESPACE:ACCOUNT,…; agents=PATTERN, and where needed jwks=URL|FILE, ca=FILE, audience=AUDIENCE (transporter). Repeatable",
  ),
  "oidc-issuer": text({
    describe: "Take access tokens of this OpenID Connect issuer",
    hint: "URL",
    check: (url) => (URL.canParse(url) && /^https?:/.test(url) ? undefined : "an https:// URL, as the tokens say it in `iss`"),
  }),
  "oidc-audience": text({ describe: "What those tokens must say in `aud`", hint: "AUDIENCE" }),
  "oidc-algorithms": listOr(["RS256", "ES256"], {
    describe: "Signatures that are taken",
    hint: "ALG",
    check: (name) => (ALGORITHMS.some((known) => known === name) ? undefined : `${ALGORITHMS.join(", ")}; shared secrets and none are not`),
  }),
  "oidc-jwks": text({ describe: "Address or file of the issuer's keys; without it the issuer is asked", hint: "URL|FILE" }),
  "oidc-username-claim": textOr("sub", { describe: "Claim that names who it is", hint: "CLAIM" }),
  "oidc-roles-claim": textOr("groups", { describe: "Claim whose values give roles", hint: "CLAIM" }),
  "oidc-role": list({
    describe: "Which value of that claim gives which role, such as operator=platform-team; of several the one that may most. Repeatable",
    hint: "ROLE=VALUE",
    check: (pair) => (roleOf(pair) === undefined ? `ROLE=VALUE, with one of ${PEOPLES_ROLES.join(", ")}` : undefined),
  }),
  "oidc-ca-file": file("PEM file of the CA that signed the issuer's certificate"),
} as const;
