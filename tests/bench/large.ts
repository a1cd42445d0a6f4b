import { atMost, type Figure } from "./figures.ts";
import type { FloodResult, ProbeResult } from "./large-load.ts";
import { memoryOf, percentile } from "./proc.ts";
import type { Workbench } from "./workbench.ts";

const PART = "Large events (32 MiB, one after the other) beside small ones";
const LARGE_BYTES = 31 * 1024 * 1024;

/** What a small event waits for its answer while large ones are being taken in, and while nothing else is. */
export async function large(bench: Workbench): Promise<Figure[]> {
  const cp = await bench.startControlPlane();
  const seconds = bench.count(15, 3);
  const probe = (): Promise<ProbeResult> => bench.load<ProbeResult>(cp, { mode: "probe", perSecond: 200, seconds });
  const flood = (events: number, bytes: number): Promise<FloodResult> => bench.load<FloodResult>(cp, { mode: "flood", events, bytes });
  // A control plane that has run for a while has compiled what it does, and started its worker.
  await flood(1, 2 * 1024 * 1024);
  const alone = await probe();
  const [beside, floods] = await Promise.all([probe(), flood(bench.count(12, 2), LARGE_BYTES)]);
  const { peakBytes } = memoryOf(cp.pid);
  await cp.stop();
  const [max, p99] = [Math.max(...beside.latenciesMs), percentile(beside.latenciesMs, 0.99)];
  const delay = max - percentile(alone.latenciesMs, 0.5);
  return [
    {
      part: PART,
      name: "small event alone: p99",
      value: percentile(alone.latenciesMs, 0.99),
      unit: "ms",
      note: `max ${Math.max(...alone.latenciesMs).toFixed(1)}`,
    },
    { part: PART, name: "small event beside: p50", value: percentile(beside.latenciesMs, 0.5), unit: "ms" },
    { part: PART, name: "small event beside: p99", value: p99, unit: "ms" },
    {
      part: PART,
      name: "longest delay of a small event",
      value: delay,
      unit: "ms",
      bar: atMost(delay, 50, "ms"),
      note: `its slowest answer less the median alone; ${beside.latenciesMs.length} events, the probe itself was late by at most ${beside.sentLateMaxMs.toFixed(1)}`,
    },
    {
      part: PART,
      name: "large event: POST to 202, median",
      value: percentile(floods.answeredMs, 0.5),
      unit: "ms",
      note: `${floods.answeredMs.length} of them`,
    },
    { part: PART, name: "control plane's memory, at most", value: peakBytes / 2 ** 20, unit: "MiB" },
  ];
}
