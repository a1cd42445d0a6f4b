import type * as v from "valibot";
import type { ErrorCode } from "./codes.ts";

export interface Refusal {
  readonly ok: false;
  readonly code: ErrorCode;
  /** For people; names the field and what was wrong with it. */
  readonly message: string;
  /** JSON pointer of the field, where one field is to blame. */
  readonly pointer?: string;
}
export type Checked<T> = { readonly ok: true; readonly value: T } | Refusal;

/** Builds a refusal; the pointer is left out where no one field is to blame. */
export function refuse(code: ErrorCode, message: string, pointer?: string): Refusal {
  return pointer === undefined ? { ok: false, code, message } : { ok: false, code, message, pointer };
}

const SHOWN_KEYS = 16;
const SHOWN_CHARS = 120;

/** As much of a key as a message has room for. */
export function shown(key: string): string {
  return key.length <= SHOWN_CHARS ? key : `${key.slice(0, SHOWN_CHARS)}…`;
}

/** Turns valibot's first issue into a refusal that names the field by JSON pointer. */
export function issueRefusal(issue: v.BaseIssue<unknown>, code: ErrorCode): Refusal {
  // The keys are the sender's: a message that repeats twenty megabytes of them helps nobody.
  const keys = (issue.path ?? []).slice(0, SHOWN_KEYS).map((item) => shown(String(item.key)));
  const pointer = keys.map((key) => `/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
  const where = keys.length === 0 ? "the value" : keys.join(".");
  return refuse(
    code,
    `${where}: expected ${issue.expected ?? "something else"} but received ${issue.received.slice(0, 80)}`,
    pointer === "" ? undefined : pointer,
  );
}
