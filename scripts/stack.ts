import { mkdtemp, readFile, realpath, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Children, freePorts, portIfFree, type Child } from "../sandbox/mod.ts";
import { BUN, ROOT } from "./run.ts";
import { abandonTarget, openTarget, type Choice, type Target } from "./target.ts";

export const AGENT_ID = "quickstart";

export interface StackOptions {
  readonly choice: Choice;
  /** Debug logs of both sides on our terminal, instead of files. */
  readonly debug: boolean;
  readonly say: (line: string) => void;
}

/** A cluster, a control plane and an agent that belong to us. */
export class Stack implements AsyncDisposable {
  readonly cpUrl: string;
  readonly directory: string;
  readonly #options: StackOptions;
  readonly #children: Children;
  readonly #port: number;
  #target: Target | undefined;
  #stopping: Promise<void> | undefined;

  static async create(options: StackOptions): Promise<Stack> {
    return new Stack(options, await mkdtemp(join(await realpath(tmpdir()), "transporter-quickstart-")));
  }

  private constructor(options: StackOptions, directory: string) {
    this.#options = options;
    this.directory = directory;
    this.#children = new Children(directory);
    this.#port = portIfFree(8080) ?? freePorts(1)[0] ?? 8080;
    this.cpUrl = `http://127.0.0.1:${this.#port}`;
  }

  get target(): Target {
    if (this.#target === undefined) throw new Error("the stack has not started");
    return this.#target;
  }

  logPath(name: "cp" | "agent"): string {
    return this.#children.logPath(name);
  }

  /** The last lines of both programs, for when something went wrong. */
  async lastWords(): Promise<string> {
    const texts = await Promise.all(
      (["cp", "agent"] as const).map(async (name) => {
        const text = await readFile(this.logPath(name), "utf8").catch(() => "");
        return text === "" ? "" : `--- last lines of ${name}\n${text.trimEnd().split("\n").slice(-15).join("\n")}\n`;
      }),
    );
    return texts.join("");
  }

  /** Words that run `transporter` with nothing of the user's configuration. */
  transporter(...args: readonly string[]): { readonly command: readonly string[]; readonly env: Readonly<Record<string, string>> } {
    return {
      command: [BUN, join(ROOT, "bin", "transporter.ts"), ...args],
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: this.directory, TERM: process.env["TERM"] ?? "dumb" },
    };
  }

  /** The control plane starts while the cluster is still being made. */
  async start(): Promise<void> {
    const { choice, say } = this.#options;
    await writeFile(join(this.directory, "empty.yaml"), "");
    const opening = openTarget(choice, this.directory, say).then((target) => (this.#target = target));
    const [cp, target] = await Promise.all([this.#startControlPlane(), opening]);
    say(`Cluster: ${target.description}.`);
    const agent = await this.#spawn(
      "agent",
      ["agent", "--agent-id", AGENT_ID, "--cluster-name", AGENT_ID, ...this.#agentPlaces(), ...target.agentFlags],
      target.agentEnv,
    );
    await this.#until("the agent's registration", [cp, agent], async () => {
      const health = (await (await fetch(`${this.cpUrl}/health`)).json()) as { agent_count?: unknown };
      return health.agent_count === 1;
    });
    say(`Agent ${AGENT_ID} dialled out to ${this.cpUrl} and is registered.`);
  }

  /** Ends the programs first, so that nobody is at work on the cluster when it is cleaned up. Safe to call often. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    // The directory goes last: a cluster's own kubeconfig may lie in it.
    await this.#children.end(5000);
    try {
      await (this.#target === undefined ? abandonTarget(this.#options.choice) : this.#target.remove());
    } finally {
      await this.#children.stop();
    }
  }

  async #startControlPlane(): Promise<Child> {
    const store = `sqlite:${join(this.directory, "cp.db")}`;
    const cp = await this.#spawn("cp", ["cp", "--ws-addr", "127.0.0.1", "--ws-port", String(this.#port), "--store", store]);
    await this.#until("the control plane", [cp], async () => (await fetch(`${this.cpUrl}/readyz`)).ok);
    this.#options.say(`Control plane: ${this.cpUrl}`);
    return cp;
  }

  #agentPlaces(): string[] {
    return ["--state-dir", join(this.directory, "agent"), "--cp-url", `ws://127.0.0.1:${this.#port}/ws`];
  }

  #spawn(name: "cp" | "agent", args: readonly string[], moreEnv: Readonly<Record<string, string>> = {}): Promise<Child> {
    const { debug } = this.#options;
    const { command, env } = this.transporter(
      ...args,
      "--config",
      join(this.directory, "empty.yaml"),
      ...(debug ? ["--debug", "--log-format=text"] : []),
    );
    return this.#children.spawn(name, command, { env: { ...env, ...moreEnv }, toTerminal: debug });
  }

  async #until(what: string, children: readonly Child[], ask: () => Promise<boolean>): Promise<void> {
    const deadlineMs = performance.now() + 30_000;
    for (;;) {
      if (await ask().catch(() => false)) return;
      for (const child of children)
        if (!child.running) throw new Error(`${child.name} ended with ${await child.exited}:\n${await child.lastLines()}`);
      if (performance.now() > deadlineMs)
        throw new Error(`${what} did not come within 30 s:\n${(await children.at(-1)?.lastLines()) ?? ""}`);
      await Bun.sleep(50);
    }
  }
}
