import { describe, expect } from "bun:test";
import { planObjects, validatePlan, type KubeClient } from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { freshNamespace, kubeTest, type Namespace, uniqueName } from "../support/kube.ts";
import { APPLY, clientOf, configMap, deployment, parsed, refusal, walk } from "./walk.ts";

type Json = Record<string, unknown>;

interface Entry {
  readonly manager: string;
  readonly operation: string;
  readonly subresource?: string;
  readonly fieldsV1: Json;
}

/** A client that tells of each request that it sends. */
function listening(client: KubeClient, onSend: (line: string) => void): KubeClient {
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
      onSend(`${request.method} ${request.contentType ?? ""} ${request.path}`);
      return client.send(request);
    },
  };
}

async function live(namespace: Namespace, kind: string, name: string): Promise<Json> {
  const object = await namespace.get(kind, name);
  if (object === undefined) throw new Error(`there is no ${kind} ${name}`);
  // kubectl leaves them out unless it is asked.
  const text = await namespace.kubectl(["get", kind, name, "--output=json", "--show-managed-fields"]);
  return JSON.parse(text) as Json;
}

function entries(object: Json): Entry[] {
  return (object["metadata"] as { managedFields: Entry[] }).managedFields;
}

function ours(object: Json): Json {
  const found = entries(object).find(({ manager, operation }) => manager === "transporter" && operation === "Apply");
  if (found === undefined) throw new Error("none of its fields are ours");
  return found.fieldsV1;
}

function versionOf(object: Json): string {
  return (object["metadata"] as { resourceVersion: string }).resourceVersion;
}

const FREE = '{"spec":{"free":{"any":{"deep":5}}}}';
const REPLICAS = { ignoreFields: [{ kind: "Deployment", pointers: ["/spec/replicas"] }] };

