import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startCluster } from "../sandbox/mod.ts";
import type { Engine } from "./kind/options.ts";
import { kindEnv } from "./kind/preflight.ts";
import { capture } from "./run.ts";

/** The cluster that the agent of a quickstart works on. */
export interface Target {
  /** For people, one sentence. */
  readonly description: string;
  /** Flags with which the agent finds it. */
  readonly agentFlags: readonly string[];
  /** What the agent may read of our environment: nothing, or everything where the user's own kubeconfig may need it. */
  readonly agentEnv: Readonly<Record<string, string>>;
  /** A kubectl that reaches it, as words to put before the arguments. */
  readonly kubectl: readonly string[];
  /** Undoes what was done to it by us; for a cluster of our own that is its end. */
  remove(): Promise<void>;
}

export type Choice = { readonly kind: "context"; readonly name: string } | { readonly kind: "own"; readonly sandboxOnly: boolean };

const KIND_CLUSTER = "transporter-quickstart";

/** Opens the cluster that was named, or makes one that is ours alone. */
export async function openTarget(choice: Choice, directory: string, say: (line: string) => void): Promise<Target> {
  if (choice.kind === "context") return namedContext(choice.name);
  const engine = choice.sandboxOnly ? undefined : await kindEngine();
  if (engine !== undefined) {
    const made = await kindCluster(engine, directory, say);
    if (made !== undefined) return made;
  }
  return sandbox(directory, say);
}

/**
 * When the opening was broken off. The sandbox ends with this process, and a named cluster has not been touched yet; a kind cluster
 * would stay.
 */
export async function abandonTarget(choice: Choice): Promise<void> {
  const engine = choice.kind === "own" && !choice.sandboxOnly ? await kindEngine() : undefined;
  if (engine !== undefined) await capture(["kind", "delete", "cluster", "--name", KIND_CLUSTER], kindEnv(engine));
}

async function namedContext(name: string): Promise<Target> {
  const kubectl = Bun.which("kubectl");
  if (kubectl === null) throw new Error("--context needs kubectl on PATH, to show the result and to clean up");
  const known = await capture([kubectl, "config", "get-contexts", "--output=name"]);
  if (known.exitCode !== 0 || !known.output.split("\n").includes(name))
    throw new Error(`no context ${JSON.stringify(name)} in your kubeconfig; it has: ${known.output.replaceAll("\n", ", ") || "none"}`);
  const words = [kubectl, "--context", name];
  const existing = await capture([...words, "get", "namespace", "transporter-test", "--ignore-not-found", "--output=name"]);
  if (existing.exitCode !== 0) throw new Error(`the cluster of context ${name} does not answer: ${existing.output}`);
  if (existing.output !== "")
    throw new Error(`the cluster of context ${name} has a namespace transporter-test already; it is not ours to change or remove`);
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([key, value]) => value !== undefined && !/^(TRANSPORTER_|BUN_)/.test(key)),
  ) as Record<string, string>;
  return {
    description: `the cluster of context ${name}`,
    agentFlags: ["--context", name],
    agentEnv: env,
    kubectl: words,
    async remove() {
      const removed = await capture([...words, "delete", "namespace", "transporter-test", "--ignore-not-found", "--timeout=60s"]);
      if (removed.exitCode !== 0) throw new Error(`namespace transporter-test could not be removed: ${removed.output}`);
    },
  };
}

/** With which kind can work: it and kubectl are there, and this container engine answers. A docker without its daemon is no reason against podman. */
async function kindEngine(): Promise<Engine | undefined> {
  if (Bun.which("kind") === null || Bun.which("kubectl") === null) return undefined;
  for (const engine of ["docker", "podman"] as const)
    if (Bun.which(engine) !== null && (await capture([engine, "info"])).exitCode === 0) return engine;
  return undefined;
}

/**
 * The name is ours, so a cluster of that name is what an earlier quickstart could not remove. Undefined where kind cannot make one, which is
 * told: an image that cannot be pulled must not be the end, as there is another way.
 */
async function kindCluster(engine: Engine, directory: string, say: (line: string) => void): Promise<Target | undefined> {
  const env = kindEnv(engine);
  const kubeconfig = join(directory, "kind.kubeconfig");
  const remove = async (): Promise<void> => {
    await capture(["kind", "delete", "cluster", "--name", KIND_CLUSTER, "--kubeconfig", kubeconfig], env);
  };
  await remove();
  say(`Creating kind cluster ${KIND_CLUSTER} (1 to 3 minutes the first time: its image is downloaded).`);
  const nodeImage = process.env["KIND_NODE_IMAGE"] ?? "";
  const image = nodeImage === "" ? [] : ["--image", nodeImage];
  const create = ["kind", "create", "cluster", "--name", KIND_CLUSTER, "--kubeconfig", kubeconfig, "--wait", "180s", ...image];
  const made = await capture(create, env);
  if (made.exitCode !== 0) {
    await remove();
    say(`kind could not create a cluster with ${engine}; going on with the sandbox. Its words:\n${made.output}`);
    return undefined;
  }
  return {
    description: `kind cluster ${KIND_CLUSTER}`,
    agentFlags: ["--kubeconfig", kubeconfig],
    agentEnv: {},
    kubectl: [Bun.which("kubectl") ?? "kubectl", "--kubeconfig", kubeconfig],
    remove,
  };
}

async function sandbox(directory: string, say: (line: string) => void): Promise<Target> {
  const cluster = await startCluster({ controllers: true, scheduler: true, nodes: 2, onProgress: say });
  // A word that can be pasted, instead of two long paths.
  const kubectl = join(directory, "kubectl");
  await writeFile(kubectl, `#!/bin/sh\nHOME='${directory}' exec '${cluster.kubectlPath}' --kubeconfig '${cluster.kubeconfigPath}' "$@"\n`);
  await chmod(kubectl, 0o755);
  return {
    description: `a real Kubernetes ${cluster.versions.kubernetes} API server at ${cluster.url}; its 2 nodes are SIMULATED: pods report Ready, no container runs`,
    agentFlags: ["--kubeconfig", cluster.kubeconfigPath],
    agentEnv: {},
    kubectl: [kubectl],
    remove: () => cluster.stop(),
  };
}
