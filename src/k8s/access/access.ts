import type { Ports } from "../../kit/mod.ts";
import type { ActingIdentity } from "../../protocol/mod.ts";

/** What TLS needs towards the API server; PEM texts. Undefined `ca` means the system's own roots. */
export interface KubeTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** The name to ask for and to check instead of the URL's host (`tls-server-name`). */
  readonly serverName?: string;
  readonly rejectUnauthorized: boolean;
}

/** How to speak to the API server at this moment; rotates. */
export interface KubeCredentials {
  readonly headers: Readonly<Record<string, string>>;
  /** The same object as long as nothing rotated: the transport keeps connections by it. */
  readonly tls: KubeTls;
}

/** One cluster and one identity in it, wherever they were configured. */
export interface KubeAccess {
  /** Base URL without a trailing slash. */
  readonly server: string;
  /** For people: `context kind-a of /home/me/.kube/config`, or `the in-cluster account`. */
  readonly source: string;
  /** The namespace that the context or the account names, if any. */
  readonly namespace: string | undefined;
  readonly proxy: string | undefined;
  /** As whom the API server is to take every request, where the kubeconfig says so (`as`). */
  readonly identity?: ActingIdentity;
  /** Credentials of now: files are read again as they rotate, plugins run again as their answers expire. */
  credentials(): Promise<KubeCredentials>;
  /** Forgets everything remembered, because the API server answered 401. */
  reload(): void;
}

/** Where the kubelet tells a pod about its cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT. */
export interface InClusterOptions {
  readonly host: string;
  readonly port: string;
  /** Directory of the mounted account, by default the one that the kubelet mounts. */
  readonly accountDir?: string;
}

export interface KubeAccessOptions {
  /** Path of a kubeconfig, or several joined by the platform's list separator, as in KUBECONFIG. */
  readonly kubeconfig?: string;
  /** A context of that kubeconfig instead of its current one. */
  readonly context?: string;
  readonly inCluster?: InClusterOptions;
  /** Wins over the namespace of the context or account. */
  readonly namespace?: string;
  /** Environment for exec plugins of the kubeconfig (PATH, HOME, …). The variables that steer this program's own runtime are taken out. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly ports: Ports;
}
