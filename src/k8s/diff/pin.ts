import { TransporterError } from "../../kit/mod.ts";
import { stringifyObject } from "../../manifests/mod.ts";
import { type Json, readExact, recordOf, textOf } from "../http/json.ts";
import type { PlannedObject } from "../apply/plan.ts";

/** The one version of an object that a write is for; without values: none, it must not exist. */
export interface Pin {
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
}

/** Decides at each write which version it is for, and what to do where that is gone. */
export interface WriteGuard {
  /** `write` is called with the version that it has to find, again when that was moved in a way that does not matter. */
  write<T>(planned: PlannedObject, write: (pin: Pin | undefined) => Promise<T>): Promise<T>;
}

/** A version that no object has by the time that anybody can see it: an apply with it makes an object, and is refused where there is one. */
const NONE = "1";

/**
 * A manifest as it is sent for one version alone: the API server answers 409 where the object is at another, and where it is gone. Without the
 * uid it would make one that is gone anew.
 */
export function pinnedBody(body: string, { uid, resourceVersion }: Pin): string {
  const object = recordOf(readExact(body));
  const metadata: Json = {
    ...recordOf(object["metadata"]),
    resourceVersion: resourceVersion ?? NONE,
    ...(uid === undefined ? {} : { uid }),
  };
  return stringifyObject({ ...object, metadata });
}

/** Before a write that cannot be pinned by the API server itself. Throws what tells the guard to look again. */
export function demandPinned(
  label: string,
  metadata: { readonly uid?: unknown; readonly resourceVersion?: unknown } | undefined,
  pin: Pin | undefined,
): void {
  if (pin === undefined) return;
  if (textOf(metadata?.resourceVersion) === pin.resourceVersion && textOf(metadata?.uid) === pin.uid) return;
  throw new TransporterError("APPLY_FAILED", `${label}: somebody changed the object at the same moment`, {
    details: { object: label, not_pinned: true, http_status: 409 },
    remedy: "Send again.",
  });
}
