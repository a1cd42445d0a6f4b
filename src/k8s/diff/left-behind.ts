import { isRecord, type Json, recordOf } from "../http/json.ts";
import { isOwnApply, managedFieldsOf, migrateManagers } from "../ownership/managers.ts";

/** A set of fields in FieldsV1 notation, or undefined for an empty one. */
type Fields = Json | undefined;

/** What owns the place itself: a leaf, or a node that says so. */
function isOwned(fields: Json): boolean {
  return Object.keys(fields).length === 0 || Object.hasOwn(fields, ".");
}

function child(fields: Fields, key: string): Fields {
  return fields !== undefined && Object.hasOwn(fields, key) ? recordOf(fields[key]) : undefined;
}

function children(all: readonly Json[], key: string): Json[] {
  return all.map((fields) => child(fields, key)).filter((fields) => fields !== undefined);
}

function parsedKey(key: string): unknown {
  try {
    return JSON.parse(key.slice(2)) as unknown;
  } catch {
    return undefined;
  }
}

function isItem(item: unknown, key: string): boolean {
  const wanted = parsedKey(key);
  if (!key.startsWith("k:")) return Bun.deepEquals(item, wanted);
  return isRecord(item) && isRecord(wanted) && Object.entries(wanted).every(([name, value]) => Bun.deepEquals(item[name], value));
}

/** The value without what only `gone` owns; undefined when nothing of it stays. */
function without(value: unknown, gone: Json, stays: readonly Json[]): unknown {
  if (isOwned(gone) && stays.length === 0) return undefined;
  let left = value;
  for (const key of Object.keys(gone)) {
    if (key === ".") continue;
    const below = children(stays, key);
    if (key.startsWith("f:")) {
      const name = key.slice(2);
      if (!isRecord(left) || !Object.hasOwn(left, name)) continue;
      const after = without(left[name], recordOf(gone[key]), below);
      const { [name]: _before, ...others } = left;
      left = after === undefined ? others : { ...left, [name]: after };
    } else if (Array.isArray(left)) {
      left = left.flatMap((item: unknown) => {
        if (!isItem(item, key)) return [item];
        const after = without(item, recordOf(gone[key]), below);
        return after === undefined ? [] : [after];
      });
    }
  }
  return left;
}

/**
 * What a tried apply leaves behind and one after the migration of managers does not: fields that client-side apply, or a 0.1 agent, has
 * written, that the manifest lacks, and that nobody else owns. Answers the tried object without them. Pure.
 */
export function withoutLeftBehind(live: Json, tried: Json, fieldManager: string): Json {
  const migrated = migrateManagers(managedFieldsOf(recordOf(live["metadata"])), fieldManager);
  if (migrated === undefined) return tried;
  const ours = migrated.find((entry) => isOwnApply(entry, fieldManager));
  const applied = managedFieldsOf(recordOf(tried["metadata"])).find((entry) => isOwnApply(entry, fieldManager));
  const others = migrated.filter((entry) => entry !== ours);
  const stays = [...others, ...(applied === undefined ? [] : [applied])].map((entry) => recordOf(entry["fieldsV1"]));
  return recordOf(without(tried, recordOf(ours?.["fieldsV1"]), stays));
}

/** The JSON merge patch that makes one object of another: what is gone is null, lists are given whole. Pure. */
export function mergePatch(from: Json, to: Json): Json {
  const patch: Record<string, unknown> = {};
  for (const key of Object.keys(from)) if (!Object.hasOwn(to, key)) patch[key] = null;
  for (const [key, value] of Object.entries(to)) {
    const before = from[key];
    if (Bun.deepEquals(before, value)) continue;
    patch[key] = isRecord(before) && isRecord(value) ? mergePatch(before, value) : value;
  }
  return patch;
}