describe("fields that are left to others", () => {
  kubeTest("a new object gets the field and it is nobody's; the same apply again writes nothing", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...REPLICAS };
    const objects = parsed(deployment("web", "none", {}, 2), configMap("beside", { a: "1" }));
    expect((await walk(client, objects, options)).told).toEqual([
      `created Deployment ${namespace.name}/web`,
      `created ConfigMap ${namespace.name}/beside`,
    ]);
    const first = await live(namespace, "deployment", "web");
    expect(first["spec"]).toMatchObject({ replicas: 2 });
    expect(ours(first)["f:spec"]).not.toHaveProperty("f:replicas");
    expect(ours(first)["f:spec"]).toHaveProperty("f:template");
    // Whoever else applies that field finds nobody in the way.
    const scaler = JSON.stringify({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "web" }, spec: { replicas: 4 } });
    await namespace.kubectl(["apply", "--server-side", "--field-manager=scaler", "-f", "-"], scaler);
    const plan = await planObjects(client, objects, { defaultNamespace: namespace.name });
    const generation = (await live(namespace, "deployment", "web"))["metadata"] as { generation: number };
    const requests: string[] = [];
    const validation = await validatePlan(
      listening(client, (line) => requests.push(line)),
      plan,
      { ...APPLY, ...options },
    );
    expect([...validation.findings.values()].map(({ would }) => would)).toEqual(["unchanged", "unchanged"]);
    expect(requests.filter((line) => !line.startsWith("GET") && !line.includes("dryRun=All"))).toEqual([]);
    expect((await walk(client, objects, options)).told).toEqual([
      `unchanged Deployment ${namespace.name}/web`,
      `unchanged ConfigMap ${namespace.name}/beside`,
    ]);
    const after = await live(namespace, "deployment", "web");
    expect(after).toMatchObject({ spec: { replicas: 4 }, metadata: { generation: generation.generation } });
    expect(entries(after).map(({ manager }) => manager)).toContain("scaler");
  });

  kubeTest("what a scaler has set stays through a change of everything else, without a conflict", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name, ...REPLICAS };
    // Made without leaving it to anybody, so that it is ours when the scaler comes.
    await walk(client, parsed(deployment("web", "old", {}, 0)), { defaultNamespace: namespace.name });
    await namespace.kubectl(["scale", "deployment", "web", "--replicas=3"]);
    const { told } = await walk(client, parsed(deployment("web", "new", {}, 1)), options);
    expect(told).toEqual([`updated Deployment ${namespace.name}/web`]);
    const after = await live(namespace, "deployment", "web");
    expect(after).toMatchObject({ spec: { replicas: 3, template: { spec: { containers: [{ image: "new" }] } } } });
    expect(entries(after).find(({ subresource }) => subresource === "scale")?.fieldsV1).toEqual({ "f:spec": { "f:replicas": {} } });
    // Without leaving it to the scaler, this is a conflict that names it.
    const error = await refusal(walk(client, parsed(deployment("web", "new", {}, 1)), { defaultNamespace: namespace.name }));
    expect(error.code).toBe("FIELD_CONFLICT");
    expect(error.message).toMatch(/: \.spec\.replicas belongs to field manager "kubectl" \(through scale/);
  });

  kubeTest("what was ours is given up and keeps its value, whether the manifest still has it or not", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const plain = { defaultNamespace: namespace.name };
    await walk(client, parsed(deployment("kept", "none", {}, 2), deployment("left", "none", {}, 2)), plain);
    expect(ours(await live(namespace, "deployment", "left"))["f:spec"]).toHaveProperty("f:replicas");
    const without = deployment("left", "none");
    delete (without["spec"] as Json)["replicas"];
    const objects = parsed(deployment("kept", "none", {}, 7), without);
    // Looking changes nothing and promises an update.
    const plan = await planObjects(client, objects, plain);
    const before = await live(namespace, "deployment", "left");
    const validation = await validatePlan(client, plan, { ...APPLY, ...plain, ...REPLICAS });
    expect([...validation.findings.values()].map(({ would }) => would)).toEqual(["update", "update"]);
    expect(ours(await live(namespace, "deployment", "left"))).toEqual(ours(before));
    await walk(client, objects, { ...plain, ...REPLICAS });
    for (const name of ["kept", "left"]) {
      const after = await live(namespace, "deployment", name);
      expect(after["spec"]).toMatchObject({ replicas: 2 });
      expect(ours(after)["f:spec"]).not.toHaveProperty("f:replicas");
    }
    const versions = await Promise.all(["kept", "left"].map(async (name) => versionOf(await live(namespace, "deployment", name))));
    expect((await walk(client, objects, { ...plain, ...REPLICAS })).told.map((line) => line.split(" ")[0])).toEqual([
      "unchanged",
      "unchanged",
    ]);
    expect(await Promise.all(["kept", "left"].map(async (name) => versionOf(await live(namespace, "deployment", name))))).toEqual(versions);
  });

  kubeTest("what a 0.1 agent wrote is migrated and given up in one patch", async () => {
    await using namespace = await freshNamespace();
    const path = `/api/v1/namespaces/${namespace.name}/configmaps`;
    const old = { ...configMap("old", { ours: "1", theirs: "1" }), metadata: { name: "old", labels: { drop: "me" } } };
    expect((await namespace.kube.request("POST", `${path}?fieldManager=transporter`, old)).status).toBe(201);
    const requests: string[] = [];
    const client = listening(await clientOf(namespace.kube), (line) => requests.push(line));
    const options = { defaultNamespace: namespace.name, ignoreFields: [{ pointers: ["/data/theirs"] }] };
    const { told } = await walk(client, parsed(configMap("old", { ours: "2", theirs: "2" })), options);
    expect(told).toEqual([`updated ConfigMap ${namespace.name}/old`]);
    expect(requests.filter((line) => line.startsWith("PATCH application/json-patch+json"))).toHaveLength(1);
    const after = await live(namespace, "configmap", "old");
    expect(after["data"]).toEqual({ ours: "2", theirs: "1" });
    expect((after["metadata"] as { labels?: unknown }).labels).toBeUndefined();
    expect(entries(after).map(({ manager, operation, fieldsV1 }) => [manager, operation, fieldsV1])).toEqual([
      ["transporter", "Apply", { "f:data": { "f:ours": {} } }],
    ]);
  });

  kubeTest("an item of a list is meant by its key, in whatever place it stands in the cluster", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const service = (ports: readonly Json[]): KubeObject => ({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "dns", annotations: { "transporter.dev/ignore-fields": "/spec/ports/0/targetPort" } },
      spec: { selector: { app: "dns" }, ports },
    });
    const tcp = { name: "tcp", port: 53, targetPort: 5300 };
    const udp = { name: "udp", port: 53, protocol: "UDP", targetPort: 5301 };
    const options = { defaultNamespace: namespace.name };
    await walk(client, parsed(service([tcp, udp])), options);
    await namespace.kubectl([
      "patch",
      "service",
      "dns",
      "--type=json",
      "--patch",
      '[{"op":"replace","path":"/spec/ports/0/targetPort","value":7777}]',
    ]);
    // Now it is the second of the manifest, and the first is what is ignored: UDP.
    await walk(
      client,
      parsed(
        service([
          { ...udp, targetPort: 1 },
          { ...tcp, targetPort: 8888 },
        ]),
      ),
      { ...options, forceConflicts: true },
    );
    const after = await live(namespace, "service", "dns");
    const { ports } = after["spec"] as { ports: Json[] };
    expect(Object.fromEntries(ports.map(({ protocol, targetPort }) => [protocol, targetPort]))).toEqual({ TCP: 8888, UDP: 5301 });
  });

  kubeTest(
    "a container by its name, an annotation by its key, a whole map, and all of what an operator keeps in a custom resource",
    async () => {
      await using namespace = await freshNamespace();
      const client = await clientOf(namespace.kube);
      const web = (image: string, note: string): KubeObject => {
        const object = deployment("web", "main", {}, 0);
        object.metadata = { name: "web", annotations: { "example.org/note": note } };
        (object["spec"] as { template: { spec: Json } }).template.spec["containers"] = [
          { name: "sidecar", image, resources: { limits: { cpu: "100m" } } },
          { name: "main", image: "main" },
        ];
        return object;
      };
      const options = {
        defaultNamespace: namespace.name,
        ignoreFields: [
          {
            kind: "Deployment",
            name: "web",
            pointers: [
              "/spec/template/spec/containers/0/image",
              "/spec/template/spec/containers/0/resources",
              "/metadata/annotations/example.org~1note",
              "/spec/nothing/of/that",
            ],
          },
        ],
      };
      await walk(client, parsed(web("sidecar:1", "first")), options);
      await namespace.kubectl(["set", "image", "deployment/web", "sidecar=sidecar:2"]);
      await namespace.kubectl(["set", "resources", "deployment/web", "--containers=sidecar", "--limits=cpu=300m,memory=1Gi"]);
      await namespace.kubectl(["annotate", "--overwrite", "deployment", "web", "example.org/note=theirs"]);
      expect((await walk(client, parsed(web("sidecar:3", "second")), options)).told).toEqual([
        `unchanged Deployment ${namespace.name}/web`,
      ]);
      const after = await live(namespace, "deployment", "web");
      expect(after).toMatchObject({
        metadata: { annotations: { "example.org/note": "theirs" } },
        spec: {
          template: {
            spec: {
              containers: [
                { name: "sidecar", image: "sidecar:2", resources: { limits: { cpu: "300m", memory: "1Gi" } } },
                { name: "main", image: "main" },
              ],
            },
          },
        },
      });
    },
  );

  kubeTest("an item that is its own value: what an operator has taken away stays away", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const held = (a: string): KubeObject => ({
      ...configMap("held", { a }),
      metadata: { name: "held", finalizers: ["example.org/ours", "example.org/theirs"] },
    });
    const options = { defaultNamespace: namespace.name, ignoreFields: [{ kind: "ConfigMap", pointers: ["/metadata/finalizers/1"] }] };
    const finalizers = async (list: unknown): Promise<string> =>
      namespace.kubectl(["patch", "configmap", "held", "--type=merge", "--patch", JSON.stringify({ metadata: { finalizers: list } })]);
    try {
      await walk(client, parsed(held("1")), options);
      expect((await live(namespace, "configmap", "held"))["metadata"]).toMatchObject({
        finalizers: ["example.org/ours", "example.org/theirs"],
      });
      await finalizers(["example.org/ours"]);
      await walk(client, parsed(held("2")), options);
      const after = await live(namespace, "configmap", "held");
      expect(after).toMatchObject({ data: { a: "2" }, metadata: { finalizers: ["example.org/ours"] } });
      expect(ours(after)["f:metadata"]).toEqual({ "f:finalizers": { 'v:"example.org/ours"': {} } });
    } finally {
      await finalizers(null);
    }
  });

  kubeTest("a part of what has one owner as a whole is refused before anything is touched, naming what can be ignored", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    for (const [pointer, words] of [
      ["/spec/selector/matchLabels/app", "lies in what belongs to one manager as a whole; ignore /spec/selector"],
      ["/spec/template/spec/containers/0/name", "is what the items of /spec/template/spec/containers are told apart by"],
    ] as const) {
      const error = await refusal(
        walk(client, parsed(configMap("beside", { a: "1" }), deployment("web", "none", {}, 0)), {
          defaultNamespace: namespace.name,
          ignoreFields: [{ api_version: "apps/v1", pointers: [pointer] }],
        }),
      );
      expect(error.code).toBe("INVALID_OBJECT");
      expect(error.message).toBe(`Deployment ${namespace.name}/web: the field to ignore ${pointer} ${words}`);
    }
    expect(await namespace.get("configmap", "beside")).toBeUndefined();
  });

  kubeTest("lists of custom resources by the keys of their own schema, and as a whole where it has none", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const group = `${uniqueName("g")}.example.org`;
    const kind = { plural: "gadgets", singular: "gadget", kind: "Gadget" };
    const item = { type: "object", required: ["id"], properties: { id: { type: "string" }, size: { type: "integer" } } };
    const crd: KubeObject = {
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: `gadgets.${group}` },
      spec: {
        group,
        names: kind,
        scope: "Namespaced",
        versions: [
          {
            name: "v1",
            served: true,
            storage: true,
            schema: {
              openAPIV3Schema: {
                type: "object",
                properties: {
                  spec: {
                    type: "object",
                    properties: {
                      parts: { type: "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"], items: item },
                      free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
                    },
                  },
                },
              },
            },
          },
        ],
      },
    };
    const gadget = (parts: readonly Json[], deep: number): KubeObject => ({
      apiVersion: `${group}/v1`,
      kind: "Gadget",
      metadata: { name: "one", namespace: namespace.name },
      spec: { parts, free: { any: { deep, wide: 1 } } },
    });
    const options = { ignoreFields: [{ kind: "Gadget", pointers: ["/spec/parts/1/size", "/spec/free/any/deep"] }] };
    try {
      // Its definition comes with it: then its schema is known only afterwards.
      await walk(
        client,
        parsed(
          crd,
          gadget(
            [
              { id: "a", size: 1 },
              { id: "b", size: 2 },
            ],
            1,
          ),
        ),
        options,
      );
      await namespace.kubectl(["patch", `gadgets.${group}`, "one", "--type=merge", "--patch", FREE]);
      const json = '[{"op":"replace","path":"/spec/parts/1/size","value":20}]';
      await namespace.kubectl(["patch", `gadgets.${group}`, "one", "--type=json", "--patch", json]);
      await walk(
        client,
        parsed(
          gadget(
            [
              { id: "a", size: 3 },
              { id: "b", size: 4 },
            ],
            9,
          ),
        ),
        options,
      );
      expect(await live(namespace, `gadgets.${group}`, "one")).toMatchObject({
        spec: {
          parts: [
            { id: "a", size: 3 },
            { id: "b", size: 20 },
          ],
          free: { any: { deep: 5, wide: 1 } },
        },
      });
    } finally {
      await client.send({ method: "DELETE", path: `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.${group}` });
    }
  });
});
