import { expect } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openStore } from "../../src/stores/mod.ts";
import { eventually } from "../support/eventually.ts";
import { redisTest, startRedis } from "../support/redis.ts";
import { newEvent } from "../support/store-inputs.ts";

redisTest("a server that stands still costs the process no turn of its loop, and is used again when it goes on", async () => {
  await using redis = await startRedis();
  const store = await openStore(`${redis.url}/0?timeout=300ms`, { ports: systemPorts, log: silentLogger });
  let longestMs = 0;
  let lastMs = performance.now();
  const turn = (): void => {
    longestMs = Math.max(longestMs, performance.now() - lastMs);
    lastMs = performance.now();
  };
  const turning = setInterval(turn, 5);
  const asked: Promise<unknown>[] = [];
  const asking = setInterval(() => asked.push(store.createEvent(newEvent()).catch(() => undefined)), 5);
  try {
    await eventually(async () => (await store.counters()).total > 10, { what: "the first events" });
    redis.pause();
    await expect(store.createEvent(newEvent())).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    redis.resume();
    await eventually(async () => (await store.createEvent(newEvent())).kind === "created", { what: "an event after it" });
    clearInterval(asking);
    await Promise.all(asked);
    turn();
    expect(longestMs).toBeLessThan(1_000);
  } finally {
    clearInterval(asking);
    clearInterval(turning);
    redis.resume();
    await store.close();
  }
});
