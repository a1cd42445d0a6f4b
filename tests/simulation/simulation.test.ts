import { expect, test } from "bun:test";
import { count } from "../support/prove.ts";
import { MISTAKES, SKIPPED_STEPS } from "./planted.ts";
import { runSeeds } from "./runner.ts";
import { simulate } from "./simulation.ts";

/** Bugs that need a rare mixture of events are found by then at the latest. */
const SEEDS_FOR_A_BUG = 600;

test("nothing is lost, nothing happens twice and nothing goes back, whatever dies on the way", async () => {
  const lines: string[] = [];
  const result = await runSeeds({
    from: 1,
    seeds: count(20_000, 200_000),
    workers: 2,
    // On a machine that is busy with other things as well an ordinary run must come to an end; it says how far it got.
    seconds: count(280, 5_400),
    say: (line) => {
      lines.push(line);
      console.log(line);
    },
  });
  expect(result.failed.map(({ seed }) => seed)).toEqual([]);
  expect(result.missed).toEqual([]);
  expect({ good: result.good, last: lines.slice(-6) }).toMatchObject({ good: true });
}, 7_200_000);

test("a seed replays exactly: with and without a trace, alone and after others", () => {
  const first = simulate(42);
  simulate(43);
  expect(simulate(42).hash).toBe(first.hash);
  const traced = [simulate(42, { trace: true }), simulate(42, { trace: true })];
  expect(traced[0]?.lines.length).toBeGreaterThan(100);
  expect(traced[1]?.lines).toEqual(traced[0]?.lines);
  expect(traced[0]?.steps).toBe(first.steps);
  expect(simulate(44).hash).not.toBe(first.hash);
});

test.each([...Object.entries(SKIPPED_STEPS), ...Object.entries(MISTAKES)])(
  "is found: %s",
  (name, plant) => {
    for (let seed = 1; seed <= SEEDS_FOR_A_BUG; seed += 1) {
      const { violations } = simulate(seed, { plant });
      if (violations.length === 0) continue;
      console.log(`seed ${seed} finds that ${name}: ${violations[0]}`);
      return;
    }
    throw new Error(`${SEEDS_FOR_A_BUG} seeds do not notice that ${name}`);
  },
  600_000,
);
