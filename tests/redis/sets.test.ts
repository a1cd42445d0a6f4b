import { expect } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openRedis, parseRedisUrl, type RedisLink } from "../../src/redis/mod.ts";
import { eventually } from "../support/eventually.ts";
import { redisTest } from "../support/redis.ts";
import { startSentinels } from "../support/redis-sets.ts";

function open(url: string): Promise<RedisLink> {
  return openRedis(parseRedisUrl(url), { ports: systemPorts, log: silentLogger, purpose: "test" });
}

redisTest(
  "a connection by sentinels follows the master, also where the old one only stands still",
  async () => {
    await using set = await startSentinels();
    const link = await open(set.url);
    const words = await link.duplicate({ purpose: "words" });
    const heard: string[] = [];
    try {
      words.client.on("message", (_channel: string, text: string) => heard.push(text));
      await words.client.subscribe("words");
      const old = await set.master();
      await link.client.set("before", "1");
      await link.client.wait(1, 1000);
      old.pause();
      await eventually(async () => (await link.client.set("after", "2")) === "OK", { timeoutMs: 20_000 });
      const now = await set.master();
      expect(now.port).not.toBe(old.port);
      expect(await now.cli("GET", "after")).toBe("2");
      expect(await link.client.get("before")).toBe("1");
      await eventually(async () => {
        await link.client.publish("words", "again");
        return heard.length > 0;
      });
      // Coming back it is told that it is a replica now, and nothing goes to it any more.
      old.resume();
      await eventually(() => set.inStep(), { timeoutMs: 30_000 });
      await eventually(async () => (await link.client.set("later", "3")) === "OK");
      expect(await now.cli("GET", "later")).toBe("3");
    } finally {
      await words.close();
      await link.close();
    }
  },
  90_000,
);
