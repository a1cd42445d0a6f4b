import { failpoint, type TransporterError } from "../../kit/mod.ts";
import {
  type Awaited,
  type KubeClient,
  type Located,
  locateObjects,
  patchAll,
  type PatchFinding,
  type PatchOrder,
  type PatchOutcome,
  planRestarts,
  type ReadyRules,
  readyRules,
  type RestartPlan,
  type Target,
  tryPatches,
  verifyTargets,
} from "../../k8s/mod.ts";
import { objectOfReference, type ParsedObject, type PatchText, readPatch, refuseNamedTwice } from "../../manifests/mod.ts";
import { type ErrorCode, isErrorCode, type ResourceStatus } from "../../protocol/mod.ts";
import type { StepContext } from "../executor.ts";
import type { ChangingSteps } from "./changing.ts";
import { statusOf } from "./object-status.ts";
import type { KubeStepsOptions } from "./options.ts";
import { type Failure, faultsByLabel, partialFailure } from "./partial-failure.ts";
import { PatchMemory } from "./patch-memory.ts";

const UNJUDGED = "the API server did not judge it, as this account may only read and a dry run needs the right to patch";

interface Words {
  /** What an object is that was changed, and that would be. */
  readonly changed: "updated" | "restarted";
  readonly would: "would_update" | "would_restart";
  readonly done: string;
  readonly preview: string;
}

const WORDS: Readonly<Record<"patch" | "restart", Words>> = {
  patch: { changed: "updated", would: "would_update", done: "Resource updated successfully", preview: "Would be updated" },
  restart: { changed: "restarted", would: "would_restart", done: "Resource restarted", preview: "Would be restarted" },
};

interface HintedOrder extends PatchOrder {
  readonly hint?: string | undefined;
}

/** Patching or restarting the objects of an event, or, for a read-only agent, saying what that would do. */
export class PatchSteps implements ChangingSteps {
  readonly #client: KubeClient;
  readonly #manifests: readonly ParsedObject[];
  readonly #context: StepContext;
  readonly #options: KubeStepsOptions;
  readonly #words: Words;
  readonly #memory: PatchMemory;
  #objects: readonly ParsedObject[] = [];
  readonly #texts = new Map<ParsedObject, PatchText>();
  #located: readonly Located[] = [];
  #orders: readonly HintedOrder[] = [];
  /** What cannot be restarted, of an event that goes on without it. */
  #refused: RestartPlan["refused"] = [];
  #findings = new Map<Located, PatchFinding>();
  #rules: ReadyRules | undefined;
  #awaited: readonly Awaited[] = [];
  readonly #statuses = new Map<ParsedObject, ResourceStatus>();

  constructor(client: KubeClient, objects: readonly ParsedObject[], context: StepContext, options: KubeStepsOptions) {
    this.#client = client;
    this.#manifests = objects;
    this.#context = context;
    this.#options = options;
    this.#words = WORDS[this.#isRestart ? "restart" : "patch"];
    this.#memory = new PatchMemory(client, context.keep, this.#fieldManager);
  }

