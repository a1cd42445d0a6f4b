import { TransporterError } from "../../kit/mod.ts";
import { isRecord, parseRecord, recordOf, recordsOf, textOf } from "./json.ts";
import { errorOfAnswer } from "./status-error.ts";
import type { KubeAnswer, KubeRequest } from "./transport.ts";

/** One kind as the API server serves it. */
export interface ResourceType {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly verbs: ReadonlySet<string>;
}

export interface KindRef {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

const AGGREGATED =
  "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

export function apiVersionOf(ref: { readonly group: string; readonly version: string }): string {
  return ref.group === "" ? ref.version : `${ref.group}/${ref.version}`;
}

function kindKey(ref: KindRef): string {
  return `${apiVersionOf(ref)}/${ref.kind}`;
}

/** `/api/v1/namespaces/web/configmaps`; without a namespace, the cluster-wide collection. */
export function collectionPath(type: ResourceType, namespace: string | undefined): string {
  const root = type.group === "" ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  const scope = namespace === undefined || !type.namespaced ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${root}${scope}/${type.plural}`;
}

export function objectPath(type: ResourceType, namespace: string | undefined, name: string): string {
  return `${collectionPath(type, namespace)}/${encodeURIComponent(name)}`;
}

interface Sender {
  send(request: KubeRequest): Promise<KubeAnswer>;
}

function fromAggregated(root: Readonly<Record<string, unknown>>): ResourceType[] {
  return recordsOf(root["items"]).flatMap((item) => {
    const group = textOf(recordOf(item["metadata"])["name"]) ?? "";
    return recordsOf(item["versions"]).flatMap((version) =>
      recordsOf(version["resources"]).flatMap((resource): ResourceType[] => {
        const kind = textOf(recordOf(resource["responseKind"])["kind"]);
        const plural = textOf(resource["resource"]);
        const name = textOf(version["version"]);
        if (kind === undefined || kind === "" || plural === undefined || name === undefined) return [];
        const verbs = Array.isArray(resource["verbs"]) ? resource["verbs"].filter((verb) => typeof verb === "string") : [];
        return [{ group, version: name, kind, plural, namespaced: resource["scope"] === "Namespaced", verbs: new Set(verbs) }];
      }),
    );
  });
}

function fromResourceList(group: string, version: string, root: Readonly<Record<string, unknown>>): ResourceType[] {
  return recordsOf(root["resources"]).flatMap((resource): ResourceType[] => {
    const kind = textOf(resource["kind"]);
    const plural = textOf(resource["name"]);
    // `pods/log` and the like are parts of a resource.
    if (kind === undefined || plural === undefined || plural.includes("/")) return [];
    const verbs = Array.isArray(resource["verbs"]) ? resource["verbs"].filter((verb) => typeof verb === "string") : [];
    return [{ group, version, kind, plural, namespaced: resource["namespaced"] === true, verbs: new Set(verbs) }];
  });
}

/**
 * What kinds the API server knows, read in two requests and remembered; read again when somebody asks for a kind that is not there, and
 * after definitions changed. Many askers at once share one reading.
 */
export class Discovery {
  readonly #client: Sender;
  #kinds: ReadonlyMap<string, ResourceType> | undefined;
  #reading: Promise<ReadonlyMap<string, ResourceType>> | undefined;
  #readings = 0;

  constructor(client: Sender) {
    this.#client = client;
  }

  /** Counts how often it was read: what goes with it is old when this has changed. */
  get reading(): number {
    return this.#readings;
  }

  /** The kinds for these references; undefined where the API server has none, also after a fresh look. */
  async resolve(refs: readonly KindRef[], signal?: AbortSignal): Promise<(ResourceType | undefined)[]> {
    const remembered = this.#kinds;
    const kinds = remembered ?? (await this.refresh(signal));
    if (remembered !== undefined && refs.some((ref) => !kinds.has(kindKey(ref)))) {
      const fresh = await this.refresh(signal);
      return refs.map((ref) => fresh.get(kindKey(ref)));
    }
    return refs.map((ref) => kinds.get(kindKey(ref)));
  }

  /** Other ways to write a kind that is not known: the same kind in another version or group, or in other letters. */
  suggestions(ref: KindRef): string[] {
    const wanted = ref.kind.toLowerCase();
    return [...(this.#kinds?.values() ?? [])]
      .filter((type) => type.kind.toLowerCase() === wanted || type.plural === wanted)
      .map((type) => `${apiVersionOf(type)} ${type.kind}`)
      .slice(0, 3);
  }

  /** Reads anew; those who ask while it reads get the same answer. */
  async refresh(signal?: AbortSignal): Promise<ReadonlyMap<string, ResourceType>> {
    // The reading belongs to all who wait for it, so no single asker's signal may end it.
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    const kinds = await this.#reading;
    signal?.throwIfAborted();
    return kinds;
  }

  async #read(): Promise<ReadonlyMap<string, ResourceType>> {
    const [core, groups] = await Promise.all([this.#get("/api", AGGREGATED), this.#get("/apis", AGGREGATED)]);
    const types = [...(await this.#types(core, true)), ...(await this.#types(groups, false))];
    const kinds = new Map<string, ResourceType>();
    // Where two resources give the same kind (`Scale` aside, rare), the first in the server's own order of preference counts.
    for (const type of types) if (!kinds.has(kindKey(type))) kinds.set(kindKey(type), type);
    this.#kinds = kinds;
    this.#readings += 1;
    return kinds;
  }

  async #types(root: Readonly<Record<string, unknown>>, core: boolean): Promise<ResourceType[]> {
    if (root["kind"] === "APIGroupDiscoveryList") return fromAggregated(root);
    // An API server from before aggregated discovery: one request for each group and version.
    const versions = core
      ? (Array.isArray(root["versions"]) ? root["versions"] : []).filter((one) => typeof one === "string")
      : recordsOf(root["groups"]).flatMap((group) => recordsOf(group["versions"]).flatMap((one) => textOf(one["groupVersion"]) ?? []));
    const lists = await Promise.all(
      versions.map(async (groupVersion) => {
        const answer = await this.#client.send({ method: "GET", path: core ? `/api/${groupVersion}` : `/apis/${groupVersion}` });
        // A broken aggregated API must not hide all others.
        if (answer.status !== 200) return [];
        const slash = groupVersion.indexOf("/");
        return fromResourceList(slash < 0 ? "" : groupVersion.slice(0, slash), groupVersion.slice(slash + 1), parseRecord(answer.text));
      }),
    );
    return lists.flat();
  }

  async #get(path: string, accept: string): Promise<Readonly<Record<string, unknown>>> {
    const answer = await this.#client.send({ method: "GET", path, accept });
    const root: unknown = answer.status === 200 ? parseRecord(answer.text) : undefined;
    if (answer.status === 403 && answer.actor !== undefined) throw errorOfAnswer(answer, "asking what the API server serves");
    if (!isRecord(root) || root["kind"] === undefined)
      throw new TransporterError(
        answer.status === 403 ? "FORBIDDEN" : "KUBE_UNAVAILABLE",
        `the API server does not say what it serves: GET ${path} answered ${answer.status}`,
        { remedy: "The agent's account needs the discovery permissions that every account has by default (system:discovery)." },
      );
    return root;
  }
}
