/**
 * Real Kubernetes clusters with real pods, side by side on one Linux machine, each of one node in namespaces of its own. They share no
 * network with the machine and leave nothing behind.
 */
import { mkdtemp, readFile, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { Children } from "../children.ts";
import { type KubectlOptions, type KubectlResult, runKubectl } from "../kubectl.ts";
import { cgroupProblem, removeCgroups } from "./cgroups.ts";
import { hostnameOf, Hub } from "./network.ts";
import { Node } from "./node.ts";
import { missingSystemPrograms, preparePodPrograms, type PodPrograms } from "./programs.ts";

export { imageOfProgram } from "./pause-image.ts";
export { missingPodPrograms, preparePodPrograms } from "./programs.ts";

export interface PodClustersOptions {
  /** Names become names of nodes: lower-case letters, digits and dashes. */
  readonly clusters: readonly { readonly name: string }[];
  /** One line at a time, while programs are fetched and built. */
  readonly onProgress?: (line: string) => void;
}

export interface PodCluster {
  readonly name: string;
  /** Where the other clusters' pods reach its NodePorts, such as 10.77.0.2; never to be dialled from outside. */
  readonly nodeAddress: string;
  /** The same as a name that all clusters' pods can look up, such as cp.clusters.test. */
  readonly nodeHostname: string;
  /** Of the administrator, with an address on 127.0.0.1 that also works while the cluster's link is cut. */
  readonly kubeconfigPath: string;
  readonly kubectlPath: string;
  /** Holds what its programs write (`logs`), among all else. */
  readonly logsDirectory: string;
  /** Fails with what kubectl wrote unless it ends with 0. */
  kubectl(args: readonly string[], options?: KubectlOptions): Promise<string>;
  /** Whatever the exit code. */
  tryKubectl(args: readonly string[], options?: KubectlOptions): Promise<KubectlResult>;
  /** An archive as `docker save` or `podman save` writes it; gives the names of the images in it. */
  importImage(archivePath: string): Promise<string[]>;
  /** A port of 127.0.0.1 that leads to this port of the node, through the cluster's link. */
  relay(port: number): Promise<number>;
  /** The last lines of each of its programs, for error messages. */
  nodeLogs(lines?: number): Promise<string>;
}

export interface PodClusters extends AsyncDisposable {
  readonly clusters: readonly PodCluster[];
  /** Throws when there is none of this name. */
  cluster(name: string): PodCluster;
  readonly directory: string;
  /** To all ready, without the time in which programs were prepared. */
  readonly startedInMs: number;
  /** Nobody outside of the cluster reaches it or is reached by it. */
  cutLink(name: string): Promise<void>;
  healLink(name: string): Promise<void>;
  stop(): Promise<void>;
}

/** Why such clusters cannot run here, as the end of a sentence; undefined when they can. */
export async function podClustersProblem(): Promise<string | undefined> {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  const capabilities = BigInt(`0x${/^CapEff:\s+(\w+)$/m.exec(await readFile("/proc/self/status", "utf8"))?.[1] ?? "0"}`);
  const missing = Object.entries({ CAP_NET_ADMIN: 12n, CAP_SYS_ADMIN: 21n }).filter(([, bit]) => (capabilities & (1n << bit)) === 0n);
  if (missing.length > 0) return `needs ${missing.map(([name]) => name).join(" and ")}`;
  const cgroups = await cgroupProblem();
  if (cgroups !== undefined) return cgroups;
  const programs = await missingSystemPrograms();
  return programs.length === 0 ? undefined : `needs these programs: ${programs.join(", ")}`;
}

/** Everything ends with us, even by kill -9. */
export async function startPodClusters(options: PodClustersOptions): Promise<PodClusters> {
  const problem = await podClustersProblem();
  if (problem !== undefined) throw new Error(`Clusters with real pods cannot run here: it ${problem}.`);
  for (const { name } of options.clusters) if (!/^[a-z][a-z0-9-]{0,30}$/.test(name)) throw new Error(`${name} cannot be a node's name`);
  const programs = await preparePodPrograms(options.onProgress);
  const startedMs = performance.now();
  const directory = await mkdtemp(join(await temporaryDirectory(), "transporter-pods-"));
  const clusters = new Clusters(new Children(directory), programs);
  try {
    await clusters.start(options.clusters.map(({ name }) => name));
    clusters.startedInMs = Math.round(performance.now() - startedMs);
    return clusters;
  } catch (error) {
    const logs = await clusters.lastWords();
    await clusters.stop();
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${logs}`, { cause: error });
  }
}

/** A node sees other things than we do where the system keeps its state. */
async function temporaryDirectory(): Promise<string> {
  const usual = await realpath(tmpdir());
  return /^\/(run|var\/log|var\/lib)(\/|$)/.test(usual) || usual.length > 60 ? "/tmp" : usual;
}

class Clusters implements PodClusters {
  clusters: readonly PodCluster[] = [];
  startedInMs = 0;
  readonly #children: Children;
  readonly #programs: PodPrograms;
  #nodes: readonly Node[] = [];
  #hub: Hub | undefined;
  #stopping: Promise<void> | undefined;

  constructor(children: Children, programs: PodPrograms) {
    this.#children = children;
    this.#programs = programs;
  }

  get directory(): string {
    return this.#children.directory;
  }

  async start(names: readonly string[]): Promise<void> {
    const children = this.#children;
    const programs = this.#programs;
    const hub = await Hub.start(children, programs);
    this.#hub = hub;
    const unique = basename(this.directory).split("-").at(-1) ?? "";
    this.#nodes = names.map((name, index) => new Node({ name, index, names, unique, children, programs, hub }));
    await Promise.all(this.#nodes.map((node) => node.start()));
    this.clusters = this.#nodes.map((node) => clusterOf(node, hub, children, programs));
  }

  cluster(name: string): PodCluster {
    const found = this.clusters.find((one) => one.name === name);
    if (found === undefined) throw new Error(`there is no cluster ${name}`);
    return found;
  }

  async cutLink(name: string): Promise<void> {
    await this.#hub?.setLink(this.#indexOf(name), "down");
  }

  async healLink(name: string): Promise<void> {
    await this.#hub?.setLink(this.#indexOf(name), "up");
  }

  #indexOf(name: string): number {
    const index = this.#nodes.findIndex((node) => node.name === name);
    if (index < 0) throw new Error(`there is no cluster ${name}`);
    return index;
  }

  async lastWords(): Promise<string> {
    return (await Promise.all(this.#nodes.map((node) => logsOf(node.name, this.#children, 8)))).join("\n");
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    await this.#children.end();
    await removeCgroups(this.#nodes.flatMap((node) => node.cgroups));
    // The kernel ends the rest of a node after its process 1; until then somebody may still write.
    for (let tries = 0; tries < 50; tries += 1) {
      const gone = await rm(this.directory, { recursive: true, force: true }).then(
        () => true,
        () => false,
      );
      if (gone) break;
      await Bun.sleep(100);
    }
    await this.#children.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

const NODE_LOGS = [
  "holder",
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "containerd",
  "kubelet",
  "kube-proxy",
  "coredns",
];

async function logsOf(name: string, children: Children, lines: number): Promise<string> {
  const texts = await Promise.all(
    NODE_LOGS.map(async (program) => {
      const text = await readFile(children.logPath(`${name}-${program}`), "utf8").catch(() => "");
      return text === "" ? "" : `--- ${name}: ${program}\n${text.trimEnd().split("\n").slice(-lines).join("\n")}\n`;
    }),
  );
  return texts.join("");
}

function clusterOf(node: Node, hub: Hub, children: Children, programs: PodPrograms): PodCluster {
  const kubectlPath = programs.paths.kubectl;
  const { kubeconfigPath, name } = node;
  const tryKubectl = (args: readonly string[], options: KubectlOptions = {}): Promise<KubectlResult> =>
    runKubectl(kubectlPath, options.kubeconfigPath ?? kubeconfigPath, node.directory, args, options.input);
  return {
    name,
    nodeAddress: node.address,
    nodeHostname: hostnameOf(name),
    kubeconfigPath,
    kubectlPath,
    logsDirectory: join(children.directory, "logs"),
    tryKubectl,
    async kubectl(args, options) {
      const { exitCode, stderr, stdout } = await tryKubectl(args, options);
      if (exitCode !== 0) throw new Error(`kubectl ${args.join(" ")} (cluster ${name}) ended with ${exitCode}: ${stderr.trim()}`);
      return stdout;
    },
    importImage: (archivePath) => node.importImage(archivePath),
    relay: (port) => hub.relay(`${node.address}:${port}`, hub.namespace),
    nodeLogs: (lines = 20) => logsOf(name, children, lines),
  };
}
