import { expect } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openOutlet } from "../../src/queues/mod.ts";
import { openRedis, parseRedisUrl } from "../../src/redis/mod.ts";
import { startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { uniqueName } from "../support/kube.ts";
import { redisTest, sharedRedis } from "../support/redis.ts";

redisTest(
  "statuses and audit entries are published to two streams of a Redis, each once and in order, about as many as are to be kept",
  async () => {
    const { url } = await sharedRedis();
    const prefix = uniqueName("outlet");
    const address = `${url}/0?prefix=${prefix}&max-published=1000`;
    const link = await openRedis(parseRedisUrl(`${url}/0`), { ports: systemPorts, log: silentLogger, purpose: "test" });
    const open = () => openOutlet(address, { log: silentLogger, ports: systemPorts });
    const published = async (kind: string): Promise<{ readonly id: string; readonly type: string; readonly agent: string }[]> =>
      (await link.client.xrange(`{${prefix}}:published:${kind}`, "-", "+")).map(([, fields]) => {
        const at = (name: string): string => fields[fields.indexOf(name) + 1] ?? "";
        return { ...(JSON.parse(at("event")) as { id: string; type: string }), agent: at("agent") };
      });
    try {
      await using cp = await startCp({ outlet: { outlet: await open(), kinds: ["status", "audit"] } });
      for (const id of ["one", "two"])
        await fetch(`${cp.url}/events`, {
          method: "POST",
          body: JSON.stringify({ id, type: "k8s_resource", target_agent: "a", payload: { manifests: ["kind: X"] } }),
        });
      const statuses = await eventually(async () => {
        const all = await published("status");
        return all.length >= 2 && all;
      });
      expect(new Set(statuses.map(({ agent }) => agent))).toEqual(new Set(["a"]));
      expect((await eventually(async () => (await published("audit")).length >= 2 && published("audit")))[0]).toMatchObject({
        id: expect.any(String),
      });
      const again = await open();
      try {
        const event = { id: "mine", kind: "audit", agentId: undefined, body: '{"id":"mine"}' } as const;
        await again.emit([event, event]);
        await again.emit([event]);
        expect((await published("audit")).filter(({ id }) => id === "mine")).toHaveLength(1);
        const many = Array.from({ length: 5000 }, (_, index) => ({ ...event, id: `many-${index}`, body: `{"id":"many-${index}"}` }));
        await again.emit(many);
        const kept = await published("audit");
        expect(kept.length).toBeWithin(1000, 1500);
        expect(kept.at(-1)?.id).toBe("many-4999");
      } finally {
        await again.close();
      }
    } finally {
      await link.close();
    }
  },
);
