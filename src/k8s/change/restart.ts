import { TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { type Json, recordOf, textOf } from "../http/json.ts";
import { forEachLimited } from "../http/limiter.ts";
import { type Fault, faultsError, isClusterFault } from "../apply/faults.ts";
import type { Located } from "./locate.ts";
import { notFound, type PatchOrder, readObject } from "./patch-request.ts";

/** The annotation of the pod template by which `kubectl rollout restart` makes a new revision; tools know it. */
export const RESTARTED_AT = "kubectl.kubernetes.io/restartedAt";

const RESTARTABLE: ReadonlySet<string> = new Set(["apps/Deployment", "apps/StatefulSet", "apps/DaemonSet"]);

export interface RestartOrder extends PatchOrder {
  /** What a person should know beside that it was restarted. */
  readonly hint: string | undefined;
}

function refuse(target: Located, problem: string, remedy: string): TransporterError {
  return new TransporterError("INVALID_OBJECT", `${target.label} cannot be restarted: ${problem}`, {
    details: { object: target.label },
    remedy,
  });
}

/** Source: k8s.io/kubectl/pkg/polymorphichelpers/objectrestarter.go */
function checkRestart(target: Located, live: Json): void {
  if (recordOf(live["spec"])["paused"] === true)
    throw refuse(target, "it is paused, and would go on running what it runs", "Resume it first (kubectl rollout resume).");
}

function restartedAt(live: Json): string | undefined {
  const template = recordOf(recordOf(live["spec"])["template"]);
  return textOf(recordOf(recordOf(template["metadata"])["annotations"])[RESTARTED_AT]);
}

function toSecond(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}

/** Whole seconds, as kubectl writes it; a later one where the object has that one already, which would change nothing. */
function timeFor(live: Json, atMs: number, again: boolean): string {
  const time = toSecond(atMs);
  return restartedAt(live) === time && !again ? toSecond(atMs + 1_000) : time;
}

function hintOf(live: Json): string | undefined {
  const strategy = textOf(recordOf(recordOf(live["spec"])["updateStrategy"])["type"]);
  return strategy === "OnDelete" ? "its pods are replaced only as they are deleted (updateStrategy OnDelete)" : undefined;
}

async function orderFor(client: KubeClient, target: Located, options: RestartOptions): Promise<RestartOrder> {
  if (!RESTARTABLE.has(`${target.ref.group}/${target.ref.kind}`))
    throw refuse(target, `only Deployments, StatefulSets and DaemonSets can, not a ${target.ref.kind}`, "Leave it out of the event.");
  const live = await readObject(client, target, options.signal);
  if (live === undefined) throw notFound(target);
  checkRestart(target, live);
  const time = timeFor(live, options.atMs, options.again);
  const value = { spec: { template: { metadata: { annotations: { [RESTARTED_AT]: time } } } } };
  return { target, type: "strategic", body: JSON.stringify(value), value, hint: hintOf(live) };
}

export interface RestartOptions {
  /** Wall clock, milliseconds since the epoch: of the first attempt, so that a further one restarts nothing twice. */
  readonly atMs: number;
  /** An attempt before may have restarted some. */
  readonly again: boolean;
  /** What cannot be restarted does not keep the others from it. */
  readonly tolerant: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface RestartPlan {
  readonly orders: readonly RestartOrder[];
  /** What cannot be restarted, where that is not to keep the others from it. */
  readonly refused: readonly { readonly target: Located; readonly error: TransporterError }[];
}

/** How each object is restarted; changes nothing. Throws one error for all that cannot be, unless it is to be tolerant. */
export async function planRestarts(client: KubeClient, targets: readonly Located[], options: RestartOptions): Promise<RestartPlan> {
  const orders = new Map<Located, RestartOrder>();
  const refused = new Map<Located, TransporterError>();
  await forEachLimited(targets, client.maxInFlight, async (target) => {
    try {
      orders.set(target, await orderFor(client, target, options));
    } catch (error) {
      if (options.signal?.aborted === true || !(error instanceof TransporterError) || isClusterFault(error)) throw error;
      refused.set(target, error);
    }
  });
  const faults = [...refused].map(([planned, error]): Fault => ({ planned, error }));
  if (faults.length > 0 && !options.tolerant) throw faultsError(faults, targets, false);
  return {
    orders: targets.flatMap((target) => orders.get(target) ?? []),
    refused: targets.flatMap((target) => {
      const error = refused.get(target);
      return error === undefined ? [] : [{ target, error }];
    }),
  };
}
