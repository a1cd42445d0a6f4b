import { mkdir, mkdtemp, realpath, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "bun:test";
import { type Child, Children, findRedis, freePorts, type RedisFlavor, type RedisPrograms } from "../../sandbox/mod.ts";
import { eventually } from "./eventually.ts";

const IN_CI = !["", "0", "false"].includes(process.env["CI"] ?? "");
const PROGRAMS: Readonly<Record<RedisFlavor, RedisPrograms | undefined>> = {
  redis: await findRedis("redis"),
  valkey: await findRedis("valkey"),
};
if (PROGRAMS.redis === undefined && !IN_CI)
  console.warn("\nSKIPPED: tests against a real redis-server. `bun run test` fetches it once; then they run everywhere.\n");

/** Whether to leave out what needs a redis-server. Never under CI: there a missing server is a failure. */
export const SKIP_REDIS: boolean = PROGRAMS.redis === undefined && !IN_CI;
/** Whether there is a Valkey to try things on as well; nobody has to have one. */
export const HAS_VALKEY: boolean = PROGRAMS.valkey !== undefined;

/** `test` for what needs a real redis-server. */
export function redisTest(name: string, run: () => Promise<void>, timeoutMs = 60_000): void {
  test.skipIf(SKIP_REDIS)(name, run, timeoutMs);
}

/** Lines of redis.conf by name, such as `{ appendfsync: "always" }`; several of one name as a list. */
export type RedisConfig = Readonly<Record<string, string | readonly string[]>>;

export interface RedisServerOptions {
  readonly flavor?: RedisFlavor;
  /** Goes before the defaults; a function is told the server's directory, where `files` are. */
  readonly config?: RedisConfig | ((directory: string) => RedisConfig);
  /** A free one by default. */
  readonly port?: number;
  /** Written into the server's directory first, which is its working directory; for certificates that the configuration names. */
  readonly files?: Readonly<Record<string, string>>;
  /** Speaks TLS and nothing else; `config` names the files. */
  readonly tls?: boolean;
  /** As a sentinel instead of a server: `config` is then all there is. */
  readonly sentinel?: boolean;
  /** What `cli` says before its own arguments, such as `["-a", "secret"]`. */
  readonly cliArguments?: readonly string[];
}

/** A real redis-server on 127.0.0.1. Ends with `await using`, and with the test process whatever happens. */
export interface RedisServer extends AsyncDisposable {
  readonly flavor: RedisFlavor;
  readonly version: string;
  readonly port: number;
  /** `redis://127.0.0.1:PORT`. */
  readonly url: string;
  readonly directory: string;
  /** Of the running server. */
  readonly pid: number;
  /** Ends it, at once by default; what was in its append-only file stays. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** On the same port, with the same data. */
  start(): Promise<void>;
  restart(): Promise<void>;
  /** It stands still, with its connections open, until `resume`. */
  pause(): void;
  resume(): void;
  /** What redis-cli answers to a command, without the last newline. Throws what it complains of. */
  cli(...args: string[]): Promise<string>;
  lastLines(count?: number): Promise<string>;
}

/** Durable across `kill` and `restart` unless `config` says otherwise. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const programs = PROGRAMS[options.flavor ?? "redis"];
  if (programs === undefined) throw new Error(`no ${options.flavor ?? "redis"}-server; \`bun run test\` fetches it`);
  const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-redis-"));
  const children = new Children(directory);
  try {
    await mkdir(join(directory, "data"), { recursive: true });
    for (const [name, text] of Object.entries(options.files ?? {})) await writeFile(join(directory, name), text, { mode: 0o600 });
    // Somebody else may take a free port before it is used.
    for (let tries = 1; ; tries += 1) {
      const server = new Server(programs, directory, children, options.port ?? freePorts(1)[0] ?? 0, options);
      try {
        await server.start();
        return server;
      } catch (error) {
        if (tries >= 3 || options.port !== undefined || !/already in use|bind:/i.test(String(error))) throw error;
      }
    }
  } catch (error) {
    await children.stop();
    throw error;
  }
}

class Server implements RedisServer {
  readonly flavor: RedisFlavor;
  readonly version: string;
  readonly port: number;
  readonly directory: string;
  readonly #programs: RedisPrograms;
  readonly #children: Children;
  readonly #options: RedisServerOptions;
  #child: Child | undefined;

  constructor(programs: RedisPrograms, directory: string, children: Children, port: number, options: RedisServerOptions) {
    this.flavor = programs.flavor;
    this.version = programs.version;
    this.port = port;
    this.directory = directory;
    this.#programs = programs;
    this.#children = children;
    this.#options = options;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async start(): Promise<void> {
    const path = join(this.directory, "server.conf");
    // A sentinel rewrites its file with what it learned.
    if (this.#options.sentinel !== true || !(await Bun.file(path).exists())) await writeFile(path, this.#configuration());
    const child = await this.#children.spawn(
      "server",
      [this.#programs.server, path, ...(this.#options.sentinel === true ? ["--sentinel"] : [])],
      { cwd: join(this.directory, "data"), env: this.#programs.env },
    );
    this.#child = child;
    await eventually(
      async () => {
        if (!child.running) return true;
        // It answers everybody something, also those who have no password; what matters is that it listens.
        const answer = await this.#run(["PING"]);
        return (
          /PONG|NOAUTH|NOPERM|LOADING|WRONGPASS|closed|I\/O error/i.test(answer.output) &&
          !/refused/i.test(answer.output) &&
          !/LOADING/.test(answer.output)
        );
      },
      // One with a long append-only file reads it first.
      { what: `${this.flavor}-server on port ${this.port}`, everyMs: 20, timeoutMs: 60_000 },
    );
    if (!child.running) throw new Error(`${this.flavor}-server did not start: ${await child.lastLines()}`);
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined || !child.running) return;
    child.kill(signal);
    await child.exited;
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }

  async cli(...args: string[]): Promise<string> {
    const { output, code } = await this.#run(args);
    if (code !== 0 || /^(ERR|NOAUTH|NOPERM|WRONGPASS|Could not connect)/.test(output))
      throw new Error(`redis-cli ${args.join(" ")}: ${output}`);
    return output;
  }

  async #run(args: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
    const child = Bun.spawn(
      [this.#programs.cli, "-h", "127.0.0.1", "-p", String(this.port), ...(this.#options.cliArguments ?? []), ...args],
      { cwd: this.directory, env: { ...process.env, ...this.#programs.env }, stdin: "ignore", stdout: "pipe", stderr: "pipe" },
    );
    const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { code, output: (out + err).replace(/\n$/, "") };
  }

  async lastLines(count?: number): Promise<string> {
    return (await this.#child?.lastLines(count)) ?? "";
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#children.stop();
  }

  #configuration(): string {
    const sentinel = this.#options.sentinel === true;
    const given = this.#options.config;
    const config: RedisConfig = {
      ...(this.#options.tls === true ? { port: "0", "tls-port": String(this.port) } : { port: String(this.port) }),
      bind: "127.0.0.1",
      dir: join(this.directory, "data"),
      ...(sentinel
        ? {}
        : { save: '""', appendonly: "yes", appendfsync: "everysec", "maxmemory-policy": "noeviction", "repl-diskless-sync-delay": "0" }),
      ...(typeof given === "function" ? given(this.directory) : given),
    };
    return Object.entries(config)
      .flatMap(([name, value]) => (typeof value === "string" ? [value] : value).map((line) => `${name} ${line}\n`))
      .join("");
  }
}

const documented = new WeakSet<RedisServer>();
const PAGE = join(import.meta.dir, "../../docs/redis.md");

/** What docs/redis.md says that our user must be allowed, as ACL rules. */
export async function documentedRights(): Promise<string> {
  const rights = /^user transporter on >SECRET (.+)$/m.exec(await Bun.file(PAGE).text())?.[1];
  if (rights === undefined) throw new Error("docs/redis.md does not say what the user needs");
  return rights;
}

/** The address of a user who may do what docs/redis.md says that ours must be allowed, and nothing else; for all prefixes. */
export async function asDocumentedUser(server: RedisServer): Promise<string> {
  const url = `redis://transporter:secret@127.0.0.1:${server.port}`;
  // Said again, it would end the connections of those who are at it.
  if (documented.has(server)) return url;
  await server.cli(
    "ACL",
    "SETUSER",
    "transporter",
    "reset",
    "on",
    ">secret",
    ...(await documentedRights()).replaceAll("{transporter}", "{*}").split(" "),
  );
  documented.add(server);
  return url;
}

const shared = new Map<RedisFlavor, Promise<RedisServer>>();

/**
 * One server for all tests of this process that keep to a prefix of their own (`?prefix=`, `uniqueName`). Never stop it, never pause it, never
 * change its settings.
 */
export async function sharedRedis(flavor: RedisFlavor = "redis"): Promise<RedisServer> {
  const before = shared.get(flavor);
  if (before !== undefined) {
    const server = await before;
    if ((await server.cli("PING").catch(() => "")) === "PONG") return server;
    // When a test runs out of time, `bun test` kills every child process there is. The tests after it must not fail for that.
  }
  if (shared.get(flavor) === before) shared.set(flavor, startRedis({ flavor }));
  return shared.get(flavor) ?? startRedis({ flavor });
}
