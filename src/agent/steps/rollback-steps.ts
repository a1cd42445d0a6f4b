import { failpoint, messageOf, TransporterError } from "../../kit/mod.ts";
import {
  demandRights,
  ignoredFieldsOf,
  ignoredOf,
  type KubeClient,
  type PutBack,
  restoreSnapshot,
  takeSnapshot,
  type Target,
} from "../../k8s/mod.ts";
import { ON_IMMUTABLE_ANNOTATION, type ParsedObject, refKey } from "../../manifests/mod.ts";
import type { ResourceStatus } from "../../protocol/mod.ts";
import type { StepContext, Undo, Undone } from "../executor.ts";
import type { ChangingSteps } from "./changing.ts";
import { statusOf } from "./object-status.ts";
import type { KubeStepsOptions } from "./options.ts";

/** With these goes what no snapshot of them holds: what is in a namespace, the objects of a kind, data. */
const IRREPLACEABLE: ReadonlySet<string> = new Set([
  "/Namespace",
  "/PersistentVolume",
  "/PersistentVolumeClaim",
  "apiextensions.k8s.io/CustomResourceDefinition",
]);

type Fields = Readonly<Record<string, unknown>>;

/** What the ledger keeps beside the pieces, once all of them are there. */
interface Whole {
  readonly pieces: number;
  readonly mayDelete: boolean;
}

const WHOLE = "before/whole";
const pieceName = (nth: number): string => `before/${nth}`;

function keyOf({ kind, name, namespace, api_version }: ResourceStatus): string {
  const group = api_version?.includes("/") === true ? api_version.slice(0, api_version.indexOf("/")) : "";
  return refKey({ group, version: "", kind, namespace: namespace ?? undefined, name });
}

/** What an event did to an object that stands as it was before. */
const UNDONE: Readonly<Record<string, "restored" | "removed">> = {
  created: "removed",
  updated: "restored",
  recreated: "restored",
  deleted: "restored",
  restarted: "restored",
};

/** An earlier run may have put it back and ended before it could say so. */
function statusAfter({ status, note, error }: PutBack, known: ResourceStatus | undefined): "restored" | "removed" | "left" {
  if (status !== "left" || note !== undefined || error !== undefined) return status;
  return UNDONE[known?.status ?? ""] ?? "left";
}

const WORDS = { restored: "Put back as it was before the event", removed: "Removed again: it was not there before the event" } as const;

/** What is told of an object in the end: why it failed stays, what became of it comes after. */
function told(one: PutBack, known: ResourceStatus | undefined): ResourceStatus {
  const { target, note, error } = one;
  if (error !== undefined) return statusOf(target, "failed", `not as it was before the event: ${error.message}`, "ROLLBACK_FAILED");
  const status = statusAfter(one, known);
  const failed = known !== undefined && (known.status === "failed" || known.code !== undefined || known.message?.startsWith("not ready: "));
  if (status === "left") {
    // Also where a process that came after a crash could not tell: now it is known.
    const words = `${failed === true ? `${known?.message ?? ""}; ` : ""}Not changed by the event`;
    const base = known === undefined || known.status === "unchanged" ? statusOf(target, "unchanged", words) : known;
    return note === undefined ? base : { ...base, message: `${base.message === undefined ? "" : `${base.message}; `}${note}` };
  }
  const words = note === undefined ? WORDS[status] : `${WORDS[status]} (${note})`;
  const why = failed === true ? `${known?.message ?? ""}; ` : "";
  return { ...(failed === true ? known : {}), ...statusOf(target, status, `${why}${words}`) };
}

/** Keeps what the objects of an event are before the first change, and puts them back when it fails. */
class RollbackSteps implements ChangingSteps {
  readonly #client: KubeClient;
  readonly #inner: ChangingSteps;
  readonly #objects: readonly ParsedObject[];
  readonly #context: StepContext;
  readonly #fieldManager: string;
  readonly #defaultNamespace: string;
  #parsed: ReadonlyMap<string, ParsedObject> | undefined;
  readonly #mayDelete: boolean;
  readonly undo: Undo;
  /** Something kept it from being begun. */
  #untouched = false;

