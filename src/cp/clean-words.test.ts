import { expect, test } from "bun:test";
import type { StatusUpdate } from "../protocol/mod.ts";
import { cleanWords } from "./clean-words.ts";

const SAID = "dial failed: password=hunter2";
const CLEAN = "dial failed: password=[redacted]";
const update = (state: StatusUpdate["state"]): StatusUpdate => ({
  type: "status_update",
  agent_id: "a",
  event_id: "e",
  state,
  phase: "failed",
  message: SAID,
  result: { success: false, error_message: SAID, resource_status: [{ kind: "Secret", name: "db", status: "failed", message: SAID }] },
});

test("what an agent says of a failure is kept without secrets", () => {
  expect(cleanWords(update("failed"))).toEqual({
    message: CLEAN,
    result: {
      success: false,
      error_message: CLEAN,
      resource_status: [{ kind: "Secret", name: "db", status: "failed", message: CLEAN }],
    },
  });
});

test("a result on the way is none, and words are bounded", () => {
  expect(cleanWords(update("in_progress"))).toEqual({ message: CLEAN, result: undefined });
  expect(cleanWords({ ...update("in_progress"), message: "x".repeat(100_000) }).message.length).toBeLessThan(50_000);
  expect(cleanWords({ ...update("in_progress"), message: undefined }).message).toBe("");
});
