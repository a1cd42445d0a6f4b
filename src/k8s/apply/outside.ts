import { TransporterError } from "../../kit/mod.ts";
import { type Dependency, dependencyKey, describeDependency, type ParsedObject } from "../../manifests/mod.ts";
import type { KubeClient } from "../http/client.ts";
import type { ResourceType } from "../http/discovery.ts";
import { forEachLimited } from "../http/limiter.ts";
import { errorOfAnswer } from "../http/status-error.ts";
import { METADATA_ONLY } from "./apply-request.ts";
import { pathOf, type Target, targetOf } from "./target.ts";

/** Who depends on what the event does not bring. */
export type OutsideDependencies = ReadonlyMap<ParsedObject, readonly Dependency[]>;

export interface Outside {
  /** By `dependencyKey`. */
  readonly targets: ReadonlyMap<string, Target>;
  /** Objects whose dependency cannot be, each with the first reason. */
  readonly refused: ReadonlyMap<ParsedObject, TransporterError>;
}

/** Each costs a request before anything is done. */
const MAX_OUTSIDE = 1_000;
const ANNOTATION = "config.kubernetes.io/depends-on";

function groupKind({ group, kind }: { readonly group: string; readonly kind: string }): string {
  return `${group}/${kind}`;
}

/** Of each kind the version that the API server names first, which is the one that it prefers. */
async function typesByKind(client: KubeClient, signal: AbortSignal | undefined): Promise<ReadonlyMap<string, ResourceType>> {
  const types = new Map<string, ResourceType>();
  for (const type of (await client.discovery.refresh(signal)).values()) {
    const key = groupKind(type);
    if (!types.has(key)) types.set(key, type);
  }
  return types;
}

function written({ kind, namespace, name }: Dependency): string {
  return namespace === undefined ? `/${kind}/${name}` : `/namespaces/${namespace}/${kind}/${name}`;
}

/** What is wrong with a dependency that the cluster cannot even be asked for. */
function misnamed(dependency: Dependency, type: ResourceType | undefined): { readonly text: string; readonly remedy?: string } | undefined {
  const { group, kind, namespace, name } = dependency;
  const label = describeDependency(dependency);
  if (type === undefined)
    return {
      text: `${label}, and the cluster does not know a kind ${kind} in ${group === "" ? "the core group" : group}`,
      ...(/^v\d/.test(group)
        ? { remedy: `In ${ANNOTATION}, write the group without its version, and nothing for that of v1: ${written(dependency)}.` }
        : {}),
    };
  if (type.namespaced && namespace === undefined)
    return { text: `${label} without a namespace`, remedy: `In ${ANNOTATION}, write ${group}/namespaces/NAMESPACE/${kind}/${name}.` };
  if (!type.namespaced && namespace !== undefined)
    return { text: `${label}, and a ${kind} is in no namespace`, remedy: `In ${ANNOTATION}, write ${group}/${kind}/${name}.` };
  return undefined;
}

type Found = { readonly target: Target } | { readonly error: TransporterError };

async function find(
  client: KubeClient,
  dependency: Dependency,
  type: ResourceType | undefined,
  by: string,
  signal: AbortSignal | undefined,
): Promise<Found> {
  const details = { object: by, dependency: describeDependency(dependency) };
  const wrong = misnamed(dependency, type);
  if (wrong !== undefined || type === undefined) {
    const text = `${by} depends on ${wrong?.text ?? describeDependency(dependency)}`;
    return { error: new TransporterError("DEPENDENCY_NOT_FOUND", text, { details, remedy: wrong?.remedy }) };
  }
  const { kind, namespace, name } = dependency;
  const target = targetOf({ group: type.group, version: type.version, kind, namespace, name }, type);
  const answer = await client.send({ method: "GET", path: pathOf(target), accept: METADATA_ONLY, signal });
  if (answer.status === 200) return { target };
  if (answer.status === 404)
    return { error: new TransporterError("DEPENDENCY_NOT_FOUND", `${by} depends on ${target.label}, which does not exist`, { details }) };
  throw errorOfAnswer(answer, `${target.label}, on which ${by} depends`);
}

/** Looks for what objects depend on outside of the event. Changes nothing; throws where the cluster does not let it look. */
export async function findOutside(
  client: KubeClient,
  outside: OutsideDependencies,
  labelOf: (parsed: ParsedObject) => string,
  signal: AbortSignal | undefined,
): Promise<Outside> {
  const targets = new Map<string, Target>();
  const refused = new Map<ParsedObject, TransporterError>();
  if (outside.size === 0) return { targets, refused };
  const types = await typesByKind(client, signal);
  const asked = new Map<string, { readonly dependency: Dependency; readonly by: ParsedObject[] }>();
  for (const [parsed, dependencies] of outside) {
    for (const dependency of dependencies) {
      const key = dependencyKey(dependency);
      const entry = asked.get(key);
      if (entry === undefined) asked.set(key, { dependency, by: [parsed] });
      else entry.by.push(parsed);
    }
  }
  if (asked.size > MAX_OUTSIDE)
    throw new TransporterError(
      "INVALID_OBJECT",
      `the event depends on ${asked.size} objects that it does not bring; ${MAX_OUTSIDE} are looked for at most`,
      {
        remedy: "Depend on fewer, or bring them in the same event.",
      },
    );
  await forEachLimited([...asked], client.maxInFlight, async ([key, { dependency, by }]) => {
    const [first] = by;
    if (first === undefined) return;
    const found = await find(client, dependency, types.get(groupKind(dependency)), labelOf(first), signal);
    if ("target" in found) targets.set(key, found.target);
    else for (const parsed of by) if (!refused.has(parsed)) refused.set(parsed, found.error);
  });
  return { targets, refused };
}
