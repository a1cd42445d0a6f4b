import {
  Backoff,
  failpoint,
  type Logger,
  messageOf,
  type Ports,
  type TimerHandle,
  toTransporterError,
  TransporterError,
} from "../kit/mod.ts";
import { canHeal } from "../k8s/mod.ts";
import { CODES, type ErrorCode, type ResourceStatus } from "../protocol/mod.ts";
import type { Undo, Undone } from "./executor.ts";
import type { Keep } from "./keep.ts";

/** What an event is rolled back for. Plain data: it outlives the process. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly remedy: string;
  /** It was called back; nothing had failed. */
  readonly cancelled: boolean;
  /** What was told of the objects by then. */
  readonly resources: readonly ResourceStatus[];
}

/** An earlier process was putting back what the event had changed. */
export class RollingBack extends Error {
  override readonly name = "RollingBack";
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

/** How an event ends that was rolled back. */
export interface RolledBack {
  readonly error: TransporterError;
  /** It was called back, and everything is as it was. */
  readonly cancelled: boolean;
  readonly resources: readonly ResourceStatus[];
}

export interface RollBackOptions {
  readonly keep: Keep;
  readonly ports: Ports;
  readonly log: Logger;
  /** Leave it as it is, at once: the ledger brings it back. */
  readonly abandon: AbortSignal;
}

const NAME = "rollback";
/** Without an object that was dealt with; an API server that is started anew fits in several times. */
const STANDSTILL_MS = 5 * 60_000;
const NAMED = 5;

class Late extends Error {
  override readonly name = "Late";
}

export function failureOf(error: TransporterError, resources: readonly ResourceStatus[], cancelled: boolean): Failure {
  const { code, message, details, remedy } = error;
  return { code, message, details, remedy, cancelled, resources };
}

function isFailure(value: unknown): value is Failure {
  return typeof value === "object" && value !== null && "code" in value && String(value.code) in CODES;
}

/** What an earlier process was rolling the event back for; it must not be tried again in between. */
export async function keptFailure(keep: Keep): Promise<Failure | undefined> {
  const text = await keep.get(NAME);
  const kept: unknown = text === undefined ? undefined : JSON.parse(text);
  return isFailure(kept) ? kept : undefined;
}

/** The end of an event whose state before is not known any more. */
export function rollbackLost(failure: TransporterError | undefined, thrown: unknown): TransporterError {
  const first = failure === undefined ? "the event was called back" : `it had failed with ${failure.code}: ${failure.message}`;
  return new TransporterError(
    "ROLLBACK_FAILED",
    `nothing was put back, because what there was before cannot be read from the agent's ledger: ${messageOf(thrown)}; ${first}`,
    { cause: thrown },
  );
}

function counted(count: number, what: string): string {
  return `${count} ${count === 1 ? "object was" : "objects were"} ${what}`;
}

function wordsOf(resources: readonly ResourceStatus[]): string {
  const [restored, removed] = ["restored", "removed"].map((status) => resources.filter((one) => one.status === status).length);
  const parts = [
    ...(restored === undefined || restored === 0 ? [] : [counted(restored, "restored")]),
    ...(removed === undefined || removed === 0 ? [] : [counted(removed, "removed")]),
  ];
  return parts.length === 0 ? "nothing had been changed" : parts.join(" and ");
}

function successOf(failure: Failure, { resources }: Undone): RolledBack {
  const error = new TransporterError(failure.code, `${failure.message}; rolled back: ${wordsOf(resources)}`, {
    details: { ...failure.details, rolled_back: true },
    remedy: failure.remedy,
  });
  return { error, cancelled: failure.cancelled, resources };
}

function faultOf(failure: Failure, resources: readonly ResourceStatus[], faults: Undone["faults"]): RolledBack {
  const named = faults.slice(0, NAMED).map(({ error }) => error.message);
  const more = faults.length > NAMED ? `; and ${faults.length - NAMED} more` : "";
  const first = failure.cancelled ? failure.message : `it had failed with ${failure.code}: ${failure.message}`;
  const error = new TransporterError(
    "ROLLBACK_FAILED",
    `not everything is as it was before the event: ${named.join("; ")}${more}; ${first}`,
    {
      details: {
        cause: { code: failure.code, message: failure.message },
        fault_count: faults.length,
        faults: faults.slice(0, 100).map(({ object, error: { code, message } }) => ({ object, code, message })),
      },
    },
  );
  return { error, cancelled: false, resources };
}

/**
 * Puts back what a failed event changed, and says how it ends then. That it is being put back is on disk before anything is, so that the next
 * process goes on with it and does not try the event again. What can heal is tried again for as long as something moves, and five minutes more. Throws the reason of `abandon`.
 */
export async function rollBack(undo: Undo, failure: Failure, options: RollBackOptions): Promise<RolledBack> {
  const { keep, ports, log, abandon } = options;
  await keep
    .set(NAME, JSON.stringify(failure))
    .catch((error: unknown) => log.warn("That an event is rolled back could not be recorded", { error: messageOf(error) }));
  failpoint("rollback.begun");
  const late = new AbortController();
  const arm = (): TimerHandle => ports.timers.after(STANDSTILL_MS, () => late.abort(new Late()), { background: true });
  let timer = arm();
  const moved = new Set<string>();
  const onObject = (object: string): void => {
    // The first time only: a fault that is met again and again is no progress.
    if (moved.has(object)) return;
    moved.add(object);
    timer.cancel();
    timer = arm();
  };
  const signal = AbortSignal.any([abandon, late.signal]);
  const backoff = new Backoff({ firstMs: 1_000, maxMs: 15_000 }, ports.random);
  let last: Undone = { resources: failure.resources, faults: [] };
  try {
    for (;;) {
      last = await undo.run(failure.resources, signal, onObject);
      if (last.faults.length === 0) return successOf(failure, last);
      if (!last.faults.some(({ error }) => canHeal(error))) return faultOf(failure, last.resources, last.faults);
      log.warn("Putting back what an event changed is tried again", { objects: last.faults.length });
      await ports.timers.sleep(backoff.next(), signal);
    }
  } catch (thrown) {
    abandon.throwIfAborted();
    const error =
      thrown instanceof Late
        ? new TransporterError(
            "DEADLINE_EXCEEDED",
            `nothing more could be put back for ${STANDSTILL_MS / 60_000} minutes, and it was given up`,
          )
        : toTransporterError(thrown);
    return faultOf(failure, last.resources, [...last.faults, { object: "", error }]);
  } finally {
    timer.cancel();
  }
}
