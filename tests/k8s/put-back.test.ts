import { describe, expect } from "bun:test";
import { applyPlan, planObjects, validatePlan } from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace, uniqueName } from "../support/kube.ts";
import { APPLY, clientOf, parsed, walk } from "./walk.ts";

type Json = Record<string, unknown>;

/** Addresses and ports are the whole cluster's, which other tests share. */
const OFFSET = 1 + Math.floor(Math.random() * 250);

interface Live extends Json {
  readonly metadata: Json & { readonly managedFields: readonly Json[] };
  readonly spec: Json;
}

async function live(namespace: Namespace, kind: string): Promise<Live> {
  return JSON.parse(await namespace.kubectl(["get", kind, "one", "--output=json", "--show-managed-fields"])) as Live;
}

/** Refuses what is called new in this namespace; to the API server it is one rule among others, and it tells nobody beforehand. */
async function refuseTheNew(namespace: Namespace): Promise<() => Promise<void>> {
  const name = uniqueName("refuse-new");
  const policy = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingAdmissionPolicy",
    metadata: { name },
    spec: {
      failurePolicy: "Fail",
      matchConstraints: {
        namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace.name } },
        resourceRules: [{ apiGroups: ["*"], apiVersions: ["*"], operations: ["CREATE"], resources: ["jobs", "services", "configmaps"] }],
      },
      validations: [
        { expression: "!has(object.metadata.labels) || !('age' in object.metadata.labels) || object.metadata.labels['age'] != 'new'" },
      ],
    },
  };
  const binding = { ...policy, kind: "ValidatingAdmissionPolicyBinding", spec: { policyName: name, validationActions: ["Deny"] } };
  for (const object of [policy, binding]) await namespace.kubectl(["create", "-f", "-"], JSON.stringify(object));
  const probe = JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "probe", labels: { age: "new" } } });
  const path = `/api/v1/namespaces/${namespace.name}/configmaps?dryRun=All`;
  const refuses = async (): Promise<boolean> => (await namespace.kube.request("POST", path, JSON.parse(probe))).status === 422;
  await eventually(refuses, { timeoutMs: 60_000 });
  return async () => {
    await namespace.kubectl(["delete", "validatingadmissionpolicybindings,validatingadmissionpolicies", name]);
    await eventually(async () => !(await refuses()), { timeoutMs: 60_000 });
  };
}

function labelled(object: KubeObject, age: string): KubeObject {
  return { ...object, metadata: { ...object.metadata, labels: { age } } };
}

function job(image: string): KubeObject {
  const spec = {
    backoffLimit: 3,
    template: { metadata: { labels: { a: "b" } }, spec: { restartPolicy: "Never", containers: [{ name: "main", image }] } },
  };
  return { apiVersion: "batch/v1", kind: "Job", metadata: { name: "one" }, spec };
}

function service(address: string): KubeObject {
  const spec = { type: "NodePort", clusterIP: address, selector: { app: "one" }, ports: [{ port: 80, nodePort: 31_000 + OFFSET }] };
  return { apiVersion: "v1", kind: "Service", metadata: { name: "one", annotations: { note: "kept" } }, spec };
}

function sealed(value: string): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "one" }, data: { value }, immutable: true };
}

describe("an object whose successor is refused when it is gone already", () => {
  kubeTest("stands there again: its fields, its address and port, its managers and when they wrote", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, onImmutable: "recreate" } as const;
    const addresses = [`10.96.201.${OFFSET}`, `10.96.202.${OFFSET}`];
    const olds = [job("one"), service(addresses[0] ?? ""), sealed("1")].map((object) => labelled(object, "old"));
    await walk(client, parsed(...olds), options);
    await namespace.kubectl(["annotate", "service", "one", "example.org/by=hand"]);
    const before = [await live(namespace, "job"), await live(namespace, "service"), await live(namespace, "configmap")];
    const news = [job("two"), service(addresses[1] ?? ""), sealed("2")].map((object) => labelled(object, "new"));
    const plan = await planObjects(client, parsed(...news), { defaultNamespace: namespace.name });
    const validation = await validatePlan(client, plan, { ...APPLY, ...options });
    expect([...validation.findings.values()].map(({ would }) => would)).toEqual(["recreate", "recreate", "recreate"]);
    const clear = await refuseTheNew(namespace);
    try {
      for (const planned of plan.objects) {
        const only = {
          ...plan,
          batches: plan.batches.map((batch) => ({ ...batch, objects: batch.objects.filter((one) => one === planned) })),
        };
        const outcome = (await applyPlan(client, only, validation, { ...APPLY, ...options })).find((one) => one.planned === planned);
        expect(outcome?.error?.code).toBe("ADMISSION_DENIED");
        expect(outcome?.message).toEndWith("; it had been deleted to be made anew, and the old one was put back");
      }
    } finally {
      await clear();
    }
    const after = [await live(namespace, "job"), await live(namespace, "service"), await live(namespace, "configmap")];
    for (const [index, old] of before.entries()) {
      const now = after[index];
      expect(now?.metadata["uid"]).not.toBe(old.metadata["uid"] as string);
      expect(now?.metadata["labels"]).toMatchObject({ age: "old" });
      const main = (entries: readonly Json[] = []): readonly Json[] => entries.filter(({ subresource }) => subresource === undefined);
      expect(main(now?.metadata.managedFields)).toEqual(main(old.metadata.managedFields) as never);
    }
    expect(after[1]?.spec).toEqual(before[1]?.spec as never);
    expect(after[1]?.metadata["annotations"]).toEqual({ note: "kept", "example.org/by": "hand" });
    expect(after[2]).toMatchObject({ data: { value: "1" }, immutable: true });
    // A Job tells its pods from others by its own uid, which is another by now.
    const made = after[0]?.spec as { selector: { matchLabels: Json }; template: { metadata: { labels: Json } } } & Json;
    expect(made).toMatchObject({ backoffLimit: 3, template: { spec: { containers: [{ image: "one" }] } } });
    expect(made.selector.matchLabels["batch.kubernetes.io/controller-uid"]).toBe(after[0]?.metadata["uid"]);
    expect(made.template.metadata.labels).toMatchObject({ a: "b", "batch.kubernetes.io/controller-uid": after[0]?.metadata["uid"] });
    // And where nobody refuses, the same event does what it was sent for, though the port was taken while it was tried.
    const again = await walk(client, parsed(...news), options);
    expect(again.told.map((line) => line.split(" ")[0])).toEqual(["recreated", "recreated", "recreated"]);
  });
});
