/** Two rooms by themselves, without the rest of the program around them: their own benches say how. */
import { benchApply } from "./apply.ts";
import type { Figure } from "./figures.ts";
import { benchStore } from "./store.ts";
import type { Workbench } from "./workbench.ts";

export async function store(bench: Workbench): Promise<Figure[]> {
  const part = "The store alone (in process, sqlite, synchronous FULL)";
  const found = await benchStore({ events: bench.count(15_000, 1_000) });
  return [
    { part, name: "events accepted", value: found.acceptedPerSecond, unit: "/s", note: `${found.acceptCpuUs.toFixed(0)} µs of CPU each` },
    {
      part,
      name: "events with their five statuses",
      value: found.handledPerSecond,
      unit: "/s",
      note: `${found.handledCpuUs.toFixed(0)} µs of CPU each; ${found.apartCpuUs.toFixed(0)} with a transaction for each status`,
    },
    { part, name: "longest wait for a commit", value: found.slowestMs, unit: "ms" },
  ];
}

export async function apply(bench: Workbench): Promise<Figure[]> {
  const part = "The k8s room alone (in process, no control plane, no agent)";
  const rates = await benchApply({ objects: bench.count(300, 50), rounds: bench.count(3, 1), plainObjects: bench.count(30, 10) });
  return rates.map(({ name, objectsPerSecond, rounds, cpuMicrosPerObject }) => ({
    part,
    name,
    value: objectsPerSecond,
    unit: "objects/s",
    note:
      `rounds ${rounds.map((rate) => rate.toFixed(0)).join(", ")}` +
      (cpuMicrosPerObject === undefined ? "" : `; ${cpuMicrosPerObject.toFixed(0)} µs of our CPU each`),
  }));
}
