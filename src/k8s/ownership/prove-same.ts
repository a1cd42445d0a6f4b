import { isRecord, recordOf, type Json } from "../http/json.ts";
import { isOwnApply, legacyManagers, managedFieldsOf } from "./managers.ts";

/** `k:{"name":"web"}` of FieldsV1: the item of a list with these values of its merge keys. */
const ITEM = "k:";
/** `v:"a"`: this value in a set. */
const VALUE = "v:";
const FIELD = "f:";
/** The node itself, above its children. */
const SELF = ".";

function isEmpty(fields: Json): boolean {
  for (const _key in fields) return false;
  return true;
}

function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, index) => same(item, b[index]));
  if (!isRecord(a) || !isRecord(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}

/** Where in a list the one item is that this is true of; undefined where there is none, or more than one. */
function placeOf(list: readonly unknown[], isMeant: (item: unknown) => boolean): number | undefined {
  const first = list.findIndex(isMeant);
  return first < 0 || list.findLastIndex(isMeant) !== first ? undefined : first;
}

function hasKeys(item: unknown, keys: Json): item is Json {
  return isRecord(item) && Object.entries(keys).every(([key, value]) => same(item[key], value));
}

/**
 * Where the item of a manifest is that is booked under these merge keys. A port without a protocol is TCP, the one merge key of built-in kinds
 * that is left out in earnest; had it stood there when it was booked, it would be booked as a field, too.
 */
function writtenPlaceOf(list: readonly unknown[], keys: Json): number | undefined {
  const exact = placeOf(list, (item) => hasKeys(item, keys));
  const { protocol, ...others } = keys;
  if (exact !== undefined || protocol !== "TCP") return exact;
  return placeOf(list, (item) => hasKeys(item, others) && item["protocol"] === undefined);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** What other managers have of a field or an item. */
function below(others: readonly Json[], key: string): readonly Json[] {
  return others.length === 0 ? others : others.flatMap((fields) => (isRecord(fields[key]) ? [fields[key]] : []));
}

function sameFields(fields: Json, wanted: unknown, live: unknown, others: readonly Json[], depth: number): boolean {
  // Deeper than any schema: what goes on is not judged here.
  if (depth > 100) return false;
  // Owned as a whole; or it was empty when it was booked, and others have filled it.
  if (isEmpty(fields)) return same(wanted, live) && others.every((theirs) => Object.keys(theirs).every((key) => key === SELF));
  if (Array.isArray(wanted)) return Array.isArray(live) && sameItems(fields, wanted, live, others, depth);
  return isRecord(wanted) && isRecord(live) && sameEntries(fields, wanted, live, others, depth);
}

/** Every field of the manifest is ours and as it says, and nothing is ours that it does not have. */
function sameEntries(fields: Json, wanted: Json, live: Json, others: readonly Json[], depth: number): boolean {
  let owned = 0;
  for (const [key, inner] of Object.entries(fields)) {
    if (key === SELF) continue;
    const name = key.slice(FIELD.length);
    if (!key.startsWith(FIELD) || !Object.hasOwn(wanted, name) || !Object.hasOwn(live, name)) return false;
    if (!sameFields(recordOf(inner), wanted[name], live[name], below(others, key), depth + 1)) return false;
    owned += 1;
  }
  return owned === Object.keys(wanted).length;
}

/** A list whose items are owned one by one. Where they stand says nothing, but their order among each other does. */
function sameItems(fields: Json, wanted: readonly unknown[], live: readonly unknown[], others: readonly Json[], depth: number): boolean {
  /** Where in the cluster the items of the manifest stand. */
  const places = new Map<number, number>();
  for (const [key, inner] of Object.entries(fields)) {
    if (key === SELF) continue;
    const value = parsed(key.slice(ITEM.length));
    const isItem = key.startsWith(ITEM) && isRecord(value);
    if (!isItem && !key.startsWith(VALUE)) return false;
    const ours = isItem ? writtenPlaceOf(wanted, value) : placeOf(wanted, (item) => same(item, value));
    const theirs = placeOf(live, (item) => (isItem ? hasKeys(item, value) : same(item, value)));
    if (ours === undefined || theirs === undefined) return false;
    if (isItem && !sameFields(recordOf(inner), wanted[ours], live[theirs], below(others, key), depth + 1)) return false;
    places.set(ours, theirs);
  }
  return places.size === wanted.length && isRising(wanted.map((_item, at) => places.get(at) ?? -1));
}

/** A merge puts the items of a manifest into its order. */
function isRising(places: readonly number[]): boolean {
  return places.every((place, at) => at === 0 || place > (places[at - 1] ?? -1));
}

/** What an apply says beside its fields: these are no fields that anybody owns. */
const IDENTITY = new Set(["apiVersion", "kind"]);
const NAME = new Set(["name", "namespace"]);

function without(object: Json, names: ReadonlySet<string>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !names.has(key)));
}

/** What tools write that print an object which was never made; the API server takes it for nothing. */
function withoutEmptyTime(metadata: Json): Json {
  return metadata["creationTimestamp"] === null ? without(metadata, new Set(["creationTimestamp"])) : metadata;
}

/**
 * True when it is certain that a server-side apply of `object` as `fieldManager` would change nothing of `live`, the whole object as it is: our
 * last apply was under the same version of the API, what it owns is exactly what the manifest has, and all of it has the manifest's values.
 * Everything that is not plain (values that the server writes in another way, such as quantities; fields that it leaves out; merge keys other than
 * the protocol of a port that the manifest leaves to defaults) is false, and has to be asked of the server. Pure; looks at the cluster's present state only, so it misses no drift.
 * Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
 */
export function provesSame(object: Json, live: Json, fieldManager: string): boolean {
  const metadata = recordOf(live["metadata"]);
  const managers = managedFieldsOf(metadata);
  if (live["apiVersion"] !== object["apiVersion"] || metadata["deletionTimestamp"] !== undefined) return false;
  const ourMetadata = withoutEmptyTime(without(recordOf(object["metadata"]), NAME));
  const { metadata: _written, ...rest } = without(object, IDENTITY);
  const wanted = isEmpty(ourMetadata) ? rest : { ...rest, metadata: ourMetadata };
  // A bare Namespace: applying a name books nothing, and a second apply would only book the server's own label to `before-first-apply`.
  if (managers.length === 0) return isEmpty(wanted);
  const [own, ...more] = managers.filter((entry) => isOwnApply(entry, fieldManager));
  if (own === undefined || more.length > 0 || legacyManagers(managers, fieldManager).size > 0) return false;
  if (own["apiVersion"] !== object["apiVersion"]) return false;
  const fields = recordOf(own["fieldsV1"]);
  if (isEmpty(fields)) return isEmpty(wanted);
  const others = managers.filter((entry) => entry !== own).map((entry) => recordOf(entry["fieldsV1"]));
  return sameFields(fields, wanted, live, others, 0);
}
