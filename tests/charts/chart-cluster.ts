import { definitionFiles } from "../../sandbox/helm/mod.ts";
import { eventually } from "../support/eventually.ts";
import { type Cluster, startKube } from "../support/kube.ts";
import { at, isRecord, type Json, NAMESPACE, text } from "./helm-tools.ts";

const CUSTOM_KINDS = ["ServiceMonitor", "PrometheusRule", "Gateway", "HTTPRoute", "BackendTLSPolicy", "TLSRoute", "Certificate", "Issuer"];

/** The custom resources whose schemas must be told before anything is checked by them. */
const CUSTOM = ["monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2", "cert-manager.io/v1"];

let shared: Promise<Cluster> | undefined;

/**
 * One API server for the tests of the charts: with the definitions of custom resources that the charts may make objects of, which other tests
 * must not see, and a namespace in which only restricted pods are let in.
 */
export async function chartKube(): Promise<Cluster> {
  shared ??= start();
  const before = shared;
  const kube = await before;
  if (kube.alive && (await kube.request("GET", "/readyz").catch(() => undefined))?.ok === true) return kube;
  if (shared === before) shared = start();
  return shared;
}

async function start(): Promise<Cluster> {
  const kube = await startKube({ controllers: true, scheduler: true, nodes: 2 });
  const files = await definitionFiles();
  await kube.kubectl(["apply", "--server-side", ...files.map((file) => `--filename=${file}`)]);
  await restrictedNamespace(kube, NAMESPACE);
  await eventually(
    async () => {
      const paths = recordAt(await json(kube, "/openapi/v3"), "paths");
      return CUSTOM.every((group) => `apis/${group}` in paths);
    },
    { what: "the schemas of custom resources", timeoutMs: 60_000, everyMs: 200 },
  );
  await eventually(
    async () => {
      const served = new Set((await resources(kube)).map(({ kind }) => kind));
      return CUSTOM_KINDS.every((kind) => served.has(kind));
    },
    { what: "an API server that serves custom resources", timeoutMs: 60_000, everyMs: 200 },
  );
  return kube;
}

/** A namespace that enforces the restricted Pod Security Standard, and warns of every template that it would refuse. */
export async function restrictedNamespace(kube: Cluster, name: string): Promise<void> {
  const level = { "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted" };
  const answer = await kube.request("POST", "/api/v1/namespaces", {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name, labels: level },
  });
  if (!answer.ok) throw new Error(`namespace ${name}: ${await answer.text()}`);
  await eventually(async () => (await kube.request("GET", `/api/v1/namespaces/${name}/serviceaccounts/default`)).ok, {
    what: `the default service account of ${name}`,
  });
}

export async function json(kube: Cluster, path: string): Promise<Json> {
  // A definition that was changed a moment ago is answered by 429 until its storage is there.
  const { status, body } = await eventually(
    async () => {
      const answer = await kube.request("GET", path);
      const parsed: unknown = await answer.json();
      return answer.status === 429 ? undefined : { status: answer.status, body: parsed };
    },
    { what: `an answer to GET ${path}`, timeoutMs: 60_000, everyMs: 200 },
  );
  if (status !== 200 || !isRecord(body)) throw new Error(`GET ${path}: ${status}`);
  return body;
}

export function recordAt(value: unknown, ...path: readonly (string | number)[]): Json {
  const found = at(value, ...path);
  return isRecord(found) ? found : {};
}

export interface Resource {
  readonly groupVersion: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
}

/** Everything that this API server serves, without subresources. */
export async function resources(kube: Cluster): Promise<readonly Resource[]> {
  const groups = at(await json(kube, "/apis"), "groups");
  const versions = (Array.isArray(groups) ? groups : []).flatMap((group) => {
    const list = at(group, "versions");
    return (Array.isArray(list) ? list : []).map((version) => String(at(version, "groupVersion")));
  });
  const found = await Promise.all(
    ["v1", ...versions].map(async (groupVersion) => {
      const list = at(await json(kube, `/${groupVersion === "v1" ? "api" : "apis"}/${groupVersion}`), "resources");
      return (Array.isArray(list) ? list : []).flatMap((resource): Resource[] => {
        const plural = String(at(resource, "name"));
        const verbs = at(resource, "verbs");
        if (plural.includes("/")) return [];
        return [
          {
            groupVersion,
            plural,
            kind: String(at(resource, "kind")),
            namespaced: at(resource, "namespaced") === true,
            verbs: Array.isArray(verbs) ? verbs.map(String) : [],
          },
        ];
      });
    }),
  );
  return found.flat();
}

export function pathOf(resource: Resource, namespace: string | undefined, name?: string): string {
  const root = `/${resource.groupVersion === "v1" ? "api" : "apis"}/${resource.groupVersion}`;
  const place = resource.namespaced && namespace !== undefined ? `/namespaces/${namespace}` : "";
  return `${root}${place}/${resource.plural}${name === undefined ? "" : `/${name}`}`;
}

/** Changes by themselves, or tell what happened. */
const FLEETING = new Set(["Event", "Lease", "EndpointSlice", "Endpoints", "ComponentStatus", "IPAddress", "ReplicaSet", "Node", "CSINode"]);

/** Every object of the cluster as `kind namespace/name`, cluster-wide ones too. */
export async function everything(kube: Cluster): Promise<readonly string[]> {
  const listed = (await resources(kube)).filter(({ kind, verbs }) => verbs.includes("list") && !FLEETING.has(kind));
  const names = await Promise.all(
    listed.map(async (resource) => {
      const items = at(await json(kube, pathOf(resource, undefined)), "items");
      return (Array.isArray(items) ? items : []).map(
        (item) => `${resource.kind} ${text(at(item, "metadata", "namespace"))}/${text(at(item, "metadata", "name"))}`,
      );
    }),
  );
  return [...new Set(names.flat())].toSorted();
}
