import { describe, expect } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { kubeTest, uniqueName } from "../support/kube.ts";
import { configMapWith, manifest, operating, reference } from "./operate.ts";

type Json = Record<string, unknown>;

const HELD = { finalizers: ["example.org/hold"] };
const RELEASE = '--patch={"metadata":{"finalizers":null}}';

function definition(group: string): Json {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `gadgets.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind: "Gadget", plural: "gadgets", singular: "gadget" },
      versions: [
        {
          name: "v1",
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
        },
      ],
    },
  };
}

function workload(name: string, namespace: string): Json {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: "main", image: "example.test/main:1" }] } },
    },
  };
}

describe("delete, in reverse order", () => {
  kubeTest(
    "custom resources are gone before the workload that has to let them go, and before their definition; then all is absent",
    async () => {
      await using on = await operating();
      const { name: namespace } = on.space;
      const group = `${uniqueName("g")}.example.org`;
      const gadget = { apiVersion: `${group}/v1`, kind: "Gadget", metadata: { name: "one", namespace, ...HELD } };
      const manifests = [manifest(definition(group)), manifest(workload("operator", namespace)), manifest(gadget)];
      expect((await on.run({ manifests })).state).toBe("completed");
      const stuck = await on.run({ operation: "delete", manifests, verify_timeout: "1s" });
      expect(stuck.told).toEqual([`pending CustomResourceDefinition gadgets.${group}`, "pending Deployment operator", "failed Gadget one"]);
      expect(stuck.messages[0]).toBe("not tried, because something before it failed");
      expect(await on.space.get("deployment", "operator")).toBeDefined();
      await on.space.kubectl(["patch", `gadgets.${group}`, "one", "--type=merge", RELEASE]);
      const done = await on.run({ operation: "delete", manifests });
      expect(done.told).toEqual([`deleted CustomResourceDefinition gadgets.${group}`, "deleted Deployment operator", "absent Gadget one"]);
      expect(done.state).toBe("completed");
      // The kind is not served any more, and that is no fault of an event that took it away.
      const again = await on.run({ operation: "delete", manifests });
      expect(again.told).toEqual([`absent CustomResourceDefinition gadgets.${group}`, "absent Deployment operator", "absent Gadget one"]);
      const named = [
        reference("apiextensions.k8s.io/v1", "CustomResourceDefinition", `gadgets.${group}`),
        reference(`${group}/v1`, "Gadget", "one", namespace),
      ];
      expect((await on.run({ operation: "delete", references: named })).told).toEqual([
        `absent CustomResourceDefinition gadgets.${group}`,
        "absent Gadget one",
      ]);
      // Without its definition it is a kind that nobody knows.
      const unknown = await on.run({ operation: "delete", references: named.slice(1) });
      expect(unknown.code).toBe("UNKNOWN_KIND");
    },
    120_000,
  );

  kubeTest("what others depend on by annotation goes after them, and a definition that is held says what holds it", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    const after = { "config.kubernetes.io/depends-on": `/namespaces/${namespace}/ConfigMap/base` };
    const manifests = [
      manifest(configMapWith("base", namespace)),
      manifest(configMapWith("leaning", namespace, { ...HELD, annotations: after })),
      manifest(configMapWith("free", namespace)),
    ];
    expect((await on.run({ manifests })).state).toBe("completed");
    const stuck = await on.run({ operation: "delete", manifests, verify_timeout: "1s", on_failure: "continue" });
    expect(stuck.told).toEqual(["pending ConfigMap base", "failed ConfigMap leaning", "deleted ConfigMap free"]);
    expect(stuck.messages[0]).toBe(`left, because ConfigMap ${namespace}/leaning could not be deleted`);
    expect(stuck.resources[1]?.["code"]).toBe("VERIFY_TIMEOUT");
    await on.space.kubectl(["patch", "configmap", "leaning", "--type=merge", RELEASE]);
  });

  kubeTest(
    "the propagation policy says what becomes of what the objects own",
    async () => {
      await using on = await operating();
      const { name: namespace } = on.space;
      const owned = async (app: string): Promise<string[]> => {
        const text = await on.space.kubectl(["get", "replicasets,pods", `--selector=app=${app}`, "--output=jsonpath={.items[*].kind}"]);
        return text.split(" ").filter((kind) => kind !== "");
      };
      for (const policy of ["background", "orphan", "foreground"]) {
        expect((await on.run({ manifests: [manifest(workload(policy, namespace))] })).state).toBe("completed");
        const references = [reference("apps/v1", "Deployment", policy, namespace)];
        const ended = await on.run({ operation: "delete", references, propagation_policy: policy });
        expect(ended.told).toEqual([`deleted Deployment ${policy}`]);
        if (policy === "foreground") expect(await owned(policy)).toEqual([]);
        else if (policy === "orphan") expect(await owned(policy)).toEqual(["ReplicaSet", "Pod"]);
        else await eventually(async () => (await owned(policy)).length === 0, { timeoutMs: 60_000, what: "the end of what it owned" });
      }
      const orphans = await on.space.kubectl(["get", "replicasets", "--selector=app=orphan", "--output=json"]);
      expect(orphans).toContain('"kind": "ReplicaSet"');
      expect(orphans).not.toContain("ownerReferences");
    },
    180_000,
  );
});

describe("what does not go", () => {
  kubeTest("in the foreground names what the object owns, and a claim the pod that uses it", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    await on.run({ manifests: [manifest(configMapWith("owner", namespace))] });
    const owner = (await on.space.get("configmap", "owner")) as Json;
    const { uid } = owner["metadata"] as Json;
    const ownerReferences = [{ apiVersion: "v1", kind: "ConfigMap", name: "owner", uid, blockOwnerDeletion: true }];
    const claim = {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: "data", namespace },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } }, storageClassName: "none" },
    };
    // Claims are not in use by what has no node.
    const nodeName = (await on.space.kube.kubectl(["get", "nodes", "--output=jsonpath={.items[0].metadata.name}"])).trim();
    const user = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "user", namespace },
      spec: {
        nodeName,
        containers: [{ name: "main", image: "example.test/main:1" }],
        volumes: [{ name: "data", persistentVolumeClaim: { claimName: "data" } }],
      },
    };
    for (const object of [configMapWith("owned", namespace, { ...HELD, ownerReferences }), claim, user])
      await on.space.kubectl(["create", "--filename=-"], manifest(object));
    const ended = await on.run({
      operation: "delete",
      propagation_policy: "foreground",
      on_failure: "continue",
      verify_timeout: "8s",
      references: [reference("v1", "ConfigMap", "owner", namespace), reference("v1", "PersistentVolumeClaim", "data", namespace)],
    });
    expect(ended.told).toEqual(["failed ConfigMap owner", "failed PersistentVolumeClaim data"]);
    expect(ended.messages).toEqual([
      "not gone: being deleted; finalizer foregroundDeletion holds it: what it owns goes first, and is still there: ConfigMap owned (finalizer example.org/hold)",
      "not gone: being deleted; finalizer kubernetes.io/pvc-protection holds it: used by pod user",
    ]);
    await on.space.kubectl(["patch", "configmap", "owned", "--type=merge", RELEASE]);
  });

  kubeTest(
    "of a namespace says what is left in it",
    async () => {
      await using on = await operating();
      const name = uniqueName("lingering");
      await on.run({
        manifests: [manifest({ apiVersion: "v1", kind: "Namespace", metadata: { name } }), manifest(configMapWith("held", name, HELD))],
      });
      const ended = await on.run({ operation: "delete", references: [reference("v1", "Namespace", name)], verify_timeout: "15s" });
      expect(ended.code).toBe("VERIFY_TIMEOUT");
      expect(ended.message).toContain(`not gone after 15 s: Namespace ${name}: being deleted; `);
      expect(ended.message).toContain("Some content in the namespace has finalizers remaining: example.org/hold in 1 resource instances");
      expect(ended.message).toContain("held there: ConfigMap held (finalizer example.org/hold)");
      await on.space.kube.kubectl(["patch", "configmap", "held", "-n", name, "--type=merge", RELEASE]);
    },
    120_000,
  );
});
