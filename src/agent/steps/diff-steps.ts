import { TransporterError } from "../../kit/mod.ts";
import {
  type Differences,
  diffPlan,
  faultsError,
  type KubeClient,
  type Plan,
  planObjects,
  planOf,
  type PlannedObject,
  type Seen,
} from "../../k8s/mod.ts";
import { cutDifference, type ParsedObject } from "../../manifests/mod.ts";
import type { ResourceStatus } from "../../protocol/mod.ts";
import type { Found, ResourceSteps, StepContext } from "../executor.ts";
import { statusOf } from "./object-status.ts";
import type { KubeStepsOptions } from "./options.ts";

/** Of one object: what is longer nobody reads. */
const ONE_DIFF_CHARS = 1024 * 1024;
/** Of all diffs as they stand in the report, which has to fit into one frame. */
const ALL_DIFFS_BYTES = 4 * 1024 * 1024;

const UNJUDGED = "the API server did not judge it, as this account may only read and a dry run needs the right to create and patch";

function wordsOf(planned: PlannedObject, { would, text }: Seen): readonly [status: string, message: string] {
  switch (would) {
    case "create":
      return ["would_create", text === "" ? `Would be created; ${UNJUDGED}` : "Would be created"];
    case "update":
      return ["would_update", "Would be updated"];
    case "recreate":
      return [
        "would_recreate",
        `Would be deleted and created anew, as a field of it cannot be changed${text === "" ? "; how it would look cannot be tried while it stands" : ""}`,
      ];
    case "unchanged":
      return ["unchanged", "Would not be changed"];
    case "deferred": {
      const { because = "namespace", name = "" } = planned.deferral ?? { name: planned.ref.namespace };
      return [
        "would_create",
        `Would be created as it is written; the API server cannot judge it before its ${because} ${name} stands, which comes with the event`,
      ];
    }
    case "unknown":
      return ["unknown", "Cannot be dry-run: an admission webhook refuses dry runs"];
    case "unjudged":
      return ["unknown", `Exists, and what would change is not known; ${UNJUDGED}`];
    case "unseen":
      return ["unknown", "Neither judged nor looked for: this account may not read it, nor dry-run it"];
  }
}

/** Shows what an apply of the event's objects would change, and changes nothing. */
export class DiffSteps implements ResourceSteps {
  readonly #client: KubeClient;
  readonly #objects: readonly ParsedObject[];
  readonly #context: StepContext;
  readonly #options: KubeStepsOptions;
  #plan: Plan | undefined;
  #differences: Differences | undefined;
  #statuses: readonly ResourceStatus[] = [];

  constructor(client: KubeClient, objects: readonly ParsedObject[], context: StepContext, options: KubeStepsOptions) {
    this.#client = client;
    this.#objects = objects;
    this.#context = context;
    this.#options = options;
  }

  async validate(): Promise<void> {
    const { signal, progress } = this.#context;
    progress(`looking up the kinds and namespaces of ${this.#objects.length} objects`);
    this.#statuses = [];
    this.#plan = await planObjects(this.#client, this.#objects, { defaultNamespace: this.#options.defaultNamespace, signal });
    this.#differences = await diffPlan(this.#client, this.#plan, {
      ...this.#applyOptions(),
      lookOnly: this.#options.lookOnly === true,
      onProgress: (done, total) => progress(`${done} of ${total} objects compared`),
    });
    const { faults, more } = this.#differences;
    this.#statuses = this.#told(this.#plan, this.#differences);
    if (faults.length > 0) throw faultsError(faults, this.#plan.objects, more);
  }

  found(): Found {
    const { plan, differences } = this.#compared();
    const changes = this.#statuses.filter(({ status }) => status.startsWith("would_")).length;
    const unknown = this.#statuses.filter(({ status }) => status === "unknown").length;
    const total = plan.objects.length;
    const message =
      (changes === 0 ? `None of ${total} objects would be changed` : `${changes} of ${total} objects would be changed`) +
      (unknown === 0 ? "" : `; of ${unknown} it cannot be told`);
    return { message: `${message}; nothing was changed`, plan: planOf(plan, differences, this.#applyOptions()) };
  }

  /** A read-only agent does the same. */
  preview(): Promise<void> {
    return Promise.resolve();
  }

  apply(): Promise<void> {
    return Promise.reject(new TransporterError("INTERNAL", "a diff has nothing to apply"));
  }

  verify(): Promise<void> {
    return Promise.resolve();
  }

  resources(): readonly ResourceStatus[] {
    return this.#statuses;
  }

  #told(plan: Plan, { seen, faults }: Differences): ResourceStatus[] {
    const errors = new Map(faults.map(({ planned, error }) => [planned as unknown, error]));
    let left = ALL_DIFFS_BYTES;
    return plan.objects.map((planned) => {
      const error = errors.get(planned);
      if (error !== undefined) return statusOf(planned, "failed", error.message, error.code);
      const one = seen.get(planned);
      if (one === undefined) return statusOf(planned, "pending", "not looked at, as so many others are refused");
      const [status, message] = wordsOf(planned, one);
      const told = statusOf(planned, status, message);
      if (one.text === "") return told;
      const diff = cutDifference(one.text, Math.min(ONE_DIFF_CHARS, left));
      left -= Buffer.byteLength(JSON.stringify(diff));
      return { ...told, diff };
    });
  }

  #applyOptions() {
    const { forceConflicts, options, signal } = this.#context;
    const { ignoreFields, onImmutable } = options;
    return { fieldManager: this.#options.fieldManager, forceConflicts, ignoreFields, onImmutable, signal };
  }

  #compared(): { readonly plan: Plan; readonly differences: Differences } {
    if (this.#plan === undefined || this.#differences === undefined) throw new TransporterError("INTERNAL", "not compared yet");
    return { plan: this.#plan, differences: this.#differences };
  }
}
