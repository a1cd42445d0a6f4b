import { METADATA_LIST_ONLY, type ApplyOptions } from "./apply-request.ts";
import type { KubeClient } from "../http/client.ts";
import { collectionPath, type ResourceType } from "../http/discovery.ts";
import { parseRecord, recordOf, recordsOf, textOf } from "../http/json.ts";
import { forEachLimited } from "../http/limiter.ts";
import type { PlannedObject } from "./plan.ts";
import type { Target } from "./target.ts";

/** Below this many objects of one kind in one namespace, a look around costs more than it saves. */
const WORTH_A_LOOK = 8;
const PAGE = 500;
/** A collection this much larger than what we bring is not read to its end. */
const READ_AT_MOST = 2_000;

interface Group<T extends Target> {
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  readonly objects: T[];
}

/** The objects by kind and namespace. */
export function groupObjects<T extends Target>(objects: readonly T[]): Group<T>[] {
  const groups = new Map<string, Group<T>>();
  for (const planned of objects) {
    const key = collectionPath(planned.type, planned.ref.namespace);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { type: planned.type, namespace: planned.ref.namespace, objects: [planned] });
    else group.objects.push(planned);
  }
  return [...groups.values()];
}

/** The names that stand in a collection; undefined when it may not be read or is too large to be worth it. */
async function namesIn(
  client: KubeClient,
  group: Group<Target>,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<string> | undefined> {
  const names = new Set<string>();
  const most = Math.max(READ_AT_MOST, 4 * group.objects.length);
  let next: string | undefined = "";
  while (next !== undefined) {
    const page: string = next === "" ? "" : `&continue=${encodeURIComponent(next)}`;
    const answer = await client.send({
      method: "GET",
      path: `${collectionPath(group.type, group.namespace)}?limit=${PAGE}${page}`,
      accept: METADATA_LIST_ONLY,
      signal,
    });
    if (answer.status !== 200) return undefined;
    const root = parseRecord(answer.text);
    for (const item of recordsOf(root["items"])) names.add(textOf(recordOf(item["metadata"])["name"]) ?? "");
    next = textOf(recordOf(root["metadata"])["continue"]) || undefined;
    if (next !== undefined && names.size >= most) return undefined;
  }
  return names;
}

/** Whether the account may patch any object of the collection, so that a create that passes leaves nothing unasked. */
async function mayPatch(client: KubeClient, group: Group<Target>, signal: AbortSignal | undefined): Promise<boolean> {
  const answer = await client.send({
    method: "POST",
    path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    contentType: "application/json",
    body: JSON.stringify({
      apiVersion: "authorization.k8s.io/v1",
      kind: "SelfSubjectAccessReview",
      spec: {
        resourceAttributes: {
          group: group.type.group,
          version: group.type.version,
          resource: group.type.plural,
          verb: "patch",
          ...(group.namespace === undefined ? {} : { namespace: group.namespace }),
        },
      },
    }),
    repeatable: true,
    signal,
  });
  return answer.status === 201 && recordOf(parseRecord(answer.text)["status"])["allowed"] === true;
}

/**
 * Of many objects of one kind, those that do not exist yet and that the account may apply: for them a tried create says the same as a
 * tried apply, at a lower price for the API server. An empty answer is always right, only slower.
 */
export async function surveyNewcomers(
  client: KubeClient,
  objects: readonly PlannedObject[],
  options: ApplyOptions,
): Promise<ReadonlySet<PlannedObject>> {
  const newcomers = new Set<PlannedObject>();
  const groups = groupObjects(objects).filter((group) => group.objects.length >= WORTH_A_LOOK);
  await forEachLimited(groups, client.maxInFlight, async (group) => {
    const [names, allowed] = await Promise.all([namesIn(client, group, options.signal), mayPatch(client, group, options.signal)]);
    if (names === undefined || !allowed) return;
    for (const planned of group.objects) if (!names.has(planned.ref.name)) newcomers.add(planned);
  });
  return newcomers;
}
