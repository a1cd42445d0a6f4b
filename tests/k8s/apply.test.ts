import { describe, expect } from "bun:test";
import { applyPlan, planObjects, validatePlan, type ResourceOutcome } from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, sharedKube, uniqueName } from "../support/kube.ts";
import { APPLY, clientOf, configMap, deployment, parsed, refusal, walk, walkAll } from "./walk.ts";

function definition(group: string, kind: string, scope: "Namespaced" | "Cluster" = "Namespaced"): KubeObject {
  const plural = `${kind.toLowerCase()}s`;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope,
      names: { kind, plural, singular: kind.toLowerCase() },
      versions: [
        {
          name: "v1",
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: {
              type: "object",
              properties: { spec: { type: "object", properties: { size: { type: "integer", maximum: 10 } } } },
            },
          },
        },
      ],
    },
  };
}

/** A group that no other test has. */
function uniqueGroup(): string {
  return `${uniqueName("g")}.example.org`;
}

describe("stopped between two objects", () => {
  kubeTest("what is being applied is finished and told, nothing further is begun, and nothing is waited for", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube, namespace.kube.kubeconfigPath, { maxInFlight: 8 });
    const objects = parsed(
      ...Array.from({ length: 120 }, (_, index) => configMap(`map-${index}`, { a: "1" })),
      deployment("web", "none", {}, 0),
    );
    const halt = new AbortController();
    let seen = 0;
    const { outcomes } = await walk(client, objects, {
      defaultNamespace: namespace.name,
      halt: halt.signal,
      onProgress: (done, total) => {
        // Validation counts too, so it is told apart by the resources that are told.
        if (done === 20 && total === 121 && seen >= 20) halt.abort(new Error("called back"));
      },
      onResource: () => {
        seen += 1;
      },
    });
    const created = outcomes.filter(({ status }) => status === "created").map(({ ref }) => ref.name);
    const pending = outcomes.filter(({ status }) => status === "pending");
    // The twenty, and what was in flight beside the last of them.
    expect(created.length).toBeGreaterThanOrEqual(20);
    expect(created.length).toBeLessThanOrEqual(28);
    expect(pending).toHaveLength(121 - created.length);
    expect(new Set(pending.map(({ message }) => message))).toEqual(new Set(["not tried, because the event was cancelled"]));
    const there = (await namespace.kubectl(["get", "configmaps", "--output=name"])).split("\n").filter((line) => line.includes("map-"));
    expect(there.map((line) => line.replace("configmap/", "")).toSorted()).toEqual(created.toSorted());
  });

  kubeTest("also while a namespace that comes along is waited for", async () => {
    const kube = await sharedKube();
    const client = await clientOf(kube);
    const name = uniqueName("halted");
    const halt = new AbortController();
    const { outcomes } = await walk(
      client,
      parsed({ apiVersion: "v1", kind: "Namespace", metadata: { name } }, configMap("inside", {}, name)),
      {
        halt: halt.signal,
        onResource: () => halt.abort(new Error("called back")),
      },
    );
    expect(outcomes.map(({ status }) => status)).toEqual(["created", "pending"]);
    await (await kube.request("DELETE", `/api/v1/namespaces/${name}`)).text();
  });
});

