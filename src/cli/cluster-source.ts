import { existsSync } from "node:fs";
import type { AgentConfig } from "../config/mod.ts";
import { TransporterError } from "../kit/mod.ts";
import type { KubeAccessOptions } from "../k8s/mod.ts";
import type { Host } from "./host.ts";

/**
 * Which cluster the agent works on: --in-cluster, --kubeconfig, KUBECONFIG, ~/.kube/config where it exists, and else the account of the
 * pod it runs in. Throws KUBE_CONFIG_INVALID when there is none of them.
 */
export function clusterAccess(
  config: Pick<AgentConfig, "inCluster" | "kubeconfig" | "context">,
  env: Host["env"],
): Omit<KubeAccessOptions, "ports"> {
  const podHost = env["KUBERNETES_SERVICE_HOST"];
  const podPort = env["KUBERNETES_SERVICE_PORT"];
  const pod =
    podHost === undefined || podHost === ""
      ? undefined
      : { host: podHost, port: podPort === undefined || podPort === "" ? "443" : podPort };
  if (config.inCluster) {
    if (pod === undefined)
      throw new TransporterError("KUBE_CONFIG_INVALID", "--in-cluster: this is no pod: KUBERNETES_SERVICE_HOST is not set", {
        remedy: "Outside a cluster give --kubeconfig FILE.",
      });
    return { inCluster: pod, env };
  }
  const home = env["HOME"];
  const usual = home === undefined || home === "" ? undefined : `${home}/.kube/config`;
  const fromEnv = env["KUBECONFIG"];
  const kubeconfig =
    config.kubeconfig ??
    (fromEnv === undefined || fromEnv === "" ? undefined : fromEnv) ??
    (usual !== undefined && existsSync(usual) ? usual : undefined);
  if (kubeconfig !== undefined) return { kubeconfig, env, ...(config.context === undefined ? {} : { context: config.context }) };
  if (config.context !== undefined)
    throw new TransporterError("KUBE_CONFIG_INVALID", `--context ${config.context}: there is no kubeconfig it could be in`, {
      remedy: "Give --kubeconfig FILE, or set KUBECONFIG.",
    });
  if (pod !== undefined) return { inCluster: pod, env };
  throw new TransporterError(
    "KUBE_CONFIG_INVALID",
    "no cluster to work on: no --kubeconfig, no KUBECONFIG, no ~/.kube/config, and this is no pod",
  );
}
