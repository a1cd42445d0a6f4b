import { eventually } from "../support/eventually.ts";
import { type Cluster, uniqueName } from "../support/kube.ts";
import { chartKube, everything, recordAt, restrictedNamespace } from "./chart-cluster.ts";
import { helm, isRecord, type Json } from "./helm-tools.ts";

/** A namespace for one release, volumes for it, and what there was before it. */
export interface Site extends AsyncDisposable {
  readonly kube: Cluster;
  readonly namespace: string;
  /** Of volumes that claims can have here: no cluster of tests makes any by itself. */
  readonly storageClass: string;
  helm(...args: readonly string[]): Promise<string>;
  get(path: string): Promise<Json | undefined>;
  /** What is there now and was not at the beginning; with what was there and is not any more as `- …`. */
  changes(): Promise<readonly string[]>;
  /** Puts entries into a Secret, as the agent and the control plane do. */
  write(secret: string, entries: Readonly<Record<string, string>>): Promise<void>;
  /** What is in a Secret, decoded. */
  read(secret: string): Promise<Readonly<Record<string, string>>>;
}

/** What other sites of this process are called: how they end is their tests' business. */
const names = new Set<string>();

export async function site(volumes = 2): Promise<Site> {
  const kube = await chartKube();
  const namespace = uniqueName("release");
  const storageClass = uniqueName("class");
  for (const name of [namespace, storageClass]) names.add(name);
  await restrictedNamespace(kube, namespace);
  for (let index = 0; index < volumes; index += 1) await makeVolume(kube, `${storageClass}-${index}`, storageClass);
  const isForeign = (line: string): boolean =>
    [...names].some((name) => name !== namespace && name !== storageClass && line.includes(name));
  const before = new Set(await everything(kube));
  const secretPath = (name: string): string => `/api/v1/namespaces/${namespace}/secrets/${name}`;
  const get = async (path: string): Promise<Json | undefined> => {
    const answer = await kube.request("GET", path);
    const body: unknown = await answer.json();
    return answer.ok && isRecord(body) ? body : undefined;
  };
  return {
    kube,
    namespace,
    storageClass,
    get,
    helm: (...args) => helm([...args, `--namespace=${namespace}`], { kubeconfig: kube.kubeconfigPath }),
    async changes() {
      const now = new Set(await everything(kube));
      const gone = [...before].filter((one) => !now.has(one)).map((one) => `- ${one}`);
      return [...[...now].filter((one) => !before.has(one)), ...gone].filter((line) => !isForeign(line));
    },
    async write(secret, entries) {
      const data = Object.fromEntries(Object.entries(entries).map(([key, value]) => [key, Buffer.from(value).toString("base64")]));
      await kube.kubectl(["--namespace", namespace, "patch", "secret", secret, "--type=merge", `--patch=${JSON.stringify({ data })}`]);
    },
    async read(secret) {
      const data = recordAt(await get(secretPath(secret)), "data");
      return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(String(value), "base64").toString()]));
    },
    async [Symbol.asyncDispose]() {
      await (await kube.request("DELETE", `/api/v1/namespaces/${namespace}`)).text();
      await kube.kubectl(["delete", "persistentvolume", `--selector=charts=${storageClass}`, "--wait=false"]);
    },
  };
}

async function makeVolume(kube: Cluster, name: string, storageClassName: string): Promise<void> {
  const answer = await kube.request("POST", "/api/v1/persistentvolumes", {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name, labels: { charts: storageClassName } },
    spec: {
      capacity: { storage: "20Gi" },
      accessModes: ["ReadWriteOnce"],
      storageClassName,
      persistentVolumeReclaimPolicy: "Retain",
      hostPath: { path: `/nowhere/${name}` },
    },
  });
  if (!answer.ok) throw new Error(await answer.text());
}

/** Waits until nothing is there that was not there before: some goes a moment after its owner. */
export async function untilNothingIsLeft(of: Site): Promise<void> {
  await eventually(
    async () => {
      const left = await of.changes();
      if (left.length > 0) throw new Error(left.join(", "));
      return true;
    },
    { what: "an end without orphans", timeoutMs: 30_000, everyMs: 200 },
  );
}