describe("applied", () => {
  kubeTest("created, updated and unchanged are told as they are", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name };
    const first = parsed(configMap("a", { v: "1" }), configMap("b", { v: "1" }), deployment("web", "none", {}, 0));
    expect((await walk(client, first, options)).told).toEqual([
      `created ConfigMap ${namespace.name}/a`,
      `created ConfigMap ${namespace.name}/b`,
      `created Deployment ${namespace.name}/web`,
    ]);
    const second = parsed(configMap("a", { v: "1" }), configMap("b", { v: "2" }), deployment("web", "none", {}, 0));
    expect((await walk(client, second, options)).told.map((text) => text.split(" ")[0])).toEqual(["unchanged", "updated", "unchanged"]);
  });

  kubeTest("unchanged stays unchanged when a controller writes meanwhile, and when it was proven without a write", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name };
    const objects = parsed(configMap("quiet", { v: "1" }));
    await walk(client, objects, options);
    const before = await namespace.get("configmap", "quiet");
    const plan = await planObjects(client, objects, options);
    await eventually(async () => (await validatePlan(client, plan, APPLY)).findings.values().next().value?.would === "unchanged", {
      everyMs: 200,
    });
    const validation = await validatePlan(client, plan, APPLY);
    // Somebody else writes between our look and our apply: no doing of ours.
    await namespace.kubectl(["annotate", "configmap", "quiet", "example.org/note=hello"]);
    const proven = await applyPlan(client, plan, validation, APPLY);
    expect(proven.map(({ status }) => status)).toEqual(["unchanged"]);
    const unproven = new Map([...validation.findings].map(([planned, finding]) => [planned, { ...finding, would: "update" as const }]));
    // That a write did nothing shows when the last one that did is two seconds old by the server's clock.
    const apply = async (): Promise<string | undefined> =>
      (await applyPlan(client, plan, { ...validation, findings: unproven }, APPLY))[0]?.status;
    await eventually(async () => (await apply()) === "unchanged", { everyMs: 200 });
    const after = await namespace.get("configmap", "quiet");
    expect(after?.["data"]).toEqual({ v: "1" });
    expect(after?.["metadata"]).toMatchObject({ uid: (before?.["metadata"] as { uid: string } | undefined)?.uid });
  });

  kubeTest("drift is found and mended, whatever was applied before", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, forceConflicts: true };
    const objects = parsed(configMap("drifting", { v: "1" }));
    await walk(client, objects, options);
    await namespace.kubectl(["patch", "configmap", "drifting", "--type=merge", "--patch", '{"data":{"v":"9"}}']);
    expect((await walk(client, objects, options)).told).toEqual([`updated ConfigMap ${namespace.name}/drifting`]);
    expect(await namespace.get("configmap", "drifting")).toMatchObject({ data: { v: "1" } });
  });

  kubeTest("a namespace and what is in it, in whatever order they stand", async () => {
    const client = await clientOf(await sharedKube());
    const name = uniqueName("brought");
    const objects = parsed(configMap("inside", { a: "1" }, name), { apiVersion: "v1", kind: "Namespace", metadata: { name } });
    try {
      const { told, validation } = await walkAll(client, objects, { timeoutMs: 30_000 });
      expect(told).toEqual([`created ConfigMap ${name}/inside`, `created Namespace ${name}`]);
      expect(validation.deferred.map(({ label, deferral }) => [label, deferral])).toEqual([
        [`ConfigMap ${name}/inside`, { because: "namespace", name }],
      ]);
      // The second time the namespace stands, so everything is tried before anything is touched.
      const again = await walk(client, objects);
      expect(again.validation.deferred).toEqual([]);
    } finally {
      await client.send({ method: "DELETE", path: `/api/v1/namespaces/${name}` });
    }
  });

  kubeTest("a fault in what could not be tried before shows before anything of it is applied", async () => {
    const client = await clientOf(await sharedKube());
    const name = uniqueName("brought");
    const objects = parsed({ apiVersion: "v1", kind: "Namespace", metadata: { name } }, configMap("good", { a: "1" }, name), {
      ...configMap("bad", {}, name),
      dota: {},
    });
    try {
      const { outcomes, told } = await walk(client, objects);
      expect(told).toEqual([`created Namespace ${name}`, `pending ConfigMap ${name}/good`, `failed ConfigMap ${name}/bad`]);
      expect(outcomes[2]?.error?.code).toBe("UNKNOWN_FIELD");
      expect(outcomes[2]?.message).toContain(".dota");
    } finally {
      await client.send({ method: "DELETE", path: `/api/v1/namespaces/${name}` });
    }
  });

  kubeTest("a definition and its resources, namespaced and cluster-wide, in one event", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const group = uniqueGroup();
    const objects = parsed(
      { apiVersion: `${group}/v1`, kind: "Gadget", metadata: { name: "one" }, spec: { size: 3 } },
      { apiVersion: `${group}/v1`, kind: "Planet", metadata: { name: "earth" } },
      definition(group, "Gadget"),
      definition(group, "Planet", "Cluster"),
    );
    try {
      const { told, validation } = await walkAll(client, objects, { timeoutMs: 30_000 }, namespace.name);
      expect(told).toEqual([
        `created Gadget ${namespace.name}/one`,
        "created Planet earth",
        `created CustomResourceDefinition gadgets.${group}`,
        `created CustomResourceDefinition planets.${group}`,
      ]);
      expect(validation.deferred.map(({ deferral }) => deferral?.because)).toEqual(["definition", "definition"]);
      expect(await namespace.get(`gadgets.${group}`, "one")).toMatchObject({ spec: { size: 3 } });
      // The kind is known from now on, without the definition in the event.
      const alone = parsed({ apiVersion: `${group}/v1`, kind: "Gadget", metadata: { name: "two" }, spec: { size: 11 } });
      const error = await refusal(walk(client, alone, { defaultNamespace: namespace.name }));
      expect(error.code).toBe("INVALID_OBJECT");
      expect(error.message).toContain("spec.size");
    } finally {
      for (const kind of ["gadgets", "planets"])
        await client.send({ method: "DELETE", path: `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${kind}.${group}` });
    }
  });

  kubeTest("a definition that the API server does not establish stops what leans on it", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const group = uniqueGroup();
    await walk(client, parsed(definition(group, "Gadget")));
    // Another definition of the same group wants the same names.
    const rival = definition(group, "Gadget");
    (rival.metadata as { name: string }).name = `others.${group}`;
    (rival["spec"] as { names: object }).names = { kind: "Gadget", plural: "others", singular: "gadget" };
    const { outcomes, told } = await walk(
      client,
      parsed(rival, { apiVersion: `${group}/v1`, kind: "Gadget", metadata: { name: "one" }, spec: { size: 3 } }),
      { defaultNamespace: namespace.name },
    );
    try {
      expect(told).toEqual([`created CustomResourceDefinition others.${group}`, `pending Gadget ${namespace.name}/one`]);
      expect(outcomes[0]?.error?.code).toBe("VERIFY_FAILED");
      expect(outcomes[0]?.message).toStartWith("not ready: ");
      expect(outcomes[0]?.message).toContain("is already in use");
      expect(outcomes[1]?.message).toBe(
        `not tried, because CustomResourceDefinition others.${group}, which defines its kind, is not ready`,
      );
    } finally {
      for (const kind of ["gadgets", "others"])
        await client.send({ method: "DELETE", path: `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${kind}.${group}` });
    }
  });

  kubeTest("when one object fails, its stage is finished and later stages stay untouched", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const objects = parsed(configMap("a", { v: "1" }), configMap("b", { v: "1" }), deployment("web", "none", {}, 0));
    const plan = await planObjects(client, objects, { defaultNamespace: namespace.name });
    const validation = await validatePlan(client, plan, APPLY);
    // Between the trial and the apply, somebody else takes the name.
    const theirs = JSON.stringify({ ...configMap("a", { v: "theirs" }), immutable: true });
    await namespace.kubectl(["apply", "--server-side", "--field-manager=rival", "-f", "-"], theirs);
    const seen: ResourceOutcome[] = [];
    const outcomes = await applyPlan(client, plan, validation, { ...APPLY, onResource: (outcome) => seen.push(outcome) });
    expect(outcomes.map(({ status }) => status)).toEqual(["failed", "created", "pending"]);
    expect(outcomes[0]?.error?.code).toBe("FIELD_CONFLICT");
    expect(seen.map(({ status }) => status).toSorted()).toEqual(["created", "failed", "pending"]);
    expect(await namespace.get("deployment", "web")).toBeUndefined();
  });

  kubeTest("an integer beyond 2^53 arrives as it was written", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const group = uniqueGroup();
    const crd = definition(group, "Gadget");
    const versions = (crd["spec"] as { versions: { schema: { openAPIV3Schema: { properties: object } } }[] }).versions;
    for (const version of versions)
      version.schema.openAPIV3Schema.properties = { spec: { type: "object", properties: { size: { type: "integer", format: "int64" } } } };
    const gadget = { apiVersion: `${group}/v1`, kind: "Gadget", metadata: { name: "one" }, spec: { size: 9007199254740993n } };
    try {
      await walk(client, parsed(crd, gadget), { defaultNamespace: namespace.name });
      expect(await namespace.kubectl(["get", `gadgets.${group}`, "one", "--output=jsonpath={.spec.size}"])).toBe("9007199254740993");
    } finally {
      await client.send({ method: "DELETE", path: `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.${group}` });
    }
  });

  kubeTest("three hundred objects and more of many kinds in one event", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const objects = Array.from({ length: 320 }, (_, index): KubeObject => {
      const name = `object-${index}`;
      const metadata = { name, labels: { app: "many" } };
      switch (index % 4) {
        case 0:
          return configMap(name, { text: "x".repeat(8_000) });
        case 1:
          return { apiVersion: "v1", kind: "Secret", metadata, stringData: { key: "value" } };
        case 2:
          return { apiVersion: "v1", kind: "ServiceAccount", metadata };
        default:
          return { apiVersion: "v1", kind: "Service", metadata, spec: { selector: { app: name }, ports: [{ port: 80, protocol: "TCP" }] } };
      }
    });
    const { outcomes } = await walkAll(client, parsed(...objects), { timeoutMs: 30_000 }, namespace.name);
    expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(["created"]));
  });
});

