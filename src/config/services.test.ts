import { describe, expect, test } from "bun:test";
import { AGENT_SETTINGS, agentConfig } from "./agent.ts";
import { agentUrl, apiUrl } from "./address.ts";
import { CP_SETTINGS, controlPlaneConfig } from "./control-plane.ts";
import { isLoopbackHost } from "./host.ts";
import { knownFileKeys, knownVariables, unknownVariableWarnings } from "./known.ts";
import { places } from "./places.ts";
import { resolveSettings } from "./resolve.ts";

const HERE = places({ HOME: "/home/me" });
const cp = (env: Record<string, string> = {}): ReturnType<typeof controlPlaneConfig> =>
  controlPlaneConfig(resolveSettings(CP_SETTINGS, { flags: new Map(), env, file: undefined }), HERE);
const agent = (env: Record<string, string>): ReturnType<typeof agentConfig> =>
  agentConfig(resolveSettings(AGENT_SETTINGS, { flags: new Map(), env, file: undefined }), HERE);

test("the control plane's defaults are the documented ones", () => {
  expect(cp()).toEqual({
    host: "127.0.0.1",
    port: 8080,
    insecure: false,
    storeUrl: "sqlite:/home/me/.local/state/transporter/cp.db",
    heartbeatTimeoutMs: 30_000,
    eventRetryMax: 3,
    maxEventBytes: 33_554_432,
    maxInFlight: 16,
    retention: { eventsMs: 7 * 86_400_000, auditMs: 30 * 86_400_000 },
    debug: false,
    logFormat: undefined,
    warnings: [],
  });
});

describe("beyond this machine", () => {
  test("it listens only with --insecure", () => {
    for (const host of ["0.0.0.0", "::", "[::]", "10.1.2.3", "example.com", "127.0.0.1.example.com"]) {
      expect(() => cp({ TRANSPORTER_WS_ADDR: host })).toThrow("would let anybody");
      expect(cp({ TRANSPORTER_WS_ADDR: host, TRANSPORTER_INSECURE: "true" }).insecure).toBe(true);
    }
    for (const host of ["127.0.0.1", "127.8.9.10", "localhost", "::1", "[::1]"])
      expect(isLoopbackHost(cp({ TRANSPORTER_WS_ADDR: host }).host)).toBe(true);
  });
  test("an address with a port is not mistaken for a host", () => {
    expect(() => cp({ TRANSPORTER_WS_ADDR: "127.0.0.1:9000" })).toThrow("without a port");
  });
});

describe("what this version lacks", () => {
  test("is an error where it is selected", () => {
    expect(() => cp({ TRANSPORTER_REDIS_ADDR: "localhost:6379" })).toThrow(
      "environment variable TRANSPORTER_REDIS_ADDR: keeping events in Redis is not available",
    );
    expect(() => cp({ TRANSPORTER_REDIS_ADDR: "localhost:6379", TRANSPORTER_STORE: "memory:" })).toThrow("names another store");
    expect(() => cp({ TRANSPORTER_MEMPHIS_ENABLED: "true" })).toThrow("Memphis is not available");
  });
  test("is accepted with a word where it selects nothing", () => {
    const { warnings } = cp({ TRANSPORTER_MEMPHIS_HOST: "broker:6666", TRANSPORTER_MEMPHIS_ENABLED: "false", TRANSPORTER_REDIS_DB: "0" });
    expect(warnings).toHaveLength(2);
  });
});

