import { describe, expect } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { createKubeClient, type KubeClient, type KubeClientOptions, loadKubeAccess } from "../../src/k8s/mod.ts";
import { configMap, eventFrame, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { type Cluster, freshNamespace, kubeTest, sharedKube, startKube } from "../support/kube.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";
import { webhookThatIsDown } from "../support/webhook.ts";

type Json = Record<string, unknown>;

async function clientOf(kube: Cluster, options: Partial<KubeClientOptions> = {}): Promise<KubeClient> {
  const access = await loadKubeAccess({ kubeconfig: kube.kubeconfigPath, ports: systemPorts });
  return createKubeClient(access, { ports: systemPorts, log: silentLogger, ...options });
}

const resources = (status: Json): Json[] => (status["result"] as Json)["resource_status"] as Json[];
const detailsOf = (status: Json): Json => (status["details"] ?? {}) as Json;

/** What was told of attempts that failed. */
function failedAttempts(cp: ScriptedCp, id: string): Json[] {
  return cp
    .statuses(id)
    .filter((status) => status["log_level"] === "warning" && status["state"] === "in_progress")
    .map(detailsOf);
}

/** A client that answers one real apply as the test wants, instead of sending it. */
function answeringOnce(client: KubeClient, status: number, message: string): KubeClient {
  let left = 1;
  return {
    access: client.access,
    ports: client.ports,
    log: client.log,
    maxInFlight: client.maxInFlight,
    discovery: client.discovery,
    openApi: client.openApi,
    identity: client.identity,
    as: (identity) => client.as(identity),
    open: (request, abort) => client.open(request, abort),
    send(request) {
      if (request.method !== "PATCH" || request.path.includes("dryRun") || left === 0) return client.send(request);
      left -= 1;
      return Promise.resolve({ status, headers: new Headers(), text: JSON.stringify({ kind: "Status", message, code: status }) });
    },
  };
}

describe("what can heal is tried again", () => {
  kubeTest(
    "an API server that is killed while it applies: every object is applied, and told as what the event did to it",
    async () => {
      await using kube = await startKube();
      await using cp = await scriptedCp({ protocol: 2 });
      // Little patience of its own, so that it is the event that is tried again.
      const client = await clientOf(kube, { retryBudgetMs: 200 });
      await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { client: () => client } });
      const total = 300;
      const manifests = Array.from({ length: total }, (_, at) => configMap(`c${at}`, "default", "x".repeat(500)));
      const count = async (): Promise<number> => {
        const answer = await kube.request("GET", "/api/v1/namespaces/default/configmaps?limit=1000").catch(() => undefined);
        const items = answer?.ok === true ? ((await answer.json()) as { items: { metadata: { name: string } }[] }).items : [];
        return items.filter((item) => item.metadata.name.startsWith("c")).length;
      };
      (await cp.connection()).send(
        eventFrame("away", manifests, { event: { retry: { attempts: 30, backoff: "500ms", max_backoff: "1500ms" } } }),
      );
      await eventually(() => cp.statuses("away").some((status) => status["phase"] === "applying"), { timeoutMs: 30_000, everyMs: 1 });
      await eventually(async () => (await count()) > 0, { everyMs: 1 });
      await kube.killApiServer();
      await eventually(() => failedAttempts(cp, "away").length > 0, { timeoutMs: 20_000 });
      await kube.restartApiServer();
      const last = await cp.ended("away", 60_000);
      expect(last).toMatchObject({ state: "completed" });
      expect(await count()).toBe(total);
      expect(resources(last).filter((one) => one["status"] !== "created")).toEqual([]);
      const attempts = failedAttempts(cp, "away");
      expect(attempts.map((one) => one["attempt"])).toEqual(attempts.map((_, at) => at + 1));
      for (const one of attempts) expect(one).toMatchObject({ of: 30, code: "KUBE_UNAVAILABLE", retry_in_ms: expect.any(Number) });
    },
    120_000,
  );

  kubeTest("a webhook that is down, until it comes up", async () => {
    await using space = await freshNamespace();
    await using webhook = await webhookThatIsDown(space);
    await using cp = await scriptedCp({ protocol: 2 });
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig: space.kube.kubeconfigPath } } });
    (await cp.connection()).send(
      eventFrame("hook", [configMap("settings", space.name)], {
        event: { retry: { attempts: 40, backoff: "50ms", max_backoff: "200ms" } },
      }),
    );
    await eventually(() => failedAttempts(cp, "hook").length >= 2);
    expect(webhook.asked).toBe(0);
    await webhook.up();
    expect(await cp.ended("hook")).toMatchObject({ state: "completed" });
    expect(webhook.asked).toBeGreaterThan(0);
    expect(await space.get("configmap", "settings")).toBeDefined();
  });

  kubeTest("a webhook that stays down: failed with its words, and how often it was tried", async () => {
    await using space = await freshNamespace();
    await using _webhook = await webhookThatIsDown(space);
    await using cp = await scriptedCp({ protocol: 2 });
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig: space.kube.kubeconfigPath } } });
    (await cp.connection()).send(
      eventFrame("hook", [configMap("a", space.name), configMap("b", space.name)], {
        event: { retry: { attempts: 3, backoff: "20ms", max_backoff: "40ms" } },
      }),
    );
    const last = await cp.ended("hook");
    expect(last).toMatchObject({ state: "failed", details: { code: "APPLY_FAILED", attempts: 3 } });
    expect(String(last["message"])).toMatch(/failed calling webhook.*\(tried 3 times\)$/);
    expect(failedAttempts(cp, "hook").map((one) => one["attempt"])).toEqual([1, 2]);
    expect(resources(last).map((one) => one["status"])).toEqual(["failed", "failed"]);
  });

  kubeTest("an optimistic lock that somebody else won", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    await using cp = await scriptedCp({ protocol: 2 });
    const message = 'Operation cannot be fulfilled on configmaps "settings": the object has been modified';
    const client = answeringOnce(await clientOf(kube), 409, message);
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { client: () => client } });
    (await cp.connection()).send(eventFrame("lock", [configMap("settings", space.name)], { event: { retry: { backoff: "20ms" } } }));
    const last = await cp.ended("lock");
    expect(last).toMatchObject({ state: "completed" });
    expect(resources(last)).toMatchObject([{ status: "created" }]);
    expect(failedAttempts(cp, "lock")).toMatchObject([{ attempt: 1, of: 8, code: "APPLY_FAILED" }]);
  });
});

