import { TransporterError, messageOf } from "../../kit/mod.ts";
import {
  applyRefusal,
  carriesServerFields,
  isPlain,
  leavesAsIs,
  metadataOf,
  provesNoChange,
  sendApply,
  sendDryCreate,
  type ApplyOptions,
} from "./apply-request.ts";
import type { KubeClient } from "../http/client.ts";
import { forEachLimited } from "../http/limiter.ts";
import { legacyManagers } from "./managers.ts";
import { readMetadata } from "./migrate.ts";
import type { Plan, PlannedObject } from "./plan.ts";
import { surveyNewcomers } from "./survey.ts";
import { conflictingManagers, refusesDryRun } from "../http/status-error.ts";
import type { KubeAnswer } from "../http/transport.ts";

/** What the dry run of one object said. */
export interface Finding {
  /**
   * - `create`, `update`: what an apply would do; `update` also where nothing would change and that could not be proven.
   * - `unchanged`: proven that an apply would change nothing.
   * - `unknown`: could not be dry-run, because an admission webhook refuses every dry run.
   * - `unjudged`: was only looked for, because the account may read and nothing else, and a dry run needs the right to do it.
   * - `unseen`: not even that, because it may not be read either.
   */
  readonly would: "create" | "update" | "unchanged" | "unknown" | "unjudged" | "unseen";
  /** Of the object as it stood; undefined for a new one. */
  readonly resourceVersion: string | undefined;
  readonly generation: number | undefined;
  /** Field managers whose fields are ours by history and have to be migrated before the apply. */
  readonly legacy: ReadonlySet<string>;
  /** Milliseconds of the monotonic clock. */
  readonly atMs: number;
}

export interface Validation {
  readonly findings: ReadonlyMap<PlannedObject, Finding>;
  /** Not dry-run yet: each is, as soon as what it waits for stands. */
  readonly deferred: readonly PlannedObject[];
}

