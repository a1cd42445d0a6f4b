import { startKube, type Cluster } from "../support/kube.ts";
import { AGENT_ID, configMap, type Make, manifest, mixed, Site, UNCHECKED } from "./cluster.ts";
import { atLeast, atMost, below, type Figure } from "./figures.ts";
import { AnonymousPeak, median, memoryOf } from "./proc.ts";
import { type Recorded, RecordingCluster, replay } from "./recorded-requests.ts";
import { StatusStream } from "./status-stream.ts";
import type { Service, Workbench } from "./workbench.ts";

const ENGINE = "The apply engine: one event, from POST to completed, against kubectl and bare fetch on the same API server";
const LARGE = "An event of 10,000 objects";
const MIB = 2 ** 20;

interface Load {
  readonly name: string;
  readonly objects: number;
  readonly make: Make;
}

interface Told {
  readonly load: Load;
  readonly recorded: string;
  readonly first: readonly Recorded[];
}

/** What the agent asks an API server for each load, as the server itself wrote it down. */
async function record(bench: Workbench, cp: Service, loads: readonly Load[]): Promise<Told[]> {
  await using recording = await RecordingCluster.start(bench.directory);
  await using stream = await StatusStream.open(cp.url);
  const agent = await bench.startAgent(AGENT_ID, cp, recording.kube.kubeconfigPath);
  const site = new Site(bench, recording.kube, cp, stream);
  const told: Told[] = [];
  for (const load of loads) {
    const namespace = await site.namespace();
    const first = await recording.during(namespace, () => site.byEvent(manifest(load.make, load.objects, namespace)));
    told.push({ load, recorded: namespace, first });
  }
  await agent.stop();
  return told;
}

class Rounds {
  readonly ours: number[] = [];
  readonly again: number[] = [];
  readonly kubectl: number[] = [];
  readonly bare: number[] = [];
  phases = "";
}

/** In turns, so that a busy moment hits all alike, and each in a namespace of its own. */
async function rounds(bench: Workbench, kube: Cluster, site: Site, { load, recorded, first }: Told): Promise<Rounds> {
  const found = new Rounds();
  for (let round = 0; round < bench.count(5, 1); round += 1) {
    const [mine, theirs, bare] = [await site.namespace(), await site.namespace(), await site.namespace()];
    const text = manifest(load.make, load.objects, mine);
    found.kubectl.push(await site.byKubectl(manifest(load.make, load.objects, theirs), UNCHECKED));
    const one = await site.byEvent(text);
    found.ours.push(one.ms);
    found.bare.push(await replay(kube, first, { recorded, now: bare }));
    const versions = await versionsIn(kube, mine);
    const again = await site.byEvent(text);
    found.again.push(again.ms);
    // A figure for a repeat that writes would be a figure for something else.
    if ((await versionsIn(kube, mine)) !== versions) throw new Error(`the same event again changed something in ${mine}`);
    found.phases = `first: ${one.phases}; again: ${again.phases}`;
  }
  return found;
}

/** Every object of the kinds that are applied, with its version, as one text. */
async function versionsIn(kube: Cluster, namespace: string): Promise<string> {
  const paths = ["/api/v1/*/configmaps", "/api/v1/*/secrets", "/api/v1/*/services", "/api/v1/*/serviceaccounts"];
  const all = [...paths, "/apis/rbac.authorization.k8s.io/v1/*/roles"];
  const texts = await Promise.all(
    all.map(async (path) => {
      const answer = await kube.request("GET", path.replace("*", `namespaces/${namespace}`));
      const { items } = (await answer.json()) as { items: { metadata: { name: string; resourceVersion: string } }[] };
      return items.map(({ metadata }) => `${metadata.name}=${metadata.resourceVersion}`).toSorted();
    }),
  );
  return JSON.stringify(texts);
}

