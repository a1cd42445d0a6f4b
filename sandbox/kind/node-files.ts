import { chmod, cp, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

/** What goes into a node beside the distribution. */
export interface NodeParts {
  /** The distribution, with systemd and containerd; becomes the node. */
  readonly root: string;
  /** kind's own files for a node (`images/base/files` of its module). */
  readonly kindFiles: string;
  readonly version: string;
  /** Programs for /usr/bin. */
  readonly programs: readonly string[];
  /** Archives that containerd loads when the node starts. */
  readonly imageArchives: readonly string[];
}

/** The pod network of the one node. kind's own CNI is an image that would have to be pulled. */
const POD_CIDR = "10.244.0.0/24";
const CNI = {
  cniVersion: "0.4.0",
  name: "bridge",
  plugins: [
    {
      type: "bridge",
      bridge: "cni0",
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: { type: "host-local", ranges: [[{ subnet: POD_CIDR }]], routes: [{ dst: "0.0.0.0/0" }] },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};
/** kind applies what it finds there; the bridge needs nothing. */
const NETWORK_MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bridge-cni, namespace: kube-system}\n";

const VOLUMES = 4;

/** A default class with a few volumes made beforehand, in place of a provisioner whose image would have to be pulled. */
function storageManifest(): string {
  const volumes = Array.from({ length: VOLUMES }, (_, index) =>
    [
      "---",
      "apiVersion: v1",
      "kind: PersistentVolume",
      `metadata: {name: local-${index + 1}}`,
      "spec:",
      "  capacity: {storage: 10Gi}",
      "  accessModes: [ReadWriteOnce]",
      "  storageClassName: standard",
      "  persistentVolumeReclaimPolicy: Retain",
      `  hostPath: {path: /var/local-volumes/${index + 1}, type: DirectoryOrCreate}`,
    ].join("\n"),
  );
  return [
    "apiVersion: storage.k8s.io/v1",
    "kind: StorageClass",
    'metadata: {name: standard, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}',
    "provisioner: kubernetes.io/no-provisioner",
    "volumeBindingMode: WaitForFirstConsumer",
    ...volumes,
    "",
  ].join("\n");
}

/** Before the kubelet, which would try to pull what is not there yet. */
const LOAD_UNIT = `[Unit]
After=containerd.service
Requires=containerd.service
Before=kubelet.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'for archive in /kind/images/*.tar; do /usr/bin/ctr -n k8s.io images import "$archive"; done'
[Install]
WantedBy=multi-user.target
`;

const ENABLED = ["containerd", "kubelet", "undo-mount-hacks", "kind-images"];
/** What systemd would start in a container to no good; the same that kind's own image leaves out. */
const LEFT_OUT: readonly (readonly [string, RegExp])[] = [
  ["lib/systemd/system/sysinit.target.wants", /^systemd-tmpfiles-setup\.service$/],
  ["lib/systemd/system/multi-user.target.wants", /./],
  ["lib/systemd/system/local-fs.target.wants", /./],
  ["lib/systemd/system/basic.target.wants", /./],
  ["lib/systemd/system/sockets.target.wants", /udev|initctl/],
  ["etc/systemd/system", /^containerd\.service$/],
];

/** Makes a node of kind of a plain distribution. */
export async function becomeNode({ root, kindFiles, version, programs, imageArchives }: NodeParts): Promise<void> {
  const at = (...path: readonly string[]): string => join(root, ...path);
  for (const [directory, pattern] of LEFT_OUT)
    for (const name of await readdir(at(directory)).catch(() => [] as string[]))
      if (pattern.test(name)) await rm(at(directory, name), { recursive: true, force: true });
  // The package's own unit; kind has one that starts containerd as kind needs it.
  await rm(at("lib/systemd/system/containerd.service"), { force: true });
  await cp(kindFiles, root, { recursive: true, verbatimSymlinks: true });
  // Files of Go's module cache are read-only, and none is executable.
  for (const directory of ["usr/local/bin", "kind/bin"])
    for (const name of await readdir(at(directory))) await chmod(at(directory, name), 0o755);
  await writable(at("etc/containerd/config.toml"));
  const containerd = await readFile(at("etc/containerd/config.toml"), "utf8");
  // Where nobody may lower it, each container would fail to start.
  await writeFile(at("etc/containerd/config.toml"), containerd.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true"));
  await writeFile(at("etc/systemd/journald.conf"), "[Journal]\nReadKMsg=no\n");
  for (const name of ["containerd", "ctr", "containerd-shim-runc-v2"]) await link(`/usr/bin/${name}`, at("usr/local/bin", name));
  await link("/usr/lib/systemd/systemd", at("sbin/init"));
  await put(at("etc/cni/net.d/10-bridge.conflist"), JSON.stringify(CNI));
  await cp(at("usr/lib/cni"), at("opt/cni/bin"), { recursive: true, verbatimSymlinks: true });
  for (const program of programs) await cp(program, at("usr/bin", basename(program)));
  await put(at("kind/version"), version);
  await put(at("kind/manifests/default-cni.yaml"), NETWORK_MANIFEST);
  await put(at("kind/manifests/default-storage.yaml"), storageManifest());
  await mkdir(at("etc/kubernetes/manifests"), { recursive: true });
  for (let volume = 1; volume <= VOLUMES; volume += 1) {
    await mkdir(at(`var/local-volumes/${volume}`), { recursive: true });
    await chmod(at(`var/local-volumes/${volume}`), 0o777);
  }
  for (const archive of imageArchives) await put(at("kind/images", basename(archive)), await readFile(archive));
  await put(at("etc/systemd/system/kind-images.service"), LOAD_UNIT);
  for (const unit of ENABLED)
    await link(`/etc/systemd/system/${unit}.service`, at(`etc/systemd/system/multi-user.target.wants/${unit}.service`));
  await link("/dev/null", at("etc/systemd/system/systemd-binfmt.service"));
}

async function put(path: string, content: string | Uint8Array): Promise<void> {
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, content);
}

async function link(target: string, path: string): Promise<void> {
  await mkdir(join(path, ".."), { recursive: true });
  await rm(path, { force: true });
  await symlink(target, path);
}

async function writable(path: string): Promise<void> {
  await chmod(path, 0o644);
}