export interface ValidateOptions extends ApplyOptions {
  /** Nothing will be applied: where the account may not dry-run, that an object is there or not is better than no answer. */
  readonly lookOnly?: boolean;
  /** After each object. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** More than these tell a person nothing; the dry runs stop. */
const MAX_FAULTS = 100;
const NAMED_FAULTS = 5;
/** The cluster, not the object, is at fault: nothing is gained by asking for the next one. */
const CLUSTER_FAULTS: ReadonlySet<string> = new Set(["KUBE_UNAVAILABLE", "KUBE_UNAUTHORIZED", "KUBE_CONFIG_INVALID"]);

export interface Fault {
  readonly planned: PlannedObject;
  readonly error: TransporterError;
}

export function isClusterFault(error: unknown): boolean {
  return !(error instanceof TransporterError) || CLUSTER_FAULTS.has(error.code);
}

/** One fault as `details.faults` lists it: for people by object, for `canHeal` by what the server answered. */
export function faultDetails({ planned, error }: Fault): Readonly<Record<string, unknown>> {
  const { http_status, pinned } = error.details;
  return {
    object: planned.label,
    code: error.code,
    message: error.message,
    ...(http_status === undefined ? {} : { http_status }),
    ...(pinned === undefined ? {} : { pinned }),
  };
}

/** One error for all faults: the code of the first in the event's order, and the first few in words. */
export function faultsError(faults: readonly Fault[], plan: Plan, more: boolean): TransporterError {
  const order = new Map(plan.objects.map((planned, index) => [planned, index]));
  const sorted = faults.toSorted((a, b) => (order.get(a.planned) ?? 0) - (order.get(b.planned) ?? 0));
  const [first] = sorted;
  if (first === undefined) return new TransporterError("INTERNAL", "no fault to report");
  const details = {
    fault_count: faults.length,
    faults: sorted.map(faultDetails),
  };
  if (sorted.length === 1)
    return new TransporterError(first.error.code, first.error.message, {
      details: { ...first.error.details, ...details },
      remedy: first.error.remedy,
      cause: first.error,
    });
  const rest = sorted.length - NAMED_FAULTS;
  const named = sorted.slice(0, NAMED_FAULTS).map(({ error }) => error.message);
  return new TransporterError(
    first.error.code,
    `${more ? "more than " : ""}${sorted.length} of ${plan.objects.length} objects are refused: ${named.join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`,
    { details, remedy: first.error.remedy, cause: first.error },
  );
}

function created(atMs: number): Finding {
  return { would: "create", resourceVersion: undefined, generation: undefined, legacy: new Set(), atMs };
}

/** A controller may write between a trial and the look at what was there; both are of use only when they are of the same state. */
const MAX_TRIALS = 3;

/** What an accepted trial found; undefined when the object changed meanwhile and the trial should be made again. */
async function findingOf(
  client: KubeClient,
  planned: PlannedObject,
  answer: KubeAnswer,
  options: ApplyOptions,
  atMs: number,
): Promise<Finding | undefined> {
  if (answer.status === 201) return created(atMs);
  const tried = metadataOf(answer);
  const { resourceVersion, generation, managedFields } = tried;
  const legacy = legacyManagers(managedFields, options.fieldManager);
  let unchanged = legacy.size === 0 && provesNoChange(answer, managedFields, options.fieldManager);
  // Changed by this trial or by an apply of a moment ago: for what controllers write to, the resourceVersion could not tell later.
  if (!unchanged && legacy.size === 0 && generation !== undefined) {
    const before = await readMetadata(client, planned, options.signal);
    if (before?.resourceVersion !== resourceVersion) return undefined;
    unchanged = before !== undefined && leavesAsIs(planned.parsed.object, before, tried, options.fieldManager);
  }
  return { would: unchanged ? "unchanged" : "update", resourceVersion, generation, legacy, atMs };
}

async function dryApply(client: KubeClient, planned: PlannedObject, options: ApplyOptions, trial = 1): Promise<Finding> {
  const atMs = client.ports.clock.monotonic();
  const answer = await sendApply(client, planned, options, { dryRun: true, force: options.forceConflicts, strict: true });
  if (answer.status < 300) {
    const finding = await findingOf(client, planned, answer, options, atMs);
    if (finding !== undefined) return finding;
    if (trial < MAX_TRIALS) return dryApply(client, planned, options, trial + 1);
    const { resourceVersion, generation } = metadataOf(answer);
    return { would: "update", resourceVersion, generation, legacy: new Set(), atMs };
  }
  if (refusesDryRun(answer)) return { would: "unknown", resourceVersion: undefined, generation: undefined, legacy: new Set(), atMs };
  const error = applyRefusal(answer, planned);
  const managers = conflictingManagers(error);
  if (managers === undefined) throw error;
  // With force, a dry run answers what the apply will after a migration.
  const forced = await sendApply(client, planned, options, { dryRun: true, force: true, strict: true });
  if (forced.status >= 300) throw applyRefusal(forced, planned);
  // Whose fields they are stands in the cluster only: the forced dry run has already taken them away.
  const metadata = await readMetadata(client, planned, options.signal);
  const legacy = metadata === undefined ? new Set<string>() : legacyManagers(metadata.managedFields, options.fieldManager);
  if (!managers.every((manager) => legacy.has(manager))) throw applyRefusal(answer, planned, legacy);
  return { would: "update", resourceVersion: metadataOf(forced).resourceVersion, generation: undefined, legacy, atMs };
}

/** Dry-runs one object in the cheapest way that gives the same refusals. Throws the object's or the cluster's fault. */
async function dryRun(client: KubeClient, planned: PlannedObject, isNew: boolean, options: ApplyOptions): Promise<Finding> {
  if (isNew && isPlain(planned.parsed.object) && !carriesServerFields(planned.parsed.object.metadata)) {
    const atMs = client.ports.clock.monotonic();
    const answer = await sendDryCreate(client, planned, options);
    if (answer.status < 300) return created(atMs);
    // Anything else (it exists by now, a refusal) is said by an apply, in an apply's words.
  }
  return dryApply(client, planned, options);
}

function isForbidden(error: unknown): boolean {
  return error instanceof TransporterError && error.code === "FORBIDDEN";
}

/** What can be known of an object without trying anything. */
async function look(client: KubeClient, planned: PlannedObject, options: ApplyOptions): Promise<Finding> {
  const found = { legacy: new Set<string>(), atMs: client.ports.clock.monotonic() };
  try {
    const there = await readMetadata(client, planned, options.signal);
    return { ...found, would: "unjudged", resourceVersion: there?.resourceVersion, generation: there?.generation };
  } catch (error) {
    if (!isForbidden(error)) throw error;
    return { ...found, would: "unseen", resourceVersion: undefined, generation: undefined };
  }
}

/**
 * Dry-runs these objects and adds what was found; collects every fault. A namespace that comes with the event and that the account may not
 * read shows only here: then the object is put off, not refused.
 */
export async function dryRunAll(
  client: KubeClient,
  objects: readonly PlannedObject[],
  options: ValidateOptions,
  into: Map<PlannedObject, Finding>,
): Promise<{ readonly faults: readonly Fault[]; readonly more: boolean }> {
  const newcomers = await surveyNewcomers(client, objects, options);
  const faults: Fault[] = [];
  let done = 0;
  await forEachLimited(objects, client.maxInFlight, async (planned) => {
    if (faults.length >= MAX_FAULTS) return;
    try {
      into.set(planned, await dryRun(client, planned, newcomers.has(planned), options));
    } catch (error) {
      if (options.signal?.aborted === true || isClusterFault(error)) throw error;
      if (options.lookOnly === true && isForbidden(error)) {
        into.set(planned, await look(client, planned, options));
        done += 1;
        options.onProgress?.(done, objects.length);
        return;
      }
      faults.push({
        planned,
        error: error instanceof TransporterError ? error : new TransporterError("INTERNAL", messageOf(error), { cause: error }),
      });
    }
    done += 1;
    options.onProgress?.(done, objects.length);
  });
  return { faults, more: faults.length >= MAX_FAULTS };
}

/**
 * Has the API server judge every object that it can judge by now, by a strict server-side dry run; changes nothing. Throws one error
 * that names the first faults and counts all; `details.faults` lists them. Objects whose namespace or definition comes with the event are
 * left for later and listed.
 */
export async function validatePlan(client: KubeClient, plan: Plan, options: ValidateOptions): Promise<Validation> {
  const findings = new Map<PlannedObject, Finding>();
  const ready = plan.objects.filter((planned) => planned.deferral === undefined);
  const { faults, more } = await dryRunAll(client, ready, options, findings);
  const brought = new Set(plan.objects.filter(({ ref }) => ref.group === "" && ref.kind === "Namespace").map(({ ref }) => ref.name));
  const putOff = faults.filter(
    ({ planned, error }) =>
      error.code === "NAMESPACE_NOT_FOUND" && planned.ref.namespace !== undefined && brought.has(planned.ref.namespace),
  );
  const real = faults.filter((fault) => !putOff.includes(fault));
  if (real.length > 0) throw faultsError(real, plan, more);
  return { findings, deferred: [...plan.deferred, ...putOff.map(({ planned }) => planned)] };
}
