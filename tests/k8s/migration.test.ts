import { describe, expect } from "bun:test";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { freshNamespace, kubeTest, type Namespace } from "../support/kube.ts";
import { clientOf, configMap, deployment, parsed, refusal, walk } from "./walk.ts";

type Json = Record<string, unknown>;

function withReplicas(object: KubeObject, replicas: number): KubeObject {
  return { ...object, spec: { ...(object["spec"] as Json), replicas } };
}

function labelled(object: KubeObject, labels: Readonly<Record<string, string>>): KubeObject {
  return { ...object, metadata: { ...object.metadata, labels: { ...labels } } };
}

function service(ports: readonly Json[]): KubeObject {
  return { apiVersion: "v1", kind: "Service", metadata: { name: "one" }, spec: { selector: { app: "one" }, ports } };
}

const DNS = [
  { name: "tcp", port: 53 },
  { name: "udp", port: 53, protocol: "UDP" },
];

interface Case {
  /** What came before; the same for both. */
  readonly history: (namespace: Namespace) => Promise<void>;
  readonly wanted: KubeObject;
}

async function applied(namespace: Namespace, object: KubeObject, ...flags: readonly string[]): Promise<void> {
  await namespace.kubectl(["apply", ...flags, "-f", "-"], JSON.stringify(object));
}

/** Each by what kubectl 1.36 does with it: expectations are the twin's, in another namespace, never ours. */
const CASES: Readonly<Record<string, Case>> = {
  "applied by kubectl from the client's side": {
    history: async (namespace) => applied(namespace, labelled(deployment("one", "old", {}, 0), { drop: "me", keep: "me" })),
    wanted: labelled(deployment("one", "new", {}, 0), { keep: "me" }),
  },
  "applied under a manager name of somebody's own": {
    history: async (namespace) => applied(namespace, configMap("one", { a: "1", drop: "1" }), "--field-manager=deployer"),
    wanted: configMap("one", { a: "2" }),
  },
  "applied, then annotated and patched by others": {
    history: async (namespace) => {
      await applied(namespace, withReplicas(deployment("one", "old"), 0));
      await namespace.kubectl(["annotate", "deployment", "one", "example.org/note=hello"]);
      await namespace.kubectl(["patch", "deployment", "one", "--type=merge", "--patch", '{"spec":{"revisionHistoryLimit":3}}']);
    },
    wanted: deployment("one", "new", {}, 0),
  },
  "applied by one and then by another, of whom only the last counts": {
    history: async (namespace) => {
      await applied(namespace, configMap("one", { first: "1", shared: "1" }));
      await applied(namespace, configMap("one", { shared: "1", second: "1" }), "--field-manager=second");
    },
    wanted: configMap("one", { shared: "1" }),
  },
  "applied by the server's side as ourselves, and by the client's side since": {
    history: async (namespace) => {
      await applied(namespace, configMap("one", { ours: "1", gone: "1" }), "--server-side", "--field-manager=transporter");
      await applied(namespace, configMap("one", { ours: "1", theirs: "1" }));
    },
    wanted: configMap("one", { ours: "1" }),
  },
  "created, and applied by the client's side afterwards": {
    history: async (namespace) => {
      await namespace.kubectl(["create", "-f", "-"], JSON.stringify(service(DNS)));
      await applied(namespace, labelled(service(DNS), { drop: "me" }));
    },
    wanted: service([...DNS, { name: "metrics", port: 9153, targetPort: "metrics" }]),
  },
  "a Secret with stringData": {
    history: async (namespace) =>
      applied(namespace, { apiVersion: "v1", kind: "Secret", metadata: { name: "one" }, stringData: { a: "1", drop: "1" } }),
    wanted: { apiVersion: "v1", kind: "Secret", metadata: { name: "one" }, stringData: { a: "2" } },
  },
  "applied by kubectl's server side: nothing to migrate": {
    history: async (namespace) => applied(namespace, configMap("one", { a: "1" }), "--server-side"),
    wanted: configMap("one", { a: "1", b: "1" }),
  },
};

