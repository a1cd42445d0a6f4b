import { expect, test } from "bun:test";
import { join, resolve } from "node:path";
import { runCli } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { type RunningProcess, runTransporter, startTransporter } from "../support/process.ts";
import { redisTest, startRedis } from "../support/redis.ts";

const NAMESPACE = join(resolve(import.meta.dir, "../.."), "examples/manifests/namespace.yaml");
const PASSWORD = "hunter2/@:é";

async function urlOf(running: RunningProcess): Promise<string> {
  const [, address = ""] = await running.line(/"message":"Control plane is listening","address":"([^"]+)"/);
  return `http://${address}`;
}

redisTest(
  "two control planes on 0.1's Redis settings share store and queue, outlast the server, and never show its password",
  async () => {
    await using redis = await startRedis({ config: { requirepass: `"${PASSWORD}"` }, cliArguments: ["-a", PASSWORD, "--no-auth-warning"] });
    const address = `127.0.0.1:${redis.port}`;
    const shared = {
      TRANSPORTER_REDIS_PASSWORD: PASSWORD,
      TRANSPORTER_QUEUE: `redis://${address}/2`,
      TRANSPORTER_DRAIN: "0s",
      TRANSPORTER_REDIS_COMPAT_KEYS: "yes",
    };
    const flags = ["cp", "--ws-port=0"];
    await using one = await startTransporter([...flags, "--redis-addr", address, "--redis-db", "1", "--replica-id", "one"], {
      env: shared,
    });
    await using two = await startTransporter([...flags, "--debug", "--advertise", "http://two.example:8080", "--publish=status"], {
      env: { ...shared, TRANSPORTER_STORE: `redis://${address}/1`, TRANSPORTER_REPLICA_ID: "two" },
    });
    const urls = await Promise.all([one, two].map(urlOf));
    const [first = "", second = ""] = urls;
    const replicas = await eventually(async () => {
      const lines = (await runCli(["get", "replicas", "--no-headers", "--cp-url", first])).out.trim().split("\n").toSorted();
      return lines.length === 2 && lines;
    });
    expect(replicas[0]).toMatch(/^one-[0-9a-f]{8} +http:\/\/127\.0\.0\.1:\d+ /);
    expect(replicas[1]).toMatch(/^two-[0-9a-f]{8} +http:\/\/two\.example:8080 /);

    const queue = ["--queue", `redis://${address}/2`];
    const env = { TRANSPORTER_QUEUE_PASSWORD: PASSWORD };
    const send = async (id: string): Promise<void> => {
      const sent = await runCli(["send", "k8s", "--agent", "a", "-f", NAMESPACE, "--id", id, ...queue], { env });
      expect(sent).toMatchObject({ code: 0, out: `${id}\n` });
    };
    // The first address answers nobody: the next one is asked.
    const asking = ["--cp-url", `http://127.0.0.1:1,${second}`];
    const known = (id: string) => eventually(async () => (await runCli(["get", "event", id, ...asking])).code === 0, { timeoutMs: 20_000 });
    await send("before");
    await known("before");
    await eventually(async () => (await redis.cli("-n", "1", "EXISTS", "event:status:before")) === "1");
    await eventually(async () => (await redis.cli("-n", "2", "XLEN", "{transporter}:published:status")) !== "0");

    await redis.kill();
    expect((await fetch(`${first}/readyz`)).status).toBe(503);
    await redis.start();
    for (const url of urls) await eventually(async () => (await fetch(`${url}/readyz`)).status === 200, { timeoutMs: 20_000 });
    await send("after");
    await known("after");

    for (const running of [one, two]) {
      expect(await running.kill("SIGTERM")).toBe(0);
      expect(`${running.stdout()}${running.stderr()}`).not.toContain("hunter2");
    }
    const denied = await runTransporter([...flags, "--redis-addr", address], { env: { TRANSPORTER_REDIS_PASSWORD: "wrong" } });
    expect(denied.exitCode).toBe(3);
    expect(denied.stderr).toContain("STORE_DENIED");
  },
  120_000,
);

test("a queue that is away at the start keeps nobody from sending over HTTP", async () => {
  await using running = await startTransporter(["cp", "--ws-port=0", "--store=memory:", "--queue", "redis://:hunter2@127.0.0.1:1"]);
  const url = await urlOf(running);
  await running.line(/"message":"The queue is away".*refuses connections/);
  expect((await runCli(["send", "k8s", "--agent", "a", "-f", NAMESPACE, "--cp-url", url, "--id", "x"])).code).toBe(0);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  expect(running.stderr()).toContain("use TRANSPORTER_QUEUE instead");
  expect(running.stderr()).not.toContain("hunter2");
  expect(await running.kill("SIGTERM")).toBe(0);
});
