import { atLeast, atMost, type Figure } from "./figures.ts";
import type { BurstResult, ClosedResult, IntakeResult } from "./load.ts";
import { percentile } from "./proc.ts";
import type { Wire } from "./swarm.ts";
import type { Service, Workbench } from "./workbench.ts";

const PART = "Control plane under load (POST /events, five statuses each)";
const PHASE_MS = 2;
/** What 0.1 took for the same, measured on a machine of this kind. */
const CPU_US_0_1 = 1020;

/** Fails unless every event that was sent is completed by the control plane's own count: a figure for lost work is worth nothing. */
async function demandCompleted(cp: Service, expected: number): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const { events } = (await (await fetch(`${cp.url}/metrics`)).json()) as {
      readonly events: { readonly completed: number; readonly total: number };
    };
    if (events.completed === expected && events.total === expected) return;
    if (attempt === 100) throw new Error(`${expected} events were sent, ${events.total} are known and ${events.completed} completed`);
    await Bun.sleep(50);
  }
}

function mean(results: readonly ClosedResult[], of: (result: ClosedResult) => number): number {
  return results.reduce((sum, result) => sum + of(result), 0) / results.length;
}

/** Throughput and CPU of the control plane, beside a bare loop that does the same and nothing else. */
export async function throughput(bench: Workbench): Promise<Figure[]> {
  const [events, warmUp] = [bench.count(15_000, 1_000), bench.count(5_000, 500)];
  const closed = (target: Service, wire: Wire): Promise<ClosedResult> => {
    // A 0.1 agent is given one event at a time, so it takes more of them to keep as much going.
    const [agents, unfinished] = wire === "0.1" ? [100, 100] : [50, 600];
    return bench.load(target, { mode: "closed", agents, unfinished, wire, phaseMs: PHASE_MS, events, warmUp });
  };
  const bare: ClosedResult[] = [];
  const ours: ClosedResult[] = [];
  for (let round = 0; round < bench.count(2, 1); round += 1) {
    const loop = await bench.startBareLoop();
    bare.push(await closed(loop, "protocol-2"));
    await loop.stop();
    const cp = await bench.startControlPlane();
    ours.push(await closed(cp, "protocol-2"));
    await demandCompleted(cp, events + warmUp);
    await cp.stop();
  }
  const old = await bench.startControlPlane();
  const with01 = await closed(old, "0.1");
  await demandCompleted(old, events + warmUp);
  await old.stop();
  const cp = await bench.startControlPlane();
  const burstEvents = bench.count(10_000, 1_000);
  const burst: BurstResult = await bench.load(cp, {
    mode: "burst",
    agents: 50,
    wire: "protocol-2",
    phaseMs: PHASE_MS,
    events: burstEvents,
    connections: 64,
  });
  await demandCompleted(cp, burstEvents);
  await cp.stop();
  const [cpuUs, bareUs] = [mean(ours, (one) => one.serverCpuUs), mean(bare, (one) => one.serverCpuUs)];
  const loadUs = mean(ours, (one) => one.loadCpuUs);
  return [
    { part: PART, name: "events durable and finished", value: mean(ours, (one) => one.perSecond), unit: "/s" },
    {
      part: PART,
      name: "CPU of the control plane per event",
      value: cpuUs,
      unit: "µs",
      bar: atMost(cpuUs, 150, "µs"),
      note: `0.1: ${CPU_US_0_1}; the load itself took ${loadUs.toFixed(0)}`,
    },
    { part: PART, name: "bare loop: events durable and finished", value: mean(bare, (one) => one.perSecond), unit: "/s" },
    { part: PART, name: "bare loop: CPU per event", value: bareUs, unit: "µs" },
    {
      part: PART,
      name: "control plane to bare loop, CPU",
      value: cpuUs / bareUs,
      unit: "times",
      note: "an aim of 150 µs against a loop of 100 is 1.5 times",
    },
    {
      part: PART,
      name: "with 0.1 agents: events finished",
      value: with01.perSecond,
      unit: "/s",
      note: "one event at a time for each of 100",
    },
    { part: PART, name: "with 0.1 agents: CPU per event", value: with01.serverCpuUs, unit: "µs" },
    {
      part: PART,
      name: `burst of ${burstEvents}: accepted`,
      value: burst.acceptedPerSecond,
      unit: "/s",
      note: "64 connections, nobody waits for the agents",
    },
    {
      part: PART,
      name: `burst of ${burstEvents}: finished`,
      value: burst.finishedPerSecond,
      unit: "/s",
      note: "first POST to last status",
    },
  ];
}

const DOOR = "The door alone (POST /events for agents that are not there)";

/** How many events a second are durable, beside the bare loop in the same run. */
export async function intake(bench: Workbench): Promise<Figure[]> {
  const at = async (target: Service): Promise<IntakeResult> => {
    const result: IntakeResult = await bench.load(target, {
      mode: "intake",
      agents: 50,
      wire: "protocol-2",
      phaseMs: PHASE_MS,
      events: bench.count(40_000, 2_000),
      warmUp: bench.count(10_000, 500),
      connections: 256,
    });
    await target.stop();
    return result;
  };
  const bare: IntakeResult[] = [];
  const ours: IntakeResult[] = [];
  for (let round = 0; round < bench.count(2, 1); round += 1) {
    bare.push(await at(await bench.startBareLoop()));
    ours.push(await at(await bench.startControlPlane()));
  }
  const of = (results: readonly IntakeResult[], read: (one: IntakeResult) => number): number =>
    results.reduce((sum, one) => sum + read(one), 0) / results.length;
  const [rate, bareRate] = [of(ours, (one) => one.acceptedPerSecond), of(bare, (one) => one.acceptedPerSecond)];
  return [
    {
      part: DOOR,
      name: "accepted durable",
      value: rate,
      unit: "/s",
      bar: atLeast(rate, 20_000, "/s"),
      note: `256 connections; p99 ${percentile(
        ours.flatMap((one) => one.latenciesMs),
        0.99,
      ).toFixed(1)} ms; the load itself took ${of(ours, (one) => one.loadCpuUs).toFixed(0)} µs each`,
    },
    { part: DOOR, name: "CPU of the control plane", value: of(ours, (one) => one.serverCpuUs), unit: "µs" },
    { part: DOOR, name: "bare loop: accepted durable", value: bareRate, unit: "/s" },
    { part: DOOR, name: "bare loop: CPU", value: of(bare, (one) => one.serverCpuUs), unit: "µs" },
    {
      part: DOOR,
      name: "control plane to bare loop, rate",
      value: rate / bareRate,
      unit: "times",
      bar: atLeast(rate / bareRate, 0.5, "times"),
    },
  ];
}
