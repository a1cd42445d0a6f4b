import { describe, expect } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { runCli, temporaryDirectory } from "../support/cli.ts";
import { type RedisServer, redisTest, startRedis } from "../support/redis.ts";
import { loadFormer } from "../support/redis-0-1.ts";

interface Row {
  readonly kind: string;
  readonly found: number;
  readonly brought: number;
  readonly present: number;
  readonly unreadable: number;
}

async function migrate(
  server: RedisServer,
  store: string,
  ...more: string[]
): Promise<{ readonly rows: readonly Row[]; readonly err: string }> {
  const run = await runCli(["migrate", "--from-0.1", "--redis-addr", `127.0.0.1:${server.port}`, "--store", store, "-o", "json", ...more], {
    env: { HOME: server.directory },
  });
  expect(run.code).toBe(0);
  return { rows: (JSON.parse(run.out) as { items: Row[] }).items, err: run.err };
}

async function look<T>(url: string, use: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore(url, { ports: systemPorts, log: silentLogger });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

const tenant = "default";
const ALL = { payload: false, log: true } as const;
const FIRST = [
  { kind: "agents", found: 1, brought: 1, present: 0, unreadable: 0 },
  { kind: "events", found: 3, brought: 3, present: 0, unreadable: 0 },
  { kind: "audit", found: 4, brought: 4, present: 0, unreadable: 0 },
  { kind: "counters", found: 6, brought: 6, present: 0, unreadable: 0 },
];
const AGAIN = FIRST.map(({ kind, found }) => ({ kind, found, brought: 0, present: found, unreadable: 0 }));

/** Whether all that 0.1 left is in the store, once. */
async function checkBrought(url: string): Promise<void> {
  await look(url, async (store) => {
    const agent = await store.getAgent(tenant, "agent-cluster-agent-1");
    expect(agent).toMatchObject({
      status: "disconnected",
      paused: false,
      remoteAddress: "127.0.0.1:55044",
      connectedAtMs: Date.parse("2026-11-22T02:14:35.286Z"),
      registration: {
        cluster_name: "agent-cluster",
        cluster_provider: "kind",
        region: "local",
        capabilities: ["k8s_crud"],
        hostname: "agent-0",
      },
    });
    const done = await store.getEvent(tenant, "test-event-1770722316", ALL);
    expect(done?.summary).toMatchObject({
      state: "completed",
      phase: "completed",
      target_agent: "agent-cluster-agent-1",
      created_by: "manual-test",
      message: "Event completed successfully",
    });
    expect(done?.log.map(({ timestamp, state, phase, message }) => [timestamp, state, phase, message])).toEqual([
      ["2026-11-22T02:15:00.064561137Z", "assigned", "", "Event routed to agent"],
      ["2026-11-22T02:15:00.066394943Z", "in_progress", "received", "Event received, starting execution"],
      ["2026-11-22T02:15:00.066732175Z", "in_progress", "validating", "Validating event payload"],
      ["2026-11-22T02:15:00.06694391Z", "in_progress", "applying", "Applying changes to cluster"],
      ["2026-11-22T02:15:00.071897385Z", "in_progress", "verifying", "Verifying changes"],
      ["2026-11-22T02:15:01.071564092Z", "completed", "completed", "Event completed successfully"],
    ]);
    expect(done?.result).toMatchObject({ success: true, duration: 5_550_393, resource_status: [{ kind: "Namespace", status: "created" }] });
    expect((await store.getEvent(tenant, "bad-1", ALL))?.summary.state).toBe("failed");
    expect((await store.getEvent(tenant, "e", ALL))?.summary).toMatchObject({ state: "expired", message: "Event expired (TTL exceeded)" });
    const audit = await store.listAudit({ tenant, limit: 100 });
    expect(audit.items.map(({ timestamp, action, event_id, user }) => [timestamp.slice(0, 23), action, event_id, user])).toEqual([
      ["2026-11-22T02:15:02.079", "event_received_http", "3306b042-0307-4aaf-9119-38adac3d53fe", "cli"],
      ["2026-11-22T02:15:00.064", "event_received_http", "test-event-1770722316", "manual-test"],
      ["2026-11-22T02:14:57.028", "event_received_http", "8cccc30c-a101-46e9-bc31-f39ce896d29f", "cli"],
      ["2026-11-22T02:14:35.287", "agent_connected", undefined, undefined],
    ]);
    expect(await store.counters()).toMatchObject({ total: 5, created: 5, assigned: 4, completed: 1, failed: 1, expired: 1 });
    expect((await store.openCounts()).queued).toBe(0);
  });
}

describe("bringing what 0.1 left in its Redis", () => {
  redisTest("into a file: everything, once, however often it is run", async () => {
    await using server = await startRedis();
    await using directory = await temporaryDirectory();
    await loadFormer(server);
    const before = await server.cli("DBSIZE");
    const store = `sqlite:${directory.path}/cp.db`;

    const dry = await migrate(server, store, "--dry-run");
    expect(dry.rows).toEqual(FIRST);
    expect(dry.err).toContain("Nothing was written");
    expect(await Bun.file(`${directory.path}/cp.db`).exists()).toBe(false);

    expect((await migrate(server, store)).rows).toEqual(FIRST);
    await checkBrought(store);
    expect((await migrate(server, store)).rows).toEqual(AGAIN);
    await checkBrought(store);
    expect(await server.cli("DBSIZE")).toBe(before);
  });

  redisTest("into the same Redis, whose keys of 0.1 stay as they are", async () => {
    await using server = await startRedis();
    const keys = await loadFormer(server);
    expect((await migrate(server, server.url)).rows).toEqual(FIRST);
    await checkBrought(server.url);
    expect((await migrate(server, server.url, "--from", `${server.url}/0`)).rows).toEqual(AGAIN);
    await checkBrought(server.url);
    for (const [key, kept] of Object.entries(keys)) expect([key, await server.cli("TYPE", key)]).toEqual([key, kept.type]);
  });

  redisTest("says what had not ended, and what cannot be read", async () => {
    await using server = await startRedis({ config: { requirepass: "hunter2" }, cliArguments: ["-a", "hunter2", "--no-auth-warning"] });
    const entry = { timestamp: "2026-11-22T02:15:00Z", phase: "", level: "info", message: "Event queued for offline agent" };
    const status = (id: string, state: string): string =>
      JSON.stringify({
        event_id: id,
        agent_id: "a",
        state,
        phase: "received",
        message: "m",
        updated_at: "2026-11-22T02:15:00Z",
        execution_log: [entry],
        result: null,
      });
    await server.cli("-n", "3", "SET", "event:status:waits", status("waits", "queued"));
    await server.cli("-n", "3", "SET", "event:status:runs", status("runs", "in_progress"));
    await server.cli("-n", "3", "SET", "event:status:torn", '{"event_id":"torn","agent_');
    await server.cli("-n", "3", "SET", "event:status:odd", status("odd", "melted"));
    await server.cli("-n", "3", "SADD", "agents:all", "gone", "half");
    await server.cli("-n", "3", "SET", "agent:half", '{"id":"half"}');
    await server.cli("-n", "3", "XADD", "audit:log", "5-0", "data", "torn");
    await server.cli("-n", "3", "XADD", "audit:log", "1795313675287-0", "data", '{"action":"agent_connected","agent_id":"half","user":""}');
    const { rows, err } = await migrate(server, server.url, "--redis-db", "3", "--redis-password", "hunter2");
    expect(rows).toEqual([
      { kind: "agents", found: 2, brought: 0, present: 0, unreadable: 2 },
      { kind: "events", found: 4, brought: 2, present: 0, unreadable: 2 },
      { kind: "audit", found: 2, brought: 1, present: 0, unreadable: 1 },
      { kind: "counters", found: 2, brought: 2, present: 0, unreadable: 0 },
    ]);
    expect(err).toContain("1 event was queued in 0.1 and stands as failed (OUTCOME_UNKNOWN): waits");
    expect(err).toContain("1 event was in_progress in 0.1 and stands as failed (OUTCOME_UNKNOWN): runs");
    expect(err).toContain("5 could not be read");
    expect(err).toContain("event:status:torn: it is no JSON");
    expect(err).not.toContain("hunter2");
    await look(`redis://:hunter2@127.0.0.1:${server.port}`, async (store) => {
      const waits = await store.getEvent(tenant, "waits", ALL);
      expect(waits?.summary).toMatchObject({ state: "failed", message: expect.stringContaining("it was not carried out") as string });
      expect(waits?.result).toMatchObject({ success: false, error_code: "OUTCOME_UNKNOWN" });
      expect(waits?.log.map(({ state }) => state)).toEqual(["queued", "failed"]);
      const [entered] = (await store.listAudit({ tenant, limit: 10 })).items;
      expect(entered?.timestamp).toBe(new Date(1_795_313_675_287).toISOString());
    });
  });

  redisTest("brings no audit entry twice where it was ended before it wrote down how far it was", async () => {
    await using server = await startRedis();
    await using directory = await temporaryDirectory();
    await server.cli(
      "EVAL",
      `for i = 1, 250 do redis.call("XADD", "audit:log", (1795313675000 + i) .. "-0", "data", '{"action":"agent_connected","agent_id":"a-' .. i .. '"}') end`,
      "0",
    );
    const store = `sqlite:${directory.path}/cp.db`;
    await migrate(server, store);
    // As after a kill between the last entries and the mark.
    const mark = await look(store, async (one) => {
      const source = new Bun.CryptoHasher("sha256")
        .update(`1795313675001-0 data {"action":"agent_connected","agent_id":"a-1"}`)
        .digest("hex");
      const name = `migrate 0.1 audit ${source.slice(0, 16)}`;
      const before = await one.mark(name);
      await one.saveMark(name, "1795313675200-0");
      return before;
    });
    expect(mark).toBe("1795313675250-0");
    expect((await migrate(server, store)).rows[2]).toEqual({ kind: "audit", found: 250, brought: 0, present: 250, unreadable: 0 });
    await look(store, async (one) => expect((await one.auditAfter(tenant, 0, 1000)).length).toBe(250));
  });

  redisTest("refuses what makes no sense, and says what does", async () => {
    const refused = async (...args: string[]): Promise<string> => {
      const run = await runCli(["migrate", ...args], { env: { HOME: "/nonexistent" } });
      expect(run.code).not.toBe(0);
      return run.err;
    };
    expect(await refused("--store", "sqlite:x")).toContain("--from-0.1 is required");
    expect(await refused("--from-0.1")).toContain("--store is required");
    expect(await refused("--from-0.1", "--store", "memory:")).toContain("ends with this command");
    expect(await refused("--from-0.1", "--store", "sqlite:x", "--redis-addr", "127.0.0.1:1")).toContain("refuses connections");
    expect(await refused("--from-0.1", "--store", "sqlite:x", "--from", "redis+cluster://127.0.0.1:1")).toContain("no Redis Cluster");
  });
});
