import { describe, expect, test } from "bun:test";
import { STAGES, stageOf } from "./mod.ts";

function place(kind: string): number {
  const slash = kind.lastIndexOf("/");
  return STAGES.indexOf(stageOf(slash < 0 ? "" : kind.slice(0, slash), kind.slice(slash + 1)));
}

const APPS = ["apps/Deployment", "apps/StatefulSet", "apps/DaemonSet", "apps/ReplicaSet", "ReplicationController", "Pod"] as const;
const WORKLOADS = [...APPS, "batch/Job", "batch/CronJob"] as const;
const ROLES = ["rbac.authorization.k8s.io/Role", "rbac.authorization.k8s.io/ClusterRole"] as const;
const BINDINGS = ["rbac.authorization.k8s.io/RoleBinding", "rbac.authorization.k8s.io/ClusterRoleBinding"] as const;
/** kapp's groups of kinds (`pod-related`, `storage-class`, `storage`, `rbac`), after which everything else goes. */
const BEFORE_ALL_OTHERS = [
  "networking.k8s.io/NetworkPolicy",
  "ResourceQuota",
  "LimitRange",
  "policy/PodDisruptionBudget",
  "scheduling.k8s.io/PriorityClass",
  "node.k8s.io/RuntimeClass",
  "ServiceAccount",
  "Secret",
  "ConfigMap",
  "storage.k8s.io/StorageClass",
  "PersistentVolume",
  "PersistentVolumeClaim",
  ...ROLES,
  ...BINDINGS,
] as const;
const WEBHOOKS = [
  "admissionregistration.k8s.io/MutatingWebhookConfiguration",
  "admissionregistration.k8s.io/ValidatingWebhookConfiguration",
] as const;

function expectBefore(first: readonly string[], second: readonly string[]): void {
  for (const one of first) for (const other of second) expect([one, other, place(one) < place(other)]).toEqual([one, other, true]);
}

describe("kinds go", () => {
  test("as kapp orders them", () => {
    expectBefore(["apiextensions.k8s.io/CustomResourceDefinition"], ["example.com/Widget"]);
    expectBefore(["Namespace"], [...BEFORE_ALL_OTHERS, ...WORKLOADS, "Service", "example.com/Widget"]);
    expectBefore(ROLES, BINDINGS);
    expectBefore(["storage.k8s.io/StorageClass"], ["PersistentVolume", "PersistentVolumeClaim"]);
    expectBefore(BEFORE_ALL_OTHERS, [
      ...WORKLOADS,
      "networking.k8s.io/Ingress",
      "autoscaling/HorizontalPodAutoscaler",
      "example.com/Widget",
    ]);
  });

  test("as Flux orders them: definitions, namespaces, cluster roles, then classes, then the rest, webhooks last", () => {
    expectBefore(
      ["Namespace", "apiextensions.k8s.io/CustomResourceDefinition"],
      ["storage.k8s.io/StorageClass", "networking.k8s.io/IngressClass"],
    );
    expectBefore(["gateway.networking.k8s.io/GatewayClass"], ["gateway.networking.k8s.io/Gateway"]);
    expectBefore(["networking.k8s.io/IngressClass"], ["networking.k8s.io/Ingress"]);
    expectBefore(["ServiceAccount", ...ROLES, ...BINDINGS, "ConfigMap", "Secret", "Service", "LimitRange"], WORKLOADS);
    expectBefore(
      [
        ...BEFORE_ALL_OTHERS,
        ...WORKLOADS,
        "Service",
        "networking.k8s.io/Ingress",
        "autoscaling/HorizontalPodAutoscaler",
        "example.com/Widget",
      ],
      WEBHOOKS,
    );
  });

  test("an aggregated API after what it may be served by, and before custom resources", () => {
    expectBefore(["Service", ...APPS], ["apiregistration.k8s.io/APIService"]);
    expectBefore(["apiregistration.k8s.io/APIService"], ["metrics.example.com/Sample"]);
  });

  test("by group, not by their names alone", () => {
    expect(stageOf("example.com", "Namespace")).toBe("custom_resources");
    expect(stageOf("serving.knative.dev", "Service")).toBe("custom_resources");
    expect(stageOf("coordination.k8s.io", "Lease")).toBe("services");
  });
});
