import { mkdtemp, readFile, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EventDetail, isTerminal } from "../../src/protocol/mod.ts";
import { eventually } from "../support/eventually.ts";
import { type FlakyProxy, flakyProxy } from "../support/flaky-proxy.ts";
import { type RunningProcess, startProcess } from "../support/process.ts";
import type { MapAgentConfig } from "./map-agent.ts";

export interface LineOptions {
  /** The control plane's. */
  readonly port: number;
  readonly id: string;
  /** Through an HTTP proxy instead of the flaky one. */
  readonly connectProxyPort?: number;
}

/** One agent process behind a wire of its own, and the events that were handed in for it. */
export class Line implements AsyncDisposable {
  readonly id: string;
  readonly proxy: FlakyProxy;
  readonly agent: RunningProcess;
  readonly #cpUrl: string;
  readonly #home: string;
  readonly #accepted: string[] = [];
  #counter = 0;

  static async open(options: LineOptions): Promise<Line> {
    const home = await mkdtemp(join(await realpath(tmpdir()), "transporter-wire-"));
    const proxy = await flakyProxy({ targetPort: options.port });
    const through = options.connectProxyPort;
    const config: MapAgentConfig = {
      id: options.id,
      // A name, as a loopback address never goes through a proxy.
      cpUrl: through === undefined ? `ws://127.0.0.1:${proxy.port}/ws` : `ws://cp.internal:${proxy.port}/ws`,
      stateDir: join(home, "state"),
      effectsPath: join(home, "effects"),
      ...(through === undefined ? {} : { proxyEnv: { HTTP_PROXY: `http://127.0.0.1:${through}` } }),
    };
    const agent = await startProcess([process.execPath, join(import.meta.dir, "map-agent.ts"), JSON.stringify(config)], { home });
    const line = new Line(options, proxy, agent, home);
    await line.registered(1, 20_000);
    return line;
  }

  private constructor(options: LineOptions, proxy: FlakyProxy, agent: RunningProcess, home: string) {
    this.id = options.id;
    this.proxy = proxy;
    this.agent = agent;
    this.#cpUrl = `http://127.0.0.1:${options.port}`;
    this.#home = home;
  }

  /** How often the agent has said this. */
  said(message: string): number {
    return this.agent.stdout().split(`"message":"${message}"`).length - 1;
  }

  get registrations(): number {
    return this.said("Agent registered successfully");
  }

  async registered(times: number, timeoutMs: number): Promise<void> {
    await eventually(() => this.registrations >= times, { timeoutMs, everyMs: 20, what: `${this.id}: registration ${times}` });
  }

  /** Hands an event in, straight to the control plane; what it touches has the event's name. */
  async submit(parts: Record<string, unknown> = {}, data = "x"): Promise<string> {
    this.#counter += 1;
    const id = `${this.id}-${this.#counter}`;
    const manifest = `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${id}\n  namespace: default\ndata:\n  value: "${data}"\n`;
    const response = await fetch(`${this.#cpUrl}/events`, {
      method: "POST",
      body: JSON.stringify({ id, type: "k8s_resource", target_agent: this.id, payload: { manifests: [manifest] }, ...parts }),
    });
    if (response.status !== 202) throw new Error(`${response.status} ${await response.text()}`);
    this.#accepted.push(id);
    return id;
  }

  /** Hands events in at this pace until told to stop. */
  steadily(everyMs: number): () => Promise<void> {
    const pace = { going: true };
    const run = async (): Promise<void> => {
      while (pace.going) {
        await this.submit();
        await Bun.sleep(everyMs);
      }
    };
    const done = run();
    return async () => {
      pace.going = false;
      await done;
    };
  }

  async detail(id: string): Promise<EventDetail> {
    return (await (await fetch(`${this.#cpUrl}/v1/events/${id}`)).json()) as EventDetail;
  }

  /** What the control plane thinks of the agent: connected, unhealthy, disconnected. */
  async seenAs(): Promise<string> {
    return ((await (await fetch(`${this.#cpUrl}/v1/agents/${this.id}`)).json()) as { readonly status: string }).status;
  }

  /** Waits until everything accepted so far has ended. */
  async settle(timeoutMs: number): Promise<void> {
    let at = 0;
    await eventually(
      async () => {
        for (; at < this.#accepted.length; at += 1) {
          const detail = await this.detail(this.#accepted[at] ?? "");
          if (!isTerminal(detail.state)) throw new Error(`${detail.id} is ${detail.state}`);
        }
        return true;
      },
      { timeoutMs, everyMs: 50, what: `${this.id}: the end of all events` },
    );
  }

  /** What is wrong with what happened: each accepted event must have completed once, with its effect once. */
  async faults(): Promise<string[]> {
    const effects = (await readFile(join(this.#home, "effects"), "utf8").catch(() => "")).split("\n");
    const found: string[] = [];
    for (const id of this.#accepted) {
      const { state, log } = await this.detail(id);
      if (state !== "completed") found.push(`${id} is ${state}`);
      const ends = log.filter((entry) => isTerminal(entry.state)).length;
      if (ends !== 1) found.push(`${id} has ${ends} ends in its log`);
      const times = effects.filter((name) => name === id).length;
      if (times !== 1) found.push(`${id} was applied ${times} times`);
    }
    for (const bad of ["UNHANDLEDREJECTION", "UNCAUGHTEXCEPTION"])
      if (this.agent.stdout().includes(bad)) found.push(`${this.id}: ${this.agent.stdout().slice(this.agent.stdout().indexOf(bad), 500)}`);
    return found;
  }

  get accepted(): number {
    return this.#accepted.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await this.proxy[Symbol.asyncDispose]();
    await rm(this.#home, { recursive: true, force: true });
  }
}
