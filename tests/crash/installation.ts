import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Cluster, freePorts } from "../../sandbox/mod.ts";
import { startKube } from "../support/kube.ts";
import { runTransporter, startTransporter, type RunResult } from "../support/process.ts";
import { Effects } from "./effects.ts";
import { HookSwitch } from "./hook-switch.ts";
import { type Kill, Service } from "./service.ts";

export interface InstallationOptions {
  readonly maxInFlight: number;
  readonly maxConcurrent: number;
}

export const NAMESPACE = "crash-proof";
/** The agent that changes the cluster, and one that only says what it would do. */
export const AGENTS = { writer: "writer", reader: "reader" } as const;

/** Everything that the proof needs, as processes with state on disk: an API server, a control plane, two agents. */
export class Installation implements AsyncDisposable {
  readonly url: string;
  readonly kube: Cluster;
  readonly effects: Effects;
  readonly hook: HookSwitch;
  readonly cp: Service;
  readonly writer: Service;
  readonly reader: Service;
  readonly kills: Kill[] = [];
  readonly #home: string;

  private constructor(kube: Cluster, effects: Effects, home: string, port: number, { maxInFlight, maxConcurrent }: InstallationOptions) {
    this.kube = kube;
    this.effects = effects;
    this.hook = new HookSwitch(kube);
    this.#home = home;
    this.url = `http://127.0.0.1:${port}`;
    const onKill = (kill: Kill): void => void this.kills.push(kill);
    const logs = ["--log-format", "json"];
    this.cp = new Service({
      name: "cp",
      onKill,
      start: async (env) =>
        startTransporter(["cp", "--ws-port", String(port), "--max-in-flight", String(maxInFlight), ...logs], {
          compiled: true,
          home,
          env,
        }),
    });
    const agent = (id: string, args: readonly string[]): Service =>
      new Service({
        name: id,
        onKill,
        start: async (env) =>
          startTransporter(
            [
              "agent",
              "--agent-id",
              id,
              "--cp-url",
              `ws://127.0.0.1:${port}/ws`,
              "--kubeconfig",
              kube.kubeconfigPath,
              "--max-concurrent",
              String(maxConcurrent),
              ...args,
              ...logs,
            ],
            { compiled: true, home, env },
          ),
      });
    this.writer = agent(AGENTS.writer, []);
    this.reader = agent(AGENTS.reader, ["--read-only"]);
  }

  static async start(options: InstallationOptions): Promise<Installation> {
    // Nothing but the API server: nobody else writes, and the processor is ours.
    const kube = await startKube({ apiServerFlags: ["--enable-priority-and-fairness=false", "--profiling=false"] });
    try {
      const made = await kube.request("POST", "/api/v1/namespaces", {
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name: NAMESPACE },
      });
      if (!made.ok) throw new Error(`the namespace was refused: ${await made.text()}`);
      const effects = await Effects.watch(kube, NAMESPACE);
      const home = await mkdtemp(join(await realpath(tmpdir()), "transporter-crash-"));
      const installation = new Installation(kube, effects, home, freePorts(1)[0] ?? 0, options);
      await Promise.all([installation.cp.start(), installation.writer.start(), installation.reader.start()]);
      return installation;
    } catch (error) {
      await kube.stop();
      throw error;
    }
  }

  get services(): readonly Service[] {
    return [this.cp, this.writer, this.reader];
  }

  trouble(): string {
    return this.services.map((service) => service.trouble()).join("\n");
  }

  /** `transporter …` against this control plane. */
  run(args: readonly string[], input: string, env: Readonly<Record<string, string>> = {}): Promise<RunResult> {
    return runTransporter([...args, "--cp-url", this.url], { compiled: true, input, env, timeoutMs: 60_000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hook[Symbol.asyncDispose]();
    for (const service of this.services) await service[Symbol.asyncDispose]();
    await this.effects[Symbol.asyncDispose]();
    await this.kube.stop();
    await rm(this.#home, { recursive: true, force: true });
  }
}
