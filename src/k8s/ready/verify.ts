import { messageOf, TransporterError } from "../../kit/mod.ts";
import { crdProvides } from "../../manifests/mod.ts";
import type { ResourceOutcome } from "../apply/apply.ts";
import { awaitReady, type Awaited, type Standing } from "./await-ready.ts";
import { awaitServing } from "./await-serving.ts";
import type { KubeClient } from "../http/client.ts";
import { explain, type Explanation } from "../why/explain.ts";
import type { LogLines } from "../why/log-lines.ts";
import type { Plan } from "../apply/plan.ts";
import type { Target } from "../apply/target.ts";
import { hasReadiness } from "./readiness.ts";
import type { ReadyRules } from "./ready-when.ts";

/** One object that is not ready, and why as far as is known. */
export interface NotReady {
  readonly object: string;
  readonly reason: string;
  readonly message: string;
  /** What the container that does not do what it should wrote last. */
  readonly log?: LogLines;
}

export interface VerifyOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** What the event says of readiness (`ready_when`), in place of what the kinds say. */
  readonly rules?: ReadyRules | undefined;
  /** First after two seconds, then every few: one line for people, and what it is made of. */
  readonly onWaiting?: (text: string, waiting: readonly NotReady[]) => void;
  /** As each is seen to be ready, and at once for those that need no look. */
  readonly onReady?: ((target: Target) => void) | undefined;
}

/** So many objects are explained in full; the rest are counted. */
const EXPLAINED = 5;
const EXPLAIN_BUDGET_MS = 10_000;

function describeStanding(standing: Standing, why: Explanation | undefined): NotReady {
  const { text = "", log } = why ?? {};
  const { ref } = standing.target;
  // What is said of the pods of a workload stands behind its own words; of a pod itself it is the same in better ones.
  const isPod = ref.group === "" && ref.kind === "Pod" && text !== "";
  const both = text === "" || standing.message.includes(text) ? standing.message : `${standing.message}; ${text}`;
  const message = isPod ? text : both;
  return { object: standing.target.label, reason: standing.reason, message, ...(log === undefined ? {} : { log }) };
}

function failedFirst(standings: readonly Standing[]): Standing[] {
  return standings.toSorted((a, b) => Number(b.status === "failed") - Number(a.status === "failed"));
}

/** With what pods, events and logs say. A cluster that does not answer must not hide what is known already. */
async function describeAll(
  client: KubeClient,
  standings: readonly Standing[],
  { signal, brief }: { readonly signal: AbortSignal | undefined; readonly brief: boolean },
): Promise<NotReady[]> {
  const limit = new AbortController();
  const onAbort = (): void => limit.abort();
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer = client.ports.timers.after(EXPLAIN_BUDGET_MS, onAbort, { background: true });
  try {
    return await Promise.all(
      failedFirst(standings).map(async (standing, index) => {
        if (index >= EXPLAINED || standing.object === undefined) return describeStanding(standing, undefined);
        const why = await explain(client, standing.object, { signal: limit.signal, brief }).catch((error: unknown) => {
          client.log.debug("No explanation", { object: standing.target.label, error: messageOf(error) });
          return undefined;
        });
        return describeStanding(standing, why);
      }),
    );
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", onAbort);
  }
}

function listed(all: readonly NotReady[], most: number): string {
  const texts = all.slice(0, most).map(({ object, message }) => `${object}: ${message}`);
  const rest = all.length - texts.length;
  return `${texts.join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`;
}

