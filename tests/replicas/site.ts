import { mkdtemp, realpath } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Child, Children, freePorts } from "../../sandbox/mod.ts";
import { eventually } from "../support/eventually.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { transporterCommand } from "../support/process.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import type { AgentsConfig } from "./agents.ts";
import { Journal } from "./journal.ts";
import type { LoadConfig, LoadResult } from "./load.ts";

export interface SiteOptions {
  readonly replicas: number;
  readonly agents: number;
  /** Among which the agents are spread. */
  readonly agentProcesses: number;
  readonly compiled: boolean;
  /** Of Redis. `always` is what makes a 202 outlive the machine; what is killed here is the process, and its writes outlive that under `everysec` too, but for up to two seconds while a sync is slow. */
  readonly appendfsync: "always" | "everysec";
  /** Agents keep their ledgers in files, as they do in a cluster; else in memory. */
  readonly ledgers: boolean;
  readonly plant?: AgentsConfig["plant"];
  readonly cpFlags?: readonly string[];
  readonly say: (line: string) => void;
}

/** As many files as allowed: each agent is one or several, and a login shell's soft limit may be 1,024. */
const RAISED = ["/bin/sh", "-c", 'ulimit -n "$(ulimit -Hn)" 2>/dev/null; exec "$@"', "sh"];
const PREFIX = "agent";

/** One of the control planes: always the same port, another process each time. */
export class ReplicaProcess {
  readonly port: number;
  readonly #start: () => Promise<Child>;
  #child: Child | undefined;

  constructor(port: number, start: () => Promise<Child>) {
    this.port = port;
    this.#start = start;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }
  get pid(): number {
    return this.#child?.pid ?? 0;
  }
  get running(): boolean {
    return this.#child?.running === true;
  }

  async start(): Promise<void> {
    this.#child = await this.#start();
  }
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }
  async exited(): Promise<number> {
    return (await this.#child?.exited) ?? 0;
  }
  async ready(): Promise<boolean> {
    try {
      return (await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(1_000) })).status === 200;
    } catch {
      return false;
    }
  }
  async lastLines(count: number): Promise<string> {
    return (await this.#child?.lastLines(count)) ?? "";
  }
}

/** Everything that the proof needs, each a process of its own on 127.0.0.1: Redis, NATS, control planes, agents, who hands in, and the journal beside them. */
export class Site implements AsyncDisposable {
  readonly journalPath: string;
  readonly journal: Journal;
  readonly redis: RedisServer;
  readonly nats: Nats;
  readonly replicas: readonly ReplicaProcess[];
  readonly #options: SiteOptions;
  readonly #children: Children;
  #started = 0;

  static async open(options: SiteOptions): Promise<Site> {
    const children = new Children(await mkdtemp(join(await realpath(tmpdir()), "transporter-replicas-")));
    try {
      const redis = await startRedis({ config: { appendfsync: options.appendfsync } });
      const nats = await startNats();
      const site = new Site(options, children, redis, nats);
      await Promise.all(site.replicas.map((replica) => replica.start()));
      await site.allReady(60_000);
      await site.#startAgents();
      return site;
    } catch (error) {
      await children.stop();
      throw error;
    }
  }

