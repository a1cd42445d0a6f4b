import { splitApiVersion } from "../../manifests/mod.ts";
import { numberOf, recordOf, textOf, type Json } from "../http/json.ts";
import { conditionOf, conditionsOf, generationLag, type Readiness, failed, inProgress, READY } from "./readiness-parts.ts";
import { daemonSet, deployment, job, pod, replicaSet, statefulSet } from "./readiness-workloads.ts";

export type { Readiness } from "./readiness-parts.ts";

type Rule = (object: Json) => Readiness;

function namespace(object: Json): Readiness {
  const phase = textOf(recordOf(object["status"])["phase"]);
  return phase === undefined || phase === "Active" ? READY : inProgress("Terminating", `phase is ${phase}`);
}

function claim(object: Json): Readiness {
  const phase = textOf(recordOf(object["status"])["phase"]) ?? "Pending";
  if (phase === "Bound") return READY;
  if (phase === "Lost") return failed("Lost", "its volume is lost");
  return inProgress("Pending", `phase is ${phase}, not Bound`);
}

function volume(object: Json): Readiness {
  const phase = textOf(recordOf(object["status"])["phase"]) ?? "Pending";
  return phase === "Failed" ? failed("Failed", textOf(recordOf(object["status"])["message"]) ?? "its reclamation failed") : READY;
}

function service(object: Json): Readiness {
  const spec = recordOf(object["spec"]);
  // With addresses of its own nobody need give it one.
  if (spec["type"] !== "LoadBalancer" || (Array.isArray(spec["externalIPs"]) && spec["externalIPs"].length > 0)) return READY;
  const ingress = recordOf(recordOf(object["status"])["loadBalancer"])["ingress"];
  return Array.isArray(ingress) && ingress.length > 0 ? READY : inProgress("NoLoadBalancer", "has no load balancer address yet");
}

function definition(object: Json): Readiness {
  const names = conditionOf(object, "NamesAccepted");
  if (names?.status === "False") return failed(names.reason || "NamesNotAccepted", names.message || "its names are not accepted");
  const established = conditionOf(object, "Established");
  if (established?.status === "True") return READY;
  // While installing the server says False; every other reason is final until somebody changes the definition.
  if (established?.status === "False" && established.reason !== "Installing")
    return failed(established.reason || "NotEstablished", established.message || "is not established");
  return inProgress("Installing", "is not established yet");
}

function aggregatedApi(object: Json): Readiness {
  const available = conditionOf(object, "Available");
  if (available?.status === "True") return READY;
  return inProgress(available?.reason || "NotAvailable", available?.message || "is not available yet");
}

/** Seen by its controller. Whether the pods that it protects are healthy is for whoever brings them. */
function disruptionBudget(object: Json): Readiness {
  return generationLag(object) ?? READY;
}

/** Kinds whose readiness is their own; by `group/kind`. */
const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ["/Namespace", namespace],
  ["/PersistentVolumeClaim", claim],
  ["/PersistentVolume", volume],
  ["/Service", service],
  ["/Pod", pod],
  ["/ReplicationController", replicaSet],
  ["apps/Deployment", deployment],
  ["apps/StatefulSet", statefulSet],
  ["apps/DaemonSet", daemonSet],
  ["apps/ReplicaSet", replicaSet],
  ["batch/Job", job],
  ["policy/PodDisruptionBudget", disruptionBudget],
  ["apiextensions.k8s.io/CustomResourceDefinition", definition],
  ["apiregistration.k8s.io/APIService", aggregatedApi],
]);

/** Built-in kinds that stand as soon as they are stored, so that nobody need look at them again. */
const STATELESS: ReadonlySet<string> = new Set([
  "/ConfigMap",
  "/Secret",
  "/ServiceAccount",
  "/LimitRange",
  "/ResourceQuota",
  "/Endpoints",
  "/Event",
  "/PodTemplate",
  "apps/ControllerRevision",
  "coordination.k8s.io/Lease",
  "discovery.k8s.io/EndpointSlice",
  "networking.k8s.io/NetworkPolicy",
  "networking.k8s.io/Ingress",
  "networking.k8s.io/IngressClass",
  "rbac.authorization.k8s.io/Role",
  "rbac.authorization.k8s.io/RoleBinding",
  "rbac.authorization.k8s.io/ClusterRole",
  "rbac.authorization.k8s.io/ClusterRoleBinding",
  "scheduling.k8s.io/PriorityClass",
  "storage.k8s.io/StorageClass",
  "storage.k8s.io/CSIDriver",
  "node.k8s.io/RuntimeClass",
  "admissionregistration.k8s.io/ValidatingWebhookConfiguration",
  "admissionregistration.k8s.io/MutatingWebhookConfiguration",
  "admissionregistration.k8s.io/ValidatingAdmissionPolicy",
  "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding",
  // Its conditions tell of scaling, which goes on for as long as it lives.
  "autoscaling/HorizontalPodAutoscaler",
  "batch/CronJob",
]);

/** False for kinds that are ready by being stored: they need no request. */
export function hasReadiness(group: string, kind: string): boolean {
  return !STATELESS.has(`${group}/${kind}`);
}

/** Stalled and Reconciling, which any kind may have: the first that is so decides. Undefined where none is. */
function standard(object: Json): Readiness | undefined {
  const lag = generationLag(object);
  if (lag !== undefined) return lag;
  for (const { type, status, reason, message, observedGeneration } of conditionsOf(object)) {
    if (status !== "True" || isStale(object, observedGeneration)) continue;
    if (type === "Stalled") return failed(reason || "Stalled", message || "is stalled");
    if (type === "Reconciling") return inProgress(reason || "Reconciling", message || "is reconciling");
  }
  return undefined;
}

/** A condition from before the last change. */
function isStale(object: Json, observed: number | undefined): boolean {
  const generation = numberOf(recordOf(object["metadata"])["generation"]);
  return observed !== undefined && generation !== undefined && observed < generation;
}

/** Any other kind: by its condition Ready, where it has one. */
function generic(object: Json): Readiness {
  const ready = conditionOf(object, "Ready");
  if (ready === undefined) return READY;
  if (isStale(object, ready.observedGeneration)) return inProgress("Outdated", "its controller has not seen the change yet");
  return ready.status === "True" ? READY : inProgress(ready.reason || "NotReady", ready.message || `condition Ready is ${ready.status}`);
}

/** Of whatever rule: an object that goes away, or whose status is of before its last change. Undefined where there is more to ask. */
export function unsettled(object: Json): Readiness | undefined {
  if (textOf(recordOf(object["metadata"])["deletionTimestamp"]) !== undefined) return inProgress("Terminating", "is being deleted");
  return generationLag(object);
}

/**
 * Whether an object, as the API server gives it, does what it is there for. Pure. `failed` means that it will not get there by waiting.
 * Follows kstatus (sigs.k8s.io/cli-utils/pkg/kstatus), but for what docs/readiness.md lists with its reasons.
 */
export function readiness(object: Json): Readiness {
  if (textOf(recordOf(object["metadata"])["deletionTimestamp"]) !== undefined) return inProgress("Terminating", "is being deleted");
  const group = splitApiVersion(textOf(object["apiVersion"]) ?? "")?.group ?? "";
  const kind = textOf(object["kind"]) ?? "";
  if (!hasReadiness(group, kind)) return READY;
  return standard(object) ?? (RULES.get(`${group}/${kind}`) ?? generic)(object);
}
