import { afterAll, expect } from "bun:test";
import { Stack } from "../support/stack.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace, uniqueName } from "../support/kube.ts";
import { webhookThatIsDown, webhookThatRefuses } from "../support/webhook.ts";
import { configMap, deployment, Storytellers, tell } from "./story.ts";

const tellers = new Storytellers();
afterAll(() => tellers[Symbol.asyncDispose]());

const LONG_MS = 240_000;

async function names(namespace: Namespace, kind: string): Promise<string> {
  return namespace.kubectl(["get", kind, "--output=name"]);
}

kubeTest(
  "5: a webhook that refuses is quoted, and nothing of the event is applied",
  async () => {
    await using namespace = await freshNamespace();
    await using webhook = await webhookThatRefuses(namespace, "every ConfigMap needs the label owner");
    const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "key", namespace: namespace.name } };
    const { code, told, object } = await tell(await tellers.stack(), [secret, configMap(namespace.name, "settings")]);
    expect(code).toBe("ADMISSION_DENIED");
    expect(told).toContain(
      `ConfigMap ${namespace.name}/settings: admission webhook "${webhook.name}" denied the request: every ConfigMap needs the label owner`,
    );
    expect(object("settings")).toMatchObject({ status: "failed" });
    expect(object("key")).toMatchObject({ status: "pending", message: "not tried: the event is refused as a whole" });
    expect(await names(namespace, "secrets")).toBe("");
  },
  LONG_MS,
);

kubeTest(
  "6: a webhook that is down is named with its address, and the event goes through when it is back",
  async () => {
    await using namespace = await freshNamespace();
    await using webhook = await webhookThatIsDown(namespace);
    const stack = await tellers.stack();
    const { code, told } = await tell(stack, [configMap(namespace.name, "settings")], {}, { retry: { attempts: 2, backoff: "100ms" } });
    expect(code).toBe("APPLY_FAILED");
    expect(told).toMatch(
      /ConfigMap test-\w+\/settings: Internal error occurred: failed calling webhook "guard-\w+\.transporter\.test": failed to call webhook: Post "https:\/\/127\.0\.0\.1:\d+\/\?timeout=2s": dial tcp 127\.0\.0\.1:\d+: connect: connection refused/,
    );
    expect(told).toMatch(/Attempt 1 of 2 failed, trying again in /);
    const id = await stack.submit(
      [JSON.stringify(configMap(namespace.name, "settings"))],
      { retry: { attempts: 50, backoff: "100ms", max_backoff: "500ms" } },
      {},
    );
    await eventually(async () => (await stack.run(["describe", "event", id])).stdout.includes("failed calling webhook"), {
      timeoutMs: 60_000,
    });
    await webhook.up();
    expect((await stack.ended(id)).state).toBe("completed");
  },
  LONG_MS,
);

kubeTest(
  "7: a definition that is missing: which kinds, and what the cluster knows instead",
  async () => {
    await using namespace = await freshNamespace();
    const widget = (name: string): unknown => ({
      apiVersion: "example.org/v1",
      kind: "Widget",
      metadata: { name, namespace: namespace.name },
    });
    const old = { apiVersion: "extensions/v1beta1", kind: "Ingress", metadata: { name: "shop", namespace: namespace.name } };
    const { code, told } = await tell(await tellers.stack(), [widget("a"), widget("b"), old, configMap(namespace.name, "settings")]);
    expect(code).toBe("UNKNOWN_KIND");
    expect(told).toContain(`example.org/v1 Widget (2 objects, first Widget ${namespace.name}/a)`);
    expect(told).toContain(`extensions/v1beta1 Ingress (Ingress ${namespace.name}/shop; it knows networking.k8s.io/v1 Ingress)`);
    expect(await names(namespace, "configmaps")).not.toContain("settings");
  },
  LONG_MS,
);

kubeTest(
  "9: an immutable selector: the field, and what there is to do about it",
  async () => {
    await using namespace = await freshNamespace();
    const stack = await tellers.stack();
    const before = deployment({ namespace: namespace.name, replicas: 0 });
    expect((await tell(stack, [before])).detail.state).toBe("completed");
    const selector = { matchLabels: { app: "web", tier: "front" } };
    const after = deployment({ namespace: namespace.name, replicas: 0, labels: { tier: "front" }, spec: { selector } });
    const { code, told, detail } = await tell(stack, [after]);
    expect(code).toBe("IMMUTABLE_FIELD");
    expect(told).toContain(`Deployment ${namespace.name}/web: spec.selector.matchLabels.tier cannot be changed once it is set: `);
    expect(told).toContain("field is immutable");
    expect(JSON.stringify(detail.log)).toMatch(/on.immutable/);
    const recreated = await tell(stack, [after], { on_immutable: "recreate" });
    expect(recreated.detail.state).toBe("completed");
    expect(recreated.object("web")?.status).toBe("recreated");
  },
  LONG_MS,
);

