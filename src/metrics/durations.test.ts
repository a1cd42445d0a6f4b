import { expect, test } from "bun:test";
import { Histogram, Registry } from "prom-client";
import { Durations } from "./durations.ts";

test("renders what the library's own histogram renders", async () => {
  const buckets = [0.001, 0.01, 0.1];
  const [ours, theirs] = [new Registry(), new Registry()];
  const durations = new Durations("d_seconds", "Time.", buckets);
  ours.registerMetric(durations as unknown as Histogram);
  const histogram = new Histogram({
    name: "d_seconds",
    help: "Time.",
    labelNames: ["route", "method", "status"],
    buckets,
    registers: [theirs],
  });
  const seen = [
    ["/a", "GET", 200, 0.0005],
    ["/a", "GET", 200, 0.001],
    ["/a", "GET", 200, 0.05],
    ["/a", "POST", 202, 7],
    ["/b", "GET", 404, 0.01],
    ["/a", "GET", 200, 0.1],
  ] as const;
  for (const [route, method, status, seconds] of seen) {
    durations.observe(route, method, status, seconds);
    histogram.observe({ route, method, status: String(status) }, seconds);
  }
  expect(await ours.metrics()).toBe(await theirs.metrics());
  expect(await ours.metrics()).toContain('d_seconds_bucket{le="0.001",route="/a",method="GET",status="200"} 2');
});
