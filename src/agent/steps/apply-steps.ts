import { failpoint, TransporterError } from "../../kit/mod.ts";
import {
  type ApplyOptions,
  applyPlan,
  faultDetails,
  idleIgnoring,
  type Finding,
  type KubeClient,
  type Plan,
  PlanGuard,
  type PlannedObject,
  planObjects,
  type ReadyRules,
  readyRules,
  type ResourceOutcome,
  type Target,
  validatePlan,
  type Validation,
  verifyEach,
  verifyPlan,
} from "../../k8s/mod.ts";
import { type ParsedObject, refKey } from "../../manifests/mod.ts";
import type { ErrorCode, ResourceStatus } from "../../protocol/mod.ts";
import type { StepContext } from "../executor.ts";
import type { ChangingSteps } from "./changing.ts";
import { CreateMemory } from "./create-memory.ts";
import { statusOf } from "./object-status.ts";
import type { KubeStepsOptions } from "./options.ts";
import { faultsByLabel } from "./partial-failure.ts";

/** 0.1's words, which people's scripts look for. */
const OUTCOME_MESSAGES: Readonly<Record<ResourceOutcome["status"], string>> = {
  created: "Resource created successfully",
  updated: "Resource updated successfully",
  unchanged: "Resource unchanged",
  recreated: "Resource deleted and created anew",
  failed: "",
  pending: "",
};

const UNJUDGED = "the API server did not judge it, as this account may only read and a dry run needs the right to create and patch";

/** What a dry run found, in words that claim no change. */
function previewOf(planned: PlannedObject, finding: Finding | undefined): ResourceStatus {
  if (finding === undefined) {
    if (planned.deferral?.because === "namespace") {
      return statusOf(planned, "would_create", `Would be created in namespace ${planned.deferral.name}, which comes with the event`);
    }
    const missing = planned.deferral?.because ?? "namespace";
    return statusOf(planned, "unknown", `Cannot be dry-run before its ${missing}, which comes with the event, stands`);
  }
  switch (finding.would) {
    case "create":
      return statusOf(planned, "would_create", "Would be created");
    case "update":
      return statusOf(planned, "would_update", "Would be updated, or found unchanged");
    case "recreate":
      return statusOf(planned, "would_recreate", "Would be deleted and created anew, as a field of it cannot be changed");
    case "unchanged":
      return statusOf(planned, "unchanged", OUTCOME_MESSAGES.unchanged);
    case "unknown":
      return statusOf(planned, "unknown", "Cannot be dry-run: an admission webhook refuses dry runs");
    case "unjudged":
      return finding.resourceVersion === undefined
        ? statusOf(planned, "would_create", `Would be created; ${UNJUDGED}`)
        : statusOf(planned, "unknown", `Exists, and what would change is not known; ${UNJUDGED}`);
    case "unseen":
      return statusOf(planned, "unknown", "Neither judged nor looked for: this account may not read it, nor dry-run it");
  }
}

function isRecord(one: unknown): one is Readonly<Record<string, unknown>> {
  return typeof one === "object" && one !== null;
}

function faultWords(faulty: readonly ResourceOutcome[]): string {
  const failed = faulty.filter(({ status }) => status === "failed").length;
  if (failed === 0) return "are not ready";
  return failed === faulty.length ? "failed" : "failed or are not ready";
}

/** Under which name the agent's ledger has what the event's plan saw. */
const PLAN_SEEN = "plan";

function readPrints(text: string): Record<string, string> {
  const read: unknown = JSON.parse(text);
  return Object.fromEntries(Object.entries(isRecord(read) ? read : {}).map(([key, print]) => [key, String(print)]));
}

/** What attempts at one object have come to, so that a later one tells the first truth. */
interface Past {
  /** By the first dry run: an object that was not there before is created, whichever attempt finds out. */
  readonly wasThere: boolean;
  done: "created" | "updated" | "recreated" | undefined;
  /** An attempt has deleted it to make it anew, and came no further. */
  missed?: boolean;
}

/** Applying the objects of an event, or, for a read-only agent, saying what that would do. */
export class ApplySteps implements ChangingSteps {
  readonly #client: KubeClient;
  readonly #objects: readonly ParsedObject[];
  readonly #context: StepContext;
  readonly #options: KubeStepsOptions;
  #plan: Plan | undefined;
  #validation: Validation | undefined;
  #rules: ReadyRules | undefined;
  #outcomes: readonly ResourceOutcome[] = [];
  /** By `refKey`: each attempt plans anew. */
  readonly #statuses = new Map<string, ResourceStatus>();
  readonly #past = new Map<string, Past>();
  #guard: PlanGuard | undefined;
  readonly #creating: CreateMemory | undefined;

  constructor(client: KubeClient, objects: readonly ParsedObject[], context: StepContext, options: KubeStepsOptions) {
    this.#client = client;
    this.#objects = objects;
    this.#context = context;
    this.#options = options;
    this.#creating = context.options.operation === "create" ? new CreateMemory(client, context.keep) : undefined;
  }

