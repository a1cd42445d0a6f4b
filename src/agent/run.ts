import { failpoint, type TimerHandle, toTransporterError, TransporterError } from "../kit/mod.ts";
import { CAPABILITY_OF_TYPE, EventTypeSchema, formatDurationMs, OPERATION_DEFAULTS, type Phase } from "../protocol/mod.ts";
import { Attempts } from "./attempts.ts";
import { afterRestart, cancelledStatus, type Closing, completedStatus, failedStatus, resultOf, untouched } from "./endings.ts";
import type { Ending, Execution, ExecutorOptions, ResourceSteps, Undo } from "./executor.ts";
import { CAPABILITIES } from "./registration.ts";
import { type Failure, failureOf, keptFailure, rollBack, RollingBack, rollbackLost } from "./rollback.ts";
import { scriptFailure, type ScriptPayload } from "./script.ts";
import type { Status } from "./status.ts";
import * as v from "valibot";

/** The first word about what is waited for comes after this long in a phase, each further one after the second. */
const FIRST_PROGRESS_MS = 1_000;
const NEXT_PROGRESS_MS = 5_000;
/** Verifying that goes on while the agent stops. */
const VERIFY_AFTER_STOP_MS = 1_500;

type RunningPhase = Exclude<Phase, "completed" | "failed">;

const PHASE_MESSAGES: Readonly<Record<RunningPhase, string>> = {
  received: "Event received, starting execution",
  validating: "Validating event payload",
  applying: "Applying changes to cluster",
  verifying: "Verifying changes",
};
const SCRIPT_MESSAGE = "Running script";
export const RESUMED_MESSAGE = "Execution resumed after a restart of the agent";
export const COMPLETED_MESSAGE = "Event completed successfully";
export const READ_ONLY_MESSAGE = "Read-only: nothing was changed";
/** It may have been another kind of agent that began it. */
const READ_ONLY_SINCE = `${READ_ONLY_MESSAGE} since the agent's restart; what the event may have changed before that stays`;

/** While it stood where, as people say it. */
const CANCELLED_WHILE: Readonly<Record<RunningPhase, string>> = {
  received: "before anything was changed",
  validating: "before anything was changed",
  applying: "while changes were being applied",
  verifying: "while waiting for what was applied to become ready",
};

class Interrupted extends Error {
  override readonly name = "Interrupted";
}

class Cancelled extends Error {
  override readonly name = "Cancelled";
}

/** One execution of one event. */
export class Run {
  readonly #options: ExecutorOptions;
  readonly #execution: Execution;
  /** Ends everything at once. */
  readonly #abort = new AbortController();
  /** Ends applying between two objects. */
  readonly #halt = new AbortController();
  readonly #startedMs: number;
  readonly #attempts: Attempts;
  #phase: RunningPhase = "received";
  #at = "";
  #steps: ResourceSteps | undefined;
  /** Settles when the ledger knows that, or how far, it is under way. */
  #recorded: Promise<void> | undefined;
  /** Something in the cluster is being changed, so that it cannot just be dropped. */
  #changing = false;
  /** An attempt before the present one may have changed something. */
  #changed = false;
  /** It has failed with this, whatever comes. */
  #verdict: TransporterError | undefined;
  #pendingProgress: string | undefined;
  #lastProgress = "";
  #nextProgressMs = 0;
  #progressTimer: TimerHandle | undefined;
  #stopTimer: TimerHandle | undefined;

  constructor(options: ExecutorOptions, execution: Execution) {
    this.#options = options;
    this.#execution = execution;
    this.#startedMs = options.ports.clock.monotonic();
    this.#attempts = new Attempts(execution.work.retry, options.ports.random);
  }

