import { type Logger, messageOf, type Ports, type TimerHandle, toTransporterError, TransporterError } from "../kit/mod.ts";
import type { ParsedObject } from "../manifests/mod.ts";
import {
  CAPABILITY_OF_TYPE,
  type EventResult,
  EventTypeSchema,
  formatDurationMs,
  formatTimestamp,
  NS_PER_MS,
  type Phase,
  type ResourceStatus,
} from "../protocol/mod.ts";
import type { Work } from "./delivery.ts";
import { CAPABILITIES } from "./registration.ts";
import type { Status } from "./status.ts";
import * as v from "valibot";

/** What the steps of a `k8s_resource` event are told. */
export interface StepContext {
  /** Aborted by the deadline, or when the agent stops. */
  readonly signal: AbortSignal;
  readonly forceConflicts: boolean;
  readonly verifyTimeoutMs: number;
  /** What is being waited for or worked at; shown every few seconds, and named when the deadline passes. */
  readonly progress: (text: string) => void;
  /** Something a person should know even if it lasts no time. */
  readonly note: (text: string) => void;
}

/** The objects of one event on their way into the cluster, step by step. The port between phases and Kubernetes. Each step throws what went wrong. */
export interface ResourceSteps {
  /** Everything that can be checked without a change. */
  validate(): Promise<void>;
  /** Instead of `apply`: what it would do, from the dry run of `validate`. Changes nothing. */
  preview(): Promise<void>;
  apply(): Promise<void>;
  /** Waits until what was applied is ready. */
  verify(): Promise<void>;
  /** What is known of each object by now, in the event's order, whatever the steps threw; empty before anything is. */
  resources(): readonly ResourceStatus[];
}

export interface ExecutorOptions {
  readonly readOnly: boolean;
  readonly ports: Ports;
  readonly log: Logger;
  readonly resources: (objects: readonly ParsedObject[], context: StepContext) => ResourceSteps;
}

export interface Execution {
  readonly work: Work;
  /** The parsed manifests, or the error that parsing gave. */
  readonly objects: readonly ParsedObject[] | TransporterError;
  /** The process ended in the middle of it before. */
  readonly resumed: boolean;
  readonly report: (status: Status) => void;
  /** Come to an end soon: what was not applied yet is left, applying goes on, verifying gets a moment. */
  readonly stop: AbortSignal;
  /** Leave it as it is, at once: the ledger brings it back. */
  readonly abandon: AbortSignal;
}

export type Ending = { readonly kind: "ended"; readonly status: Status } | { readonly kind: "interrupted" };

/** The first word about what is waited for comes after this long in a phase, each further one after the second. */
const FIRST_PROGRESS_MS = 1_000;
const NEXT_PROGRESS_MS = 5_000;
/** Verifying that goes on while the agent stops. */
const VERIFY_AFTER_STOP_MS = 1_500;

const PHASE_MESSAGES = {
  received: "Event received, starting execution",
  validating: "Validating event payload",
  applying: "Applying changes to cluster",
  verifying: "Verifying changes",
} as const;
export const RESUMED_MESSAGE = "Execution resumed after a restart of the agent";
export const COMPLETED_MESSAGE = "Event completed successfully";
export const READ_ONLY_MESSAGE = "Read-only: nothing was changed";

class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** Carries out one event: by type, phase after phase, each told as it begins, within its deadline. */
export class Executor {
  readonly #options: ExecutorOptions;

  constructor(options: ExecutorOptions) {
    this.#options = options;
  }

  async execute(execution: Execution): Promise<Ending> {
    return new Run(this.#options, execution).run();
  }
}

class Run {
  readonly #options: ExecutorOptions;
  readonly #execution: Execution;
  readonly #abort = new AbortController();
  readonly #startedMs: number;
  #phase: Phase = "received";
  #at = "";
  #steps: ResourceSteps | undefined;
  #pendingProgress: string | undefined;
  #lastProgress = "";
  #nextProgressMs = 0;
  #progressTimer: TimerHandle | undefined;
  #stopTimer: TimerHandle | undefined;

  constructor(options: ExecutorOptions, execution: Execution) {
    this.#options = options;
    this.#execution = execution;
    this.#startedMs = options.ports.clock.monotonic();
  }

