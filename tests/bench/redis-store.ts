import { type RedisServer, startRedis } from "../support/redis.ts";
import type { Figure } from "./figures.ts";
import { benchStore } from "./store.ts";
import type { Workbench } from "./workbench.ts";

const PART = "The Redis store alone (in process, beside a redis-server)";

async function info(redis: RedisServer, field: string): Promise<number> {
  const found = new RegExp(`^${field}:(\\d+)`, "m").exec(await redis.cli("INFO", "everything"))?.[1];
  if (found === undefined) throw new Error(`INFO has no ${field}`);
  return Number(found);
}

/** What the driver costs, on our side and on Redis', and what Redis keeps of an event. */
export async function redisStore(bench: Workbench): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const appendfsync of ["everysec", "always"] as const) {
    // Its file is not rewritten on the way, so that its growth can be read.
    await using redis = await startRedis({ config: { appendfsync, "auto-aof-rewrite-percentage": "0" } });
    const events = bench.count(15_000, 1_000);
    const emptyBytes = await info(redis, "used_memory");
    const found = await benchStore({ url: redis.url, serverPid: redis.pid, events, concurrency: 256 });
    const kept = 3 * events + 2_000;
    const server = found.serverCpuUs ?? { accept: 0, handled: 0, apart: 0 };
    const name = `appendfsync ${appendfsync}`;
    figures.push(
      {
        part: PART,
        name: `${name}: events accepted`,
        value: found.acceptedPerSecond,
        unit: "/s",
        note: `${found.acceptCpuUs.toFixed(0)} µs of our CPU each, ${server.accept.toFixed(0)} of Redis`,
      },
      {
        part: PART,
        name: `${name}: events with their five statuses`,
        value: found.handledPerSecond,
        unit: "/s",
        note: `${found.handledCpuUs.toFixed(0)} µs of our CPU each, ${server.handled.toFixed(0)} of Redis`,
      },
      {
        part: PART,
        name: `${name}: the same, each status after the one before`,
        value: found.apartPerSecond,
        unit: "/s",
        note: `${found.apartCpuUs.toFixed(0)} µs of our CPU each, ${server.apart.toFixed(0)} of Redis`,
      },
      { part: PART, name: `${name}: longest wait for an answer`, value: found.slowestMs, unit: "ms" },
    );
    if (appendfsync === "always") continue;
    const bytes = ((await info(redis, "used_memory")) - emptyBytes) / kept;
    const written = await info(redis, "aof_current_size");
    await redis.cli("BGREWRITEAOF");
    while (!/aof_rewrite_in_progress:0[^]*aof_rewrite_scheduled:0/.test(await redis.cli("INFO", "persistence"))) await Bun.sleep(50);
    const rewritten = await info(redis, "aof_current_size");
    figures.push(
      {
        part: PART,
        name: "memory of Redis per event",
        value: bytes,
        unit: "bytes",
        note: "two of three with five statuses; with audit, indexes and a payload of 160 bytes that is the same for all",
      },
      { part: PART, name: "append-only file per event", value: written / kept, unit: "bytes", note: "as it grows" },
      { part: PART, name: "append-only file per event, rewritten", value: rewritten / kept, unit: "bytes" },
    );
  }
  return figures;
}
