import { describe, expect, test } from "bun:test";
import { Pace } from "./pace.ts";

function pace(most: number): { readonly pace: Pace; readonly clock: { ms: number } } {
  const clock = { ms: 10_000 };
  return { pace: new Pace(most, { now: () => clock.ms, monotonic: () => clock.ms }), clock };
}

/** Everything that can go on has gone on. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}

describe("the pace of requests", () => {
  test("halves for each burst that was refused, not for each request of it", () => {
    const { pace: it, clock } = pace(32);
    for (let request = 0; request < 30; request += 1) it.refused(clock.ms - 5);
    expect(it.size).toBe(16);
    clock.ms += 10;
    it.refused(clock.ms - 1);
    expect(it.size).toBe(8);
    for (let burst = 0; burst < 10; burst += 1) {
      clock.ms += 10;
      it.refused(clock.ms);
    }
    expect(it.size).toBe(1);
  });

  test("grows again after a while without a refusal, and waits longer where that was too early", () => {
    const { pace: it, clock } = pace(32);
    it.refused(clock.ms);
    clock.ms += 999;
    it.taken();
    expect(it.size).toBe(16);
    clock.ms += 1;
    it.taken();
    expect(it.size).toBe(24);
    it.taken();
    expect(it.size).toBe(24);
    clock.ms += 10;
    it.refused(clock.ms);
    expect(it.size).toBe(12);
    clock.ms += 1_000;
    it.taken();
    expect(it.size).toBe(12);
    clock.ms += 1_000;
    it.taken();
    expect(it.size).toBe(18);
    for (let step = 0; step < 5; step += 1) {
      clock.ms += 2_000;
      it.taken();
    }
    expect(it.size).toBe(32);
    // All is well again: the next time it begins with the short rest.
    clock.ms += 10;
    it.refused(clock.ms);
    clock.ms += 1_000;
    it.taken();
    expect(it.size).toBe(24);
  });

  test("lets nobody in beyond what there is, and all that wait when there is more", async () => {
    const { pace: it, clock } = pace(4);
    const held = await Promise.all([it.acquire(), it.acquire(), it.acquire(), it.acquire()]);
    it.refused(clock.ms);
    let entered = 0;
    const waiting = [1, 2, 3].map(async () => {
      const release = await it.acquire();
      entered += 1;
      return release;
    });
    held[0]?.();
    held[1]?.();
    await settled();
    expect(entered).toBe(0);
    held[2]?.();
    await settled();
    expect(entered).toBe(1);
    clock.ms += 1_000;
    it.taken();
    await settled();
    expect(entered).toBe(2);
    held[3]?.();
    await settled();
    expect(entered).toBe(3);
    for (const release of await Promise.all(waiting)) release();
  });
});
