import { afterAll, expect } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, startKube, uniqueName } from "../support/kube.ts";
import { Stack } from "../support/stack.ts";
import { configMap, deployment, inOneLine, Storytellers, tell } from "./story.ts";

const tellers = new Storytellers();
afterAll(() => tellers[Symbol.asyncDispose]());

const LONG_MS = 300_000;
const HOLD = '{"metadata":{"finalizers":["example.org/archive"]}}';
const RELEASE = '{"metadata":{"finalizers":null}}';

kubeTest(
  "8: a finalizer that never ends is named, of an object and of what a namespace holds",
  async () => {
    await using namespace = await freshNamespace();
    const stack = await tellers.stack();
    expect((await tell(stack, [configMap(namespace.name, "orders")])).detail.state).toBe("completed");
    await namespace.kubectl(["patch", "configmap", "orders", "--type=merge", "--patch", HOLD]);
    try {
      const { code, told } = await tell(stack, [configMap(namespace.name, "orders")], { operation: "delete", verify_timeout: "4s" });
      expect(code).toBe("VERIFY_TIMEOUT");
      expect(told).toContain(`ConfigMap ${namespace.name}/orders: being deleted; finalizer example.org/archive holds it`);
      const space = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace.name } };
      const whole = await tell(stack, [space], { operation: "delete", verify_timeout: "20s" });
      expect(whole.code).toBe("VERIFY_TIMEOUT");
      expect(whole.told).toContain(`Namespace ${namespace.name}: being deleted; `);
      expect(whole.told).toContain("example.org/archive in 1 resource instances");
      expect(whole.told).toContain("ConfigMap orders (finalizer example.org/archive)");
    } finally {
      await namespace.kubectl(["patch", "configmap", "orders", "--type=merge", "--patch", RELEASE]);
    }
    // And once it is let go, the namespace really ends.
    const space = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace.name } };
    expect((await tell(stack, [space], { operation: "delete" })).detail.state).toBe("completed");
    expect((await namespace.kube.request("GET", `/api/v1/namespaces/${namespace.name}`)).status).toBe(404);
  },
  LONG_MS,
);

kubeTest(
  "12: an API server that is killed in the middle is waited for, and everything is applied once it is back",
  async () => {
    await using kube = await startKube({ controllers: true, scheduler: true, nodes: 1 });
    await using stack = await Stack.start({ compiled: false, kubeconfig: kube.kubeconfigPath });
    const namespace = uniqueName("story");
    const space = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
    expect((await tell(stack, [space])).detail.state).toBe("completed");
    const count = async (): Promise<number> => {
      const answer = await kube.request("GET", `/api/v1/namespaces/${namespace}/configmaps?labelSelector=story%3Dtwelve`);
      return ((await answer.json()) as { items: unknown[] }).items.length;
    };
    const maps = Array.from({ length: 1_000 }, (_, index) => ({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: `map-${index}`, namespace, labels: { story: "twelve" } },
      data: { index: String(index) },
    }));
    const id = await stack.submit([...maps, deployment({ namespace })].map((one) => JSON.stringify(one)));
    const before = await eventually(async () => (await count()) || undefined, { timeoutMs: 60_000, everyMs: 50 });
    await kube.killApiServer();
    expect(before).toBeLessThan(1_000);
    // One request is tried again for fifteen seconds; then the event says what it waits for.
    const told = await eventually(
      async () => {
        const text = inOneLine((await stack.run(["describe", "event", id])).stdout);
        return text.includes("trying again in") ? text : undefined;
      },
      { timeoutMs: 120_000, everyMs: 500, what: "a word about the API server" },
    );
    expect(told).toMatch(
      /Attempt 1 of 8 failed, trying again in [\d.]+ ?m?s: .*the API server at https:\/\/127\.0\.0\.1:\d+ cannot be reached/,
    );
    await kube.restartApiServer();
    const detail = await stack.ended(id, 150_000);
    expect(detail.state).toBe("completed");
    expect(await count()).toBe(1_000);
    // What was made before the end is not told as unchanged by whoever made it again.
    const statuses = new Map<string, number>();
    for (const { status } of detail.result?.resource_status ?? []) statuses.set(status, (statuses.get(status) ?? 0) + 1);
    expect([...statuses]).toEqual([["created", 1_001]]);
  },
  LONG_MS,
);
