import { describe, expect } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createKubeClient, type KubeClient, loadKubeAccess } from "../../src/k8s/mod.ts";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { configMap, eventFrame, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { type Cluster, freshNamespace, kubeTest, sharedKube, startKube, uniqueName } from "../support/kube.ts";
import { startTransporter } from "../support/process.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

const access = (kube: Cluster): { access: { kubeconfig: string } } => ({ access: { kubeconfig: kube.kubeconfigPath } });

function resources(status: Json): Json[] {
  return (status["result"] as Json)["resource_status"] as Json[];
}

async function countConfigMaps(kube: Cluster, namespace: string): Promise<number> {
  const list = (await (await kube.request("GET", `/api/v1/namespaces/${namespace}/configmaps?limit=5000`)).json()) as {
    items: { metadata: { name: string } }[];
  };
  return list.items.filter((item) => item.metadata.name !== "kube-root-ca.crt").length;
}

async function run(cp: ScriptedCp, id: string, manifests: readonly string[], more: Parameters<typeof eventFrame>[2] = {}): Promise<Json> {
  (await cp.connection()).send(eventFrame(id, manifests, more));
  return cp.ended(id, 60_000);
}

describe("in a real cluster", () => {
  kubeTest(
    "what is new is created, what is the same is unchanged, what differs is updated, and the field manager is ours",
    async () => {
      const kube = await sharedKube();
      await using space = await freshNamespace(kube);
      await using cp = await scriptedCp({ protocol: 2 });
      await using _running = await startTestAgent({ cpUrl: cp.url, cluster: access(kube) });
      const states: unknown[] = [];
      for (const [id, data] of [
        ["one", "x"],
        ["two", "x"],
        ["three", "y"],
      ] as const) {
        // The API server stamps to the second: what is applied within the same one cannot be told from no change.
        const [status] = resources(await run(cp, id, [configMap("settings", space.name, data)]));
        states.push(status?.["status"]);
        expect(status).toMatchObject({ kind: "ConfigMap", name: "settings", namespace: space.name, api_version: "v1" });
      }
      expect(states).toEqual(["created", "unchanged", "updated"]);
      const object = (await (await kube.request("GET", `/api/v1/namespaces/${space.name}/configmaps/settings`)).json()) as {
        metadata: { managedFields: Json[] };
      };
      expect(object.metadata.managedFields).toMatchObject([{ manager: "transporter", operation: "Apply" }]);
    },
    60_000,
  );

  kubeTest(
    "a Deployment whose image cannot be pulled fails and says so, and is told as created all the same",
    async () => {
      const kube = await sharedKube();
      await using space = await freshNamespace(kube);
      await using cp = await scriptedCp({ protocol: 2 });
      await using _running = await startTestAgent({ cpUrl: cp.url, cluster: access(kube) });
      const manifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ${space.name}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, transporter.dev/image-error: "true"}}
    spec: {containers: [{name: web, image: "nowhere.example/web:1"}]}
`;
      const last = await run(cp, "pull", [manifest], { payload: { verify_timeout: "8s" } });
      expect(last["state"]).toBe("failed");
      expect(String(last["message"])).toContain("nowhere.example/web:1");
      expect(["VERIFY_FAILED", "VERIFY_TIMEOUT"]).toContain(String((last["details"] as Json)["code"]));
      expect(resources(last)[0]).toMatchObject({ status: "created", message: expect.stringContaining("not ready") });
    },
    60_000,
  );

  kubeTest(
    "one bad object refuses the event as a whole, each object says where it stands, and nothing is changed",
    async () => {
      const kube = await sharedKube();
      await using space = await freshNamespace(kube);
      await using cp = await scriptedCp({ protocol: 2 });
      await using _running = await startTestAgent({ cpUrl: cp.url, cluster: access(kube) });
      const bad = configMap("bad", space.name).replace("\ndata:", "\ndat:");
      const last = await run(cp, "bad", [configMap("good", space.name), bad]);
      expect(last).toMatchObject({ state: "failed", details: { code: "UNKNOWN_FIELD" } });
      expect(resources(last).map((one) => [one["name"], one["status"]])).toEqual([
        ["good", "pending"],
        ["bad", "failed"],
      ]);
      expect(await countConfigMaps(kube, space.name)).toBe(0);
    },
    60_000,
  );

  kubeTest(
    "read-only, it says per object what it would do and the cluster stays as it is",
    async () => {
      const kube = await sharedKube();
      await using space = await freshNamespace(kube);
      const fresh = uniqueName("fresh");
      await kube.kubectl(["apply", "--server-side", "--field-manager=transporter", "-f", "-"], {
        input: configMap("there", space.name, "old"),
      });
      await using cp = await scriptedCp({ protocol: 2 });
      await using _running = await startTestAgent({ cpUrl: cp.url, cluster: access(kube), readOnly: true });
      const last = await run(cp, "dry", [
        configMap("there", space.name, "new"),
        configMap("absent", space.name),
        `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${fresh}}`,
        configMap("inside", fresh),
      ]);
      expect(last).toMatchObject({ state: "completed", message: "Read-only: nothing was changed" });
      expect(resources(last).map((one) => [one["name"], one["status"]])).toEqual([
        ["there", "would_update"],
        ["absent", "would_create"],
        [fresh, "would_create"],
        ["inside", "would_create"],
      ]);
      expect(await countConfigMaps(kube, space.name)).toBe(1);
      expect((await kube.request("GET", `/api/v1/namespaces/${fresh}`)).status).toBe(404);
    },
    60_000,
  );

  kubeTest(
    "killed in the middle of applying, it completes the event after a restart, everything exactly once",
    async () => {
      const kube = await sharedKube();
      await using space = await freshNamespace(kube);
      await using cp = await scriptedCp({ protocol: 2 });
      const home = await mkdtemp(join(tmpdir(), "transporter-kill-"));
      try {
        const total = 400;
        const manifests = Array.from({ length: total }, (_, at) => configMap(`c${at}`, space.name, "x".repeat(2000)));
        const start = (): ReturnType<typeof startTransporter> =>
          startTransporter(
            [
              "agent",
              "--agent-id",
              "agent-cluster-agent-1",
              "--cluster-name",
              "kill",
              "--cp-url",
              cp.url,
              "--kubeconfig",
              kube.kubeconfigPath,
            ],
            { home },
          );
        await using first = await start();
        (await cp.connection()).send(eventFrame("kill", manifests));
        await eventually(() => cp.statuses("kill").some((status) => status["phase"] === "applying"), { timeoutMs: 30_000, everyMs: 1 });
        await eventually(async () => (await countConfigMaps(kube, space.name)) > 0, { everyMs: 1 });
        await first.kill("SIGKILL");
        const done = await countConfigMaps(kube, space.name);
        expect(done).toBeGreaterThan(0);
        expect(done).toBeLessThan(total);
        await using _second = await start();
        const last = await cp.ended("kill", 60_000);
        expect(last["state"]).toBe("completed");
        expect(resources(last)).toHaveLength(total);
        expect(cp.statuses("kill").some((status) => status["message"] === "Execution resumed after a restart of the agent")).toBe(true);
        expect(await countConfigMaps(kube, space.name)).toBe(total);
        // What the process before it made is found there, and not told as if nobody had made it.
        const found = resources(last).filter((one) => one["status"] === "unchanged");
        expect(found.filter((one) => !String(one["message"]).includes("before the agent's restart"))).toEqual([]);
      } finally {
        await rm(home, { recursive: true, force: true });
      }
    },
    120_000,
  );

  kubeTest(
    "without its API server for a while it stays connected, waits, and completes",
    async () => {
      await using kube = await startKube();
      await using cp = await scriptedCp({ protocol: 2 });
      await using running = await startTestAgent({ cpUrl: cp.url, cluster: access(kube), heartbeatIntervalMs: 200 });
      const connection = await cp.connection();
      await kube.killApiServer();
      connection.send(eventFrame("away", [configMap("after")]));
      await eventually(() => cp.statuses("away").some((status) => status["phase"] === "validating"));
      const beats = cp.frames("heartbeat").length;
      await eventually(() => cp.frames("heartbeat").length > beats + 3);
      await kube.restartApiServer();
      expect(await cp.ended("away", 60_000)).toMatchObject({ state: "completed" });
      expect(running.agent.state().registrations).toBe(1);
    },
    120_000,
  );

  kubeTest(
    "without a disk, an event that is handed over again after a restart is found done: nothing is written again",
    async () => {
      const kube = await sharedKube();
      await using space = await freshNamespace(kube);
      await using cp = await scriptedCp({ protocol: 2 });
      const manifests = [
        ...Array.from({ length: 12 }, (_, at) => configMap(`c${at}`, space.name)),
        `apiVersion: v1
kind: Service
metadata: {name: web, namespace: ${space.name}}
spec: {selector: {app: web}, ports: [{port: 80}]}
`,
        `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ${space.name}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
`,
      ];
      {
        await using _first = await startTestAgent({ cpUrl: cp.url, cluster: access(kube) });
        (await cp.connection()).send(eventFrame("again", manifests));
        expect(await cp.ended("again", 60_000)).toMatchObject({ state: "completed" });
      }
      const read = async (path: string): Promise<Json> => (await (await kube.request("GET", path)).json()) as Json;
      const stamps = async (): Promise<string[]> => {
        const kinds = await Promise.all(["configmaps", "services"].map((kind) => read(`/api/v1/namespaces/${space.name}/${kind}`)));
        const items = kinds.flatMap((list) => list["items"] as { metadata: { name: string; resourceVersion: string } }[]);
        return items.map(({ metadata }) => `${metadata.name} ${metadata.resourceVersion}`).toSorted();
      };
      const web = async (): Promise<{ creationTimestamp: string; generation: number; managedFields: Json[] }> =>
        (await read(`/apis/apps/v1/namespaces/${space.name}/deployments/web`))["metadata"] as never;
      const owned = async (): Promise<unknown> => {
        const { generation, managedFields } = await web();
        return [generation, managedFields.filter((entry) => entry["manager"] === "transporter")];
      };
      const before = [await stamps(), await owned()];
      // The API server stamps to the second: only what is older can be proven to be ours and as we want it.
      await eventually(async () => {
        const { headers } = await kube.request("GET", "/api");
        return Date.parse(headers.get("date") ?? "") - Date.parse((await web()).creationTimestamp) >= 3_000;
      });
      const inner = createKubeClient(await loadKubeAccess({ kubeconfig: kube.kubeconfigPath, ports: systemPorts }), {
        ports: systemPorts,
        log: silentLogger,
      });
      const writes: string[] = [];
      const client: KubeClient = {
        access: inner.access,
        ports: inner.ports,
        log: inner.log,
        maxInFlight: inner.maxInFlight,
        discovery: inner.discovery,
        openApi: inner.openApi,
        identity: inner.identity,
        as: (identity) => inner.as(identity),
        open: (request, abort) => inner.open(request, abort),
        send(request) {
          const asks = request.method === "GET" || request.path.includes("dryRun=All") || request.path.includes("selfsubjectaccessreviews");
          if (!asks) writes.push(`${request.method} ${request.path}`);
          return inner.send(request);
        },
      };
      await using _second = await startTestAgent({ cpUrl: cp.url, cluster: { client: () => client } });
      const known = cp.statuses("again").length;
      (await cp.connection(1)).send(eventFrame("again", manifests));
      const last = await eventually(
        () =>
          cp
            .statuses("again")
            .slice(known)
            .find((status) => status["state"] === "completed"),
        {
          timeoutMs: 60_000,
        },
      );
      expect(new Set(resources(last).map((one) => one["status"]))).toEqual(new Set(["unchanged"]));
      expect(writes).toEqual([]);
      expect([await stamps(), await owned()]).toEqual(before);
    },
    90_000,
  );

  kubeTest("an access that cannot be configured stops the start", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await expect(startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig: "/nonexistent/kubeconfig" } } })).rejects.toMatchObject({
      code: "KUBE_CONFIG_INVALID",
    });
  });
});
