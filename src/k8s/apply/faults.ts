import { TransporterError } from "../../kit/mod.ts";
import type { Target } from "./target.ts";

/** More than these tell a person nothing; the dry runs stop. */
export const MAX_FAULTS = 100;
const NAMED_FAULTS = 5;
/** The cluster, not the object, is at fault: nothing is gained by asking for the next one. */
const CLUSTER_FAULTS: ReadonlySet<string> = new Set(["KUBE_UNAVAILABLE", "KUBE_UNAUTHORIZED", "KUBE_CONFIG_INVALID"]);

export function isForbidden(error: unknown): boolean {
  return error instanceof TransporterError && error.code === "FORBIDDEN";
}

export interface Fault {
  readonly planned: Target;
  readonly error: TransporterError;
}

export function isClusterFault(error: unknown): boolean {
  return !(error instanceof TransporterError) || CLUSTER_FAULTS.has(error.code);
}

/** One fault as `details.faults` lists it: for people by object, for `canHeal` by what the server answered. */
export function faultDetails({
  planned,
  error,
}: {
  readonly planned: Pick<Target, "label">;
  readonly error: TransporterError;
}): Readonly<Record<string, unknown>> {
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
export function faultsError(faults: readonly Fault[], objects: readonly Target[], more: boolean): TransporterError {
  const order = new Map(objects.map((planned, index) => [planned, index]));
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
    `${more ? "more than " : ""}${sorted.length} of ${objects.length} objects are refused: ${named.join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`,
    { details, remedy: first.error.remedy, cause: first.error },
  );
}
