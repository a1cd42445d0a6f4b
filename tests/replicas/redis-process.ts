import { mkdir } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { type Child, type Children, freePorts } from "../../sandbox/mod.ts";
import { eventually } from "../support/eventually.ts";

export interface RedisProcessOptions {
  readonly children: Children;
  /** Gets a directory of its own in here. */
  readonly directory: string;
  readonly name?: string;
  readonly appendfsync: "always" | "everysec" | "no";
}

/** A redis-server that keeps what it has in an append-only file, dies when it is told to and comes back with what it had written. */
export class RedisProcess {
  readonly port: number;
  readonly directory: string;
  readonly #options: RedisProcessOptions;
  #child: Child | undefined;

  static async start(options: RedisProcessOptions): Promise<RedisProcess> {
    const directory = join(options.directory, options.name ?? "redis");
    await mkdir(directory, { recursive: true });
    const redis = new RedisProcess(options, directory, freePorts(1)[0] ?? 0);
    await redis.start();
    return redis;
  }

  private constructor(options: RedisProcessOptions, directory: string, port: number) {
    this.#options = options;
    this.directory = directory;
    this.port = port;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}/0`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Resolves when it answers, its file read. */
  async start(): Promise<void> {
    const settings = [
      ...["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.directory, "--daemonize", "no"],
      ...["--appendonly", "yes", "--appendfsync", this.#options.appendfsync, "--save", "", "--maxmemory-policy", "noeviction"],
    ];
    const child = await this.#options.children.spawn(this.#options.name ?? "redis", ["redis-server", ...settings]);
    this.#child = child;
    const serves = async (): Promise<boolean> => !child.running || (await this.command("PING")).startsWith("+PONG");
    await eventually(serves, { timeoutMs: 60_000, everyMs: 20, what: "redis-server" });
    if (!child.running) throw new Error(`redis-server ended:\n${await child.lastLines()}`);
  }

  async stop(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    this.#child?.kill(signal);
    await this.#child?.exited;
  }

  /** The answer as it came, for one that is a single line or one text; a section of INFO, for instance. */
  command(...words: readonly string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, "127.0.0.1");
      let text = "";
      socket.setTimeout(5_000, () => socket.destroy(new Error(`redis-server does not answer ${words[0]}`)));
      socket.on("error", reject);
      socket.on("data", (data: Buffer) => {
        text += data.toString("utf8");
        const length = /^\$(\d+)\r\n/.exec(text);
        const whole = length === null ? text.endsWith("\r\n") : Buffer.byteLength(text) >= length[0].length + Number(length[1]) + 2;
        if (!whole) return;
        socket.destroy();
        resolve(length === null ? text.trimEnd() : text.slice(length[0].length));
      });
      socket.write(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`);
    });
  }

  /** A number of INFO, such as `used_memory`. */
  async info(field: string): Promise<number> {
    const found = new RegExp(`^${field}:(\\d+)`, "m").exec(await this.command("INFO", "everything"))?.[1];
    if (found === undefined) throw new Error(`INFO has no ${field}`);
    return Number(found);
  }
}
