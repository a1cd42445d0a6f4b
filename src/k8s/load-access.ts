import { TransporterError } from "../kit/mod.ts";
import type { KubeAccess, KubeAccessOptions } from "./access.ts";
import { accountAccess } from "./account.ts";

/**
 * Finds the cluster and the identity to use: the kubeconfig that is named, else the account of the pod. Reads no environment: the caller
 * hands in what KUBECONFIG and KUBERNETES_SERVICE_HOST say. Throws KUBE_CONFIG_INVALID that names what was looked at and what there is.
 */
export async function loadKubeAccess(options: KubeAccessOptions): Promise<KubeAccess> {
  const { kubeconfig, inCluster } = options;
  if (kubeconfig !== undefined && kubeconfig !== "") {
    const { kubeconfigAccess } = await import("./kubeconfig.ts");
    const access = await kubeconfigAccess({ ...options, kubeconfig });
    return checked(access);
  }
  if (inCluster !== undefined) return checked(await accountAccess(inCluster, options.namespace, () => options.ports.clock.monotonic()));
  throw new TransporterError("KUBE_CONFIG_INVALID", "neither a kubeconfig nor an in-cluster account is given");
}

/** Only http and https ever: this runtime's fetch would also read file: URLs. */
function checked(access: KubeAccess): KubeAccess {
  if (!URL.canParse(access.server) || !/^https?:$/.test(new URL(access.server).protocol))
    throw new TransporterError(
      "KUBE_CONFIG_INVALID",
      `${access.source}: the server ${JSON.stringify(access.server)} is not an http(s) URL`,
    );
  if (access.proxy !== undefined && (!URL.canParse(access.proxy) || !/^https?:$/.test(new URL(access.proxy).protocol)))
    throw new TransporterError("KUBE_CONFIG_INVALID", `${access.source}: proxy-url ${JSON.stringify(access.proxy)} is not an http(s) URL`, {
      remedy: "Use an http or https proxy; SOCKS is not supported.",
    });
  return access;
}
