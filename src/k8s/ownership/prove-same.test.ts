import { describe, expect, test } from "bun:test";
import { provesSame } from "./prove-same.ts";

type Json = Readonly<Record<string, unknown>>;

const OWN = { manager: "transporter", operation: "Apply", apiVersion: "apps/v1", fieldsType: "FieldsV1" };

/** As an API server 1.36 books an apply of MANIFEST. */
const FIELDS = {
  "f:metadata": { "f:labels": { "f:app": {} }, "f:finalizers": { 'v:"example.com/keep"': {} } },
  "f:spec": {
    "f:replicas": {},
    "f:selector": {},
    "f:template": {
      "f:spec": {
        "f:containers": {
          'k:{"name":"main"}': {
            ".": {},
            "f:name": {},
            "f:image": {},
            "f:args": {},
            "f:ports": { 'k:{"containerPort":80,"protocol":"UDP"}': { ".": {}, "f:containerPort": {}, "f:protocol": {} } },
          },
        },
        "f:volumes": { 'k:{"name":"scratch"}': { ".": {}, "f:name": {}, "f:emptyDir": {} } },
      },
    },
  },
};

const MANIFEST = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "web", namespace: "shop", labels: { app: "web" }, finalizers: ["example.com/keep"] },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: "web" } },
    template: {
      spec: {
        containers: [{ name: "main", image: "web:1", args: ["-v", "3"], ports: [{ containerPort: 80, protocol: "UDP" }] }],
        volumes: [{ name: "scratch", emptyDir: {} }],
      },
    },
  },
};

function live(change: (object: typeof MANIFEST) => Json = (object) => object, managers: readonly Json[] = []): Json {
  const changed = structuredClone(change(structuredClone(MANIFEST))) as { metadata: Json; spec: Json };
  return {
    ...changed,
    metadata: {
      ...changed.metadata,
      uid: "u",
      resourceVersion: "7",
      annotations: { "deployment.kubernetes.io/revision": "1" },
      managedFields: [{ ...OWN, fieldsV1: FIELDS }, ...managers],
    },
    // Defaults of the server, owned by nobody.
    spec: { ...changed.spec, progressDeadlineSeconds: 600 },
    status: { replicas: 2 },
  };
}

const proves = (object: Json, there: Json): boolean => provesSame(object, there, "transporter");

