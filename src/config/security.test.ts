import { describe, expect, test } from "bun:test";
import { CP_SETTINGS, type ControlPlaneConfig, controlPlaneConfig } from "./control-plane.ts";
import { places } from "./places.ts";
import { resolveSettings } from "./resolve.ts";
import { SECURITY_SETTINGS, hostPortOf, isCidr, roleOf } from "./security-settings.ts";
import { readTrustedCluster } from "./trusted-cluster.ts";

const HERE = places({ HOME: "/home/me" });
const CLUSTER = "name=dev;issuer=https://k8s.example.com;subjects=transporter:agent,system:serviceaccount:other:*;agents=dev-*";

/** As flags, each may come several times: `["oidc-role", "admin=a"]`. */
function cp(flags: readonly (readonly [string, string])[], found = false): ControlPlaneConfig {
  const values = new Map<string, { raws: string[]; shown: string }>();
  for (const [name, raw] of flags) {
    const before = values.get(name);
    if (before === undefined) values.set(name, { raws: [raw], shown: `--${name}` });
    else before.raws.push(raw);
  }
  return controlPlaneConfig(resolveSettings(CP_SETTINGS, { flags: values, env: {}, file: undefined }), HERE, { securityFound: found });
}
const DIR = ["security-dir", "/sec"] as const;
const CA = ["ca-file", "/ca.crt"] as const;
const CERT = ["tls-cert-file", "/tls.crt"] as const;
const KEY = ["tls-key-file", "/tls.key"] as const;

describe("with security", () => {
  test("it listens on all addresses, for API, agents and probes", () => {
    const { listeners, security } = cp([DIR]);
    expect(listeners).toEqual({
      api: { host: "0.0.0.0", port: 8080 },
      tls: { min: "1.3", byProxy: false },
      trustedProxies: [],
      agentsBehindProxy: false,
      agents: { host: "0.0.0.0", port: 8443 },
      probes: { host: "0.0.0.0", port: 9090 },
      legacy: undefined,
    });
    expect(security).toEqual({
      trust: { directory: "/sec" },
      serverNames: [],
      certificateTtlMs: 30 * 86_400_000,
      renewalGraceMs: 14 * 86_400_000,
      approveByHand: false,
      agentUrls: [],
      clusters: [],
    });
  });
  test("the default directory counts where it holds a CA, unless another or none is named", () => {
    const home = "/home/me/.local/state/transporter/security";
    expect(cp([]).security).toBeUndefined();
    expect(cp([], true).security?.trust).toEqual({ directory: home });
    expect(cp([DIR], true).security?.trust).toEqual({ directory: "/sec" });
    expect(cp([["security-dir", "none"]], true).security).toBeUndefined();
    expect(cp([["security-dir", "none"]], true).listeners.api.host).toBe("127.0.0.1");
    expect(cp([CA, CERT, KEY], true).security?.trust).toEqual({ caFile: "/ca.crt", certFile: "/tls.crt", keyFile: "/tls.key" });
  });
  test("a Secret stands in the directory's place, which then is for a copy", () => {
    const SECRET = ["security-secret", "ns-1/cp.security"] as const;
    const { security, listeners } = cp([SECRET, ["tls-name", "cp.example.com"]], true);
    expect(security).toMatchObject({ trust: {}, secret: { namespace: "ns-1", name: "cp.security" }, serverNames: ["cp.example.com"] });
    expect(security?.trust.directory).toBeUndefined();
    expect(security?.copyDirectory).toBeUndefined();
    expect([listeners.api.host, listeners.agents?.port]).toEqual(["0.0.0.0", 8443]);
    expect(cp([["security-secret", "own"]]).security?.secret).toEqual({ namespace: undefined, name: "own" });
    expect(cp([SECRET, DIR], true).security).toMatchObject({ trust: {}, copyDirectory: "/sec" });
    expect(cp([SECRET, CERT, KEY]).security?.trust).toEqual({ certFile: "/tls.crt", keyFile: "/tls.key" });
    expect(cp([SECRET, ["approve-enrolments", "true"]]).security?.approveByHand).toBe(true);
    for (const name of ["a/b/c", "Upper/x", "ns/", "/x", "a b"]) expect(() => cp([["security-secret", name]])).toThrow("[NAMESPACE/]NAME");
  });
  test("two places for one CA are refused, and a cluster that nothing lies in", () => {
    const SECRET = ["security-secret", "ns-1/cp"] as const;
    expect(() => cp([SECRET, CA])).toThrow("each says where the CA is");
    expect(() => cp([SECRET, ["security-dir", "none"]])).toThrow("without security");
    expect(() => cp([SECRET, ["insecure", "true"]])).toThrow("--security-secret");
    for (const name of ["kubeconfig", "kube-context"]) {
      expect(() => cp([DIR, [name, "x"]])).toThrow("means nothing without --security-secret");
      expect(cp([SECRET, [name, "x"]]).security).toBeDefined();
    }
    expect(() => cp([["tls-name", "cp.example.com"]])).toThrow("needs security");
  });
  test("addresses and ports are as they are given", () => {
    const { listeners } = cp([
      DIR,
      ["ws-addr", "10.0.0.5"],
      ["ws-port", "443"],
      ["agent-addr", "[::]"],
      ["agent-port", "0"],
      ["probe-addr", "127.0.0.1"],
      ["probe-port", "0"],
      ["legacy-addr", "[::1]:8081"],
      ["legacy-agents", "a,b"],
      ["tls-min", "1.2"],
    ]);
    expect(listeners).toMatchObject({
      api: { host: "10.0.0.5", port: 443 },
      tls: { min: "1.2", byProxy: false },
      agents: { host: "::", port: 0 },
      probes: { host: "127.0.0.1", port: 0 },
      legacy: { host: "::1", port: 8081, agentIds: ["a", "b"] },
    });
    expect(cp([DIR, ["probe-port", "none"]]).listeners.probes).toBeUndefined();
    expect(cp([["probe-port", "9091"]]).listeners.probes).toEqual({ host: "127.0.0.1", port: 9091 });
  });
  test("agents that would look at the wrong port are a warning", () => {
    expect(cp([DIR]).warnings).toEqual([]);
    expect(cp([DIR, ["agent-port", "9443"]]).warnings).toEqual([expect.stringContaining("agents are not told of port 9443, and try 8443")]);
    expect(cp([DIR, ["agent-port", "9443"], ["advertise-agents", "wss://h:9443/ws"]]).warnings).toEqual([]);
  });
  test("behind a proxy that ends all TLS there may be nothing to show, and no listener for agents", () => {
    const proxied = [
      ["tls-by-proxy", "true"],
      ["agents-behind-proxy", "true"],
      ["trusted-proxies", "10.0.0.0/8,fd00::1"],
    ] as const;
    expect(cp([CA, ...proxied]).listeners).toMatchObject({
      agents: undefined,
      tls: { byProxy: true },
      agentsBehindProxy: true,
      trustedProxies: ["10.0.0.0/8", "fd00::1"],
    });
    expect(cp([CA, CERT, KEY, ...proxied]).listeners.agents?.port).toBe(8443);
  });
  test("OIDC, clusters and where agents connect", () => {
    const { security } = cp([
      DIR,
      ["advertise-agents", "https://cp.example.com:8443"],
      ["oidc-issuer", "https://id.example.com"],
      ["oidc-audience", "transporter"],
      ["oidc-role", "admin=ops"],
      ["oidc-role", "viewer=all=staff"],
      ["trust-cluster", CLUSTER],
    ]);
    expect(security).toMatchObject({
      agentUrls: ["wss://cp.example.com:8443/ws"],
      oidc: {
        issuer: "https://id.example.com",
        audience: "transporter",
        algorithms: ["RS256", "ES256"],
        usernameClaim: "sub",
        rolesClaim: "groups",
        roles: [
          { role: "admin", value: "ops" },
          { role: "viewer", value: "all=staff" },
        ],
      },
      clusters: [
        {
          name: "dev",
          issuer: "https://k8s.example.com",
          audience: "transporter",
          subjects: ["system:serviceaccount:transporter:agent", "system:serviceaccount:other:*"],
          agents: "dev-*",
        },
      ],
    });
  });
});

