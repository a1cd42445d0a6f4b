import { readFile } from "node:fs/promises";
import { portIfFree } from "../../sandbox/mod.ts";
import { capture } from "../run.ts";
import { clusterPlans } from "./cluster-config.ts";
import type { Engine, KindOptions } from "./options.ts";

export interface Fault {
  readonly what: string;
  /** What to do about it. */
  readonly remedy: string;
}

export interface Preflight {
  /** Absent when none answers. */
  readonly engine: Engine | undefined;
  readonly faults: readonly Fault[];
  /** What may go wrong, and goes well mostly. */
  readonly hints: readonly string[];
}

const GIB = 1024 ** 3;
const PROGRAMS: Readonly<Record<"kind" | "kubectl" | "helm", string>> = {
  kind: "https://kind.sigs.k8s.io/docs/user/quick-start/#installation (brew install kind; go install sigs.k8s.io/kind@v0.33.0)",
  kubectl: "https://kubernetes.io/docs/tasks/tools/ (brew install kubectl)",
  helm: "https://helm.sh/docs/intro/install/ (brew install helm)",
};
/** Enough for two clusters with everything the journey puts into them. */
const NEEDED_BYTES = { two: 4 * GIB, one: 3 * GIB } as const;

/** Everything that stands in the way, at once: nobody wants to find it out one by one. */
export async function preflight(options: KindOptions): Promise<Preflight> {
  const faults: Fault[] = [];
  const hints: string[] = [];
  const { engine, fault } = await findEngine(options.engine);
  if (fault !== undefined) faults.push(fault);
  const needed = options.command === "down" ? (["kind"] as const) : (["kind", "kubectl", "helm"] as const);
  for (const name of needed)
    if (Bun.which(name) === null) faults.push({ what: `${name} is not on PATH`, remedy: `Install it: ${PROGRAMS[name]}` });
  if (options.command === "down") return { engine, faults, hints };

  const plans = clusterPlans(options.command, options.queue);
  const taken = plans.flatMap((plan) => plan.ports).filter((port) => portIfFree(port) === undefined);
  const existing = engine === undefined || Bun.which("kind") === null ? [] : await existingClusters(engine);
  const inTheWay = plans.map((plan) => plan.name).filter((name) => existing.includes(name));
  if (inTheWay.length > 0)
    faults.push({
      what: `kind clusters of these names are there already: ${inTheWay.join(", ")}`,
      remedy: "Take them down: just kind-down",
    });
  // Taken by those very clusters, they are no news.
  else if (taken.length > 0)
    faults.push({
      what: `these ports of 127.0.0.1 are taken: ${taken.join(", ")}`,
      remedy: `End what listens there (lsof -nP -iTCP:${taken[0]} -sTCP:LISTEN names it)`,
    });
  if (engine !== undefined) {
    const memory = await memoryOf(engine);
    const wanted = plans.length > 1 ? NEEDED_BYTES.two : NEEDED_BYTES.one;
    if (memory !== undefined && memory < wanted)
      faults.push({
        what: `${engine} has ${(memory / GIB).toFixed(1)} GiB of memory, and ${plans.length} cluster${plans.length > 1 ? "s need" : " needs"} ${wanted / GIB}`,
        remedy: engine === "docker" ? "Give Docker more (Settings, Resources)" : "Give it more: podman machine set --memory 6144",
      });
  }
  const instances = Number(await readFile("/proc/sys/fs/inotify/max_user_instances", "utf8").catch(() => "512"));
  if (instances < 256)
    hints.push(
      `fs.inotify.max_user_instances is ${instances}: should a node not become ready ("too many open files"), sudo sysctl fs.inotify.max_user_instances=512`,
    );
  return { engine, faults, hints };
}

/** The chosen engine, or the first that answers. */
async function findEngine(chosen: Engine | undefined): Promise<{ readonly engine?: Engine; readonly fault?: Fault }> {
  const candidates: readonly Engine[] = chosen === undefined ? ["docker", "podman"] : [chosen];
  const words: string[] = [];
  for (const engine of candidates) {
    if (Bun.which(engine) === null) {
      words.push(`${engine} is not on PATH`);
      continue;
    }
    const info = await capture([engine, "info"]);
    if (info.exitCode === 0) return { engine };
    const said = info.output.split("\n").findLast((line) => line.trim() !== "") ?? "";
    words.push(`${engine} is there and does not answer: ${said.trim()}`);
  }
  return {
    fault: {
      what: `no container engine answers (${words.join("; ")})`,
      remedy:
        "Start one, or install Docker (https://docs.docker.com/get-started/get-docker/) or Podman (https://podman.io/docs/installation). Without any, and on Linux as root: just e2e-local",
    },
  };
}

/** kind asks the engine that it is told to. */
export function kindEnv(engine: Engine): Readonly<Record<string, string>> {
  return { KIND_EXPERIMENTAL_PROVIDER: engine };
}

async function existingClusters(engine: Engine): Promise<string[]> {
  const list = await capture(["kind", "get", "clusters", "--quiet"], kindEnv(engine));
  return list.exitCode === 0 ? list.output.split("\n").map((line) => line.trim()) : [];
}

async function memoryOf(engine: Engine): Promise<number | undefined> {
  const format = engine === "docker" ? "{{.MemTotal}}" : "{{.Host.MemTotal}}";
  const bytes = Number((await capture([engine, "info", "--format", format])).output);
  return Number.isFinite(bytes) && bytes > 0 ? bytes : undefined;
}

/** For people, ready to be printed. */
export function faultsText(faults: readonly Fault[]): string {
  return ["This cannot start yet:", ...faults.flatMap(({ what, remedy }) => [`  - ${what}`, `    ${remedy}`])].join("\n");
}
