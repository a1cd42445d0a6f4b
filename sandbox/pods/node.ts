import { generateKeyPairSync } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Certified, ClientAuthority } from "../certificates.ts";
import type { Child, Children } from "../children.ts";
import { kubeconfigText } from "../kubeconfig.ts";
import { makeCgroups } from "./cgroups.ts";
import { run } from "./command.ts";
import {
  API_PORT,
  CLUSTER_DOMAIN,
  cniConfig,
  containerdConfig,
  corefile,
  dnsObjects,
  kubeletConfig,
  kubeProxyConfig,
  masqueradeRules,
  nodePaths,
  type NodeSettings,
  SERVICE_CIDR,
} from "./configuration.ts";
import { addressOf, hostnameOf, type Hub, namespaceOf, podCidrOf } from "./network.ts";
import { imageOfProgram, PAUSE_IMAGE } from "./pause-image.ts";
import type { PodPrograms } from "./programs.ts";
import { until } from "./until.ts";

/**
 * What a kubelet wants of the machine's kernel. Told as if it were so: its node sees these files over the kernel's own, and the machine
 * keeps its settings.
 */
const KERNEL_SETTINGS = {
  "vm/overcommit_memory": "1",
  "vm/panic_on_oom": "0",
  "kernel/panic": "10",
  "kernel/panic_on_oops": "1",
  "kernel/keys/root_maxkeys": "1000000",
  "kernel/keys/root_maxbytes": "25000000",
} as const;

export interface NodeOptions {
  readonly name: string;
  readonly index: number;
  /** Of all clusters, in their order. */
  readonly names: readonly string[];
  /** Unique on this machine. */
  readonly unique: string;
  readonly children: Children;
  readonly programs: PodPrograms;
  readonly hub: Hub;
}

/**
 * A cluster of one node: control plane, containerd, kubelet and kube-proxy as ordinary processes in namespaces of their own (network,
 * mounts, processes). All of it, pods included, ends with process 1 of the node, and so do its mounts and its network.
 */
export class Node {
  readonly name: string;
  readonly address: string;
  readonly directory: string;
  readonly kubeconfigPath: string;
  readonly adminToken = `admin-${crypto.randomUUID()}`;
  cgroups: readonly string[] = [];
  readonly #options: NodeOptions;
  readonly #settings: NodeSettings;
  readonly #authority = new ClientAuthority();
  #snapshotter = "overlayfs";
  #holder: Child | undefined;
  #url = "";