test.each<readonly [string, readonly (readonly [string, string])[], string]>([
  ["security that is not there", [["oidc-issuer", "https://x"]], "flag --oidc-issuer needs security, and there is none"],
  ["a mapping without security", [["oidc-role", "admin=x"]], "flag --oidc-role needs security"],
  ["0.1 without security", [["legacy-addr", "127.0.0.1:1"]], "flag --legacy-addr needs security"],
  ["a port for agents without security", [["agent-port", "8443"]], "flag --agent-port needs security"],
  ["to be open and secured", [DIR, ["insecure", "true"]], "flag --insecure and flag --security-dir contradict"],
  ["a directory and none", [["security-dir", "none"], CA], "flag --security-dir and flag --ca-file contradict"],
  ["a certificate without its key", [CA, CERT], "needs --tls-key-file"],
  ["a key without its certificate", [CA, KEY], "needs --tls-cert-file"],
  ["a CA and nothing to show", [CA], "flag --ca-file needs --tls-cert-file"],
  ["a CA's key without the CA", [DIR, ["ca-key-file", "/k"]], "needs --ca-file"],
  ["approval of what is not issued", [CA, CERT, KEY, ["approve-enrolments", "true"]], "means nothing without --ca-key-file"],
  ["a cluster for what is not issued", [CA, CERT, KEY, ["trust-cluster", CLUSTER]], "means nothing without --ca-key-file"],
  ["an issuer without audience", [DIR, ["oidc-issuer", "https://x"], ["oidc-role", "admin=x"]], "needs --oidc-audience"],
  ["an issuer without roles", [DIR, ["oidc-issuer", "https://x"], ["oidc-audience", "a"]], "needs --oidc-role"],
  ["roles without issuer", [DIR, ["oidc-role", "admin=x"]], "needs --oidc-issuer"],
  ["shared secrets", [DIR, ["oidc-algorithms", "HS256"]], "shared secrets and none are not"],
  ["a role that is none", [DIR, ["oidc-role", "root=x"]], "ROLE=VALUE"],
  ["the role of agents", [DIR, ["oidc-role", "agent=x"]], "ROLE=VALUE"],
  ["a proxy that nobody named", [DIR, ["tls-by-proxy", "true"]], "needs --trusted-proxies"],
  ["0.1 for nobody", [DIR, ["legacy-addr", "127.0.0.1:1"]], "needs --legacy-agents"],
  ["0.1 nowhere", [DIR, ["legacy-agents", "a"]], "needs --legacy-addr"],
  ["one port for two", [DIR, ["agent-port", "8080"]], "--ws-port and --agent-port both say port 8080"],
  [
    "one port for probes and 0.1",
    [DIR, ["legacy-addr", "h:9090"], ["legacy-agents", "a"]],
    "--probe-port and --legacy-addr both say port 9090",
  ],
  ["an address for no probes", [DIR, ["probe-port", "none"], ["probe-addr", "127.0.0.1"]], "means nothing without a port"],
  ["agents over plain ws", [DIR, ["advertise-agents", "ws://h/ws"]], "wss:// or https://"],
  ["a certificate of seconds", [DIR, ["certificate-ttl", "30s"]], "a duration from 1m"],
  ["a cluster that lacks its issuer", [DIR, ["trust-cluster", "name=a;subjects=b:c;agents=*"]], "issuer is missing"],
  ["a cluster twice", [DIR, ["trust-cluster", CLUSTER], ["trust-cluster", CLUSTER]], "dev is there twice"],
])("refuses %s", (_what, flags, words) => {
  expect(() => cp(flags)).toThrow(words);
});

