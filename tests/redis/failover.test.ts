import { expect } from "bun:test";
import { silentLogger, systemPorts, TransporterError } from "../../src/kit/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { eventually } from "../support/eventually.ts";
import { PROVE } from "../support/prove.ts";
import { redisTest } from "../support/redis.ts";
import { startRedisCluster, startSentinels } from "../support/redis-sets.ts";
import { newEvent, TENANT } from "../support/store-inputs.ts";

const open = (url: string): Promise<Store> => openStore(url, { ports: systemPorts, log: silentLogger });

/** Events without end, each asked again until it is acknowledged, as producers do; how they fared. */
class Load {
  readonly acknowledged: string[] = [];
  readonly refused = new Map<string, number>();
  readonly #store: Store;
  readonly #workers: Promise<void>[];
  #stopping = false;

  constructor(store: Store, workers: number) {
    this.#store = store;
    this.#workers = Array.from({ length: workers }, (_, index) => this.#work(index));
  }

  async #work(worker: number): Promise<void> {
    for (let at = 0; !this.#stopping; at += 1) {
      const id = `load-${worker}-${at}`;
      for (;;) {
        try {
          const outcome = await this.#store.createEvent(newEvent({ id, agentId: `agent-${worker}` }));
          expect(["created", "duplicate"]).toContain(outcome.kind);
          this.acknowledged.push(id);
          break;
        } catch (error) {
          if (!(error instanceof TransporterError)) throw error;
          this.refused.set(error.code, (this.refused.get(error.code) ?? 0) + 1);
          if (this.#stopping) return;
          await Bun.sleep(20);
        }
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#workers);
  }
}

/** Those that the store does not have. */
async function lost(store: Store, ids: readonly string[]): Promise<string[]> {
  const found = await Promise.all(ids.map((id) => store.contentDigest(TENANT, id)));
  return ids.filter((_, index) => found[index] === undefined);
}

redisTest(
  "a master that dies under load loses nothing that was acknowledged with wait=1, and the store goes on by itself",
  async () => {
    await using set = await startSentinels({ replicas: 2 });
    const store = await open(`${set.limitedUrl}&wait=1`);
    const findings = await store.inspect();
    expect(findings.find(({ name }) => name === "appendfsync")?.level).toBe("ok");
    const load = new Load(store, 16);
    try {
      for (let failover = 0; failover < (PROVE ? 5 : 1); failover += 1) {
        await eventually(() => set.inStep(), { timeoutMs: 60_000, what: "all replicas being in step" });
        const before = load.acknowledged.length;
        await eventually(() => load.acknowledged.length > before + 200, { timeoutMs: 30_000 });
        const old = await set.master();
        await old.kill();
        const lastBefore = load.acknowledged.length;
        await eventually(async () => (await set.master()).port !== old.port, { timeoutMs: 30_000, everyMs: 50, what: "the failover" });
        await eventually(() => load.acknowledged.length > lastBefore + 400, { timeoutMs: 30_000, what: "the store going on" });
        await old.start();
      }
      await load.stop();
      // While it was away nothing was said but that it is.
      expect([...load.refused.keys()].filter((code) => code !== "STORE_UNAVAILABLE")).toEqual([]);
      expect(await lost(store, load.acknowledged)).toEqual([]);
      expect(new Set(load.acknowledged).size).toBe(load.acknowledged.length);
      expect((await store.counters()).total).toBe(load.acknowledged.length);
    } finally {
      await load.stop();
      await store.close();
    }
  },
  PROVE ? 300_000 : 90_000,
);

redisTest(
  "a store in a Redis Cluster lies on one node, and goes on when that node was away",
  async () => {
    await using cluster = await startRedisCluster();
    const store = await open(cluster.limitedUrl);
    const load = new Load(store, 4);
    try {
      await eventually(() => load.acknowledged.length > 100);
      const owner = await cluster.ownerOf("{transporter}:n");
      for (const server of cluster.servers) {
        const keys = Number(await server.cli("DBSIZE"));
        if (server === owner) expect(keys).toBeGreaterThan(10);
        else expect(keys).toBe(0);
      }
      await owner.kill();
      await eventually(() => load.refused.has("STORE_UNAVAILABLE"), { timeoutMs: 20_000 });
      await owner.start();
      const before = load.acknowledged.length;
      await eventually(() => load.acknowledged.length > before + 100, { timeoutMs: 30_000 });
      await load.stop();
      expect(await lost(store, load.acknowledged)).toEqual([]);
      expect((await store.inspect()).find(({ name }) => name === "mode")).toBeUndefined();
    } finally {
      await load.stop();
      await store.close();
    }
  },
  90_000,
);
