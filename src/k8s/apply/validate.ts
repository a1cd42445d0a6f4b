import { TransporterError, messageOf } from "../../kit/mod.ts";
import type { ApplyOptions } from "./apply-request.ts";
import type { KubeClient } from "../http/client.ts";
import { forEachLimited } from "../http/limiter.ts";
import type { Plan, PlannedObject } from "./plan.ts";
import { surveyNewcomers } from "./survey.ts";
import { type Finding, isForbidden, lookAt, tryObject } from "./try-object.ts";

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
      into.set(planned, await tryObject(client, planned, newcomers.has(planned), options));
    } catch (error) {
      if (options.signal?.aborted === true || isClusterFault(error)) throw error;
      if (options.lookOnly === true && isForbidden(error)) {
        into.set(planned, await lookAt(client, planned, options));
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