interface Entry {
  readonly manager: string;
  readonly operation: string;
}

async function managersOf(object: Record<string, unknown> | undefined): Promise<string[]> {
  const metadata = object?.["metadata"] as { managedFields: Entry[] } | undefined;
  return (metadata?.managedFields ?? []).map(({ manager, operation }) => `${manager}/${operation}`).toSorted();
}

async function raw(kube: { request(method: string, path: string): Promise<Response> }, path: string): Promise<Record<string, unknown>> {
  return (await (await kube.request("GET", path)).json()) as Record<string, unknown>;
}

describe("objects of other times", () => {
  kubeTest("what a 0.1 agent wrote becomes ours: no conflict, and a key that is left out goes", async () => {
    await using namespace = await freshNamespace();
    const path = `/api/v1/namespaces/${namespace.name}/configmaps`;
    const old = { ...configMap("settings", { keep: "1", change: "1", drop: "1" }), metadata: { name: "settings", labels: { old: "yes" } } };
    expect((await namespace.kube.request("POST", `${path}?fieldManager=transporter`, old)).status).toBe(201);
    // A second manager's field must survive.
    await namespace.kubectl(["annotate", "configmap", "settings", "example.org/owner=somebody"]);
    expect(await managersOf(await raw(namespace.kube, `${path}/settings`))).toContain("transporter/Update");
    const client = await clientOf(namespace.kube);
    const ours = parsed(configMap("settings", { keep: "1", change: "2" }));
    const { told } = await walk(client, ours, { defaultNamespace: namespace.name });
    expect(told).toEqual([`updated ConfigMap ${namespace.name}/settings`]);
    const after = await raw(namespace.kube, `${path}/settings`);
    expect(after["data"]).toEqual({ keep: "1", change: "2" });
    expect((after["metadata"] as { labels?: unknown }).labels).toBeUndefined();
    expect(after["metadata"]).toMatchObject({ annotations: { "example.org/owner": "somebody" } });
    expect(await managersOf(after)).toEqual(["kubectl-annotate/Update", "transporter/Apply"]);
  });

  kubeTest("what kubectl applied from the client's side becomes ours, its annotation with it", async () => {
    await using namespace = await freshNamespace();
    const path = `/apis/apps/v1/namespaces/${namespace.name}/deployments/web`;
    const theirs = { ...deployment("web", "old", {}, 0), metadata: { name: "web", labels: { drop: "me" } } };
    await namespace.kubectl(["apply", "-f", "-"], JSON.stringify(theirs));
    const client = await clientOf(namespace.kube);
    const { told } = await walk(client, parsed(deployment("web", "new", {}, 0)), { defaultNamespace: namespace.name });
    expect(told).toEqual([`updated Deployment ${namespace.name}/web`]);
    const after = await raw(namespace.kube, path);
    expect(after).toMatchObject({ spec: { template: { spec: { containers: [{ image: "new" }] } } } });
    const metadata = after["metadata"] as { labels?: unknown; annotations?: Record<string, string> };
    expect(metadata.labels).toBeUndefined();
    expect(Object.keys(metadata.annotations ?? {})).not.toContain("kubectl.kubernetes.io/last-applied-configuration");
    expect((await managersOf(after)).filter((one) => one.startsWith("kubectl"))).toEqual([]);
  });

  kubeTest("only the others' conflicts are named when some are ours by history", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    await walk(client, parsed(configMap("both", { b: "1" })), { defaultNamespace: namespace.name, fieldManager: "painter" });
    await namespace.kubectl(["apply", "-f", "-"], JSON.stringify(configMap("both", { a: "1" })));
    const error = await refusal(walk(client, parsed(configMap("both", { a: "2", b: "2" })), { defaultNamespace: namespace.name }));
    expect(error.message).toMatch(/^ConfigMap [-\w]+\/both: \.data\.b belongs to field manager "painter" \(last changed \d{4}-[^)]*Z\)$/);
    // Validation has simulated only.
    expect(await namespace.get("configmap", "both")).toMatchObject({ data: { a: "1", b: "1" } });
  });

  kubeTest("a 0.1 object that is the same already is taken over once, and is unchanged from then on", async () => {
    await using namespace = await freshNamespace();
    const path = `/api/v1/namespaces/${namespace.name}/configmaps`;
    await namespace.kube.request("POST", `${path}?fieldManager=transporter`, configMap("same", { a: "1" }));
    const client = await clientOf(namespace.kube);
    const objects = parsed(configMap("same", { a: "1" }));
    // Whose fields they are is part of the object too.
    expect((await walk(client, objects, { defaultNamespace: namespace.name })).told).toEqual([`updated ConfigMap ${namespace.name}/same`]);
    expect(await managersOf(await raw(namespace.kube, `${path}/same`))).toEqual(["transporter/Apply"]);
    expect((await walk(client, objects, { defaultNamespace: namespace.name })).told).toEqual([
      `unchanged ConfigMap ${namespace.name}/same`,
    ]);
  });
});