  async run(): Promise<Ending> {
    const { work, stop, abandon, cancel } = this.#execution;
    const onStop = (): void => {
      if (this.#phase === "verifying" && !this.#changing) this.#limitVerifying();
      else if (!this.#changing) this.#abort.abort(new Interrupted());
    };
    const onAbandon = (): void => this.#abort.abort(new Interrupted());
    const onCancel = (): void => {
      const reason = new Cancelled();
      this.#halt.abort(reason);
      if (!this.#changing) this.#abort.abort(reason);
    };
    stop.addEventListener("abort", onStop);
    abandon.addEventListener("abort", onAbandon);
    cancel.addEventListener("abort", onCancel);
    const deadline = this.#options.ports.timers.after(work.deadlineMs, () => this.#abort.abort(this.#deadlineError()), {
      background: true,
    });
    try {
      if (cancel.aborted) onCancel();
      return { kind: "ended", status: await this.#carryOut() };
    } catch (thrown) {
      deadline.cancel();
      // Whatever a step threw after an abort, the reason of the abort is what happened.
      const reason: unknown = this.#abort.signal.aborted ? this.#abort.signal.reason : thrown;
      return await this.#end(reason instanceof Interrupted ? reason : (this.#verdict ?? reason));
    } finally {
      deadline.cancel();
      this.#progressTimer?.cancel();
      this.#stopTimer?.cancel();
      stop.removeEventListener("abort", onStop);
      abandon.removeEventListener("abort", onAbandon);
      cancel.removeEventListener("abort", onCancel);
    }
  }

  async #carryOut(): Promise<Status> {
    const { work, content, resumed } = this.#execution;
    this.#enter("received", resumed ? RESUMED_MESSAGE : PHASE_MESSAGES.received);
    if (work.fault !== undefined) throw new TransporterError(work.fault.code, work.fault.message);
    this.#demandCapability();
    this.#enter("validating", PHASE_MESSAGES.validating);
    if (content instanceof TransporterError) throw content;
    if ("script" in content) return this.#runScript(content);
    const { references = [], patches = [] } = work.options ?? {};
    if (this.#execution.refusal === undefined && content.length + references.length + patches.length === 0)
      throw new TransporterError("EMPTY_MANIFESTS", "the manifests hold no object");
    this.#steps = this.#options.resources(content, {
      signal: this.#abort.signal,
      halt: this.#halt.signal,
      forceConflicts: work.forceConflicts,
      verifyTimeoutMs: work.verifyTimeoutMs,
      options: work.options ?? OPERATION_DEFAULTS,
      resumed: this.#execution.resumed,
      keep: this.#execution.keep,
      progress: (text) => this.#progress(text),
      note: (text) => this.#tell(text),
    });
    this.#recorded = this.#execution.started();
    if (this.#execution.recovered) await this.#recorded;
    const failure = this.#steps.undo === undefined || !this.#execution.recovered ? undefined : await keptFailure(this.#execution.keep);
    if (failure !== undefined) throw new RollingBack(failure);
    if (this.#execution.refusal !== undefined) throw this.#execution.refusal;
    const steps = this.#steps;
    for (;;) {
      try {
        return await this.#attempt(steps);
      } catch (thrown) {
        await this.#awaitNextAttempt(thrown).catch((last: unknown) => this.#verifyRest(steps, last));
        this.#enter("validating", `${PHASE_MESSAGES.validating} (attempt ${this.#attempts.current} of ${this.#attempts.of})`);
      }
    }
  }

  async #attempt(steps: ResourceSteps): Promise<Status> {
    await steps.validate();
    failpoint("agent.run.validated");
    const found = steps.found?.();
    if (found !== undefined) return completedStatus(found.message, { ...resultOf(this.#closing()), plan: found.plan });
    if (this.#options.readOnly) {
      await steps.preview();
      return completedStatus(this.#execution.resumed ? READ_ONLY_SINCE : READ_ONLY_MESSAGE, resultOf(this.#closing()));
    }
    this.#enter("applying", PHASE_MESSAGES.applying);
    await this.#recorded;
    this.#abort.signal.throwIfAborted();
    await this.#change(() => steps.apply());
    failpoint("agent.run.applied");
    this.#enter("verifying", PHASE_MESSAGES.verifying);
    await steps.verify();
    return completedStatus(COMPLETED_MESSAGE, resultOf(this.#closing()));
  }

  /** Where the rest goes on, what could be applied is waited for as well before the event fails with what could not. */
  async #verifyRest(steps: ResourceSteps, last: unknown): Promise<never> {
    const goesOn = this.#execution.work.options?.onFailure === "continue" && this.#phase === "applying";
    if (goesOn && last instanceof TransporterError && last.code !== "KUBE_UNAVAILABLE" && !this.#abort.signal.aborted) {
      this.#verdict = last;
      this.#enter("verifying", PHASE_MESSAGES.verifying);
      await steps.verify().catch(() => undefined);
    }
    throw last;
  }

  /** At most once: that it is going to run is on disk before it does, and is all that a restart needs to know. */
  async #runScript(payload: ScriptPayload): Promise<Status> {
    const runner = this.#options.runners?.script;
    if (runner === undefined) throw new TransporterError("INTERNAL", "there is nobody to run the script");
    if (this.#options.readOnly) throw new TransporterError("READ_ONLY", "this agent is read-only and runs no scripts");
    if (this.#options.requireImpersonation === true)
      throw new TransporterError(
        "IMPERSONATION_REQUIRED",
        "this agent does nothing as itself, and a script cannot be run as somebody else",
        {
          remedy: "Send manifests that say who is to apply them, or have another agent run the script.",
        },
      );
    await this.#execution.started();
    this.#enter("applying", SCRIPT_MESSAGE);
    const aborting = AbortSignal.any([this.#abort.signal, this.#halt.signal]);
    const result = await this.#change(() =>
      runner(this.#execution.work, payload, { signal: aborting, progress: (text) => this.#progress(text) }),
    ).catch((error: unknown) => {
      this.#halt.signal.throwIfAborted();
      throw error;
    });
    if (!result.success) throw scriptFailure(result);
    return completedStatus(COMPLETED_MESSAGE, { ...resultOf(this.#closing()), ...result });
  }

  async #change<T>(change: () => Promise<T>): Promise<T> {
    this.#changing = true;
    try {
      return await change();
    } finally {
      this.#changing = false;
      this.#changed = true;
    }
  }

  /** Resolves when it is time for another attempt; throws what ends the execution when there is none. */
  async #awaitNextAttempt(thrown: unknown): Promise<void> {
    const { clock, timers } = this.#options.ports;
    this.#abort.signal.throwIfAborted();
    if (thrown instanceof Cancelled) throw thrown;
    const error = toTransporterError(thrown);
    const attempt = this.#attempts.current;
    const next = this.#attempts.failed(error, this.#startedMs + this.#execution.work.deadlineMs - clock.monotonic());
    if ("last" in next) throw next.last;
    // It was called back while it could not stop, and there is no reason to go on.
    this.#halt.signal.throwIfAborted();
    if (this.#execution.stop.aborted) throw new Interrupted();
    this.#nothingPending();
    this.#at = `waiting to try again after: ${error.message}`;
    this.#execution.report({
      state: "in_progress",
      phase: this.#phase,
      message: `Attempt ${attempt} of ${this.#attempts.of} failed, trying again in ${formatDurationMs(Math.round(next.waitMs))}: ${error.message}`,
      level: "warning",
      details: { attempt, of: this.#attempts.of, code: error.code, retry_in_ms: Math.round(next.waitMs) },
    });
    failpoint("agent.run.retry");
    // Waiting ends at once with the agent: there is nothing to finish.
    this.#phase = "validating";
    await timers.sleep(next.waitMs, this.#abort.signal);
  }

  #demandCapability(): void {
    const { type } = this.#execution.work;
    const has = this.#options.runners?.script === undefined ? CAPABILITIES : [...CAPABILITIES, CAPABILITY_OF_TYPE.script];
    const capability = v.is(EventTypeSchema, type) ? CAPABILITY_OF_TYPE[type] : undefined;
    if (capability !== undefined && has.includes(capability)) return;
    throw new TransporterError(
      "CAPABILITY_MISSING",
      `this agent cannot carry out events of type ${JSON.stringify(type)}: it has ${has.join(", ")}` +
        (capability === undefined ? "" : ` and lacks ${capability}`),
    );
  }

  /** Between two phases: a safe point. */
  #enter(phase: RunningPhase, message: string): void {
    this.#abort.signal.throwIfAborted();
    this.#halt.signal.throwIfAborted();
    if (this.#execution.stop.aborted) {
      if (phase !== "verifying") throw new Interrupted();
      this.#limitVerifying();
    }
    this.#phase = phase;
    this.#at = message;
    this.#nothingPending();
    this.#nextProgressMs = this.#options.ports.clock.monotonic() + FIRST_PROGRESS_MS;
    this.#execution.report({ state: "in_progress", phase, message, level: "info" });
    // Whatever may have ended the process once is watched more closely.
    if (this.#recorded !== undefined && this.#execution.recovered) this.#recorded = this.#execution.started();
  }

  /** Most objects are ready at once, and an end that can be told is better than one to be found again after a restart. */
  #limitVerifying(): void {
    this.#stopTimer = this.#options.ports.timers.after(VERIFY_AFTER_STOP_MS, () => this.#abort.abort(new Interrupted()));
  }

  #nothingPending(): void {
    this.#pendingProgress = undefined;
    this.#lastProgress = "";
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

  #closing(): Closing {
    const { clock } = this.#options.ports;
    const resources = this.#steps?.resources() ?? [];
    return {
      resources: this.#execution.resumed ? afterRestart(resources) : resources,
      nowMs: clock.now(),
      tookMs: clock.monotonic() - this.#startedMs,
    };
  }

  async #end(reason: unknown): Promise<Ending> {
    if (reason instanceof Interrupted) return { kind: "interrupted" };
    const undo = this.#steps?.undo;
    try {
      if (undo !== undefined && (await undo.owed())) return { kind: "ended", status: await this.#rollBack(undo, reason) };
    } catch (thrown) {
      if (this.#execution.abandon.aborted) return { kind: "interrupted" };
      return {
        kind: "ended",
        status: this.#failed(rollbackLost(reason instanceof Cancelled ? undefined : toTransporterError(reason), thrown)),
      };
    }
    if (reason instanceof Cancelled) return { kind: "ended", status: this.#cancelled() };
    return { kind: "ended", status: this.#failed(toTransporterError(reason)) };
  }

  async #rollBack(undo: Undo, reason: unknown): Promise<Status> {
    const failure = this.#failureOf(reason);
    const { keep, abandon } = this.#execution;
    const { ports, log } = this.#options;
    this.#phase = "applying";
    this.#at = `putting everything back after: ${failure.message}`;
    this.#execution.report({
      state: "in_progress",
      phase: this.#phase,
      message: `Putting everything back as it was, because of: ${failure.message}`,
      level: "warning",
      details: { code: failure.code },
    });
    // What ends the process once more is known to have done so while it was here.
    if (this.#execution.recovered) await this.#execution.started();
    const { error, cancelled, resources } = await this.#change(() => rollBack(undo, failure, { keep, ports, log, abandon }));
    const closing = { ...this.#closing(), resources };
    return cancelled ? cancelledStatus(error.message.replace(/^Event cancelled /, ""), closing) : this.#failed(error, closing);
  }

  #failureOf(reason: unknown): Failure {
    if (reason instanceof RollingBack) return reason.failure;
    const { resources } = this.#closing();
    if (!(reason instanceof Cancelled)) return failureOf(toTransporterError(reason), resources, false);
    return failureOf(new TransporterError("EVENT_CANCELLED", this.#cancelled().message), resources, true);
  }

  #failed(error: TransporterError, closing = this.#closing()): Status {
    if (error.code === "INTERNAL") {
      this.#options.log.error("A fault of ours while carrying out an event", {
        event_id: this.#execution.work.eventId,
        error,
        cause: error.cause,
      });
    }
    return failedStatus(error, closing);
  }

  #cancelled(): Status {
    failpoint("agent.run.cancelled");
    const closing = this.#closing();
    const { content } = this.#execution;
    const when = this.#changed && this.#phase === "validating" ? "between two attempts to apply its changes" : CANCELLED_WHILE[this.#phase];
    if (closing.resources.length > 0 || content instanceof TransporterError || "script" in content) return cancelledStatus(when, closing);
    return cancelledStatus(when, { ...closing, resources: untouched(content) });
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
