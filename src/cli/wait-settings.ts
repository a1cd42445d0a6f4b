import { duration, maybe } from "../config/mod.ts";
import { LIMITS } from "../protocol/mod.ts";

/** What every command has that may wait for an event's end. */
export const WAIT_SETTINGS = {
  wait: maybe({ describe: "Wait for the end and show the way there; without it only on a terminal", flagOnly: true }),
  "wait-timeout": duration({ describe: "How long to wait at most", min: 1, max: LIMITS.ttlMaxMs, flagOnly: true }),
} as const;
