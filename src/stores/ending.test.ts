import { describe, expect, test } from "bun:test";
import { LIMITS } from "../protocol/mod.ts";
import { dueAtMs, GRACE_MS, unknownOutcome } from "./ending.ts";

describe("when a delivery is due", () => {
  const base = { expiresAtMs: 1000.4, startedAtMs: undefined, deadlineMs: undefined } as const;

  test("waiting: at its TTL; handed over: that and the grace; whole milliseconds, never early", () => {
    expect(dueAtMs({ ...base, state: "created" })).toBe(1001);
    expect(dueAtMs({ ...base, state: "queued" })).toBe(1001);
    expect(dueAtMs({ ...base, state: "assigned" })).toBe(1001 + GRACE_MS);
  });

  test("running: its deadline, or the usual one, counted from its start, and the grace", () => {
    expect(dueAtMs({ ...base, state: "in_progress", startedAtMs: 500, deadlineMs: 100.5 })).toBe(601 + GRACE_MS);
    expect(dueAtMs({ ...base, state: "in_progress", startedAtMs: 500 })).toBe(500 + LIMITS.deadlineDefaultMs + GRACE_MS);
  });

  test("an unknown outcome has a code and a reason", () => {
    expect(unknownOutcome(0, "nobody knows")).toEqual({
      message: "Outcome unknown: nobody knows",
      result: {
        success: false,
        error_code: "OUTCOME_UNKNOWN",
        error_message: "Outcome unknown: nobody knows",
        completed_at: "1970-01-01T00:00:00.000Z",
      },
    });
  });
});
