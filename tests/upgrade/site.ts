import { existsSync } from "node:fs";
import { mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EventDetail } from "../../src/protocol/mod.ts";
import { eventually } from "../support/eventually.ts";
import type { RunningProcess } from "../support/process.ts";
import type { Version } from "./previous.ts";

export function configMap(name: string, bytes = 10): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: default\ndata:\n  value: "${"x".repeat(bytes)}"\n`;
}

function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = server;
  server.stop(true);
  return port;
}

/** A control plane and its agents, each of which can be replaced by another version over the same files. */
export class Site implements AsyncDisposable {
  readonly url: string;
  readonly wsUrl: string;
  readonly #home: string;
  readonly #port: number;
  #cp: RunningProcess | undefined;
  readonly #agents = new Map<string, RunningProcess>();

  static async make(): Promise<Site> {
    return new Site(await realpath(await mkdtemp(join(tmpdir(), "transporter-upgrade-"))), freePort());
  }

  private constructor(home: string, port: number) {
    this.#home = home;
    this.#port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.wsUrl = `ws://127.0.0.1:${port}/ws`;
  }

  async startCp(version: Version): Promise<void> {
    this.#cp = await version.controlPlane(join(this.#home, "cp.db"), this.#port);
  }

  async endCp(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    await this.#cp?.kill(signal);
    await this.#cp?.exited;
  }

  /** Starts an agent and waits until it is registered. Its ledger and its effects outlive it. */
  async startAgent(version: Version, id: string, cpUrl = this.wsUrl): Promise<RunningProcess> {
    const agent = await version.agent({ id, cpUrl, stateDir: join(this.#home, `state-${id}`), effectsPath: this.#effects(id) });
    this.#agents.set(id, agent);
    await agent.line(/Agent registered successfully/, { timeoutMs: 20_000 });
    return agent;
  }

  async endAgent(id: string, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    await this.#agents.get(id)?.kill(signal);
    await this.#agents.get(id)?.exited;
    this.#agents.delete(id);
  }

  /** Lets nothing of this agent get anywhere until it is let go. */
  hold(id: string): Promise<void> {
    return writeFile(`${this.#effects(id)}.hold`, "");
  }

  letGo(id: string): Promise<void> {
    return rm(`${this.#effects(id)}.hold`, { force: true });
  }

  /** The objects that were applied, once for each time. */
  async effects(id: string): Promise<string[]> {
    if (!existsSync(this.#effects(id))) return [];
    return (await readFile(this.#effects(id), "utf8"))
      .split("\n")
      .filter((line) => line !== "")
      .toSorted();
  }

  #effects(id: string): string {
    return join(this.#home, `effects-${id}`);
  }

  async post(event: Record<string, unknown>): Promise<Response> {
    return fetch(`${this.url}/v1/events`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(event) });
  }

  /** Hands in an event that makes one ConfigMap of the event's name; answers what was sent. */
  async submit(agentId: string, id: string, parts: Record<string, unknown> = {}, bytes = 10): Promise<Record<string, unknown>> {
    const event = { id, type: "k8s_resource", target_agent: agentId, payload: { manifests: [configMap(id, bytes)] }, ...parts };
    const response = await this.post(event);
    if (response.status !== 202) throw new Error(`${response.status} ${await response.text()}`);
    return event;
  }

  async get<T>(path: string): Promise<T> {
    const response = await fetch(this.url + path);
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }

  detail(id: string): Promise<EventDetail> {
    return this.get<EventDetail>(`/v1/events/${id}`);
  }

  async in(id: string, state: string, timeoutMs = 30_000): Promise<EventDetail> {
    return eventually(
      async () => {
        const detail = await this.detail(id);
        if (detail.state === state) return detail;
        const { message } = detail.log.at(-1) ?? { message: "" };
        throw new Error(`it is ${detail.state}: ${message}`);
      },
      { timeoutMs, everyMs: 25, what: `${id} to be ${state}` },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.#agents.values()) await agent[Symbol.asyncDispose]();
    await this.#cp?.[Symbol.asyncDispose]();
    await rm(this.#home, { recursive: true, force: true });
  }
}
