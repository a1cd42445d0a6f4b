import { CODES, type ErrorCode, type ErrorKind, type Refusal } from "../protocol/mod.ts";

export interface ErrorOptions {
  /** Facts for machines (object, field, line); sent along, so never a secret. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** What made it happen; logged after redaction, never sent. */
  readonly cause?: unknown;
  /** What to do next, where this case knows better than the code's own remedy. */
  readonly remedy?: string | undefined;
}

/**
 * The one error of the program. The code decides the kind, and the kind decides HTTP status, exit code and whether a retry can help.
 * The message names the object and says what happened; `remedy` says what to do next.
 */
export class TransporterError extends Error {
  override readonly name = "TransporterError";
  readonly code: ErrorCode;
  readonly kind: ErrorKind;
  readonly details: Readonly<Record<string, unknown>>;
  readonly remedy: string;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.kind = CODES[code].kind;
    this.details = options.details ?? {};
    this.remedy = options.remedy ?? CODES[code].remedy;
  }
}

/** Whether trying the same again, unchanged, can end better. */
export function isRetryable(error: unknown): boolean {
  return error instanceof TransporterError && (error.kind === "unavailable" || error.kind === "timeout");
}

/** Wraps whatever was thrown; what is not ours becomes a bug (`INTERNAL`) with its cause kept for the log. */
export function toTransporterError(thrown: unknown): TransporterError {
  if (thrown instanceof TransporterError) return thrown;
  return new TransporterError("INTERNAL", "an unexpected fault", { cause: thrown });
}

/** Turns a refusal of a `protocol` check into the error that the caller throws. */
export function refusalError(refusal: Refusal, prefix = ""): TransporterError {
  return new TransporterError(
    refusal.code,
    `${prefix}${refusal.message}`,
    refusal.pointer === undefined ? {} : { details: { pointer: refusal.pointer } },
  );
}

/** The message of whatever was thrown, for a log line or a report. */
export function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message === "" ? thrown.name : thrown.message;
  return String(thrown);
}
