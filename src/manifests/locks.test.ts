import { describe, expect, test } from "bun:test";
import { conflicts, crdProvides, lockSet, namespacesProvided, parseManifests, plainLockSet, withNamed } from "./mod.ts";

function event(...manifests: readonly string[]): ReturnType<typeof parseManifests> {
  return parseManifests(manifests);
}
const CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
const CONFIG_IN_X = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: x}\n";
const NAMESPACE_X = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
const CRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {kind: Widget, plural: widgets}
  versions:
  - {name: v1, served: true}
  - {name: v1alpha1, served: false}
`;
const WIDGET = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n";

describe("locks", () => {
  test("hold what an event writes and what it leans on", () => {
    expect(lockSet(event(CRD, WIDGET, CONFIG_IN_X))).toEqual({
      writes: new Set([
        "apiextensions.k8s.io/CustomResourceDefinition//widgets.example.com",
        "example.com/Widget/default/w",
        "/ConfigMap/x/a",
        "crd:example.com/Widget",
      ]),
      reads: new Set(["/Namespace//default", "crd:example.com/Widget", "crd:example.com/*", "/Namespace//x"]),
    });
  });

  test("conflict where one writes what the other writes or reads, whoever is asked", () => {
    const pairs: readonly (readonly [string, string, boolean])[] = [
      [CONFIG, CONFIG, true],
      [CONFIG, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n", true],
      [CONFIG, CONFIG_IN_X, false],
      [CONFIG_IN_X, NAMESPACE_X, true],
      [CONFIG, NAMESPACE_X, false],
      [CRD, WIDGET, true],
      [WIDGET, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: other}\n", false],
      [NAMESPACE_X, "apiVersion: v1\nkind: Namespace\nmetadata: {name: x, namespace: z}\n", true],
    ];
    for (const [one, other, expected] of pairs) {
      expect(conflicts(lockSet(event(one)), lockSet(event(other)))).toBe(expected);
      expect(conflicts(lockSet(event(other)), lockSet(event(one)))).toBe(expected);
    }
  });

  test("hold what an event only names, beside what it has manifests of", () => {
    const named = { api_version: "v1", kind: "ConfigMap", name: "a" };
    expect(withNamed(lockSet(event(CONFIG_IN_X)), { references: [named], patches: [{ ...named, namespace: "", name: "b" }] })).toEqual({
      writes: new Set(["/ConfigMap/x/a", "/ConfigMap/default/a", "/ConfigMap/default/b"]),
      reads: new Set(["/Namespace//x", "/Namespace//default"]),
    });
    // What cannot be a version is found nowhere, and locks nothing.
    const none = { writes: new Set<string>(), reads: new Set<string>() };
    expect(withNamed(none, { references: [{ ...named, api_version: "a/b/c" }], patches: null })).toEqual(none);
    expect(withNamed(none, undefined)).toEqual(none);
  });

  test("hold what an object says that it depends on, so that it goes after who makes that", () => {
    const annotation = "config.kubernetes.io/depends-on: /namespaces/x/ConfigMap/a, example.com/Widget/w";
    const text = `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n  annotations:\n    ${annotation}\n`;
    const locks = lockSet(event(text));
    expect(locks.reads).toEqual(new Set(["/Namespace//default", "/ConfigMap/x/a", "example.com/Widget/default/w"]));
    for (const other of [CONFIG_IN_X, WIDGET]) expect(conflicts(locks, lockSet(event(other)))).toBe(true);
    expect(conflicts(locks, lockSet(event(CONFIG)))).toBe(false);
    expect(plainLockSet([text])).toBeUndefined();
  });

  test("what names a CRD conflicts with whatever has a kind of its group, and with nothing else", () => {
    const crd = { api_version: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", name: "widgets.example.com" };
    const locks = withNamed(lockSet([]), { references: [crd] });
    for (const [other, expected] of [
      [WIDGET, true],
      [CRD, true],
      ["apiVersion: other.example.com/v1\nkind: Widget\nmetadata: {name: w}\n", false],
      [CONFIG, false],
    ] as const)
      expect([other, conflicts(locks, lockSet(event(other)))]).toEqual([other, expected]);
  });

  test("a cluster-wide object leans on no namespace", () => {
    expect(lockSet(event("apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: a}\n")).reads).toEqual(new Set());
  });
});

describe("what an event brings", () => {
  test("namespaces, and kinds with scope, plural and served versions", () => {
    const parsed = event(NAMESPACE_X, CRD, CONFIG);
    expect(namespacesProvided(parsed)).toEqual(new Set(["x"]));
    expect([...crdProvides(parsed)]).toEqual([
      ["example.com/Widget", { group: "example.com", kind: "Widget", plural: "widgets", scope: "Cluster", versions: ["v1"] }],
    ]);
  });

  test("a CRD that does not say what it brings is left to the API server", () => {
    for (const spec of ["", "spec: 1\n", "spec: {group: a.b}\n", "spec: {group: a.b, scope: Odd, names: {kind: A, plural: as}}\n"])
      expect(
        crdProvides(event(`apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}\n${spec}`)).size,
      ).toBe(0);
  });
});