function figuresOf({ load, first }: Told, found: Rounds): Figure[] {
  const rate = (ms: number): number => (load.objects / ms) * 1000;
  const [ours, again, kubectl, bare] = [median(found.ours), median(found.again), median(found.kubectl), median(found.bare)];
  const each = (list: readonly number[]): string => `rounds ${list.map((ms) => rate(ms).toFixed(0)).join(", ")}`;
  const row = (name: string, list: readonly number[], note = ""): Figure => ({
    part: ENGINE,
    name: `${load.name}: ${name}`,
    value: rate(median(list)),
    unit: "objects/s",
    note: `${each(list)}${note}`,
  });
  const ratio = (name: string, value: number, bar: Figure["bar"]): Figure => ({
    part: ENGINE,
    name: `${load.name}: ${name}`,
    value,
    unit: "times",
    ...(bar === undefined ? {} : { bar }),
  });
  return [
    row("agent", found.ours, `; last ${found.phases} ms`),
    row("kubectl apply --server-side --validate=false", found.kubectl),
    ratio("agent's rate to kubectl's", kubectl / ours, atLeast(kubectl / ours, 2, "times")),
    row(`bare fetch, 16 in flight, the agent's own ${first.length} requests`, found.bare),
    ratio("agent's rate to bare fetch's", bare / ours, atLeast(bare / ours, 0.8, "times")),
    row("agent, the same event again, which writes nothing", found.again),
    ratio("time of the repeat to that of the first", again / ours, atMost(again / ours, 0.5, "times")),
  ];
}

async function large(bench: Workbench, site: Site, agent: Service, before: number): Promise<Figure[]> {
  const objects = bench.count(10_000, 500);
  using own = new AnonymousPeak(agent.pid);
  const namespace = await site.namespace();
  const { ms } = await site.byEvent(manifest(configMap, objects, namespace));
  await site.demand(namespace, objects);
  const peak = memoryOf(agent.pid).peakBytes / MIB;
  return [
    { part: LARGE, name: `${objects} ConfigMaps`, value: (objects / ms) * 1000, unit: "objects/s" },
    {
      part: LARGE,
      name: "most memory that the agent ever had (VmHWM)",
      value: peak,
      unit: "MiB",
      note: `${before.toFixed(0)} before, with the loads above; pages of the program's own file included`,
    },
    { part: LARGE, name: "of it the agent's own at most (RssAnon)", value: own.bytes / MIB, unit: "MiB" },
  ];
}

/** The apply engine at work: rates against kubectl and against what bare requests cost, a repeat that writes nothing, and memory. */
export async function engine(bench: Workbench): Promise<Figure[]> {
  const cp = await bench.startControlPlane();
  const loads: readonly Load[] = [
    { name: `${bench.count(1_000, 60)} ConfigMaps`, objects: bench.count(1_000, 60), make: configMap },
    { name: `${bench.count(500, 50)} objects of five kinds`, objects: bench.count(500, 50), make: mixed },
  ];
  const told = await record(bench, cp, loads);
  await using kube = await startKube({ onProgress: bench.say });
  await using stream = await StatusStream.open(cp.url);
  const agent = await bench.startAgent(AGENT_ID, cp, kube.kubeconfigPath);
  const site = new Site(bench, kube, cp, stream);
  // The API server's first requests pay for its caches, and the agent's for its own.
  await site.byEvent(manifest(mixed, 20, await site.namespace()));
  const figures: Figure[] = [];
  using own = new AnonymousPeak(agent.pid);
  for (const one of told) figures.push(...figuresOf(one, await rounds(bench, kube, site, one)));
  const { peakBytes } = memoryOf(agent.pid);
  const peak = peakBytes / MIB;
  figures.push({
    part: ENGINE,
    name: "most memory that the agent ever had (VmHWM)",
    value: peak,
    unit: "MiB",
    bar: below(peak, 96, "MiB"),
    note: `pages of the program's own file included; its own ${(own.bytes / MIB).toFixed(0)} at most`,
  });
  figures.push(...(await large(bench, site, agent, peak)));
  await agent.stop();
  await cp.stop();
  return figures;
}
