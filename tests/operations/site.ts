import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "../../sandbox/mod.ts";
import { temporaryDirectory } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { type RunningProcess, type RunResult, runTransporter, startTransporter, transporterCommand } from "../support/process.ts";
import { readText } from "../docs/markdown.ts";
import { runStep, sectionOf, stepsOf } from "../docs/steps.ts";

/** A machine on which somebody follows docs/operations.md: a secured control plane, agents in homes of their own, real processes all. */
export interface Site extends AsyncDisposable {
  readonly home: string;
  /** `$XDG_STATE_HOME/transporter` of the control plane. */
  readonly state: string;
  readonly url: string;
  readonly token: string;
  readonly env: Readonly<Record<string, string>>;
  /** Answers when it listens. With further variables, for this start alone. */
  startCp(more?: Readonly<Record<string, string>>): Promise<void>;
  /** SIGTERM, or as a machine that loses power. */
  stopCp(signal?: NodeJS.Signals): Promise<void>;
  /** The log of the control plane that runs, or ran last. */
  cpLog(): string;
  run(args: readonly string[], options?: { readonly env?: Record<string, string>; readonly input?: string }): Promise<RunResult>;
  /** Fails unless it ends well; the answer as JSON. */
  json<T>(path: string, init?: RequestInit & { readonly token?: string }, status?: number): Promise<T>;
  status(path: string, init?: RequestInit & { readonly token?: string }): Promise<number>;
  /** Enrols it, once for an id; later starts have the identity. */
  startAgent(id: string, kubeconfig: string): Promise<RunningProcess>;
  /** Runs the shell blocks below a heading of docs/operations.md, in order, the `nth` alone where it is named. */
  follow(
    heading: string,
    nth?: number,
    options?: { readonly env?: Readonly<Record<string, string>>; readonly adapt?: (text: string) => string },
  ): Promise<string>;
}

const LISTENS = /Control plane is listening.*?"address":"127\.0\.0\.1:(\d+)"/;

async function programs(home: string, more: Readonly<Record<string, readonly string[]>>): Promise<string> {
  const bin = join(home, "bin");
  await mkdir(bin, { recursive: true });
  for (const [name, command] of Object.entries({ transporter: transporterCommand([]), ...more })) {
    const path = join(bin, name);
    await writeFile(path, `#!/bin/sh\nexec ${command.map((word) => `'${word}'`).join(" ")} "$@"\n`);
    await chmod(path, 0o755);
  }
  return bin;
}

export interface SiteOptions {
  /** Variables of the control plane, such as TRANSPORTER_STORE. */
  readonly env?: Readonly<Record<string, string>>;
  /** Programs that the page calls, by name, with the command that each is. */
  readonly programs?: Readonly<Record<string, readonly string[]>>;
}

