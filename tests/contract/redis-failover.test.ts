import { expect, test } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openStore } from "../../src/stores/mod.ts";
import { PROVE } from "../support/prove.ts";
import { SKIP_REDIS } from "../support/redis.ts";
import { startSentinels } from "../support/redis-sets.ts";
import { anAgent, anAudit } from "../support/store-inputs.ts";
import { expectIndexesRight } from "./redis-indexes.ts";
import { walk } from "./redis-walk.ts";

const EVENTS = 2_000;
const AT_ONCE = 40;

test.skipIf(SKIP_REDIS || !PROVE)(
  "the master is killed under load: with wait=1 nothing that was acknowledged is lost, and nothing happens twice",
  async () => {
    await using set = await startSentinels({ replicas: 2 });
    const store = await openStore(`${set.url}?prefix=failover&wait=1`, { ports: systemPorts, log: silentLogger });
    try {
      for (let at = 0; at < 8; at += 1) await store.claimAgent({ agent: anAgent(`agent-${at}`), replicaId: "r1", seenEpoch: 0 }, anAudit());
      const first = await set.master();
      const wrong: string[] = [];
      let next = 0;
      const lanes = Array.from({ length: AT_ONCE }, async () => {
        while (next < EVENTS) {
          const at = next;
          next += 1;
          if (at === EVENTS / 4) await first.kill("SIGKILL");
          wrong.push(...(await walk(store, `event-${at}`, `agent-${at % 8}`)));
        }
      });
      await Promise.all(lanes);
      expect(wrong).toEqual([]);
      const second = await set.master();
      expect(second.port).not.toBe(first.port);
      expect(await store.counters()).toMatchObject({ total: EVENTS, created: EVENTS, completed: EVENTS });
      expect(await store.lastSeq()).toBe(EVENTS * 6);
      expect(await expectIndexesRight(second, "failover")).toEqual({ events: EVENTS });
    } finally {
      await store.close();
    }
  },
  120_000,
);
