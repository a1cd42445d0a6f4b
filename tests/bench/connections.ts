import { readFileSync } from "node:fs";
import { atMost, type Figure } from "./figures.ts";
import { cpuUs, memoryOf } from "./proc.ts";
import type { Workbench } from "./workbench.ts";

const PART = "Many agents connected";
const HEARTBEAT_MS = 10_000;
/** What 0.1 took for each. */
const KIB_0_1 = 23;

function openFilesAllowed(): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? "1024";
  return hard === "unlimited" ? Number.POSITIVE_INFINITY : Number(hard);
}

/** What a connected agent costs the control plane while nothing but heartbeats happens. */
export async function connections(bench: Workbench): Promise<Figure[]> {
  const wanted = bench.count(5_000, 300);
  const agents = Math.min(wanted, openFilesAllowed() - 200);
  const cp = await bench.startControlPlane();
  await fetch(`${cp.url}/health`);
  await Bun.sleep(bench.count(3_000, 1_000));
  const before = memoryOf(cp.pid).rssBytes;
  const half = Math.ceil(agents / 2);
  const startedMs = performance.now();
  const ends = [await bench.hold(cp, half, HEARTBEAT_MS, "left"), await bench.hold(cp, agents - half, HEARTBEAT_MS, "right")];
  const connectedMs = performance.now() - startedMs;
  // Every agent has sent at least one heartbeat, and what its registration left behind has had time to go.
  await Bun.sleep(bench.count(HEARTBEAT_MS * 2, 2_000));
  const cpuBefore = cpuUs(cp.pid);
  const watchedMs = bench.count(5_000, 1_000);
  await Bun.sleep(watchedMs);
  const cpuShare = (cpuUs(cp.pid) - cpuBefore) / (watchedMs * 10);
  const { agent_count: counted } = (await (await fetch(`${cp.url}/health`)).json()) as { readonly agent_count: number };
  if (counted !== agents) throw new Error(`${agents} agents connected, the control plane counts ${counted}`);
  const after = memoryOf(cp.pid).rssBytes;
  for (const end of ends) await end();
  await cp.stop();
  const kib = (after - before) / agents / 1024;
  const fewer = agents < wanted ? `; only ${agents} of ${wanted}, as the limit of open files is low` : "";
  return [
    {
      part: PART,
      name: `memory for each of ${agents.toLocaleString("en")} agents`,
      value: kib,
      unit: "KiB",
      bar: atMost(kib, 10, "KiB"),
      note: `0.1: ${KIB_0_1}; RSS ${(before / 2 ** 20).toFixed(0)} MiB before, ${(after / 2 ** 20).toFixed(0)} MiB with them${fewer}`,
    },
    { part: PART, name: "CPU of the control plane meanwhile", value: cpuShare, unit: "% of a core", note: "a heartbeat each 10 s of each" },
    { part: PART, name: "registrations", value: agents / (connectedMs / 1000), unit: "/s", note: "each written down with its audit entry" },
  ];
}
