/** What an error means to whoever receives it: it decides the HTTP status, the exit code and whether trying again can help. */
export type ErrorKind = "invalid" | "denied" | "missing" | "conflict" | "expired" | "failed" | "unavailable" | "timeout" | "bug";

export const HTTP_STATUS_OF_KIND: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  denied: 403,
  missing: 404,
  conflict: 409,
  expired: 410,
  failed: 422,
  unavailable: 503,
  timeout: 504,
  bug: 500,
};

/** One row of the catalogue. */
export interface CodeEntry {
  readonly kind: ErrorKind;
  /** One short sentence, the problem+json `title`. */
  readonly title: string;
  /** What whoever meets it should do next. */
  readonly remedy: string;
  /** Where HTTP has a more telling status than the kind's. */
  readonly httpStatus?: number;
}
