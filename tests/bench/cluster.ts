import { rm } from "node:fs/promises";
import { join } from "node:path";
import { startKube, uniqueName, type Cluster } from "../support/kube.ts";
import { atLeast, below, type Figure } from "./figures.ts";
import { type Memory, median, memoryOf, percentile } from "./proc.ts";
import { StatusStream } from "./status-stream.ts";
import type { Service, Workbench } from "./workbench.ts";

const APPLYING = "Applying to a real API server (event to completed, against kubectl of the same objects)";
const MEMORY = "Memory of the agent";
const ONE = "One ConfigMap, from POST to applied and reported";
export const AGENT_ID = "bench";
const MIB = 2 ** 20;
export const UNCHECKED = ["--validate=false"];

export function configMap(at: number, namespace: string): string {
  return (
    `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: map-${at}\n  namespace: ${namespace}\n  labels:\n    app: bench\n    tier: backend\n` +
    `data:\n  key: value-${at}\n  log_level: info\n  settings.properties: |\n    color=blue\n    retries=3\n    text=${"x".repeat(120)}\n`
  );
}

/** Five kinds in turn, none of which needs a controller to be ready. */
export function mixed(at: number, namespace: string): string {
  const metadata = `metadata:\n  name: mixed-${at}\n  namespace: ${namespace}\n  labels:\n    app: bench\n`;
  switch (at % 5) {
    case 0:
      return `apiVersion: v1\nkind: Secret\n${metadata}type: Opaque\nstringData:\n  key: value-${at}\n`;
    case 1:
      return `apiVersion: v1\nkind: Service\n${metadata}spec:\n  selector:\n    app: bench-${at}\n  ports:\n    - port: 80\n      targetPort: 8080\n`;
    case 2:
      return `apiVersion: v1\nkind: ServiceAccount\n${metadata}`;
    case 3:
      return `apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n${metadata}rules:\n  - apiGroups: [""]\n    resources: [pods]\n    verbs: [get, list]\n`;
    default:
      return configMap(at, namespace);
  }
}

export type Make = (at: number, namespace: string) => string;

export function manifest(make: Make, objects: number, namespace: string): string {
  return Array.from({ length: objects }, (_, at) => make(at, namespace)).join("---\n");
}

/** The agent at work on a real API server: what it takes, how fast it is, and how fast kubectl is with the same. */
export async function cluster(bench: Workbench): Promise<Figure[]> {
  await using kube = await startKube({ onProgress: bench.say });
  const cp = await bench.startControlPlane();
  const figures = await atWork(bench, kube, cp);
  await cp.stop();
  return figures;
}

async function atWork(bench: Workbench, kube: Cluster, cp: Service): Promise<Figure[]> {
  await using stream = await StatusStream.open(cp.url);
  const agent = await bench.startAgent(AGENT_ID, cp, kube.kubeconfigPath);
  const site = new Site(bench, kube, cp, stream);
  const figures = await memory(bench, site, agent);
  figures.push(...(await one(bench, site)));
  figures.push(...(await applying(bench, site)));
  await agent.stop();
  return figures;
}

export class Site {
  readonly #bench: Workbench;
  readonly #kube: Cluster;
  readonly #cp: Service;
  readonly #stream: StatusStream;

  constructor(bench: Workbench, kube: Cluster, cp: Service, stream: StatusStream) {
    this.#bench = bench;
    this.#kube = kube;
    this.#cp = cp;
    this.#stream = stream;
  }

  async namespace(): Promise<string> {
    const name = uniqueName("bench");
    const answer = await this.#kube.request("POST", "/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name } });
    if (!answer.ok) throw new Error(`namespace ${name}: ${answer.status} ${await answer.text()}`);
    await answer.text();
    return name;
  }

  /** From the POST until the control plane tells that the event is completed. */
  async byEvent(text: string): Promise<{ readonly ms: number; readonly phases: string }> {
    const id = `bench-${crypto.randomUUID()}`;
    const body = JSON.stringify({
      id,
      type: "k8s_resource",
      target_agent: AGENT_ID,
      payload: { manifests: [text] },
      created_at: new Date().toISOString(),
      created_by: "bench",
      ttl: 3_600_000_000_000,
      priority: 0,
    });
    const ended = this.#stream.end(id);
    const startedMs = performance.now();
    const answer = await fetch(`${this.#cp.url}/events`, { method: "POST", body });
    if (answer.status !== 202) throw new Error(`an event was answered with ${answer.status}: ${await answer.text()}`);
    await answer.text();
    const { atMs, phasesMs } = await ended;
    return { ms: atMs - startedMs, phases: [...phasesMs].map(([phase, ms]) => `${phase} ${ms}`).join(", ") };
  }

