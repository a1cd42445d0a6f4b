import { describe, expect } from "bun:test";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace, uniqueName } from "../support/kube.ts";
import { clientOf, configMap, deployment, parsed, refusal, walk } from "./walk.ts";

type Json = Record<string, unknown>;

const RECREATE = { onImmutable: "recreate" } as const;

function selecting(name: string, label: string, replicas = 1): KubeObject {
  const object = deployment(name, "none", { tier: label }, replicas);
  (object["spec"] as { selector: Json }).selector = { matchLabels: { app: name, tier: label } };
  return object;
}

function job(name: string, image: string): KubeObject {
  const template = { spec: { restartPolicy: "Never", containers: [{ name: "main", image }] } };
  return { apiVersion: "batch/v1", kind: "Job", metadata: { name }, spec: { template } };
}

function pod(name: string, cpu: string): KubeObject {
  const container = { name: "main", image: "none", resources: { limits: { cpu, memory: "10Mi" } } };
  return { apiVersion: "v1", kind: "Pod", metadata: { name, labels: { app: name } }, spec: { containers: [container] } };
}

function claim(name: string, mode: string, annotations: Record<string, string> = {}): KubeObject {
  const spec = { accessModes: [mode], storageClassName: "nobody-makes-it", resources: { requests: { storage: "1Gi" } } };
  return { apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: { name, annotations }, spec };
}

function binding(role: string): KubeObject {
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: role };
  return { apiVersion: "rbac.authorization.k8s.io/v1", kind: "RoleBinding", metadata: { name: "who" }, roleRef, subjects: [] };
}

async function uidOf(namespace: Namespace, kind: string, name: string): Promise<string> {
  return namespace.kubectl(["get", kind, name, "--output=jsonpath={.metadata.uid}"]);
}

describe("a field that cannot be changed", () => {
  const stateful = (serviceName: string): KubeObject => ({
    ...selecting("set", "a", 0),
    kind: "StatefulSet",
    spec: { ...(selecting("set", "a", 0)["spec"] as Json), serviceName },
  });
  const sealed = (value: string): KubeObject => ({ ...configMap("sealed", { value }), immutable: true });
  const secret = (type: string): KubeObject => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "typed" },
    type,
    stringData: { a: "b" },
  });
  const cases: readonly (readonly [string, KubeObject, KubeObject, string])[] = [
    ["Deployment", selecting("web", "a", 0), selecting("web", "b", 0), "spec.selector"],
    ["StatefulSet", stateful("one"), stateful("two"), "spec.serviceName cannot be changed once it is set: spec: Forbidden"],
    ["Job", job("once", "one"), job("once", "two"), "spec.template"],
    ["ConfigMap", sealed("1"), sealed("2"), "data"],
    ["Secret", secret("example.org/a"), secret("example.org/b"), "type"],
    ["PersistentVolumeClaim", claim("disk", "ReadWriteOnce"), claim("disk", "ReadWriteMany"), "spec.accessModes cannot be changed"],
    [
      "Pod",
      pod("bare", "10m"),
      pod("bare", "20m"),
      "spec.containers cannot be changed once it is set: spec: Forbidden: pod updates may not",
    ],
    ["RoleBinding", binding("one"), binding("two"), "roleRef"],
  ];
  for (const [kind, before, after, words] of cases)
    kubeTest(`of a ${kind} is named, and nothing is touched`, async () => {
      await using namespace = await freshNamespace();
      const client = await clientOf(namespace.kube);
      const options = { defaultNamespace: namespace.name };
      await walk(client, parsed(before), options);
      const uid = await uidOf(namespace, kind, before.metadata.name ?? "");
      const error = await refusal(walk(client, parsed(configMap("beside", { a: "1" }), after), options));
      expect(error.code).toBe("IMMUTABLE_FIELD");
      expect(error.message).toStartWith(`${kind} ${namespace.name}/${before.metadata.name ?? ""}: `);
      expect(error.message).toContain(words);
      expect(error.message.length).toBeLessThan(800);
      expect(error.remedy).toContain("transporter.dev/on-immutable: recreate");
      expect(await namespace.get("configmap", "beside")).toBeUndefined();
      expect(await uidOf(namespace, kind, before.metadata.name ?? "")).toBe(uid);
    });
});