describe("an apply that is certain to change nothing", () => {
  test("is one of what is there, whatever the server and others have added", () => {
    expect(proves(MANIFEST, live())).toBe(true);
    const others = { ...OWN, manager: "hpa", operation: "Update", subresource: "scale", fieldsV1: { "f:spec": { "f:replicas": {} } } };
    expect(proves(MANIFEST, live(undefined, [others]))).toBe(true);
    const injected = live((object) => {
      const { containers } = object.spec.template.spec;
      containers.unshift({ name: "sidecar", image: "s:1", args: [], ports: [] });
      return object;
    });
    expect(proves(MANIFEST, injected)).toBe(true);
  });

  const DRIFTED: readonly [string, (object: typeof MANIFEST) => unknown][] = [
    ["a number", (object) => (object.spec.replicas = 3)],
    ["an item's field", (object) => ((object.spec.template.spec.containers[0] ?? { image: "" }).image = "web:2")],
    ["the order of a list that is owned as a whole", (object) => object.spec.template.spec.containers[0]?.args.splice(0, 2, "3", "-v")],
    ["more of a list that is owned as a whole", (object) => object.spec.template.spec.containers[0]?.args.push("x")],
    ["a merge key", (object) => ((object.spec.template.spec.containers[0]?.ports[0] ?? { protocol: "" }).protocol = "TCP")],
    ["a label", (object) => (object.metadata.labels.app = "shop")],
    ["an entry of a set", (object) => (object.metadata.finalizers = ["example.com/other"])],
    ["a map that is owned as a whole", (object) => (object.spec.selector = { matchLabels: { app: "other" } })],
    ["a volume of another kind", (object) => (object.spec.template.spec.volumes = [{ name: "scratch", hostPath: {} }] as never)],
  ];
  for (const [what, drift] of DRIFTED)
    test(`is not certain where the cluster has drifted: ${what}`, () => {
      const drifted = live((object) => {
        drift(object);
        return object;
      });
      expect(proves(MANIFEST, drifted)).toBe(false);
    });

  const ASKED: readonly [string, Json][] = [
    ["a field more", { ...MANIFEST, spec: { ...MANIFEST.spec, paused: true } }],
    ["a field less", { ...MANIFEST, metadata: { ...MANIFEST.metadata, labels: undefined } }],
    ["a label less", { ...MANIFEST, metadata: { name: "web", namespace: "shop", finalizers: ["example.com/keep"] } }],
    ["an item less", { ...MANIFEST, metadata: { ...MANIFEST.metadata, finalizers: [] } }],
    ["nothing instead of a value", { ...MANIFEST, spec: { ...MANIFEST.spec, replicas: null } }],
    ["another version of the API", { ...MANIFEST, apiVersion: "apps/v1beta1" }],
    ["a status", { ...MANIFEST, status: {} }],
    ["a field of the server's", { ...MANIFEST, metadata: { ...MANIFEST.metadata, resourceVersion: "1" } }],
  ];
  for (const [what, object] of ASKED)
    test(`is not certain where the manifest asks for ${what}`, () => {
      expect(proves(JSON.parse(JSON.stringify(object)) as Json, live())).toBe(false);
    });

  test("is not certain where the books are not in order", () => {
    expect(proves(MANIFEST, { ...live(), metadata: { ...(live()["metadata"] as Json), managedFields: [] } })).toBe(false);
    // What 0.1 wrote has to be made ours first.
    expect(proves(MANIFEST, live(undefined, [{ ...OWN, operation: "Update", fieldsV1: { "f:spec": { "f:paused": {} } } }]))).toBe(false);
    expect(proves(MANIFEST, live(undefined, [{ ...OWN, apiVersion: "apps/v1beta1", fieldsV1: {} }]))).toBe(false);
    expect(provesSame(MANIFEST, live(), "somebody-else")).toBe(false);
    expect(proves(MANIFEST, { ...live(), metadata: { ...(live()["metadata"] as Json), deletionTimestamp: "2026-01-01T00:00:00Z" } })).toBe(
      false,
    );
  });

  test("of a bare name is certain where nobody is booked for anything", () => {
    // What an API server 1.36 has after an apply of a Namespace that is nothing but a name.
    const bare = { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } };
    const there = { ...bare, metadata: { name: "shop", uid: "u", labels: { "kubernetes.io/metadata.name": "shop" } }, spec: {} };
    expect(proves(bare, there)).toBe(true);
    expect(proves({ ...bare, metadata: { name: "shop", labels: { "kubernetes.io/metadata.name": "shop" } } }, there)).toBe(false);
    expect(proves(bare, { ...there, metadata: { ...there.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } })).toBe(false);
  });

  test("knows a port without a protocol for TCP, and only where the protocol was not written before either", () => {
    const booked = (tcp: Json): Json => ({
      "f:spec": {
        "f:ports": {
          'k:{"port":53,"protocol":"TCP"}': { ".": {}, "f:port": {}, ...tcp },
          'k:{"port":53,"protocol":"UDP"}': { ".": {}, "f:port": {}, "f:protocol": {} },
        },
      },
    });
    const object = (ports: readonly Json[]): Json => ({ apiVersion: "apps/v1", kind: "Things", metadata: { name: "t" }, spec: { ports } });
    const there = (tcp: Json): Json => ({
      ...object([
        { port: 53, protocol: "TCP" },
        { port: 53, protocol: "UDP" },
      ]),
      metadata: { name: "t", managedFields: [{ ...OWN, fieldsV1: booked(tcp) }] },
    });
    const both = object([{ port: 53 }, { port: 53, protocol: "UDP" }]);
    expect(proves(both, there({}))).toBe(true);
    expect(proves(both, there({ "f:protocol": {} }))).toBe(false);
    expect(proves(object([{ port: 53, protocol: "UDP" }]), there({}))).toBe(false);
    expect(proves(object([{ port: 53 }, { port: 53 }]), there({}))).toBe(false);
    expect(proves(object([{ port: 54 }, { port: 53, protocol: "UDP" }]), there({}))).toBe(false);
  });

  test("takes an empty time of creation for nothing", () => {
    expect(proves({ ...MANIFEST, metadata: { ...MANIFEST.metadata, creationTimestamp: null } }, live())).toBe(true);
    expect(proves({ ...MANIFEST, metadata: { ...MANIFEST.metadata, creationTimestamp: "2026-01-01T00:00:00Z" } }, live())).toBe(false);
  });

  test("minds the order in which items with merge keys stand among each other", () => {
    const fields = {
      "f:spec": { "f:items": { 'k:{"name":"a"}': { ".": {}, "f:name": {} }, 'k:{"name":"b"}': { ".": {}, "f:name": {} } } },
    };
    const object = { apiVersion: "apps/v1", kind: "Things", metadata: { name: "t" }, spec: { items: [{ name: "a" }, { name: "b" }] } };
    const there = (...names: readonly string[]): Json => ({
      ...object,
      metadata: { name: "t", managedFields: [{ ...OWN, fieldsV1: fields }] },
      spec: { items: names.map((name) => ({ name })) },
    });
    expect(proves(object, there("a", "b"))).toBe(true);
    expect(proves(object, there("x", "a", "y", "b"))).toBe(true);
    expect(proves(object, there("b", "a"))).toBe(false);
  });

  test("takes no other item for one of its own when it looks at their order", () => {
    const key = (port: number): string => `k:{"port":${port},"protocol":"TCP"}`;
    const fields = { "f:spec": { "f:ports": { [key(80)]: { ".": {}, "f:port": {} }, [key(81)]: { ".": {}, "f:port": {} } } } };
    const object = { apiVersion: "apps/v1", kind: "Things", metadata: { name: "t" }, spec: { ports: [{ port: 80 }, { port: 81 }] } };
    const there = (...ports: readonly (readonly [number, string])[]): Json => ({
      ...object,
      metadata: { name: "t", managedFields: [{ ...OWN, fieldsV1: fields }] },
      spec: { ports: ports.map(([port, protocol]) => ({ port, protocol })) },
    });
    expect(proves(object, there([80, "UDP"], [80, "TCP"], [81, "TCP"]))).toBe(true);
    expect(proves(object, there([80, "UDP"], [81, "TCP"], [80, "TCP"]))).toBe(false);
  });

  test("takes what was empty when it was booked, and what others have filled, for theirs alone", () => {
    const object = { apiVersion: "apps/v1", kind: "Things", metadata: { name: "t", labels: { tier: "web" } } };
    const there = (...others: readonly Json[]): Json => {
      const managedFields = [{ ...OWN, fieldsV1: { "f:metadata": { "f:labels": {} } } }, ...others];
      return { ...object, metadata: { ...object.metadata, managedFields } };
    };
    const other = { manager: "kubectl", operation: "Update", apiVersion: "apps/v1" };
    expect(proves(object, there({ ...other, fieldsV1: { "f:metadata": { "f:labels": { "f:tier": {} } } } }))).toBe(false);
    // As a whole it may belong to both.
    expect(proves(object, there({ ...other, fieldsV1: { "f:metadata": { "f:labels": {} } } }))).toBe(true);
  });

  test("is told of integers that no number holds only where they are the same", () => {
    const fields = { "f:spec": { "f:big": {} } };
    const object = { apiVersion: "apps/v1", kind: "Things", metadata: { name: "t" }, spec: { big: 9007199254740993n } };
    const there = (big: unknown): Json => ({ ...object, metadata: { managedFields: [{ ...OWN, fieldsV1: fields }] }, spec: { big } });
    expect(proves(object, there(9007199254740993n))).toBe(true);
    expect(proves(object, there(9007199254740992))).toBe(false);
  });
});
