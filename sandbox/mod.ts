/**
 * A real Kubernetes API server on 127.0.0.1 for the tests and the quickstart, from programs that it finds, keeps or builds. It needs no
 * containers and no images; its nodes are simulated. Where containers can run (Linux, as root), clusters with real pods as well. Neither
 * touches another cluster or reads a kubeconfig of the user's, and both leave nothing running and nothing but their cache behind.
 */
export { binariesDirectory, CLUSTER_BINARIES, missingBinaries, prepareBinaries } from "./binaries.ts";
export { Children, type Child, type SpawnOptions } from "./children.ts";
export { startCluster, type Cluster, type ClusterOptions } from "./cluster.ts";
export { hasDebianPackages, type DebianArch, type DebianTreeOptions, librariesOf, prepareDebianTree, sandboxCache } from "./debian.ts";
export { freePorts, portIfFree } from "./free-port.ts";
export {
  imageOfProgram,
  missingPodPrograms,
  type PodCluster,
  podClustersProblem,
  type PodClusters,
  type PodClustersOptions,
  preparePodPrograms,
  startPodClusters,
} from "./pods/mod.ts";
export type { KubectlOptions, KubectlResult } from "./kubectl.ts";
export { findRedis, prepareRedis, type RedisFlavor, type RedisPrograms } from "./redis.ts";
export { Watchdog } from "./watchdog.ts";