/** What must be the same: all but which object it is, and when. */
async function contentOf(namespace: Namespace, kind: string): Promise<Json> {
  const text = await namespace.kubectl(["get", kind, "one", "--output=json", "--show-managed-fields"]);
  const object = JSON.parse(text) as Json & { metadata: Json & { managedFields: (Json & { time?: string })[] }; spec?: Json };
  const {
    namespace: _namespace,
    uid: _uid,
    resourceVersion: _version,
    creationTimestamp: _created,
    generation: _generation,
    ...metadata
  } = object.metadata;
  const { clusterIP: _ip, clusterIPs: _ips, ...spec } = object.spec ?? {};
  const entries = object.metadata.managedFields
    // When a controller has come to its status is nobody's doing.
    .filter(({ subresource }) => subresource !== "status")
    .map(({ time: _time, ...entry }) => entry)
    .toSorted((a, b) => JSON.stringify([a["manager"], a["operation"]]).localeCompare(JSON.stringify([b["manager"], b["operation"]])));
  const { "deployment.kubernetes.io/revision": _revision, ...annotations } = (metadata["annotations"] ?? {}) as Json;
  return { ...object, metadata: { ...metadata, annotations, managedFields: entries }, spec, status: undefined };
}

describe("migrated as kubectl does it", () => {
  for (const [name, { history, wanted }] of Object.entries(CASES))
    kubeTest(name, async () => {
      await using theirs = await freshNamespace();
      await using ours = await freshNamespace();
      await history(theirs);
      await history(ours);
      const client = await clientOf(ours.kube);
      // With force, as kubectl migrates only after it has applied.
      await applied(theirs, wanted, "--server-side", "--field-manager=transporter", "--force-conflicts");
      const options = { defaultNamespace: ours.name, forceConflicts: true };
      await walk(client, parsed(wanted), options);
      const kind = wanted.kind.toLowerCase();
      expect(await contentOf(ours, kind)).toEqual((await contentOf(theirs, kind)) as never);
      // And once for all.
      const before = await ours.kubectl(["get", kind, "one", "--output=jsonpath={.metadata.resourceVersion}"]);
      if (kind !== "deployment") {
        expect((await walk(client, parsed(wanted), options)).told).toEqual([`unchanged ${wanted.kind} ${ours.name}/one`]);
        expect(await ours.kubectl(["get", kind, "one", "--output=jsonpath={.metadata.resourceVersion}"])).toBe(before);
      }
    });
});

describe("fields of other managers", () => {
  kubeTest("are taken over where the object itself says so, and only there; or not, where it says so against the event", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const options = { defaultNamespace: namespace.name };
    const mine = (name: string, force?: string): KubeObject => ({
      ...configMap(name, { color: "blue" }),
      metadata: { name, ...(force === undefined ? {} : { annotations: { "transporter.dev/force-conflicts": force } }) },
    });
    for (const name of ["forced", "plain", "shy"])
      await applied(namespace, configMap(name, { color: "red" }), "--server-side", "--field-manager=painter");
    expect((await walk(client, parsed(mine("forced", "true")), options)).told).toEqual([`updated ConfigMap ${namespace.name}/forced`]);
    expect(await namespace.get("configmap", "forced")).toMatchObject({ data: { color: "blue" } });
    const error = await refusal(walk(client, parsed(mine("forced", "true"), mine("plain")), options));
    expect(error.code).toBe("FIELD_CONFLICT");
    expect(error.message).toStartWith(`ConfigMap ${namespace.name}/plain: .data.color belongs to field manager "painter" (last changed 2`);
    expect(error.remedy).toContain("transporter.dev/force-conflicts");
    const shy = await refusal(walk(client, parsed(mine("shy", "false")), { ...options, forceConflicts: true }));
    expect(shy.code).toBe("FIELD_CONFLICT");
    expect((await walk(client, parsed(mine("plain")), { ...options, forceConflicts: true })).told).toEqual([
      `updated ConfigMap ${namespace.name}/plain`,
    ]);
  });
});
