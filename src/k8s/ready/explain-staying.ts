import { messageOf } from "../../kit/mod.ts";
import { METADATA_LIST_ONLY } from "../apply/apply-request.ts";
import { pathOf, type Target } from "../apply/target.ts";
import type { KubeClient } from "../http/client.ts";
import { collectionPath, type ResourceType } from "../http/discovery.ts";
import { type Json, numberOf, parseRecord, recordOf, recordsOf, textOf } from "../http/json.ts";
import { forEachLimited } from "../http/limiter.ts";
import type { Staying } from "./await-gone.ts";

/** So many objects are explained in full; the rest are counted. */
const EXPLAINED = 5;
/** So many of what stands in the way are named. */
const NAMED = 3;
const EXPLAIN_BUDGET_MS = 10_000;
/** Of one kind. What is in the way of one object is seldom further back. */
const LOOKED_AT = 500;

function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}

interface Found {
  readonly label: string;
  readonly metadata: Json;
}

function listed(names: readonly string[]): string {
  const rest = names.length - NAMED;
  return `${names.slice(0, NAMED).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

/** The objects of all kinds in a namespace (in the cluster, without one) that stand in the way; kinds that may not be listed are left out. */
async function search(
  client: KubeClient,
  namespace: string | undefined,
  blocks: (metadata: Json) => boolean,
  signal: AbortSignal,
): Promise<Found[]> {
  const kinds = await client.discovery.refresh(signal);
  const collections = new Map<string, ResourceType>();
  for (const type of kinds.values())
    if (type.verbs.has("list") && type.verbs.has("delete") && (type.namespaced || namespace === undefined))
      collections.set(`${type.group}/${type.plural}`, type);
  const found: Found[] = [];
  await forEachLimited([...collections.values()], client.maxInFlight, async (type) => {
    const path = `${collectionPath(type, namespace)}?limit=${LOOKED_AT}`;
    const answer = await client.send({ method: "GET", path, accept: METADATA_LIST_ONLY, signal });
    if (answer.status !== 200) return;
    for (const item of recordsOf(parseRecord(answer.text)["items"])) {
      const metadata = recordOf(item["metadata"]);
      const where = textOf(metadata["namespace"]);
      const place = where === undefined || where === namespace ? "" : `${where}/`;
      if (blocks(metadata)) found.push({ label: `${type.kind} ${place}${textOf(metadata["name"]) ?? ""}`, metadata });
    }
  });
  return found.toSorted((a, b) => a.label.localeCompare(b.label));
}

function holders(found: readonly Found[]): string {
  const names = found.map(({ label, metadata }) => `${label} (finalizer ${textsOf(metadata["finalizers"]).join(", ")})`);
  return names.length === 0 ? "" : `; held there: ${listed(names)}`;
}

function isHeld(metadata: Json): boolean {
  return textOf(metadata["deletionTimestamp"]) !== undefined && textsOf(metadata["finalizers"]).length > 0;
}

/** What the namespace controller says is left, and what keeps that. */
async function explainNamespace(client: KubeClient, object: Json, signal: AbortSignal): Promise<string | undefined> {
  const said = recordsOf(recordOf(object["status"])["conditions"])
    .filter((condition) => condition["status"] === "True")
    .flatMap((condition) => textOf(condition["message"]) ?? []);
  const name = textOf(recordOf(object["metadata"])["name"]);
  if (name === undefined) return undefined;
  const found = await search(client, name, isHeld, signal).catch(() => []);
  if (said.length === 0 && found.length === 0) return "its contents are being deleted";
  return `${said.join("; ")}${holders(found)}`.replace(/^; /, "");
}

async function explainForeground(client: KubeClient, object: Json, signal: AbortSignal): Promise<string> {
  const { uid, namespace } = recordOf(object["metadata"]);
  const owned = (metadata: Json): boolean =>
    recordsOf(metadata["ownerReferences"]).some((owner) => owner["uid"] === uid && owner["blockOwnerDeletion"] === true);
  const found = await search(client, textOf(namespace), owned, signal).catch(() => []);
  if (found.length === 0) return "what it owns goes first";
  const names = found.map(({ label, metadata }) => {
    const finalizers = textsOf(metadata["finalizers"]);
    return finalizers.length === 0 ? label : `${label} (finalizer ${finalizers.join(", ")})`;
  });
  return `what it owns goes first, and is still there: ${listed(names)}`;
}

async function explainClaim(client: KubeClient, object: Json, signal: AbortSignal): Promise<string> {
  const { name, namespace } = recordOf(object["metadata"]);
  const path = `/api/v1/namespaces/${encodeURIComponent(textOf(namespace) ?? "")}/pods?limit=${LOOKED_AT}`;
  const answer = await client.send({ method: "GET", path, signal });
  const pods = answer.status === 200 ? recordsOf(parseRecord(answer.text)["items"]) : [];
  const users = pods
    .filter((pod) =>
      recordsOf(recordOf(pod["spec"])["volumes"]).some((volume) => recordOf(volume["persistentVolumeClaim"])["claimName"] === name),
    )
    .map((pod) => textOf(recordOf(pod["metadata"])["name"]) ?? "");
  return users.length === 0 ? "a pod still uses it" : `used by pod ${listed(users)}`;
}

function explainVolume(object: Json): string {
  const claim = recordOf(recordOf(object["spec"])["claimRef"]);
  const name = textOf(claim["name"]);
  return name === undefined
    ? "a claim is still bound to it"
    : `PersistentVolumeClaim ${textOf(claim["namespace"]) ?? ""}/${name} is bound to it`;
}

async function explainDefinition(client: KubeClient, object: Json, signal: AbortSignal): Promise<string> {
  const spec = recordOf(object["spec"]);
  const names = recordOf(spec["names"]);
  const version = textOf(recordsOf(spec["versions"]).find((one) => one["served"] === true)?.["name"]);
  const group = textOf(spec["group"]);
  const plural = textOf(names["plural"]);
  if (version === undefined || group === undefined || plural === undefined) return "its objects are being deleted";
  const path = `/apis/${group}/${version}/${encodeURIComponent(plural)}?limit=${LOOKED_AT}`;
  const answer = await client.send({ method: "GET", path, accept: METADATA_LIST_ONLY, signal });
  const left = answer.status === 200 ? recordsOf(parseRecord(answer.text)["items"]).map((item) => recordOf(item["metadata"])) : [];
  if (left.length === 0) return "its objects are being deleted";
  const kind = textOf(names["kind"]) ?? plural;
  const labels = left.map((metadata) => {
    const namespace = textOf(metadata["namespace"]);
    const finalizers = textsOf(metadata["finalizers"]);
    const held = finalizers.length === 0 ? "" : ` (finalizer ${finalizers.join(", ")})`;
    return `${kind} ${namespace === undefined ? "" : `${namespace}/`}${textOf(metadata["name"]) ?? ""}${held}`;
  });
  return `its objects go first, and are still there: ${listed(labels)}`;
}

/** The kubelet ends the containers first, and only then the pod goes. */
function explainPod(object: Json): string | undefined {
  const grace = numberOf(recordOf(object["metadata"])["deletionGracePeriodSeconds"]) ?? 0;
  const node = textOf(recordOf(object["spec"])["nodeName"]);
  if (node === undefined || grace === 0) return undefined;
  return `its containers have ${grace} s to end, and node ${node} has not said that they did`;
}

async function explainFinalizer(client: KubeClient, finalizer: string, object: Json, signal: AbortSignal): Promise<string> {
  switch (finalizer) {
    case "foregroundDeletion":
      return explainForeground(client, object, signal);
    case "orphan":
      return "the garbage collector has not released what it owns";
    case "kubernetes.io/pvc-protection":
      return explainClaim(client, object, signal);
    case "kubernetes.io/pv-protection":
      return explainVolume(object);
    case "customresourcecleanup.apiextensions.k8s.io":
      return explainDefinition(client, object, signal);
    default:
      return "whoever is to take it away has not";
  }
}

/** Why an object that is being deleted is still there, as somebody on call would put it. */
export async function explainStaying(client: KubeClient, object: Json, signal: AbortSignal): Promise<string> {
  const metadata = recordOf(object["metadata"]);
  if (textOf(metadata["deletionTimestamp"]) === undefined) return "it is there, and not being deleted";
  const parts: string[] = [];
  for (const finalizer of textsOf(metadata["finalizers"]))
    parts.push(`finalizer ${finalizer} holds it: ${await explainFinalizer(client, finalizer, object, signal)}`);
  const kind = textOf(object["kind"]);
  const core = textOf(object["apiVersion"]) === "v1";
  const own =
    core && kind === "Namespace" ? await explainNamespace(client, object, signal) : core && kind === "Pod" ? explainPod(object) : undefined;
  if (own !== undefined) parts.push(own);
  return parts.length === 0 ? "being deleted" : `being deleted; ${parts.join("; ")}`;
}

/** One object that does not go, and why as far as is known. */
export interface NotGone {
  readonly staying: Staying;
  readonly message: string;
}

async function read(client: KubeClient, target: Target, signal: AbortSignal): Promise<Json | undefined> {
  const answer = await client.send({ method: "GET", path: pathOf(target), signal }).catch(() => undefined);
  return answer?.status === 200 ? parseRecord(answer.text) : undefined;
}

/** The first few with what holds them. A cluster that does not answer must not hide what is known already. */
export async function explainAllStaying(client: KubeClient, all: readonly Staying[], signal: AbortSignal | undefined): Promise<NotGone[]> {
  const limit = new AbortController();
  const onAbort = (): void => limit.abort();
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer = client.ports.timers.after(EXPLAIN_BUDGET_MS, onAbort, { background: true });
  try {
    return await Promise.all(
      all.map(async (staying, index): Promise<NotGone> => {
        const { target } = staying;
        const object = staying.object ?? (index < EXPLAINED ? await read(client, target, limit.signal) : undefined);
        if (object === undefined) return { staying, message: "being deleted" };
        const finalizers = textsOf(recordOf(object["metadata"])["finalizers"]);
        const short = finalizers.length === 0 ? "being deleted" : `being deleted; finalizer ${finalizers.join(", ")} holds it`;
        if (index >= EXPLAINED) return { staying, message: short };
        const message = await explainStaying(client, object, limit.signal).catch((error: unknown) => {
          client.log.debug("No explanation", { object: target.label, error: messageOf(error) });
          return short;
        });
        return { staying, message };
      }),
    );
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", onAbort);
  }
}

/** For one line: the first few, and how many more. */
export function listStaying(all: readonly NotGone[], most = EXPLAINED): string {
  const texts = all.slice(0, most).map(({ staying, message }) => `${staying.target.label}: ${message}`);
  const rest = all.length - texts.length;
  return `${texts.join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`;
}