  constructor(options: NodeOptions) {
    this.#options = options;
    this.name = options.name;
    this.address = addressOf(options.index);
    // Unix sockets have short paths.
    this.directory = join(options.children.directory, `n${options.index + 1}`);
    this.kubeconfigPath = join(this.directory, "admin.kubeconfig");
    this.#settings = {
      name: options.name,
      address: this.address,
      podCidr: podCidrOf(options.index),
      cgroup: `transporter-pods-${options.unique}-${options.index + 1}`,
      paths: nodePaths(this.directory),
      nodes: Object.fromEntries(options.names.map((name, index) => [hostnameOf(name), addressOf(index)])),
    };
  }

  /** From 127.0.0.1. */
  get url(): string {
    return this.#url;
  }

  get namespace(): string {
    return namespaceOf(this.#holder?.pid ?? 0);
  }

  /** Makes the namespaces, and starts whatever waits for nobody. */
  async start(): Promise<void> {
    const { hub, children, index } = this.#options;
    this.cgroups = await makeCgroups(this.#settings.cgroup);
    for (const path of this.cgroups) children.guardCgroup(path);
    await this.#writeFiles();
    await this.#hold();
    await hub.attach(index, this.#holder?.pid ?? 0, masqueradeRules(this.#settings));
    this.#url = `https://127.0.0.1:${await hub.relay(`${this.address}:${API_PORT}`, this.namespace)}`;
    await this.#writeKubeconfig(this.kubeconfigPath, "admin", this.#url, { token: this.adminToken });
    await Promise.all([this.#startControlPlane(), this.#startContainerd()]);
    await this.#startNodePrograms();
    await Promise.all([this.#startDns(), this.#untilReady()]);
  }

  /** As the administrator. */
  request(path: string, init: { readonly method?: string; readonly body?: unknown } = {}): Promise<Response> {
    return fetch(`${this.#url}${path}`, {
      method: init.method ?? "GET",
      headers: { authorization: `Bearer ${this.adminToken}`, "content-type": "application/json" },
      ...(init.body === undefined ? {} : { body: JSON.stringify(init.body) }),
      tls: { ca: this.#authority.certificatePem },
    });
  }

  /** Names of the images in it. */
  async importImage(archivePath: string): Promise<string[]> {
    const output = await this.#ctr(["images", "import", "--snapshotter", this.#snapshotter, archivePath]);
    return [...output.matchAll(/unpacking (\S+)/g)].map(([, name = ""]) => name);
  }

  #ctr(args: readonly string[]): Promise<string> {
    const { paths, env } = this.#options.programs;
    const command = [paths.ctr, "--address", this.#settings.paths.containerdSocket, "--namespace", "k8s.io", ...args];
    return run(command, { env, timeoutMs: 300_000 });
  }

  /** Process 1 of the node, which holds its namespaces and its mounts. */
  async #hold(): Promise<void> {
    const { children, programs } = this.#options;
    const ready = join(this.directory, "ready");
    const { kubelet } = this.#settings.paths;
    const settings = Object.keys(KERNEL_SETTINGS).map((name) => {
      const file = join(this.directory, "kernel", name.replaceAll("/", "."));
      return `[ ! -e /proc/sys/${name} ] || mount --bind ${file} /proc/sys/${name}`;
    });
    const script = `
      # Pods may ask for mounts that go on into them; nothing goes back to the machine, from which this is cut off already.
      mount --make-rshared /
      # A kubelet measures the file system of a mount.
      mount --bind ${kubelet} ${kubelet}
      # Sockets, links and records whose places nobody can choose.
      mount -t tmpfs -o mode=0755 node /run
      mount -t tmpfs -o mode=0755 node /var/log
      mkdir /run/changed /run/work
      mount -t overlay -o lowerdir=/var/lib,upperdir=/run/changed,workdir=/run/work node /var/lib
      ${settings.join("\n")}
      : > ${ready}
      exec ${programs.paths.pause}`;
    const namespaces = ["--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"];
    this.#holder = await children.spawn(this.#logName("holder"), ["unshare", ...namespaces, "sh", "-ec", script], { env: programs.env });
    await until(`the namespaces of node ${this.name}`, children, () => Bun.file(ready).exists());
  }

  #logName(program: string): string {
    return `${this.name}-${program}`;
  }

  #spawn(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Child> {
    const { children, programs } = this.#options;
    const pid = this.#holder?.pid ?? 0;
    const enter = ["nsenter", `--net=/proc/${pid}/ns/net`, `--mount=/proc/${pid}/ns/mnt`, `--pid=/proc/${pid}/ns/pid_for_children`];
    const path = (programs.paths as Readonly<Record<string, string>>)[program] ?? program;
    return children.spawn(this.#logName(program), [...enter, path, ...args], { env: { ...programs.env, ...env } });
  }

  async #writeKubeconfig(path: string, user: string, url: string, credentials: { readonly token: string } | Certified): Promise<void> {
    await writeFile(path, kubeconfigText({ url, caPem: this.#authority.certificatePem, user, credentials }), { mode: 0o600 });
  }

  async #writeCertified(name: string, { certificatePem, keyPem }: Certified): Promise<void> {
    await writeFile(join(this.#settings.paths.tls, `${name}.crt`), certificatePem);
    await writeFile(join(this.#settings.paths.tls, `${name}.key`), keyPem, { mode: 0o600 });
  }

  async #writeFiles(): Promise<void> {
    const { name, address, directory } = this;
    const { paths } = this.#settings;
    const { programs } = this.#options;
    for (const path of [paths.tls, paths.kubelet, paths.cni, join(directory, "kernel")])
      await mkdir(path, { recursive: true, mode: 0o700 });
    for (const [setting, value] of Object.entries(KERNEL_SETTINGS))
      await writeFile(join(directory, "kernel", setting.replaceAll("/", ".")), `${value}\n`);

    await writeFile(join(paths.tls, "ca.crt"), this.#authority.certificatePem);
    const kubernetes = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", `kubernetes.default.svc.${CLUSTER_DOMAIN}`];
    await this.#writeCertified("server", this.#authority.issueServer([...kubernetes, "localhost"], ["127.0.0.1", address, "10.96.0.1"]));
    await this.#writeCertified("kubelet-server", this.#authority.issueServer([name], [address, "127.0.0.1"]));
    await this.#writeCertified("kubelet-client", this.#authority.issue("kube-apiserver-kubelet-client", ["system:masters"]));
    const key = generateKeyPairSync("ec", {
      namedCurve: "P-256",
      privateKeyEncoding: { type: "sec1", format: "pem" },
      publicKeyEncoding: { type: "spki", format: "pem" },
    });
    await writeFile(join(paths.tls, "service-account.key"), key.privateKey, { mode: 0o600 });
    await writeFile(join(paths.tls, "service-account.pub"), key.publicKey);
    await writeFile(join(paths.tls, "tokens.csv"), `${this.adminToken},admin,admin,"system:masters"\n`, { mode: 0o600 });

    const inside = `https://${address}:${API_PORT}`;
    const users: Readonly<Record<string, Certified>> = {
      controllers: this.#authority.issue("admin", ["system:masters"]),
      kubelet: this.#authority.issue(`system:node:${name}`, ["system:nodes"]),
      "kube-proxy": this.#authority.issue("system:kube-proxy"),
    };
    for (const [user, credentials] of Object.entries(users))
      await this.#writeKubeconfig(join(paths.tls, `${user}.kubeconfig`), user, inside, credentials);

    const fileSystem = (await run(["stat", "--file-system", "--format=%T", directory], { env: programs.env })).trim();
    // One overlay cannot be the upper layer of another: we are in a container then.
    if (fileSystem === "overlayfs") this.#snapshotter = "native";
    const { cniDirectory } = programs;
    const settings = this.#settings;
    await writeFile(
      join(directory, "containerd.toml"),
      containerdConfig(settings, { runc: programs.paths.runc, cniDirectory, snapshotter: this.#snapshotter }),
    );
    await writeFile(join(paths.cni, "10-pods.conflist"), cniConfig(settings));
    await writeFile(join(directory, "kubelet.yaml"), kubeletConfig(settings, await openFilesLimit()));
    await writeFile(join(directory, "kube-proxy.yaml"), kubeProxyConfig(settings));
    await writeFile(join(directory, "Corefile"), corefile(settings));
    // Whom the machine asks cannot be reached from here.
    await writeFile(paths.resolvConf, "");
  }

  async #startControlPlane(): Promise<void> {
    const { tls } = this.#settings.paths;
    await this.#spawn("etcd", [`--data-dir=${this.directory}/etcd`, "--unsafe-no-fsync", "--log-level=warn"]);
    await this.#spawn("kube-apiserver", [
      "--etcd-servers=http://127.0.0.1:2379",
      "--bind-address=0.0.0.0",
      `--advertise-address=${this.address}`,
      `--secure-port=${API_PORT}`,
      `--tls-cert-file=${tls}/server.crt`,
      `--tls-private-key-file=${tls}/server.key`,
      `--client-ca-file=${tls}/ca.crt`,
      `--token-auth-file=${tls}/tokens.csv`,
      "--authorization-mode=Node,RBAC",
      "--enable-admission-plugins=NodeRestriction",
      `--service-account-issuer=https://kubernetes.default.svc.${CLUSTER_DOMAIN}`,
      `--service-account-key-file=${tls}/service-account.pub`,
      `--service-account-signing-key-file=${tls}/service-account.key`,
      `--service-cluster-ip-range=${SERVICE_CIDR}`,
      `--kubelet-client-certificate=${tls}/kubelet-client.crt`,
      `--kubelet-client-key=${tls}/kubelet-client.key`,
      `--kubelet-certificate-authority=${tls}/ca.crt`,
      "--kubelet-preferred-address-types=InternalIP",
      "--allow-privileged=true",
    ]);
    await until(`the API server of ${this.name}`, this.#options.children, async () => (await this.request("/readyz")).ok);
    const common = [`--kubeconfig=${tls}/controllers.kubeconfig`, "--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=1000"];
    await this.#spawn("kube-controller-manager", [
      ...common,
      "--use-service-account-credentials=true",
      "--secure-port=0",
      `--service-account-private-key-file=${tls}/service-account.key`,
      `--root-ca-file=${tls}/ca.crt`,
      `--flex-volume-plugin-dir=${this.directory}/volume-plugins`,
    ]);
    await this.#spawn("kube-scheduler", [...common, "--secure-port=0"]);
  }

  async #startContainerd(): Promise<void> {
    const { children, programs } = this.#options;
    await this.#spawn("containerd", ["--config", join(this.directory, "containerd.toml")]);
    await until(`containerd of ${this.name}`, children, async () => (await this.#ctr(["version"])) !== "");
    const archive = join(this.directory, "pause.tar");
    await writeFile(archive, await imageOfProgram(PAUSE_IMAGE, programs.paths.pause, []));
    await this.importImage(archive);
  }

  async #startNodePrograms(): Promise<void> {
    const { paths } = this.#settings;
    await this.#spawn("kubelet", [
      `--config=${this.directory}/kubelet.yaml`,
      `--kubeconfig=${paths.tls}/kubelet.kubeconfig`,
      `--hostname-override=${this.name}`,
      `--node-ip=${this.address}`,
      `--root-dir=${paths.kubelet}`,
      `--cert-dir=${paths.tls}`,
    ]);
    await this.#spawn("kube-proxy", [`--config=${this.directory}/kube-proxy.yaml`]);
  }

  async #startDns(): Promise<void> {
    const { children } = this.#options;
    for (const [path, object] of dnsObjects(this.#settings))
      await until(`the Service of DNS of ${this.name}`, children, async () => {
        const { status } = await this.request(path, { method: "POST", body: object });
        return status === 201 || status === 409;
      });
    await this.#spawn("coredns", ["-conf", join(this.directory, "Corefile")]);
    // It says its name once it answers.
    const log = Bun.file(children.logPath(this.#logName("coredns")));
    await until(`CoreDNS of ${this.name}`, children, async () => (await log.text()).includes("CoreDNS-"));
  }

  async #untilReady(): Promise<void> {
    const { children } = this.#options;
    await until(`the default service account of ${this.name}`, children, async () => {
      return (await this.request("/api/v1/namespaces/default/serviceaccounts/default")).ok;
    });
    await until(`node ${this.name} to be ready`, children, async () => {
      const node = (await (await this.request(`/api/v1/nodes/${this.name}`)).json()) as {
        status?: { conditions?: { type: string; status: string }[] };
      };
      return node.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
    });
  }
}

/** Nobody may raise the limit that we have ourselves. */
async function openFilesLimit(): Promise<number> {
  const limits = await readFile("/proc/self/limits", "utf8");
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1];
  return Math.min(Number(hard ?? 20_000), 1_000_000);
}
