import { freePorts } from "../../sandbox/mod.ts";
import { eventually } from "./eventually.ts";
import { documentedRights, type RedisServer, startRedis } from "./redis.ts";

/** A master with replicas, watched by three sentinels. */
export interface SentinelSet extends AsyncDisposable {
  /** `redis+sentinel://…/watched`. */
  readonly url: string;
  /** With users, here and at the sentinels, that may do what docs/redis.md says and nothing else; has parameters. */
  readonly limitedUrl: string;
  readonly servers: readonly RedisServer[];
  readonly sentinels: readonly RedisServer[];
  /** The one that the sentinels say is the master now. */
  master(): Promise<RedisServer>;
  /** Whether the master has as many replicas as it should, all in step. */
  inStep(): Promise<boolean>;
}

async function disposeAll(servers: readonly RedisServer[]): Promise<void> {
  await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
}

/** `detectMs`: how long the master is silent before the sentinels take it for gone. */
export async function startSentinels(options: { readonly replicas?: number; readonly detectMs?: number } = {}): Promise<SentinelSet> {
  const { replicas = 1, detectMs = 1_000 } = options;
  const started: RedisServer[] = [];
  try {
    const config = { "min-replicas-max-lag": "2", user: `transporter on >secret ${await documentedRights()}` };
    const first = await startRedis({ config });
    started.push(first);
    for (let index = 0; index < replicas; index += 1)
      started.push(await startRedis({ config: { ...config, replicaof: `127.0.0.1 ${first.port}` } }));
    const servers = [...started];
    const sentinels = await Promise.all(
      [0, 1, 2].map(() =>
        startRedis({
          sentinel: true,
          config: {
            user: "looking on >secret +sentinel|get-master-addr-by-name +sentinel|sentinels +subscribe +ping +client|setname &+switch-master",
            sentinel: [
              `monitor watched 127.0.0.1 ${first.port} 2`,
              `down-after-milliseconds watched ${detectMs}`,
              "failover-timeout watched 5000",
              "parallel-syncs watched 5",
            ],
          },
        }),
      ),
    );
    started.push(...sentinels);
    // They tell each other of themselves every two seconds and look at replicas every ten; for tests that is long.
    for (const sentinel of sentinels)
      await sentinel.cli("SENTINEL", "DEBUG", "INFO-PERIOD", "300", "PUBLISH-PERIOD", "200", "PING-PERIOD", "200", "ASK-PERIOD", "200");
    const [asked] = sentinels;
    if (asked === undefined) throw new Error("no sentinel");
    const hosts = sentinels.map(({ port }) => `127.0.0.1:${port}`).join(",");
    const set: SentinelSet = {
      url: `redis+sentinel://${hosts}/watched`,
      limitedUrl: `redis+sentinel://transporter:secret@${hosts}/watched?sentinel-user=looking&sentinel-password=secret`,
      servers,
      sentinels,
      async master() {
        const answer = await asked.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "watched");
        const port = Number(answer.split("\n")[1]);
        const found = servers.find((server) => server.port === port);
        if (found === undefined) throw new Error(`the sentinels name ${answer}`);
        return found;
      },
      async inStep() {
        const info = await (await set.master()).cli("INFO", "replication");
        return (info.match(/state=online/g) ?? []).length >= replicas;
      },
      [Symbol.asyncDispose]: () => disposeAll(started),
    };
    await eventually(
      async () => {
        for (const sentinel of sentinels) {
          const master = await sentinel.cli("SENTINEL", "MASTER", "watched");
          const field = (name: string): number => Number(new RegExp(`^${name}\n(.*)$`, "m").exec(master)?.[1]);
          if (field("num-other-sentinels") !== 2 || field("num-slaves") !== replicas) return false;
        }
        return set.inStep();
      },
      { what: "the sentinels knowing each other and all replicas", timeoutMs: 30_000, everyMs: 50 },
    );
    return set;
  } catch (error) {
    await disposeAll(started);
    throw error;
  }
}

/** Three masters, each with a third of the slots. */
export interface RedisCluster extends AsyncDisposable {
  /** `redis+cluster://…`. */
  readonly url: string;
  /** With a user that may do what docs/redis.md says and nothing else. */
  readonly limitedUrl: string;
  readonly servers: readonly RedisServer[];
  /** The one that has this key. */
  ownerOf(key: string): Promise<RedisServer>;
}

const SLOTS = 16_384;

export async function startRedisCluster(): Promise<RedisCluster> {
  const servers: RedisServer[] = [];
  try {
    const user = `transporter on >secret ${await documentedRights()} +cluster|slots +cluster|info`;
    for (let index = 0; index < 3; index += 1)
      servers.push(
        await startRedis({
          config: { user, "cluster-enabled": "yes", "cluster-node-timeout": "2000", "cluster-port": String(freePorts(1)[0]) },
        }),
      );
    const [first] = servers;
    if (first === undefined) throw new Error("no server");
    const ranges = servers.map((_, index) => [Math.ceil((SLOTS / 3) * index), Math.ceil((SLOTS / 3) * (index + 1)) - 1] as const);
    await Promise.all(
      servers.map((server, index) => server.cli("CLUSTER", "ADDSLOTSRANGE", String(ranges[index]?.[0]), String(ranges[index]?.[1]))),
    );
    for (const server of servers.slice(1)) {
      const busPort = await server.cli("CONFIG", "GET", "cluster-port");
      await first.cli("CLUSTER", "MEET", "127.0.0.1", String(server.port), busPort.split("\n")[1] ?? "");
    }
    await eventually(
      async () => {
        const all = await Promise.all(servers.map((server) => server.cli("CLUSTER", "INFO")));
        return all.every((info) => info.includes("cluster_state:ok") && info.includes("cluster_known_nodes:3"));
      },
      { what: "the cluster being whole", timeoutMs: 30_000, everyMs: 50 },
    );
    const hosts = servers.map(({ port }) => `127.0.0.1:${port}`).join(",");
    return {
      url: `redis+cluster://${hosts}`,
      limitedUrl: `redis+cluster://transporter:secret@${hosts}`,
      servers,
      async ownerOf(key) {
        const slot = Number(await first.cli("CLUSTER", "KEYSLOT", key));
        const owner = servers[ranges.findIndex(([from, to]) => slot >= from && slot <= to)];
        if (owner === undefined) throw new Error(`nobody has slot ${slot}`);
        return owner;
      },
      [Symbol.asyncDispose]: () => disposeAll(servers),
    };
  } catch (error) {
    await disposeAll(servers);
    throw error;
  }
}
