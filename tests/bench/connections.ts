import { readFileSync } from "node:fs";
import { startRedis } from "../support/redis.ts";
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

interface Held {
  readonly agents: number;
  readonly wanted: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Percent of a core, while nothing but heartbeats happens: of the control plane, and of the server behind its store. */
  readonly cpuShare: number;
  readonly storeCpuShare: number;
  readonly registeredPerSecond: number;
}

async function held(bench: Workbench, args: readonly string[], storePid?: number): Promise<Held> {
  const wanted = bench.count(5_000, 300);
  const agents = Math.min(wanted, openFilesAllowed() - 200);
  const cp = await bench.startControlPlane(args);
  await fetch(`${cp.url}/health`);
  await Bun.sleep(bench.count(3_000, 1_000));
  const bytesBefore = memoryOf(cp.pid).rssBytes;
  const half = Math.ceil(agents / 2);
  const startedMs = performance.now();
  const ends = [await bench.hold(cp, half, HEARTBEAT_MS, "left"), await bench.hold(cp, agents - half, HEARTBEAT_MS, "right")];
  const connectedMs = performance.now() - startedMs;
  // Every agent has sent at least one heartbeat, and what its registration left behind has had time to go.
  await Bun.sleep(bench.count(HEARTBEAT_MS * 2, 2_000));
  const storeUs = (): number => (storePid === undefined ? 0 : cpuUs(storePid));
  const [cpuBefore, storeBefore] = [cpuUs(cp.pid), storeUs()];
  const watchedMs = bench.count(5_000, 1_000);
  await Bun.sleep(watchedMs);
  const cpuShare = (cpuUs(cp.pid) - cpuBefore) / (watchedMs * 10);
  const storeCpuShare = (storeUs() - storeBefore) / (watchedMs * 10);
  const { agent_count: counted } = (await (await fetch(`${cp.url}/health`)).json()) as { readonly agent_count: number };
  if (counted !== agents) throw new Error(`${agents} agents connected, the control plane counts ${counted}`);
  const bytesAfter = memoryOf(cp.pid).rssBytes;
  for (const end of ends) await end();
  await cp.stop();
  return { agents, wanted, bytesBefore, bytesAfter, cpuShare, storeCpuShare, registeredPerSecond: agents / (connectedMs / 1000) };
}

function figuresOf(
  { agents, wanted, bytesBefore, bytesAfter, cpuShare, storeCpuShare, registeredPerSecond }: Held,
  where: "" | "on Redis: ",
): Figure[] {
  const kib = (bytesAfter - bytesBefore) / agents / 1024;
  const fewer = agents < wanted ? `; only ${agents} of ${wanted}, as the limit of open files is low` : "";
  const beside = where === "" ? "" : `; ${storeCpuShare.toFixed(2)} of Redis`;
  return [
    {
      part: PART,
      name: `${where}memory for each of ${agents.toLocaleString("en")} agents`,
      value: kib,
      unit: "KiB",
      bar: atMost(kib, 10, "KiB"),
      note: `0.1: ${KIB_0_1}; RSS ${(bytesBefore / 2 ** 20).toFixed(0)} MiB before, ${(bytesAfter / 2 ** 20).toFixed(0)} MiB with them${fewer}`,
    },
    {
      part: PART,
      name: `${where}CPU of the control plane meanwhile`,
      value: cpuShare,
      unit: "% of a core",
      note: `a heartbeat each 10 s of each${beside}`,
    },
    {
      part: PART,
      name: `${where}registrations`,
      value: registeredPerSecond,
      unit: "/s",
      note: "each written down with its audit entry",
    },
  ];
}

/** What a connected agent costs the control plane while nothing but heartbeats happens. */
export async function connections(bench: Workbench): Promise<Figure[]> {
  const onSqlite = await held(bench, []);
  await using redis = await startRedis();
  const onRedis = await held(bench, ["--store", redis.url], redis.pid);
  return [...figuresOf(onSqlite, ""), ...figuresOf(onRedis, "on Redis: ")];
}
