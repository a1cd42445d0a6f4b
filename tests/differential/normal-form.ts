import type { Cluster } from "../support/kube.ts";

type Json = Record<string, unknown>;

function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function recordsIn(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

/** What the server draws by lot, or by its clock: no two servers can agree on these. */
const DRAWN = new Set(["uid", "resourceVersion", "creationTimestamp", "lastTransitionTime", "lastPhaseTransitionTime"]);

function withoutDrawn(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutDrawn);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .filter((key) => !DRAWN.has(key))
      .toSorted()
      .map((key) => [key, withoutDrawn(value[key])]),
  );
}

/** Where the objects are that people made before. */
export const BY_HAND = "corpus-by-hand";

/** An object without what no two servers can agree on: everything else stays, the entries of `managedFields` without their times. */
export function normalForm(object: Json): Json {
  const { generation, ...metadata } = isRecord(object["metadata"]) ? object["metadata"] : {};
  const managers = recordsIn(metadata["managedFields"])
    .map(({ time: _time, ...entry }) => entry)
    // The server sorts by time, and two entries of one second in no order at all.
    .toSorted((a, b) => JSON.stringify(withoutDrawn(a)).localeCompare(JSON.stringify(withoutDrawn(b))));
  // kubectl takes over what client-side apply made in two applies, of which the first leaves behind what is gone from the manifest.
  const counted = metadata["namespace"] === BY_HAND ? {} : { generation };
  return withoutDrawn({ ...object, metadata: { ...metadata, ...counted, managedFields: managers } }) as Json;
}

export interface ServedKind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
}

/** Every kind that the API server serves, in every version of it, subresources left out. */
export async function servedKinds(kube: Cluster): Promise<ServedKind[]> {
  const answer = async (path: string): Promise<Json> => {
    const response = await kube.request("GET", path);
    // An aggregated API with nobody behind it says nothing of what it serves.
    return response.ok ? ((await response.json()) as Json) : {};
  };
  const groups = recordsIn((await answer("/apis"))["groups"]).flatMap((group) =>
    recordsIn(group["versions"]).map((version) => String(version["groupVersion"])),
  );
  const lists = await Promise.all(
    ["v1", ...groups].map(async (apiVersion) => ({
      apiVersion,
      resources: recordsIn((await answer(apiVersion === "v1" ? "/api/v1" : `/apis/${apiVersion}`))["resources"]),
    })),
  );
  return lists.flatMap(({ apiVersion, resources }) =>
    resources
      .filter((resource) => !String(resource["name"]).includes("/"))
      .map((resource) => ({
        apiVersion,
        kind: String(resource["kind"]),
        plural: String(resource["name"]),
        namespaced: resource["namespaced"] === true,
        verbs: (resource["verbs"] as string[] | undefined) ?? [],
      })),
  );
}

/** `KIND NAMESPACE/NAME` to the object as the server has it, of all that can be listed. */
export type Content = ReadonlyMap<string, Json>;

/** Everything that a server holds: of namespaces other than these nothing, of the cluster itself everything. */
export async function contentOf(kube: Cluster, namespaces: readonly string[]): Promise<Content> {
  const content = new Map<string, Json>();
  const kinds = (await servedKinds(kube)).filter(({ verbs }) => verbs.includes("list"));
  await Promise.all(
    kinds.map(async ({ apiVersion, kind, plural, namespaced }) => {
      const root = apiVersion === "v1" ? "/api/v1" : `/apis/${apiVersion}`;
      const answer = await kube.request("GET", `${root}/${plural}`);
      // An aggregated API with nobody behind it.
      if (!answer.ok) return;
      for (const item of recordsIn(((await answer.json()) as Json)["items"])) {
        const metadata = item["metadata"] as Json;
        const namespace = typeof metadata["namespace"] === "string" ? metadata["namespace"] : "";
        if (namespaced && !namespaces.includes(namespace)) continue;
        content.set(`${apiVersion} ${kind} ${namespaced ? `${namespace}/` : ""}${String(metadata["name"])}`, { ...item, apiVersion, kind });
      }
    }),
  );
  return content;
}

/** Events that the API server writes of its own accord, whenever it comes round to it. */
function isOwnEvent(object: Json): boolean {
  return (
    object["kind"] === "Event" &&
    recordsIn((object["metadata"] as Json)["managedFields"]).some(({ manager }) => manager === "kube-apiserver")
  );
}

/** What is in `now` and was not in `before`, in normal form. */
export function newIn(now: Content, before: Content): Map<string, Json> {
  return new Map(
    [...now]
      .filter(([key, object]) => !before.has(key) && !isOwnEvent(object))
      .map(([key, object]): [string, Json] => [key, normalForm(object)])
      .toSorted(([a], [b]) => a.localeCompare(b)),
  );
}
