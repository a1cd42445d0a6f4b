import { expect, test } from "bun:test";
import type { Clock } from "../../kit/mod.ts";
import { Tidy } from "./tidy.ts";

test("collects after many answers, and the less often the longer it takes", () => {
  let nowMs = 1_000;
  const clock: Clock = { now: () => 0, monotonic: () => nowMs };
  let collected = 0;
  const tidy = new Tidy(clock, () => {
    collected += 1;
    nowMs += 10;
  });
  const answers = (count: number): void => {
    for (let nth = 0; nth < count; nth += 1) tidy.answered();
  };
  answers(249);
  expect(collected).toBe(0);
  answers(1);
  expect(collected).toBe(1);
  nowMs += 199;
  answers(1_000);
  expect(collected).toBe(1);
  nowMs += 1;
  answers(1);
  expect(collected).toBe(2);
});
