import { TransporterError } from "../../kit/mod.ts";
import { keepSecrets } from "../../redaction/mod.ts";
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
    return keeping(checked(access));
  }
  if (inCluster !== undefined) {
    const access = await accountAccess(inCluster, options.namespace, () => options.ports.clock.monotonic());
    return keeping(checked(access));
  }
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

/** What shows who we are is shown to nobody else; the one before is forgotten. */
function keeping(access: KubeAccess): KubeAccess {
  let shown: string | undefined;
  let forget: (() => void) | undefined;
  return {
    ...access,
    async credentials() {
      const credentials = await access.credentials();
      const { authorization } = credentials.headers;
      if (authorization !== shown) {
        const before = forget;
        forget = authorization === undefined ? undefined : keepSecrets(secretsOf(authorization));
        shown = authorization;
        before?.();
      }
      return credentials;
    },
  };
}

/** Of `Bearer TOKEN`, or of `Basic USER:PASSWORD` in base64. */
function secretsOf(authorization: string): readonly string[] {
  const [scheme, value = ""] = authorization.split(" ");
  if (scheme !== "Basic") return [value];
  const pair = Buffer.from(value, "base64").toString();
  return [value, pair.slice(pair.indexOf(":") + 1)];
}
