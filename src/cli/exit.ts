import type { ErrorKind } from "../protocol/mod.ts";

/** What the shell is told. Documented in docs/cli.md; never given another meaning. */
export const EXIT = {
  ok: 0,
  failed: 1,
  invalid: 2,
  denied: 3,
  missing: 4,
  conflict: 5,
  expired: 6,
  unavailable: 7,
  timeout: 8,
  bug: 70,
  /** Ctrl-C. */
  interrupted: 130,
  /** The reader of our output went away; the code a shell gives a program that SIGPIPE ended. */
  brokenPipe: 141,
  terminated: 143,
} as const satisfies Record<ErrorKind | "ok" | "interrupted" | "brokenPipe" | "terminated", number>;
