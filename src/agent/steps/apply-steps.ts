import { failpoint, TransporterError } from "../../kit/mod.ts";
import {
  type ApplyOptions,
  applyPlan,
  faultDetails,
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
  verifyPlan,
} from "../../k8s/mod.ts";
import { type ParsedObject, refKey } from "../../manifests/mod.ts";
import type { ResourceStatus } from "../../protocol/mod.ts";
import type { StepContext } from "../executor.ts";
import type { ChangingSteps } from "./changing.ts";
import { statusOf } from "./object-status.ts";
import type { KubeStepsOptions } from "./options.ts";

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

function recordsIn(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

/** The message for each object's label in a list of the error's details. */
function messagesByLabel(error: TransporterError, list: string): ReadonlyMap<string, string> {
  return new Map(recordsIn(error.details[list]).map((one) => [String(one["object"]), String(one["message"])]));
}

function faultWords(faulty: readonly ResourceOutcome[]): string {
  const failed = faulty.filter(({ status }) => status === "failed").length;
  if (failed === 0) return "are not ready";
  return failed === faulty.length ? "failed" : "failed or are not ready";
}

function rethrow(error: unknown, note: (error: TransporterError) => void): never {
  if (error instanceof TransporterError) note(error);
  throw error;
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

  constructor(client: KubeClient, objects: readonly ParsedObject[], context: StepContext, options: KubeStepsOptions) {
    this.#client = client;
    this.#objects = objects;
    this.#context = context;
    this.#options = options;
  }

  async validate(): Promise<void> {
    const { signal, progress, note, options } = this.#context;
    this.#rules ??= await readyRules(this.#client.ports.timers, options.readyWhen);
    this.#context.progress(`looking up the kinds and namespaces of ${this.#objects.length} objects`);
    const plan = await planObjects(this.#client, this.#objects, { defaultNamespace: this.#options.defaultNamespace, signal });
    this.#plan = plan;
    for (const idle of this.#rules?.idle(plan.objects) ?? []) note(`${idle} is for no object of this event`);
    try {
      await this.#checkPlan(plan);
      this.#validation = await validatePlan(this.#client, plan, {
        ...this.#applyOptions(),
        lookOnly: this.#options.lookOnly === true,
        onProgress: (done, total) => progress(`${done} of ${total} objects checked by the API server`),
      });
    } catch (error) {
      rethrow(error, (known) => {
        const faults = messagesByLabel(known, "faults");
        for (const planned of plan.objects) {
          const fault = faults.get(planned.label);
          if (fault === undefined) this.#tell(planned, "pending", "not tried: the event is refused as a whole");
          else this.#tell(planned, "failed", fault);
        }
      });
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
    for (const planned of plan.objects) this.#statuses.set(refKey(planned.ref), previewOf(planned, validation.findings.get(planned)));
    return Promise.resolve();
  }

  async apply(): Promise<void> {
    const { plan, validation } = this.#validated();
    const { progress, halt } = this.#context;
    for (const planned of plan.objects) {
      const key = refKey(planned.ref);
      const finding = validation.findings.get(planned);
      // Without a finding its namespace or definition is not there, and so neither is it.
      const wasThere = finding !== undefined && finding.would !== "create";
      if (!this.#past.has(key)) this.#past.set(key, { wasThere, done: undefined });
      this.#tell(planned, "pending", "not tried");
    }
    this.#outcomes = await applyPlan(this.#client, plan, validation, {
      ...this.#applyOptions(),
      halt,
      goOn: this.#context.options.onFailure === "continue",
      readyTimeoutMs: this.#context.verifyTimeoutMs,
      rules: this.#rules,
      onProgress: (done, total) => progress(`${done} of ${total} objects applied`),
      onWaiting: progress,
      onResource: (outcome) => this.#note(outcome),
    });
    // What others wait for in vain was applied, and is a fault all the same.
    const failed = this.#outcomes.filter((outcome) => outcome.error !== undefined);
    const first = failed[0]?.error;
    if (first === undefined) {
      // Nothing failed, so what is left was left because the event was called back.
      if (this.#outcomes.some((outcome) => outcome.status === "pending")) halt.throwIfAborted();
      return;
    }
    if (failed.length === 1) throw first;
    const faults = failed.flatMap(({ planned, error }) => (error === undefined ? [] : [faultDetails({ planned, error })]));
    const applied = this.#outcomes.filter((outcome) => outcome.status !== "failed" && outcome.status !== "pending").length;
    throw new TransporterError(
      first.code,
      `${failed.length} of ${plan.objects.length} objects ${faultWords(failed)} (${applied} were applied), first: ${first.message}`,
      {
        details: { ...first.details, fault_count: failed.length, faults: faults.slice(0, 100) },
        remedy: first.remedy,
        cause: first,
      },
    );
  }

  async verify(): Promise<void> {
    const { plan } = this.#validated();
    const { signal, verifyTimeoutMs: timeoutMs, progress } = this.#context;
    try {
      await verifyPlan(this.#client, plan, this.#outcomes, { timeoutMs, signal, rules: this.#rules, onWaiting: (text) => progress(text) });
    } catch (error) {
      rethrow(error, (known) => {
        const notReady = messagesByLabel(known, "not_ready");
        for (const { planned, status } of this.#outcomes) {
          const why = notReady.get(planned.label);
          // It was created or updated all the same; what failed is its becoming ready.
          if (why !== undefined) this.#tell(planned, this.#truthOf(planned, status), `not ready: ${why}`);
        }
      });
    }
  }

  resources(): readonly ResourceStatus[] {
    return this.#plan?.objects.flatMap((planned) => this.#statuses.get(refKey(planned.ref)) ?? []) ?? [];
  }

  #note(outcome: ResourceOutcome): void {
    const { planned, status, message, uncertain } = outcome;
    const past = this.#past.get(refKey(planned.ref));
    if (status !== "pending") failpoint("agent.run.object-applied");
    const truth = this.#truthOf(planned, status);
    if (past !== undefined && (truth === "created" || truth === "updated" || truth === "recreated")) past.done = truth;
    const before = status === "failed" && past?.done !== undefined ? ` (${past.done} by an earlier attempt)` : "";
    this.#tell(planned, truth, message === "" ? OUTCOME_MESSAGES[truth] : `${message}${before}`);
    // An apply that arrived and whose answer was lost has done what it was sent for, and a later one finds nothing left to do.
    if (past !== undefined && uncertain) past.done ??= past.wasThere ? "updated" : "created";
  }

  #truthOf(planned: PlannedObject, status: ResourceOutcome["status"]): ResourceOutcome["status"] {
    const done = this.#past.get(refKey(planned.ref))?.done;
    if (done === undefined || (status !== "unchanged" && status !== "updated")) return status;
    return done;
  }

  /** What an earlier attempt did is not undone by a later one that did not come as far. */
  #tell(planned: PlannedObject, status: ResourceOutcome["status"], message: string): void {
    const known = this.#statuses.get(refKey(planned.ref))?.status;
    const did = known === "created" || known === "updated" || known === "recreated" || known === "unchanged";
    if (did && status === "pending") return;
    this.#statuses.set(refKey(planned.ref), statusOf(planned, status, message));
  }

  #applyOptions(): ApplyOptions & { readonly signal: AbortSignal } {
    const { forceConflicts, signal, options } = this.#context;
    const { operation, ignoreFields, onImmutable } = options;
    return {
      fieldManager: this.#options.fieldManager,
      forceConflicts,
      ignoreFields,
      onImmutable,
      createOnly: operation === "create",
      ...(this.#guard === undefined ? {} : { guard: this.#guard }),
      signal,
    };
  }

  #validated(): { readonly plan: Plan; readonly validation: Validation } {
    if (this.#plan === undefined || this.#validation === undefined) throw new TransporterError("INTERNAL", "not validated yet");
    return { plan: this.#plan, validation: this.#validation };
  }
}