  constructor(client: KubeClient, inner: ChangingSteps, objects: readonly ParsedObject[], context: StepContext, options: KubeStepsOptions) {
    this.#client = client;
    this.#inner = inner;
    this.#objects = objects;
    this.#context = context;
    this.#fieldManager = options.fieldManager;
    this.#defaultNamespace = options.defaultNamespace;
    const { operation, onImmutable } = context.options;
    this.#mayDelete = operation === "delete" || onImmutable === "recreate" || objects.some(mayRecreate);
    this.undo = {
      owed: async () => (await this.#whole()) !== undefined,
      run: (known, signal, onObject) => this.#run(known, signal, onObject),
    };
  }

  async validate(): Promise<void> {
    await this.#inner.validate();
    this.#refuseIrreplaceable();
  }

  preview(): Promise<void> {
    return this.#inner.preview();
  }

  async apply(): Promise<void> {
    this.#untouched = true;
    await this.#snapshot();
    this.#untouched = false;
    await this.#inner.apply();
  }

  verify(): Promise<void> {
    return this.#inner.verify();
  }

  resources(): readonly ResourceStatus[] {
    const known = this.#inner.resources();
    if (known.length > 0 || !this.#untouched) return known;
    return this.#inner.targets().map((target) => statusOf(target, "pending", "not tried, because what is there could not be kept"));
  }

  targets(): readonly Target[] {
    return this.#inner.targets();
  }

  #refuseIrreplaceable(): void {
    const recreated = new Set(this.#objects.filter(mayRecreate).map(({ ref }) => `${ref.group}/${ref.kind} ${ref.name}`));
    const found = this.#inner
      .targets()
      .filter(({ ref }) => IRREPLACEABLE.has(`${ref.group}/${ref.kind}`))
      .filter(({ ref }) => this.#context.options.operation === "delete" || recreated.has(`${ref.group}/${ref.kind} ${ref.name}`));
    const [first] = found;
    if (first === undefined) return;
    throw new TransporterError(
      "INVALID_OBJECT",
      `${first.label}${found.length === 1 ? "" : ` and ${found.length - 1} more`} cannot be deleted with on_failure: rollback: what goes with it could not be brought back`,
      {
        details: { objects: found.slice(0, 100).map(({ label }) => label) },
        remedy: "Send what deletes it as an event of its own, without on_failure: rollback.",
      },
    );
  }

  async #whole(): Promise<Whole | undefined> {
    const text = await this.#context.keep.get(WHOLE);
    return text === undefined ? undefined : (JSON.parse(text) as Whole);
  }

  /** The first attempt's, whichever process made it: what a later one finds may be half of what the event does. */
  async #snapshot(): Promise<void> {
    if ((await this.#whole()) !== undefined) return;
    const { keep, note, progress, signal } = this.#context;
    if (!keep.lasting)
      note("This agent keeps nothing on disk: should its process end in the middle, what the objects were before is not known any more");
    const { pieces, needs } = await takeSnapshot(this.#client, this.#inner.targets(), {
      signal,
      mayDelete: this.#mayDelete,
      isDoomed: () => this.#context.options.operation === "delete",
      save: (piece, nth) => keep.set(pieceName(nth), piece).catch(notKept),
      onProgress: (done, total) => progress(`${done} of ${total} objects read, so that they can be put back`),
    });
    await demandRights(this.#client, needs, "that is what putting everything back would take (on_failure: rollback)", signal);
    await keep.set(WHOLE, JSON.stringify({ pieces, mayDelete: this.#mayDelete } satisfies Whole)).catch(notKept);
    failpoint("rollback.kept");
  }

  /** What an apply leaves to others it has not changed, so that what they have made of it meanwhile stays. */
  async #aim(target: Target, before: Fields, live: Fields, signal: AbortSignal): Promise<Fields> {
    const { operation, ignoreFields } = this.#context.options;
    const parsed = operation === "apply" ? this.#parsedOf(target) : undefined;
    if (parsed === undefined) return before;
    const meant = { ...target, apiVersion: parsed.object.apiVersion, parsed, deferral: undefined };
    const ignored = await ignoredOf(this.#client, meant, { ignored: ignoredFieldsOf(meant, ignoreFields) }, signal);
    return ignored?.asIn(live, before) ?? before;
  }

  #parsedOf({ ref }: Target): ParsedObject | undefined {
    this.#parsed ??= new Map(this.#objects.map((parsed) => [refKey(parsed.ref, this.#defaultNamespace), parsed]));
    return this.#parsed.get(refKey(ref, this.#defaultNamespace));
  }

  async #run(known: readonly ResourceStatus[], signal: AbortSignal, onObject: (object: string) => void): Promise<Undone> {
    const { keep, progress } = this.#context;
    const whole = await this.#whole();
    const byKey = new Map(known.map((status) => [keyOf(status), status]));
    if (whole === undefined) return { resources: known, faults: [] };
    const outcomes = new Map<string, PutBack>();
    await restoreSnapshot(this.#client, {
      fieldManager: this.#fieldManager,
      mayDelete: whole.mayDelete,
      wasMade: ({ ref }) => byKey.get(refKey(ref))?.status === "created",
      aim: (target, before, live) => this.#aim(target, before, live, signal),
      signal,
      pieces: whole.pieces,
      async piece(nth) {
        const piece = await keep.get(pieceName(nth));
        if (piece === undefined) throw new TransporterError("INTERNAL", "what the objects were before the event is lost");
        return piece;
      },
      onPutBack: (one) => {
        outcomes.set(refKey(one.target.ref), one);
        onObject(refKey(one.target.ref));
        failpoint("rollback.object");
      },
      onWaiting: progress,
    });
    for (const [key, one] of outcomes) byKey.set(key, told(one, byKey.get(key)));
    const faults = [...outcomes.values()].flatMap(({ target, error }) => (error === undefined ? [] : [{ object: target.label, error }]));
    const places = new Map(this.#objects.map(({ ref }, place) => [refKey(ref), place]));
    const placeOf = (key: string): number => places.get(key) ?? places.size;
    const inOrder = [...byKey].toSorted(([a], [b]) => placeOf(a) - placeOf(b));
    return { resources: inOrder.map(([, status]) => status), faults };
  }
}

function mayRecreate({ object }: ParsedObject): boolean {
  return object.metadata.annotations?.[ON_IMMUTABLE_ANNOTATION] === "recreate";
}

function notKept(error: unknown): never {
  throw new TransporterError(
    "STORE_UNAVAILABLE",
    `what the objects are now could not be kept, so nothing was changed: ${messageOf(error)}`,
    {
      cause: error,
      remedy: "Make room on the disk of the agent's state, and send again.",
    },
  );
}

/** The steps as the event wants them to fail. */
export function withRollback(
  client: KubeClient,
  steps: ChangingSteps,
  objects: readonly ParsedObject[],
  context: StepContext,
  options: KubeStepsOptions,
): ChangingSteps {
  const { onFailure, operation } = context.options;
  if (onFailure !== "rollback" || operation === "diff" || options.lookOnly === true) return steps;
  return new RollbackSteps(client, steps, objects, context, options);
}
