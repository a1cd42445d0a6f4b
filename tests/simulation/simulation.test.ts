import { expect, test } from "bun:test";
import { count } from "../support/prove.ts";
import { MISTAKES, type Plant, SKIPPED_STEPS } from "./planted.ts";
import { SHARED_MISTAKES } from "./planted-shared.ts";
import { runSeeds } from "./runner.ts";
import { simulate } from "./simulation.ts";

/** Bugs that need a rare mixture of events are found by then at the latest. */
const SEEDS_FOR_A_BUG = 600;

async function runs(options: { readonly seeds: number; readonly seconds: number; readonly replicas: number }): Promise<void> {
  const lines: string[] = [];
  const result = await runSeeds({
    from: 1,
    workers: 2,
    ...options,
    say: (line) => {
      lines.push(line);
      console.log(line);
    },
  });
  expect(result.failed.map(({ seed }) => seed)).toEqual([]);
  expect(result.missed).toEqual([]);
  expect({ good: result.good, last: lines.slice(-6) }).toMatchObject({ good: true });
}

// On a machine that is busy with other things as well an ordinary run must come to an end; it says how far it got.
test("nothing is lost, nothing happens twice and nothing goes back, whatever dies on the way", async () => {
  await runs({ seeds: count(12_000, 150_000), seconds: count(15, 4_000), replicas: 1 });
}, 7_200_000);

test("nor where several control planes share a store that breaks off, is away, forgets its last second or says nothing", async () => {
  await runs({ seeds: count(4_000, 40_000), seconds: count(12, 2_400), replicas: 3 });
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
  const shared = simulate(42, { replicas: 3 });
  simulate(42);
  expect(simulate(42, { replicas: 3 }).hash).toBe(shared.hash);
  expect(simulate(42, { replicas: 3, trace: true }).steps).toBe(shared.steps);
});

/** Runs seeds until one breaks a promise. */
function findIt(name: string, plant: Plant, replicas: number, from: number): void {
  for (let seed = from; seed < from + SEEDS_FOR_A_BUG; seed += 1) {
    const { violations } = simulate(seed, { plant, replicas });
    if (violations.length === 0) continue;
    console.log(`seed ${seed} finds that ${name}: ${violations[0]}`);
    return;
  }
  throw new Error(`${SEEDS_FOR_A_BUG} seeds do not notice that ${name}`);
}

test.each([...Object.entries(SKIPPED_STEPS), ...Object.entries(MISTAKES)])(
  "is found: %s",
  (name, plant) => findIt(name, plant, 1, 1),
  600_000,
);

test.each(Object.entries(SHARED_MISTAKES))("is found among several: %s", (name, { from, plant }) => findIt(name, plant, 3, from), 600_000);
