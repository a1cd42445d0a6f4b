import { messageOf, TransporterError } from "../../kit/mod.ts";
import { cutDifference, differenceText, namespacesProvided, stringifyObject } from "../../manifests/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { collectionPath } from "../http/discovery.ts";
import { isRecord, type Json, readExact, recordOf, textOf } from "../http/json.ts";
import { forEachLimited } from "../http/limiter.ts";
import { refusesDryRun } from "../http/status-error.ts";
import { applyRefusal, type ApplyOptions, sendApply } from "../apply/apply-request.ts";
import { type Fault, isClusterFault, isForbidden, MAX_FAULTS } from "../apply/faults.ts";
import type { Finding } from "../apply/finding.ts";
import { ignoredOf } from "../ownership/ignore-fields.ts";
import { mergePatch, withoutLeftBehind } from "./left-behind.ts";
import { legacyManagers, managedFieldsOf } from "../ownership/managers.ts";
import { livePrint } from "./live-print.ts";
import { printOf } from "./plan-sight.ts";
import type { Plan, PlannedObject } from "../apply/plan.ts";
import { readObject, remakeable } from "../apply/put-back.ts";
import { pathOf } from "../apply/target.ts";
import { treatmentOf } from "../ownership/treatment.ts";
import { lookAt, tryObject } from "../apply/try-object.ts";

/** What an apply would do to one object. */
export interface Seen {
  /** As a finding says it; `deferred` where the namespace or the definition of the object comes with the event. */
  readonly would: Finding["would"] | "deferred";
  /** A unified diff; "" where nothing changes, and where nobody can tell. */
  readonly text: string;
  /** Of the object as it was when this was seen; undefined where it could not be read. */
  readonly print: string | undefined;
}

export interface DiffOptions extends ApplyOptions {
  /** Where the account may not dry-run, that an object is there or not is better than no answer. */
  readonly lookOnly?: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Differences {
  readonly seen: ReadonlyMap<PlannedObject, Seen>;
  readonly faults: readonly Fault[];
  /** Not all objects were looked at, as so many are refused. */
  readonly more: boolean;
}

/** Of all texts together so many characters are held; of what comes after them only that there is a difference. */
const HELD_CHARS = 16 * 1024 * 1024;
/** As often as kubectl does it, an object that changes between two looks is looked at again. */
const MAX_LOOKS = 4;

function versionOf(object: Json): string | undefined {
  return textOf(recordOf(object["metadata"])["resourceVersion"]);
}

/** What the tried apply leaves of the object, when its managers have been migrated before. */
async function migrated(client: KubeClient, planned: PlannedObject, live: Json, tried: Json, options: ApplyOptions): Promise<Json> {
  const wanted = withoutLeftBehind(live, tried, options.fieldManager);
  if (wanted === tried) return tried;
  const { managedFields: _theirs, resourceVersion: _version, ...metadata } = recordOf(wanted["metadata"]);
  const { managedFields: _ours, resourceVersion: _seen, ...before } = recordOf(live["metadata"]);
  // What is gone may have a default, which only the API server knows.
  const answer = await client.send({
    method: "PATCH",
    path: `${pathOf(planned)}?fieldManager=${encodeURIComponent(options.fieldManager)}&dryRun=All`,
    contentType: "application/merge-patch+json",
    body: stringifyObject(mergePatch({ ...live, metadata: before }, { ...wanted, metadata })),
    repeatable: true,
    signal: options.signal,
  });
  if (answer.status >= 300) throw applyRefusal(answer, planned);
  return recordOf(readExact(answer.text));
}

/** The object as an apply would leave it, unless it changed while it was looked at, or a webhook lets nothing be tried. */
async function tryWhole(
  client: KubeClient,
  planned: PlannedObject,
  live: Json | undefined,
  options: ApplyOptions,
  last: boolean,
): Promise<Json | "moved" | "refused"> {
  const treatment = treatmentOf(planned, options);
  const ignored = live === undefined ? undefined : await ignoredOf(client, planned, treatment, options.signal);
  const legacy = live === undefined ? new Set() : legacyManagers(managedFieldsOf(recordOf(live["metadata"])), options.fieldManager);
  const answer = await sendApply(client, planned, options, {
    ...(live === undefined || ignored === undefined ? {} : { body: ignored.bodyLike(live) }),
    dryRun: true,
    // Other conflicts than those that end with the migration were refused before.
    force: treatment.forceConflicts || legacy.size > 0,
    strict: true,
    whole: true,
  });
  if (refusesDryRun(answer)) return "refused";
  if (answer.status >= 300) throw applyRefusal(answer, planned);
  const tried = recordOf(readExact(answer.text));
  if (live === undefined) return answer.status === 201 || last ? tried : "moved";
  if (versionOf(tried) !== versionOf(live) && !last) return "moved";
  return legacy.size === 0 ? tried : migrated(client, planned, live, tried, options);
}

function renamed(value: unknown, from: string, to: string): unknown {
  if (value === from) return to;
  if (Array.isArray(value)) return value.map((item: unknown) => renamed(item, from, to));
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, renamed(child, from, to)]));
}

