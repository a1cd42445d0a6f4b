import { TransporterError, toTransporterError } from "../../kit/mod.ts";
import type { ObjectRef } from "../../manifests/mod.ts";
import type { ApplyOptions } from "./apply-request.ts";
import { awaitReady, type Standing } from "../ready/await-ready.ts";
import { awaitServing } from "../ready/await-serving.ts";
import type { KubeClient } from "../http/client.ts";
import { forEachLimited } from "../http/limiter.ts";
import type { Plan, PlannedObject } from "./plan.ts";
import type { Finding } from "./try-object.ts";
import { isClusterFault } from "./faults.ts";
import { dryRunAll, type Validation } from "./validate.ts";
import { writeObject } from "./write-object.ts";

/**
 * What became of one object.
 * - `created`, `updated`, `unchanged`: as the API server answered.
 * - `recreated`: deleted and made anew, because a field of it cannot be changed.
 * - `failed`: refused; `error` says why.
 * - `pending`: never tried, because something before it failed or the event was called back.
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
  /** While namespaces and definitions are waited for. */
  readonly onWaiting?: (text: string) => void;
  /** Stop between two objects: those being applied are finished, no further one is begun, and nothing is waited for any more. */
  readonly halt?: AbortSignal;
}

/** How long namespaces and definitions may take to stand before what leans on them fails. */
const PREREQUISITE_MS = 60_000;

function isNamespace(planned: PlannedObject): boolean {
  return planned.ref.group === "" && planned.ref.kind === "Namespace";
}

function isDefinition(planned: PlannedObject): boolean {
  return planned.ref.group === "apiextensions.k8s.io" && planned.ref.kind === "CustomResourceDefinition";
}

/** One run of `applyPlan`. */
class Run {
  readonly #client: KubeClient;
  readonly #plan: Plan;
  readonly #options: ApplyPlanOptions;
  readonly #findings: Map<PlannedObject, Finding>;
  readonly #deferred: Set<PlannedObject>;
  /** For what changes nothing: ended by either signal. */
  readonly #looking: AbortSignal | undefined;
  readonly outcomes = new Map<PlannedObject, ResourceOutcome>();
  #failed = false;

  constructor(client: KubeClient, plan: Plan, validation: Validation, options: ApplyPlanOptions) {
    this.#client = client;
    this.#plan = plan;
    this.#options = options;
    this.#findings = new Map(validation.findings);
    this.#deferred = new Set(validation.deferred);
    const { signal, halt } = options;
    this.#looking = signal === undefined || halt === undefined ? (signal ?? halt) : AbortSignal.any([signal, halt]);
  }

