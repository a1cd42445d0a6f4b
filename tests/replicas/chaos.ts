import type { Mark } from "./journal.ts";
import type { ReplicaProcess, Site } from "./site.ts";

export interface ChaosOptions {
  readonly seconds: number;
  readonly killEveryMs: number;
  readonly redisRestarts: number;
  readonly natsRestarts: number;
  /** From 0 to below 1; who is hit. */
  readonly random: () => number;
}

interface Deed {
  readonly atMs: number;
  readonly run: () => Promise<void>;
}

/** When what happens; restarts of the servers lie between two kills. Pure. */
export function moments(options: Pick<ChaosOptions, "seconds" | "killEveryMs" | "redisRestarts" | "natsRestarts">): {
  readonly kills: readonly number[];
  readonly redis: readonly number[];
  readonly nats: readonly number[];
} {
  const totalMs = options.seconds * 1_000;
  const kills = Array.from({ length: Math.floor(totalMs / options.killEveryMs) }, (_, at) => (at + 1) * options.killEveryMs);
  const between = (count: number, shift: number): number[] =>
    Array.from({ length: count }, (_, at) => {
      const ideal = ((at + shift) / count) * totalMs;
      return (Math.floor(ideal / options.killEveryMs) + 0.5) * options.killEveryMs;
    });
  return { kills, redis: between(options.redisRestarts, 0.5), nats: between(options.natsRestarts, 0.7) };
}

function marker(site: Site): (what: Mark["what"], whom: string | number) => void {
  return (what, whom) => site.journal.mark(what, String(whom));
}

async function kill(site: Site, replica: ReplicaProcess): Promise<void> {
  marker(site)("kill", replica.port);
  replica.signal("SIGKILL");
  await replica.exited();
  await replica.start();
}

/** Does all that to the site, in its time. Rejects when something does not come back. */
export async function wreak(site: Site, options: ChaosOptions): Promise<void> {
  const mark = marker(site);
  const killOne = async (): Promise<void> => {
    const replica = site.replicas[Math.floor(options.random() * site.replicas.length)];
    if (replica !== undefined) await kill(site, replica);
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
    ...at.kills.map((atMs) => ({ atMs, run: killOne })),
    ...at.redis.map((atMs) => ({ atMs, run: restartRedis })),
    ...at.nats.map((atMs) => ({ atMs, run: restartNats })),
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

/**
 * One after the other stands still for longer than its lease, and goes on as if nothing had been; meanwhile another one is killed, so that for a
 * moment one in three is left.
 */
export async function freeze(site: Site, { stops, stopMs }: { readonly stops: number; readonly stopMs: number }): Promise<void> {
  const mark = marker(site);
  for (let at = 0; at < stops; at += 1) {
    const [replica, other] = [site.replicas[at % site.replicas.length], site.replicas[(at + 1) % site.replicas.length]];
    if (replica === undefined || other === undefined) return;
    mark("stop", replica.port);
    replica.signal("SIGSTOP");
    await Bun.sleep(stopMs / 4);
    if (other !== replica) await kill(site, other);
    await Bun.sleep((stopMs * 3) / 4);
    replica.signal("SIGCONT");
    mark("continue", replica.port);
    await Bun.sleep(stopMs / 2);
    await site.allReady(60_000);
  }
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
