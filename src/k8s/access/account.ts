import { readFile, stat } from "node:fs/promises";
import { TransporterError, messageOf } from "../../kit/mod.ts";
import type { InClusterOptions, KubeAccess, KubeCredentials, KubeTls } from "./access.ts";
import { CachedFile } from "./cached-file.ts";

const ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount";

function serverOf(options: InClusterOptions): string {
  const host = options.host.includes(":") ? `[${options.host}]` : options.host;
  return `https://${host}:${options.port}`;
}

/**
 * The account that the kubelet mounts into a pod. Its token is bound and lives about an hour; the kubelet writes a new one in time, so
 * the file is looked at again whenever it changed.
 * Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
 */
export async function accountAccess(
  options: InClusterOptions,
  namespace: string | undefined,
  monotonic: () => number,
): Promise<KubeAccess> {
  const dir = options.accountDir ?? ACCOUNT_DIR;
  if (options.host === "" || options.port === "")
    throw new TransporterError("KUBE_CONFIG_INVALID", "in-cluster access: KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set", {
      remedy: "Run the agent in a pod, or give --kubeconfig.",
    });
  try {
    await stat(`${dir}/token`);
  } catch (cause) {
    throw new TransporterError("KUBE_CONFIG_INVALID", `in-cluster access: no account token at ${dir}/token (${messageOf(cause)})`, {
      cause,
      remedy: "Give the pod a ServiceAccount with automountServiceAccountToken, or give --kubeconfig.",
    });
  }
  const token = new CachedFile(`${dir}/token`, monotonic);
  const ca = new CachedFile(`${dir}/ca.crt`, monotonic);
  const ownNamespace = await readFile(`${dir}/namespace`, "utf8").then(
    (text) => text.trim() || undefined,
    () => undefined,
  );
  let tls: KubeTls | undefined;
  return {
    server: serverOf(options),
    source: "the in-cluster account",
    namespace: namespace ?? ownNamespace,
    proxy: undefined,
    async credentials(): Promise<KubeCredentials> {
      const [bearer, root] = await Promise.all([token.read(), ca.read()]);
      if (tls?.ca !== root) tls = { ca: root, rejectUnauthorized: true };
      return { headers: { authorization: `Bearer ${bearer.trim()}` }, tls };
    },
    reload(): void {
      token.forget();
      ca.forget();
    },
  };
}
