import { TransporterError } from "../../kit/mod.ts";
import {
  aggregatedVersions,
  arrange,
  type Arrangement,
  crdProvides,
  dependencyKey,
  describeRef,
  type LeansOn,
  namespacesProvided,
  providedKindKey,
  stringifyObject,
  type ObjectRef,
  type ParsedObject,
} from "../../manifests/mod.ts";
import type { KubeClient } from "../http/client.ts";
import type { ResourceType } from "../http/discovery.ts";
import { parseRecord, recordOf } from "../http/json.ts";
import { forEachLimited } from "../http/limiter.ts";
import { errorOfAnswer } from "../http/status-error.ts";
import { unknownKinds } from "../change/locate.ts";
import { findOutside, type Outside } from "./outside.ts";
import { type Target, targetOf } from "./target.ts";

/** What an object waits for before it can be dry-run: it comes with the same event. */
export interface Deferral {
  readonly because: "namespace" | "definition";
  /** Of the namespace, or `GROUP/KIND` of the definition. */
  readonly name: string;
}

/** An object of the event with its place in the cluster. */
export interface PlannedObject extends Target {
  readonly parsed: ParsedObject;
  /** JSON as it is sent. */
  readonly body: string;
  readonly deferral: Deferral | undefined;
}

/** Objects that can be applied at the same time, once what they wait for is ready. */
export interface PlannedBatch {
  readonly objects: readonly PlannedObject[];
  readonly wave: number;
  /** Batches with the same number differ by the kinds of their objects only. */
  readonly section: number;
  /** Objects of earlier batches; none that an earlier batch awaited. */
  readonly awaits: readonly PlannedObject[];
  /** Objects that the event does not bring, and that are there. */
  readonly awaitsOutside: readonly Target[];
}

export interface Plan {
  /** In the order of the event. */
  readonly objects: readonly PlannedObject[];
  /** The same objects in the order of applying. */
  readonly batches: readonly PlannedBatch[];
  /** On which objects of the event one leans, and why. */
  readonly leansOn: (one: ParsedObject) => readonly LeansOn<ParsedObject>[];
  /** On which objects outside of the event one depends. */
  readonly dependsOutside: (one: ParsedObject) => readonly Target[];
  /** Those that cannot be dry-run before their namespace or definition stands. */
  readonly deferred: readonly PlannedObject[];
  /** Of the event and in no other list: what cannot be applied, where the rest is to go on. */
  readonly refused: readonly RefusedObject[];
}

export interface RefusedObject {
  readonly parsed: ParsedObject;
  /** With its namespace, where its kind is known. */
  readonly ref: ObjectRef;
  readonly label: string;
  readonly error: TransporterError;
}

export interface PlanOptions {
  /** For namespaced objects that name none. */
  readonly defaultNamespace: string;
  /** What cannot be applied is put apart with its reason, instead of all being refused for it. */
  readonly goOn?: boolean;
  readonly signal?: AbortSignal;
}

interface Kinds {
  readonly types: ReadonlyMap<ParsedObject, ResourceType>;
  readonly broughtAlong: ReadonlySet<ParsedObject>;
  readonly unknown: readonly ParsedObject[];
}

/** The kind of each object: brought by a CRD of the event, or known to the API server. */
async function resolveKinds(client: KubeClient, parsed: readonly ParsedObject[], signal: AbortSignal | undefined): Promise<Kinds> {
  const provided = crdProvides(parsed);
  const types = new Map<ParsedObject, ResourceType>();
  const broughtAlong = new Set<ParsedObject>();
  const asked: ParsedObject[] = [];
  for (const one of parsed) {
    const { group, version, kind } = one.ref;
    const brought = provided.get(providedKindKey(group, kind));
    if (brought !== undefined && (brought.versions.length === 0 || brought.versions.includes(version))) {
      broughtAlong.add(one);
      types.set(one, {
        group,
        version,
        kind,
        plural: brought.plural,
        namespaced: brought.scope === "Namespaced",
        // What every custom resource has.
        verbs: new Set(["get", "list", "watch", "create", "patch"]),
      });
    } else {
      asked.push(one);
    }
  }
  const found = await client.discovery.resolve(
    asked.map(({ ref }) => ref),
    signal,
  );
  const unknown: ParsedObject[] = [];
  for (const [index, one] of asked.entries()) {
    const type = found[index];
    if (type === undefined) unknown.push(one);
    else types.set(one, type);
  }
  return { types, broughtAlong, unknown };
}

type NamespaceState = "there" | "missing" | "ending" | "unknown";

