import { expect } from "bun:test";
import { messageOf, silentLogger, systemPorts, TransporterError } from "../../src/kit/mod.ts";
import { openStore, type Store, type Word } from "../../src/stores/mod.ts";
import { eventually } from "../support/eventually.ts";
import { flakyProxy } from "../support/flaky-proxy.ts";
import { redisTest, type RedisServer, sharedRedis, startRedis } from "../support/redis.ts";
import { anAgent, anAudit, codeOf, newEvent, statusOf, T0, TENANT } from "../support/store-inputs.ts";
import { expectIndexesRight } from "./redis-indexes.ts";
import { walk } from "./redis-walk.ts";

let prefixes = 0;
const aPrefix = (): string => `faults-${process.pid}-${(prefixes += 1)}`;
const open = (server: Pick<RedisServer, "url">, prefix: string, more = ""): Promise<Store> =>
  openStore(`${server.url}?prefix=${prefix}${more}`, { ports: systemPorts, log: silentLogger });
const claim = (store: Store, id: string, replicaId = "r1") =>
  store.claimAgent({ agent: anAgent(id), replicaId, seenEpoch: 0 }, anAudit({ action: "claimed", agentId: id }));

redisTest(
  "a link that is cut again and again, in the middle of calls and of answers, makes nothing happen twice and nothing be lost",
  async () => {
    const server = await sharedRedis();
    const prefix = aPrefix();
    const proxy = await flakyProxy({ targetPort: server.port });
    const store = await open({ url: `redis://127.0.0.1:${proxy.port}` }, prefix);
    const direct = await open(server, prefix);
    try {
      for (let at = 0; at < 8; at += 1) await claim(store, `agent-${at}`);
      // Each connection breaks after some bytes: of what was asked, or of the answer, wherever in a call that is.
      let cuts = 0;
      proxy.cutAfterBytes = (connection) => {
        cuts += 1;
        return connection % 2 === 0 ? { down: 500 + ((connection * 7919) % 9000) } : { up: 2000 + ((connection * 104_729) % 90_000) };
      };
      proxy.cut();
      const walks = Array.from({ length: 400 }, (_, at) => walk(store, `event-${at}`, `agent-${at % 8}`));
      const wrong = (await Promise.all(walks)).flat();
      expect(wrong).toEqual([]);
      expect(cuts).toBeGreaterThan(20);
      expect(await direct.counters()).toMatchObject({ total: 400, created: 400, assigned: 400, in_progress: 400, completed: 400 });
      expect(await direct.openCounts()).toEqual({ queued: 0, inFlight: 0, byAgent: new Map() });
      // One entry for the hand-over and one for each status.
      expect(await direct.lastSeq()).toBe(2400);
      expect(await expectIndexesRight(server, prefix)).toEqual({ events: 400 });
    } finally {
      proxy.cutAfterBytes = undefined;
      await Promise.all([store.close(), direct.close()]);
      await proxy[Symbol.asyncDispose]();
    }
  },
);

redisTest("while Redis is away everything is refused at once, and goes on when it is back, with all that was acknowledged", async () => {
  await using server = await startRedis();
  const store = await open(server, "away");
  try {
    const acknowledged = new Set<string>();
    const until = { over: false };
    const taking = Array.from({ length: 8 }, async (_, lane) => {
      for (let at = 0; !until.over; at += 1) {
        const id = `event-${lane}-${at}`;
        try {
          if ((await store.createEvent(newEvent({ id }))).kind === "created") acknowledged.add(id);
        } catch (error) {
          if (!(error instanceof TransporterError) || error.code !== "STORE_UNAVAILABLE") throw error;
          await Bun.sleep(5);
        }
      }
    });
    await eventually(() => acknowledged.size > 200);
    await server.kill("SIGKILL");
    await eventually(async () => {
      const began = performance.now();
      return (await codeOf(store.counters())) === "STORE_UNAVAILABLE" && performance.now() - began < 50;
    });
    const before = acknowledged.size;
    await server.start();
    await eventually(() => acknowledged.size > before + 200);
    until.over = true;
    await Promise.all(taking);
    for (const id of acknowledged) expect(await store.contentDigest(TENANT, id)).toMatchObject({ state: "queued" });
    expect(await store.openCounts()).toMatchObject({ queued: (await expectIndexesRight(server, "away")).events });
  } finally {
    await store.close();
  }
});

redisTest("a script that the server forgot is given to it again, in the order asked", async () => {
  const server = await sharedRedis();
  const store = await open(server, aPrefix());
  try {
    const outcomes = Array.from({ length: 40 }, async (_, at) => {
      if (at === 20) await server.cli("SCRIPT", "FLUSH");
      const input = newEvent({ id: `event-${at}`, state: "assigned" });
      const created = store.createEvent(input);
      const status = store.applyStatus(statusOf(input, "completed"));
      return [(await created).kind, (await status).verdict];
    });
    for (const outcome of await Promise.all(outcomes)) expect(outcome).toEqual(["created", "apply"]);
  } finally {
    await store.close();
  }
});

