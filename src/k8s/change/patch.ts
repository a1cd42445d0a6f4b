import { messageOf, toTransporterError, TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { numberOf, textOf } from "../http/json.ts";
import { forEachLimited } from "../http/limiter.ts";
import { type Fault, faultsError, isClusterFault, isForbidden, MAX_FAULTS } from "../apply/faults.ts";
import type { Located } from "./locate.ts";
import {
  hasBeenPatched,
  metadataIn,
  notFound,
  type PatchFinding,
  type PatchOptions,
  type PatchOrder,
  patchRefusal,
  readObject,
  readTrace,
  sendPatch,
  traceIn,
  tryPatch,
} from "./patch-request.ts";

export interface TryPatchesOptions extends PatchOptions {
  /** Nothing will be changed: where the account may not try, that an object is there is better than no answer. */
  readonly lookOnly?: boolean;
  /** What is at fault is found again, and told, when its turn comes; the others are not refused for it. */
  readonly tolerant?: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

async function lookAt(client: KubeClient, { target }: PatchOrder, options: PatchOptions): Promise<PatchFinding> {
  try {
    const live = await readObject(client, target, options.signal);
    if (live === undefined) throw notFound(target);
    return { ...traceIn(live, options.fieldManager), would: "unjudged" };
  } catch (error) {
    if (!isForbidden(error)) throw error;
    return { would: "unseen", uid: undefined, resourceVersion: undefined, own: "", content: "" };
  }
}

/**
 * Has the API server judge every patch by a dry run; changes nothing. Throws one error that names the first faults and counts all;
 * `details.faults` lists them.
 */
export async function tryPatches(
  client: KubeClient,
  orders: readonly PatchOrder[],
  options: TryPatchesOptions,
): Promise<Map<Located, PatchFinding>> {
  const findings = new Map<Located, PatchFinding>();
  const faults: Fault[] = [];
  let done = 0;
  await forEachLimited(orders, client.maxInFlight, async (order) => {
    if (faults.length >= MAX_FAULTS) return;
    try {
      findings.set(order.target, await tryPatch(client, order, options));
    } catch (error) {
      if (options.signal?.aborted === true || isClusterFault(error)) throw error;
      if (options.lookOnly === true && isForbidden(error)) findings.set(order.target, await lookAt(client, order, options));
      else if (options.tolerant !== true)
        faults.push({
          planned: order.target,
          error: error instanceof TransporterError ? error : new TransporterError("INTERNAL", messageOf(error), { cause: error }),
        });
    }
    done += 1;
    options.onProgress?.(done, orders.length);
  });
  if (faults.length > 0) {
    const targets = orders.map(({ target }) => target);
    throw faultsError(faults, targets, faults.length >= MAX_FAULTS);
  }
  return findings;
}

/** What a patch of one object came to. */
export interface Patched {
  readonly status: "updated" | "unchanged";
  /** Of the object after it. */
  readonly generation: number | undefined;
}

/** Others may write to the object between our reading and our patch; each time it is read again. */
const MAX_TRIES = 5;

/**
 * Patches one object in earnest, and says whether that changed something. Throws the refusal, or what the client throws
 * (`details.maybe_done` where nobody knows whether it took effect).
 */
export async function patchObject(
  client: KubeClient,
  order: PatchOrder,
  tried: PatchFinding | undefined,
  options: PatchOptions,
): Promise<Patched> {
  for (let attempt = 1; ; attempt += 1) {
    const live = await readObject(client, order.target, options.signal);
    if (live === undefined) throw notFound(order.target);
    const before = traceIn(live, options.fieldManager);
    const { resourceVersion } = before;
    const answer = await sendPatch(client, order, options, { dryRun: false, resourceVersion });
    if (answer.status < 300) {
      const after = metadataIn(answer);
      const status = textOf(after["resourceVersion"]) === resourceVersion ? "unchanged" : "updated";
      return { status, generation: numberOf(after["generation"]) };
    }
    const refusal = await patchRefusal(client, answer, order, options.signal);
    if (answer.status !== 409 || order.type !== "json" || refusal.details["pinned"] === true || attempt >= MAX_TRIES) throw refusal;
    if (answer.sentBefore !== true) continue;
    // An earlier sending may have arrived, and only its answer was lost.
    const now = await readTrace(client, order.target, options);
    if (now !== undefined && hasBeenPatched({ ...before, expected: tried?.expected }, now))
      return { status: "updated", generation: undefined };
  }
}

/** What became of one object; `pending` ones were never tried. */
export interface PatchOutcome {
  readonly target: Located;
  readonly status: "updated" | "unchanged" | "failed" | "pending";
  readonly message: string;
  readonly error: TransporterError | undefined;
  readonly generation: number | undefined;
  /** A patch was sent and nobody knows whether it took effect. */
  readonly uncertain: boolean;
}

export interface PatchAllOptions extends PatchOptions {
  /** What fails does not keep others from being patched. */
  readonly goOn: boolean;
  readonly onProgress?: (done: number, total: number) => void;
  readonly onOutcome?: (outcome: PatchOutcome) => void;
  /** Stop between two objects. */
  readonly halt?: AbortSignal;
}

/**
 * Patches the objects. When one fails, those being patched are finished and no further one is begun. Resolves to all outcomes in order, failed, halted
 * or not; throws only the signal's reason.
 */
export async function patchAll(
  client: KubeClient,
  orders: readonly PatchOrder[],
  findings: ReadonlyMap<Located, PatchFinding>,
  options: PatchAllOptions,
): Promise<PatchOutcome[]> {
  const outcomes = new Map<Located, PatchOutcome>();
  let failed = false;
  const isHalted = (): boolean => options.halt?.aborted === true;
  const record = (outcome: PatchOutcome): void => {
    outcomes.set(outcome.target, outcome);
    options.onOutcome?.(outcome);
  };
  const fail = (target: Located, thrown: unknown): void => {
    failed = true;
    const error = toTransporterError(thrown);
    const uncertain = error.details["maybe_done"] === true;
    record({ target, status: "failed", message: error.message, error, generation: undefined, uncertain });
  };
  await forEachLimited(orders, client.maxInFlight, async (order) => {
    if (isHalted() || (failed && !options.goOn)) return;
    try {
      const { status, generation } = await patchObject(client, order, findings.get(order.target), options);
      record({ target: order.target, status, message: "", error: undefined, generation, uncertain: false });
    } catch (error) {
      options.signal?.throwIfAborted();
      fail(order.target, error);
    }
    options.onProgress?.(outcomes.size, orders.length);
  });
  const message = `not tried, because ${isHalted() && !failed ? "the event was cancelled" : "something before it failed"}`;
  return orders.map(({ target }) => {
    const known = outcomes.get(target);
    if (known !== undefined) return known;
    const pending: PatchOutcome = { target, status: "pending", message, error: undefined, generation: undefined, uncertain: false };
    options.onOutcome?.(pending);
    return pending;
  });
}
