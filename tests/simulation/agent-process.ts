import { type Agent, startAgent } from "../../src/agent/mod.ts";
import type { Ledger } from "../../src/agent/ledger.ts";
import { FileLedger } from "../../src/agent/ledger-file.ts";
import { createParsing } from "../../src/agent/off-loop.ts";
import type { Logger } from "../../src/kit/mod.ts";
import { surround, type Around } from "./around.ts";
import type { Cluster } from "./cluster.ts";
import type { Disk } from "./disk.ts";
import type { History } from "./history.ts";
import type { Network } from "./network.ts";
import { watchScripts } from "./observers.ts";
import { Life, type WallClock, type World } from "./world.ts";

export interface AgentProcessOptions {
  readonly id: string;
  /** Control planes that it knows, or one name that stands for all. */
  readonly hosts: readonly string[];
  readonly world: World;
  readonly network: Network;
  readonly disk: Disk;
  readonly cluster: Cluster;
  readonly maxConcurrent: number;
  readonly heartbeatIntervalMs: number;
  readonly log: Logger;
  readonly history: History;
  /** Around the ledger, the innermost first. */
  readonly around: readonly Around[];
}

/** An agent as a process: started, killed, started again over the same ledger. */
export class AgentProcess {
  readonly id: string;
  readonly disk: Disk;
  readonly cluster: Cluster;
  readonly wall: WallClock = { offsetMs: 0 };
  life: Life | undefined;
  agent: Agent | undefined;
  readonly #options: AgentProcessOptions;
  #lives = 0;

  constructor(options: AgentProcessOptions) {
    this.#options = options;
    this.id = options.id;
    this.disk = options.disk;
    this.cluster = options.cluster;
  }

  start(): void {
    const { world } = this.#options;
    this.#lives += 1;
    const life = new Life(this.id, this.#lives);
    this.life = life;
    world.note(`start ${this.id} ${this.#lives}`);
    world.as(life, () => void this.#begin(life));
  }

  async #begin(life: Life): Promise<void> {
    const { world, network, cluster, log, around, maxConcurrent, heartbeatIntervalMs, history } = this.#options;
    const ports = world.portsOf(life, this.wall);
    let ledger: Ledger = new FileLedger({
      stateDir: "",
      database: this.disk.open(),
      agentId: this.id,
      clock: ports.clock,
      timers: ports.timers,
      log,
    });
    for (const one of around) ledger = surround(ledger, one);
    const agent = await startAgent({
      id: this.id,
      name: this.id,
      clusterName: this.id,
      clusterProvider: "simulation",
      region: "",
      namespace: "",
      labels: {},
      version: "0.0.0",
      hostname: this.id,
      cpUrls: this.#options.hosts.map((host) => `ws://${host}/ws`),
      proxyEnv: {},
      stateDir: undefined,
      ledger,
      maxConcurrent,
      heartbeatIntervalMs,
      cluster: { resources: cluster.resources(life) },
      runners: { script: watchScripts(history, this.disk, cluster.scripts(life)) },
      parsing: createParsing(ports.timers, Number.POSITIVE_INFINITY),
      dialer: (url, options) => network.dial(life, this.id, new URL(url).hostname, options),
      ports,
      log,
    });
    if (!life.dead) this.agent = agent;
  }

  /** The process is gone. What its ledger had committed is what is left. */
  crash(silently: boolean): void {
    const { life } = this;
    if (life === undefined) return;
    life.dead = true;
    this.life = undefined;
    this.agent = undefined;
    this.disk.crash();
    this.#options.network.lost(life, silently);
  }

  /** Stops as SIGTERM makes it; `then` when it is gone. */
  stop(then: () => void): void {
    const { life, agent } = this;
    if (life === undefined || agent === undefined) return;
    const end = async (): Promise<void> => {
      await agent.stop();
      if (this.life !== life) return;
      this.crash(false);
      then();
    };
    this.#options.world.as(life, () => void end());
  }
}