describe("an object that may be made anew", () => {
  kubeTest("is deleted and made from its manifest, in an event beside others, and is unchanged from then on", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...RECREATE };
    const before = parsed(selecting("web", "a"), job("once", "one"), configMap("beside", { a: "1" }));
    await walk(client, before, options);
    const uids = [await uidOf(namespace, "deployment", "web"), await uidOf(namespace, "job", "once")];
    const after = parsed(selecting("web", "b"), job("once", "two"), configMap("beside", { a: "2" }));
    const { told, validation } = await walk(client, after, options);
    expect([...validation.findings.values()].map(({ would }) => would).toSorted()).toEqual(["recreate", "recreate", "update"]);
    expect(told).toEqual([
      `recreated Deployment ${namespace.name}/web`,
      `recreated Job ${namespace.name}/once`,
      `updated ConfigMap ${namespace.name}/beside`,
    ]);
    expect(await uidOf(namespace, "deployment", "web")).not.toBe(uids[0] ?? "");
    expect(await uidOf(namespace, "job", "once")).not.toBe(uids[1] ?? "");
    expect(await namespace.get("deployment", "web")).toMatchObject({ spec: { selector: { matchLabels: { tier: "b" } } } });
    expect((await walk(client, after, options)).told.map((line) => line.split(" ")[0])).toEqual(["unchanged", "unchanged", "unchanged"]);
  });

  kubeTest("keeps what an autoscaler has made of a field that is left to it, and does not book it", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...RECREATE, ignoreFields: [{ pointers: ["/spec/replicas"] }] };
    await walk(client, parsed(selecting("web", "a", 1)), options);
    await namespace.kubectl(["scale", "deployment", "web", "--replicas=3"]);
    expect((await walk(client, parsed(selecting("web", "b", 1)), options)).told).toEqual([`recreated Deployment ${namespace.name}/web`]);
    expect(await namespace.get("deployment", "web")).toMatchObject({ spec: { replicas: 3, selector: { matchLabels: { tier: "b" } } } });
    const text = await namespace.kubectl(["get", "deployment", "web", "--output=json", "--show-managed-fields"]);
    const { managedFields } = (JSON.parse(text) as { metadata: { managedFields: { manager: string; fieldsV1: { "f:spec"?: Json } }[] } })
      .metadata;
    expect(managedFields.find(({ manager }) => manager === "transporter")?.fieldsV1["f:spec"]).not.toHaveProperty("f:replicas");
  });

  kubeTest("is left alone where the new one is refused by the dry run, or may not be deleted", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...RECREATE };
    await walk(client, parsed(selecting("web", "a", 0)), options);
    const uid = await uidOf(namespace, "deployment", "web");
    const broken = selecting("web", "b", 0);
    (broken["spec"] as { template: { metadata: { labels: Json } } }).template.metadata.labels = { app: "web", tier: "c" };
    const refused = await refusal(walk(client, parsed(broken), options));
    expect(refused.code).toBe("INVALID_OBJECT");
    expect(refused.message).toContain("`selector` does not match template `labels`");
    const verbs = ["get", "list", "watch", "create", "patch", "update"];
    const account = await namespace.kubeconfigWith([
      { apiGroups: ["apps"], resources: ["deployments"], verbs },
      { apiGroups: [""], resources: ["namespaces"], verbs: ["get"] },
    ]);
    const poor = await clientOf(namespace.kube, account);
    const denied = await refusal(walk(poor, parsed(selecting("web", "b", 0)), options));
    expect(denied.code).toBe("FORBIDDEN");
    expect(denied.message).toContain('cannot delete resource "deployments"');
    expect(denied.message).toContain("it would be deleted and made anew, as a field of it cannot be changed");
    expect(await uidOf(namespace, "deployment", "web")).toBe(uid);
  });

  kubeTest("is left alone where a field of it belongs to somebody else, unless that may be taken", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...RECREATE };
    const sealed = (value: string): KubeObject => ({ ...configMap("sealed", { value }), immutable: true });
    await namespace.kubectl(["apply", "--server-side", "--field-manager=rival", "-f", "-"], JSON.stringify(sealed("theirs")));
    const uid = await uidOf(namespace, "configmap", "sealed");
    const error = await refusal(walk(client, parsed(sealed("ours")), options));
    expect(error.code).toBe("FIELD_CONFLICT");
    expect(error.message).toContain('.data.value belongs to field manager "rival"');
    expect(await uidOf(namespace, "configmap", "sealed")).toBe(uid);
    expect((await walk(client, parsed(sealed("ours")), { ...options, forceConflicts: true })).told).toEqual([
      `recreated ConfigMap ${namespace.name}/sealed`,
    ]);
  });

  kubeTest("is put back with all that was booked, where the new one is refused in earnest", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...RECREATE };
    await walk(client, parsed(pod("bare", "100m")), options);
    await namespace.kubectl(["annotate", "pod", "bare", "example.org/note=keep"]);
    const quota = { apiVersion: "v1", kind: "ResourceQuota", metadata: { name: "small" }, spec: { hard: { "limits.cpu": "500m" } } };
    await namespace.kubectl(["apply", "-f", "-"], JSON.stringify(quota));
    await eventually(async () => (await namespace.kubectl(["get", "quota", "small", "--output=jsonpath={.status.used}"])) !== "");
    const uid = await uidOf(namespace, "pod", "bare");
    // A quota cannot be judged while the old one has its share.
    const { outcomes, told } = await walk(client, parsed(pod("bare", "2")), options);
    expect(told).toEqual([`failed Pod ${namespace.name}/bare`]);
    expect(outcomes[0]?.error?.code).toBe("QUOTA_EXCEEDED");
    expect(outcomes[0]?.message).toContain("exceeded quota: small");
    expect(outcomes[0]?.message).toEndWith("; it had been deleted to be made anew, and the old one was put back");
    const text = await namespace.kubectl(["get", "pod", "bare", "--output=json", "--show-managed-fields"]);
    const after = JSON.parse(text) as { metadata: { uid: string; managedFields: { manager: string; operation: string }[] } };
    expect(after.metadata.uid).not.toBe(uid);
    expect(after).toMatchObject({
      metadata: { annotations: { "example.org/note": "keep" }, labels: { app: "bare" } },
      spec: { containers: [{ resources: { limits: { cpu: "100m" } } }] },
    });
    const managers = after.metadata.managedFields.map(({ manager, operation }) => `${manager}/${operation}`);
    expect(managers).toContain("transporter/Apply");
    expect(managers).toContain("kubectl-annotate/Update");
    expect(managers).not.toContain("transporter/Update");
  });

  kubeTest("is missed by name where not even the old one can be put back", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...RECREATE };
    await walk(client, parsed(selecting("web", "a", 0)), options);
    const quota = {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: { name: "none" },
      spec: { hard: { "count/deployments.apps": "0" } },
    };
    await namespace.kubectl(["apply", "-f", "-"], JSON.stringify(quota));
    await eventually(async () => (await namespace.kubectl(["get", "quota", "none", "--output=jsonpath={.status.used}"])) !== "");
    const { outcomes } = await walk(client, parsed(selecting("web", "b", 0)), options);
    expect(outcomes[0]?.error?.code).toBe("QUOTA_EXCEEDED");
    expect(outcomes[0]?.message).toContain("; it had been deleted to be made anew, and the old one could not be put back: ");
    expect(outcomes[0]?.error?.details["put_back"]).toBe(false);
    expect(await namespace.get("deployment", "web")).toBeUndefined();
  });

  kubeTest("is waited for, and what keeps it is named, where a finalizer holds it", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...RECREATE, goneTimeoutMs: 1_500 };
    const held = (value: string): KubeObject => ({
      ...configMap("held", { value }),
      immutable: true,
      metadata: { name: "held", finalizers: ["example.org/hold"] },
    });
    await walk(client, parsed(held("1")), options);
    try {
      const { outcomes } = await walk(client, parsed(held("2")), options);
      expect(outcomes[0]?.error?.code).toBe("VERIFY_TIMEOUT");
      expect(outcomes[0]?.message).toContain("was deleted to be made anew, and is not gone after 2 s");
      expect(outcomes[0]?.message).toContain("example.org/hold");
    } finally {
      await namespace.kubectl(["patch", "configmap", "held", "--type=merge", "--patch", '{"metadata":{"finalizers":null}}']);
    }
    await eventually(async () => (await namespace.get("configmap", "held")) === undefined);
    // Sent again, it is simply made.
    expect((await walk(client, parsed(configMap("held", { value: "2" })), options)).told).toEqual([
      `created ConfigMap ${namespace.name}/held`,
    ]);
  });

  kubeTest("is made all the same when the deadline passes after its deletion", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const held = (value: string): KubeObject => ({
      ...configMap("held", { value }),
      immutable: true,
      metadata: { name: "held", finalizers: ["example.org/hold"] },
    });
    const options = { defaultNamespace: namespace.name, ...RECREATE };
    await walk(client, parsed(held("1")), options);
    const late = new AbortController();
    const walking = walk(client, parsed({ ...held("2"), metadata: { name: "held" } }), { ...options, signal: late.signal });
    const ending = async (): Promise<string> =>
      namespace.kubectl(["get", "configmap", "held", "--output=jsonpath={.metadata.deletionTimestamp}"]);
    await eventually(async () => (await ending()) !== "");
    late.abort(new Error("the deadline has passed"));
    await namespace.kubectl(["patch", "configmap", "held", "--type=merge", "--patch", '{"metadata":{"finalizers":null}}']);
    await walking.catch(() => undefined);
    expect(await namespace.get("configmap", "held")).toMatchObject({ data: { value: "2" } });
    expect(await ending()).toBe("");
  });
});