/**
 * The object that would be made anew, as the API server would make it. Its name is taken as long as the old one stands, so it is tried under
 * another; undefined when even that is refused, as by an address that the old one has.
 */
async function tryAnew(client: KubeClient, planned: PlannedObject, live: Json, options: ApplyOptions): Promise<Json | undefined> {
  const ignored = await ignoredOf(client, planned, treatmentOf(planned, options), options.signal);
  const { name } = planned.ref;
  const other = `${name.slice(0, 40).replace(/[^a-z0-9]+$/, "")}-${client.ports.ids.uuid().slice(0, 8)}`;
  const wanted = recordOf(JSON.parse(ignored === undefined ? planned.body : ignored.bodyLike(live)) as unknown);
  const body = stringifyObject({ ...wanted, metadata: { ...recordOf(wanted["metadata"]), name: other } });
  const answer = await client.send({
    method: "POST",
    path: `${collectionPath(planned.type, planned.ref.namespace)}?fieldManager=${encodeURIComponent(options.fieldManager)}&dryRun=All`,
    contentType: "application/json",
    body,
    repeatable: true,
    signal: options.signal,
  });
  return answer.status < 300 ? recordOf(renamed(readExact(answer.text), other, name)) : undefined;
}

/** What would become of an object that is there, or not, in this state; undefined when the state is another by now. */
async function judge(
  client: KubeClient,
  planned: PlannedObject,
  live: Json | undefined,
  finding: Finding,
  options: DiffOptions,
  last: boolean,
): Promise<Omit<Seen, "print"> | undefined> {
  const { would } = finding;
  if (would === "unknown") return { would, text: "" };
  if (would === "unchanged" && live !== undefined && versionOf(live) === finding.resourceVersion) return { would, text: "" };
  if (would === "recreate" && live !== undefined) {
    const anew = await tryAnew(client, planned, live, options);
    // Of two objects only what somebody wrote can be compared: uid, times and status are others anyway.
    const before = remakeable({ ...live, status: undefined });
    return { would, text: anew === undefined ? "" : differenceText({ live: before, merged: remakeable({ ...anew, status: undefined }) }) };
  }
  const merged = await tryWhole(client, planned, live, options, last);
  if (merged === "moved") return undefined;
  if (merged === "refused") return { would: "unknown", text: "" };
  const text = differenceText({ live, merged });
  return { would: live === undefined ? "create" : text === "" ? "unchanged" : "update", text };
}

async function lookWhole(client: KubeClient, planned: PlannedObject, finding: Finding, options: DiffOptions): Promise<Seen> {
  for (let look = 1; ; look += 1) {
    const live = await readObject(client, planned, options.signal);
    const judged = await judge(client, planned, live, finding, options, look >= MAX_LOOKS);
    if (judged !== undefined) return { ...judged, print: await printOf(client, planned, live, options) };
  }
}

/** One object. Throws its fault, or the cluster's. */
export async function lookOne(client: KubeClient, planned: PlannedObject, options: DiffOptions): Promise<Seen> {
  try {
    return await lookWhole(client, planned, await tryObject(client, planned, false, options), options);
  } catch (error) {
    if (options.lookOnly !== true || !isForbidden(error)) throw error;
    const { would, resourceVersion } = await lookAt(client, planned, options);
    return { would: would === "unjudged" && resourceVersion === undefined ? "create" : would, text: "", print: undefined };
  }
}

/** What comes with the event cannot be judged by the API server before it stands; what is written there is all that is known. */
function lookAtDeferred({ body }: PlannedObject): Seen {
  return {
    would: "deferred",
    text: differenceText({ live: undefined, merged: recordOf(readExact(body)) }),
    print: livePrint(undefined),
  };
}

/**
 * What an apply would change, object by object, by strict dry runs against what stands; changes nothing. Managers that would be migrated are
 * taken for migrated, and fields that are ignored for left alone. Gathers the faults of the objects, and throws the cluster's.
 */
export async function diffPlan(client: KubeClient, plan: Plan, options: DiffOptions): Promise<Differences> {
  const brought = namespacesProvided(plan.objects.map(({ parsed }) => parsed));
  const seen = new Map<PlannedObject, Seen>();
  const faults: Fault[] = [];
  let held = 0;
  await forEachLimited(plan.objects, client.maxInFlight, async (planned) => {
    if (faults.length >= MAX_FAULTS) return;
    try {
      const one = planned.deferral === undefined ? await lookOne(client, planned, options) : lookAtDeferred(planned);
      const text = held < HELD_CHARS ? one.text : cutDifference(one.text, 0);
      held += text.length;
      seen.set(planned, { ...one, text });
    } catch (error) {
      if (options.signal?.aborted === true || isClusterFault(error)) throw error;
      const fault = error instanceof TransporterError ? error : new TransporterError("INTERNAL", messageOf(error), { cause: error });
      // A namespace of the event that the account may not read shows only here.
      if (fault.code === "NAMESPACE_NOT_FOUND" && brought.has(planned.ref.namespace ?? "")) seen.set(planned, lookAtDeferred(planned));
      else faults.push({ planned, error: fault });
    }
    options.onProgress?.(seen.size + faults.length, plan.objects.length);
  });
  return { seen, faults, more: faults.length >= MAX_FAULTS };
}
