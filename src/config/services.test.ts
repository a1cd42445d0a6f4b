import { describe, expect, test } from "bun:test";
import { AGENT_SETTINGS, agentConfig } from "./agent.ts";
import { agentUrl, apiUrl } from "./address.ts";
import { CP_SETTINGS, controlPlaneConfig } from "./control-plane.ts";
import { isLoopbackHost } from "./host.ts";
import { knownFileKeys, knownVariables, unknownVariableWarnings } from "./known.ts";
import { places } from "./places.ts";
import { resolveSettings } from "./resolve.ts";
import { withoutSecrets } from "./server-url.ts";

const HERE = places({ HOME: "/home/me" });
const cp = (env: Record<string, string> = {}): ReturnType<typeof controlPlaneConfig> =>
  controlPlaneConfig(resolveSettings(CP_SETTINGS, { flags: new Map(), env, file: undefined }), HERE);
const agent = (env: Record<string, string>): ReturnType<typeof agentConfig> =>
  agentConfig(resolveSettings(AGENT_SETTINGS, { flags: new Map(), env, file: undefined }), HERE);

test("the control plane's defaults are the documented ones", () => {
  expect(cp()).toEqual({
    listeners: {
      api: { host: "127.0.0.1", port: 8080 },
      tls: { min: "1.3", byProxy: false },
      trustedProxies: [],
      agentsBehindProxy: false,
      agents: undefined,
      probes: undefined,
      legacy: undefined,
    },
    security: undefined,
    insecure: false,
    storeUrl: "sqlite:/home/me/.local/state/transporter/cp.db",
    storePassword: undefined,
    redisCompatKeys: false,
    queue: undefined,
    outlet: undefined,
    replicaId: undefined,
    advertise: undefined,
    drainMs: undefined,
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
      expect(isLoopbackHost(cp({ TRANSPORTER_WS_ADDR: host }).listeners.api.host)).toBe(true);
  });
  test("an address with a port is not mistaken for a host", () => {
    expect(() => cp({ TRANSPORTER_WS_ADDR: "127.0.0.1:9000" })).toThrow("without a port");
  });
});