function seconds(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000} s` : `${ms} ms`;
}

/** What of the outcomes has to be waited for: what was applied. */
export function awaitedOf(plan: Plan, outcomes: readonly ResourceOutcome[]): Awaited[] {
  const planned = new Set(plan.objects);
  return outcomes
    .filter((outcome) => planned.has(outcome.planned) && outcome.status !== "failed" && outcome.status !== "pending")
    .map((outcome) => ({ target: outcome.planned, generation: outcome.generation }));
}

/** Who sends a definition and then, when that is completed, its objects, must not be told that the kind is not known. */
async function awaitBroughtKinds(
  client: KubeClient,
  plan: Plan,
  outcomes: readonly ResourceOutcome[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const made = new Set(outcomes.filter(({ status }) => status === "created" || status === "updated").map(({ planned }) => planned));
  const brought = crdProvides(plan.objects.filter((planned) => made.has(planned)).map(({ parsed }) => parsed));
  const refs = [...brought.values()].flatMap(({ group, kind, versions }) => versions.map((version) => ({ group, version, kind })));
  if (!(await awaitServing(client, refs, signal)))
    client.log.warn("An established kind is not served yet", { kinds: refs.map(({ group, kind }) => `${group}/${kind}`).join(", ") });
}

/** One target that is not ready. */
export interface Unready {
  readonly target: Target;
  /** No waiting helps it. */
  readonly failed: boolean;
  readonly message: string;
  /** Of this target alone. */
  readonly error: TransporterError;
}

/** What stands in the way, for all targets together and for each. */
export interface Unreadiness {
  readonly error: TransporterError;
  readonly targets: readonly Unready[];
}

function listedAs(code: Unreadiness["error"]["code"], prefix: string, all: readonly NotReady[], suffix = ""): TransporterError {
  return new TransporterError(code, `${prefix}${listed(all, EXPLAINED)}${suffix}`, {
    details: { not_ready: all.slice(0, 100), not_ready_count: all.length },
  });
}

/**
 * Waits by watching until every target is ready, and resolves to nothing then. Kinds that are ready by being stored cost no request. Resolves to
 * VERIFY_FAILED as soon as an object cannot become ready, to VERIFY_TIMEOUT when the time is over, both saying why (pods, images, quotas, events)
 * with `details.not_ready`. An object that is not there at the first look has failed. Throws FORBIDDEN where it may not look, INVALID_EXPRESSION where
 * an expression of `rules` cannot be used after all, and the signal's reason.
 */
export async function awaitTargets(
  client: KubeClient,
  awaited: readonly Awaited[],
  options: VerifyOptions,
): Promise<Unreadiness | undefined> {
  const { signal, onWaiting } = options;
  let describing = false;
  let ended = false;
  const say = async (standings: readonly Standing[]): Promise<void> => {
    // One at a time: on a slow cluster explanations must not pile up.
    if (describing) return;
    describing = true;
    try {
      const all = await describeAll(client, standings, { signal, brief: true });
      if (!ended) onWaiting?.(`waiting for ${all.length === 1 ? "" : `${all.length} objects: `}${listed(all, 3)}`, all);
    } finally {
      describing = false;
    }
  };
  const toAwait = awaited.filter(
    ({ target }) => hasReadiness(target.ref.group, target.ref.kind) || options.rules?.concerns(target) === true,
  );
  const isAwaited = new Set(toAwait);
  for (const one of awaited) if (!isAwaited.has(one)) options.onReady?.(one.target);
  const ending = await awaitReady(client, toAwait, {
    timeoutMs: options.timeoutMs,
    rules: options.rules,
    onReady: options.onReady,
    ...(signal === undefined ? {} : { signal }),
    onWaiting: (standings) => {
      say(standings).catch((error: unknown) => client.log.debug("No explanation", { error: messageOf(error) }));
    },
  }).finally(() => {
    ended = true;
  });
  if (ending.status === "ready") return undefined;
  const all = await describeAll(client, ending.standings, { signal, brief: false });
  const late = `not ready after ${seconds(options.timeoutMs)}: `;
  const targets = failedFirst(ending.standings).map(({ target, status, message }, index): Unready => {
    const failed = status === "failed";
    const own = all[index];
    const error = listedAs(failed ? "VERIFY_FAILED" : "VERIFY_TIMEOUT", failed ? "" : late, own === undefined ? [] : [own]);
    return { target, failed, message: own?.message ?? message, error };
  });
  if (ending.status === "failed") return { error: listedAs("VERIFY_FAILED", "", all), targets };
  const trouble = ending.trouble === undefined ? "" : `; at the end the API server could not be asked: ${ending.trouble}`;
  return { error: listedAs("VERIFY_TIMEOUT", late, all, trouble), targets };
}

/** `awaitTargets` for those who need no more than the error: throws it. */
export async function verifyTargets(client: KubeClient, awaited: readonly Awaited[], options: VerifyOptions): Promise<void> {
  const found = await awaitTargets(client, awaited, options);
  if (found !== undefined) throw found.error;
}

/** `verifyTargets` for what was applied of a plan; the kinds that definitions of it bring are served when it resolves. */
export async function verifyPlan(
  client: KubeClient,
  plan: Plan,
  outcomes: readonly ResourceOutcome[],
  options: VerifyOptions,
): Promise<void> {
  await verifyTargets(client, awaitedOf(plan, outcomes), options);
  await awaitBroughtKinds(client, plan, outcomes, options.signal);
}
