import { GoPrograms, type PrepareOptions, type Programs } from "./go-programs.ts";

/** In the order in which they are built: what a bare API server needs comes first, so that it can run while the rest builds. */
const PACKAGES = {
  etcd: "go.etcd.io/etcd/server/v3",
  "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
  kubectl: "k8s.io/kubernetes/cmd/kubectl",
  "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
  "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
  kwok: "sigs.k8s.io/kwok/cmd/kwok",
  "nats-server": "github.com/nats-io/nats-server/v2",
} as const;

export type BinaryName = keyof typeof PACKAGES;
export type Binaries = Programs<BinaryName>;
export type BinariesOptions = PrepareOptions<BinaryName>;

/** Unstamped, Kubernetes' programs call themselves v0.0.0-master and clients refuse features. */
export function kubernetesStamp(version: string): string {
  const [major, minor] = version.slice(1).split(".");
  const variable = "k8s.io/component-base/version";
  return `-X ${variable}.gitVersion=${version} -X ${variable}.gitMajor=${major} -X ${variable}.gitMinor=${minor}`;
}

const PROGRAMS = new GoPrograms({
  directory: import.meta.dir,
  packages: PACKAGES,
  versionOf: "k8s.io/kubernetes",
  stamp: kubernetesStamp,
  label: "Kubernetes",
  prefix: "",
  cost:
    "With nothing cached, 2 cores and a fast connection, expect 4 to 7 minutes for the API server and 6 to 10 for all; " +
    "about 2 GiB of memory and 5 GB of disk.",
  // As other Kubernetes tests have it; it usually holds etcd, kube-apiserver and kubectl, and their version is then the user's choice.
  ownDirectory: () => process.env["KUBEBUILDER_ASSETS"],
  otherwise: "point KUBEBUILDER_ASSETS at a directory that holds them",
});

/** What a cluster is made of. */
export const CLUSTER_BINARIES: readonly BinaryName[] = PROGRAMS.names.filter((name) => name !== "nats-server");

export function binariesDirectory(): Promise<string> {
  return PROGRAMS.directory();
}

export function missingBinaries(names?: readonly BinaryName[]): Promise<BinaryName[]> {
  return PROGRAMS.missing(names);
}

export function prepareBinaries(options: BinariesOptions = {}): Binaries {
  return PROGRAMS.prepare(options);
}
