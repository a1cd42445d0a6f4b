import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, realpath } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Child, Children } from "../../sandbox/mod.ts";
import { eventually } from "../support/eventually.ts";
import { EXECUTABLE_PATH, transporterCommand } from "../support/process.ts";
import type { LoadTask } from "./load.ts";

const LOAD_TIMEOUT_MS = 240_000;

/** A program under load. */
export interface Service {
  readonly url: string;
  readonly pid: number;
  /** SIGTERM, and SIGKILL when that does not help. */
  stop(): Promise<void>;
}

/** A task without what the workbench fills in. */
type Without<T, K extends string> = T extends unknown ? Omit<T, K> : never;

/** Starts what is measured and what measures it, each a process of its own on 127.0.0.1, and ends all of it. */
export class Workbench implements AsyncDisposable {
  /** Small counts: to see that everything works, not to get figures. */
  readonly quick: boolean;
  readonly compiled: boolean;
  readonly directory: string;
  readonly say: (line: string) => void;
  readonly #children: Children;
  #started = 0;

  static async open(options: {
    readonly quick: boolean;
    readonly source: boolean;
    readonly say: (line: string) => void;
  }): Promise<Workbench> {
    return new Workbench(options, await mkdtemp(join(await realpath(tmpdir()), "transporter-bench-")));
  }

  private constructor(
    options: { readonly quick: boolean; readonly source: boolean; readonly say: (line: string) => void },
    directory: string,
  ) {
    this.quick = options.quick;
    this.say = options.say;
    this.compiled = !options.source && existsSync(EXECUTABLE_PATH);
    this.directory = directory;
    this.#children = new Children(directory);
  }

  /** The smaller number when this is a quick run. */
  count(full: number, quick: number): number {
    return this.quick ? quick : full;
  }

  /** `transporter cp` with the defaults that ship: only the port is chosen for it, the home directory its files go to, and what `args` say. */
  async startControlPlane(args: readonly string[] = []): Promise<Service> {
    const child = await this.#spawn("cp", transporterCommand(["cp", "--ws-port", "0", ...args], this.compiled));
    const address = await this.#said(child, /"message":"Control plane is listening","address":"([^"]+)"/);
    return service(child, `http://${address}`);
  }

  async startBareLoop(): Promise<Service> {
    const name = this.#name("bare-loop");
    const child = await this.#spawn(name, [process.execPath, join(import.meta.dir, "bare-loop.ts"), join(this.directory, `${name}.db`)]);
    return service(child, await this.#said(child, /listening on (\S+)/));
  }

  /** `transporter agent` with the defaults that ship, for one cluster. */
  async startAgent(id: string, controlPlane: Service, kubeconfigPath: string): Promise<Service> {
    const cpUrl = `${controlPlane.url.replace(/^http/, "ws")}/ws`;
    const args = ["agent", "--agent-id", id, "--cluster-name", "bench", "--cp-url", cpUrl, "--kubeconfig", kubeconfigPath];
    const child = await this.#spawn("agent", transporterCommand(args, this.compiled));
    await this.#said(child, /"message":"(Agent registered successfully)"/);
    return service(child, controlPlane.url);
  }

  /** Runs a load to its end and gives its result. */
  async load<T>(target: Pick<Service, "url" | "pid">, task: Without<LoadTask, "url" | "pid">): Promise<T> {
    const child = await this.#spawnLoad(target, task);
    const inTime = await Promise.race([child.exited, Bun.sleep(LOAD_TIMEOUT_MS).then(() => "late" as const)]);
    if (inTime !== 0) {
      child.kill("SIGKILL");
      throw new Error(`the load ${inTime === "late" ? "did not end" : `ended with ${inTime}`}:\n${await child.lastLines()}`);
    }
    return JSON.parse(await child.lastLines(1)) as T;
  }

  /** Connects agents that stay until the answer is called. */
  async hold(target: Service, agents: number, heartbeatMs: number, prefix: string): Promise<() => Promise<void>> {
    const child = await this.#spawnLoad(target, { mode: "hold", agents, heartbeatMs, prefix });
    await this.#said(child, /\{"connected":(\d+)\}/, 60_000);
    return async () => {
      child.kill("SIGKILL");
      await child.exited;
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#children.stop(3_000);
  }

  #name(what: string): string {
    this.#started += 1;
    return `${what}-${this.#started}`;
  }

  #spawnLoad(target: Pick<Service, "url" | "pid">, task: Without<LoadTask, "url" | "pid">): Promise<Child> {
    const whole = JSON.stringify({ ...task, url: target.url, pid: target.pid });
    return this.#spawn("load", [process.execPath, join(import.meta.dir, "load.ts"), whole]);
  }

  async #spawn(what: string, command: readonly string[]): Promise<Child> {
    const name = /-\d+$/.test(what) ? what : this.#name(what);
    const home = join(this.directory, "homes", name);
    await mkdir(home, { recursive: true });
    // As many files as allowed: each agent is one, and a login shell's soft limit may be 1,024.
    const raised = ["/bin/sh", "-c", 'ulimit -n "$(ulimit -Hn)" 2>/dev/null; exec "$@"', "sh", ...command];
    return this.#children.spawn(name, raised, { cwd: home, env: { HOME: home } });
  }

  async #said(child: Child, pattern: RegExp, timeoutMs = 20_000): Promise<string> {
    const found = await eventually(
      async () => {
        const text = await readFile(this.#children.logPath(child.name), "utf8").catch(() => "");
        return pattern.exec(text)?.[1] ?? (child.running ? undefined : { ended: text });
      },
      { timeoutMs, everyMs: 25, what: `${pattern} from ${child.name}` },
    );
    if (typeof found === "string") return found;
    throw new Error(`${child.name} ended:\n${found.ended.slice(-2000)}`);
  }
}

function service(child: Child, url: string): Service {
  return {
    url,
    pid: child.pid,
    async stop() {
      child.kill("SIGTERM");
      await Promise.race([child.exited, Bun.sleep(10_000)]);
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
