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

/** The one item of a list whose merge keys have these values; undefined where there is none, or more than one. */
function itemOf(list: readonly unknown[], keys: Json): Json | undefined {
  const found = list.filter((item): item is Json => isRecord(item) && Object.entries(keys).every(([key, value]) => same(item[key], value)));
  return found.length === 1 ? found[0] : undefined;
}

/**
 * The item of a manifest that is booked under these merge keys. A port without a protocol is TCP, the one merge key of built-in kinds that is
 * left out in earnest; had it stood there when it was booked, it would be booked as a field, too.
 */
function writtenItemOf(list: readonly unknown[], keys: Json): Json | undefined {
  const exact = itemOf(list, keys);
  const { protocol, ...others } = keys;
  if (exact !== undefined || protocol !== "TCP") return exact;
  return itemOf(
    list.filter((item) => isRecord(item) && item["protocol"] === undefined),
    others,
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function sameFields(fields: Json, wanted: unknown, live: unknown, depth: number): boolean {
  // Deeper than any schema: what goes on is not judged here.
  if (depth > 100) return false;
  // Owned as a whole.
  if (isEmpty(fields)) return same(wanted, live);
  if (Array.isArray(wanted)) return Array.isArray(live) && sameItems(fields, wanted, live, depth);
  return isRecord(wanted) && isRecord(live) && sameEntries(fields, wanted, live, depth);
}

/** Every field of the manifest is ours and as it says, and nothing is ours that it does not have. */
function sameEntries(fields: Json, wanted: Json, live: Json, depth: number): boolean {
  let owned = 0;
  for (const [key, inner] of Object.entries(fields)) {
    if (key === SELF) continue;
    const name = key.slice(FIELD.length);
    if (!key.startsWith(FIELD) || !Object.hasOwn(wanted, name) || !Object.hasOwn(live, name)) return false;
    if (!sameFields(recordOf(inner), wanted[name], live[name], depth + 1)) return false;
    owned += 1;
  }
  return owned === Object.keys(wanted).length;
}

/** A list whose items are owned one by one. Where they stand says nothing, but their order among each other may. */
function sameItems(fields: Json, wanted: readonly unknown[], live: readonly unknown[], depth: number): boolean {
  let owned = 0;
  for (const [key, inner] of Object.entries(fields)) {
    if (key === SELF) continue;
    const value = parsed(key.slice(ITEM.length));
    if (key.startsWith(VALUE)) {
      if (!wanted.some((item) => same(item, value)) || !live.some((item) => same(item, value))) return false;
    } else if (key.startsWith(ITEM) && isRecord(value)) {
      const [ours, theirs] = [writtenItemOf(wanted, value), itemOf(live, value)];
      if (ours === undefined || theirs === undefined) return false;
      if (!sameFields(recordOf(inner), ours, theirs, depth + 1)) return false;
    } else {
      return false;
    }
    owned += 1;
  }
  return owned === wanted.length && sameOrder(wanted, live);
}

/** A merge puts the items of a manifest into its order. As each has its like, the first field that both have and that differs tells. */
function sameOrder(wanted: readonly unknown[], live: readonly unknown[]): boolean {
  let at = 0;
  for (const item of wanted) {
    while (at < live.length && !covers(live[at], item)) at += 1;
    if (at >= live.length) return false;
    at += 1;
  }
  return true;
}

/** Whether an item of the cluster holds all that one of the manifest says. */
function covers(live: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) return Array.isArray(live) && wanted.every((item) => live.some((one) => covers(one, item)));
  if (!isRecord(wanted)) return same(wanted, live);
  return isRecord(live) && Object.entries(wanted).every(([key, value]) => Object.hasOwn(live, key) && covers(live[key], value));
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
  const [own, ...more] = managers.filter((entry) => isOwnApply(entry, fieldManager));
  if (own === undefined || more.length > 0 || legacyManagers(managers, fieldManager).size > 0) return false;
  if (own["apiVersion"] !== object["apiVersion"] || live["apiVersion"] !== object["apiVersion"]) return false;
  if (metadata["deletionTimestamp"] !== undefined) return false;
  const ourMetadata = withoutEmptyTime(without(recordOf(object["metadata"]), NAME));
  const { metadata: _written, ...rest } = without(object, IDENTITY);
  const wanted = isEmpty(ourMetadata) ? rest : { ...rest, metadata: ourMetadata };
  const fields = recordOf(own["fieldsV1"]);
  return isEmpty(fields) ? isEmpty(wanted) : sameFields(fields, wanted, live, 0);
}