describe("the agent", () => {
  test("needs an id and defaults the rest", () => {
    expect(() => agent({})).toThrow("--agent-id is required");
    expect(agent({ TRANSPORTER_AGENT_ID: "a/1" })).toMatchObject({
      id: "a/1",
      name: "a/1",
      clusterName: "default",
      clusterProvider: "kind",
      region: "local",
      cpUrl: "ws://localhost:8080/ws",
      stateDir: "/home/me/.local/state/transporter/agents/a%2F1",
      heartbeatIntervalMs: 10_000,
    });
  });
  test("an id never leaves its directory", () => {
    expect(agent({ TRANSPORTER_AGENT_ID: ".." }).stateDir).toBe("/home/me/.local/state/transporter/agents/%2E%2E");
  });
  test("refuses ids that no wire takes, and two kinds of access at once", () => {
    expect(() => agent({ TRANSPORTER_AGENT_ID: "a\u001b[2J" })).toThrow("allowed: 1 to 253 characters");
    expect(() => agent({ TRANSPORTER_AGENT_ID: "a", TRANSPORTER_IN_CLUSTER: "1", TRANSPORTER_KUBECONFIG: "x" })).toThrow(
      "contradict each other",
    );
    expect(() => agent({ TRANSPORTER_AGENT_ID: "a", TRANSPORTER_CP_URL: "file:///etc/passwd" })).toThrow("allowed: a ws://");
  });
});

test("one address serves agents and people", () => {
  expect(apiUrl("ws://cp:8080/ws")).toBe("http://cp:8080");
  expect(apiUrl("wss://cp.example.com/transporter/ws")).toBe("https://cp.example.com/transporter");
  expect(apiUrl("http://cp:8080/")).toBe("http://cp:8080");
  expect(apiUrl("http://cp:8080/ws")).toBe("http://cp:8080/ws");
  expect(agentUrl("http://cp:8080")).toBe("ws://cp:8080/ws");
  expect(agentUrl("https://cp.example.com/x/")).toBe("wss://cp.example.com/x/ws");
  expect(agentUrl("ws://cp:8080")).toBe("ws://cp:8080/ws");
  expect(agentUrl("ws://cp:8080/custom")).toBe("ws://cp:8080/custom");
  for (const bad of ["", "cp:8080", "ftp://x", "http://user:pw@cp", "http://cp/?a=1", "http://cp/#x", "javascript:alert(1)"]) {
    expect(apiUrl(bad)).toBeUndefined();
    expect(agentUrl(bad)).toBeUndefined();
  }
});

describe("variables that nobody knows", () => {
  test("are warned about, with the likely one", () => {
    expect(unknownVariableWarnings({ TRANSPORTER_CP_ULR: "x", PATH: "/bin", TRANSPORTER_CP_URL: "x" })).toEqual([
      "environment variable TRANSPORTER_CP_ULR is not known and has no effect. Did you mean TRANSPORTER_CP_URL?",
    ]);
  });
  test("Kubernetes' own links are worth one line together", () => {
    const links = {
      TRANSPORTER_CP_PORT: "tcp://10.96.0.7:8080",
      TRANSPORTER_CP_PORT_8080_TCP: "tcp://10.96.0.7:8080",
      TRANSPORTER_CP_PORT_8080_TCP_ADDR: "10.96.0.7",
      TRANSPORTER_CP_SERVICE_HOST: "10.96.0.7",
      TRANSPORTER_CP_SERVICE_PORT: "8080",
      TRANSPORTER_CP_SERVICE_PORT_WEBSOCKET: "8080",
    };
    const warnings = unknownVariableWarnings(links);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("6 TRANSPORTER_* variables are Kubernetes service links");
    // None of them is a name of ours, whatever its value.
    for (const name of Object.keys(links)) expect(knownVariables().has(name)).toBe(false);
  });
});

test("file keys and variables are known for every service", () => {
  for (const key of ["ws-port", "agent-id", "cp-url", "labels", "kube-context", "memphis-connection-token"])
    expect(knownFileKeys().has(key)).toBe(true);
  expect(knownFileKeys().has("config")).toBe(false);
});

test("places follow XDG, and ignore what is not absolute", () => {
  expect(places({ HOME: "/h", XDG_STATE_HOME: "/s", XDG_CONFIG_HOME: "relative" })).toEqual({
    config: "/h/.config/transporter",
    state: "/s/transporter",
    cache: "/h/.cache/transporter",
    homeFile: "/h/.transporter.yaml",
  });
  expect(places({}).state).toBeUndefined();
});
