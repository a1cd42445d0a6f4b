import { describe, expect, test } from "bun:test";
import { parsePointer } from "../../manifests/mod.ts";
import type { Json } from "../http/json.ts";
import { SchemaDocument } from "../http/schema.ts";
import { ownsField, type Resolved, resolvePointer, valueAt, withoutField, withValueAt } from "./field-path.ts";

/** In the notation of OpenAPI v3 as the API server publishes it. */
const SCHEMA = new SchemaDocument({
  components: {
    schemas: {
      Web: {
        "x-kubernetes-group-version-kind": [{ group: "example.org", version: "v1", kind: "Web" }],
        type: "object",
        properties: {
          spec: {
            type: "object",
            properties: {
              replicas: { type: "integer" },
              selector: { type: "object", "x-kubernetes-map-type": "atomic", additionalProperties: { type: "string" } },
              args: { type: "array", items: { type: "string" } },
              finalizers: { type: "array", "x-kubernetes-list-type": "set", items: { type: "string" } },
              ports: {
                type: "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["port", "protocol"],
                items: {
                  type: "object",
                  properties: { port: { type: "integer" }, protocol: { type: "string", default: "TCP" }, nodePort: { type: "integer" } },
                },
              },
            },
          },
        },
      },
    },
  },
}).kind("example.org", "v1", "Web");

const WEB: Json = {
  apiVersion: "example.org/v1",
  kind: "Web",
  metadata: { name: "web", annotations: { "example.org/note": "x" } },
  spec: {
    replicas: 2,
    selector: { app: "web" },
    args: ["a", "b"],
    finalizers: ["one", "two"],
    ports: [
      { port: 53, nodePort: 30053 },
      { port: 53, protocol: "UDP", nodePort: 30054 },
    ],
  },
};

function resolve(pointer: string, schema = SCHEMA): Resolved {
  return resolvePointer(WEB, schema, parsePointer(pointer));
}

describe("what a pointer means to the API server", () => {
  test("fields by name, items of lists by their keys and values, with defaults in place", () => {
    expect(resolve("/spec/replicas")).toEqual({ kind: "path", path: [{ field: "spec" }, { field: "replicas" }] });
    expect(resolve("/metadata/annotations/example.org~1note")).toEqual({
      kind: "path",
      path: [{ field: "metadata" }, { field: "annotations" }, { field: "example.org/note" }],
    });
    expect(resolve("/spec/ports/0/nodePort")).toEqual({
      kind: "path",
      path: [{ field: "spec" }, { field: "ports" }, { keys: { port: 53, protocol: "TCP" } }, { field: "nodePort" }],
    });
    expect(resolve("/spec/ports/1")).toEqual({
      kind: "path",
      path: [{ field: "spec" }, { field: "ports" }, { keys: { port: 53, protocol: "UDP" } }],
    });
    expect(resolve("/spec/finalizers/1")).toEqual({
      kind: "path",
      path: [{ field: "spec" }, { field: "finalizers" }, { value: "two" }],
    });
  });

  test("an item that the object does not have is nothing", () => {
    for (const pointer of ["/spec/ports/2", "/spec/ports/-", "/spec/finalizers/9/x"]) expect(resolve(pointer)).toEqual({ kind: "absent" });
  });

  test("a part of what belongs to one manager as a whole is refused, and so is what tells items apart", () => {
    expect(resolve("/spec/args/0")).toEqual({
      kind: "refused",
      problem: "lies in a list that belongs to one manager as a whole; ignore /spec/args",
    });
    expect(resolve("/spec/selector/app")).toEqual({
      kind: "refused",
      problem: "lies in what belongs to one manager as a whole; ignore /spec/selector",
    });
    expect(resolve("/spec/ports/0/port")).toEqual({ kind: "refused", problem: "is what the items of /spec/ports are told apart by" });
    expect(resolve("/spec/args").kind).toBe("path");
    expect(resolve("/spec/selector").kind).toBe("path");
  });

  test("without a schema every list is taken as a whole", () => {
    expect(resolvePointer(WEB, undefined, ["spec", "ports", "0", "nodePort"]).kind).toBe("refused");
    expect(resolvePointer(WEB, undefined, ["spec", "selector", "app"]).kind).toBe("path");
  });
});

