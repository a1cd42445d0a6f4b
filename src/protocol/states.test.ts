import { describe, expect, test } from "bun:test";
import { isTerminal, judgeStatus, NEXT_STATES, OPEN_STATES, type State, StateSchema, TERMINAL_STATES } from "./mod.ts";

describe("the table of states", () => {
  test("divides all states into open and terminal ones", () => {
    expect([...OPEN_STATES, ...TERMINAL_STATES].toSorted()).toEqual([...StateSchema.options].toSorted());
    for (const state of TERMINAL_STATES) expect(isTerminal(state)).toBe(true);
    for (const state of OPEN_STATES) expect(isTerminal(state)).toBe(false);
  });

  test("leads every open state to an end", () => {
    for (const state of OPEN_STATES) expect(NEXT_STATES[state].some((next) => isTerminal(next))).toBe(true);
  });
});

describe("judgeStatus", () => {
  test.each([
    ["assigned", "in_progress", "apply"],
    ["in_progress", "in_progress", "apply"],
    ["queued", "in_progress", "apply"],
    ["assigned", "completed", "apply"],
    ["in_progress", "expired", "apply"],
    ["in_progress", "queued", "forbidden"],
    ["assigned", "cancelled", "apply"],
    ["in_progress", "cancelled", "apply"],
    ["assigned", "queued", "forbidden"],
    ["cancelled", "completed", "late"],
    ["completed", "failed", "late"],
    ["cancelled", "in_progress", "late"],
  ] as const)("%s then %s is %s", (state, reported, verdict) => {
    expect(judgeStatus({ state }, { state: reported })).toBe(verdict);
  });

  test("what was seen before in this boot is stale, even when it would be late", () => {
    for (const state of ["in_progress", "completed"] satisfies State[]) {
      expect(judgeStatus({ state, bootId: "b", seq: 4 }, { state: "completed", bootId: "b", seq: 4 })).toBe("stale");
    }
    expect(judgeStatus({ state: "in_progress", bootId: "b", seq: 4 }, { state: "completed", bootId: "b", seq: 5 })).toBe("apply");
  });

  test("what comes again of an earlier boot is stale, also after a newer one spoke", () => {
    const position = { state: "in_progress", bootId: "c", seq: 2, earlier: { b: 5 } } as const;
    expect(judgeStatus(position, { state: "in_progress", bootId: "b", seq: 5 })).toBe("stale");
    expect(judgeStatus(position, { state: "in_progress", bootId: "b", seq: 6 })).toBe("apply");
  });

  test("another boot counts from its own beginning, so that a lost ledger freezes nobody", () => {
    expect(judgeStatus({ state: "in_progress", bootId: "b", seq: 400 }, { state: "in_progress", bootId: "c", seq: 1 })).toBe("apply");
  });
});
