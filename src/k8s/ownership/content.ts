import { isDeepStrictEqual } from "node:util";
import { isRecord, type Json, recordOf, recordsOf } from "../http/json.ts";

/** Whether all that is wanted stands there: what the API server has added does not count. Numbers may be exact on one side only. */
function covers(wanted: unknown, live: unknown): boolean {
  if (Array.isArray(wanted))
    return Array.isArray(live) && live.length === wanted.length && wanted.every((item, index) => covers(item, live[index]));
  if (isRecord(wanted)) return isRecord(live) && Object.entries(wanted).every(([key, value]) => covers(value, live[key]));
  return wanted === null || wanted === undefined || wanted === live;
}

const MAX_DEPTH = 8;

/** What is wanted other than it stands, as paths; a list as a whole. Quantities may be written in another way and mean the same. */
export function differingPaths(wanted: unknown, live: unknown, path: string, depth = 0): string[] {
  if (isRecord(wanted) && isRecord(live) && depth < MAX_DEPTH)
    return Object.entries(wanted).flatMap(([key, value]) => differingPaths(value, live[key], `${path}.${key}`, depth + 1));
  return covers(wanted, live) ? [] : [path];
}

/** An object without what every write changes, whether anything else does or not. */
function settledContent(object: Json): Json {
  const { generation: _generation, resourceVersion: _version, managedFields, ...metadata } = recordOf(object["metadata"]);
  const entries = recordsOf(managedFields).map(({ time: _time, ...entry }) => entry);
  return { ...object, metadata: { ...metadata, managedFields: entries } };
}

/** Whether two states of an object say the same, and book the same fields to the same managers. */
export function isSameContent(a: Json, b: Json): boolean {
  return isDeepStrictEqual(settledContent(a), settledContent(b));
}