describe("a set of fields in FieldsV1 notation", () => {
  const fields: Json = {
    "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
    "f:spec": {
      "f:replicas": {},
      "f:selector": {},
      "f:finalizers": { 'v:"one"': {}, 'v:"two"': {} },
      "f:ports": {
        'k:{"port":53,"protocol":"TCP"}': { ".": {}, "f:nodePort": {}, "f:port": {} },
        'k:{"port":53,"protocol":"UDP"}': { ".": {}, "f:port": {} },
      },
    },
  };
  const nodePort = [{ field: "spec" }, { field: "ports" }, { keys: { protocol: "TCP", port: 53 } }, { field: "nodePort" }];

  test("holds what is at or below a path", () => {
    expect(ownsField(fields, [{ field: "spec" }])).toBe(true);
    expect(ownsField(fields, nodePort)).toBe(true);
    expect(ownsField(fields, [{ field: "spec" }, { field: "finalizers" }, { value: "two" }])).toBe(true);
    expect(ownsField(fields, [{ field: "spec" }, { field: "paused" }])).toBe(false);
    expect(ownsField(fields, [{ field: "spec" }, { field: "ports" }, { keys: { port: 53 } }])).toBe(false);
    expect(ownsField(fields, [{ field: "constructor" }])).toBe(false);
  });

  test("loses a path with all below it, and no more", () => {
    const left = withoutField(withoutField(fields, nodePort) ?? {}, [{ field: "spec" }, { field: "finalizers" }, { value: "one" }]);
    expect(left).toEqual({
      "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
      "f:spec": {
        "f:replicas": {},
        "f:selector": {},
        "f:finalizers": { 'v:"two"': {} },
        "f:ports": {
          'k:{"port":53,"protocol":"TCP"}': { ".": {}, "f:port": {} },
          'k:{"port":53,"protocol":"UDP"}': { ".": {}, "f:port": {} },
        },
      },
    });
  });

  test("an empty place goes, as it would say that all of it is owned; one that is owned itself stays", () => {
    const labels = withoutField({ "f:metadata": { "f:labels": { "f:app": {} } }, "f:data": {} }, [
      { field: "metadata" },
      { field: "labels" },
      { field: "app" },
    ]);
    expect(labels).toEqual({ "f:data": {} });
    expect(withoutField({ "f:labels": { ".": {}, "f:app": {} } }, [{ field: "labels" }, { field: "app" }])).toEqual({ "f:labels": {} });
    expect(withoutField({ "f:spec": { "f:replicas": {} } }, [{ field: "spec" }, { field: "replicas" }])).toBeUndefined();
  });

  test("stays as it is where the path is not held, or only as a part of a whole", () => {
    expect(withoutField(fields, [{ field: "spec" }, { field: "paused" }])).toBe(fields);
    expect(withoutField(fields, [{ field: "spec" }, { field: "selector" }, { field: "app" }])).toBe(fields);
  });
});

describe("values at a path", () => {
  const nodePort = [{ field: "spec" }, { field: "ports" }, { keys: { port: 53, protocol: "TCP" } }, { field: "nodePort" }];

  test("are found, taken out and put in by key, wherever the item stands", () => {
    const live = {
      spec: {
        ports: [
          { port: 53, protocol: "UDP" },
          { port: 53, protocol: "TCP", nodePort: 31000 },
        ],
      },
    };
    expect(valueAt(live, SCHEMA, nodePort)).toBe(31000);
    expect(valueAt(live, SCHEMA, [{ field: "spec" }, { field: "replicas" }])).toBeUndefined();
    const out = withValueAt(WEB, SCHEMA, nodePort, undefined);
    expect((out as { spec: { ports: unknown } }).spec.ports).toEqual([{ port: 53 }, { port: 53, protocol: "UDP", nodePort: 30054 }]);
    const put = withValueAt(WEB, SCHEMA, nodePort, 31000);
    expect((put as { spec: { ports: unknown } }).spec.ports).toEqual([
      { port: 53, nodePort: 31000 },
      { port: 53, protocol: "UDP", nodePort: 30054 },
    ]);
    // What was given stays as it was.
    expect(valueAt(WEB, SCHEMA, nodePort)).toBe(30053);
  });

  test("whole items come and go, and places are made for what is to stand there", () => {
    const item = [{ field: "spec" }, { field: "finalizers" }, { value: "one" }];
    expect(valueAt(withValueAt(WEB, SCHEMA, item, undefined), SCHEMA, [{ field: "spec" }, { field: "finalizers" }])).toEqual(["two"]);
    expect(withValueAt({}, SCHEMA, nodePort, 1)).toEqual({ spec: { ports: [{ port: 53, protocol: "TCP", nodePort: 1 }] } });
    expect(withValueAt({}, SCHEMA, nodePort, undefined)).toEqual({});
    // To apply an empty place is to own it.
    const one = { kind: "Web", spec: { ports: [{ port: 53 }] } };
    expect(withValueAt(one, SCHEMA, [{ field: "spec" }, { field: "ports" }, { keys: { port: 53, protocol: "TCP" } }], undefined)).toEqual({
      kind: "Web",
    });
    expect(withValueAt({ spec: "text" }, SCHEMA, nodePort, undefined)).toEqual({ spec: "text" });
  });
});