redisTest("a call that is refused as a whole is no fault of what was asked for in it, which may be asked again", async () => {
  const server = await sharedRedis();
  const prefix = aPrefix();
  const store = await open(server, prefix);
  try {
    await store.createEvent(newEvent({ id: "before" }));
    const key = (await server.cli("KEYS", `{${prefix}}:c:*`)).trim();
    await server.cli("HINCRBY", key, "last", "1");
    // Its number was used, as far as the server knows, and there is no answer to it.
    expect(await codeOf(store.createEvent(newEvent({ id: "unlucky" })))).toBe("STORE_UNAVAILABLE");
    expect((await store.createEvent(newEvent({ id: "unlucky" }))).kind).toBe("created");
  } finally {
    await store.close();
  }
});

redisTest("out of memory it takes nothing and says so, reads and removes all the same, and goes on when there is room", async () => {
  await using server = await startRedis({ config: { appendonly: "no", save: '""' } });
  const store = await open(server, "full");
  try {
    for (let at = 0; at < 50; at += 1) {
      await store.createEvent(newEvent({ id: `done-${at}`, state: "assigned", payloadText: JSON.stringify("x".repeat(900)) }));
      await store.applyStatus(statusOf(newEvent({ id: `done-${at}` }), "completed"));
    }
    await server.cli("CONFIG", "SET", "maxmemory", "1mb");
    const [created, read, status] = await Promise.all([
      codeOf(store.createEvent(newEvent({ id: "too much" }))),
      store.getEvent(TENANT, "done-7", { payload: true, log: true }),
      codeOf(store.applyStatus(statusOf(newEvent({ id: "done-7" }), "completed"))),
    ]);
    expect([created, status]).toEqual(["STORE_FULL", "STORE_FULL"]);
    expect(read?.log.length).toBe(2);
    expect(await codeOf(store.ping())).toBe("STORE_FULL");
    expect((await store.listEvents({ tenant: TENANT, limit: 100 })).items.length).toBe(50);
    expect(await store.nextDueMs()).toBeUndefined();
    expect(await store.sweep({ finishedBeforeMs: T0 * 2, auditBeforeMs: 0, limit: 1000 })).toEqual({ events: 50, audit: 0, documents: 0 });
    await server.cli("CONFIG", "SET", "maxmemory", "0");
    expect((await store.createEvent(newEvent({ id: "too much" }))).kind).toBe("created");
    expect(await store.counters()).toMatchObject({ total: 51, completed: 50 });
    expect(await expectIndexesRight(server, "full")).toEqual({ events: 1 });
  } finally {
    await store.close();
  }
});

redisTest("a server that takes no writes for a while, as in a failover, is asked again, and nothing happens twice", async () => {
  await using server = await startRedis();
  const store = await open(server, "failover");
  try {
    await claim(store, "agent-1");
    const walks = Array.from({ length: 60 }, (_, at) => walk(store, `event-${at}`, "agent-1"));
    for (let times = 0; times < 3; times += 1) {
      await Bun.sleep(100);
      await server.cli("REPLICAOF", "127.0.0.1", "1");
      const during = store.createEvent(newEvent({ id: `during-${times}`, agentId: "agent-1" }));
      await Bun.sleep(200);
      await server.cli("REPLICAOF", "NO", "ONE");
      expect((await during).kind).toBe("created");
    }
    expect((await Promise.all(walks)).flat()).toEqual([]);
    expect(await store.counters()).toMatchObject({ total: 63, completed: 60, queued: 3 });
    expect(await expectIndexesRight(server, "failover")).toEqual({ events: 63 });
  } finally {
    await store.close();
  }
});

redisTest("a server that stands still is given up after some seconds, and what it does then all the same is done once", async () => {
  await using server = await startRedis();
  const store = await open(server, "still", "&timeout=500ms");
  try {
    await store.createEvent(newEvent({ id: "before" }));
    server.pause();
    const began = performance.now();
    const taken = Array.from({ length: 20 }, (_, at) => store.createEvent(newEvent({ id: `while-${at}` })));
    const codes = await Promise.all(taken.map((one) => codeOf(one)));
    expect(new Set(codes)).toEqual(new Set(["STORE_UNAVAILABLE"]));
    expect(performance.now() - began).toBeLessThan(8000);
    server.resume();
    await eventually(async () => (await codeOf(store.ping())) === "none");
    const again = await Promise.all(Array.from({ length: 20 }, (_, at) => store.createEvent(newEvent({ id: `while-${at}` }))));
    for (const { kind } of again) expect(["created", "duplicate"]).toContain(kind);
    expect(await store.counters()).toMatchObject({ total: 21 });
    expect(await expectIndexesRight(server, "still")).toEqual({ events: 21 });
  } finally {
    server.resume();
    await store.close();
  }
});

