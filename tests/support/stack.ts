import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isTerminal, type EventDetail } from "../../src/protocol/mod.ts";
import { eventually } from "./eventually.ts";
import { type RunningProcess, type RunResult, runTransporter, startTransporter } from "./process.ts";

export interface StackOptions {
  readonly compiled: boolean;
  readonly kubeconfig: string;
  readonly cpArgs?: readonly string[];
  readonly agentArgs?: readonly string[];
}

/** A control plane and an agent as people run them: two processes with state on disk that can be killed and started again. */
export class Stack implements AsyncDisposable {
  readonly agentId = "e2e-agent";
  readonly url: string;
  readonly #options: StackOptions;
  readonly #home: string;
  readonly #port: number;
  #cp: RunningProcess | undefined;
  #agent: RunningProcess | undefined;

  private constructor(options: StackOptions, home: string, port: number) {
    this.#options = options;
    this.#home = home;
    this.#port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(options: StackOptions): Promise<Stack> {
    const home = await mkdtemp(join(await realpath(tmpdir()), "transporter-e2e-"));
    const stack = new Stack(options, home, freePort());
    await stack.startCp();
    await stack.startAgent();
    await eventually(async () => ((await (await fetch(`${stack.url}/health`)).json()) as { agent_count: number }).agent_count === 1, {
      what: "the agent's registration",
      timeoutMs: 20_000,
    });
    return stack;
  }

  get cp(): RunningProcess {
    if (this.#cp === undefined) throw new Error("the control plane is not running");
    return this.#cp;
  }

  get agent(): RunningProcess {
    if (this.#agent === undefined) throw new Error("the agent is not running");
    return this.#agent;
  }

  async startCp(): Promise<void> {
    this.#cp = await startTransporter(["cp", "--ws-port", String(this.#port), "--log-format", "json", ...(this.#options.cpArgs ?? [])], {
      compiled: this.#options.compiled,
      home: this.#home,
    });
    await this.#cp.line(/Control plane is listening/);
  }

  async startAgent(): Promise<void> {
    this.#agent = await startTransporter(
      [
        "agent",
        "--agent-id",
        this.agentId,
        "--cluster-name",
        "e2e",
        "--cp-url",
        `ws://127.0.0.1:${this.#port}/ws`,
        "--kubeconfig",
        this.#options.kubeconfig,
        "--log-format",
        "json",
        ...(this.#options.agentArgs ?? []),
      ],
      { compiled: this.#options.compiled, home: this.#home },
    );
  }

  /** Runs `transporter …` against this control plane. */
  run(args: readonly string[], timeoutMs = 60_000): Promise<RunResult> {
    return runTransporter(args, { compiled: this.#options.compiled, env: { TRANSPORTER_CP_URL: this.url }, timeoutMs });
  }

  /** Hands an event in and answers it once it has ended. */
  async carryOut(
    manifests: readonly string[],
    parts: Record<string, unknown> = {},
    payload: Record<string, unknown> = {},
  ): Promise<EventDetail> {
    return this.ended(await this.submit(manifests, parts, payload));
  }

  /** Hands an event in; answers its id. */
  async submit(manifests: readonly string[], parts: Record<string, unknown> = {}, payload: Record<string, unknown> = {}): Promise<string> {
    const id = crypto.randomUUID();
    const response = await fetch(`${this.url}/events`, {
      method: "POST",
      body: JSON.stringify({ id, type: "k8s_resource", target_agent: this.agentId, payload: { manifests, ...payload }, ...parts }),
    });
    if (response.status !== 202) throw new Error(`${response.status} ${await response.text()}`);
    return id;
  }

  async ended(id: string, timeoutMs = 60_000): Promise<EventDetail> {
    return eventually(
      async () => {
        const detail = (await (await fetch(`${this.url}/v1/events/${id}`)).json()) as EventDetail;
        return isTerminal(detail.state) ? detail : undefined;
      },
      { timeoutMs, everyMs: 25, what: `the end of event ${id}` },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent?.[Symbol.asyncDispose]();
    await this.#cp?.[Symbol.asyncDispose]();
    await rm(this.#home, { recursive: true, force: true });
  }
}

function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = server;
  server.stop(true);
  return port;
}