describe("what nobody can bring back", () => {
  kubeTest("is not made anew because the event says so for all, only because the object itself does", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...RECREATE };
    await walk(client, parsed(claim("disk", "ReadWriteOnce")), options);
    const uid = await uidOf(namespace, "pvc", "disk");
    const error = await refusal(walk(client, parsed(claim("disk", "ReadWriteMany")), options));
    expect(error.code).toBe("IMMUTABLE_FIELD");
    expect(error.message).toContain("--on-immutable recreate is not for this kind");
    expect(await uidOf(namespace, "pvc", "disk")).toBe(uid);
    const itself = claim("disk", "ReadWriteMany", { "transporter.dev/on-immutable": "recreate" });
    expect((await walk(client, parsed(itself), { defaultNamespace: namespace.name })).told).toEqual([
      `recreated PersistentVolumeClaim ${namespace.name}/disk`,
    ]);
    expect(await uidOf(namespace, "pvc", "disk")).not.toBe(uid);
    // And one that says no keeps to it.
    const never = { ...selecting("web", "a", 0) };
    never.metadata = { name: "web", annotations: { "transporter.dev/on-immutable": "fail" } };
    await walk(client, parsed(never), options);
    const other = { ...selecting("web", "b", 0), metadata: never.metadata };
    expect((await refusal(walk(client, parsed(other), options))).code).toBe("IMMUTABLE_FIELD");
  });

  kubeTest("neither is a StatefulSet that takes its volume claims with it", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...RECREATE };
    const set = (serviceName: string, annotations: Record<string, string> = {}): KubeObject => {
      const persistentVolumeClaimRetentionPolicy = { whenDeleted: "Delete", whenScaled: "Retain" };
      const spec = { ...(selecting("db", "a", 0)["spec"] as Json), serviceName, persistentVolumeClaimRetentionPolicy };
      return { apiVersion: "apps/v1", kind: "StatefulSet", metadata: { name: "db", annotations }, spec };
    };
    await walk(client, parsed(set("one")), options);
    const uid = await uidOf(namespace, "statefulset", "db");
    const error = await refusal(walk(client, parsed(set("two")), options));
    expect(error.code).toBe("IMMUTABLE_FIELD");
    expect(error.message).toContain("with it would go the volume claims of its pods");
    expect(await uidOf(namespace, "statefulset", "db")).toBe(uid);
    const itself = set("two", { "transporter.dev/on-immutable": "recreate" });
    expect((await walk(client, parsed(itself), options)).told).toEqual([`recreated StatefulSet ${namespace.name}/db`]);
  });

  kubeTest("nor an object whose manifest means the very one that is there", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...RECREATE };
    const sealed = (value: string, metadata: Json = {}): KubeObject => ({
      ...configMap("sealed", { value }),
      immutable: true,
      metadata: { name: "sealed", ...metadata },
    });
    await walk(client, parsed(sealed("1")), options);
    const uid = await uidOf(namespace, "configmap", "sealed");
    const error = await refusal(walk(client, parsed(sealed("2", { uid })), options));
    expect(error.message).toContain("its manifest names a metadata.uid");
    expect(await uidOf(namespace, "configmap", "sealed")).toBe(uid);
  });

  kubeTest("a definition and a namespace neither", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const name = uniqueName("widget");
    const group = `${uniqueName("g")}.example.org`;
    const crd = (scope: string): KubeObject => ({
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: `${name}s.${group}` },
      spec: {
        group,
        scope,
        names: { kind: "Widget", plural: `${name}s`, singular: name },
        versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object" } } }],
      },
    });
    try {
      await walk(client, parsed(crd("Namespaced")), RECREATE);
      // Before that its scope may still be changed.
      await namespace.kubectl(["wait", "--for=condition=Established", "--timeout=30s", `crd/${name}s.${group}`]);
      const error = await refusal(walk(client, parsed(crd("Cluster")), RECREATE));
      expect(error.code).toBe("IMMUTABLE_FIELD");
      expect(error.message).toContain("spec.scope");
    } finally {
      await client.send({ method: "DELETE", path: `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}s.${group}` });
    }
  });
});
