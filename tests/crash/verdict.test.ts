import { expect, test } from "bun:test";
import { type Change, type Intended, judgeEffects } from "./verdict.ts";

const wrote = (object: string, event: string, n: number): Change => ({ object, event, n, kind: "written" });
const intended: readonly Intended[] = [
  { event: "one", writes: [{ object: "chain", n: 1 }], effect: "all" },
  { event: "two", writes: [{ object: "chain", n: 2 }], effect: "all" },
  { event: "stopped", writes: [{ object: "own", n: 0 }], effect: "some" },
  { event: "expired", writes: [{ object: "never", n: 0 }], effect: "none" },
];
const clean = { lost: [], doubled: [], backwards: [], unasked: [] };

test("what was asked, once each and in order, is clean, whether or not what was stopped left something", () => {
  expect(judgeEffects([wrote("chain", "one", 1), wrote("chain", "two", 2)], intended)).toEqual(clean);
  expect(judgeEffects([wrote("own", "stopped", 0), wrote("chain", "one", 1), wrote("chain", "two", 2)], intended)).toEqual(clean);
});

test("each thing that must not be is seen", () => {
  expect(judgeEffects([wrote("chain", "one", 1)], intended).lost).toEqual(["chain by event two (n 2)"]);
  const again = judgeEffects([wrote("chain", "one", 1), wrote("chain", "one", 1), wrote("chain", "two", 2)], intended);
  expect(again.doubled).toEqual(["chain by event one (n 1)"]);
  const back = judgeEffects([wrote("chain", "two", 2), wrote("chain", "one", 1)], intended);
  expect(back.backwards).toEqual(["chain by event one (n 1) after n 2"]);
  const changes = [wrote("chain", "one", 1), wrote("chain", "two", 2)];
  expect(judgeEffects([...changes, wrote("never", "expired", 0)], intended).unasked).toHaveLength(1);
  expect(judgeEffects([...changes, wrote("chain", "stranger", 3)], intended).unasked).toHaveLength(1);
  // What was taken away after its event was told as ended, and comes back by that event, was carried out twice.
  const returned: Change[] = [wrote("own", "stopped", 0), { ...wrote("own", "stopped", 0), kind: "deleted" }, wrote("own", "stopped", 0)];
  expect(judgeEffects([...changes, ...returned], intended).doubled).toHaveLength(1);
});