  get #isRestart(): boolean {
    return this.#context.options.operation === "restart";
  }

  /** Not that of applies: they own all that they send, and what a patch sets would go with the next. */
  get #fieldManager(): string {
    return `${this.#options.fieldManager}-${this.#isRestart ? "restart" : "patch"}`;
  }

  async validate(): Promise<void> {
    const { signal, progress, note, options, resumed } = this.#context;
    if (this.#objects.length === 0) this.#read();
    this.#rules ??= await readyRules(this.#client.ports.timers, options.readyWhen);
    if (resumed) await this.#memory.recall(this.#objects);
    progress(`looking up the kinds of ${this.#objects.length} objects`);
    const { defaultNamespace } = this.#options;
    const { located } = await locateObjects(this.#client, this.#objects, { defaultNamespace, verb: "patch", signal });
    this.#located = located;
    for (const idle of this.#rules?.idle(located) ?? []) note(`${idle} is for no object of this event`);
    try {
      await this.#judge(located);
    } catch (error) {
      const faults = faultsByLabel(error, "faults");
      for (const target of faults.size === 0 ? [] : located) {
        const fault = faults.get(target.label);
        if (fault === undefined) this.#tell(target, "pending", "not tried: the event is refused as a whole");
        else this.#tell(target, "failed", fault.message, fault.code);
      }
      throw error;
    }
  }

  targets(): readonly Target[] {
    return this.#located;
  }

  preview(): Promise<void> {
    for (const { target, hint } of this.#orders)
      this.#statuses.set(target.parsed, this.#previewOf(target, this.#findings.get(target), hint));
    this.#tellRefused();
    return Promise.resolve();
  }

  async apply(): Promise<void> {
    const { progress, halt, signal, options } = this.#context;
    for (const { target } of this.#orders) this.#tell(target, "pending", "not tried");
    this.#tellRefused();
    const once = this.#orders.some(({ target }) => !this.#isRepeatable(target));
    await this.#memory.remember(this.#objects, this.#findings, once);
    const outcomes = await patchAll(this.#client, this.#orders, this.#findings, {
      fieldManager: this.#fieldManager,
      goOn: options.onFailure === "continue",
      signal,
      halt,
      onProgress: (done, total) => progress(`${done} of ${total} objects ${this.#isRestart ? "restarted" : "patched"}`),
      onOutcome: (outcome) => this.#note(outcome),
    });
    const failures = this.#inOrder([...this.#refused, ...outcomes]);
    const changed = outcomes.filter(({ status }) => status === "updated" || status === "unchanged").length;
    const ordered = new Set([...this.#orders, ...this.#refused].map(({ target }) => target));
    this.#awaited = [
      ...this.#located.filter((target) => !ordered.has(target)).map((target) => ({ target, generation: undefined })),
      ...outcomes.filter(({ status }) => status === "updated" || status === "unchanged"),
    ];
    const failure = partialFailure(
      failures,
      this.#refused.length + outcomes.length,
      `${changed} were ${this.#isRestart ? "restarted" : "patched"}`,
    );
    if (failure !== undefined) throw failure;
    if (outcomes.some(({ status }) => status === "pending")) halt.throwIfAborted();
  }

  async verify(): Promise<void> {
    const { signal, verifyTimeoutMs: timeoutMs, progress } = this.#context;
    try {
      await verifyTargets(this.#client, this.#awaited, { timeoutMs, signal, rules: this.#rules, onWaiting: (text) => progress(text) });
    } catch (error) {
      const notReady = faultsByLabel(error, "not_ready");
      for (const target of this.#located) {
        const why = notReady.get(target.label);
        const status = this.#statuses.get(target.parsed)?.status;
        if (why !== undefined && status !== undefined) this.#tell(target, status, `not ready: ${why.message}`);
      }
      throw error;
    }
  }

  resources(): readonly ResourceStatus[] {
    return this.#objects.flatMap((parsed) => this.#statuses.get(parsed) ?? []);
  }

  #read(): void {
    const { references, patches } = this.#context.options;
    const objects = [
      ...this.#manifests,
      ...references.map((reference, index) => objectOfReference(reference, `references[${index}]`)),
      ...patches.map((patch, index) => {
        const where = `patches[${index}]`;
        const parsed = objectOfReference(patch, where);
        this.#texts.set(parsed, readPatch(patch.patch, patch.type, `${where} (${patch.kind} ${patch.name})`));
        return parsed;
      }),
    ];
    refuseNamedTwice(objects, this.#options.defaultNamespace);
    this.#objects = objects;
  }

  async #judge(located: readonly Located[]): Promise<void> {
    const { signal, progress, options } = this.#context;
    const due: Located[] = [];
    for (const target of located) {
      const done = !this.#isRepeatable(target) && (await this.#memory.wasDone(target, signal));
      if (done) this.#tell(target, this.#words.changed, this.#words.done);
      else due.push(target);
    }
    this.#orders = this.#isRestart ? await this.#restarts(due) : due.flatMap((target) => this.#orderFor(target));
    this.#findings = await tryPatches(this.#client, this.#orders, {
      fieldManager: this.#fieldManager,
      signal,
      lookOnly: this.#options.lookOnly === true,
      tolerant: options.onFailure === "continue",
      onProgress: (done, total) => progress(`${done} of ${total} patches checked by the API server`),
    });
  }

  async #restarts(due: readonly Located[]): Promise<readonly HintedOrder[]> {
    const known = this.#memory.restartAtMs;
    const atMs = known ?? this.#client.ports.clock.now();
    this.#memory.restartAtMs = atMs;
    const { signal, options } = this.#context;
    const tolerant = options.onFailure === "continue";
    const { orders, refused } = await planRestarts(this.#client, due, { atMs, again: known !== undefined, tolerant, signal });
    this.#refused = refused;
    return orders;
  }

  #tellRefused(): void {
    for (const { target, error } of this.#refused)
      this.#tell(target, "failed", error.message, isErrorCode(error.code) ? error.code : undefined);
  }

  /** What failed, in the order of the event. */
  #inOrder(all: readonly { readonly target: Located; readonly error?: TransporterError | undefined }[]): Failure[] {
    const failed = new Map(all.flatMap(({ target, error }) => (error === undefined ? [] : [[target, error] as const])));
    return this.#located.flatMap((planned) => {
      const error = failed.get(planned);
      return error === undefined ? [] : [{ planned, error }];
    });
  }

  #orderFor(target: Located): HintedOrder[] {
    const text = this.#texts.get(target.parsed);
    const type = this.#typeOf(target);
    return text === undefined || type === undefined ? [] : [{ target, type, body: text.body, value: text.value }];
  }

  #typeOf({ parsed }: Located): PatchOrder["type"] | undefined {
    return this.#context.options.patches[this.#objects.indexOf(parsed)]?.type;
  }

  /** Whether to carry it out again does no harm. */
  #isRepeatable(target: Located): boolean {
    return this.#isRestart || this.#typeOf(target) !== "json";
  }

  #previewOf(target: Located, finding: PatchFinding | undefined, hint: string | undefined): ResourceStatus {
    const more = hint === undefined ? "" : `; ${hint}`;
    switch (finding?.would) {
      case "update":
        return statusOf(target, this.#words.would, `${this.#words.preview}${more}`);
      case "unchanged":
        return statusOf(target, "unchanged", "Resource unchanged");
      case "unknown":
        return statusOf(target, "unknown", "Cannot be dry-run: an admission webhook refuses dry runs");
      case "unjudged":
        return statusOf(target, "unknown", `Exists, and what would change is not known; ${UNJUDGED}`);
      default:
        return statusOf(target, "unknown", "Neither judged nor looked for: this account may not read it, nor dry-run it");
    }
  }

  #note({ target, status, message, error }: PatchOutcome): void {
    const { parsed } = target;
    if (status !== "pending") failpoint("agent.run.object-applied");
    if (status === "updated") this.#memory.markDone(parsed);
    // A restart always changes something; where it did not, an attempt before it has.
    const before = this.#isRestart || this.#memory.isDone(parsed, this.#findings.get(target));
    const done = status === "updated" || (status === "unchanged" && before);
    const hint = this.#orders.find((order) => order.target === target)?.hint;
    if (done) this.#tell(target, this.#words.changed, hint === undefined ? this.#words.done : `${this.#words.done}; ${hint}`);
    else if (status === "unchanged") this.#tell(target, status, "Resource unchanged");
    else this.#tell(target, status, message, error !== undefined && isErrorCode(error.code) ? error.code : undefined);
  }

  /** What an earlier attempt did is not undone by a later one that did not come as far. */
  #tell(target: Located, status: string, message: string, code?: ErrorCode): void {
    const known = this.#statuses.get(target.parsed)?.status;
    if (status === "pending" && (known === this.#words.changed || known === "unchanged")) return;
    this.#statuses.set(target.parsed, statusOf(target, status, message, code));
  }
}
