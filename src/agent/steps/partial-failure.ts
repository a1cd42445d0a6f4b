import { faultDetails, type Target } from "../../k8s/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { type ErrorCode, isErrorCode } from "../../protocol/mod.ts";

/** One object that failed, and why. */
export interface Failure {
  readonly planned: Target;
  readonly error: TransporterError;
}

/** One error for all that failed while others were done: the code of the first, and how many. `done`: `3 were deleted`. */
export function partialFailure(failures: readonly Failure[], total: number, done: string): TransporterError | undefined {
  const [first] = failures;
  if (first === undefined) return undefined;
  const { error } = first;
  if (failures.every((one) => one.error === error)) return error;
  return new TransporterError(error.code, `${failures.length} of ${total} objects failed (${done}), first: ${error.message}`, {
    details: { ...error.details, fault_count: failures.length, faults: failures.slice(0, 100).map(faultDetails) },
    remedy: error.remedy,
    cause: error,
  });
}

/** What is wrong with each object of a list in the error's details, by the object's label. */
export function faultsByLabel(
  error: unknown,
  list: string,
): ReadonlyMap<string, { readonly message: string; readonly code: ErrorCode | undefined }> {
  const faults: unknown = error instanceof TransporterError ? error.details[list] : undefined;
  if (!Array.isArray(faults)) return new Map();
  return new Map(
    faults.flatMap((one: unknown) => {
      if (typeof one !== "object" || one === null) return [];
      const { object, message, code } = one as Readonly<Record<string, unknown>>;
      const known = typeof code === "string" && isErrorCode(code) ? code : undefined;
      return [[String(object), { message: String(message), code: known }] as const];
    }),
  );
}
