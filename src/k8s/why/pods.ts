import type { KubeClient } from "../http/client.ts";
import { recordOf, recordsOf, textOf, type Json } from "../http/json.ts";
import { isOwnedBy, items, newestFirst, subjectOf } from "./parts.ts";

const MAX_PODS = 200;

/** A label selector as a query writes it; undefined when the object selects nothing. */
function selectorOf(object: Json): string | undefined {
  const selector = recordOf(recordOf(object["spec"])["selector"]);
  const labels = textOf(object["kind"]) === "ReplicationController" ? selector : recordOf(selector["matchLabels"]);
  const terms = Object.entries(labels).map(([key, value]) => `${key}=${String(value)}`);
  for (const expression of recordsOf(selector["matchExpressions"])) {
    const key = textOf(expression["key"]) ?? "";
    const values = Array.isArray(expression["values"]) ? expression["values"].filter((value) => typeof value === "string") : [];
    const operator = textOf(expression["operator"]);
    if (operator === "In" || operator === "NotIn") terms.push(`${key} ${operator === "In" ? "in" : "notin"} (${values.join(",")})`);
    else if (operator === "Exists") terms.push(key);
    else if (operator === "DoesNotExist") terms.push(`!${key}`);
  }
  return terms.length === 0 ? undefined : terms.join(",");
}

/** Which rollout of its Deployment a replica set belongs to. */
function revisionOf(set: Json): number {
  return Number(recordOf(recordOf(set["metadata"])["annotations"])["deployment.kubernetes.io/revision"] ?? 0);
}

export interface Crew {
  readonly pods: readonly Json[];
  /** Who makes the pods, where that is not the object itself: the newest replica set of a Deployment. */
  readonly maker: Json | undefined;
}

/** The pods that are to make a workload ready, newest first. Those of older replica sets say nothing about it. */
export async function crewOf(client: KubeClient, object: Json, signal: AbortSignal | undefined): Promise<Crew> {
  const subject = subjectOf(object);
  const selector = selectorOf(object);
  if (selector === undefined) return { pods: [], maker: undefined };
  const query = new URLSearchParams({ labelSelector: selector, limit: String(MAX_PODS) }).toString();
  const root = `/namespaces/${encodeURIComponent(subject.namespace)}`;
  const found = newestFirst(await items(client, `/api/v1${root}/pods?${query}`, signal));
  // Lists leave the kind out.
  const pods = found.map((pod): Json => ({ kind: "Pod", apiVersion: "v1", ...pod }));
  if (subject.kind !== "Deployment") return { pods: pods.filter((pod) => isOwnedBy(pod, subject.uid)), maker: undefined };
  const sets = newestFirst(await items(client, `/apis/apps/v1${root}/replicasets?${query}`, signal));
  const [maker] = sets.filter((set) => isOwnedBy(set, subject.uid)).toSorted((a, b) => revisionOf(b) - revisionOf(a));
  if (maker === undefined) return { pods, maker };
  return { pods: pods.filter((pod) => isOwnedBy(pod, subjectOf(maker).uid)), maker: { kind: "ReplicaSet", ...maker } };
}
