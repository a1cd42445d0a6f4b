import { TransporterError } from "../../kit/mod.ts";
import { parsePointer, stringifyObject } from "../../manifests/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { recordOf, type Json } from "../http/json.ts";
import type { Schema } from "../http/schema.ts";
import { type FieldPath, ownsField, resolvePointer, valueAt, withoutField, withValueAt } from "./field-path.ts";
import { managedFieldsOf, isOwnApply, type ManagedFields } from "./managers.ts";
import type { PlannedObject } from "../apply/plan.ts";
import type { Treatment } from "./treatment.ts";

/** The fields of one object that are left to others once it exists. */
export interface Ignored {
  readonly paths: readonly FieldPath[];
  /** What is applied to an object that exists: the manifest without these fields. */
  readonly body: string;
  /**
   * What tells the truth about that apply while nothing of the object has been given up yet: the fields have the values that they have.
   * For dry runs, and for an object that is made anew.
   */
  bodyLike(live: Json): string;
  /** A copy of an object with the values that these fields have in another. */
  asIn(live: Json, object: Json): Json;
  /** A copy of an object without these fields. */
  withoutThem(object: Json): Json;
}

/** As much of an object as it takes to know its fields. */
type Meant = Pick<PlannedObject, "ref" | "label" | "parsed" | "deferral">;

function unusable(planned: Meant, pointer: string, problem: string): TransporterError {
  return new TransporterError("INVALID_OBJECT", `${planned.label}: the field to ignore ${pointer} ${problem}`, {
    details: { object: planned.label, pointer },
    remedy: "Correct ignore_fields of the event, or the annotation transporter.dev/ignore-fields of the object.",
  });
}

/** The object as it is sent: with the namespace that it goes to. */
function sentObject(planned: Meant): Json {
  const { object } = planned.parsed;
  const { namespace: _written, ...metadata } = object.metadata;
  const { namespace } = planned.ref;
  return { ...object, metadata: namespace === undefined ? metadata : { ...metadata, namespace } };
}

/** The API server publishes the schema of a new definition only some moments after it serves its objects. */
const SCHEMA_MS = 15_000;
const SCHEMA_LOOK_MS = 250;

async function schemaOf(client: KubeClient, planned: Meant, signal: AbortSignal | undefined): Promise<Schema | undefined> {
  const { clock, timers } = client.ports;
  const startedMs = clock.monotonic();
  for (;;) {
    const schema = await client.openApi.schemaOf(planned.ref, signal);
    const isNew = planned.deferral?.because === "definition";
    if (schema !== undefined || !isNew || clock.monotonic() - startedMs > SCHEMA_MS) return schema;
    await timers.sleep(SCHEMA_LOOK_MS, signal);
  }
}

function pathsOf(planned: Meant, schema: Schema | undefined, pointers: readonly string[]): FieldPath[] {
  return pointers.flatMap((pointer) => {
    const resolved = resolvePointer(planned.parsed.object, schema, parsePointer(pointer));
    if (resolved.kind === "refused") throw unusable(planned, pointer, resolved.problem);
    return resolved.kind === "path" ? [resolved.path] : [];
  });
}

/**
 * What of an object is left to others; undefined where nothing is. Throws INVALID_OBJECT for a part of what the API server takes as a whole. Items of
 * lists are told apart as its schema says.
 */
export async function ignoredOf(
  client: KubeClient,
  planned: Meant,
  { ignored }: Pick<Treatment, "ignored">,
  signal: AbortSignal | undefined,
): Promise<Ignored | undefined> {
  if (ignored.length === 0) return undefined;
  const schema = await schemaOf(client, planned, signal);
  const paths = pathsOf(planned, schema, ignored);
  if (paths.length === 0) return undefined;
  const sent = sentObject(planned);
  const like = (valueOf: (path: FieldPath) => unknown): string =>
    stringifyObject(paths.reduce<unknown>((object, path) => withValueAt(object, schema, path, valueOf(path)), sent));
  return {
    paths,
    body: like(() => undefined),
    bodyLike: (live) => like((path) => valueAt(live, schema, path)),
    asIn: (live, object) =>
      recordOf(paths.reduce<unknown>((left, path) => withValueAt(left, schema, path, valueAt(live, schema, path)), object)),
    withoutThem: (object) => recordOf(paths.reduce<unknown>((left, path) => withValueAt(left, schema, path, undefined), object)),
  };
}

function fieldsOf(entry: Json): Json {
  return recordOf(entry["fieldsV1"]);
}

/** Whether the API server books one of these fields as ours. */
export function ownsIgnored(managedFields: ManagedFields, fieldManager: string, { paths }: Ignored): boolean {
  return managedFields.some((entry) => isOwnApply(entry, fieldManager) && paths.some((path) => ownsField(fieldsOf(entry), path)));
}

/** The entries after we have given up these fields; the same ones when none was ours. */
export function withoutIgnored(managedFields: ManagedFields, fieldManager: string, { paths }: Ignored): ManagedFields {
  return managedFields.flatMap((entry) => {
    if (!isOwnApply(entry, fieldManager)) return [entry];
    const before = fieldsOf(entry);
    const left = paths.reduce<Json | undefined>((fields, path) => fields && withoutField(fields, path), before);
    if (left === undefined) return [];
    return [left === before ? entry : { ...entry, fieldsV1: left }];
  });
}

/** The managers' entries of an object. */
export function entriesOf(object: Json): ManagedFields {
  return managedFieldsOf(recordOf(object["metadata"]));
}
