import { expect } from "bun:test";
import { cp, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findRedis, freePorts } from "../../sandbox/mod.ts";
import { runCli } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { startRedis } from "../support/redis.ts";
import { at, chartRedisTest, find, type Json, listAt, objects, render, scratch } from "./helm-tools.ts";

const PASSWORD = 'Kx7"\\ $q-93 vLz';

/** What the pod's container would run, with the places of the container moved below a directory. */
class Script {
  readonly directory: string;
  readonly port = freePorts(1)[0] ?? 0;
  readonly #moves: readonly (readonly [string, string])[];

  constructor(directory: string, moves: Readonly<Record<string, string>>) {
    this.directory = directory;
    this.#moves = Object.entries(moves).map(([from, to]) => [from, join(directory, to)] as const);
  }

  moved(text: string): string {
    return this.#moves.reduce((moved, [from, to]) => moved.replaceAll(from, to), text);
  }

  /** With the programs of Redis on the path, as in the image. */
  async spawn(script: string): Promise<Bun.Subprocess<"ignore", "pipe", "pipe">> {
    const programs = await findRedis();
    if (programs === undefined) throw new Error("no redis-server");
    const bin = join(this.directory, "bin");
    await mkdir(bin, { recursive: true });
    for (const [name, path] of Object.entries({ "redis-server": programs.server, "redis-cli": programs.cli }))
      await writeFile(join(bin, name), `#!/bin/sh\nexec "${path}" "$@"\n`, { mode: 0o755 });
    return Bun.spawn(["sh", "-ec", this.moved(script)], {
      cwd: this.directory,
      env: { ...programs.env, PATH: `${bin}:/usr/bin:/bin` },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
  }

  async exitCode(script: string): Promise<number> {
    return (await this.spawn(script)).exited;
  }
}

function container(of: Json | undefined, list: "containers" | "initContainers", name: string): unknown {
  return listAt(of, "spec", "template", "spec", list).find((one) => at(one, "name") === name);
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new Error(`not a text: ${JSON.stringify(value)}`);
  return value;
}

async function ownRedis(): Promise<{ readonly script: Script; readonly start: string; readonly ping: string }> {
  const values = JSON.stringify({ redis: { enabled: true, auth: { password: PASSWORD } } });
  const all = objects(await render("transporter-cp", ["--values=-"], values));
  const script = new Script(scratch("own-redis"), {
    "/etc/redis-password": "password",
    "/etc/redis/": "config/",
    "/run/redis": "run",
  });
  const redis = container(find(all, "StatefulSet", "transporter-cp-redis"), "containers", "redis");
  for (const name of ["config", "run", "password", "data"]) await mkdir(join(script.directory, name), { recursive: true });
  const config = text(at(find(all, "ConfigMap", "transporter-cp-redis"), "data", "redis.conf"));
  expect(config).not.toContain("Kx7");
  await writeFile(
    join(script.directory, "config/redis.conf"),
    config
      .replace("port 6379", `port ${script.port}`)
      .replace("bind * -::*", "bind 127.0.0.1")
      .replace("dir /data", `dir ${join(script.directory, "data")}`),
  );
  const secret = text(at(find(all, "Secret", "transporter-cp-redis"), "data", "redis-password"));
  await writeFile(join(script.directory, "password/password"), Buffer.from(secret, "base64"));
  expect(Buffer.from(secret, "base64").toString()).toBe(PASSWORD);
  const ping = text(at(redis, "readinessProbe", "exec", "command", 2)).replace(" ping)", ` -p ${script.port} ping)`);
  return { script, start: text(at(redis, "command", 2)), ping };
}

chartRedisTest("the chart's own Redis keeps what a store needs, and lets nobody in without the password", async () => {
  const { script, start, ping } = await ownRedis();
  const server = await script.spawn(start);
  try {
    await eventually(async () => (await script.exitCode(ping)) === 0, { what: "the readiness probe to pass", timeoutMs: 20_000 });
    const url = `redis://127.0.0.1:${script.port}/0`;
    const refused = await runCli(["doctor", "cp", "--store", url]);
    expect(refused.code).not.toBe(0);
    expect(`${refused.out}${refused.err}`).toMatch(/password|NOAUTH/i);

    const { out } = await runCli(["doctor", "cp", "--store", url], { env: { TRANSPORTER_REDIS_PASSWORD: PASSWORD } });
    const lines = out.split("\n");
    for (const check of ["store", "redis appendonly", "redis appendfsync", "redis maxmemory-policy"])
      expect(lines.find((line) => line.includes(` ${check} `))).toStartWith("ok ");

    const cli = `REDISCLI_AUTH="$(cat /etc/redis-password/password)" redis-cli -p ${script.port}`;
    for (const command of ["config set save ''", "flushall", "shutdown nosave", "acl list"]) {
      const asked = await script.spawn(`${cli} ${command}`);
      expect(await asked.stdout.text(), command).toContain("NOPERM");
    }
  } finally {
    server.kill();
    await server.exited;
  }
});

chartRedisTest("what a Redis of 0.1 left on its claim is served from a copy, and stays as it is", async () => {
  const values = JSON.stringify({ migrate: { from01: { enabled: true, existingClaim: "left" } } });
  const deployment = find(objects(await render("transporter-cp", ["--values=-"], values)), "Deployment");
  const start = text(at(container(deployment, "initContainers", "redis-of-0-1"), "command", 2));
  const migrate = listAt(container(deployment, "initContainers", "migrate-from-0-1"), "args").map(text);
  expect(migrate).toEqual(["migrate", "--from-0.1", "--from", "redis://127.0.0.1:6399/0", "--store", "sqlite:/var/lib/transporter/cp.db"]);

  for (const appendonly of ["yes", "no"]) {
    const script = new Script(scratch("left"), { "/source": "source", "/data": "data" });
    {
      await using old = await startRedis({ config: { appendonly, save: "3600 1" } });
      await old.cli("set", "event:status:left", "as it was");
      if (appendonly === "no") await old.cli("save");
      await old.kill("SIGTERM");
      await cp(join(old.directory, "data"), join(script.directory, "source"), { recursive: true });
    }
    await mkdir(join(script.directory, "data"));
    const before = await filesOf(join(script.directory, "source"));
    const server = await script.spawn(start.replaceAll("6399", String(script.port)));
    try {
      const ask = async (command: string): Promise<string> => {
        const asked = await script.spawn(`redis-cli -p ${script.port} ${command}`);
        return (await asked.stdout.text()).trim();
      };
      await eventually(async () => (await ask("ping")) === "PONG", { what: "the copy to be served", timeoutMs: 20_000 });
      expect(await ask("get event:status:left"), `appendonly ${appendonly}`).toBe("as it was");
      await ask("set event:status:more x");
    } finally {
      server.kill();
      await server.exited;
    }
    expect(await filesOf(join(script.directory, "source"))).toEqual(before);
  }
});

async function filesOf(directory: string): Promise<Record<string, string>> {
  const names = await readdir(directory, { recursive: true, withFileTypes: true });
  const out: Record<string, string> = {};
  for (const file of names.filter((one) => one.isFile())) {
    const path = join(file.parentPath, file.name);
    out[path] = Bun.hash(await Bun.file(path).bytes()).toString(16);
  }
  return out;
}
