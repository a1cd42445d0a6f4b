import { type RedisServer, startRedis } from "../support/redis.ts";
import { atMost, type Figure } from "./figures.ts";
import type { SharedResult } from "./load.ts";
import type { Service, Workbench } from "./workbench.ts";

const PART = "Several control planes on one Redis (POST to any of them, five statuses each)";
const SYNCS = ["everysec", "always"] as const;
/** What 0.1 took on Redis for the same five statuses, none of them durable. */
const CPU_US_0_1 = 1_000;

/** Fails unless every event that was sent is completed by the installation's own count. */
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

async function measure(bench: Workbench, replicas: number, redis: RedisServer | undefined): Promise<SharedResult> {
  const [events, warmUp] = [bench.count(12_000, 1_000), bench.count(4_000, 500)];
  const args = redis === undefined ? [] : ["--store", redis.url];
  const cps: Service[] = [];
  for (let at = 0; at < replicas; at += 1) cps.push(await bench.startControlPlane(args));
  const [first, ...more] = cps;
  if (first === undefined) throw new Error("there is no control plane to be measured");
  const result: SharedResult = await bench.load(first, {
    mode: "shared",
    more: more.map(({ url, pid }) => ({ url, pid })),
    ...(redis === undefined ? {} : { storePid: redis.pid }),
    agents: 60,
    wire: "protocol-2",
    phaseMs: 2,
    events,
    warmUp,
    unfinished: 600,
  });
  await demandCompleted(first, events + warmUp);
  await Promise.all(cps.map((cp) => cp.stop()));
  return result;
}

/** What one, two and three control planes carry on one Redis, beside one on SQLite in the same run. */
export async function replicas(bench: Workbench): Promise<Figure[]> {
  const figures: Figure[] = [];
  const sqlite = await measure(bench, 1, undefined);
  figures.push(
    { part: PART, name: "one on SQLite: events durable and finished", value: sqlite.perSecond, unit: "/s" },
    { part: PART, name: "one on SQLite: CPU of the control plane per event", value: sqlite.serverCpuUs, unit: "µs" },
  );
  for (const appendfsync of SYNCS)
    for (const count of [1, 2, 3]) {
      if (appendfsync === "always" && count === 2) continue;
      await using redis = await startRedis({ config: { appendfsync } });
      const result = await measure(bench, count, redis);
      const name = `${count} on Redis, appendfsync ${appendfsync}`;
      figures.push(
        {
          part: PART,
          name: `${name}: finished`,
          value: result.perSecond,
          unit: "/s",
          note: `${(result.perSecond / sqlite.perSecond).toFixed(2)} of one on SQLite; the load itself took ${result.loadCpuUs.toFixed(0)} µs each`,
        },
        {
          part: PART,
          name: `${name}: CPU of control planes per event`,
          value: result.serverCpuUs,
          unit: "µs",
          bar: atMost(result.serverCpuUs, 250, "µs"),
          note: `0.1: ${CPU_US_0_1}, nothing durable; ${(result.serverCpuUs / sqlite.serverCpuUs).toFixed(2)} of SQLite`,
        },
        {
          part: PART,
          name: `${name}: CPU of Redis per event`,
          value: result.storeCpuUs,
          unit: "µs",
          note: `one core of it carries ${(1e6 / result.storeCpuUs).toFixed(0)} events/s`,
        },
      );
    }
  return figures;
}
