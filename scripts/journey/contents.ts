import type { GroundCluster } from "./ground.ts";
import type { Journey } from "./journey.ts";

/** What comes and goes by itself, or tells of what is gone. */
const PASSING = new Set(["Event", "Lease", "ComponentStatus", "PodMetrics", "NodeMetrics", "CSINode"]);

/** kubectl lists kinds one after the other; that many at a time is what a small machine has use for. */
const AT_ONCE = 6;
const COLUMNS = "--output=custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name";

/** `Kind NAMESPACE/NAME` of every object of every kind that the API server can list. */
export async function contentsOf(journey: Journey, cluster: GroundCluster): Promise<ReadonlySet<string>> {
  const kinds = (await journey.kubectl(cluster, ["api-resources", "--verbs=list", "--output=name"]))
    .split("\n")
    .filter((kind) => kind !== "");
  const parts = Array.from({ length: AT_ONCE }, (_, part) => kinds.filter((_, index) => index % AT_ONCE === part));
  const lists = parts.map((part) => journey.kubectl(cluster, ["get", part.join(","), "--all-namespaces", "--no-headers", COLUMNS]));
  return objectsOf((await Promise.all(lists)).join("\n"));
}

export function objectsOf(lines: string): ReadonlySet<string> {
  const found = new Set<string>();
  for (const line of lines.split("\n")) {
    const [kind, namespace, name] = line.trim().split(/\s+/);
    if (kind !== undefined && namespace !== undefined && name !== undefined && !PASSING.has(kind))
      found.add(namespace === "<none>" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`);
  }
  return found;
}

/** What is in the second and was not in the first. */
export function added(before: ReadonlySet<string>, after: ReadonlySet<string>): string[] {
  return [...after].filter((object) => !before.has(object)).toSorted();
}