describe("the store", () => {
  const store = (env: Record<string, string>): readonly [string, string | undefined] => {
    const { storeUrl, storePassword } = cp(env);
    return [storeUrl, storePassword];
  };
  test("0.1's three settings select Redis, from wherever they come", () => {
    expect(store({ TRANSPORTER_REDIS_ADDR: "redis:6379" })).toEqual(["redis://redis:6379", undefined]);
    expect(store({ TRANSPORTER_REDIS_ADDR: "redis", TRANSPORTER_REDIS_DB: "3", TRANSPORTER_REDIS_PASSWORD: "p@ss/word" })).toEqual([
      "redis://redis:6379/3",
      "p@ss/word",
    ]);
    expect(store({ TRANSPORTER_REDIS_ADDR: "[::1]:6380" })).toEqual(["redis://[::1]:6380", undefined]);
    expect(() => cp({ TRANSPORTER_REDIS_ADDR: "redis://x" })).toThrow("allowed: HOST:PORT");
  });
  test("empty ones, as 0.1's scripts have them, select nothing", () => {
    const flags = new Map([
      ["redis-addr", { raws: [""], shown: "--redis-addr" }],
      ["redis-password", { raws: [""], shown: "--redis-password" }],
    ]);
    const config = controlPlaneConfig(
      resolveSettings(CP_SETTINGS, { flags, env: { TRANSPORTER_STORE: "memory:" }, file: undefined }),
      HERE,
    );
    expect(config).toMatchObject({ storeUrl: "memory:", storePassword: undefined, warnings: [] });
    const redis = controlPlaneConfig(
      resolveSettings(CP_SETTINGS, { flags, env: { TRANSPORTER_STORE: "redis://a" }, file: undefined }),
      HERE,
    );
    expect(redis).toMatchObject({ storeUrl: "redis://a", storePassword: undefined });
  });
  test("a store that says otherwise is a contradiction, with both origins", () => {
    const both = (url: string) => () => cp({ TRANSPORTER_REDIS_ADDR: "redis:6379", TRANSPORTER_STORE: url });
    expect(both("memory:")).toThrow(
      "environment variable TRANSPORTER_STORE and environment variable TRANSPORTER_REDIS_ADDR contradict each other",
    );
    expect(both("redis://:secret@other:6379")).toThrow('either in "redis://other:6379" or in the Redis at redis:6379');
    expect(both("redis://redis/1")()).toMatchObject({ storeUrl: "redis://redis/1" });
  });
  test("what its address leaves out is filled in, what it says stays", () => {
    const env = { TRANSPORTER_REDIS_PASSWORD: "pw", TRANSPORTER_REDIS_DB: "2" };
    expect(store({ ...env, TRANSPORTER_STORE: "rediss://me@a:1?prefix=x" })).toEqual(["rediss://me@a:1/2?prefix=x", "pw"]);
    expect(store({ ...env, TRANSPORTER_STORE: "redis://me:own@a/2" })).toEqual(["redis://me:own@a/2", undefined]);
    expect(store({ ...env, TRANSPORTER_STORE: "redis+sentinel://a:1,b:2/main" })).toEqual(["redis+sentinel://a:1,b:2/main/2", "pw"]);
    expect(() => cp({ ...env, TRANSPORTER_STORE: "redis://a/7" })).toThrow("contradict each other: database 7 or 2");
  });
  test("what is not chosen gets a word, and what nobody knows none of its password back", () => {
    expect(cp({ TRANSPORTER_REDIS_DB: "0", TRANSPORTER_REDIS_COMPAT_KEYS: "true" }).warnings).toEqual([
      "environment variable TRANSPORTER_REDIS_DB has no effect: events are not kept in Redis",
      "environment variable TRANSPORTER_REDIS_COMPAT_KEYS has no effect: nothing selects what it belongs to",
    ]);
    expect(() => cp({ TRANSPORTER_STORE: "postgres://me:secret@db/x" })).toThrow('"postgres://me@db/x" cannot be used');
  });
});

