import { describe, expect } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClientAuthority } from "../../sandbox/certificates.ts";
import { createLogger, silentLogger, systemPorts, TransporterError } from "../../src/kit/mod.ts";
import { inspectRedis, mayHaveHappened, openRedis, parseRedisUrl, type RedisLink } from "../../src/redis/mod.ts";
import { eventually } from "../support/eventually.ts";
import { redisTest, sharedRedis, startRedis } from "../support/redis.ts";

const TLS = join(import.meta.dir, "../fixtures/tls");

function open(url: string): Promise<RedisLink> {
  return openRedis(parseRedisUrl(url), { ports: systemPorts, log: silentLogger, purpose: "test" });
}

async function answers(url: string): Promise<void> {
  const link = await open(url);
  try {
    expect(await link.client.ping()).toBe("PONG");
  } finally {
    await link.close();
  }
}

async function refusal(url: string): Promise<{ readonly code: string; readonly text: string }> {
  try {
    await (await open(url)).close();
  } catch (error) {
    if (error instanceof TransporterError) return { code: error.code, text: `${error.message}. ${error.remedy}` };
    throw error;
  }
  throw new Error(`${url} was not refused`);
}

describe("a connection to Redis that cannot be made says why, and what to do", () => {
  redisTest("nobody listens, or the name is not known", async () => {
    expect((await refusal("redis://127.0.0.1:1")).text).toContain("refuses connections");
    expect((await refusal("redis://no-such-host.invalid")).text).toContain("the name is not known");
    expect((await refusal("redis+sentinel://127.0.0.1:1/mymaster")).text).toContain("no sentinel answers");
    expect((await refusal("redis+cluster://127.0.0.1:1")).code).toBe("STORE_UNAVAILABLE");
  });

  redisTest("another kind of server than the address says", async () => {
    const { port, url } = await sharedRedis();
    await answers(url);
    expect(await refusal(`redis+cluster://127.0.0.1:${port}`)).toEqual({
      code: "STORE_INVALID",
      text: expect.stringContaining("is no Redis Cluster") as string,
    });
    expect(await refusal(`${url}/99`)).toEqual({
      code: "STORE_INVALID",
      text: expect.stringContaining("no database of this number") as string,
    });
    expect((await refusal(`rediss://127.0.0.1:${port}?timeout=300ms`)).code).toBe("STORE_UNAVAILABLE");
  });

  redisTest("no password, a wrong one, a user that does not exist; and no secret is repeated", async () => {
    await using server = await startRedis({ config: { requirepass: "hunter2" } });
    const { port } = server;
    await answers(`redis://:hunter2@127.0.0.1:${port}`);
    expect(await refusal(`redis://127.0.0.1:${port}`)).toEqual({
      code: "STORE_DENIED",
      text: expect.stringContaining("asks for a password") as string,
    });
    for (const url of [`redis://:hunter3@127.0.0.1:${port}`, `redis://app:hunter3@127.0.0.1:${port}`]) {
      const { code, text } = await refusal(url);
      expect(code).toBe("STORE_DENIED");
      expect(text).toContain("refuses this user and password");
      expect(text).not.toContain("hunter");
    }
  });

  redisTest("files that are not there, or do not hold what they should", async () => {
    expect((await refusal("redis://127.0.0.1:1?password-file=/nonexistent")).code).toBe("FILE_UNREADABLE");
    expect((await refusal(`rediss://127.0.0.1:1?ca=${import.meta.path}`)).code).toBe("STORE_INVALID");
  });

  redisTest("TLS: the server is held to its authority, and it holds us to a certificate", async () => {
    const clients = new ClientAuthority();
    const strangers = new ClientAuthority();
    const ours = clients.issue("transporter");
    const theirs = strangers.issue("transporter");
    const directory = await mkdtemp(join(tmpdir(), "transporter-redis-tls-"));
    try {
      const file = async (name: string, text: string): Promise<string> => {
        await writeFile(join(directory, name), text, { mode: 0o600 });
        return join(directory, name);
      };
      const ca = join(TLS, "server.pem");
      const certified = `cert=${await file("ours.pem", ours.certificatePem)}&key=${await file("ours.key", ours.keyPem)}`;
      const rogue = `cert=${await file("theirs.pem", theirs.certificatePem)}&key=${await file("theirs.key", theirs.keyPem)}`;
      await using server = await startRedis({
        config: {
          "tls-cert-file": ca,
          "tls-key-file": join(TLS, "server-key.pem"),
          "tls-ca-cert-file": await file("clients.pem", clients.certificatePem),
          "tls-auth-clients": "yes",
        },
        tls: true,
        cliArguments: ["--tls", "--insecure", "--cert", join(directory, "ours.pem"), "--key", join(directory, "ours.key")],
      });
      const at = `rediss://127.0.0.1:${server.port}`;
      await answers(`${at}?ca=${ca}&${certified}`);
      await answers(`${at}?ca=${ca}&${certified}&server-name=cp.internal`);

      expect((await refusal(`${at}?${certified}`)).text).toContain("cannot be trusted");
      expect((await refusal(`${at}?ca=${join(TLS, "stranger.pem")}&${certified}`)).text).toContain("cannot be trusted");
      expect((await refusal(`${at}?ca=${ca}&${certified}&server-name=other.internal`)).text).toContain("for another name");
      // These two are told by the server alone, which hangs up; the remedy names the client certificate.
      expect((await refusal(`${at}?ca=${ca}`)).text).toContain("client certificate");
      expect((await refusal(`${at}?ca=${ca}&${rogue}`)).text).toContain("client certificate");
      expect((await refusal(`redis://127.0.0.1:${server.port}`)).text).toContain("rediss://");
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});

describe("a connection to Redis that stands", () => {
  redisTest("comes back by itself, tells so, and sends nothing twice", async () => {
    await using server = await startRedis();
    const link = await open(server.url);
    const words = await link.duplicate({ purpose: "words" });
    const states: string[] = [];
    const heard: string[] = [];
    const stop = link.onState((state) => states.push(state));
    try {
      words.client.on("message", (_channel: string, text: string) => heard.push(text));
      await words.client.subscribe("words");

      // What is on its way when the server dies is rejected, as nobody knows what became of it.
      server.pause();
      const onItsWay = link.client.incr("counted").catch((error: unknown) => error);
      await server.kill();
      const broken = await onItsWay;
      expect(mayHaveHappened(broken)).toBe(true);
      expect(link.fault(broken).code).toBe("STORE_UNAVAILABLE");
      await eventually(() => !link.up);

      const refused = await link.client.incr("counted").catch((error: unknown) => error);
      expect(mayHaveHappened(refused)).toBe(false);
      expect(link.fault(refused)).toMatchObject({ code: "STORE_UNAVAILABLE", message: expect.stringContaining("not connected") as string });
      const batch = await link.client.pipeline().incr("counted").incr("counted").exec();
      expect(batch?.every(([error]) => error !== null && !mayHaveHappened(error))).toBe(true);

      await server.start();
      await eventually(() => link.up && words.up);
      expect(states).toEqual(["down", "up"]);
      expect(Number((await link.client.get("counted")) ?? 0)).toBeLessThanOrEqual(1);
      await eventually(async () => {
        await link.client.publish("words", "again");
        return heard.length > 0;
      });
    } finally {
      stop();
      await words.close();
      await link.close();
    }
    expect(await link.client.ping().catch((error: unknown) => link.fault(error).code)).toBe("STORE_UNAVAILABLE");
    expect(states).toEqual(["down", "up"]);
  });

  redisTest("says in the log why it does not come back, once", async () => {
    await using server = await startRedis({ config: { requirepass: "old" }, cliArguments: ["-a", "old", "--no-auth-warning"] });
    const lines: string[] = [];
    const log = createLogger({ format: "json", debug: false, color: false, now: () => 0, write: (line) => lines.push(line) });
    const link = await openRedis(parseRedisUrl(`redis://:old@127.0.0.1:${server.port}`), { ports: systemPorts, log, purpose: "test" });
    try {
      await server.cli("CONFIG", "SET", "requirepass", "new");
      let attempts = 0;
      link.client.on("reconnecting", () => (attempts += 1));
      link.reset();
      await eventually(() => attempts >= 4);
      expect(lines.filter((line) => line.includes("refuses this user and password"))).toHaveLength(1);
      expect(lines.join()).not.toContain('"old"');
    } finally {
      await link.close();
    }
  });

  redisTest("comes back also where the client itself has given up, as it does in the middle of a failover", async () => {
    const link = await open((await sharedRedis()).url);
    try {
      const states: string[] = [];
      link.onState((state) => states.push(state));
      (link.client as unknown as { disconnect(): void }).disconnect();
      await eventually(() => states.includes("down"));
      await eventually(() => link.up);
      expect(await link.client.ping()).toBe("PONG");
      expect(states).toEqual(["down", "up"]);
    } finally {
      await link.close();
    }
  });

  redisTest("does not wait for a server that stands still", async () => {
    await using server = await startRedis();
    const link = await open(`${server.url}?timeout=300ms`);
    try {
      server.pause();
      const error = await link.client.get("x").catch((thrown: unknown) => thrown);
      expect(link.fault(error).message).toContain("does not answer in time");
      await eventually(() => !link.up);
      server.resume();
      await eventually(() => link.up);
      expect(await link.client.get("x")).toBeNull();
    } finally {
      server.resume();
      await link.close();
    }
  });

  redisTest("is told that memory is full, and that replicas are missing", async () => {
    await using server = await startRedis();
    const link = await open(server.url);
    try {
      await server.cli("CONFIG", "SET", "maxmemory", "1");
      const full = await link.client.set("x", "y").catch((error: unknown) => link.fault(error));
      expect(full).toMatchObject({ code: "STORE_FULL", message: expect.stringContaining("out of memory") as string });
      const inScript = await link.client
        .eval("return redis.call('SET', KEYS[1], 'y')", 1, "x")
        .catch((error: unknown) => link.fault(error));
      expect(inScript).toMatchObject({ code: "STORE_FULL" });
      await server.cli("CONFIG", "SET", "maxmemory", "0");
      await server.cli("CONFIG", "SET", "min-replicas-to-write", "1");
      expect(await link.client.set("x", "y").catch((error: unknown) => link.fault(error).message)).toContain("min-replicas-to-write");
    } finally {
      await link.close();
    }
  });
});

describe("the settings of a real server", () => {
  redisTest("are read as they are, with a right to see them or without", async () => {
    await using server = await startRedis({ config: { appendfsync: "always" } });
    await server.cli("ACL", "SETUSER", "blind", "on", ">pw", "~*", "+@all", "-config");
    const link = await open(server.url);
    const blind = await open(`redis://blind:pw@127.0.0.1:${server.port}`);
    try {
      expect((await inspectRedis(link)).filter(({ level }) => level !== "ok")).toEqual([]);
      expect((await inspectRedis(blind)).filter(({ level }) => level !== "ok").map(({ name }) => name)).toEqual(["appendfsync"]);
      await server.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
      await server.cli("CONFIG", "SET", "maxmemory", "100mb");
      await server.cli("CONFIG", "SET", "appendonly", "no");
      const names = (await inspectRedis(link)).filter(({ level }) => level === "error").map(({ name }) => name);
      expect(names).toEqual(["appendonly", "maxmemory-policy"]);
      await server.kill();
      expect(await inspectRedis(link).catch((error: unknown) => link.fault(error).code)).toBe("STORE_UNAVAILABLE");
    } finally {
      await blind.close();
      await link.close();
    }
  });
});
