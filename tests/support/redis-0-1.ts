import { join } from "node:path";
import type { RedisServer } from "./redis.ts";

/** What lay in a Redis of 0.1, as it was recorded. */
export type FormerKeys = Readonly<
  Record<
    string,
    | { readonly type: "string"; readonly ttl_s_about?: number; readonly value: unknown }
    | { readonly type: "set" | "zset"; readonly members: readonly string[] }
    | { readonly type: "stream"; readonly entries: readonly string[] }
  >
>;

const RECORDING = join(import.meta.dir, "../fixtures/wire/redis-0.1.json");

export async function formerKeys(): Promise<FormerKeys> {
  return (await Bun.file(RECORDING).json()) as FormerKeys;
}

/** The hour in which it was recorded. */
export const RECORDED_HOUR = "2026-11-22T02:";

/** Puts the recording into a real server, as 0.1 had it there; answers what was put. `hour` (`2026-11-22T02:`) makes it of another time. */
export async function loadFormer(server: RedisServer, hour: string = RECORDED_HOUR): Promise<FormerKeys> {
  const keys = JSON.parse(JSON.stringify(await formerKeys()).replaceAll(RECORDED_HOUR, hour)) as FormerKeys;
  const cli = (...args: string[]): Promise<string> => server.cli(...args);
  for (const [key, kept] of Object.entries(keys)) {
    switch (kept.type) {
      case "string":
        await cli("SET", key, typeof kept.value === "string" ? kept.value : JSON.stringify(kept.value));
        if ((kept.ttl_s_about ?? -1) > 0) await cli("EXPIRE", key, String(kept.ttl_s_about));
        break;
      case "set":
        await cli("SADD", key, ...kept.members);
        break;
      case "zset":
        // As ZRANGE WITHSCORES tells them: a member, its score.
        for (let at = 0; at + 1 < kept.members.length; at += 2) await cli("ZADD", key, kept.members[at + 1] ?? "", kept.members[at] ?? "");
        break;
      case "stream":
        for (let at = 0; at + 2 < kept.entries.length; at += 3)
          await cli("XADD", key, kept.entries[at] ?? "", kept.entries[at + 1] ?? "", kept.entries[at + 2] ?? "");
    }
  }
  return keys;
}
