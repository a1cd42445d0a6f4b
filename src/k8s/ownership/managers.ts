import { isRecord, recordsOf, textOf, type Json } from "../http/json.ts";

/** `metadata.managedFields` entries, as the API server gives them. */
export type ManagedFields = readonly Json[];

const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

function isMainUpdate(entry: Json): boolean {
  const subresource = textOf(entry["subresource"]) ?? "";
  return entry["operation"] === "Update" && subresource === "";
}

function ownsLastApplied(entry: Json): boolean {
  const metadata = isRecord(entry["fieldsV1"]) ? entry["fieldsV1"]["f:metadata"] : undefined;
  const annotations = isRecord(metadata) ? metadata["f:annotations"] : undefined;
  return isRecord(annotations) && annotations[`f:${LAST_APPLIED}`] !== undefined;
}

/**
 * The managers whose fields are really ours: a 0.1 agent wrote by plain update under our own name, and whoever wrote kubectl's
 * last-applied annotation last did client-side apply, whatever it is called. Their fields would otherwise conflict, or stay behind for ever
 * once forced.
 * Source: k8s.io/kubectl/pkg/cmd/apply, migrateToSSAIfNecessary
 */
export function legacyManagers(managedFields: ManagedFields, fieldManager: string): ReadonlySet<string> {
  const names = new Set<string>();
  for (const entry of managedFields) {
    const manager = textOf(entry["manager"]);
    if (manager === undefined || entry["operation"] !== "Update") continue;
    if (ownsLastApplied(entry) || (manager === fieldManager && isMainUpdate(entry))) names.add(manager);
  }
  return new Set([...names].filter((name) => managedFields.some((entry) => entry["manager"] === name && isMainUpdate(entry))));
}

function isLeaf(fields: Json): boolean {
  return Object.keys(fields).length === 0;
}

/** The union of two field sets in FieldsV1 notation: `{}` says that the path is owned, `.` that so is the node above its children. */
export function uniteFields(a: Json, b: Json): Json {
  if (isLeaf(a) && isLeaf(b)) return {};
  if (isLeaf(a)) return { ".": {}, ...b };
  if (isLeaf(b)) return { ".": {}, ...a };
  const union: Record<string, unknown> = { ...a };
  for (const [key, theirs] of Object.entries(b)) {
    const ours = union[key];
    union[key] = isRecord(ours) && isRecord(theirs) ? uniteFields(ours, theirs) : (ours ?? theirs);
  }
  return union;
}

/** The root has no owner of its own, so an empty set is no leaf there. */
function uniteRoots(a: unknown, b: unknown): Json {
  const ours = isRecord(a) ? a : {};
  const theirs = isRecord(b) ? b : {};
  if (isLeaf(ours)) return theirs;
  return isLeaf(theirs) ? ours : uniteFields(ours, theirs);
}

export function isOwnApply(entry: Json, fieldManager: string): boolean {
  return entry["manager"] === fieldManager && entry["operation"] === "Apply" && (textOf(entry["subresource"]) ?? "") === "";
}

/**
 * The entries after the legacy managers' fields became ours; undefined when there is nothing to do. Fields written under another version
 * of the API are given up rather than translated, as kubectl does.
 * Source: k8s.io/client-go/util/csaupgrade
 */
export function migrateManagers(managedFields: ManagedFields, fieldManager: string): Json[] | undefined {
  const legacy = legacyManagers(managedFields, fieldManager);
  if (legacy.size === 0) return undefined;
  const isLegacy = (entry: Json): boolean => isMainUpdate(entry) && legacy.has(textOf(entry["manager"]) ?? "");
  const base = managedFields.find((entry) => isOwnApply(entry, fieldManager)) ?? managedFields.find(isLegacy);
  if (base === undefined) return undefined;
  let fields = isRecord(base["fieldsV1"]) ? base["fieldsV1"] : {};
  for (const entry of managedFields)
    if (entry !== base && isLegacy(entry) && entry["apiVersion"] === base["apiVersion"]) fields = uniteRoots(fields, entry["fieldsV1"]);
  const ours: Json = { ...base, manager: fieldManager, operation: "Apply", fieldsV1: fields };
  return managedFields.flatMap((entry) => (entry === base ? [ours] : isLegacy(entry) ? [] : [entry]));
}

/** The JSON patch that writes these entries and nothing else, refused (409) when the object has changed since it was read. */
export function managersPatch(entries: readonly Json[], resourceVersion: string): string {
  return JSON.stringify([
    // An empty list would change nothing; a list of one empty entry empties it.
    { op: "replace", path: "/metadata/managedFields", value: entries.length === 0 ? [{}] : entries },
    { op: "replace", path: "/metadata/resourceVersion", value: resourceVersion },
  ]);
}

/** When our own apply last changed something of the object, in milliseconds; undefined when it never did. */
export function ownApplyTimeMs(managedFields: ManagedFields, fieldManager: string): number | undefined {
  const time = textOf(managedFields.find((entry) => isOwnApply(entry, fieldManager))?.["time"]);
  const ms = time === undefined ? Number.NaN : Date.parse(time);
  return Number.isNaN(ms) ? undefined : ms;
}

/** Which fields our applies own, for comparing; undefined when we never applied. */
export function ownApplyFields(managedFields: ManagedFields, fieldManager: string): string | undefined {
  const own = managedFields.find((entry) => isOwnApply(entry, fieldManager));
  return own === undefined ? undefined : JSON.stringify([own["apiVersion"], own["fieldsV1"]]);
}

export function managedFieldsOf(metadata: Json): ManagedFields {
  return recordsOf(metadata["managedFields"]);
}
