/**
 * An image of a kind node, made from the distribution's packages and Go modules: for machines that have a container engine and kind, and
 * cannot pull. Its control plane is that of the sandbox; its network and its volumes are the plainest that work on one node.
 */
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { prepareDebianTree, sandboxCache } from "../debian.ts";
import { kubernetesStamp } from "../binaries.ts";
import { goModuleDirectory } from "../go-module.ts";
import { GoPrograms } from "../go-programs.ts";
import { preparePodPrograms } from "../pods/mod.ts";
import { Engine } from "./engine.ts";
import { becomeNode } from "./node-files.ts";

/** What `go.mod` pins: kind itself, and kubeadm of the version of the sandbox's control plane. */
const KIND = new GoPrograms({
  directory: import.meta.dir,
  packages: { kubeadm: "k8s.io/kubernetes/cmd/kubeadm", kind: "sigs.k8s.io/kind" },
  versionOf: "k8s.io/kubernetes",
  stamp: kubernetesStamp,
  label: "kind and kubeadm",
  prefix: "kind-",
  cost: "With nothing cached, expect 3 to 5 minutes.",
});

/** As kind wants a node to be: what is in its own image. */
const DISTRIBUTION = "bookworm";
const PACKAGES = [
  "ca-certificates",
  "conntrack",
  "containerd",
  "containernetworking-plugins",
  "ethtool",
  "hostname",
  "iproute2",
  "iptables",
  "jq",
  "kmod",
  "mount",
  "nftables",
  "procps",
  "runc",
  "socat",
  "systemd",
  "util-linux",
];

/** What a kube-proxy calls. */
const PROXY_PROGRAMS = ["usr/sbin/xtables-nft-multi", "usr/sbin/xtables-legacy-multi", "usr/sbin/nft", "usr/sbin/conntrack", "bin/ip"];
const XTABLES_NAMES = ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];

export interface NodeImageOptions {
  readonly engine: "docker" | "podman";
  readonly onProgress: (line: string) => void;
}

/** The program itself, for who has none on PATH. */
export function prepareKind(onProgress: (line: string) => void): Promise<string> {
  return KIND.prepare({ names: ["kind"], onProgress }).kind;
}