  get #halted(): boolean {
    return this.#options.halt?.aborted === true;
  }

  async stages(): Promise<void> {
    for (const stage of this.#plan.stages) {
      if (this.#halted) return;
      await this.#tryDeferred(stage);
      if (this.#failed) return;
      await forEachLimited(stage, this.#client.maxInFlight, async (planned) => this.#one(planned));
      if (this.#failed || this.#halted) return;
      await this.#awaitPrerequisites(stage);
      if (this.#failed) return;
    }
  }

  /** What could not be dry-run before is, as soon as what it leans on stands: all that can be by now, so that a fault shows early. */
  async #tryDeferred(stage: readonly PlannedObject[]): Promise<void> {
    if (this.#deferred.size === 0 || stage.some(isNamespace) || stage.some(isDefinition)) return;
    const due = [...this.#deferred];
    this.#deferred.clear();
    const { onProgress: _ours, ...options } = this.#options;
    const { faults } = await dryRunAll(this.#client, due, { ...options, ...this.#signal() }, this.#findings);
    for (const { planned, error } of faults) this.#fail(planned, error);
  }

  #signal(): { readonly signal?: AbortSignal } {
    return this.#looking === undefined ? {} : { signal: this.#looking };
  }

  async #awaitPrerequisites(stage: readonly PlannedObject[]): Promise<void> {
    const awaited = stage
      .filter((planned) => isNamespace(planned) || isDefinition(planned))
      .map((planned) => ({ target: planned, generation: this.outcomes.get(planned)?.generation }));
    if (awaited.length === 0) return;
    const ending = await awaitReady(this.#client, awaited, {
      timeoutMs: PREREQUISITE_MS,
      ...this.#signal(),
      onWaiting: (standings) =>
        this.#options.onWaiting?.(`waiting for ${standings.map(({ target, message }) => `${target.label}: ${message}`).join("; ")}`),
    });
    if (ending.status !== "ready") {
      for (const standing of ending.standings) this.#blocked(standing, ending.status);
      return;
    }
    if (stage.some(isDefinition)) await this.#awaitServing();
  }

  #blocked(standing: Standing, why: "failed" | "timeout"): void {
    const { message } = standing;
    const planned = this.#plan.objects.find((one) => one === standing.target);
    if (planned === undefined) return;
    const text =
      why === "failed" && standing.status === "failed"
        ? `${planned.label}: ${message}`
        : `${planned.label} was applied and what leans on it cannot go on: ${message}`;
    this.#fail(
      planned,
      new TransporterError(why === "failed" ? "VERIFY_FAILED" : "VERIFY_TIMEOUT", text, { details: { object: planned.label } }),
    );
  }

  async #awaitServing(): Promise<void> {
    const refs = [...this.#deferred].filter((planned) => planned.deferral?.because === "definition").map(({ ref }) => ref);
    await this.#client.discovery.refresh(this.#looking);
    await awaitServing(this.#client, refs, this.#looking);
  }

  async #one(planned: PlannedObject): Promise<void> {
    if (this.#halted || this.outcomes.has(planned)) return;
    try {
      const { status, generation } = await writeObject(this.#client, planned, this.#findings.get(planned), this.#options);
      this.#record(this.#outcome(planned, status, generation));
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      // The rest of the stage would end in the same way, each only after its own patience.
      if (isClusterFault(error)) {
        const failure = toTransporterError(error);
        this.#fail(planned, failure, failure.details["maybe_done"] === true);
        throw error;
      }
      this.#fail(planned, toTransporterError(error));
    }
  }

  #outcome(planned: PlannedObject, status: ResourceOutcome["status"], generation: number | undefined): ResourceOutcome {
    return {
      planned,
      ref: planned.ref,
      apiVersion: planned.apiVersion,
      status,
      message: "",
      error: undefined,
      generation,
      uncertain: false,
    };
  }

  #fail(planned: PlannedObject, error: TransporterError, uncertain = false): void {
    this.#failed = true;
    this.#record({ ...this.#outcome(planned, "failed", undefined), message: error.message, error, uncertain });
  }

  #record(outcome: ResourceOutcome): void {
    this.outcomes.set(outcome.planned, outcome);
    this.#options.onResource?.(outcome);
    this.#options.onProgress?.(this.outcomes.size, this.#plan.objects.length);
  }

  /** Everything in the event's order, with what was never tried as `pending`. */
  finish(): ResourceOutcome[] {
    const reason = `not tried, because ${this.#halted && !this.#failed ? "the event was cancelled" : "something before it failed"}`;
    return this.#plan.objects.map((planned) => {
      const known = this.outcomes.get(planned);
      if (known !== undefined) return known;
      const pending = { ...this.#outcome(planned, "pending", undefined), message: reason };
      this.#options.onResource?.(pending);
      return pending;
    });
  }
}

/**
 * Applies stage by stage, each object by server-side apply, and tells truly what became of each. Namespaces and definitions are waited
 * for; what leans on them is dry-run before it is applied. When an object fails, the rest of its stage is still applied and later stages
 * are not touched. Resolves to all outcomes in the event's order, failed, halted or not; throws only the signal's reason, after the
 * requests in flight ended: what `onResource` told until then holds.
 */
export async function applyPlan(
  client: KubeClient,
  plan: Plan,
  validation: Validation,
  options: ApplyPlanOptions,
): Promise<ResourceOutcome[]> {
  const run = new Run(client, plan, validation, options);
  try {
    await run.stages();
  } catch (error) {
    options.signal?.throwIfAborted();
    if (options.halt?.aborted === true && error === options.halt.reason) return run.finish();
    const infrastructure = toTransporterError(error);
    client.log.warn("Apply ended early", { error: infrastructure.message, code: infrastructure.code });
    // Told by at least one outcome already, unless it happened between objects.
    if (![...run.outcomes.values()].some((outcome) => outcome.status === "failed")) throw infrastructure;
  }
  return run.finish();
}