test("the CA that was found in the default place is not left aside by --insecure alone", () => {
  expect(() => cp([["insecure", "true"]], true)).toThrow("contradict each other");
  expect(
    cp(
      [
        ["insecure", "true"],
        ["security-dir", "none"],
        ["ws-addr", "0.0.0.0"],
      ],
      true,
    ).security,
  ).toBeUndefined();
});

test("one setting each means nothing, or worse, without security, and is refused there", () => {
  const harmless = new Set([
    "security-dir",
    "security-secret",
    "kubeconfig",
    "kube-context",
    "ca-file",
    "probe-addr",
    "probe-port",
    "trusted-proxies",
  ]);
  const sample: Readonly<Record<string, string>> = {
    "tls-min": "1.2",
    "agent-port": "1",
    "advertise-agents": "wss://h/ws",
    "legacy-addr": "h:1",
    "tls-by-proxy": "true",
    "agents-behind-proxy": "true",
    "certificate-ttl": "1h",
    "renewal-grace": "1h",
    "approve-enrolments": "true",
    "trust-cluster": CLUSTER,
    "oidc-issuer": "https://x",
    "oidc-algorithms": "ES256",
    "oidc-role": "admin=x",
  };
  for (const name of Object.keys(SECURITY_SETTINGS))
    if (!harmless.has(name)) expect(() => cp([[name, sample[name] ?? "x"]])).toThrow(`flag --${name} needs security`);
});

test("what a cluster is given as", () => {
  expect(readTrustedCluster({ name: "a", issuer: "https://i", subjects: ["n:s", "n:t"], agents: "a-*", jwks: "/keys.json" })).toEqual({
    name: "a",
    issuer: "https://i",
    audience: "transporter",
    jwks: "/keys.json",
    subjects: ["system:serviceaccount:n:s", "system:serviceaccount:n:t"],
    agents: "a-*",
  });
  expect(readTrustedCluster(`${CLUSTER};ca=/ca.pem;audience=other`)).toMatchObject({ caFile: "/ca.pem", audience: "other" });
  for (const bad of [
    7,
    null,
    [],
    { name: {} },
    "name",
    `${CLUSTER};name=b`,
    `${CLUSTER};isuer=x`,
    "name=a;issuer=i;subjects=n;agents=a",
    "name=a;issuer=i;subjects=,;agents=a",
  ])
    expect(typeof readTrustedCluster(bad)).toBe("string");
  expect(readTrustedCluster("name=a;isuer=b")).toContain("Did you mean issuer?");
});

test("forms of addresses", () => {
  for (const good of ["10.0.0.0/8", "10.1.2.3", "::1", "fd00::/8", "0.0.0.0/0", "::/0"]) expect(isCidr(good)).toBe(true);
  for (const bad of ["10.0.0.0/33", "fd00::/129", "10.0.0/8", "host", "10.0.0.0/8/8", "10.0.0.0/", "", "10.0.0.0/-1"])
    expect(isCidr(bad)).toBe(false);
  expect(hostPortOf("0.0.0.0:0")).toEqual({ host: "0.0.0.0", port: 0 });
  for (const bad of ["8081", ":8081", "h:", "h:65536", "::1:80", "h:8 0"]) expect(hostPortOf(bad)).toBeUndefined();
  for (const bad of ["admin", "=x", "admin=", "agent=x"]) expect(roleOf(bad)).toBeUndefined();
});