describe("the queue", () => {
  test("0.1's settings name a Memphis, and no other setting of theirs is left over", () => {
    const { queue, warnings } = cp({
      TRANSPORTER_MEMPHIS_ENABLED: "true",
      TRANSPORTER_MEMPHIS_HOST: "broker",
      TRANSPORTER_MEMPHIS_CONNECTION_TOKEN: "token",
      TRANSPORTER_MEMPHIS_ACCOUNT_ID: "7",
    });
    expect(queue).toMatchObject({
      kind: "memphis",
      url: "memphis://root@broker:6666/transporter-events?account=7",
      secrets: { token: "token" },
    });
    expect(warnings).toEqual([]);
    expect(cp({ TRANSPORTER_MEMPHIS_ENABLED: "true" }).queue?.url).toBe("memphis://root@localhost:6666/transporter-events");
    expect(() => cp({ TRANSPORTER_MEMPHIS_ENABLED: "true", TRANSPORTER_MEMPHIS_HOST: "nats://x" })).toThrow("allowed: HOST:PORT");
  });
  test("is named once", () => {
    expect(() => cp({ TRANSPORTER_MEMPHIS_ENABLED: "true", TRANSPORTER_QUEUE: "nats://n" })).toThrow("contradict each other");
    expect(() => cp({ TRANSPORTER_QUEUE: "kafka://me:secret@k" })).toThrow('"kafka://me@k" cannot be used; allowed: memphis://');
    expect(cp({ TRANSPORTER_MEMPHIS_HOST: "broker:6666", TRANSPORTER_MEMPHIS_ENABLED: "false" }).warnings).toHaveLength(1);
  });
  test("takes its secrets beside its address, the store's where both are one Redis", () => {
    const queueOf = (env: Record<string, string>) => cp(env).queue;
    expect(queueOf({ TRANSPORTER_QUEUE: "nats://n/S", TRANSPORTER_QUEUE_TOKEN: "t" })).toMatchObject({
      kind: "nats",
      secrets: { token: "t" },
    });
    expect(queueOf({ TRANSPORTER_QUEUE: "tls://me@n/S", TRANSPORTER_QUEUE_PASSWORD: "p" })?.secrets).toEqual({ password: "p" });
    expect(queueOf({ TRANSPORTER_QUEUE: "memphis://me@m/s", TRANSPORTER_MEMPHIS_PASSWORD: "p" })?.secrets).toEqual({ password: "p" });
    expect(queueOf({ TRANSPORTER_QUEUE: "redis://:own@r/1", TRANSPORTER_QUEUE_PASSWORD: "p" })?.secrets).toEqual({});
    const shared = { TRANSPORTER_STORE: "redis://r:6379/0", TRANSPORTER_REDIS_PASSWORD: "p" };
    expect(queueOf({ ...shared, TRANSPORTER_QUEUE: "redis://r:6379/1" })?.secrets).toEqual({ password: "p" });
    expect(queueOf({ ...shared, TRANSPORTER_QUEUE: "redis://other:6379/1" })?.secrets).toEqual({});
  });
  test("is where statuses are published, unless an address says otherwise", () => {
    expect(cp({ TRANSPORTER_QUEUE: "nats://n/S", TRANSPORTER_PUBLISH: "audit,status" }).outlet).toMatchObject({
      url: "nats://n/S",
      kinds: ["status", "audit"],
    });
    expect(cp({ TRANSPORTER_PUBLISH_TO: "nats://o", TRANSPORTER_PUBLISH_TOKEN: "t" }).outlet).toMatchObject({
      url: "nats://o",
      kinds: ["status", "audit"],
      secrets: { token: "t" },
    });
    expect(() => cp({ TRANSPORTER_PUBLISH: "status" })).toThrow("nothing says where");
    expect(() => cp({ TRANSPORTER_PUBLISH: "states" })).toThrow("allowed: status, audit");
  });
});

test("an address may be shown without what is secret in it", () => {
  for (const [url, shown] of [
    ["redis://a:6379/0", "redis://a:6379/0"],
    ["redis://:p@a", "redis://a"],
    ["redis+sentinel://u:p%40@a:1,b:2/m/0?sentinel-password=x&prefix=y", "redis+sentinel://u@a:1,b:2/m/0?sentinel-password=…&prefix=y"],
    ["redis://a?password-file=/run/secret", "redis://a?password-file=/run/secret"],
    ["nats://token@a", "nats://a"],
    ["memphis://root@a/s", "memphis://root@a/s"],
    ["sqlite:/x", "sqlite:/x"],
  ] as const)
    expect(withoutSecrets(url)).toBe(shown);
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
      cpUrls: ["ws://localhost:8080/ws"],
      stateDir: "/home/me/.local/state/transporter/agents/a%2F1",
      heartbeatIntervalMs: 10_000,
    });
  });
  test("may have several control planes, each checked", () => {
    const urls = (text: string): readonly string[] => agent({ TRANSPORTER_AGENT_ID: "a", TRANSPORTER_CP_URL: text }).cpUrls;
    expect(urls("ws://a/ws, https://b ,ws://a/ws")).toEqual(["ws://a/ws", "wss://b/ws"]);
    expect(() => urls("ws://a,ftp://b")).toThrow('environment variable TRANSPORTER_CP_URL: "ftp://b" cannot be used');
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

test("a home of / or with a slash at its end makes no path of two slashes", () => {
  expect(places({ HOME: "/" })).toMatchObject({ state: "/.local/state/transporter", homeFile: "/.transporter.yaml" });
  expect(places({ HOME: "/home/me/" }).config).toBe("/home/me/.config/transporter");
  expect(places({ HOME: "" })).toEqual({ config: undefined, state: undefined, cache: undefined, homeFile: undefined });
});