  async validate(): Promise<void> {
    const { signal, progress, note, options } = this.#context;
    this.#rules ??= await readyRules(this.#client.ports.timers, options.readyWhen);
    if (this.#context.resumed) await this.#creating?.recall();
    this.#context.progress(`looking up the kinds and namespaces of ${this.#objects.length} objects`);
    const { defaultNamespace } = this.#options;
    const plan = await planObjects(this.#client, this.#objects, { defaultNamespace, goOn: this.#goOn, signal });
    this.#plan = plan;
    for (const { parsed, ref, error } of plan.refused)
      this.#tell({ ref, apiVersion: parsed.object.apiVersion }, "failed", error.message, error.code);
    const idlers = [...(this.#rules?.idle(plan.objects) ?? []), ...idleIgnoring(plan.objects, options.ignoreFields)];
    for (const idle of idlers) note(`${idle} is for no object of this event`);
    try {
      await this.#checkPlan(plan);
      this.#validation = await validatePlan(this.#client, plan, {
        ...this.#applyOptions(),
        goOn: this.#goOn,
        lookOnly: this.#options.lookOnly === true,
        onProgress: (done, total) => progress(`${done} of ${total} objects checked by the API server`),
      });
    } catch (error) {
      const faults = faultsByLabel(error, "faults");
      for (const planned of error instanceof TransporterError ? plan.objects : []) {
        const fault = faults.get(planned.label);
        if (fault === undefined) this.#tell(planned, "pending", "not tried: the event is refused as a whole");
        else this.#tell(planned, "failed", fault.message, fault.code);
      }
      throw error;
    }
    const deferred = this.#validation.deferred.length;
    if (deferred > 0) {
      note(
        `${deferred} of ${plan.objects.length} objects cannot be checked before the namespaces and definitions of this event stand; they are checked just before they are applied`,
      );
    }
  }

  /** Before anything is tried: what the plan saw must be there still, but for what this event itself has changed. */
  async #checkPlan(plan: Plan): Promise<void> {
    const { options, keep } = this.#context;
    if (options.plan === undefined) return;
    const kept = this.#guard === undefined ? await keep.get(PLAN_SEEN) : undefined;
    const prints = kept === undefined ? undefined : readPrints(kept);
    const first = this.#guard === undefined && prints === undefined;
    this.#guard ??= new PlanGuard(this.#client, options.plan, this.#applyOptions(), prints);
    await this.#guard.check(plan);
    if (first && keep.lasting) await keep.set(PLAN_SEEN, JSON.stringify(this.#guard.prints));
  }

  targets(): readonly Target[] {
    return this.#plan?.objects ?? [];
  }

  preview(): Promise<void> {
    const { plan, validation } = this.#validated();
    const faults = [...plan.refused.map(({ error }) => error), ...validation.faults.map(({ error }) => error)];
    for (const planned of plan.objects) this.#statuses.set(refKey(planned.ref), previewOf(planned, validation.findings.get(planned)));
    for (const { planned, error } of validation.faults) this.#tell(planned, "failed", error.message, error.code);
    return faults[0] === undefined ? Promise.resolve() : Promise.reject(faults[0]);
  }

  async apply(): Promise<void> {
    const { plan, validation } = this.#validated();
    const { progress, halt } = this.#context;
    for (const planned of plan.objects) {
      const key = refKey(planned.ref);
      const finding = validation.findings.get(planned);
      // Without a finding its namespace or definition is not there, and so neither is it.
      const wasThere = finding !== undefined && finding.would !== "create";
      const isOwn = this.#creating?.isOwn(planned) === true && wasThere;
      if (!this.#past.has(key)) this.#past.set(key, { wasThere: wasThere && !isOwn, done: isOwn ? "created" : undefined });
      this.#tell(planned, "pending", "not tried");
    }
    await this.#creating?.remember(plan);
    this.#outcomes = await applyPlan(this.#client, plan, validation, {
      ...this.#applyOptions(),
      halt,
      goOn: this.#goOn,
      readyTimeoutMs: this.#context.verifyTimeoutMs,
      rules: this.#rules,
      onProgress: (done, total) => progress(`${done} of ${total} objects applied`),
      onWaiting: progress,
      onResource: (outcome) => this.#note(outcome),
    });
    // What others wait for in vain was applied, and is a fault all the same.
    const failed = this.#outcomes.filter((outcome) => outcome.error !== undefined);
    const failures = [
      ...plan.refused,
      ...failed.flatMap(({ planned, error }) => (error === undefined ? [] : [{ parsed: planned.parsed, label: planned.label, error }])),
    ];
    const [first] = this.#inOrder(failures);
    if (first === undefined) {
      // Nothing failed, so what is left was left because the event was called back.
      if (this.#outcomes.some((outcome) => outcome.status === "pending")) halt.throwIfAborted();
      return;
    }
    const { error } = first;
    if (failures.length === 1) throw error;
    const applied = this.#outcomes.filter((outcome) => outcome.status !== "failed" && outcome.status !== "pending").length;
    throw new TransporterError(
      error.code,
      `${failures.length} of ${this.#objects.length} objects ${faultWords(failed)} (${applied} were applied), first: ${error.message}`,
      {
        details: {
          ...error.details,
          fault_count: failures.length,
          faults: failures.slice(0, 100).map(({ label, error: fault }) => faultDetails({ planned: { label }, error: fault })),
        },
        remedy: error.remedy,
        cause: error,
      },
    );
  }

  async verify(): Promise<void> {
    const { plan } = this.#validated();
    const { signal, verifyTimeoutMs: timeoutMs, progress } = this.#context;
    const options = { timeoutMs, signal, rules: this.#rules, onWaiting: (text: string) => progress(text) };
    if (this.#goOn) {
      const unready = await verifyEach(this.#client, plan, this.#outcomes, options);
      const notReady = new Map(unready.map(({ target, message, error: { code } }) => [target.label, { message, code }]));
      this.#tellNotReady(notReady);
      const [first] = unready;
      if (first !== undefined) throw first.error;
      return;
    }
    try {
      await verifyPlan(this.#client, plan, this.#outcomes, options);
    } catch (error) {
      this.#tellNotReady(faultsByLabel(error, "not_ready"), error instanceof TransporterError ? error.code : undefined);
      throw error;
    }
  }

  /** It was created or updated all the same; what failed is its becoming ready. */
  #tellNotReady(notReady: ReturnType<typeof faultsByLabel>, code?: ErrorCode): void {
    for (const { planned, status } of this.#outcomes) {
      const why = notReady.get(planned.label);
      if (why !== undefined) this.#tell(planned, this.#truthOf(planned, status), `not ready: ${why.message}`, why.code ?? code);
    }
  }

  #inOrder<T extends { readonly parsed: ParsedObject }>(some: readonly T[]): T[] {
    const places = new Map(this.#objects.map((parsed, place) => [parsed, place]));
    return some.toSorted((a, b) => (places.get(a.parsed) ?? 0) - (places.get(b.parsed) ?? 0));
  }

  resources(): readonly ResourceStatus[] {
    const known = [...(this.#plan?.objects ?? []), ...(this.#plan?.refused ?? [])];
    return this.#inOrder(known).flatMap(({ ref }) => this.#statuses.get(refKey(ref)) ?? []);
  }

  #note(outcome: ResourceOutcome): void {
    const { planned, status, message, uncertain, error } = outcome;
    const past = this.#past.get(refKey(planned.ref));
    if (status !== "pending") failpoint("agent.run.object-applied");
    const truth = this.#truthOf(planned, status);
    if (past !== undefined && (truth === "created" || truth === "updated" || truth === "recreated")) past.done = truth;
    const before = status === "failed" && past?.done !== undefined ? ` (${past.done} by an earlier attempt)` : "";
    this.#tell(planned, truth, message === "" ? OUTCOME_MESSAGES[truth] : `${message}${before}`, error?.code);
    // An apply that arrived and whose answer was lost has done what it was sent for, and a later one finds nothing left to do.
    if (past !== undefined && error?.details["put_back"] === false) past.missed = true;
    if (past !== undefined && uncertain) past.done ??= past.wasThere ? "updated" : "created";
  }

  #truthOf(planned: PlannedObject, status: ResourceOutcome["status"]): ResourceOutcome["status"] {
    const { done, missed } = this.#past.get(refKey(planned.ref)) ?? {};
    if (missed === true && status === "created") return "recreated";
    if (done === undefined || (status !== "unchanged" && status !== "updated")) return status;
    return done;
  }

  /** What an earlier attempt did is not undone by a later one that did not come as far. */
  #tell(target: Pick<Target, "ref" | "apiVersion">, status: ResourceOutcome["status"], message: string, code?: ErrorCode): void {
    const known = this.#statuses.get(refKey(target.ref))?.status;
    const did = known === "created" || known === "updated" || known === "recreated" || known === "unchanged";
    if (did && status === "pending") return;
    this.#statuses.set(refKey(target.ref), statusOf(target, status, message, code));
  }

  #applyOptions(): ApplyOptions & { readonly signal: AbortSignal } {
    const { forceConflicts, signal, options, verifyTimeoutMs } = this.#context;
    const { operation, ignoreFields, onImmutable } = options;
    return {
      fieldManager: this.#options.fieldManager,
      forceConflicts,
      ignoreFields,
      onImmutable,
      goneTimeoutMs: verifyTimeoutMs,
      createOnly: operation === "create",
      isOwnCreation: (planned) => this.#creating?.isOwn(planned) === true,
      ...(this.#guard === undefined ? {} : { guard: this.#guard }),
      signal,
    };
  }

  /** What can be applied is, whatever becomes of the rest. */
  get #goOn(): boolean {
    return this.#context.options.onFailure === "continue";
  }

  #validated(): { readonly plan: Plan; readonly validation: Validation } {
    if (this.#plan === undefined || this.#validation === undefined) throw new TransporterError("INTERNAL", "not validated yet");
    return { plan: this.#plan, validation: this.#validation };
  }
}
