import { TransporterError, messageOf } from "../../kit/mod.ts";
import type { ApplyOptions } from "./apply-request.ts";
import { type Fault, faultsError, isClusterFault, isForbidden, MAX_FAULTS } from "./faults.ts";
import type { Finding } from "./finding.ts";
import type { KubeClient } from "../http/client.ts";
import { forEachLimited } from "../http/limiter.ts";
import type { Plan, PlannedObject } from "./plan.ts";
import { surveyNewcomers } from "./survey.ts";
import { lookAt, tryObject } from "./try-object.ts";

export interface Validation {
  readonly findings: ReadonlyMap<PlannedObject, Finding>;
  /** Not dry-run yet: each is, as soon as what it waits for stands. */
  readonly deferred: readonly PlannedObject[];
  /** Where the rest is to go on: what the API server refuses. Without findings. */
  readonly faults: readonly Fault[];
}

export interface ValidateOptions extends ApplyOptions {
  /** Nothing will be applied: where the account may not dry-run, that an object is there or not is better than no answer. */
  readonly lookOnly?: boolean;
  /** What the API server refuses is listed, instead of all being refused for it. */
  readonly goOn?: boolean;
  /** After each object. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What is wrong with one object of the plan. */
interface PlannedFault extends Fault {
  readonly planned: PlannedObject;
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
): Promise<{ readonly faults: readonly PlannedFault[]; readonly more: boolean }> {
  const newcomers = await surveyNewcomers(client, objects, options);
  const faults: PlannedFault[] = [];
  let done = 0;
  await forEachLimited(objects, client.maxInFlight, async (planned) => {
    if (faults.length >= MAX_FAULTS && options.goOn !== true) return;
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
 * left for later and listed. With `goOn` it throws only where the cluster is at fault, and lists all faults.
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
  if (real.length > 0 && options.goOn !== true) throw faultsError(real, plan.objects, more);
  return { findings, deferred: [...plan.deferred, ...putOff.map(({ planned }) => planned)], faults: real };
}
