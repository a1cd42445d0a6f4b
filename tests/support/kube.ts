import { test } from "bun:test";
import {
  binariesDirectory,
  CLUSTER_BINARIES,
  missingBinaries,
  startCluster,
  type Cluster,
  type ClusterOptions,
  type KubectlResult,
} from "../../sandbox/mod.ts";
import { eventually } from "./eventually.ts";

export type { Cluster, ClusterOptions, KubectlResult };

const IN_CI = !["", "0", "false"].includes(process.env["CI"] ?? "");

/** The programs that the sandbox lacks; empty when a real API server can be started at once. */
export const MISSING_KUBE: readonly string[] = await missingBinaries(CLUSTER_BINARIES);

if (MISSING_KUBE.length > 0 && !IN_CI)
  console.warn(
    `\nSKIPPED: tests against a real Kubernetes API server. ${await binariesDirectory()} lacks ${MISSING_KUBE.join(", ")}.\n` +
      "`bun run test` builds them once; then they run everywhere.\n",
  );

/** Whether to leave out what needs an API server. Never under CI: there a missing server is a failure. */
export const SKIP_KUBE: boolean = MISSING_KUBE.length > 0 && !IN_CI;

/** `test` for what needs a real API server; the first one waits for its start, on a busy machine for long. */
export function kubeTest(name: string, run: () => Promise<void>, timeoutMs = 60_000): void {
  test.skipIf(SKIP_KUBE)(name, run, timeoutMs);
}

function demandBinaries(): void {
  if (MISSING_KUBE.length > 0) throw new Error(`no real API server: ${MISSING_KUBE.join(", ")} missing; \`bun run test\` builds them`);
}

/** An API server of the test's own. Ends with `await using`, and with the test process whatever happens. */
export async function startKube(options: ClusterOptions = {}): Promise<Cluster> {
  demandBinaries();
  return startCluster(options);
}

/** Known to the shared API server and without any right. */
export const STRANGER_TOKEN = "stranger-of-the-tests";

let shared: Promise<Cluster> | undefined;

function startShared(): Promise<Cluster> {
  return startCluster({ controllers: true, scheduler: true, nodes: 3, users: { stranger: STRANGER_TOKEN } });
}

/**
 * One API server for all tests of this process, with controllers, scheduler and three simulated nodes. Tests keep to namespaces of their
 * own (`freshNamespace`) and to cluster-wide names that nobody else can have; never stop it, never kill its API server.
 */
export async function sharedKube(): Promise<Cluster> {
  demandBinaries();
  shared ??= startShared();
  const before = shared;
  const kube = await before;
  if (kube.alive && (await kube.request("GET", "/readyz").catch(() => undefined))?.ok === true) return kube;
  // When a test runs out of time, `bun test` kills every child process there is. The tests after it must not fail for that.
  if (shared === before) shared = startShared();
  return shared;
}

/** A name that no other test has: `prefix-` and ten hex digits. */
export function uniqueName(prefix: string): string {
  return `${prefix}-${crypto.randomUUID().replaceAll("-", "").slice(0, 10)}`;
}

export interface Namespace extends AsyncDisposable {
  readonly name: string;
  readonly kube: Cluster;
  /** kubectl in this namespace, as the administrator; fails unless it ends with 0. */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  /** The object as JSON, or undefined when there is none. */
  get(kind: string, name: string): Promise<Record<string, unknown> | undefined>;
  /** A kubeconfig of a service account that has these rights in this namespace and no other. */
  kubeconfigWith(rules: readonly Rule[]): Promise<string>;
}

export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

async function must(kube: Cluster, method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const response = await kube.request(method, path, body);
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

/** A new namespace, ready for pods. Its end is asked for on dispose and not waited for. */
export async function freshNamespace(kubeOrPromise?: Cluster | Promise<Cluster>): Promise<Namespace> {
  const kube = await (kubeOrPromise ?? sharedKube());
  const name = uniqueName("test");
  await must(kube, "POST", "/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  // Pods are refused until the controller has made it, and then tried again only after a pause.
  await eventually(async () => (await kube.request("GET", `/api/v1/namespaces/${name}/serviceaccounts/default`)).ok, {
    what: `the default service account of ${name}`,
  });
  const kubectl = (args: readonly string[], input?: string): Promise<string> =>
    kube.kubectl(["--namespace", name, ...args], input === undefined ? {} : { input });
  return {
    name,
    kube,
    kubectl,
    async get(kind, object) {
      const text = await kubectl(["get", kind, object, "--ignore-not-found", "--output=json"]);
      return text.trim() === "" ? undefined : (JSON.parse(text) as Record<string, unknown>);
    },
    async kubeconfigWith(rules) {
      const account = uniqueName("account");
      const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${name}`;
      const metadata = { name: account };
      await must(kube, "POST", `/api/v1/namespaces/${name}/serviceaccounts`, { metadata });
      await must(kube, "POST", `${rbac}/roles`, { metadata, rules });
      await must(kube, "POST", `${rbac}/rolebindings`, {
        metadata,
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: account },
        subjects: [{ kind: "ServiceAccount", name: account, namespace: name }],
      });
      const answer = await must(kube, "POST", `/api/v1/namespaces/${name}/serviceaccounts/${account}/token`, { spec: {} });
      return kube.kubeconfigFor(account, String((answer["status"] as Record<string, unknown>)["token"]), name);
    },
    async [Symbol.asyncDispose]() {
      await (await kube.request("DELETE", `/api/v1/namespaces/${name}`)).text();
    },
  };
}
