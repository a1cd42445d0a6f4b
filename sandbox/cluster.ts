import { generateKeyPairSync } from "node:crypto";
import { mkdir, mkdtemp, readFile, realpath, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLUSTER_BINARIES, prepareBinaries, type Binaries, type BinaryName } from "./binaries.ts";
import { ClientAuthority, type Certified } from "./certificates.ts";
import { Children, type Child } from "./children.ts";
import { freePorts } from "./free-port.ts";
import { kubeconfigText, type KubeconfigParts } from "./kubeconfig.ts";
import { writeLogs } from "./logs.ts";
import { runKubectl, type KubectlOptions, type KubectlResult } from "./kubectl.ts";

export interface ClusterOptions {
  /** The controller manager: Deployments make pods, namespaces end, service accounts appear. */
  readonly controllers?: boolean;
  readonly scheduler?: boolean;
  /** How many simulated nodes; pods get onto them only with controllers and scheduler. */
  readonly nodes?: number;
  /** Users besides `admin`, name to token, without any right until RBAC gives them one. */
  readonly users?: Readonly<Record<string, string>>;
  readonly apiServerFlags?: readonly string[];
  /** One line at a time, while programs are built. */
  readonly onProgress?: (line: string) => void;
}

export interface Cluster extends AsyncDisposable {
  readonly url: string;
  /** The certificate authority of the API server's certificate. */
  readonly caPem: string;
  readonly adminToken: string;
  /** Of the administrator (`system:masters`). */
  readonly kubeconfigPath: string;
  readonly kubectlPath: string;
  /** Removed at the end; holds state, logs and kubeconfigs. */
  readonly directory: string;
  readonly versions: { readonly kubernetes: string };
  /** To ready, without the time in which programs were still being built. */
  readonly startedInMs: number;
  /** False once one of its programs has ended. */
  readonly alive: boolean;
  /** A kubeconfig with this bearer token. */
  kubeconfigFor(user: string, token: string, namespace?: string): Promise<string>;
  /** A client certificate that the API server trusts, and a kubeconfig with it; expired already when `validForMs` is negative. */
  clientCertificate(
    user: string,
    groups?: readonly string[],
    validForMs?: number,
  ): Promise<Certified & { readonly kubeconfigPath: string }>;
  /** Fails with what kubectl wrote unless it ends with 0. */
  kubectl(args: readonly string[], options?: KubectlOptions): Promise<string>;
  /** Whatever the exit code. */
  tryKubectl(args: readonly string[], options?: KubectlOptions): Promise<KubectlResult>;
  /** As the administrator; a body is sent as JSON. */
  request(method: string, path: string, body?: unknown): Promise<Response>;
  /** kill -9; etcd and the controllers stay. */
  killApiServer(): Promise<void>;
  /** The same port, the same state, the same certificate; resolves when it is ready. */
  restartApiServer(): Promise<void>;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 60_000;
const START_ATTEMPTS = 3;

class StartFailure extends Error {
  readonly portTaken: boolean;
  constructor(message: string, portTaken: boolean) {
    super(message);
    this.portTaken = portTaken;
  }
}

/**
 * A real Kubernetes API server with its etcd on 127.0.0.1, without containers or images. Nodes are simulated: pods are scheduled and
 * report what their labels ask for (sandbox/stages), and no container runs. Everything ends with us, even by kill -9.
 */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const binaries = prepareBinaries({
    names: CLUSTER_BINARIES,
    ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
  });
  for (let attempt = 1; ; attempt += 1) {
    const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-sandbox-"));
    const children = new Children(directory);
    try {
      return await new SandboxCluster(options, binaries, children).start();
    } catch (error) {
      await children.stop();
      if (!(error instanceof StartFailure && error.portTaken && attempt < START_ATTEMPTS)) throw error;
    }
  }
}

class SandboxCluster implements Cluster {
  readonly url: string;
  readonly directory: string;
  readonly adminToken = `admin-${crypto.randomUUID()}`;
  readonly kubeconfigPath: string;
  readonly #options: ClusterOptions;
  readonly #binaries: Binaries;
  readonly #children: Children;
  readonly #apiPort: number;
  readonly #etcdPort: number;
  readonly #etcdPeerPort: number;
  /** Where the simulated nodes answer for what their containers wrote. */
  readonly #kubeletPort: number;
  readonly #clientAuthority = new ClientAuthority();
  #startedInMs = 0;
  #caPem = "";
  #kubectlPath = "";
  #kubernetes = "";
  #apiServer: Child | undefined;

