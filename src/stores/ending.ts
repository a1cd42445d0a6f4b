import { type EventResult, formatTimestamp, LIMITS, type State } from "../protocol/mod.ts";

/** How long after its end a delivery is left alone, so that an agent that was cut off can still say how it went. */
export const GRACE_MS = 30_000;

/** The message of an event whose TTL ran out before it was handed over. */
export const EXPIRED_MESSAGE = "Event expired (TTL exceeded)";
export const REMOVED_MESSAGE = "Event cancelled: the agent was removed";

/** The message of an event that was to be handed over at once and was not: others wait before it, or its agent is owned elsewhere by now. */
export const FENCED_MESSAGE = "Event queued: it could not be handed over at once";

/** When an open delivery must be looked at: an upper bound on its present state. Milliseconds since the epoch. */
export function dueAtMs(delivery: {
  readonly state: State;
  readonly expiresAtMs: number;
  readonly startedAtMs: number | undefined;
  readonly deadlineMs: number | undefined;
}): number {
  if (delivery.state === "in_progress" && delivery.startedAtMs !== undefined)
    return Math.ceil(delivery.startedAtMs + (delivery.deadlineMs ?? LIMITS.deadlineDefaultMs) + GRACE_MS);
  if (delivery.state === "assigned") return Math.ceil(delivery.expiresAtMs + GRACE_MS);
  return Math.ceil(delivery.expiresAtMs);
}

/** How a delivery ends that was handed over and never heard of again. */
export function unknownOutcome(nowMs: number, why: string): { readonly message: string; readonly result: EventResult } {
  const message = `Outcome unknown: ${why}`;
  return {
    message,
    result: { success: false, error_code: "OUTCOME_UNKNOWN", error_message: message, completed_at: formatTimestamp(nowMs) },
  };
}
