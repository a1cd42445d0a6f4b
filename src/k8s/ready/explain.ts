import type { KubeClient } from "../http/client.ts";
import { parseRecord, recordOf, recordsOf, textOf, type Json } from "../http/json.ts";
import { conditionOf } from "./readiness-parts.ts";
import { pod as podReadiness, stuckContainers } from "./readiness-workloads.ts";

/** Kinds that have pods, by `kind`, all of them of built-in groups. */
const WORKLOADS = new Set(["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"]);
const MAX_PODS = 200;
const MESSAGE_CHARS = 500;

interface Subject {
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

function subjectOf(object: Json): Subject {
  const metadata = recordOf(object["metadata"]);
  return {
    kind: textOf(object["kind"]) ?? "",
    name: textOf(metadata["name"]) ?? "",
    namespace: textOf(metadata["namespace"]) ?? "",
    uid: textOf(metadata["uid"]) ?? "",
  };
}

function cut(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > MESSAGE_CHARS ? `${line.slice(0, MESSAGE_CHARS)}…` : line;
}

/** The items of a collection; none where it may not be read: an explanation is help, not a promise. */
async function items(client: KubeClient, path: string, signal: AbortSignal | undefined): Promise<Json[]> {
  const answer = await client.send({ method: "GET", path, signal });
  return answer.status === 200 ? recordsOf(parseRecord(answer.text)["items"]) : [];
}

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

function madeAt(object: Json): string {
  return textOf(recordOf(object["metadata"])["creationTimestamp"]) ?? "";
}

function newestFirst(objects: readonly Json[]): Json[] {
  return objects.toSorted((a, b) => madeAt(b).localeCompare(madeAt(a)));
}

/** Which rollout of its Deployment a replica set belongs to. */
function revisionOf(set: Json): number {
  return Number(recordOf(recordOf(set["metadata"])["annotations"])["deployment.kubernetes.io/revision"] ?? 0);
}

function lastSeen(event: Json): string {
  return textOf(event["lastTimestamp"]) ?? textOf(event["eventTime"]) ?? madeAt(event);
}

function isOwnedBy(object: Json, uid: string): boolean {
  return recordsOf(recordOf(object["metadata"])["ownerReferences"]).some((owner) => owner["uid"] === uid);
}

async function podsOf(client: KubeClient, object: Json, signal: AbortSignal | undefined): Promise<Json[]> {
  const subject = subjectOf(object);
  const selector = selectorOf(object);
  if (selector === undefined) return [];
  const query = new URLSearchParams({ labelSelector: selector, limit: String(MAX_PODS) }).toString();
  const root = `/namespaces/${encodeURIComponent(subject.namespace)}`;
  const pods = newestFirst(await items(client, `/api/v1${root}/pods?${query}`, signal));
  if (subject.kind !== "Deployment") return pods.filter((pod) => isOwnedBy(pod, subject.uid));
  // Of a Deployment the newest replica set is the one that is to come up; pods of older ones say nothing about it.
  const sets = newestFirst(await items(client, `/apis/apps/v1${root}/replicasets?${query}`, signal)).filter((set) =>
    isOwnedBy(set, subject.uid),
  );
  const [current] = sets.toSorted((a, b) => revisionOf(b) - revisionOf(a));
  if (current === undefined) return pods;
  return pods.filter((pod) => isOwnedBy(pod, subjectOf(current).uid));
}

const PULL = new Set(["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"]);

/** Why one pod is not ready, in one sentence; undefined when it is, or says nothing. */
export function explainPod(pod: Json): string | undefined {
  const name = subjectOf(pod).name;
  const [stuck] = stuckContainers(pod);
  if (stuck !== undefined) {
    const words = stuck.message === "" ? "" : `: ${cut(stuck.message)}`;
    return PULL.has(stuck.reason)
      ? `pod ${name}: the image ${JSON.stringify(stuck.image)} of container ${stuck.container} cannot be pulled (${stuck.reason}${words})`
      : `pod ${name}: container ${stuck.container} (image ${JSON.stringify(stuck.image)}) is in ${stuck.reason}${words}`;
  }
  const found = podReadiness(pod);
  if (found.status === "ready") return undefined;
  if (found.status === "failed") return `pod ${name} failed: ${cut(found.message)}`;
  const scheduled = conditionOf(pod, "PodScheduled");
  if (scheduled?.status === "False") return `pod ${name} cannot be scheduled: ${cut(scheduled.message || scheduled.reason)}`;
  const notReady = recordsOf(recordOf(pod["status"])["containerStatuses"]).filter((one) => one["ready"] !== true);
  const running = notReady.find((one) => recordOf(one["state"])["running"] !== undefined);
  if (running !== undefined) return `pod ${name}: container ${String(running["name"])} runs and is not ready yet`;
  const creating = notReady
    .map((one) => textOf(recordOf(recordOf(one["state"])["waiting"])["reason"]))
    .find((reason) => reason !== undefined);
  return creating === undefined ? undefined : `pod ${name}: ${creating}`;
}

async function lastWarning(client: KubeClient, subject: Subject, signal: AbortSignal | undefined): Promise<string | undefined> {
  if (subject.namespace === "" || subject.uid === "") return undefined;
  const query = new URLSearchParams({ fieldSelector: `involvedObject.uid=${subject.uid},type=Warning`, limit: "100" });
  const path = `/api/v1/namespaces/${encodeURIComponent(subject.namespace)}/events?${query.toString()}`;
  const [last] = (await items(client, path, signal)).toSorted((a, b) => lastSeen(b).localeCompare(lastSeen(a)));
  const message = last === undefined ? undefined : textOf(last["message"]);
  return message === undefined || last === undefined ? undefined : `${textOf(last["reason"]) ?? "Warning"}: ${cut(message)}`;
}

/** The pods' own reasons, alike ones counted once. */
function explainPods(pods: readonly Json[]): { readonly texts: string[]; readonly troubled: Json | undefined } {
  const byReason = new Map<string, { readonly text: string; readonly pod: Json; count: number }>();
  for (const pod of pods) {
    const text = explainPod(pod);
    if (text === undefined) continue;
    const key = text.replaceAll(subjectOf(pod).name, "");
    const known = byReason.get(key);
    if (known === undefined) byReason.set(key, { text, pod, count: 1 });
    else known.count += 1;
  }
  const all = [...byReason.values()].toSorted((a, b) => b.count - a.count);
  return {
    texts: all.slice(0, 2).map(({ text, count }) => (count === 1 ? text : `${text} (and ${count - 1} more alike)`)),
    troubled: all[0]?.pod,
  };
}

/**
 * Why an object is not ready, as somebody on call would put it: what its newest pods wait for (with the image's name where it is the
 * image), what cannot be scheduled, which quota stands in the way, and the last warning. Undefined when nothing is known beyond the
 * object's own status. Reads pods, replica sets and events; where it may not, it says less.
 */
export async function explain(client: KubeClient, object: Json, signal?: AbortSignal): Promise<string | undefined> {
  const subject = subjectOf(object);
  const parts: string[] = [];
  let witness: Subject = subject;
  if (subject.kind === "Pod") {
    const text = explainPod(object);
    if (text !== undefined) parts.push(text);
  } else if (WORKLOADS.has(subject.kind) && subject.namespace !== "") {
    const failure = conditionOf(object, "ReplicaFailure");
    if (failure?.status === "True") parts.push(cut(failure.message || failure.reason));
    const { texts, troubled } = explainPods(await podsOf(client, object, signal));
    parts.push(...texts);
    if (troubled !== undefined) witness = subjectOf(troubled);
  }
  const said = parts.join("; ");
  const known = /cannot be pulled|cannot be scheduled/.test(said);
  const warning = known ? undefined : await lastWarning(client, witness, signal);
  if (warning !== undefined && !said.includes(warning)) parts.push(`last warning: ${warning}`);
  return parts.length === 0 ? undefined : parts.join("; ");
}
