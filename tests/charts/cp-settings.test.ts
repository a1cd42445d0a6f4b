import { describe, expect } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "../../src/cli/argv.ts";
import { type ControlPlaneConfig, controlPlaneConfig, CP_SETTINGS, places, resolveSettings } from "../../src/config/mod.ts";
import { at, chartTest, find, isRecord, type Json, listAt, objects, render } from "./helm-tools.ts";

const VALUES = join(import.meta.dir, "values");
/** In the place of what a Secret holds. */
const SECRET = "of-a-secret-in-this-test";

function controlPlane(rendered: readonly Json[]): unknown {
  return listAt(find(rendered, "Deployment"), "spec", "template", "spec", "containers").find((one) => at(one, "name") === "control-plane");
}

/** As the kubelet makes it of the container's `env`; whatever comes from a Secret is SECRET, an address where the whole store is one. */
function environment(container: unknown): Record<string, string> {
  const out: Record<string, string> = {};
  for (const entry of listAt(container, "env")) {
    const name = String(at(entry, "name"));
    const value = at(entry, "value");
    if (typeof value === "string") out[name] = value;
    else if (isRecord(at(entry, "valueFrom", "secretKeyRef")))
      out[name] = name === "TRANSPORTER_STORE" ? "redis://of-a-secret:6379/0" : SECRET;
    else out[name] = "of-the-pod";
  }
  return out;
}

/** What the control plane makes of the pod that the chart made of the values. */
async function configOf(args: readonly string[], input?: string): Promise<ControlPlaneConfig> {
  const container = controlPlane(objects(await render("transporter-cp", args, input)));
  const env = environment(container);
  const [command, ...words] = listAt(container, "args").map((arg) =>
    String(arg).replaceAll(/\$\((\w+)\)/g, (_, name: string) => env[name] ?? ""),
  );
  expect(command).toBe("cp");
  const { flags } = parseArgs(words, { settings: CP_SETTINGS }, "transporter cp");
  return controlPlaneConfig(resolveSettings(CP_SETTINGS, { flags, env, file: undefined }), places(env));
}

function configOfValues(values: unknown): Promise<ControlPlaneConfig> {
  return configOf(["--values=-"], JSON.stringify(values));
}

describe("the control plane takes what the chart makes of", () => {
  for (const file of readdirSync(VALUES).filter((name) => name.startsWith("cp-")))
    chartTest(file, async () => {
      const { warnings } = await configOf([`--values=${join(VALUES, file)}`]);
      expect(warnings).toEqual([]);
    });
});