/** The image's name, for `kind create cluster --image`. Throws with what is missing. Needs Linux, root, and Go. */
export async function makeNodeImage({ engine: name, onProgress: say }: NodeImageOptions): Promise<string> {
  if (process.platform !== "linux" || process.getuid?.() !== 0) throw new Error("an image of a kind node can be made on Linux, by root");
  const { kubeadm } = KIND.prepare({ names: ["kubeadm"], onProgress: say });
  const kubeadmPath = await kubeadm;
  const programs = await preparePodPrograms(say);
  const version = await KIND.version();
  const kindFiles = join(await goModuleDirectory(import.meta.dir, "sigs.k8s.io/kind"), "images/base/files");
  await mkdir(sandboxCache(), { recursive: true });
  const directory = await mkdtemp(join(sandboxCache(), "kind-node-"));
  try {
    const root = join(directory, "root");
    say("Making a distribution for the node from packages (one to three minutes).");
    await bootstrap(root, say);
    await using engine = new Engine(name);
    say("Making images of the control plane, and the node.");
    const { paths } = programs;
    const archives = await controlPlaneImages(engine, { root, directory, kubeadmPath, version, pause: await pauseImage(kindFiles), paths });
    await becomeNode({ root, kindFiles, version, programs: [kubeadmPath, paths.kubelet, paths.kubectl], imageArchives: archives });
    const spec = await engine.output([paths.ctr, "oci", "spec"], programs.env);
    await Bun.write(join(root, "etc/containerd/cri-base.json"), JSON.stringify(baseSpec(JSON.parse(spec))));
    const image = `localhost/transporter-kind-node:${version}`;
    await engine.importTree(root, image, ['ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]']);
    // kind mounts it into every node; machines without modules lack it.
    await mkdir("/lib/modules", { recursive: true });
    return image;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function bootstrap(root: string, say: (line: string) => void): Promise<void> {
  const tree = await prepareDebianTree({ name: "debootstrap", packages: ["debootstrap"], onProgress: say });
  const script = join(tree, "usr/sbin/debootstrap");
  const made = Bun.spawn([script, "--variant=minbase", `--include=${PACKAGES.join(",")}`, DISTRIBUTION, root], {
    env: { ...process.env, DEBOOTSTRAP_DIR: join(tree, "usr/share/debootstrap") },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors, code] = await Promise.all([made.stdout.text(), made.stderr.text(), made.exited]);
  if (code !== 0) throw new Error(`debootstrap ended with ${code}:\n${`${output}\n${errors}`.trim().split("\n").slice(-10).join("\n")}`);
}

/** kind has containerd start every sandbox from this image. */
async function pauseImage(kindFiles: string): Promise<string> {
  const config = await readFile(join(kindFiles, "etc/containerd/config.toml"), "utf8");
  const image = /^\s*sandbox_image = "([^"]+)"/m.exec(config)?.[1];
  if (image === undefined) throw new Error("kind's configuration of containerd names no sandbox image");
  return image;
}

interface Inputs {
  readonly root: string;
  readonly directory: string;
  readonly kubeadmPath: string;
  readonly version: string;
  readonly pause: string;
  readonly paths: Readonly<Record<string, string>>;
}

/** Under the names that kubeadm asks for, so that nothing is pulled. */
async function controlPlaneImages(engine: Engine, { root, directory, kubeadmPath, version, pause, paths }: Inputs): Promise<string[]> {
  const wanted = (await engine.output([kubeadmPath, "config", "images", "list", "--kubernetes-version", version])).trim().split("\n");
  const archives: string[] = [];
  for (const image of [...wanted.filter((name) => !name.includes("/pause:")), pause]) {
    const program = /\/([a-z-]+):/.exec(image)?.[1] ?? "";
    const path = paths[program];
    if (path === undefined) throw new Error(`kubeadm wants ${image}, and there is no program ${program}`);
    const tree = join(directory, program);
    await mkdir(join(tree, "usr/local/bin"), { recursive: true });
    await cp(path, join(tree, "usr/local/bin", program));
    if (program === "kube-proxy") await addProxyPrograms(engine, root, tree);
    archives.push(await engine.archiveTree(tree, image, [`ENTRYPOINT ["/usr/local/bin/${program}"]`], join(directory, `${program}.tar`)));
    await rm(tree, { recursive: true, force: true });
  }
  return archives;
}

/** The programs that write rules, and every library that they load. */
async function addProxyPrograms(engine: Engine, root: string, tree: string): Promise<void> {
  const files = new Set<string>();
  for (const program of PROXY_PROGRAMS) {
    files.add(program);
    const listed = await engine.output(["chroot", root, "ldd", `/${program}`]);
    for (const [, path] of listed.matchAll(/(\/\S+\.so\S*)/g)) if (path !== undefined) files.add(path.slice(1));
  }
  const triplets = (await readdir(join(root, "usr/lib"))).filter((entry) => entry.endsWith("-linux-gnu"));
  for (const triplet of triplets) {
    // What iptables loads only when a rule has it needs libraries of its own.
    const modules = await readdir(join(root, "usr/lib", triplet, "xtables"));
    const listed = await engine.output(["chroot", root, "ldd", ...modules.map((module) => `/usr/lib/${triplet}/xtables/${module}`)]);
    for (const [, path] of listed.matchAll(/=> (\/\S+\.so\S*)/g)) if (path !== undefined) files.add(path.slice(1));
  }
  for (const file of files) await cp(join(root, file), join(tree, file), { recursive: true, dereference: true });
  for (const triplet of triplets)
    await cp(join(root, "usr/lib", triplet, "xtables"), join(tree, "usr/lib", triplet, "xtables"), {
      recursive: true,
      verbatimSymlinks: true,
    });
  for (const name of XTABLES_NAMES) await cp(join(root, "usr/sbin/xtables-nft-multi"), join(tree, "usr/sbin", name), { dereference: true });
  await mkdir(join(tree, "run"), { recursive: true });
  await chmod(join(tree, "run"), 0o755);
}

/** Of every container: kind hides the machine's product id, which pods of several nodes would share. */
function baseSpec(spec: unknown): unknown {
  if (typeof spec !== "object" || spec === null || !("process" in spec)) throw new Error("`ctr oci spec` says something unexpected");
  const { process: of } = spec;
  const { rlimits: _dropped, ...kept } = typeof of === "object" && of !== null ? { rlimits: undefined, ...of } : { rlimits: undefined };
  return { ...spec, process: kept, hooks: { createContainer: [{ path: "/kind/bin/mount-product-files.sh" }] } };
}
