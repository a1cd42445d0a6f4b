import { failpoint, messageOf, TransporterError } from "../../kit/mod.ts";
import {
  deleteBatches,
  type DeleteFinding,
  type DeletionOutcome,
  type KubeClient,
  type Located,
  locateObjects,
  type Target,
  tryDeletions,
} from "../../k8s/mod.ts";
import { arrange, type Arrangement, objectOfReference, type ParsedObject, refuseNamedTwice } from "../../manifests/mod.ts";
import { type ErrorCode, isErrorCode, type ResourceStatus } from "../../protocol/mod.ts";
import type { StepContext } from "../executor.ts";
import type { ChangingSteps } from "./changing.ts";
import { statusOf } from "./object-status.ts";
import type { KubeStepsOptions } from "./options.ts";
import { faultsByLabel, partialFailure } from "./partial-failure.ts";

const DELETED = "Resource deleted";
const LEAVING = "Being deleted; it was not gone yet";
const ABSENT = "Resource does not exist";
const REMADE = "Resource deleted; something made another of the same name";
const UNJUDGED = "the API server did not judge it, as this account may only read and a dry run needs the right to delete";
/** Under which name the agent's ledger has what is going to be deleted. */
const DOOMED = "doomed";

function previewOf(target: Located, finding: DeleteFinding | undefined): ResourceStatus {
  switch (finding?.would) {
    case "delete":
      return statusOf(target, "would_delete", "Would be deleted");
    case "absent":
      return statusOf(target, "absent", ABSENT);
    case "unknown":
      return statusOf(target, "unknown", "Exists; its deletion cannot be dry-run: an admission webhook refuses dry runs");
    case "unjudged":
      return statusOf(target, "unknown", `Exists, and whether it may be deleted is not known; ${UNJUDGED}`);
    default:
      return statusOf(target, "unknown", "Neither judged nor looked for: this account may not read it, nor delete it");
  }
}

/** The uids of what is going to be deleted, by the objects' places in the event. */
type Doomed = Readonly<Record<string, string>>;

function readDoomed(text: string): Doomed {
  const read: unknown = JSON.parse(text);
  if (typeof read !== "object" || read === null) return {};
  return Object.fromEntries(Object.entries(read).flatMap(([place, uid]) => (typeof uid === "string" ? [[place, uid]] : [])));
}

/** Deleting the objects of an event, or, for a read-only agent, saying what that would do. */
export class DeleteSteps implements ChangingSteps {
  readonly #client: KubeClient;
  readonly #manifests: readonly ParsedObject[];
  readonly #context: StepContext;
  readonly #options: KubeStepsOptions;
  #objects: readonly ParsedObject[] = [];
  #located: readonly Located[] = [];
  #arrangement: Arrangement<Located> | undefined;
  #findings = new Map<Located, DeleteFinding>();
  readonly #statuses = new Map<ParsedObject, ResourceStatus>();
  /** The uid of what an earlier attempt, or an earlier process, has deleted; empty where that is not known. */
  readonly #past = new Map<ParsedObject, string>();

  constructor(client: KubeClient, objects: readonly ParsedObject[], context: StepContext, options: KubeStepsOptions) {
    this.#client = client;
    this.#manifests = objects;
    this.#context = context;
    this.#options = options;
  }

