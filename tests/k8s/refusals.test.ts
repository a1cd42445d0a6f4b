import { describe, expect } from "bun:test";
import { planObjects, validatePlan } from "../../src/k8s/mod.ts";
import { STRANGER_TOKEN, freshNamespace, kubeTest, sharedKube, uniqueName } from "../support/kube.ts";
import { eventually } from "../support/eventually.ts";
import { APPLY, clientOf, configMap, deployment, parsed, refusal, walk } from "./walk.ts";

describe("refused before anything is touched", () => {
  kubeTest("an unknown field, in the words of apply and of create alike", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const one = await refusal(
      walk(client, parsed({ ...configMap("settings", { a: "1" }), dota: { b: "2" } }), { defaultNamespace: namespace.name }),
    );
    expect(one.code).toBe("UNKNOWN_FIELD");
    expect(one.message).toBe(`ConfigMap ${namespace.name}/settings: unknown field .dota`);
    const nested = structuredClone(deployment("web", "none"));
    (nested["spec"] as { template: { spec: { containers: Record<string, unknown>[] } } }).template.spec.containers[0] = {
      name: "main",
      imoge: "none",
    };
    const two = await refusal(walk(client, parsed(nested), { defaultNamespace: namespace.name }));
    expect(two.code).toBe("UNKNOWN_FIELD");
    expect(two.message).toContain('.spec.template.spec.containers[name="main"].imoge');
  });

  kubeTest("every fault of many objects, and nothing half-done", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const good = Array.from({ length: 20 }, (_, index) => configMap(`good-${index}`, { a: "1" }));
    const bad = [{ ...configMap("bad-field", {}), dota: {} }, configMap("bad-value", { a: 1 }), configMap("Bad_Name", { a: "1" })];
    const error = await refusal(walk(client, parsed(...good, ...bad), { defaultNamespace: namespace.name }));
    expect(error.message).toStartWith("3 of 23 objects are refused: ");
    expect(error.details["fault_count"]).toBe(3);
    expect(error.details["faults"]).toMatchObject([{ code: "UNKNOWN_FIELD" }, { code: "INVALID_OBJECT" }, { code: "INVALID_OBJECT" }]);
    expect(error.message).toContain(".data.a");
    expect(error.message).toContain("metadata.name");
    expect(await namespace.kubectl(["get", "configmaps", "--output=name"])).not.toContain("good-");
  });

  kubeTest("what only an apply refuses is not let through by the quicker way of trying", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const objects = Array.from({ length: 12 }, (_, index) => {
      const one = deployment(`web-${index}`, "none");
      const { containers } = (one["spec"] as { template: { spec: { containers: Record<string, unknown>[] } } }).template.spec;
      // A create accepts this with a warning; a later apply does not.
      if (index === 7)
        containers[0] = {
          ...containers[0],
          env: [
            { name: "A", value: "1" },
            { name: "A", value: "2" },
          ],
        };
      return one;
    });
    const error = await refusal(walk(client, parsed(...objects), { defaultNamespace: namespace.name }));
    expect(error.code).toBe("INVALID_OBJECT");
    expect(error.message).toContain("web-7");
    expect(error.message).toContain('duplicate entries for key [name="A"]');
    expect(await namespace.kubectl(["get", "deployments", "--output=name"])).toBe("");
  });

  kubeTest("unknown kinds, all of them, with what the cluster knows instead", async () => {
    const client = await clientOf(await sharedKube());
    const error = await refusal(
      planObjects(
        client,
        parsed(
          { apiVersion: "extensions/v1beta1", kind: "Deployment", metadata: { name: "old" } },
          { apiVersion: "example.org/v1", kind: "Widget", metadata: { name: "a" } },
          { apiVersion: "example.org/v1", kind: "Widget", metadata: { name: "b" } },
          configMap("settings", {}),
        ),
        { defaultNamespace: "default" },
      ),
    );
    expect(error.code).toBe("UNKNOWN_KIND");
    expect(error.message).toContain("extensions/v1beta1 Deployment (Deployment old; it knows apps/v1 Deployment)");
    expect(error.message).toContain("example.org/v1 Widget (2 objects, first Widget a)");
    expect(error.details["kinds"]).toEqual(["extensions/v1beta1 Deployment", "example.org/v1 Widget"]);
  });

  kubeTest("namespaces that are not there, all of them", async () => {
    const client = await clientOf(await sharedKube());
    const [first, second] = [uniqueName("nowhere"), uniqueName("nowhere")];
    const error = await refusal(
      planObjects(client, parsed(configMap("a", {}, first), configMap("b", {}, second), configMap("c", {}, second)), {
        defaultNamespace: "default",
      }),
    );
    expect(error.code).toBe("NAMESPACE_NOT_FOUND");
    expect(error.message).toBe(
      `there is no namespace "${first}" (ConfigMap ${first}/a), "${second}" (2 objects, first ConfigMap ${second}/b)`,
    );
  });

  kubeTest("a namespace that is being deleted", async () => {
    await using namespace = await freshNamespace();
    // The finalizer keeps it in that state for as long as the test looks.
    await namespace.kubectl(["create", "configmap", "holder"]);
    await namespace.kubectl([
      "patch",
      "configmap",
      "holder",
      "--type=merge",
      "--patch",
      '{"metadata":{"finalizers":["example.org/hold"]}}',
    ]);
    await (await namespace.kube.request("DELETE", `/api/v1/namespaces/${namespace.name}`)).text();
    try {
      const client = await clientOf(namespace.kube);
      const error = await eventually(() =>
        refusal(planObjects(client, parsed(configMap("a", {}, namespace.name)), { defaultNamespace: "default" })),
      );
      expect(error.code).toBe("NAMESPACE_TERMINATING");
      expect(error.message).toContain(namespace.name);
    } finally {
      await namespace.kubectl(["patch", "configmap", "holder", "--type=merge", "--patch", '{"metadata":{"finalizers":null}}']);
    }
  });

  kubeTest("what the account may not do, naming account, verb and resource", async () => {
    await using namespace = await freshNamespace();
    const kubeconfig = await namespace.kube.kubeconfigFor("stranger", STRANGER_TOKEN, namespace.name);
    const client = await clientOf(namespace.kube, kubeconfig);
    const error = await refusal(walk(client, parsed(configMap("a", {})), { defaultNamespace: namespace.name }));
    expect(error.code).toBe("FORBIDDEN");
    expect(error.message).toStartWith(`ConfigMap ${namespace.name}/a: `);
    expect(error.message).toContain('User "stranger" cannot patch resource "configmaps"');
  });

  kubeTest("an account that may create but not patch is refused in time, however many objects", async () => {
    await using namespace = await freshNamespace();
    const kubeconfig = await namespace.kubeconfigWith([{ apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list", "create"] }]);
    const client = await clientOf(namespace.kube, kubeconfig);
    const objects = Array.from({ length: 30 }, (_, index) => configMap(`map-${index}`, { a: "1" }));
    const error = await refusal(walk(client, parsed(...objects), { defaultNamespace: namespace.name }));
    expect(error.code).toBe("FORBIDDEN");
    expect(error.details["fault_count"]).toBe(30);
    expect(await namespace.kubectl(["get", "configmaps", "--output=name"])).not.toContain("map-");
  });

  kubeTest("a field of another manager, unless it is to be taken over", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const theirs = JSON.stringify(configMap("shared", { color: "red" }));
    await namespace.kubectl(["apply", "--server-side", "--field-manager=painter", "-f", "-"], theirs);
    const ours = parsed(configMap("shared", { color: "blue" }));
    const error = await refusal(walk(client, ours, { defaultNamespace: namespace.name }));
    expect(error.code).toBe("FIELD_CONFLICT");
    expect(error.message).toStartWith(
      `ConfigMap ${namespace.name}/shared: .data.color belongs to field manager "painter" (last changed 20`,
    );
    expect(error.details["conflicts"]).toMatchObject([{ manager: "painter", fields: [".data.color"] }]);
    const { told } = await walk(client, ours, { defaultNamespace: namespace.name, forceConflicts: true });
    expect(told).toEqual([`updated ConfigMap ${namespace.name}/shared`]);
    expect(await namespace.get("configmap", "shared")).toMatchObject({ data: { color: "blue" } });
  });

  kubeTest("an immutable field", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    await walk(client, parsed(deployment("web", "none", {}, 0)), { defaultNamespace: namespace.name });
    const other = structuredClone(deployment("web", "none", { tier: "front" }, 0));
    (other["spec"] as { selector: unknown }).selector = { matchLabels: { app: "web", tier: "front" } };
    const error = await refusal(walk(client, parsed(other), { defaultNamespace: namespace.name }));
    expect(error.code).toBe("IMMUTABLE_FIELD");
    expect(error.message).toContain("spec.selector");
  });

  kubeTest("a quota, and what a policy of the cluster denies", async () => {
    await using namespace = await freshNamespace();
    await namespace.kubectl(["create", "quota", "small", "--hard=secrets=0"]);
    await namespace.kubectl(["label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted"]);
    // The quota counts only once its controller has looked.
    await eventually(async () => (await namespace.kubectl(["get", "quota", "small", "--output=jsonpath={.status.hard.secrets}"])) === "0");
    const client = await clientOf(namespace.kube);
    const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "key" }, stringData: { a: "b" } };
    const quota = await eventually(() => refusal(walk(client, parsed(secret), { defaultNamespace: namespace.name })));
    expect(quota.code).toBe("QUOTA_EXCEEDED");
    expect(quota.message).toContain("exceeded quota: small");
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "root" }, spec: { containers: [{ name: "main", image: "none" }] } };
    const denied = await refusal(walk(client, parsed(pod), { defaultNamespace: namespace.name }));
    expect(denied.code).toBe("ADMISSION_DENIED");
    expect(denied.message).toContain("violates PodSecurity");
  });

  kubeTest("nothing changes while it only validates", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    await walk(client, parsed(configMap("old", { a: "1" })), { defaultNamespace: namespace.name });
    const objects = parsed(configMap("new", { a: "1" }), configMap("old", { a: "2" }));
    const plan = await planObjects(client, objects, { defaultNamespace: namespace.name });
    const progress: number[] = [];
    const { findings } = await validatePlan(client, plan, { ...APPLY, onProgress: (done) => progress.push(done) });
    expect(plan.objects.map((planned) => findings.get(planned)?.would)).toEqual(["create", "update"]);
    expect(progress).toEqual([1, 2]);
    expect(await namespace.get("configmap", "new")).toBeUndefined();
    expect(await namespace.get("configmap", "old")).toMatchObject({ data: { a: "1" } });
  });

  kubeTest("an API server that is not the one it was configured for", async () => {
    const kube = await sharedKube();
    const config = JSON.parse(await Bun.file(kube.kubeconfigPath).text()) as { clusters: { cluster: Record<string, string> }[] };
    for (const { cluster } of config.clusters) delete cluster["certificate-authority-data"];
    const path = `${kube.directory}/${uniqueName("untrusting")}.kubeconfig`;
    await Bun.write(path, JSON.stringify(config));
    const error = await refusal(clientOf(kube, path).then((client) => client.discovery.refresh()));
    expect(error.code).toBe("KUBE_CONFIG_INVALID");
    expect(error.message).toContain("its certificate is not trusted");
  });

  kubeTest("credentials that nobody knows", async () => {
    const kube = await sharedKube();
    const client = await clientOf(kube, await kube.kubeconfigFor("nobody", "not-a-token"));
    const error = await refusal(client.discovery.refresh());
    expect(error.code).toBe("KUBE_UNAUTHORIZED");
    expect(error.message).toContain("Unauthorized");
  });
});
