import { describe, expect, test } from "bun:test";
import { dependenciesProblem, parseDependencies } from "./depends-on.ts";

const CLUSTER_WIDE = { group: "test-group", kind: "test-kind", namespace: undefined, name: "cluster-obj" };
const NAMESPACED = { group: "test-group", kind: "test-kind", namespace: "test-namespace", name: "namespaced-obj" };

/** The cases of cli-utils' own table. */
describe("config.kubernetes.io/depends-on, as cli-utils reads it", () => {
  test.each([
    ["test-group/test-kind/cluster-obj", [CLUSTER_WIDE]],
    ["test-group/namespaces/test-namespace/test-kind/namespaced-obj", [NAMESPACED]],
    ["  test-group/namespaces/test-namespace/test-kind/namespaced-obj\n", [NAMESPACED]],
    ["test-group/namespaces/test-namespace/test-kind/namespaced-obj,test-group/test-kind/cluster-obj", [NAMESPACED, CLUSTER_WIDE]],
    [
      "test-group/test-kind/cluster-obj , /namespaces/web/Secret/key",
      [CLUSTER_WIDE, { group: "", kind: "Secret", namespace: "web", name: "key" }],
    ],
    ["/Namespace/web", [{ group: "", kind: "Namespace", namespace: undefined, name: "web" }]],
    [
      "rbac.authorization.k8s.io/ClusterRole/system:node",
      [{ group: "rbac.authorization.k8s.io", kind: "ClusterRole", namespace: undefined, name: "system:node" }],
    ],
  ])("%j", (text, expected) => {
    expect(parseDependencies(text)).toEqual(expected);
    expect(dependenciesProblem(text)).toBeUndefined();
  });

  test.each([
    ["", '""'],
    ["test-group/test-namespace/test-kind/namespaced-obj", '"test-group/test-namespace/test-kind/namespaced-obj"'],
    ["test-group/namespaces/test-kind/cluster-obj", '"test-group/namespaces/test-kind/cluster-obj"'],
    ["test-group/spaces/test-namespace/test-kind/obj", '"test-group/spaces/test-namespace/test-kind/obj"'],
    ["apps/Deployment/", '"apps/Deployment/"'],
    ["apps//web", '"apps//web"'],
    ["apps/namespaces//Deployment/web", '"apps/namespaces//Deployment/web"'],
    ["/ConfigMap/a,", '""'],
    ["/ConfigMap/a b", '"/ConfigMap/a b"'],
    ["/ConfigMap/a;/ConfigMap/b", '"/ConfigMap/a;/ConfigMap/b"'],
  ])("%j is refused", (text, named) => {
    expect(dependenciesProblem(text)).toBe(`has ${named}, which names no object`);
  });

  test("more than anybody means is refused", () => {
    expect(dependenciesProblem(Array.from({ length: 1_001 }, (_, index) => `/Node/n${index}`).join(","))).toBe(
      "names 1001 objects, more than 1000",
    );
  });
});
