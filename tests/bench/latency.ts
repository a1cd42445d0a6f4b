import { atMost, below, type Figure } from "./figures.ts";
import type { OpenResult } from "./load.ts";
import { percentile } from "./proc.ts";
import type { Service, Workbench } from "./workbench.ts";

const PART = "From POST to the agent (arrival of the event's frame)";

interface Pool {
  readonly latenciesMs: number[];
  readonly cpuUs: number[];
  lateMs: number;
}

/** Rates, and how many agents are connected meanwhile: few events for each of many must not cost more than many for each of a few. */
const STEPS = [
  { perSecond: 200, agents: 100 },
  { perSecond: 200, agents: 5_000 },
  { perSecond: 2_000, agents: 100 },
  { perSecond: 2_000, agents: 5_000 },
] as const;

/** Latency at a steady rate, of the control plane and of the bare loop in turns, on the same disk. */
export async function latency(bench: Workbench): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const step of STEPS) {
    const { perSecond } = step;
    const agents = bench.count(step.agents, Math.min(step.agents, 200));
    const pools = { bare: emptyPool(), ours: emptyPool() };
    const seconds = perSecond === 200 ? bench.count(8, 2) : bench.count(4, 1);
    const judged = perSecond === 200 && step.agents === 100;
    for (let round = 0; round < (judged ? bench.count(3, 1) : 1); round += 1) {
      await into(pools.bare, bench, await bench.startBareLoop(), { perSecond, seconds, agents });
      await into(pools.ours, bench, await bench.startControlPlane(), { perSecond, seconds, agents });
    }
    const [p50, p99] = [percentile(pools.ours.latenciesMs, 0.5), percentile(pools.ours.latenciesMs, 0.99)];
    const [bare50, bare99] = [percentile(pools.bare.latenciesMs, 0.5), percentile(pools.bare.latenciesMs, 0.99)];
    const rate = `${perSecond.toLocaleString("en")}/s, ${agents.toLocaleString("en")} agents`;
    const [cpuUs, bareUs] = [mean(pools.ours.cpuUs), mean(pools.bare.cpuUs)];
    figures.push(
      {
        part: PART,
        name: `${rate}: p50`,
        value: p50,
        unit: "ms",
        ...(judged ? { bar: below(p50, 1, "ms") } : {}),
        note: `bare loop ${bare50.toFixed(2)}`,
      },
      {
        part: PART,
        name: `${rate}: p99`,
        value: p99,
        unit: "ms",
        ...(judged ? { bar: atMost(p99, 1.5 * bare99, "ms") } : {}),
        note: `bare loop ${bare99.toFixed(2)}, ${(p99 / bare99).toFixed(2)} times that; ${pools.ours.latenciesMs.length} events, the load was late by at most ${pools.ours.lateMs.toFixed(1)}`,
      },
      {
        part: PART,
        name: `${rate}: CPU per event`,
        value: cpuUs,
        unit: "µs",
        note: `bare loop ${bareUs.toFixed(0)}; the fewer share a commit, the more each costs`,
      },
    );
  }
  return figures;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, one) => sum + one, 0) / values.length;
}

function emptyPool(): Pool {
  return { latenciesMs: [], cpuUs: [], lateMs: 0 };
}

async function into(
  pool: Pool,
  bench: Workbench,
  target: Service,
  step: { readonly perSecond: number; readonly seconds: number; readonly agents: number },
): Promise<void> {
  const result: OpenResult = await bench.load(target, {
    mode: "open",
    wire: "protocol-2",
    phaseMs: 2,
    ...step,
    warmUp: bench.count(3_000, 300),
  });
  await target.stop();
  pool.latenciesMs.push(...result.latenciesMs);
  pool.cpuUs.push(result.serverCpuUs);
  pool.lateMs = Math.max(pool.lateMs, result.sentLateMaxMs);
}