async function namespaceStates(
  client: KubeClient,
  names: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, NamespaceState>> {
  // In the event's order from the start, whoever answers first.
  const states = new Map<string, NamespaceState>([...names].map((name) => [name, "unknown"]));
  await forEachLimited([...names], client.maxInFlight, async (name) => {
    const answer = await client.send({ method: "GET", path: `/api/v1/namespaces/${encodeURIComponent(name)}`, signal });
    if (answer.status === 200) {
      const root = parseRecord(answer.text);
      const ending = recordOf(root["status"])["phase"] === "Terminating" || recordOf(root["metadata"])["deletionTimestamp"] !== undefined;
      states.set(name, ending ? "ending" : "there");
    } else if (answer.status === 404) {
      states.set(name, "missing");
    } else if (answer.status === 403) {
      // An account may work in a namespace and yet not read it: the dry run will tell.
      states.set(name, "unknown");
    } else {
      throw errorOfAnswer(answer, `Namespace ${name}`);
    }
  });
  return states;
}

/** What is wrong with namespaces that objects go to: those that are being deleted, or else those that are not there. */
function namespaceFault(states: ReadonlyMap<string, NamespaceState>, naming: (name: string) => string): TransporterError | undefined {
  const all = (wanted: NamespaceState): string[] => [...states].filter(([, state]) => state === wanted).map(([name]) => name);
  const ending = all("ending");
  if (ending.length > 0)
    return new TransporterError("NAMESPACE_TERMINATING", `being deleted: namespace ${ending.map(naming).join(", ")}`, {
      details: { namespaces: ending },
    });
  const missing = all("missing");
  if (missing.length === 0) return undefined;
  return new TransporterError("NAMESPACE_NOT_FOUND", `there is no namespace ${missing.map(naming).join(", ")}`, {
    details: { namespaces: missing },
  });
}

/** Those that are in the way. */
function troubled(states: ReadonlyMap<string, NamespaceState>, provided: ReadonlySet<string>): ReadonlyMap<string, NamespaceState> {
  return new Map([...states].filter(([name, state]) => state === "ending" || (state === "missing" && !provided.has(name))));
}

function checkNamespaces(states: ReadonlyMap<string, NamespaceState>, users: ReadonlyMap<string, readonly string[]>): void {
  const fault = namespaceFault(states, (name) => {
    const labels = users.get(name) ?? [];
    return `${JSON.stringify(name)} (${labels.length <= 1 ? (labels[0] ?? "the event") : `${labels.length} objects, first ${labels[0] ?? ""}`})`;
  });
  if (fault !== undefined) throw fault;
}

/** So many are told in words. */
const NAMED_ERRORS = 5;

/** Writing JSON holds the event loop: after this much, others get a turn. */
const WRITE_SLICE_CHARS = 256 * 1024;

/** The object with the namespace that it goes to, and without one where its kind has none. */
function placed(one: ParsedObject, namespace: string | undefined): string {
  const { object } = one;
  if (object.metadata.namespace === namespace) return stringifyObject(object);
  const { namespace: _written, ...metadata } = object.metadata;
  return stringifyObject({ ...object, metadata: namespace === undefined ? metadata : { ...metadata, namespace } });
}

/** One error for all dependencies that are not there. */
function throwRefused(refused: Outside["refused"]): void {
  const errors = [...new Set(refused.values())];
  const [first] = errors;
  if (first === undefined) return;
  if (errors.length === 1) throw first;
  const named = errors.slice(0, NAMED_ERRORS).map(({ message }) => message);
  const rest = errors.length - named.length;
  throw new TransporterError(first.code, `${named.join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`, {
    details: { dependencies: errors.slice(0, 100).map(({ details }) => details["dependency"]) },
    remedy: first.remedy,
  });
}

function ordered(
  { batches, leansOn, outside }: Arrangement<ParsedObject>,
  { targets }: Outside,
  planned: ReadonlyMap<ParsedObject, PlannedObject>,
): Pick<Plan, "batches" | "leansOn" | "dependsOutside"> {
  const at = (parsed: readonly ParsedObject[]): PlannedObject[] => parsed.flatMap((one) => planned.get(one) ?? []);
  return {
    batches: batches.map(({ objects, wave, section, awaits, awaitsOutside }) => ({
      objects: at(objects),
      wave,
      section,
      awaits: at(awaits),
      awaitsOutside: awaitsOutside.flatMap((one) => targets.get(dependencyKey(one)) ?? []),
    })),
    leansOn,
    dependsOutside: (one) => (outside.get(one) ?? []).flatMap((dependency) => targets.get(dependencyKey(dependency)) ?? []),
  };
}

interface Places {
  readonly places: Map<ParsedObject, { readonly type: ResourceType; readonly ref: ObjectRef }>;
  /** Who goes to which namespace; those of the event's own, without anybody, too. */
  readonly users: Map<string, string[]>;
  readonly unappliable: readonly ParsedObject[];
}

function findPlaces(parsed: readonly ParsedObject[], types: Kinds["types"], defaultNamespace: string): Places {
  const places: Places["places"] = new Map();
  const users: Places["users"] = new Map([...namespacesProvided(parsed)].map((name) => [name, []]));
  const unappliable: ParsedObject[] = [];
  for (const one of parsed) {
    const type = types.get(one);
    if (type === undefined) continue;
    if (!type.verbs.has("patch")) {
      unappliable.push(one);
      continue;
    }
    const namespace = type.namespaced ? one.ref.namespace || defaultNamespace : undefined;
    const ref: ObjectRef = { ...one.ref, namespace };
    places.set(one, { type, ref });
    if (namespace === undefined) continue;
    const labels = users.get(namespace);
    if (labels === undefined) users.set(namespace, [describeRef(ref)]);
    else labels.push(describeRef(ref));
  }
  return { places, users, unappliable };
}

function unappliableError(one: ParsedObject): TransporterError {
  return new TransporterError("INVALID_OBJECT", `${describeRef(one.ref)}: the API server does not let this kind be applied`);
}

/** What an aggregated API of the event serves is known only when somebody answers for it, which is too late to judge anything before it is touched. */
function unknownFault(client: KubeClient, unknown: readonly ParsedObject[], parsed: readonly ParsedObject[]): TransporterError {
  const fault = unknownKinds(
    client,
    unknown.map(({ ref }) => ref),
  );
  const aggregated = aggregatedVersions(parsed);
  const api = unknown.map(({ object }) => aggregated.get(object.apiVersion)).find((name) => name !== undefined);
  if (api === undefined) return fault;
  const remedy = `APIService ${api} of this event will serve it, and what that is cannot be known before: send its objects in a later event.`;
  return new TransporterError(fault.code, fault.message, { details: fault.details, remedy });
}

/** The namespace that an object goes to, or is. */
function spaceOf({ group, kind, namespace, name }: ObjectRef): string | undefined {
  return group === "" && kind === "Namespace" ? name : namespace;
}

/**
 * Finds each object's place in the cluster and the order of work; changes nothing. Throws UNKNOWN_KIND (listing every unknown kind),
 * NAMESPACE_NOT_FOUND and NAMESPACE_TERMINATING (listing every such namespace), INVALID_OBJECT for kinds that cannot be applied,
 * DEPENDENCY_CYCLE, DEPENDENCY_NOT_FOUND. With `goOn` all but a cycle refuse only the objects themselves.
 */
export async function planObjects(client: KubeClient, parsed: readonly ParsedObject[], options: PlanOptions): Promise<Plan> {
  const { defaultNamespace, goOn = false, signal } = options;
  const { types, broughtAlong, unknown } = await resolveKinds(client, parsed, signal);
  const kindFault = (some: readonly ParsedObject[]): TransporterError => unknownFault(client, some, parsed);
  if (unknown.length > 0 && !goOn) throw kindFault(unknown);
  const { places, users, unappliable } = findPlaces(parsed, types, defaultNamespace);
  const [first] = unappliable;
  if (first !== undefined && !goOn) throw unappliableError(first);
  const provided = namespacesProvided(parsed);
  const placeOf = (one: ParsedObject): ObjectRef => places.get(one)?.ref ?? one.ref;
  const arrangement = arrange(parsed, (one) => ({ ref: placeOf(one), object: one.object, plural: types.get(one)?.plural }));
  const states = await namespaceStates(client, new Set(users.keys()), signal);
  const trouble = troubled(states, provided);
  if (!goOn) checkNamespaces(trouble, users);
  const outside = await findOutside(client, arrangement.outside, (one) => describeRef(placeOf(one)), signal);
  if (!goOn) throwRefused(outside.refused);

  const errors = new Map<ParsedObject, TransporterError>(outside.refused);
  for (const one of unknown) errors.set(one, kindFault([one]));
  for (const one of unappliable) errors.set(one, unappliableError(one));
  for (const [one, { ref }] of places) {
    const name = spaceOf(ref);
    const state = name === undefined ? undefined : trouble.get(name);
    const fault =
      name === undefined || state === undefined ? undefined : namespaceFault(new Map([[name, state]]), (one) => JSON.stringify(one));
    if (fault !== undefined)
      errors.set(one, new TransporterError(fault.code, `${describeRef(ref)}: ${fault.message}`, { details: fault.details }));
  }

  const deferralOf = (one: ParsedObject, ref: ObjectRef): Deferral | undefined => {
    if (broughtAlong.has(one)) return { because: "definition", name: providedKindKey(ref.group, ref.kind) };
    const { namespace } = ref;
    return namespace !== undefined && provided.has(namespace) && states.get(namespace) === "missing"
      ? { because: "namespace", name: namespace }
      : undefined;
  };
  const planned = new Map<ParsedObject, PlannedObject>();
  let written = 0;
  for (const [one, { type, ref }] of places) {
    if (errors.has(one)) continue;
    const body = placed(one, ref.namespace);
    planned.set(one, { ...targetOf(ref, type), parsed: one, body, deferral: deferralOf(one, ref) });
    written += body.length;
    if (written > WRITE_SLICE_CHARS) {
      written = 0;
      await new Promise<void>((resolve) => client.ports.timers.soon(resolve));
      signal?.throwIfAborted();
    }
  }
  const objects = [...planned.values()];
  const refused = parsed.flatMap((one): RefusedObject[] => {
    const error = errors.get(one);
    return error === undefined ? [] : [{ parsed: one, ref: placeOf(one), label: describeRef(placeOf(one)), error }];
  });
  const deferred = objects.filter((one) => one.deferral !== undefined);
  return { objects, ...ordered(arrangement, outside, planned), deferred, refused };
}