describe("what cannot heal is not tried again", () => {
  kubeTest("invalid, forbidden, a field of another manager, a lock that the manifest itself holds", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const apply = async (text: string): Promise<unknown> =>
      space.kubectl(["apply", "--server-side", "--field-manager=somebody", "-f", "-"], text);
    await apply(configMap("owned", space.name, "theirs"));
    await using cp = await scriptedCp({ protocol: 2 });
    const limited = await space.kubeconfigWith([
      { apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list", "watch", "create", "patch"] },
    ]);
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig: limited } } });
    const stale = configMap("owned", space.name, "theirs").replace("  namespace:", '  resourceVersion: "1"\n  namespace:');
    const cases: readonly (readonly [string, string, string])[] = [
      ["invalid", configMap("Not_A_Name", space.name), "INVALID_OBJECT"],
      ["forbidden", configMap("s", space.name).replace("kind: ConfigMap", "kind: Secret").replace("\ndata:", "\nstringData:"), "FORBIDDEN"],
      ["conflict", configMap("owned", space.name, "ours"), "FIELD_CONFLICT"],
      ["stale", stale, "APPLY_FAILED"],
    ];
    for (const [id, manifest, code] of cases) {
      (await cp.connection()).send(eventFrame(id, [manifest]));
      const last = await cp.ended(id);
      expect({ id, state: last["state"], code: detailsOf(last)["code"] }).toEqual({ id, state: "failed", code });
      expect(failedAttempts(cp, id)).toEqual([]);
      expect(detailsOf(last)["attempts"]).toBeUndefined();
    }
  });
});
