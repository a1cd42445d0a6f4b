import type { Mark } from "./journal.ts";
import type { ReplicaProcess, Site } from "./site.ts";

export interface ChaosOptions {
  readonly seconds: number;
  readonly killEveryMs: number;
  readonly redisRestarts: number;
  readonly natsRestarts: number;
  /** How often one is stopped for longer than its lease, and goes on. */
  readonly stops: number;
  readonly stopMs: number;
  /** From 0 to below 1; who is hit. */
  readonly random: () => number;
}

interface Deed {
  readonly atMs: number;
  readonly run: () => Promise<void>;
}

/** When what happens. Restarts of the servers lie between two kills, stops begin with a kill of somebody else close by. Pure. */
export function moments(options: Pick<ChaosOptions, "seconds" | "killEveryMs" | "redisRestarts" | "natsRestarts" | "stops">): {
  readonly kills: readonly number[];
  readonly redis: readonly number[];
  readonly nats: readonly number[];
  readonly stops: readonly number[];
} {
  const totalMs = options.seconds * 1_000;
  const kills = Array.from({ length: Math.floor(totalMs / options.killEveryMs) }, (_, at) => (at + 1) * options.killEveryMs);
  const between = (count: number, shift: number): number[] =>
    Array.from({ length: count }, (_, at) => {
      const ideal = ((at + shift) / count) * totalMs;
      return (Math.floor(ideal / options.killEveryMs) + 0.5) * options.killEveryMs;
    });
  return {
    kills,
    redis: between(options.redisRestarts, 0.5),
    nats: between(options.natsRestarts, 0.7),
    stops: between(options.stops, 0.3).map((atMs) => atMs + 500),
  };
}

/** Does all that to the site, in its time. Rejects when something does not come back. */
export async function wreak(site: Site, options: ChaosOptions): Promise<void> {
  const pick = (of: readonly ReplicaProcess[]): ReplicaProcess | undefined => of[Math.floor(options.random() * of.length)];
  const mark = (what: Mark["what"], whom: string | number): void => site.journal.mark(what, String(whom));
  const kill = async (): Promise<void> => {
    const replica = pick(site.replicas.filter(({ frozen }) => !frozen));
    if (replica === undefined) return;
    mark("kill", replica.port);
    replica.signal("SIGKILL");
    await replica.exited();
    await replica.start();
  };
  const freeze = async (): Promise<void> => {
    const replica = pick(site.replicas.filter(({ frozen, running }) => running && !frozen));
    if (replica === undefined) return;
    mark("stop", replica.port);
    replica.signal("SIGSTOP");
    await Bun.sleep(options.stopMs);
    replica.signal("SIGCONT");
    mark("continue", replica.port);
  };
  const restartRedis = async (): Promise<void> => {
    mark("redis-down", site.redis.port);
    await site.redis.kill();
    await site.redis.start();
    mark("redis-up", site.redis.port);
  };
  const restartNats = async (): Promise<void> => {
    mark("nats-down", site.nats.port);
    await site.nats.stop("SIGKILL");
    await site.nats.start();
    mark("nats-up", site.nats.port);
  };
  const at = moments(options);
  const deeds: Deed[] = [
    ...at.kills.map((atMs) => ({ atMs, run: kill })),
    ...at.redis.map((atMs) => ({ atMs, run: restartRedis })),
    ...at.nats.map((atMs) => ({ atMs, run: restartNats })),
    ...at.stops.map((atMs) => ({ atMs, run: freeze })),
  ];
  const startedMs = performance.now();
  await Promise.all(
    deeds.map(async ({ atMs, run }) => {
      await Bun.sleep(Math.max(0, atMs - (performance.now() - startedMs)));
      await run();
    }),
  );
  await Bun.sleep(Math.max(0, options.seconds * 1_000 - (performance.now() - startedMs)));
  await site.allReady(60_000);
}

/** Each in its turn is told to go, with all that it holds, and comes back: what a new version does to them. */
export async function roll(site: Site, settleMs: number): Promise<void> {
  for (const replica of site.replicas) {
    site.journal.mark("term", String(replica.port));
    replica.signal("SIGTERM");
    const code = await replica.exited();
    if (code !== 0) throw new Error(`a control plane ended with ${code} on SIGTERM:\n${await replica.lastLines(10)}`);
    await replica.start();
    await site.allReady(60_000);
    site.journal.mark("up", String(replica.port));
    await Bun.sleep(settleMs);
  }
}
