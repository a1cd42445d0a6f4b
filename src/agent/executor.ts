import type { Logger, Ports, TransporterError } from "../kit/mod.ts";
import type { ParsedObject } from "../manifests/mod.ts";
import type { OperationOptions, ResourceStatus } from "../protocol/mod.ts";
import { keepSecretsOf, redact } from "../redaction/mod.ts";
import type { Work } from "./delivery.ts";
import type { Keep } from "./keep.ts";
import { patchedSecrets } from "./patched-secrets.ts";
import { Run } from "./run.ts";
import type { Runners, ScriptPayload } from "./script.ts";
import type { Status } from "./status.ts";

/** What the steps of a `k8s_resource` event are told. */
export interface StepContext {
  /** Aborted by the deadline, when the event is called back at a point where nothing is being changed, or when the agent stops. */
  readonly signal: AbortSignal;
  /** Called back while applying: finish the objects being applied, begin no further one, and throw the signal's reason. */
  readonly halt: AbortSignal;
  readonly forceConflicts: boolean;
  readonly verifyTimeoutMs: number;
  readonly options: OperationOptions;
  /** An earlier process had begun it. */
  readonly resumed: boolean;
  readonly keep: Keep;
  /** What is being waited for or worked at; shown every few seconds, and named when the deadline passes. */
  readonly progress: (text: string) => void;
  /** Something a person should know even if it lasts no time. */
  readonly note: (text: string) => void;
}

/**
 * The objects of one event on their way into the cluster, step by step. The port between phases and Kubernetes. Each step throws what went
 * wrong; when that can heal, all steps are taken again from the first on.
 */
export interface ResourceSteps {
  /** Everything that can be checked without a change. */
  validate(): Promise<void>;
  /** Instead of `apply`: what it would do, from the dry run of `validate`. Changes nothing. */
  preview(): Promise<void>;
  /** Of an operation that only looks: what `validate` saw, with which the event is complete. */
  found?(): Found;
  apply(): Promise<void>;
  /** Waits until what was applied is ready. */
  verify(): Promise<void>;
  /**
   * What is known of each object by now, in the event's order, whatever the steps threw; empty before anything is. Over all attempts: what
   * the first one created stays created.
   */
  resources(): readonly ResourceStatus[];
  /** Where the event asked for it and something may be changed at all. */
  readonly undo?: Undo;
}

/** How putting everything back went. */
export interface Undone {
  /** Of every object that is known, with what it came to. */
  readonly resources: readonly ResourceStatus[];
  /** What is not as it was before the event. */
  readonly faults: readonly { readonly object: string; readonly error: TransporterError }[];
}

/** Puts back what the steps of an event changed, whichever process they ran in. */
export interface Undo {
  /** Whether anything may have been changed: what there was before is kept from then on, before the first change. */
  owed(): Promise<boolean>;
  /**
   * `known`: what was told of the objects when the event failed; `onObject` as each is dealt with. May be called again. Throws the signal's
   * reason, or what the ledger throws.
   */
  run(known: readonly ResourceStatus[], signal: AbortSignal, onObject: (object: string) => void): Promise<Undone>;
}

/** What an operation that changes nothing saw. */
export interface Found {
  readonly message: string;
  /** Stands for all that was seen. */
  readonly plan: string | undefined;
}

export interface ExecutorOptions {
  readonly readOnly: boolean;
  /** Nothing is done as the agent's own account; of scripts nobody else can be the doer. */
  readonly requireImpersonation?: boolean;
  readonly ports: Ports;
  readonly log: Logger;
  readonly resources: (objects: readonly ParsedObject[], context: StepContext) => ResourceSteps;
  readonly runners?: Runners;
}

export interface Execution {
  readonly work: Work;
  /** The parsed manifests or the script, or the error that reading gave. */
  readonly content: readonly ParsedObject[] | ScriptPayload | TransporterError;
  /** The process ended in the middle of it before. */
  readonly resumed: boolean;
  /** It must not be carried out any more: what it changed is put back where it asked for that, and it ends with this. */
  readonly refusal?: TransporterError | undefined;
  readonly report: (status: Status) => void;
  readonly keep: Keep;
  /** An earlier process had it, and that one may have died of it before it could write that down. */
  readonly recovered: boolean;
  /**
   * Records that it is under way, in the phase reported last; resolves when that is durable, or cannot be. Awaited before anything is
   * changed, so that what ends the process then is known to have done so; and of what was recovered before anything at all.
   */
  readonly started: () => Promise<void>;
  /** It was called back: come to an end at the next safe point. */
  readonly cancel: AbortSignal;
  /** Come to an end soon: what was not applied yet is left, applying goes on, verifying gets a moment. */
  readonly stop: AbortSignal;
  /** Leave it as it is, at once: the ledger brings it back. */
  readonly abandon: AbortSignal;
}

export type Ending = { readonly kind: "ended"; readonly status: Status } | { readonly kind: "interrupted" };

/** Carries out one event: by type, phase after phase, each told as it begins, within its deadline. */
export class Executor {
  readonly #options: ExecutorOptions;

  constructor(options: ExecutorOptions) {
    this.#options = options;
  }

  async execute(execution: Execution): Promise<Ending> {
    const { content, report } = execution;
    // An API server quotes what it refuses, and whoever answers for it as well: values of Secrets stay here.
    const forget = Array.isArray(content)
      ? keepSecretsOf([...content.map(({ object }) => object), ...patchedSecrets(execution.work.options)])
      : () => undefined;
    try {
      const run = new Run(this.#options, { ...execution, report: (status) => report(clean(status)) });
      const ending = await run.run();
      return ending.kind === "ended" ? { ...ending, status: clean(ending.status) } : ending;
    } finally {
      forget();
    }
  }
}

/**
 * A diff has its secrets masked where it is made, in a way that still shows that they change; so does a plan, which looks like one and says
 * nothing. Everything else is redacted here.
 */
function clean(status: Status): Status {
  const { resource_status: resources, plan } = status.result ?? {};
  const cleaned = redact(status) as Status;
  const diffs = resources?.map((one) => one.diff);
  if (cleaned.result === undefined || (plan === undefined && diffs?.some((diff) => diff !== undefined) !== true)) return cleaned;
  const kept = cleaned.result.resource_status?.map((one, at) => (diffs?.[at] === undefined ? one : { ...one, diff: diffs[at] }));
  return {
    ...cleaned,
    result: {
      ...cleaned.result,
      ...(kept === undefined ? {} : { resource_status: kept }),
      ...(plan === undefined ? {} : { plan }),
    },
  };
}
