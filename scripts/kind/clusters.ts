import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { clusterPrograms, type Ground, type GroundCluster, type Link, type Ran } from "../journey/ground.ts";
import { at, listAt, textAt } from "../journey/json.ts";
import { capture, ROOT, run } from "../run.ts";
import { AGENT_CLUSTER, clusterConfig, type ClusterPlan, clusterPlans, CP_CLUSTER, ONE_CLUSTER } from "./cluster-config.ts";
import type { Engine, KindOptions } from "./options.ts";
import { kindEnv } from "./preflight.ts";

/** The name under which the image is built, loaded and named in pods. */
export const IMAGE = "localhost/transporter:e2e";

/** Builds the image by the engine itself and saves it; needs the base images, as any build by the Dockerfile does. */
export async function buildByEngine(engine: Engine, directory: string): Promise<string> {
  const built = await run([engine, "build", "--tag", IMAGE, "--file", join(ROOT, "Dockerfile"), ROOT]);
  if (built !== 0)
    throw new Error(
      `${engine} build ended with ${built}; its own words are above. Where its base images cannot be pulled, \`just image --tag ${IMAGE}\` makes ` +
        "an archive without any, to be given by --archive",
    );
  return saveImage(engine, IMAGE, join(directory, "image.tar"));
}

async function saveImage(engine: Engine, image: string, path: string): Promise<string> {
  // podman does not write over an archive that is there.
  await rm(path, { force: true });
  const saved = await capture([engine, "save", "--output", path, image]);
  if (saved.exitCode !== 0) throw new Error(`${engine} save ended with ${saved.exitCode}:\n${saved.output}`);
  return path;
}

/** Makes the clusters of a command, one after the other: two at once on a small machine run out of time. */
export async function makeClusters(
  options: KindOptions & { readonly command: "e2e" | "up" | "all" },
  engine: Engine,
  directory: string,
  say: (line: string) => void,
): Promise<Ground> {
  const made = new Map<string, GroundCluster>();
  for (const plan of clusterPlans(options.command, options.queue)) {
    say(`Making kind cluster ${plan.name} (1 to 3 minutes the first time: the image of its node is downloaded).`);
    made.set(plan.name, await makeCluster(plan, options, engine, directory));
  }
  return groundOf(made, engine);
}

/** Takes down every cluster of our names, whoever made it. */
export async function removeClusters(engine: Engine): Promise<void> {
  for (const name of [CP_CLUSTER, AGENT_CLUSTER, ONE_CLUSTER]) {
    const gone = await capture(["kind", "delete", "cluster", "--name", name], kindEnv(engine));
    if (gone.exitCode !== 0) throw new Error(`kind delete cluster --name ${name} ended with ${gone.exitCode}:\n${gone.output}`);
  }
}

async function makeCluster(plan: ClusterPlan, options: KindOptions, engine: Engine, directory: string): Promise<GroundCluster> {
  const { name } = plan;
  const configPath = join(directory, `${name}.yaml`);
  const kubeconfigPath = kubeconfigIn(directory, name);
  await writeFile(configPath, clusterConfig(plan));
  const image = options.nodeImage === undefined ? [] : ["--image", options.nodeImage];
  const create = ["kind", "create", "cluster", "--config", configPath, "--kubeconfig", kubeconfigPath, "--wait", "180s", ...image];
  const created = await capture(create, kindEnv(engine));
  if (created.exitCode !== 0) throw new Error(`kind could not make cluster ${name}:\n${created.output}`);
  const programs = clusterPrograms({
    name,
    kubeconfigPath,
    kubectlPath: Bun.which("kubectl") ?? "kubectl",
    helmPath: Bun.which("helm") ?? "helm",
    home: directory,
  });
  return {
    name,
    nodeAddress: nodeAddress(name, await programs.kubectl(["get", "nodes", "--output=json"])),
    ...programs,
    async loadImage(archivePath) {
      const loaded = await capture(["kind", "load", "image-archive", archivePath, "--name", name], kindEnv(engine));
      if (loaded.exitCode !== 0) throw new Error(`kind load image-archive into ${name} ended with ${loaded.exitCode}:\n${loaded.output}`);
    },
  };
}

/** On the network that kind puts all its nodes into, each reaches each by this address. */
function nodeAddress(name: string, nodes: Ran): string {
  if (nodes.exitCode !== 0) throw new Error(`the nodes of ${name} cannot be listed: ${nodes.stderr}`);
  const addresses = listAt(at(JSON.parse(nodes.stdout), "items", 0), "status", "addresses");
  const internal = addresses.find((address) => textAt(address, "type") === "InternalIP");
  const found = textAt(internal, "address");
  if (found === "") throw new Error(`the node of ${name} has no address`);
  return found;
}

/** Of each cluster of a command, its kubeconfig. */
export function kubeconfigsOf(command: "e2e" | "up" | "all", directory: string): Readonly<Record<string, string>> {
  return Object.fromEntries(clusterPlans(command, undefined).map(({ name }) => [name, kubeconfigIn(directory, name)]));
}

function kubeconfigIn(directory: string, name: string): string {
  return join(directory, `${name}.kubeconfig`);
}

function groundOf(made: ReadonlyMap<string, GroundCluster>, engine: Engine): Ground {
  const one = made.get(ONE_CLUSTER);
  const cp = one ?? made.get(CP_CLUSTER);
  const agent = one ?? made.get(AGENT_CLUSTER);
  if (cp === undefined || agent === undefined) throw new Error("a cluster was not made");
  return {
    description: `kind cluster${one === undefined ? `s ${CP_CLUSTER} and ${AGENT_CLUSTER}` : ` ${ONE_CLUSTER}`} by ${engine}`,
    cp,
    agent,
    // The same numbers, by kind's port mappings.
    hostPort: async (nodePort) => nodePort,
    link: one === undefined ? linkBetween(engine, cp.nodeAddress) : undefined,
  };
}

/** The agents' node drops what goes to the other node, and what comes from there, without a word to either side. */
function linkBetween(engine: Engine, cpAddress: string): Link {
  const node = `${AGENT_CLUSTER}-control-plane`;
  const rules = ["FORWARD", "OUTPUT"].flatMap((chain) => [`${chain} -d ${cpAddress} -j DROP`]);
  rules.push(`FORWARD -s ${cpAddress} -j DROP`, `INPUT -s ${cpAddress} -j DROP`);
  const change = async (verb: "-I" | "-D"): Promise<void> => {
    for (const rule of rules) {
      const done = await capture([engine, "exec", node, "iptables", verb, ...rule.split(" ")]);
      if (done.exitCode !== 0) throw new Error(`iptables in ${node} ended with ${done.exitCode}: ${done.output}`);
    }
  };
  return { cut: () => change("-I"), heal: () => change("-D") };
}

/** An image of the engine's own, pulled where it is not there, brought into a cluster as our own is. */
export async function bringImage(engine: Engine, image: string, cluster: GroundCluster, directory: string): Promise<void> {
  const present = await capture([engine, "image", "inspect", image]);
  if (present.exitCode !== 0) {
    const pulled = await capture([engine, "pull", image]);
    if (pulled.exitCode !== 0) throw new Error(`${image} is not here and cannot be pulled by ${engine}:\n${pulled.output}`);
  }
  await cluster.loadImage(await saveImage(engine, image, join(directory, "queue.tar")));
}
