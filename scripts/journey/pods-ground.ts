import { chown, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { imageOfProgram, prepareBinaries } from "../../sandbox/mod.ts";
import { HELM } from "../../sandbox/helm/mod.ts";
import { type PodCluster, type PodClusters, startPodClusters } from "../../sandbox/pods/mod.ts";
import { clusterPrograms, type Ground, type GroundCluster } from "./ground.ts";
import { type QueueInFront, queueOf } from "./queue.ts";

const VOLUMES_EACH = 3;

const NATS_IMAGE = "localhost/nats-server:e2e";

/** NATS from the sandbox's own nats-server: where nothing can be pulled, an image of one static program is made by hand. */
export function natsQueue(directory: string, say: (line: string) => void): QueueInFront {
  return {
    ...queueOf("nats", NATS_IMAGE),
    async bring(image, cluster) {
      const program = await prepareBinaries({ names: ["nats-server"], onProgress: say })["nats-server"];
      const path = join(directory, "nats.tar");
      await writeFile(path, await imageOfProgram(image, program, []));
      await cluster.loadImage(path);
    },
  };
}

export interface PodsGround extends AsyncDisposable {
  readonly ground: Ground;
  /** Of each cluster, a kubeconfig that works while it is up. */
  readonly kubeconfigs: Readonly<Record<string, string>>;
  /** How long it took, without the preparation of programs. */
  readonly startedInMs: number;
}

/** Two real clusters with real pods on this machine; they end with this process. */
export async function openPodsGround(directory: string, say: (line: string) => void): Promise<PodsGround> {
  const helmPath = await HELM.prepare({ onProgress: say, names: ["helm"] }).helm;
  const clusters = await startPodClusters({ clusters: [{ name: "cp" }, { name: "agent" }], onProgress: say });
  const cp = clusters.cluster("cp");
  const agent = clusters.cluster("agent");
  const volumes = join(clusters.directory, "volumes");
  const ground: Ground = {
    description: `two Kubernetes clusters with real pods, up in ${(clusters.startedInMs / 1000).toFixed(1)} s`,
    cp: groundCluster(cp, helmPath, directory),
    agent: groundCluster(agent, helmPath, directory),
    hostPort: (nodePort) => cp.relay(nodePort),
    makeVolumes: async () => {
      for (const cluster of [cp, agent]) await makeVolumes(cluster, join(volumes, cluster.name));
    },
    link: { cut: () => clusters.cutLink("agent"), heal: () => clusters.healLink("agent") },
  };
  return {
    ground,
    kubeconfigs: { cp: cp.kubeconfigPath, agent: agent.kubeconfigPath },
    startedInMs: clusters.startedInMs,
    async [Symbol.asyncDispose]() {
      await stop(clusters, volumes);
    },
  };
}

async function stop(clusters: PodClusters, volumes: string): Promise<void> {
  await clusters.stop();
  await rm(volumes, { recursive: true, force: true });
}

function groundCluster(cluster: PodCluster, helmPath: string, directory: string): GroundCluster {
  const { name, kubeconfigPath, kubectlPath } = cluster;
  return {
    name: `${name}-cluster`,
    nodeAddress: cluster.nodeAddress,
    ...clusterPrograms({ name, kubeconfigPath, kubectlPath, helmPath, home: directory }),
    async loadImage(archivePath) {
      await cluster.importImage(archivePath);
    },
  };
}

/**
 * Nobody makes volumes here when they are claimed, so some directories are offered beforehand. They are of the kind `local`, whose owner the
 * kubelet sets by the pod's fsGroup, as with a real disk.
 */
async function makeVolumes(cluster: PodCluster, directory: string): Promise<void> {
  const volumes = [];
  for (let index = 1; index <= VOLUMES_EACH; index += 1) {
    const path = join(directory, `${index}`);
    await mkdir(path, { recursive: true });
    await chown(path, 0, 0);
    volumes.push({
      apiVersion: "v1",
      kind: "PersistentVolume",
      metadata: { name: `room-${index}` },
      spec: {
        capacity: { storage: "4Gi" },
        accessModes: ["ReadWriteOnce"],
        persistentVolumeReclaimPolicy: "Retain",
        local: { path },
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [{ matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: [cluster.name] }] }],
          },
        },
      },
    });
  }
  await cluster.kubectl(["apply", "--filename=-"], { input: JSON.stringify({ apiVersion: "v1", kind: "List", items: volumes }) });
}
