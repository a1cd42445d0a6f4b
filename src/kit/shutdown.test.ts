import { expect, test } from "bun:test";
import { Backoff, isRetryable, Shutdown, silentLogger, systemPorts, toTransporterError, TransporterError } from "./mod.ts";

test("parts end in the reverse order, a failing one does not keep the others", async () => {
  const order: string[] = [];
  const shutdown = new Shutdown(silentLogger, systemPorts.timers);
  shutdown.add("store", () => void order.push("store"));
  shutdown.add("broken", () => {
    throw new Error("no");
  });
  shutdown.add("server", async () => {
    await Promise.resolve();
    order.push("server");
  });
  await Promise.all([shutdown.run(1000), shutdown.run(1000)]);
  expect(order).toEqual(["server", "store"]);
});

test("a part that hangs uses up the budget and no more", async () => {
  const order: string[] = [];
  const shutdown = new Shutdown(silentLogger, systemPorts.timers);
  shutdown.add("store", () => void order.push("store"));
  shutdown.add("hanging", () => new Promise<void>(() => undefined));
  await shutdown.run(20);
  expect(order).toEqual(["store"]);
});

test("backoff draws from a bound that doubles to its maximum, and begins again when reset", () => {
  const backoff = new Backoff({ firstMs: 200, maxMs: 1000 }, { float: () => 1 });
  expect([backoff.next(), backoff.next(), backoff.next(), backoff.next(), backoff.next()]).toEqual([200, 400, 800, 1000, 1000]);
  backoff.reset();
  expect(backoff.next()).toBe(200);
  expect(new Backoff({ firstMs: 200, maxMs: 1000 }, { float: () => 0 }).next()).toBe(0);
});

test("only what can heal is worth another try, and what is not ours is a bug", () => {
  expect(isRetryable(new TransporterError("STORE_UNAVAILABLE", "x"))).toBe(true);
  expect(isRetryable(new TransporterError("FORBIDDEN", "x"))).toBe(false);
  expect(toTransporterError(new TypeError("x"))).toMatchObject({ code: "INTERNAL", kind: "bug" });
});