  async validate(): Promise<void> {
    const { signal, progress, options } = this.#context;
    const { defaultNamespace } = this.#options;
    if (this.#objects.length === 0) await this.#read();
    progress(`looking up the kinds of ${this.#objects.length} objects`);
    const { located, absent } = await locateObjects(this.#client, this.#objects, {
      defaultNamespace,
      verb: "delete",
      tolerant: true,
      signal,
    });
    this.#located = located;
    for (const parsed of absent) this.#tellAbsent({ ref: parsed.ref, apiVersion: parsed.object.apiVersion }, parsed);
    const named = new Set(this.#objects.slice(this.#manifests.length));
    this.#arrangement = arrange(located, ({ ref, parsed, type }) => ({
      ref,
      object: named.has(parsed) ? undefined : parsed.object,
      plural: type.plural,
    }));
    try {
      this.#findings = await tryDeletions(this.#client, located, {
        propagation: options.propagation,
        signal,
        lookOnly: this.#options.lookOnly === true,
        tolerant: options.onFailure === "continue",
        onProgress: (done, total) => progress(`the deletion of ${done} of ${total} objects checked by the API server`),
      });
    } catch (error) {
      const faults = faultsByLabel(error, "faults");
      for (const target of faults.size === 0 ? [] : located) {
        const fault = faults.get(target.label);
        if (fault === undefined) this.#tell(target, "pending", "not tried: the event is refused as a whole");
        else this.#tell(target, "failed", fault.message, fault.code);
      }
      throw error;
    }
    this.#noteAbsent();
  }

  targets(): readonly Target[] {
    return this.#located;
  }

  preview(): Promise<void> {
    for (const target of this.#located) this.#statuses.set(target.parsed, previewOf(target, this.#findings.get(target)));
    return Promise.resolve();
  }

  async apply(): Promise<void> {
    const { progress, halt, signal, options, verifyTimeoutMs } = this.#context;
    const arrangement = this.#arrangement;
    if (arrangement === undefined) throw new TransporterError("INTERNAL", "not validated yet");
    for (const target of this.#located) this.#tell(target, "pending", "not tried");
    await this.#remember();
    const due = this.#located.filter((target) => !this.#isRemade(target));
    const isDue = new Set(due);
    for (const target of this.#located) if (!isDue.has(target)) this.#tell(target, "deleted", REMADE);
    const batches = arrangement.batches.toReversed().map(({ objects }) => objects.filter((target) => isDue.has(target)));
    const outcomes = await deleteBatches(this.#client, due, batches, this.#findings, {
      propagation: options.propagation,
      timeoutMs: verifyTimeoutMs,
      goOn: options.onFailure === "continue",
      leansOn: (target) => arrangement.leansOn(target).map(({ on }) => on),
      signal,
      halt,
      onProgress: (done, total) => progress(`${done} of ${total} deletions sent`),
      onWaiting: progress,
      onOutcome: (outcome) => this.#note(outcome),
    });
    const failures = outcomes.flatMap(({ target, error }) => (error === undefined ? [] : [{ planned: target, error }]));
    const gone = outcomes.filter(({ status }) => status === "deleted").length;
    const failure = partialFailure(failures, outcomes.length, `${gone} were deleted`);
    if (failure !== undefined) throw failure;
    // Nothing failed, so what is left was left because the event was called back.
    if (outcomes.some(({ status, leaving }) => status === "pending" || leaving)) halt.throwIfAborted();
  }

  /** What is deleted is waited for as it is deleted: what it leans on has to stay until then. */
  verify(): Promise<void> {
    return Promise.resolve();
  }

  resources(): readonly ResourceStatus[] {
    return this.#objects.flatMap((parsed) => this.#statuses.get(parsed) ?? []);
  }

  async #read(): Promise<void> {
    const { options, resumed, keep } = this.#context;
    const named = options.references.map((reference, index) => objectOfReference(reference, `references[${index}]`));
    const objects = [...this.#manifests, ...named];
    refuseNamedTwice(objects, this.#options.defaultNamespace);
    this.#objects = objects;
    const kept = resumed ? await keep.get(DOOMED) : undefined;
    for (const [place, uid] of Object.entries(kept === undefined ? {} : readDoomed(kept))) {
      const parsed = objects[Number(place)];
      if (parsed !== undefined) this.#past.set(parsed, uid);
    }
  }

  /** Durable before the first deletion, so that what is not there after a crash of the agent can be told from what never was. */
  async #remember(): Promise<void> {
    if (this.#past.size > 0) return;
    const uids = new Map([...this.#findings].map(([{ parsed }, { uid }]) => [parsed, uid]));
    const doomed = this.#objects.flatMap((parsed, place) => {
      const uid = uids.get(parsed);
      return uid === undefined ? [] : [[place, uid] as const];
    });
    if (doomed.length === 0) return;
    await this.#context.keep.set(DOOMED, JSON.stringify(Object.fromEntries(doomed))).catch((error: unknown) => {
      this.#client.log.warn("What is going to be deleted could not be kept", { error: messageOf(error) });
    });
  }

  /** Whether what was to be deleted is, and another stands in its place by now: that one nobody asked to delete. */
  #isRemade(target: Located): boolean {
    const done = this.#past.get(target.parsed);
    const uid = this.#findings.get(target)?.uid;
    return done !== undefined && done !== "" && uid !== undefined && uid !== done;
  }

  #noteAbsent(): void {
    const absent = this.#located.filter((target) => this.#findings.get(target)?.would === "absent" && !this.#past.has(target.parsed));
    const [first] = absent;
    if (first === undefined) return;
    this.#context.note(`${absent.length} of ${this.#objects.length} objects do not exist, first ${first.label}`);
  }

  #note(outcome: DeletionOutcome): void {
    const { target, status, leaving, uid, message, error, uncertain } = outcome;
    const { parsed } = target;
    if (status !== "pending") failpoint("agent.run.object-applied");
    if (status === "absent") {
      this.#tellAbsent(target, parsed);
      return;
    }
    if (status === "deleted" || uncertain) this.#past.set(parsed, uid ?? this.#past.get(parsed) ?? "");
    const text = message !== "" ? message : leaving ? LEAVING : DELETED;
    this.#tell(target, status, text, error === undefined || !isErrorCode(error.code) ? undefined : error.code);
  }

  #tellAbsent(target: Pick<Target, "ref" | "apiVersion">, parsed: ParsedObject): void {
    const known = this.#past.has(parsed);
    this.#statuses.set(parsed, known ? statusOf(target, "deleted", DELETED) : statusOf(target, "absent", ABSENT));
  }

  /** What an earlier attempt did is not undone by a later one that did not come as far. */
  #tell(target: Located, status: string, message: string, code?: ErrorCode): void {
    const known = this.#statuses.get(target.parsed)?.status;
    if (status === "pending" && (known === "deleted" || known === "absent")) return;
    this.#statuses.set(target.parsed, statusOf(target, status, message, code));
  }
}