  async run(): Promise<Ending> {
    const { work, stop, abandon } = this.#execution;
    const onStop = (): void => {
      if (this.#phase === "verifying") this.#limitVerifying();
      else if (this.#phase !== "applying") this.#abort.abort(new Interrupted());
    };
    const onAbandon = (): void => this.#abort.abort(new Interrupted());
    stop.addEventListener("abort", onStop);
    abandon.addEventListener("abort", onAbandon);
    const deadline = this.#options.ports.timers.after(work.deadlineMs, () => this.#abort.abort(this.#deadlineError()), {
      background: true,
    });
    try {
      return { kind: "ended", status: await this.#carryOut() };
    } catch (thrown) {
      // Whatever a step threw after an abort, the reason of the abort is what happened.
      const reason: unknown = this.#abort.signal.aborted ? this.#abort.signal.reason : thrown;
      if (reason instanceof Interrupted) return { kind: "interrupted" };
      return { kind: "ended", status: this.#failure(toTransporterError(reason)) };
    } finally {
      deadline.cancel();
      this.#progressTimer?.cancel();
      this.#stopTimer?.cancel();
      stop.removeEventListener("abort", onStop);
      abandon.removeEventListener("abort", onAbandon);
    }
  }

  async #carryOut(): Promise<Status> {
    const { work, objects, resumed } = this.#execution;
    this.#enter("received", resumed ? RESUMED_MESSAGE : PHASE_MESSAGES.received);
    if (work.fault !== undefined) throw new TransporterError(work.fault.code, work.fault.message);
    this.#demandCapability();
    this.#enter("validating", PHASE_MESSAGES.validating);
    if (objects instanceof TransporterError) throw objects;
    if (objects.length === 0) throw new TransporterError("EMPTY_MANIFESTS", "the manifests hold no object");
    const steps = this.#options.resources(objects, {
      signal: this.#abort.signal,
      forceConflicts: work.forceConflicts,
      verifyTimeoutMs: work.verifyTimeoutMs,
      progress: (text) => this.#progress(text),
      note: (text) => this.#tell(text),
    });
    this.#steps = steps;
    await steps.validate();
    if (this.#options.readOnly) {
      await steps.preview();
      return this.#completed(READ_ONLY_MESSAGE);
    }
    this.#enter("applying", PHASE_MESSAGES.applying);
    await steps.apply();
    this.#enter("verifying", PHASE_MESSAGES.verifying);
    await steps.verify();
    return this.#completed(COMPLETED_MESSAGE);
  }

  #demandCapability(): void {
    const { type } = this.#execution.work;
    const capability = v.is(EventTypeSchema, type) ? CAPABILITY_OF_TYPE[type] : undefined;
    if (capability !== undefined && CAPABILITIES.includes(capability)) return;
    throw new TransporterError(
      "CAPABILITY_MISSING",
      `this agent cannot carry out events of type ${JSON.stringify(type)}: it has ${CAPABILITIES.join(", ")}` +
        (capability === undefined ? "" : ` and lacks ${capability}`),
    );
  }

  #enter(phase: "received" | "validating" | "applying" | "verifying", message: string): void {
    this.#abort.signal.throwIfAborted();
    if (this.#execution.stop.aborted) {
      if (phase !== "verifying") throw new Interrupted();
      this.#limitVerifying();
    }
    this.#phase = phase;
    this.#at = message;
    this.#pendingProgress = undefined;
    this.#lastProgress = "";
    this.#nextProgressMs = this.#options.ports.clock.monotonic() + FIRST_PROGRESS_MS;
    this.#execution.report({ state: "in_progress", phase, message, level: "info" });
  }

  /** Most objects are ready at once, and an end that can be told is better than one to be found again after a restart. */
  #limitVerifying(): void {
    this.#stopTimer = this.#options.ports.timers.after(VERIFY_AFTER_STOP_MS, () => this.#abort.abort(new Interrupted()));
  }

  #progress(text: string): void {
    this.#at = text;
    this.#pendingProgress = text;
    if (this.#progressTimer !== undefined) return;
    const { clock, timers } = this.#options.ports;
    this.#progressTimer = timers.after(
      this.#nextProgressMs - clock.monotonic(),
      () => {
        this.#progressTimer = undefined;
        const pending = this.#pendingProgress;
        this.#pendingProgress = undefined;
        if (pending === undefined || pending === this.#lastProgress || this.#abort.signal.aborted) return;
        this.#lastProgress = pending;
        this.#nextProgressMs = clock.monotonic() + NEXT_PROGRESS_MS;
        this.#tell(pending);
      },
      { background: true },
    );
  }

  #tell(message: string): void {
    this.#execution.report({ state: "in_progress", phase: this.#phase, message, level: "info", progress: true });
  }

  #completed(message: string): Status {
    return { state: "completed", phase: "completed", message, level: "info", result: this.#result(true) };
  }

  #failure(error: TransporterError): Status {
    if (error.code === "INTERNAL") {
      this.#options.log.error("A fault of ours while carrying out an event", {
        event_id: this.#execution.work.eventId,
        error,
        cause: error.cause,
      });
    }
    const message = error.code === "INTERNAL" ? `${error.message}; the agent's log has the cause` : error.message;
    return {
      state: "failed",
      phase: "failed",
      message,
      level: "error",
      details: { ...error.details, code: error.code, remedy: error.remedy },
      result: this.#result(false, error, message),
    };
  }

  /** In 0.1's order of fields. */
  #result(success: boolean, error?: TransporterError, message?: string): EventResult {
    const { clock } = this.#options.ports;
    return {
      success,
      resource_status: [...(this.#steps?.resources() ?? [])],
      ...(error === undefined ? {} : { error_message: message ?? messageOf(error), error_code: error.code }),
      completed_at: formatTimestamp(clock.now()),
      duration: Math.round((clock.monotonic() - this.#startedMs) * NS_PER_MS),
    };
  }

  #deadlineError(): TransporterError {
    const { work } = this.#execution;
    return new TransporterError(
      "DEADLINE_EXCEEDED",
      `the execution ran past its deadline of ${formatDurationMs(work.deadlineMs)}; it was at: ${this.#at}`,
      { details: { phase: this.#phase } },
    );
  }
}
