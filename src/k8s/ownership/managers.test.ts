import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { isPlain } from "../apply/apply-request.ts";
import type { Json } from "../http/json.ts";
import { legacyManagers, migrateManagers, uniteFields } from "./managers.ts";

function entry(manager: string, operation: string, fieldsV1: Json, more: Json = {}): Json {
  return { manager, operation, apiVersion: "v1", time: "2026-01-01T00:00:00Z", fieldsType: "FieldsV1", fieldsV1, ...more };
}

const LAST_APPLIED = { "f:metadata": { "f:annotations": { "f:kubectl.kubernetes.io/last-applied-configuration": {} } } };

/** The owned paths of a field set. */
function paths(fields: Json, at = ""): Set<string> {
  const entries = Object.entries(fields);
  if (entries.length === 0) return new Set([at]);
  return new Set(entries.flatMap(([key, child]) => (key === "." ? [at] : [...paths(child as Json, `${at}/${key}`)])));
}

describe("whose fields are ours by history", () => {
  test("a plain update under our name, and whoever wrote the last-applied annotation; nobody else, whatever it is called", () => {
    const fields = { "f:data": { "f:a": {} } };
    const names = legacyManagers(
      [
        entry("transporter", "Update", fields),
        entry("transporter", "Apply", fields),
        entry("kubectl-client-side-apply", "Update", fields),
        entry("terraform", "Update", LAST_APPLIED),
        entry("helm", "Update", fields),
        entry("painter", "Apply", LAST_APPLIED),
        entry("kube-controller-manager", "Update", LAST_APPLIED, { subresource: "status" }),
      ],
      "transporter",
    );
    expect([...names].toSorted()).toEqual(["terraform", "transporter"]);
  });

  test("their fields join ours, other versions of the API are given up, and others' entries stay as they are", () => {
    const other = entry("hpa", "Update", { "f:spec": { "f:replicas": {} } });
    const status = entry("transporter", "Update", { "f:status": {} }, { subresource: "status" });
    const migrated = migrateManagers(
      [
        entry("transporter", "Update", { "f:data": { ".": {}, "f:a": {} } }),
        other,
        status,
        entry("transporter", "Apply", { "f:data": { "f:b": {} } }),
        entry("deployer", "Update", LAST_APPLIED, { apiVersion: "v1beta1" }),
      ],
      "transporter",
    );
    expect(migrated).toEqual([other, status, entry("transporter", "Apply", { "f:data": { ".": {}, "f:a": {}, "f:b": {} } })]);
  });

  test("nothing to do is said by nothing", () => {
    expect(migrateManagers([entry("transporter", "Apply", {}), entry("helm", "Update", {})], "transporter")).toBeUndefined();
    expect(migrateManagers([], "transporter")).toBeUndefined();
  });

  test("the union of two field sets owns exactly what either owns", () => {
    const keys = fc.constantFrom("f:a", "f:b", 'k:{"name":"x"}', "v:1");
    const leaf: fc.Arbitrary<Json> = fc.constant({});
    const level = (below: fc.Arbitrary<Json>): fc.Arbitrary<Json> => fc.oneof(leaf, fc.dictionary(keys, below, { minKeys: 1, maxKeys: 3 }));
    const tree = level(level(level(leaf)));
    fc.assert(
      fc.property(tree, tree, (a, b) => {
        expect([...paths(uniteFields(a, b))].toSorted()).toEqual([...paths(a).union(paths(b))].toSorted());
      }),
    );
  });
});

describe("plain objects", () => {
  test("are those that a create and an apply cannot judge differently", () => {
    expect(isPlain({ data: { a: "b" }, immutable: true, finalizers: ["a", "b"] })).toBe(true);
    for (const value of [{ n: 1 }, { n: null }, { list: [{ name: "a" }] }, { list: ["a", "a"] }, { list: [["a"]] }, { n: 10n }])
      expect(isPlain(value)).toBe(false);
  });
});
