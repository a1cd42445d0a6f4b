import { livezP99, storm as reconnect } from "../storm/storm.ts";
import { atMost, below, type Figure } from "./figures.ts";
import type { Workbench } from "./workbench.ts";

const PART = "A control plane is killed, and all agents come back";
const MIB = 2 ** 20;

/** What a kill -9 of the control plane costs when all of its agents come back at once. */
export async function storm(bench: Workbench): Promise<Figure[]> {
  const agents = bench.count(10_000, 500);
  const result = await reconnect({ agents, compiled: bench.compiled });
  const faults = result.livezFaults.length === 0 ? "" : `; ${result.livezFaults.length} times no answer`;
  const p99 = livezP99(result);
  const peak = result.peakBytes / MIB;
  return [
    {
      part: PART,
      name: `${agents.toLocaleString("en")} agents are registered again`,
      value: result.backMs / 1000,
      unit: "s",
      bar: atMost(result.backMs / 1000, 10, "s"),
      note: `after it listens again, ${result.downMs} ms after its death; it counts ${result.counted.toLocaleString("en")}`,
    },
    {
      part: PART,
      name: "/livez meanwhile, p99",
      value: p99,
      unit: "ms",
      bar: below(p99, 250, "ms"),
      note: `asked every 20 ms, ${result.livezMs.length} times, most ${Math.max(...result.livezMs).toFixed(0)} ms${faults}`,
    },
    { part: PART, name: "memory of the control plane, most", value: peak, unit: "MiB", bar: below(peak, 400, "MiB") },
  ];
}
