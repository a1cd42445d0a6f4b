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
const AGENT_ID = "bench";
const MIB = 2 ** 20;

function configMap(at: number, namespace: string): string {
  return (
    `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: map-${at}\n  namespace: ${namespace}\n  labels:\n    app: bench\n    tier: backend\n` +
    `data:\n  key: value-${at}\n  log_level: info\n  settings.properties: |\n    color=blue\n    retries=3\n    text=${"x".repeat(120)}\n`
  );
}

/** Five kinds in turn, none of which needs a controller to be ready. */
function mixed(at: number, namespace: string): string {
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

type Make = (at: number, namespace: string) => string;

function manifest(make: Make, objects: number, namespace: string): string {
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

class Site {
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

  /** Milliseconds from the POST until the control plane tells that the event is completed. */
  async byEvent(text: string): Promise<number> {
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
    return (await ended) - startedMs;
  }

  /** Milliseconds of kubectl, start to end, as people run it. */
  async byKubectl(text: string, ...flags: readonly string[]): Promise<number> {
    const path = join(this.#bench.directory, `${uniqueName("kubectl")}.yaml`);
    await Bun.write(path, text);
    const startedMs = performance.now();
    await this.#kube.kubectl(["apply", "--server-side", ...flags, "-f", path]);
    const ms = performance.now() - startedMs;
    await rm(path);
    return ms;
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
    const ms = await site.byEvent(configMap(at, namespace));
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
  // In turns, so that a busy moment hits all alike, and each in a namespace of its own.
  for (let round = 0; round < rounds; round += 1) {
    const [mine, theirs] = [await site.namespace(), await site.namespace()];
    into(rates.unchecked, await site.byKubectl(manifest(configMap, objects, theirs), "--validate=false"));
    into(rates.ours, await site.byEvent(manifest(configMap, objects, mine)));
    await site.demand(mine, objects);
    into(rates.again, await site.byEvent(manifest(configMap, objects, mine)));
    into(rates.mixedUnchecked, await site.byKubectl(manifest(mixed, objects, theirs), "--validate=false"));
    into(rates.mixedOurs, await site.byEvent(manifest(mixed, objects, mine)));
  }
  const plainObjects = bench.count(200, 20);
  const plainMs = await site.byKubectl(manifest(configMap, plainObjects, await site.namespace()));
  const plain = (plainObjects / plainMs) * 1000;
  const [ours, unchecked] = [median(rates.ours), median(rates.unchecked)];
  const each = (list: readonly number[]): string => list.map((rate) => rate.toFixed(0)).join(", ");
  const unit = "objects/s";
  return [
    {
      part: APPLYING,
      name: `agent, ${objects} ConfigMaps in one event`,
      value: ours,
      unit,
      note: `rounds ${each(rates.ours)}; validated, applied, verified, reported`,
    },
    {
      part: APPLYING,
      name: "kubectl apply --server-side --validate=false",
      value: unchecked,
      unit,
      note: `rounds ${each(rates.unchecked)}`,
    },
    { part: APPLYING, name: "kubectl apply --server-side", value: plain, unit, note: `${plainObjects} objects, once: it is slow` },
    {
      part: APPLYING,
      name: "agent to kubectl --validate=false",
      value: ours / unchecked,
      unit: "times",
      bar: atLeast(ours / unchecked, 2, "times"),
    },
    {
      part: APPLYING,
      name: "agent to kubectl",
      value: ours / plain,
      unit: "times",
      bar: atLeast(ours / plain, 20, "times"),
      note: "0.1 applied 2.5 objects/s",
    },
    { part: APPLYING, name: "agent, the same once more", value: median(rates.again), unit, note: `rounds ${each(rates.again)}` },
    {
      part: APPLYING,
      name: `agent, ${objects} objects of five kinds`,
      value: median(rates.mixedOurs),
      unit,
      note: `rounds ${each(rates.mixedOurs)}`,
    },
    {
      part: APPLYING,
      name: "kubectl --validate=false of the same",
      value: median(rates.mixedUnchecked),
      unit,
      note: `rounds ${each(rates.mixedUnchecked)}`,
    },
  ];
}
