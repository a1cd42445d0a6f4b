import { isDeepStrictEqual } from "node:util";
import { isRecord, recordOf, recordsOf, textOf, type Json } from "../http/json.ts";

/** Who wrote what, as the API server keeps it: no part of what an object says. */
const BOOKKEEPING = ["apiVersion", "kind", "metadata", "status"];
/** What of the metadata people and controllers may change. */
const METADATA = ["labels", "annotations", "finalizers", "ownerReferences"];

interface Operation {
  readonly op: "add" | "remove" | "replace";
  readonly path: string;
  readonly value?: unknown;
}

function escaped(key: string): string {
  return key.replaceAll("~", "~0").replaceAll("/", "~1");
}

function metadataOf(object: Json): Json {
  return recordOf(object["metadata"]);
}

export function managersOf(object: Json): Json[] {
  return recordsOf(metadataOf(object)["managedFields"]);
}

export function uidOf(object: Json): string {
  return textOf(metadataOf(object)["uid"]) ?? "";
}

export function versionOf(object: Json): string {
  return textOf(metadataOf(object)["resourceVersion"]) ?? "";
}

export function isEnding(object: Json): boolean {
  return metadataOf(object)["deletionTimestamp"] !== undefined;
}

/** Under which names our writes are booked: applies, and patches and restarts, which are no applies. */
function isOwn(entry: Json, manager: string): boolean {
  return [manager, `${manager}-patch`, `${manager}-restart`].includes(textOf(entry["manager"]) ?? "");
}

function entriesOf(object: Json, manager: string): Json[] {
  return managersOf(object).filter((entry) => isOwn(entry, manager));
}

/** Whether this manager has ever written to it. */
export function isTouchedBy(object: Json, manager: string): boolean {
  return entriesOf(object, manager).length > 0;
}

/** Whether an object that was not there before was made by somebody else. One without any field of its own is booked on nobody. */
export function isMadeByOthers(object: Json, manager: string): boolean {
  return !isTouchedBy(object, manager) && managersOf(object).some((entry) => (textOf(entry["subresource"]) ?? "") === "");
}

/** A status that has no resource of its own is a field like any other; only then does one who writes the object own it. */
function writesStatus(object: Json, manager: string): boolean {
  return entriesOf(object, manager).some(
    (entry) => (textOf(entry["subresource"]) ?? "") === "" && recordOf(entry["fieldsV1"])["f:status"] !== undefined,
  );
}

function difference(root: string, keys: readonly string[], live: Json, before: Json): Operation[] {
  return keys.flatMap((key): Operation[] => {
    const path = `${root}/${escaped(key)}`;
    if (before[key] === undefined) return live[key] === undefined ? [] : [{ op: "remove", path }];
    return isDeepStrictEqual(live[key], before[key]) ? [] : [{ op: "add", path, value: before[key] }];
  });
}

/** The JSON patch that makes `live` say what `before` says; empty where it does. Bookkeeping is left out. */
export function contentOperations(live: Json, before: Json, manager: string): Operation[] {
  const keys = [...new Set([...Object.keys(live), ...Object.keys(before)])].filter((key) => !BOOKKEEPING.includes(key));
  if (writesStatus(live, manager) || writesStatus(before, manager)) keys.push("status");
  return [...difference("", keys, live, before), ...difference("/metadata", METADATA, metadataOf(live), metadataOf(before))];
}

/** The first fields, at the top, in which an object is not what it was. */
export function differingFields(live: Json, before: Json, manager: string): string[] {
  return contentOperations(live, before, manager).map(({ path }) => path);
}

function stampsOf(object: Json, manager: string): string[] {
  return entriesOf(object, manager).map(({ manager: name, operation, subresource, time }) =>
    [name, operation, subresource, time].map(String).join(" "),
  );
}

/**
 * Whether the event wrote to an object since it was looked at, which the stamps of its fields tell; by the second, so that one of the second
 * of the look may be of before and of after. That others took fields from it stamps nothing of it. What only others wrote to must not be put back.
 */
export function wasWritten(live: Json, before: Json, seenAtMs: number | undefined, manager: string): boolean {
  const known = new Set(stampsOf(before, manager));
  if (stampsOf(live, manager).some((stamp) => !known.has(stamp))) return true;
  const isSame = contentOperations(live, before, manager).length === 0;
  const now = entriesOf(live, manager);
  if (isSame) return !isDeepStrictEqual(now, entriesOf(before, manager));
  return seenAtMs === undefined || now.some((entry) => Date.parse(textOf(entry["time"]) ?? "") >= seenAtMs);
}

/** The entries that are to stand there: those of before, and those of whoever has kept its status since and had none. */
export function managersToRestore(live: Json, before: Json): Json[] {
  const kept = managersOf(before);
  const known = new Set(kept.map((entry) => `${String(entry["manager"])}/${textOf(entry["subresource"]) ?? ""}`));
  const added = managersOf(live).filter((entry) => {
    const subresource = textOf(entry["subresource"]) ?? "";
    return subresource !== "" && !known.has(`${String(entry["manager"])}/${subresource}`);
  });
  return [...kept, ...added];
}

/** A patch that is refused (409) when somebody has changed the object since it was read. */
export function guarded(operations: readonly Operation[], resourceVersion: string): readonly Operation[] {
  return [...operations, { op: "replace", path: "/metadata/resourceVersion", value: resourceVersion }];
}

export function managersOperation(entries: readonly Json[]): Operation {
  return { op: "add", path: "/metadata/managedFields", value: entries };
}

/** Why an object that is gone must not be made again; undefined where it may. */
export function refuseRemaking({ kind, status }: Json): string | undefined {
  if (kind === "Job" && recordsOf(recordOf(status)["conditions"]).some((one) => ended(one)))
    return "it had ended, and a Job that is made again runs again";
  const phase = textOf(recordOf(status)["phase"]);
  if (kind === "Pod" && (phase === "Succeeded" || phase === "Failed")) return "it had ended, and a Pod that is made again runs again";
  return undefined;
}

function ended({ type, status }: Json): boolean {
  return (type === "Complete" || type === "Failed") && status === "True";
}

/** With owners that were made again themselves: by their old uid they would be taken for orphans, and removed. */
export function withOwners(before: Json, uids: ReadonlyMap<string, string>): Json {
  const metadata = metadataOf(before);
  const owners = metadata["ownerReferences"];
  if (uids.size === 0 || !Array.isArray(owners)) return before;
  const renewed = owners.map((owner: unknown) => {
    const uid = isRecord(owner) ? uids.get(textOf(owner["uid"]) ?? "") : undefined;
    return isRecord(owner) && uid !== undefined ? { ...owner, uid } : owner;
  });
  return { ...before, metadata: { ...metadata, ownerReferences: renewed } };
}