kubeTest(
  "10: a conflict with an autoscaler names it and the field, and ignore_fields leaves the field to it",
  async () => {
    await using namespace = await freshNamespace();
    const stack = await tellers.stack();
    expect((await tell(stack, [deployment({ namespace: namespace.name, replicas: 1 })])).detail.state).toBe("completed");
    // It needs no metrics to see that there are fewer than the least.
    const scaler = {
      apiVersion: "autoscaling/v2",
      kind: "HorizontalPodAutoscaler",
      metadata: { name: "web", namespace: namespace.name },
      spec: {
        minReplicas: 3,
        maxReplicas: 5,
        scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "web" },
        metrics: [{ type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 50 } } }],
      },
    };
    expect((await tell(stack, [scaler])).detail.state).toBe("completed");
    const replicas = async (): Promise<string> => namespace.kubectl(["get", "deployment", "web", "--output=jsonpath={.spec.replicas}"]);
    await eventually(async () => (await replicas()) === "3", { timeoutMs: 120_000, what: "the autoscaler's word" });
    const again = deployment({ namespace: namespace.name, replicas: 2, labels: { version: "2" } });
    const { code, told } = await tell(stack, [again]);
    expect(code).toBe("FIELD_CONFLICT");
    expect(told).toMatch(/Deployment test-\w+\/web: \.spec\.replicas belongs to field manager "kube-controller-manager" \(through scale/);
    const left = await tell(stack, [again], { ignore_fields: [{ kind: "Deployment", pointers: ["/spec/replicas"] }] });
    expect(left.detail.state).toBe("completed");
    expect(await replicas()).toBe("3");
    expect(await namespace.kubectl(["get", "deployment", "web", "--output=jsonpath={.spec.template.metadata.labels.version}"])).toBe("2");
  },
  LONG_MS,
);

kubeTest(
  "11: rights denied for one of twenty: which, to whom, and the nineteen are not touched",
  async () => {
    await using namespace = await freshNamespace();
    const all = ["get", "list", "watch", "create", "patch"];
    const kubeconfig = await namespace.kubeconfigWith([{ apiGroups: [""], resources: ["configmaps"], verbs: all }]);
    await using stack = await Stack.start({ compiled: false, kubeconfig });
    const secret = uniqueName("key");
    const objects = [
      ...Array.from({ length: 19 }, (_, index) => configMap(namespace.name, `settings-${index}`)),
      { apiVersion: "v1", kind: "Secret", metadata: { name: secret, namespace: namespace.name } },
    ];
    const { code, told, detail, object } = await tell(stack, objects);
    expect(code).toBe("FORBIDDEN");
    expect(told).toMatch(
      new RegExp(
        `Secret ${namespace.name}/${secret}: secrets "${secret}" is forbidden: User "system:serviceaccount:${namespace.name}:account-\\w+" cannot patch resource "secrets" in API group "" in the namespace "${namespace.name}"`,
      ),
    );
    expect(object(secret)).toMatchObject({ status: "failed", code: "FORBIDDEN" });
    const others = detail.result?.resource_status?.filter(({ name }) => name !== secret) ?? [];
    expect(others).toHaveLength(19);
    expect(new Set(others.map(({ status, message }) => `${status}: ${message}`))).toEqual(
      new Set(["pending: not tried: the event is refused as a whole"]),
    );
    expect(await names(namespace, "configmaps")).not.toContain("settings-");
    // Whoever wants the nineteen all the same says so.
    const continued = await tell(stack, objects, { on_failure: "continue" });
    expect(continued.code).toBe("FORBIDDEN");
    expect(continued.detail.result?.resource_status?.filter(({ status }) => status === "created")).toHaveLength(19);
    expect(continued.object(secret)).toMatchObject({ status: "failed", code: "FORBIDDEN" });
  },
  LONG_MS,
);
