import { rm } from "node:fs/promises";
import { applyPlan, planObjects, validatePlan } from "../../src/k8s/mod.ts";
import { startKube, uniqueName, type Cluster } from "../support/kube.ts";
import { APPLY, clientOf, configMap, parsed } from "../k8s/walk.ts";

/** Objects a second of one way of applying: the median of the rounds, and each round. */
export interface ApplyRate {
  readonly name: string;
  readonly objectsPerSecond: number;
  readonly rounds: readonly number[];
  /** Our own CPU, of one object; only for our own ways. */
  readonly cpuMicrosPerObject?: number;
}

export interface ApplyBenchOptions {
  /** ConfigMaps of each round. */
  readonly objects?: number;
  readonly rounds?: number;
  /** Plain kubectl validates each object with requests of its own and takes long: so few of them it gets. */
  readonly plainObjects?: number;
  readonly kube?: Cluster;
}

interface Way {
  readonly name: string;
  readonly objects: number;
  readonly rounds: number;
  run(namespace: string): Promise<{ readonly ms: number; readonly cpuMicros?: number }>;
}

function objectOf(index: number, namespace: string): ReturnType<typeof configMap> {
  const object = configMap(`map-${index}`, { key: `value-${index}`, settings: "x".repeat(200) }, namespace);
  object.metadata.labels = { app: "bench" };
  return object;
}

function objectsOf(count: number, namespace: string): ReturnType<typeof configMap>[] {
  return Array.from({ length: count }, (_, index) => objectOf(index, namespace));
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

/** kubectl of the same objects, start of the program included, as it is used. */
function kubectlWay(kube: Cluster, name: string, objects: number, rounds: number, flags: readonly string[]): Way {
  return {
    name,
    objects,
    rounds,
    async run(namespace) {
      const path = `${kube.directory}/${uniqueName("bench")}.yaml`;
      await Bun.write(
        path,
        objectsOf(objects, namespace)
          .map((object) => JSON.stringify(object))
          .join("\n---\n"),
      );
      const startedAt = performance.now();
      await kube.kubectl(["apply", "--server-side", ...flags, "-f", path]);
      const ms = performance.now() - startedAt;
      await rm(path);
      return { ms };
    },
  };
}

/** Plan, strict validation of all by the API server, then apply of all: what an event does, with the defaults that ship. */
function ourWay(kube: Cluster, name: string, objects: number, rounds: number, twice: boolean): Way {
  return {
    name,
    objects,
    rounds,
    async run(namespace) {
      const all = parsed(...objectsOf(objects, namespace));
      const expected = twice ? "unchanged" : "created";
      const once = async (): Promise<string[]> => {
        // As a fresh agent: discovery is part of the price.
        const client = await clientOf(kube);
        const plan = await planObjects(client, all, { defaultNamespace: "default" });
        const validation = await validatePlan(client, plan, APPLY);
        return (await applyPlan(client, plan, validation, APPLY)).map(({ status }) => status);
      };
      if (twice) {
        await once();
        // What was applied within the last two seconds cannot be proven unchanged.
        await Bun.sleep(2_100);
      }
      const cpu = process.cpuUsage();
      const startedAt = performance.now();
      const statuses = await once();
      const ms = performance.now() - startedAt;
      const { user, system } = process.cpuUsage(cpu);
      const wrong = statuses.filter((status) => status !== expected).length;
      if (wrong > 0) throw new Error(`${name}: ${wrong} of ${objects} objects are not ${expected}`);
      return { ms, cpuMicros: user + system };
    },
  };
}

/** Applies the same ConfigMaps in several ways to one real API server, the ways taking turns so that a busy moment hits all alike. */
export async function benchApply(options: ApplyBenchOptions = {}): Promise<ApplyRate[]> {
  const objects = options.objects ?? 500;
  const rounds = options.rounds ?? 5;
  const own = options.kube === undefined ? await startKube() : undefined;
  const kube = options.kube ?? own;
  if (kube === undefined) throw new Error("no API server");
  try {
    const ways: readonly Way[] = [
      kubectlWay(kube, "kubectl apply --server-side --validate=false", objects, rounds, ["--validate=false"]),
      ourWay(kube, "transporter, validate and apply", objects, rounds, false),
      ourWay(kube, "transporter, the same again (unchanged)", objects, rounds, true),
      kubectlWay(kube, "kubectl apply --server-side", options.plainObjects ?? 50, 1, []),
    ];
    const measured = ways.map((way) => ({ way, rates: [] as number[], cpu: [] as number[] }));
    // The API server's first requests pay for its caches.
    await ourWay(kube, "warm", 50, 1, false).run(await makeNamespace(kube));
    for (let round = 0; round < rounds; round += 1)
      for (const { way, rates, cpu } of measured) {
        if (round >= way.rounds) continue;
        const namespace = await makeNamespace(kube);
        const { ms, cpuMicros } = await way.run(namespace);
        rates.push((way.objects / ms) * 1000);
        if (cpuMicros !== undefined) cpu.push(cpuMicros / way.objects);
      }
    return measured.map(({ way, rates, cpu }) => ({
      name: way.name,
      objectsPerSecond: median(rates),
      rounds: rates,
      ...(cpu.length === 0 ? {} : { cpuMicrosPerObject: median(cpu) }),
    }));
  } finally {
    await own?.[Symbol.asyncDispose]();
  }
}

async function makeNamespace(kube: Cluster): Promise<string> {
  const name = uniqueName("bench");
  const answer = await kube.request("POST", "/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  if (!answer.ok) throw new Error(`namespace ${name}: ${answer.status}`);
  await answer.text();
  return name;
}

if (import.meta.main) {
  for (const { name, objectsPerSecond, rounds, cpuMicrosPerObject } of await benchApply()) {
    const cpu = cpuMicrosPerObject === undefined ? "" : `, ${cpuMicrosPerObject.toFixed(0)} µs of our CPU each`;
    console.log(`${name}: ${objectsPerSecond.toFixed(0)} objects/s (${rounds.map((rate) => rate.toFixed(0)).join(" ")})${cpu}`);
  }
}
