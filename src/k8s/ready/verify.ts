import { messageOf, TransporterError } from "../../kit/mod.ts";
import { crdProvides } from "../../manifests/mod.ts";
import type { ResourceOutcome } from "../apply/apply.ts";
import { awaitReady, type Awaited, type Standing } from "./await-ready.ts";
import { awaitServing } from "./await-serving.ts";
import type { KubeClient } from "../http/client.ts";
import { explain } from "./explain.ts";
import type { Plan } from "../apply/plan.ts";
import { hasReadiness } from "./readiness.ts";
import type { ReadyRules } from "./ready-when.ts";

/** One object that is not ready, and why as far as is known. */
export interface NotReady {
  readonly object: string;
  readonly reason: string;
  readonly message: string;
}

export interface VerifyOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** What the event says of readiness (`ready_when`), in place of what the kinds say. */
  readonly rules?: ReadyRules | undefined;
  /** First after two seconds, then every few: one line for people, and what it is made of. */
  readonly onWaiting?: (text: string, waiting: readonly NotReady[]) => void;
}

/** So many objects are explained in full; the rest are counted. */
const EXPLAINED = 5;
const EXPLAIN_BUDGET_MS = 10_000;

function describeStanding(standing: Standing, why: string | undefined): NotReady {
  const message = why === undefined || standing.message.includes(why) ? standing.message : `${standing.message}; ${why}`;
  return { object: standing.target.label, reason: standing.reason, message };
}

function failedFirst(standings: readonly Standing[]): Standing[] {
  return standings.toSorted((a, b) => Number(b.status === "failed") - Number(a.status === "failed"));
}

/** With what pods and events say. A cluster that does not answer must not hide what is known already. */
async function describeAll(client: KubeClient, standings: readonly Standing[], signal: AbortSignal | undefined): Promise<NotReady[]> {
  const limit = new AbortController();
  const onAbort = (): void => limit.abort();
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer = client.ports.timers.after(EXPLAIN_BUDGET_MS, onAbort, { background: true });
  try {
    return await Promise.all(
      failedFirst(standings).map(async (standing, index) => {
        if (index >= EXPLAINED || standing.object === undefined) return describeStanding(standing, undefined);
        const why = await explain(client, standing.object, limit.signal).catch((error: unknown) => {
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
function awaitedOf(plan: Plan, outcomes: readonly ResourceOutcome[]): Awaited[] {
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

/**
 * Waits by watching until every target is ready. Kinds that are ready by being stored cost no request. Throws VERIFY_FAILED as soon as an
 * object cannot become ready, VERIFY_TIMEOUT when the time is over, both saying why (pods, images, quotas, events) with
 * `details.not_ready`; FORBIDDEN where it may not look; the signal's reason. An object that is not there at the first look has failed. INVALID_EXPRESSION where an expression of `rules` cannot be used after all.
 */
export async function verifyTargets(client: KubeClient, awaited: readonly Awaited[], options: VerifyOptions): Promise<void> {
  const { signal, onWaiting } = options;
  let describing = false;
  let ended = false;
  const say = async (standings: readonly Standing[]): Promise<void> => {
    // One at a time: on a slow cluster explanations must not pile up.
    if (describing) return;
    describing = true;
    try {
      const all = await describeAll(client, standings, signal);
      if (!ended) onWaiting?.(`waiting for ${all.length === 1 ? "" : `${all.length} objects: `}${listed(all, 3)}`, all);
    } finally {
      describing = false;
    }
  };
  const toAwait = awaited.filter(
    ({ target }) => hasReadiness(target.ref.group, target.ref.kind) || options.rules?.concerns(target) === true,
  );
  const ending = await awaitReady(client, toAwait, {
    timeoutMs: options.timeoutMs,
    rules: options.rules,
    ...(signal === undefined ? {} : { signal }),
    onWaiting: (standings) => {
      say(standings).catch((error: unknown) => client.log.debug("No explanation", { error: messageOf(error) }));
    },
  }).finally(() => {
    ended = true;
  });
  if (ending.status === "ready") return;
  const all = await describeAll(client, ending.standings, signal);
  const details = { not_ready: all.slice(0, 100), not_ready_count: all.length };
  if (ending.status === "failed") throw new TransporterError("VERIFY_FAILED", listed(all, EXPLAINED), { details });
  const trouble = ending.trouble === undefined ? "" : `; at the end the API server could not be asked: ${ending.trouble}`;
  throw new TransporterError("VERIFY_TIMEOUT", `not ready after ${seconds(options.timeoutMs)}: ${listed(all, EXPLAINED)}${trouble}`, {
    details,
  });
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