export async function startSite(options: SiteOptions = {}): Promise<Site> {
  const files = await temporaryDirectory();
  const home = files.path;
  const bin = await programs(home, options.programs ?? {});
  const [port = 0, agentPort = 0, probePort = 0] = freePorts(3);
  const env = {
    PATH: `${bin}:${process.env["PATH"] ?? "/usr/bin:/bin"}`,
    TRANSPORTER_WS_ADDR: "127.0.0.1",
    TRANSPORTER_WS_PORT: String(port),
    TRANSPORTER_AGENT_PORT: String(agentPort),
    TRANSPORTER_PROBE_PORT: String(probePort),
    TRANSPORTER_ADVERTISE_AGENTS: `wss://127.0.0.1:${agentPort}/ws`,
    TRANSPORTER_LOG_FORMAT: "json",
    ...options.env,
  };
  const init = await runTransporter(["cp", "init", "--name", "127.0.0.1"], { home, env });
  const token = /\btpu_\w+/.exec(init.stdout)?.[0] ?? "";
  const pin = /sha256:[0-9a-f]{64}/.exec(init.stdout)?.[0] ?? "";
  const state = join(home, ".local/state/transporter");
  const ca = await Bun.file(join(state, "security/ca.crt")).text();
  const url = `https://127.0.0.1:${port}`;
  let cp: RunningProcess | undefined;

  const send = (path: string, { token: own = token, ...init }: RequestInit & { readonly token?: string } = {}): Promise<Response> =>
    fetch(url + path, { ...init, headers: { authorization: `Bearer ${own}`, "content-type": "application/json" }, tls: { ca } });

  const json: Site["json"] = async <T>(path: string, init: RequestInit & { readonly token?: string } = {}, status = 200): Promise<T> => {
    const response = await send(path, init);
    const text = await response.text();
    if (response.status !== status) throw new Error(`${path} answered ${response.status}: ${text}`);
    return JSON.parse(text) as T;
  };

  return {
    home,
    state,
    url,
    token,
    env,
    async startCp(more = {}) {
      await cp?.[Symbol.asyncDispose]();
      cp = await startTransporter(["cp"], { home, env: { ...env, ...more } });
      await cp.line(LISTENS, { timeoutMs: 30_000 });
    },
    async stopCp(signal = "SIGTERM") {
      const code = await cp?.kill(signal);
      if (signal === "SIGTERM" && code !== 0) throw new Error(`the control plane ended with ${String(code)}\n${cp?.stderr() ?? ""}`);
    },
    cpLog: () => cp?.stderr() ?? "",
    run: (args, { env: more, ...rest } = {}) => runTransporter(args, { home, env: { ...env, ...more }, ...rest }),
    json,
    async status(path, init) {
      const response = await send(path, init);
      await response.text();
      return response.status;
    },
    async startAgent(id, kubeconfig) {
      const agentHome = join(home, `agent-${id}`);
      const isNew = !(await Bun.file(join(agentHome, "enrolled")).exists());
      await mkdir(agentHome, { recursive: true });
      const made = isNew
        ? await json<{ token: string }>("/v1/tokens", { method: "POST", body: JSON.stringify({ kind: "enrolment", agent: id }) }, 201)
        : undefined;
      const agent = await startTransporter(
        ["agent", "--agent-id", id, "--cp-url", url, "--ca-hash", pin, "--kubeconfig", kubeconfig, "--log-format", "json"],
        { home: agentHome, env: made === undefined ? {} : { TRANSPORTER_ENROLMENT_TOKEN: made.token } },
      );
      await agent.line(/Agent registered successfully/, { timeoutMs: 30_000 });
      await writeFile(join(agentHome, "enrolled"), "");
      return agent;
    },
    async follow(heading, nth, { env: more = {}, adapt = (text: string) => text } = {}) {
      const steps = stepsOf(adapt(sectionOf(await readText("docs/operations.md"), heading)));
      const wanted = nth === undefined ? steps : steps.slice(nth, nth + 1);
      if (wanted.length === 0) throw new Error(`there is no such block below ${heading}`);
      let output = "";
      for (const step of wanted) output += await runStep(step, { home, env: { ...env, ...more } });
      return output;
    },
    async [Symbol.asyncDispose]() {
      await cp?.[Symbol.asyncDispose]();
      await files[Symbol.asyncDispose]();
    },
  };
}

/** An event that makes one ConfigMap. */
export function configMapEvent(id: string, agent: string, namespace: string): Record<string, unknown> {
  const manifest = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: id, namespace }, data: { from: id } };
  return { id, type: "k8s_resource", target_agent: agent, payload: { manifests: [JSON.stringify(manifest)] } };
}

interface Detail {
  readonly state: string;
  readonly log: readonly { readonly message: string }[];
}

export async function stateOf(site: Site, id: string): Promise<string> {
  return (await site.json<Detail>(`/v1/events/${id}`)).state;
}

export function completed(site: Site, id: string): Promise<unknown> {
  return eventually(async () => (await stateOf(site, id)) === "completed", { what: `the end of ${id}`, timeoutMs: 30_000 });
}

export async function hand(site: Site, event: Record<string, unknown>): Promise<string> {
  await site.json("/v1/events", { method: "POST", body: JSON.stringify(event) }, 202);
  return String(event["id"]);
}

/** Hands events in, one after the other, until told to stop; answers the ids of all that were accepted. */
export function load(site: Site, prefix: string): { stop(): Promise<string[]>; readonly accepted: readonly string[] } {
  const accepted: string[] = [];
  const end = new AbortController();
  const work = async (): Promise<void> => {
    for (let n = 0; !end.signal.aborted; n += 1)
      accepted.push(await hand(site, configMapEvent(`${prefix}-${n}`, `${prefix}-nobody`, "default")));
  };
  const done = work();
  return {
    accepted,
    async stop() {
      end.abort();
      await done;
      return accepted;
    },
  };
}
