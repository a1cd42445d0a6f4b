import { type TransporterError, toTransporterError } from "../../kit/mod.ts";
import type { ObjectRef } from "../../manifests/mod.ts";
import type { ApplyOptions } from "./apply-request.ts";
import type { KubeClient } from "../http/client.ts";
import type { ReadyRules } from "../ready/ready-when.ts";
import type { Plan, PlannedObject } from "./plan.ts";
import type { Validation } from "./validate.ts";
import { Walk } from "./walk.ts";

/**
 * What became of one object.
 * - `created`, `updated`, `unchanged`: as the API server answered.
 * - `recreated`: deleted and made anew, because a field of it cannot be changed.
 * - `failed`: refused; `error` says why.
 * - `pending`: never tried, because something before it failed or the event was called back.
 *
 * An object that was applied, and on which others wait in vain, keeps the word for what was done; `error` says why it is not ready.
 */
export interface ResourceOutcome {
  readonly planned: PlannedObject;
  readonly ref: ObjectRef;
  readonly apiVersion: string;
  readonly status: "created" | "updated" | "unchanged" | "recreated" | "failed" | "pending";
  /** For people; empty where the status says it all. */
  readonly message: string;
  readonly error: TransporterError | undefined;
  /** Of the object after our apply. */
  readonly generation: number | undefined;
  /** An apply was sent and nobody knows whether it took effect. */
  readonly uncertain: boolean;
}

export interface ApplyPlanOptions extends ApplyOptions {
  readonly onProgress?: (done: number, total: number) => void;
  /** As each object's outcome is known; `pending` ones come at the end. */
  readonly onResource?: (outcome: ResourceOutcome) => void;
  /** While something is waited for before what leans on it. */
  readonly onWaiting?: (text: string) => void;
  /** Stop between two objects: those being applied are finished, no further one is begun, and nothing is waited for any more. */
  readonly halt?: AbortSignal;
  /** Where an object fails, go on with all that does not lean on it. */
  readonly goOn?: boolean;
  /** How long what others wait for may take to get ready; namespaces and definitions have less. */
  readonly readyTimeoutMs?: number;
  /** What the event says of readiness. */
  readonly rules?: ReadyRules | undefined;
}

/**
 * Applies batch by batch, each object by server-side apply, and tells truly what became of each. What a batch waits for is ready before it is
 * begun; what leans on namespaces and definitions of the event is dry-run before it is applied. When an object fails, the rest of its batch is
 * still applied and later ones are not touched; with `goOn`, all that does not lean on what failed is applied. Resolves to all outcomes in the event's
 * order, failed, halted or not; throws only the signal's reason, after the requests in flight ended: what `onResource` told until then holds.
 */
export async function applyPlan(
  client: KubeClient,
  plan: Plan,
  validation: Validation,
  options: ApplyPlanOptions,
): Promise<ResourceOutcome[]> {
  const walk = new Walk(client, plan, validation, options);
  try {
    await walk.batches();
  } catch (error) {
    options.signal?.throwIfAborted();
    if (options.halt?.aborted === true && error === options.halt.reason) return walk.finish();
    const infrastructure = toTransporterError(error);
    client.log.warn("Apply ended early", { error: infrastructure.message, code: infrastructure.code });
    // Told by at least one outcome already, unless it happened between objects.
    if (![...walk.outcomes.values()].some((outcome) => outcome.error !== undefined)) throw infrastructure;
  }
  return walk.finish();
}
