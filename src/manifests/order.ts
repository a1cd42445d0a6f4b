import { isBuiltInGroup } from "./built-in.ts";

/**
 * The stages of an apply, first to last. Objects of one stage lean on nothing of that stage or a later one at the moment the API server
 * takes them, so a stage can be applied in parallel. Within the spirit of helm's InstallOrder, kapp's and Flux's, with these reasons:
 *
 * - `namespaces`, `definitions`: nothing in a namespace, and no custom resource, is taken before they stand.
 * - `classes`, `guards`: what admission looks up or enforces (priority, storage and runtime classes; quotas, limits, network policies,
 *   disruption budgets) stands before the pods it should bind, so that no pod starts outside it.
 * - `configuration`, then `permissions`: accounts, Secrets, ConfigMaps, volumes and roles before bindings, because a binding is refused
 *   when the role it names cannot be looked up for the escalation check.
 * - `services` before `workloads`: a pod sees the services that exist when it starts; claims too.
 * - `policies` act on workloads (autoscaler, ingress); `aggregated_apis` need their Service.
 * - `custom_resources` come after every built-in, since an operator, its conversion webhook or its account may be in the same event; those that
 *   others name as their class before those others.
 * - `admission` last: a webhook whose pods are not up yet would refuse what comes after it.
 */
export const STAGES = [
  "namespaces",
  "definitions",
  "classes",
  "guards",
  "configuration",
  "permissions",
  "services",
  "workloads",
  "policies",
  "aggregated_apis",
  "custom_classes",
  "custom_resources",
  "admission",
] as const;
export type Stage = (typeof STAGES)[number];

/**
 * Kinds by `group/kind`, the core group being "". What is missing here: built-in groups go to `services`, all others to `custom_resources`, or to
 * `custom_classes` where their name ends so.
 */
const STAGE_OF: ReadonlyMap<string, Stage> = new Map<string, Stage>([
  ["/Namespace", "namespaces"],
  ["apiextensions.k8s.io/CustomResourceDefinition", "definitions"],
  ["scheduling.k8s.io/PriorityClass", "classes"],
  ["storage.k8s.io/StorageClass", "classes"],
  ["storage.k8s.io/VolumeAttributesClass", "classes"],
  ["storage.k8s.io/CSIDriver", "classes"],
  ["node.k8s.io/RuntimeClass", "classes"],
  ["networking.k8s.io/IngressClass", "classes"],
  ["networking.k8s.io/ServiceCIDR", "classes"],
  ["resource.k8s.io/DeviceClass", "classes"],
  ["flowcontrol.apiserver.k8s.io/PriorityLevelConfiguration", "classes"],
  ["/ResourceQuota", "guards"],
  ["/LimitRange", "guards"],
  ["networking.k8s.io/NetworkPolicy", "guards"],
  ["policy/PodDisruptionBudget", "guards"],
  ["flowcontrol.apiserver.k8s.io/FlowSchema", "guards"],
  ["/ServiceAccount", "configuration"],
  ["/Secret", "configuration"],
  ["/ConfigMap", "configuration"],
  ["/PersistentVolume", "configuration"],
  ["rbac.authorization.k8s.io/ClusterRole", "configuration"],
  ["rbac.authorization.k8s.io/Role", "configuration"],
  ["rbac.authorization.k8s.io/ClusterRoleBinding", "permissions"],
  ["rbac.authorization.k8s.io/RoleBinding", "permissions"],
  ["/PersistentVolumeClaim", "services"],
  ["/Service", "services"],
  ["resource.k8s.io/ResourceClaimTemplate", "services"],
  ["resource.k8s.io/ResourceClaim", "services"],
  ["/Pod", "workloads"],
  ["/ReplicationController", "workloads"],
  ["apps/ReplicaSet", "workloads"],
  ["apps/Deployment", "workloads"],
  ["apps/StatefulSet", "workloads"],
  ["apps/DaemonSet", "workloads"],
  ["batch/Job", "workloads"],
  ["batch/CronJob", "workloads"],
  ["autoscaling/HorizontalPodAutoscaler", "policies"],
  ["networking.k8s.io/Ingress", "policies"],
  ["apiregistration.k8s.io/APIService", "aggregated_apis"],
  ["admissionregistration.k8s.io/ValidatingAdmissionPolicy", "admission"],
  ["admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding", "admission"],
  ["admissionregistration.k8s.io/MutatingAdmissionPolicy", "admission"],
  ["admissionregistration.k8s.io/MutatingAdmissionPolicyBinding", "admission"],
  ["admissionregistration.k8s.io/ValidatingWebhookConfiguration", "admission"],
  ["admissionregistration.k8s.io/MutatingWebhookConfiguration", "admission"],
]);

export function stageOf(group: string, kind: string): Stage {
  const known = STAGE_OF.get(`${group}/${kind}`);
  if (known !== undefined) return known;
  if (isBuiltInGroup(group)) return "services";
  return kind.endsWith("Class") ? "custom_classes" : "custom_resources";
}
