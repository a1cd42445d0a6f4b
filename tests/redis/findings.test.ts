import { expect } from "bun:test";
import { runCli } from "../support/cli.ts";
import { startCp } from "../support/cp.ts";
import { redisTest, startRedis } from "../support/redis.ts";

redisTest("what the settings of Redis lose is said by /readyz?verbose, and keeps no event out", async () => {
  await using server = await startRedis({ config: { "maxmemory-policy": "allkeys-lru", maxmemory: "200mb" } });
  await using cp = await startCp({ storeUrl: server.url });
  const verbose = await cp.get("/readyz?verbose");
  expect(verbose.status).toBe(200);
  const text = await verbose.text();
  expect(text).toContain("[+]store appendonly: ");
  expect(text).toMatch(/^\[!\]store appendfsync: everysec.*Set appendfsync always/m);
  expect(text).toMatch(/^\[!\]store maxmemory-policy: allkeys-lru.*Set maxmemory-policy noeviction/m);
  expect(text).toContain("readyz check passed");
  expect(await (await cp.get("/readyz")).text()).toBe("ok\n");
});

redisTest("doctor cp looks at a store in Redis: whether it can be used, and what its settings lose", async () => {
  await using server = await startRedis({
    config: { requirepass: "hunter2", appendfsync: "always" },
    cliArguments: ["-a", "hunter2", "--no-auth-warning"],
  });
  const doctor = (...args: string[]): ReturnType<typeof runCli> =>
    runCli(["doctor", "cp", "--ws-port", "0", ...args], {
      env: { PATH: process.env["PATH"], HOME: server.directory, TRANSPORTER_REDIS_PASSWORD: "hunter2" },
    });
  const store = `redis://127.0.0.1:${server.port}`;

  const fresh = await doctor("--store", store);
  expect(fresh.code).toBe(0);
  expect(fresh.out).toMatch(/^ok +store +redis:.* answers; nothing of a control plane is there yet$/m);
  expect(fresh.out).toMatch(/^ok +redis appendfsync +always/m);
  // Looking leaves no trace.
  expect(await server.cli("DBSIZE")).toBe("0");

  await using cp = await startCp({ storeUrl: `redis://:hunter2@127.0.0.1:${server.port}` });
  expect((await cp.get("/readyz")).status).toBe(200);
  await server.cli("CONFIG", "SET", "appendonly", "no");
  const bad = await doctor("--redis-addr", `127.0.0.1:${server.port}`);
  expect(bad.code).toBe(1);
  expect(bad.out).toMatch(/^ok +store +redis:.* takes writes \(schema 1, 0 events so far\)$/m);
  expect(bad.out).toMatch(/^FAIL +redis appendonly .*\n +Everything is lost when Redis ends/m);

  const denied = await doctor("--store", `redis://:hunter3@127.0.0.1:${server.port}`);
  expect(denied.code).toBe(1);
  expect(denied.out).toMatch(/^FAIL +store .*refuses this user and password \(STORE_DENIED\)/m);
  for (const { out, err } of [fresh, bad, denied]) expect(out + err).not.toContain("hunter");
});