  constructor(options: ClusterOptions, binaries: Binaries, children: Children) {
    this.#options = options;
    this.#binaries = binaries;
    this.#children = children;
    this.directory = children.directory;
    this.kubeconfigPath = join(this.directory, "admin.kubeconfig");
    const [apiPort = 0, etcdPort = 0, etcdPeerPort = 0, kubeletPort = 0] = freePorts(4);
    this.#apiPort = apiPort;
    this.#etcdPort = etcdPort;
    this.#etcdPeerPort = etcdPeerPort;
    this.#kubeletPort = kubeletPort;
    this.url = `https://127.0.0.1:${apiPort}`;
  }

  get caPem(): string {
    return this.#caPem;
  }
  get kubectlPath(): string {
    return this.#kubectlPath;
  }
  get versions(): { readonly kubernetes: string } {
    return { kubernetes: this.#kubernetes };
  }
  get startedInMs(): number {
    return this.#startedInMs;
  }

  get alive(): boolean {
    return this.#children.ended.length === 0;
  }

  async start(): Promise<this> {
    const needed: BinaryName[] = ["etcd", "kube-apiserver", "kubectl"];
    if (this.#options.controllers === true) needed.push("kube-controller-manager");
    if (this.#options.scheduler === true) needed.push("kube-scheduler");
    if ((this.#options.nodes ?? 0) > 0) needed.push("kwok");
    await Promise.all([this.#binaries.etcd, this.#binaries["kube-apiserver"]]);
    const startedMs = performance.now();
    await this.#writeSecrets();
    await this.#startEtcd();
    await this.#startApiServer();
    // From here on the programs that only the rest needs may still be building.
    const waitingMs = performance.now();
    await Promise.all(needed.map((name) => this.#binaries[name]));
    const waitedMs = performance.now() - waitingMs;
    this.#kubectlPath = await this.#binaries.kubectl;
    // The controller manager waits for an API server that is ready for ten seconds and no longer, which a busy machine needs by itself.
    if (this.#options.controllers === true) await this.#untilReadyz();
    await this.#startControllers();
    await this.#untilReady();
    this.#startedInMs = Math.round(performance.now() - startedMs - waitedMs);
    return this;
  }

  kubeconfigFor(user: string, token: string, namespace?: string): Promise<string> {
    return this.#writeKubeconfig({ user, credentials: { token }, ...(namespace === undefined ? {} : { namespace }) });
  }

  async clientCertificate(user: string, groups?: readonly string[], validForMs?: number): Promise<Certified & { kubeconfigPath: string }> {
    const certified = this.#clientAuthority.issue(user, groups, validForMs);
    return { ...certified, kubeconfigPath: await this.#writeKubeconfig({ user, credentials: certified }) };
  }

  tryKubectl(args: readonly string[], options: KubectlOptions = {}): Promise<KubectlResult> {
    return runKubectl(this.#kubectlPath, options.kubeconfigPath ?? this.kubeconfigPath, this.directory, args, options.input);
  }

  async kubectl(args: readonly string[], options: KubectlOptions = {}): Promise<string> {
    const result = await this.tryKubectl(args, options);
    if (result.exitCode !== 0) throw new Error(`kubectl ${args.join(" ")} ended with ${result.exitCode}: ${result.stderr.trim()}`);
    return result.stdout;
  }

  request(method: string, path: string, body?: unknown): Promise<Response> {
    return fetch(`${this.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.adminToken}`, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      tls: { ca: this.#caPem },
    });
  }

  async killApiServer(): Promise<void> {
    this.#apiServer?.kill("SIGKILL");
    await this.#apiServer?.exited;
  }

  async restartApiServer(): Promise<void> {
    await this.killApiServer();
    await this.#startApiServer();
    await this.#untilReadyz();
  }

  stop(): Promise<void> {
    return this.#children.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #writeKubeconfig(parts: Omit<KubeconfigParts, "url" | "caPem">): Promise<string> {
    const path = join(this.directory, `${parts.user.replaceAll(/[^\w.-]/g, "_")}-${crypto.randomUUID().slice(0, 8)}.kubeconfig`);
    await writeFile(path, kubeconfigText({ url: this.url, caPem: this.#caPem, ...parts }), { mode: 0o600 });
    return path;
  }

  async #writeSecrets(): Promise<void> {
    const tokens = [[this.adminToken, "admin", "admin", '"system:masters"'].join(",")];
    for (const [user, token] of Object.entries(this.#options.users ?? {})) {
      if (/[,"\n]/.test(user + token)) throw new Error(`a user's name and token stand in a CSV file and must be plain: ${user}`);
      tokens.push([token, user, user].join(","));
    }
    const key = generateKeyPairSync("ec", {
      namedCurve: "P-256",
      privateKeyEncoding: { type: "sec1", format: "pem" },
      publicKeyEncoding: { type: "spki", format: "pem" },
    });
    await mkdir(join(this.directory, "tls"), { mode: 0o700 });
    await writeFile(join(this.directory, "tokens.csv"), `${tokens.join("\n")}\n`, { mode: 0o600 });
    await writeFile(join(this.directory, "tls", "service-account.key"), key.privateKey, { mode: 0o600 });
    await writeFile(join(this.directory, "tls", "service-account.pub"), key.publicKey);
    await writeFile(join(this.directory, "tls", "clients-ca.crt"), this.#clientAuthority.certificatePem);
  }

  async #startEtcd(): Promise<void> {
    const client = `http://127.0.0.1:${this.#etcdPort}`;
    const peer = `http://127.0.0.1:${this.#etcdPeerPort}`;
    await this.#children.spawn("etcd", [
      await this.#binaries.etcd,
      "--name=sandbox",
      `--data-dir=${join(this.directory, "etcd")}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=sandbox=${peer}`,
      // Its data lives as long as we do; waiting for the disk would protect nothing.
      "--unsafe-no-fsync",
      "--log-level=warn",
    ]);
  }

  async #startApiServer(): Promise<void> {
    const tls = join(this.directory, "tls");
    const admission = ["TaintNodesByCondition"];
    // Without controllers nobody makes the default service account that this plugin demands of every pod.
    if (this.#options.controllers !== true) admission.push("ServiceAccount");
    const apiServer = await this.#children.spawn("kube-apiserver", [
      await this.#binaries["kube-apiserver"],
      `--etcd-servers=http://127.0.0.1:${this.#etcdPort}`,
      "--bind-address=127.0.0.1",
      "--advertise-address=127.0.0.1",
      `--secure-port=${this.#apiPort}`,
      `--cert-dir=${tls}`,
      `--token-auth-file=${join(this.directory, "tokens.csv")}`,
      `--client-ca-file=${join(tls, "clients-ca.crt")}`,
      "--authorization-mode=RBAC",
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${join(tls, "service-account.pub")}`,
      `--service-account-signing-key-file=${join(tls, "service-account.key")}`,
      "--service-cluster-ip-range=10.96.0.0/16",
      "--allow-privileged=true",
      // The names of simulated nodes mean nothing to a resolver.
      "--kubelet-preferred-address-types=InternalIP",
      // Simulated nodes send no heartbeats, so the controller that would take this plugin's taints away does not run.
      `--disable-admission-plugins=${admission.join(",")}`,
      ...(this.#options.apiServerFlags ?? []),
    ]);
    this.#apiServer = apiServer;
    const anyAnswer = await this.#poll("the API server", async () => {
      if (this.#caPem === "") this.#caPem = await this.#readCa();
      if (this.#caPem === "") return undefined;
      const response = await this.request("GET", "/version");
      return response.ok ? ((await response.json()) as { gitVersion?: unknown }) : undefined;
    });
    this.#kubernetes = String(anyAnswer.gitVersion);
    const credentials = { token: this.adminToken };
    await writeFile(this.kubeconfigPath, kubeconfigText({ url: this.url, caPem: this.#caPem, user: "admin", credentials }), {
      mode: 0o600,
    });
    await writeFile(join(tls, "ca.crt"), this.#caPem);
  }

  /** The API server signs itself a certificate and writes leaf and authority, in this order, into one file. */
  async #readCa(): Promise<string> {
    const text = await readFile(join(this.directory, "tls", "apiserver.crt"), "utf8").catch(() => "");
    const certificates = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n/g) ?? [];
    return certificates.length > 1 ? (certificates.at(-1) ?? "") : "";
  }

  async #startControllers(): Promise<void> {
    const { controllers, scheduler, nodes = 0 } = this.#options;
    const tls = join(this.directory, "tls");
    const common = [`--kubeconfig=${this.kubeconfigPath}`, "--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=1000"];
    if (controllers === true)
      await this.#children.spawn("kube-controller-manager", [
        await this.#binaries["kube-controller-manager"],
        ...common,
        "--controllers=*,-node-lifecycle-controller,-taint-eviction-controller",
        // Made at the start; the usual one is outside of our directory.
        `--flex-volume-plugin-dir=${join(this.directory, "volume-plugins")}`,
        "--secure-port=0",
        `--service-account-private-key-file=${join(tls, "service-account.key")}`,
        `--root-ca-file=${join(tls, "ca.crt")}`,
      ]);
    if (scheduler === true)
      await this.#children.spawn("kube-scheduler", [await this.#binaries["kube-scheduler"], ...common, "--secure-port=0"]);
    if (nodes > 0) {
      const stages = join(import.meta.dir, "stages");
      await this.#children.spawn("kwok", [
        await this.#binaries.kwok,
        `--kubeconfig=${this.kubeconfigPath}`,
        `--config=${[join(stages, "node.yaml"), join(stages, "pod.yaml"), await writeLogs(this.directory)].join(",")}`,
        "--manage-all-nodes=true",
        "--node-ip=127.0.0.1",
        `--node-port=${this.#kubeletPort}`,
        `--server-address=127.0.0.1:${this.#kubeletPort}`,
        "--node-lease-duration-seconds=0",
      ]);
    }
    for (let index = 1; index <= nodes; index += 1) await this.#createNode(`simulated-${index}`);
  }

  async #createNode(name: string): Promise<void> {
    const node = {
      apiVersion: "v1",
      kind: "Node",
      metadata: {
        name,
        annotations: { "kwok.x-k8s.io/node": "fake" },
        labels: { type: "simulated", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" },
      },
    };
    await this.#poll(`node ${name}`, async () => {
      const response = await this.request("POST", "/api/v1/nodes", node);
      await response.text();
      return response.ok || response.status === 409 ? true : undefined;
    });
  }

  async #untilReady(): Promise<void> {
    await this.#untilReadyz();
    if (this.#options.controllers === true)
      await this.#poll("the default service account", async () => {
        const response = await this.request("GET", "/api/v1/namespaces/default/serviceaccounts/default");
        await response.text();
        return response.ok ? true : undefined;
      });
    if ((this.#options.nodes ?? 0) > 0)
      await this.#poll("the simulated nodes", async () => {
        const response = await this.request("GET", "/api/v1/nodes");
        const list = (await response.json()) as { items: { status?: { conditions?: { type: string; status: string }[] } }[] };
        const ready = list.items.filter((node) => node.status?.conditions?.some((one) => one.type === "Ready" && one.status === "True"));
        return ready.length === this.#options.nodes ? true : undefined;
      });
  }

  async #untilReadyz(): Promise<void> {
    await this.#poll("the API server's /readyz", async () => {
      const response = await this.request("GET", "/readyz");
      await response.text();
      return response.ok ? true : undefined;
    });
  }

  /** Asks until there is an answer; says which program died, or what did not come in time, with that program's own words. */
  async #poll<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
    const deadlineMs = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      const answer = await ask().catch(() => undefined);
      if (answer !== undefined) return answer;
      for (const child of this.#children.ended) {
        const lines = await child.lastLines();
        throw new StartFailure(`${child.name} ended while starting:\n${lines}`, /address already in use/.test(lines));
      }
      if (performance.now() > deadlineMs) {
        const lines = (await this.#apiServer?.lastLines()) ?? "";
        throw new StartFailure(`${what} did not come within ${READY_TIMEOUT_MS / 1000} s; the API server's last lines:\n${lines}`, false);
      }
      await Bun.sleep(25);
    }
  }
}
