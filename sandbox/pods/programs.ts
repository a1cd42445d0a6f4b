import { join } from "node:path";
import { type BinaryName, kubernetesStamp, missingBinaries, prepareBinaries } from "../binaries.ts";
import { type DebianTreeOptions, findDebianTree, hasDebianPackages, librariesOf, prepareDebianTree, programIn } from "../debian.ts";
import { GoPrograms } from "../go-programs.ts";
import { isExecutable } from "../program.ts";

/** Older than the control plane by no more than Kubernetes allows, so that they still speak to the containerd that distributions have. */
const NODE = new GoPrograms({
  directory: import.meta.dir,
  packages: {
    pause: "./pause",
    relay: "./relay",
    probe: "./probe",
    kubelet: "k8s.io/kubernetes/cmd/kubelet",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
  },
  versionOf: "k8s.io/kubernetes",
  stamp: kubernetesStamp,
  label: "Kubernetes' node programs",
  prefix: "node-",
  cost: "With nothing cached, 2 cores and a fast connection, expect 5 to 8 minutes; about 2 GiB of memory and 3 GB of disk.",
});
/** A module of its own: what CoreDNS requires of Kubernetes' libraries is not what a kubelet does. */
const DNS = new GoPrograms({
  directory: join(import.meta.dir, "dns"),
  packages: { coredns: "./" },
  versionOf: "github.com/coredns/coredns",
  label: "CoreDNS",
  prefix: "dns-",
  cost: "With nothing cached, expect 2 to 4 minutes.",
});
const CONTROL_PLANE = ["etcd", "kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler"] as const satisfies BinaryName[];

/** Program to where its package has it. */
const SYSTEM = {
  containerd: "usr/bin/containerd",
  ctr: "usr/bin/ctr",
  "containerd-shim-runc-v2": "usr/bin/containerd-shim-runc-v2",
  runc: ["usr/sbin/runc", "usr/bin/runc"],
  ip: ["bin/ip", "usr/bin/ip"],
  nft: "usr/sbin/nft",
} as const satisfies Record<string, string | readonly string[]>;
const DEBIAN: DebianTreeOptions = {
  name: "containers",
  packages: ["containerd", "runc", "containernetworking-plugins", "iproute2", "nftables"],
  programs: Object.values(SYSTEM),
};
const CNI_PLUGINS = ["bridge", "host-local", "loopback"] as const;
/** Where distributions and the project's own archives put them. */
const CNI_DIRECTORIES = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
/** Of every Linux; only their absence has to be told. */
const BASE = ["nsenter", "unshare", "mount", "find"] as const;

type GoName = (typeof CONTROL_PLANE)[number] | (typeof NODE.names)[number] | (typeof DNS.names)[number];
type SystemName = keyof typeof SYSTEM;

export interface PodPrograms {
  /** Name to path. */
  readonly paths: Readonly<Record<GoName | SystemName, string>>;
  readonly cniDirectory: string;
  /** PATH, and LD_LIBRARY_PATH where the programs came in packages. */
  readonly env: Readonly<Record<string, string>>;
}

async function cniOf(directories: readonly string[]): Promise<string | undefined> {
  for (const directory of directories) {
    const there = await Promise.all(CNI_PLUGINS.map((name) => isExecutable(join(directory, name))));
    if (there.every(Boolean)) return directory;
  }
  return undefined;
}

/** What neither is here nor can be fetched from the distribution. */
export async function missingSystemPrograms(): Promise<string[]> {
  const missing: string[] = BASE.filter((name) => Bun.which(name) === null);
  if (hasDebianPackages()) return missing;
  missing.push(...Object.keys(SYSTEM).filter((name) => Bun.which(name) === null));
  if ((await cniOf(CNI_DIRECTORIES)) === undefined) missing.push(`the CNI plugins ${CNI_PLUGINS.join(", ")} (in ${CNI_DIRECTORIES[0]})`);
  return missing;
}

type SystemPrograms = Pick<PodPrograms, "cniDirectory" | "env"> & { readonly paths: Readonly<Record<SystemName, string>> };

/** From the distribution's packages, unpacked and not installed, where that can be; elsewhere those on PATH. */
async function prepareSystem(onProgress: (line: string) => void): Promise<SystemPrograms> {
  const path = process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin";
  if (!hasDebianPackages()) {
    const paths = Object.fromEntries(Object.keys(SYSTEM).map((name) => [name, Bun.which(name) ?? name])) as Record<SystemName, string>;
    return { paths, cniDirectory: (await cniOf(CNI_DIRECTORIES)) ?? "", env: { PATH: path } };
  }
  const tree = await prepareDebianTree({ ...DEBIAN, onProgress });
  const found = Object.entries(SYSTEM).map(async ([name, paths]) => [name, (await programIn(tree, paths)) ?? name]);
  return {
    paths: Object.fromEntries(await Promise.all(found)) as Record<SystemName, string>,
    cniDirectory: join(tree, "usr/lib/cni"),
    env: {
      PATH: [...["usr/sbin", "usr/bin", "sbin", "bin"].map((directory) => join(tree, directory)), path].join(":"),
      LD_LIBRARY_PATH: await librariesOf(tree),
    },
  };
}

/** The names of those programs that would have to be fetched or built first. */
export async function missingPodPrograms(): Promise<string[]> {
  const fetched = !hasDebianPackages() || (await findDebianTree(DEBIAN)) !== undefined;
  const built = [await missingBinaries(CONTROL_PLANE), await NODE.missing(), await DNS.missing()];
  return [...(fetched ? [] : ["containerd"]), ...built.flat()];
}

/** Finds, fetches or builds everything that clusters with pods are made of. */
export async function preparePodPrograms(onProgress: (line: string) => void = () => undefined): Promise<PodPrograms> {
  const system = prepareSystem(onProgress);
  system.catch(() => undefined);
  // One build after the other: each takes all the memory and cores that a small machine has.
  const controlPlane = prepareBinaries({ names: CONTROL_PLANE, onProgress });
  const paths: Record<string, string> = {};
  for (const name of CONTROL_PLANE) paths[name] = await controlPlane[name];
  const node = NODE.prepare({ onProgress });
  for (const name of NODE.names) paths[name] = await node[name];
  paths["coredns"] = await DNS.prepare({ onProgress }).coredns;
  const { paths: systemPaths, ...rest } = await system;
  return { ...rest, paths: { ...paths, ...systemPaths } as PodPrograms["paths"] };
}