describe("what values mean to the control plane", () => {
  chartTest("none: SQLite, secured by a Secret that has its names, with all its ports", async () => {
    const config = await configOfValues({});
    expect(config.storeUrl).toBe("sqlite:/var/lib/transporter/cp.db");
    expect(config.security?.secret).toEqual({ namespace: "transporter-system", name: "transporter-cp-security" });
    expect(config.security?.serverNames).toContain("transporter-cp.transporter-system.svc.cluster.local");
    expect(config.listeners.api).toEqual({ host: "0.0.0.0", port: 8080 });
    expect(config.listeners.agents?.port).toBe(8443);
    expect(config.listeners.probes?.port).toBe(9090);
    expect(config.listeners.legacy).toBeUndefined();
    expect(config.insecure).toBe(false);
    expect(config.queue).toBeUndefined();
    expect(config.drainMs).toBeUndefined();
  });

  chartTest("numbers, times and sizes of 0.1 and since", async () => {
    const config = await configOfValues({
      debug: true,
      cp: { heartbeatTimeout: "45s", eventRetryMax: 7, retention: "1h", auditRetention: "2h", maxEventBytes: 1_048_576, maxInFlight: 3 },
    });
    expect(config).toMatchObject({ debug: true, heartbeatTimeoutMs: 45_000, eventRetryMax: 7, maxInFlight: 3, maxEventBytes: 1_048_576 });
    expect(config.retention).toEqual({ eventsMs: 3_600_000, auditMs: 7_200_000 });
  });

  chartTest("a Redis of one's own: address, database, user, password of a Secret", async () => {
    const config = await configOfValues({ cp: { redis: { addr: "redis.shop:6380", db: 4, username: "cp", password: "never-shown-9" } } });
    expect(config.storeUrl).toBe("redis://cp@redis.shop:6380/4");
    expect(config.storePassword).toBe(SECRET);
    expect(config.drainMs).toBe(5000);
    expect(config.advertise).toBe("https://of-the-pod:8080");
  });

  chartTest("TLS to Redis, and a password for sentinels", async () => {
    const redis = {
      addr: "r:6379",
      existingSecret: "s",
      tls: { enabled: true, existingSecret: "t", clientCertificate: true, serverName: "redis.shop" },
    };
    const files = "/etc/transporter/redis-tls";
    expect((await configOfValues({ cp: { redis } })).storeUrl).toBe(
      `rediss://r:6379/0?ca=${files}/ca.crt&cert=${files}/tls.crt&key=${files}/tls.key&server-name=redis.shop`,
    );
    const store = { url: "redis+sentinel://a:26379,b:26379/main?wait=1", sentinelPassword: { existingSecret: "s" } };
    expect((await configOfValues({ store })).storeUrl).toBe(`${store.url}&sentinel-password-file=/etc/transporter/sentinel/password`);
    expect((await configOfValues({ store: { existingSecret: "whole" }, replicaCount: 2 })).storeUrl).toBe("redis://of-a-secret:6379/0");
  });

  chartTest("the Redis of the chart, also where old values name that of 0.1's", async () => {
    for (const addr of ["", "transporter-cp-redis-master:6379", "transporter-cp-redis-master.transporter-system.svc:6379"]) {
      const config = await configOfValues({ redis: { enabled: true }, cp: { redis: { addr } } });
      expect(config.storeUrl).toBe("redis://transporter-cp-redis:6379/0");
      expect(config.storePassword).toBe(SECRET);
    }
    const other = await configOfValues({ redis: { enabled: true }, cp: { redis: { addr: "elsewhere:6379" } } });
    expect(other.storeUrl).toBe("redis://elsewhere:6379/0");
  });

  chartTest("lines without a value, as files with everything commented out have them, count as the defaults", async () => {
    const names = ["podAnnotations", "commonAnnotations", "extraArgs", "extraEnv", "resources", "nodeSelector", "tolerations"];
    const file = ["security:", "  names:", "service:", "  externalIPs:", ...names.map((name) => `${name}:`)].join("\n");
    expect(await configOf(["--values=-"], file)).toEqual(await configOf([]));
  });

  chartTest("a probe that is null is left out", async () => {
    const found = controlPlane(objects(await render("transporter-cp", ["--set", "probes.liveness=null"])));
    expect(at(found, "livenessProbe")).toBeUndefined();
    expect(at(found, "readinessProbe", "httpGet", "path")).toBe("/readyz");
  });

  chartTest("the CA stays where the store is to stay, whichever store that is", async () => {
    const keep = async (set: string): Promise<unknown> =>
      at(find(objects(await render("transporter-cp", ["--set", set])), "Secret", "transporter-cp-security"), "metadata", "annotations");
    expect(await keep("persistence.keep=true")).toEqual({ "helm.sh/resource-policy": "keep" });
    expect(await keep("persistence.keep=true,cp.redis.addr=redis:6379")).toEqual({ "helm.sh/resource-policy": "keep" });
    expect(await keep("debug=false")).toBeUndefined();
  });

  chartTest("what pods say of passwords changes with them, and is no plain hash that can be looked up", async () => {
    const said = async (password: string): Promise<readonly unknown[]> => {
      const all = objects(
        await render("transporter-cp", ["--set", `redis.enabled=true,redis.auth.password=${password},commonAnnotations=null`]),
      );
      return ["Deployment", "StatefulSet"].map((kind) => at(find(all, kind), "spec", "template", "metadata", "annotations"));
    };
    const [first, again, other] = await Promise.all([said("plum-17"), said("plum-17"), said("plum-18")]);
    expect(first).toEqual(again);
    expect(first.map((one, index) => Bun.deepEquals(one, other[index]))).toEqual([false, false]);
    expect(JSON.stringify(first)).not.toContain(new Bun.CryptoHasher("sha256").update("plum-17").digest("hex"));
  });

  chartTest("pods of the chart's Redis can be labelled, however long the name is", async () => {
    const all = objects(await render("transporter-cp", ["--set", `redis.enabled=true,fullnameOverride=${"n".repeat(60)}`]));
    const name = String(at(find(all, "StatefulSet"), "metadata", "name"));
    // The controller's label is the name, a dash, and a hash of up to ten; values of labels have 63 characters at most.
    expect(name.length + 11).toBeLessThanOrEqual(63);
    expect(name).toEndWith("-redis");
  });

  chartTest("passwords and sizes that look like numbers stay as they are", async () => {
    const values = {
      redis: { enabled: true, auth: { password: 12_345_678 }, maxmemory: 268_435_456, master: { persistence: { size: 4_294_967_296 } } },
    };
    const all = objects(await render("transporter-cp", ["--values=-"], JSON.stringify(values)));
    const secret = String(at(find(all, "Secret", "transporter-cp-redis"), "data", "redis-password"));
    expect(Buffer.from(secret, "base64").toString()).toBe("12345678");
    expect(String(at(find(all, "ConfigMap", "transporter-cp-redis"), "data", "redis.conf"))).toContain("maxmemory 268435456\n");
    const claim = listAt(find(all, "StatefulSet"), "spec", "volumeClaimTemplates")[0];
    expect(at(claim, "spec", "resources", "requests", "storage")).toBe("4294967296");
  });

  chartTest("the listener of 0.1, IPv6 too", async () => {
    const config = await configOfValues({ cp: { wsAddr: "::" }, legacy: { enabled: true, agents: ["a", "b"] } });
    expect(config.listeners.legacy).toEqual({ host: "::", port: 8081, agentIds: ["a", "b"] });
  });

  chartTest("where agents are sent: what is said, the gateway's name, or a node's port", async () => {
    const urlOf = async (values: unknown): Promise<unknown> => (await configOfValues(values)).security?.agentUrls;
    expect(await urlOf({})).toEqual([]);
    expect(await urlOf({ security: { agentsURL: "wss://cp.example.com:9443/ws" } })).toEqual(["wss://cp.example.com:9443/ws"]);
    const service = { type: "NodePort", agentsNodePort: 30443 };
    expect(await urlOf({ service, security: { names: ["10.0.0.7"] } })).toEqual(["wss://10.0.0.7:30443/ws"]);
    expect(await urlOf({ service, security: { names: ["fd00::7"] } })).toEqual(["wss://[fd00::7]:30443/ws"]);
    const gateway = { enabled: true, parentRefs: [{ name: "g" }], hostnames: ["cp.shop"], agents: { hostnames: ["agents.shop"] } };
    expect(await urlOf({ gateway })).toEqual(["wss://agents.shop/ws"]);
    const config = await configOfValues({ gateway, ingress: { enabled: true, hosts: ["in.shop"] }, security: { names: ["fd00::7"] } });
    expect(config.security?.serverNames).toEqual(expect.arrayContaining(["cp.shop", "agents.shop", "in.shop", "fd00::7"]));
  });

  chartTest("a proxy, OIDC, and clusters that are trusted", async () => {
    const config = await configOfValues({
      security: {
        tlsByProxy: true,
        agentsBehindProxy: true,
        trustedProxies: ["10.0.0.0/8", "192.168.0.0/16"],
        approveEnrolments: true,
        oidc: { issuer: "https://id.example.com", audience: "transporter", roles: { admin: ["platform"], viewer: ["all", "guests"] } },
        trustClusters: [{ name: "shop", issuer: "https://k8s.shop", subjects: ["transporter-system:transporter-agent"], agents: "shop-*" }],
      },
    });
    expect(config.listeners).toMatchObject({
      tls: { byProxy: true },
      agentsBehindProxy: true,
      trustedProxies: ["10.0.0.0/8", "192.168.0.0/16"],
    });
    expect(config.security?.approveByHand).toBe(true);
    expect(config.security?.oidc?.roles).toEqual([
      { role: "admin", value: "platform" },
      { role: "viewer", value: "all" },
      { role: "viewer", value: "guests" },
    ]);
    expect(config.security?.clusters[0]).toMatchObject({
      name: "shop",
      agents: "shop-*",
      subjects: ["system:serviceaccount:transporter-system:transporter-agent"],
    });
  });

  chartTest("Memphis as 0.1's values named it", async () => {
    const memphis = { enabled: true, host: "memphis:6666", connectionToken: "never-shown-7", station: "orders", accountID: 2 };
    const config = await configOfValues({ cp: { memphis } });
    expect(config.queue?.kind).toBe("memphis");
    expect(JSON.stringify(config.queue)).toContain("orders");
    expect(JSON.stringify(config.queue)).not.toContain("never-shown");
  });

  chartTest("passwords given as values are in one Secret, and nowhere else", async () => {
    const values = {
      cp: { redis: { addr: "r:6379", password: "shown-nowhere-1" }, memphis: { enabled: true, password: "shown-nowhere-2" } },
    };
    const all = objects(await render("transporter-cp", ["--values=-"], JSON.stringify(values)));
    for (const secret of ["shown-nowhere-1", "shown-nowhere-2"]) {
      const encoded = Buffer.from(secret).toString("base64");
      expect(all.filter((object) => JSON.stringify(object).includes(secret))).toEqual([]);
      const holding = all.filter((object) => JSON.stringify(object).includes(encoded));
      expect(holding.map((object) => `${String(object["kind"])} ${String(at(object, "metadata", "name"))}`)).toEqual([
        "Secret transporter-cp-credentials",
      ]);
    }
  });
});
