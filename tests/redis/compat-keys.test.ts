import { expect } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { runCli } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { type RedisServer, redisTest, startRedis } from "../support/redis.ts";
import { formerKeys, loadFormer } from "../support/redis-0-1.ts";
import { aClaim, anAudit, newEvent, statusOf } from "../support/store-inputs.ts";

const open = (server: RedisServer): Promise<Store> => openStore(server.url, { ports: systemPorts, log: silentLogger, compatKeys: true });

async function json(server: RedisServer, key: string): Promise<Record<string, unknown>> {
  return JSON.parse(await server.cli("GET", key)) as Record<string, unknown>;
}
const members = async (server: RedisServer, key: string): Promise<string[]> =>
  (await server.cli("SMEMBERS", key))
    .split("\n")
    .filter((line) => line !== "")
    .toSorted();

const RECORDED_FIELDS = { cluster_provider: "kind", region: "local", hostname: "h", namespace: "n" };

/** A value without what it says: the names and kinds of its fields, in order. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf);
  if (typeof value === "object" && value !== null) return Object.entries(value).map(([name, inner]) => [name, shapeOf(inner)]);
  return typeof value;
}

redisTest("what was brought over from 0.1 stands under its old keys again, and is not brought twice", async () => {
  await using server = await startRedis();
  // Seven days after their end they are gone, so it must not be long ago.
  const hour = new Date(systemPorts.clock.now() - 3_600_000).toISOString().slice(0, 14);
  const recorded = await loadFormer(server, hour);
  const migrate = async (): Promise<unknown> => {
    const args = ["migrate", "--from-0.1", "--from", `${server.url}/0`, "--store", server.url, "-o", "json"];
    const run = await runCli(args, { env: { HOME: server.directory } });
    expect(run.code).toBe(0);
    return JSON.parse(run.out);
  };
  await migrate();
  const store = await open(server);
  try {
    await eventually(
      async () => (await server.cli("EXISTS", "transporter:compat-log", "transporter:compat-agents", "transporter:compat-audit")) === "3",
    );
    for (const [key, kept] of Object.entries(recorded)) {
      if (key.startsWith("event:status:")) {
        const { value } = kept as { readonly value: { readonly execution_log: readonly { readonly timestamp: string }[] } };
        // 0.1 took two looks at its clock, some nanoseconds apart.
        expect(await json(server, key)).toEqual({ ...value, updated_at: value.execution_log.at(-1)?.timestamp });
        expect(Number(await server.cli("PTTL", key))).toBeGreaterThan(0);
      }
      if (kept.type === "zset") expect(await server.cli("ZSCORE", key, kept.members[0] ?? "")).toBe(kept.members[1] ?? "");
    }
    const agent = (recorded["agent:agent-cluster-agent-1"] as { value: Record<string, unknown> }).value;
    expect(await json(server, "agent:agent-cluster-agent-1")).toEqual({
      ...agent,
      status: "disconnected",
      // Times are kept in milliseconds.
      last_heartbeat: `${hour}14:35.286Z`,
      connected_at: `${hour}14:35.286Z`,
    });
    // What 0.1 left in these sets for ever is gone from them.
    expect(await members(server, "events:state:assigned")).not.toContain("bad-1");
    expect(await members(server, "events:state:failed")).toEqual(["bad-1"]);
    expect(await server.cli("GET", "stats:events:total")).toBe("5");
    expect(await server.cli("XLEN", "audit:log")).toBe("4");

    await store.appendAudit(anAudit({ action: "event_cancelled" }));
    await eventually(async () => (await server.cli("XLEN", "audit:log")) === "5");
    expect(await migrate()).toMatchObject({ items: [{}, {}, { kind: "audit", found: 4, brought: 0, present: 4 }, {}] });
  } finally {
    await store.close();
  }
});

redisTest("what happens is written as 0.1 wrote it, by one control plane at a time", async () => {
  await using server = await startRedis();
  const recorded = await formerKeys();
  const first = await open(server);
  const second = await open(server);
  try {
    const nowMs = systemPorts.clock.now();
    const { epoch } = await first.claimAgent(
      aClaim("a-1", { agent: { registration: RECORDED_FIELDS } }),
      anAudit({ action: "agent_connected", agentId: "a-1" }),
    );
    const event = newEvent({ id: "e-1", agentId: "a-1", receivedAtMs: nowMs, expiresAtMs: nowMs + 60_000, state: "assigned", epoch });
    await second.createEvent(event);
    for (const phase of ["received", "completed"] as const)
      await first.applyStatus(
        statusOf(event, phase === "completed" ? "completed" : "in_progress", {
          epoch,
          phase,
          nowMs,
          timestamp: new Date(nowMs).toISOString(),
          ...(phase === "completed"
            ? {
                result: {
                  success: true,
                  resource_status: [{ kind: "Namespace", name: "x", api_version: "v1", status: "created", message: "m" }],
                  completed_at: new Date(nowMs).toISOString(),
                  duration: 1,
                },
              }
            : {}),
        }),
      );
    await eventually(async () => (await members(server, "events:state:completed")).includes("e-1"));
    expect(shapeOf(await json(server, "event:status:e-1"))).toEqual(
      shapeOf((recorded["event:status:test-event-1770722316"] as { value: unknown }).value),
    );
    expect(Number(await server.cli("TTL", "event:status:e-1"))).toBeWithin(7 * 86_400 - 60, 7 * 86_400 + 1);
    expect(Number(await server.cli("ZSCORE", "agent:events:a-1", "e-1"))).toBe(Math.floor(nowMs / 1000));
    for (const state of ["assigned", "in_progress"]) expect(await members(server, `events:state:${state}`)).toEqual([]);

    await eventually(async () => (await members(server, "agents:all")).includes("a-1"));
    const agent = shapeOf((recorded["agent:agent-cluster-agent-1"] as { value: unknown }).value) as unknown[];
    for (const field of agent) expect(shapeOf(await json(server, "agent:a-1"))).toContainEqual(field);
    const cluster = String((await json(server, "agent:a-1"))["cluster_name"]);
    expect(await members(server, `agents:cluster:${cluster}`)).toEqual(["a-1"]);

    const entry = JSON.parse((await server.cli("XRANGE", "audit:log", "-", "+", "COUNT", "1")).split("\n")[2] ?? "") as unknown;
    const former = JSON.parse((recorded["audit:log"] as { entries: readonly string[] }).entries[2] ?? "") as Record<string, unknown>;
    for (const field of shapeOf(former) as unknown[]) expect(shapeOf(entry)).toContainEqual(field);
    expect(await server.cli("GET", "stats:events:state:completed")).toBe("1");

    // Whoever is left goes on where the other was, without writing anything twice.
    const length = Number(await server.cli("XLEN", "audit:log"));
    const writer = (await server.cli("CLIENT", "LIST")).match(/name=transporter-compat-keys/g);
    expect(writer).toHaveLength(2);
    await first.close();
    await second.removeAgent("default", "a-1", nowMs, anAudit({ action: "agent_removed", agentId: "a-1" }));
    await eventually(async () => (await members(server, "agents:all")).length === 0, { timeoutMs: 20_000 });
    expect(await server.cli("EXISTS", "agent:a-1", `agents:cluster:${cluster}`)).toBe("0");
    expect(Number(await server.cli("XLEN", "audit:log"))).toBe(length + 1);
  } finally {
    await first.close();
    await second.close();
  }
});