  private constructor(options: SiteOptions, children: Children, redis: RedisServer, nats: Nats) {
    this.#options = options;
    this.#children = children;
    this.redis = redis;
    this.nats = nats;
    this.journalPath = join(children.directory, "journal");
    this.journal = new Journal(this.journalPath);
    this.replicas = freePorts(options.replicas).map((port, at) => new ReplicaProcess(port, () => this.#startReplica(port, `cp-${at + 1}`)));
  }

  /** Of the queue that all of them read. */
  get queueUrl(): string {
    return `${this.nats.url}/proof`;
  }

  async allReady(timeoutMs: number): Promise<void> {
    for (const replica of this.replicas)
      await eventually(async () => !replica.running || (await replica.ready()), {
        timeoutMs,
        everyMs: 50,
        what: `${replica.url}/readyz`,
      }).catch(async (error: unknown) => {
        throw new Error(`${String(error)}\n${await replica.lastLines(15)}`);
      });
    const dead = this.replicas.find((replica) => !replica.running);
    if (dead !== undefined) throw new Error(`a control plane ended by itself:\n${await dead.lastLines(15)}`);
  }

  /** Somebody hands in events until `stop`, which waits until all that was begun is taken. */
  async load(
    parts: Pick<LoadConfig, "perSecond" | "queuePercent" | "maxPending">,
  ): Promise<{ stop(timeoutMs: number): Promise<LoadResult> }> {
    const config: LoadConfig = {
      journal: this.journalPath,
      urls: this.replicas.map(({ url }) => url),
      queueUrl: this.queueUrl,
      prefix: PREFIX,
      agents: this.#options.agents,
      ...parts,
    };
    const child = await this.#bun("load", "load.ts", config);
    return {
      stop: async (timeoutMs) => {
        child.kill("SIGTERM");
        const code = await Promise.race([child.exited, Bun.sleep(timeoutMs).then(() => "late" as const)]);
        if (code !== 0)
          throw new Error(
            `the load ${code === "late" ? "did not get rid of what it had begun" : `ended with ${code}`}:\n${await child.lastLines()}`,
          );
        return JSON.parse(await child.lastLines(1)) as LoadResult;
      },
    };
  }

  /** A number of Redis' INFO, such as `used_memory`. */
  async redisInfo(field: string): Promise<number> {
    const found = new RegExp(`^${field}:(\\d+)`, "m").exec(await this.redis.cli("INFO", "everything"))?.[1];
    if (found === undefined) throw new Error(`INFO has no ${field}`);
    return Number(found);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.journal[Symbol.dispose]();
    await this.#children.stop();
    await this.nats[Symbol.asyncDispose]();
    await this.redis[Symbol.asyncDispose]();
  }

  #startReplica(port: number, name: string): Promise<Child> {
    const args = ["cp", "--ws-port", String(port), "--store", this.redis.url, "--queue", this.queueUrl, "--log-format", "json"];
    return this.#children.spawn(name, [
      ...RAISED,
      ...transporterCommand([...args, ...(this.#options.cpFlags ?? [])], this.#options.compiled),
    ]);
  }

  async #startAgents(): Promise<void> {
    const { agents, agentProcesses, ledgers, plant } = this.#options;
    const each = Math.ceil(agents / agentProcesses);
    const all: Promise<unknown>[] = [];
    for (let from = 0; from < agents; from += each) {
      const config: AgentsConfig = {
        journal: this.journalPath,
        cpUrls: this.replicas.map(({ port }) => `ws://127.0.0.1:${port}/ws`),
        prefix: PREFIX,
        from,
        count: Math.min(each, agents - from),
        ...(ledgers ? { stateDir: join(this.#children.directory, "ledgers") } : {}),
        ...(plant === undefined ? {} : { plant }),
      };
      const child = await this.#bun("agents", "agents.ts", config);
      all.push(this.#allHere(child, agents));
    }
    await Promise.all(all);
  }

  async #allHere(child: Child, agents: number): Promise<void> {
    const found = await eventually(async () => /^ALL /m.test(await child.lastLines(50)) || (child.running ? undefined : "ended"), {
      timeoutMs: 30_000 + 100 * agents,
      everyMs: 100,
      what: "all agents",
    });
    if (found === "ended") throw new Error(`agents ended:\n${await child.lastLines(15)}`);
  }

  #bun(name: string, file: string, config: object): Promise<Child> {
    this.#started += 1;
    return this.#children.spawn(`${name}-${this.#started}`, [
      ...RAISED,
      process.execPath,
      join(import.meta.dir, file),
      JSON.stringify(config),
    ]);
  }
}
