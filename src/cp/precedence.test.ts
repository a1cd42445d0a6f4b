import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { DispatchItem } from "../stores/mod.ts";
import { type Footprint, FootprintBudget, Precedence } from "./precedence.ts";

function itemOf(ord: number, footprint: Footprint): DispatchItem & { readonly footprint: Footprint } {
  return { delivery: { ord } as DispatchItem["delivery"], event: {} as DispatchItem["event"], payload: { text: "" }, footprint };
}
type Item = ReturnType<typeof itemOf>;

function over(waiting: () => readonly Item[], budget = new FootprintBudget(100_000), clock = { monotonic: () => 0 }): Precedence {
  return new Precedence({
    waiting: ({ afterOrd, beforeOrd, maxItems }) =>
      Promise.resolve(
        waiting()
          .filter(({ delivery }) => delivery.ord > afterOrd && delivery.ord < beforeOrd)
          .slice(0, maxItems),
      ),
    touches: (item) => (item as Item).footprint,
    budget,
    clock,
  });
}

const meet = (a: Footprint, b: Footprint): boolean =>
  a.writes.some((key) => b.writes.includes(key) || b.reads.includes(key)) || a.reads.some((key) => b.writes.includes(key));

describe("Precedence", () => {
  test("nothing overtakes what was accepted earlier and touches the same, whatever waits and whatever is wanted", async () => {
    const keys = fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ writes: keys, reads: keys }), { minLength: 1, maxLength: 140 }),
        fc.array(fc.nat(), { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 1, max: 9 }),
        async (footprints, picks, room) => {
          let waiting = footprints.map((footprint, at) => itemOf(at + 1, footprint));
          const precedence = over(() => waiting);
          const gone: Item[] = [];
          while (waiting.length > 0) {
            const wanted = [...new Set(picks.map((pick) => waiting[pick % waiting.length] as Item))];
            const chosen = (await precedence.clearTheWay(wanted, waiting, room)) as Item[];
            expect(chosen.length).toBeGreaterThan(0);
            expect(chosen.length).toBeLessThanOrEqual(room);
            for (const item of chosen) {
              waiting = waiting.filter((one) => one !== item);
              precedence.forget(item.delivery.ord);
              // Everything that still waits and was accepted earlier must have nothing in common with it.
              for (const other of waiting)
                if (other.delivery.ord < item.delivery.ord) expect(meet(other.footprint, item.footprint)).toBe(false);
              gone.push(item);
            }
          }
          expect(new Set(gone).size).toBe(footprints.length);
          expect(precedence.size).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });

  test("what waits no longer is not in the way, and what waits again is", async () => {
    const all = [itemOf(1, { writes: [1], reads: [] }), itemOf(2, { writes: [], reads: [] }), itemOf(3, { writes: [1], reads: [] })];
    let waiting = all;
    const precedence = over(() => waiting);
    const want = async (): Promise<number[]> => (await precedence.clearTheWay([all[2] as Item], [], 4)).map(({ delivery }) => delivery.ord);
    expect(await want()).toEqual([1, 3]);
    waiting = all.slice(1);
    expect(await want()).toEqual([3]);
    waiting = all;
    expect(await want()).toEqual([3]);
    precedence.lookAgain();
    expect(await want()).toEqual([1, 3]);
  });

  test("where nothing more can be remembered the oldest go, which overtake nobody", async () => {
    const all = Array.from({ length: 50 }, (_, at) => itemOf(at + 1, { writes: [at % 3], reads: [] }));
    const budget = new FootprintBudget(10);
    const precedence = over(() => all, budget);
    const chosen = await precedence.clearTheWay([all[49] as Item], all.slice(0, 5), 3);
    expect(chosen.map(({ delivery }) => delivery.ord)).toEqual([1, 2, 3]);
    precedence.clear();
    expect(Array.from({ length: 11 }, () => budget.take()).filter(Boolean)).toHaveLength(10);
  });

  test("where a look would take too long the oldest go, and the rest is looked through meanwhile", async () => {
    let nowMs = 0;
    const all = Array.from({ length: 500 }, (_, at) => itemOf(at + 1, { writes: [at % 250], reads: [] }));
    const precedence = over(() => all, undefined, { monotonic: () => (nowMs += 1_000) });
    const want = async (): Promise<number[]> =>
      (await precedence.clearTheWay([all[499] as Item], all.slice(0, 4), 2)).map(({ delivery }) => delivery.ord);
    expect(await want()).toEqual([1, 2]);
    for (let turn = 0; turn < 1_000 && precedence.size < 499; turn += 1) await Promise.resolve();
    expect(precedence.size).toBe(499);
    expect(await want()).toEqual([250, 500]);
  });

  test("nothing is remembered of what was looked through while everything was forgotten", async () => {
    const all = Array.from({ length: 500 }, (_, at) => itemOf(at + 1, { writes: [at], reads: [] }));
    const budget = new FootprintBudget(1_000);
    let nowMs = 0;
    const precedence = over(() => all, budget, { monotonic: () => (nowMs += 1_000) });
    await precedence.clearTheWay([all[499] as Item], all.slice(0, 4), 2);
    precedence.clear();
    for (let turn = 0; turn < 1_000; turn += 1) await Promise.resolve();
    expect(precedence.size).toBe(0);
    expect(Array.from({ length: 1_001 }, () => budget.take()).filter(Boolean)).toHaveLength(1_000);
  });
});