  /** Milliseconds of kubectl, start to end, as people run it; the sandbox's own unless another is named. */
  async byKubectl(text: string, flags: readonly string[], kubectl: string = this.#kube.kubectlPath): Promise<number> {
    const path = join(this.#bench.directory, `${uniqueName("kubectl")}.yaml`);
    await Bun.write(path, text);
    const startedMs = performance.now();
    const { exitCode, stderr } = Bun.spawnSync(
      [kubectl, "--kubeconfig", this.#kube.kubeconfigPath, "apply", "--server-side", ...flags, "-f", path],
      { env: this.#env(), stdout: "ignore", stderr: "pipe" },
    );
    const ms = performance.now() - startedMs;
    await rm(path);
    if (exitCode !== 0) throw new Error(`${kubectl} apply ended with ${exitCode}: ${stderr.toString()}`);
    return ms;
  }

  /** What a kubectl says of itself, for example v1.36.3; undefined when there is none. */
  kubectlVersion(kubectl: string | null): string | undefined {
    if (kubectl === null) return undefined;
    const { exitCode, stdout } = Bun.spawnSync([kubectl, "version", "--client", "--output=json"], { env: this.#env(), stderr: "ignore" });
    return exitCode === 0 ? /"gitVersion":\s*"([^"]+)"/.exec(stdout.toString())?.[1] : undefined;
  }

  get ownKubectl(): string {
    return this.#kube.kubectlPath;
  }

  /** HOME holds kubectl's caches, which must not be the user's. */
  #env(): Record<string, string> {
    return { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: this.#bench.directory };
  }

  /** Fails unless the namespace holds so many ConfigMaps of ours: a figure for work not done is worth nothing. */
  async demand(namespace: string, configMaps: number): Promise<void> {
    const answer = await this.#kube.request("GET", `/api/v1/namespaces/${namespace}/configmaps?labelSelector=app%3Dbench`);
    const { items } = (await answer.json()) as { readonly items: readonly unknown[] };
    if (items.length !== configMaps) throw new Error(`namespace ${namespace} holds ${items.length} ConfigMaps instead of ${configMaps}`);
  }
}

function inWords({ anonymousBytes, peakBytes }: Memory): string {
  return `of it ${(anonymousBytes / MIB).toFixed(0)} its own, the rest pages of the program's file; peak ${(peakBytes / MIB).toFixed(0)}`;
}

async function memory(bench: Workbench, site: Site, agent: Service): Promise<Figure[]> {
  await Bun.sleep(bench.count(3_000, 1_000));
  const idle = memoryOf(agent.pid);
  const objects = bench.count(1_000, 100);
  const namespace = await site.namespace();
  await site.byEvent(manifest(configMap, objects, namespace));
  await site.demand(namespace, objects);
  // Long enough for the agent to end the worker that parses large events.
  const settledMs = bench.count(15_000, 1_000);
  await Bun.sleep(settledMs);
  const after = memoryOf(agent.pid);
  const [idleMib, afterMib] = [idle.rssBytes / MIB, after.rssBytes / MIB];
  const how = bench.compiled ? "compiled" : "from source";
  return [
    {
      part: MEMORY,
      name: `RSS idle, connected (${how})`,
      value: idleMib,
      unit: "MiB",
      bar: below(idleMib, 64, "MiB"),
      note: inWords(idle),
    },
    {
      part: MEMORY,
      name: `RSS ${settledMs / 1000} s after ${objects} objects (${how})`,
      value: afterMib,
      unit: "MiB",
      bar: below(afterMib, 64, "MiB"),
      note: inWords(after),
    },
  ];
}

async function one(bench: Workbench, site: Site): Promise<Figure[]> {
  const namespace = await site.namespace();
  const [warmUp, events] = [bench.count(20, 5), bench.count(250, 20)];
  const samples: number[] = [];
  for (let at = 0; at < warmUp + events; at += 1) {
    const { ms } = await site.byEvent(configMap(at, namespace));
    if (at >= warmUp) samples.push(ms);
  }
  await site.demand(namespace, warmUp + events);
  const p99 = percentile(samples, 0.99);
  return [
    { part: ONE, name: "p50", value: median(samples), unit: "ms", note: `${events} events, one after the other` },
    { part: ONE, name: "p99", value: p99, unit: "ms", bar: below(p99, 150, "ms"), note: `longest ${Math.max(...samples).toFixed(0)}` },
  ];
}

async function applying(bench: Workbench, site: Site): Promise<Figure[]> {
  const objects = bench.count(1_000, 100);
  const rounds = bench.count(3, 1);
  const rates = {
    ours: [] as number[],
    again: [] as number[],
    unchecked: [] as number[],
    mixedOurs: [] as number[],
    mixedUnchecked: [] as number[],
  };
  const into = (list: number[], ms: number): void => void list.push((objects / ms) * 1000);
  const phases = { ours: "", again: "", mixed: "" };
  // In turns, so that a busy moment hits all alike, and each in a namespace of its own.
  for (let round = 0; round < rounds; round += 1) {
    const [mine, theirs] = [await site.namespace(), await site.namespace()];
    into(rates.unchecked, await site.byKubectl(manifest(configMap, objects, theirs), UNCHECKED));
    const first = await site.byEvent(manifest(configMap, objects, mine));
    into(rates.ours, first.ms);
    await site.demand(mine, objects);
    const again = await site.byEvent(manifest(configMap, objects, mine));
    into(rates.again, again.ms);
    into(rates.mixedUnchecked, await site.byKubectl(manifest(mixed, objects, theirs), UNCHECKED));
    const kinds = await site.byEvent(manifest(mixed, objects, mine));
    into(rates.mixedOurs, kinds.ms);
    Object.assign(phases, { ours: first.phases, again: again.phases, mixed: kinds.phases });
  }
  const ours = median(rates.ours);
  const unchecked = median(rates.unchecked);
  const each = (list: readonly number[]): string => list.map((rate) => rate.toFixed(0)).join(", ");
  const unit = "objects/s";
  const row = (name: string, list: readonly number[], last?: string): Figure => ({
    part: APPLYING,
    name,
    value: median(list),
    unit,
    note: `rounds ${each(list)}${last === undefined ? "" : `; last: ${last} ms`}`,
  });
  return [
    row(`agent, ${objects} ConfigMaps in one event`, rates.ours, phases.ours),
    row("kubectl apply --server-side --validate=false", rates.unchecked),
    { part: APPLYING, name: "agent to that", value: ours / unchecked, unit: "times", bar: atLeast(ours / unchecked, 2, "times") },
    ...(await plain(bench, site, ours)),
    row("agent, the same once more", rates.again, phases.again),
    row(`agent, ${objects} objects of five kinds`, rates.mixedOurs, phases.mixed),
    row("kubectl --validate=false of the same", rates.mixedUnchecked),
  ];
}

/** kubectl with its validation. Until some version it asked for the whole schema again for every object; so the one that people have here counts, too. */
async function plain(bench: Workbench, site: Site, ours: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  const onPath = Bun.which("kubectl");
  const [own, other] = [site.kubectlVersion(site.ownKubectl), site.kubectlVersion(onPath)];
  const kubectls = [{ path: site.ownKubectl, version: own, objects: bench.count(200, 20) }];
  if (onPath !== null && other !== undefined && other !== own)
    kubectls.push({ path: onPath, version: other, objects: bench.count(60, 10) });
  for (const { path, version, objects } of kubectls) {
    const ms = await site.byKubectl(manifest(configMap, objects, await site.namespace()), [], path);
    const rate = (objects / ms) * 1000;
    const name = `kubectl ${version ?? ""} apply --server-side`;
    figures.push(
      { part: APPLYING, name, value: rate, unit: "objects/s", note: `${objects} objects, once` },
      {
        part: APPLYING,
        name: "agent to that",
        value: ours / rate,
        unit: "times",
        bar: atLeast(ours / rate, 20, "times"),
        note: "0.1 applied 2.5 objects/s",
      },
    );
  }
  return figures;
}
