import { describe, expect, test } from "bun:test";
import { forEachLimited, Limiter } from "./limiter.ts";

describe("the limiter", () => {
  test("hands places on in order, and gives back those of who did not want to wait", async () => {
    const limiter = new Limiter(1);
    const first = await limiter.acquire();
    const stop = new AbortController();
    const impatient = limiter.acquire(stop.signal).catch((error: unknown) => error);
    const patient = limiter.acquire();
    stop.abort(new Error("enough"));
    expect(await impatient).toEqual(new Error("enough"));
    first();
    // Twice given back is still one place.
    first();
    const second = await patient;
    let third = false;
    const waiting = limiter.acquire().then((release) => {
      third = true;
      return release;
    });
    await Promise.resolve();
    expect(third).toBe(false);
    second();
    (await waiting)();
  });

  test("does everything at its width, and stops starting after a failure", async () => {
    let running = 0;
    let most = 0;
    const done: number[] = [];
    await forEachLimited(
      Array.from({ length: 20 }, (_, index) => index),
      4,
      async (index) => {
        running += 1;
        most = Math.max(most, running);
        await Promise.resolve();
        running -= 1;
        done.push(index);
      },
    );
    expect([most, done.length]).toEqual([4, 20]);
    let started = 0;
    const failed = forEachLimited(
      Array.from({ length: 20 }, (_, index) => index),
      2,
      async () => {
        started += 1;
        await Promise.resolve();
        throw new Error("no");
      },
    );
    expect(await failed.catch((error: unknown) => error)).toEqual(new Error("no"));
    expect(started).toBe(2);
  });
});