redisTest("a cluster keeps all keys of an installation together, and gets its script along", async () => {
  await using server = await startRedis({ config: { "cluster-enabled": "yes", "cluster-announce-ip": "127.0.0.1" } });
  await server.cli("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
  await eventually(async () => (await server.cli("CLUSTER", "INFO")).includes("cluster_state:ok"));
  const store = await open({ url: `redis+cluster://127.0.0.1:${server.port}` }, "clustered");
  try {
    await claim(store, "agent-1");
    expect((await Promise.all(Array.from({ length: 30 }, (_, at) => walk(store, `event-${at}`, "agent-1")))).flat()).toEqual([]);
    await server.cli("SCRIPT", "FLUSH");
    expect((await store.getEvent(TENANT, "event-7", { payload: true, log: true }))?.log.length).toBe(6);
    expect(await expectIndexesRight(server, "clustered")).toEqual({ events: 30 });
  } finally {
    await store.close();
  }
});

redisTest("a server that cannot write to its disk takes nothing, says so at once and is still read", async () => {
  await using server = await startRedis({ config: { appendonly: "no", save: "3600 1", "enable-protected-configs": "yes" } });
  const store = await open(server, "disk");
  try {
    await store.createEvent(newEvent({ id: "before" }));
    await server.cli("CONFIG", "SET", "dir", "/proc");
    await server.cli("BGSAVE");
    await eventually(async () => (await server.cli("INFO", "persistence")).includes("rdb_last_bgsave_status:err"));
    const began = performance.now();
    const [created, read] = await Promise.all([
      codeOf(store.createEvent(newEvent({ id: "refused" }))),
      store.getEvent(TENANT, "before", { payload: false, log: false }),
    ]);
    expect(created).toBe("STORE_UNAVAILABLE");
    expect(performance.now() - began).toBeLessThan(1000);
    expect(read?.summary.state).toBe("queued");
    await server.cli("CONFIG", "SET", "stop-writes-on-bgsave-error", "no");
    expect((await store.createEvent(newEvent({ id: "refused" }))).kind).toBe("created");
  } finally {
    await store.close();
  }
});

redisTest("too few replicas: nothing counts as accepted; with them everything does", async () => {
  await using master = await startRedis();
  const store = await open(master, "replicas", "&wait=1&timeout=400ms");
  try {
    const beganMs = performance.now();
    // Told as what it is: the server answers in time, so its connection is not given up.
    const own = async (): Promise<string> =>
      (await master.cli("CLIENT", "LIST"))
        .split("\n")
        .filter((line) => line.includes("name=transporter-store"))
        .map((line) => line.split(" ", 1)[0])
        .join();
    const before = await own();
    expect(await store.createEvent(newEvent({ id: "lonely" })).then(({ kind }) => kind, messageOf)).toContain("fewer than 1 replicas");
    expect(await own()).toBe(before);
    expect(performance.now() - beganMs).toBeLessThan(6000);
    await using replica = await startRedis({ config: { replicaof: `127.0.0.1 ${master.port}` } });
    await eventually(async () => (await replica.cli("INFO", "replication")).includes("master_link_status:up"), { timeoutMs: 20_000 });
    // Whether the one before happened was not known, and it did.
    expect(await store.createEvent(newEvent({ id: "lonely" }))).toEqual({ kind: "duplicate", state: "queued" });
    expect((await store.createEvent(newEvent({ id: "together" }))).kind).toBe("created");
    expect(await replica.cli("EXISTS", `{replicas}:e:7:default:together`)).toBe("1");
  } finally {
    await store.close();
  }
});

redisTest("two control planes: words come across, one's own do not, and a lost link is told", async () => {
  const server = await sharedRedis();
  const prefix = aPrefix();
  const proxy = await flakyProxy({ targetPort: server.port });
  const one = await open(server, prefix);
  const two = await open({ url: `redis://127.0.0.1:${proxy.port}` }, prefix);
  try {
    const heard = { one: [] as Word[], two: [] as Word[], gaps: 0 };
    one.hear({ words: (words) => heard.one.push(...words), gap: () => undefined });
    const stop = two.hear({ words: (words) => heard.two.push(...words), gap: () => (heard.gaps += 1) });
    await eventually(async () => {
      await one.setPaused(TENANT, "nobody", true, anAudit());
      await claim(one, "probe");
      return heard.two.length > 0;
    });
    heard.two.length = 0;
    await claim(one, "agent-1", "r1");
    const key = { tenant: TENANT, kind: "token", id: "a" };
    await one.writeDocument({ ...key, expect: 0, value: "v", expiresAtMs: undefined });
    await one.writeDocument({ ...key, id: "never", expect: 1, value: "v", expiresAtMs: undefined });
    await one.createEvent(newEvent({ id: "told" }));
    await eventually(() => heard.two.some((word) => word.kind === "entry"));
    expect(heard.two).toContainEqual({ kind: "claimed", agentId: "agent-1", epoch: 1, replicaId: "r1" });
    expect(heard.two).toContainEqual({ kind: "queued", agentId: "agent-1", priority: 0 });
    expect(heard.two).toContainEqual({ kind: "entry", eventId: "told" });
    expect(heard.two.filter(({ kind }) => kind === "document")).toEqual([{ kind: "document", document: key }]);
    expect(heard.one).toEqual([]);
    proxy.cut();
    await eventually(() => heard.gaps === 1);
    stop();
    await claim(one, "agent-1", "r2");
    await eventually(async () => (await two.getAgent(TENANT, "agent-1"))?.replicaId === "r2");
    expect(heard.two.filter((word) => word.kind === "claimed" && word.replicaId === "r2")).toEqual([]);
  } finally {
    await Promise.all([one.close(), two.close()]);
    await proxy[Symbol.asyncDispose]();
  }
});

redisTest("two control planes: who lost an agent writes nothing for it, and one that is killed loses its agents and its duty", async () => {
  const server = await sharedRedis();
  const prefix = aPrefix();
  const [one, two] = await Promise.all([open(server, prefix), open(server, prefix)]);
  const replica = (id: string) => ({ replica: { id, version: "t", address: "", startedAtMs: T0 }, ttlMs: 300, nowMs: T0 });
  try {
    await one.renewLease(replica("r1"));
    expect((await two.renewLease(replica("r2"))).replicas.map(({ id }) => id)).toEqual(["r1", "r2"]);
    const first = await claim(one, "agent-1", "r1");
    expect(await one.takeDuty("expiry", "r1", 300)).toBe(true);
    expect(await two.takeDuty("expiry", "r2", 300)).toBe(false);
    const input = newEvent({ id: "handed", state: "assigned", epoch: first.epoch });
    await one.createEvent(input);
    const second = await claim(two, "agent-1", "r2");
    expect(second).toEqual({ epoch: 2, paused: false, before: "r1" });
    expect(await one.applyStatus(statusOf(input, "completed", { epoch: 1 }))).toMatchObject({ verdict: "fenced" });
    expect(await two.applyStatus(statusOf(input, "completed", { epoch: 2 }))).toMatchObject({ verdict: "apply" });
    // r2 says nothing any more.
    const orphaned: string[] = [];
    await eventually(async () => {
      orphaned.push(...(await one.renewLease(replica("r1"))).orphaned.map(({ id }) => id));
      return orphaned.length > 0;
    });
    expect(orphaned).toEqual(["agent-1"]);
    expect(await one.getAgent(TENANT, "agent-1")).toMatchObject({ status: "disconnected", epoch: 2 });
    await eventually(() => two.takeDuty("expiry", "r2", 300));
    expect((await two.renewLease(replica("r2"))).lapsed).toBe(true);
  } finally {
    await Promise.all([one.close(), two.close()]);
  }
});

redisTest("pages neither repeat nor skip while others write, end and remove", async () => {
  const server = await sharedRedis();
  const prefix = aPrefix();
  const [store, other] = await Promise.all([open(server, prefix), open(server, prefix)]);
  try {
    const old = Array.from({ length: 600 }, (_, at) => newEvent({ id: `old-${at}`, state: "assigned" }));
    await Promise.all(old.map((input) => store.createEvent(input)));
    const until = { over: false };
    const writing = (async () => {
      for (let at = 0; !until.over; at += 1) {
        const input = newEvent({ id: `new-${at}`, state: "assigned" });
        await other.createEvent(input);
        await other.applyStatus(statusOf(input, "completed", { nowMs: T0 }));
        const ended = old[at % old.length];
        if (ended !== undefined) await other.applyStatus(statusOf(ended, "failed", { nowMs: T0 + 1e6 }));
        await other.sweep({ finishedBeforeMs: T0 + 1, auditBeforeMs: 0, limit: 10 });
      }
    })();
    for (const limit of [7, 50]) {
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await store.listEvents({ tenant: TENANT, limit, ...(cursor === undefined ? {} : { cursor }) });
        seen.push(...page.items.map(({ id }) => id).filter((id) => id.startsWith("old")));
        cursor = page.nextCursor;
      } while (cursor !== undefined);
      expect(seen).toEqual(old.map(({ event }) => event.id).toReversed());
    }
    until.over = true;
    await writing;
  } finally {
    await Promise.all([store.close(), other.close()]);
  }
});
