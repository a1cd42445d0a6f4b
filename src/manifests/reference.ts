import { TransporterError } from "../kit/mod.ts";
import type { NamedObject } from "./locks.ts";
import { describeRef, type ObjectRef, type ParsedObject, refKey, splitApiVersion } from "./object.ts";
import { GROUP_OR_VERSION, KIND, nameProblem } from "./shape.ts";

/** No name is shown longer than it may be. */
const SHOWN_CHARS = 253;

function shown(text: string): string {
  return JSON.stringify(text.slice(0, SHOWN_CHARS));
}

/**
 * What an event names without a manifest, as an object of which nothing but its name is known; `where` is its place in the payload. Throws
 * INVALID_OBJECT for what cannot be a name: it becomes a part of a path, and must not lead elsewhere.
 */
export function objectOfReference(named: NamedObject, where: string): ParsedObject {
  const fault = (field: string, message: string, remedy: string): TransporterError =>
    new TransporterError("INVALID_OBJECT", `${where}: ${message}`, { details: { field: `${where}.${field}` }, remedy });
  const gv = splitApiVersion(named.api_version);
  if (gv === undefined || !GROUP_OR_VERSION.test(gv.version) || (gv.group !== "" && !GROUP_OR_VERSION.test(gv.group)))
    throw fault("api_version", `api_version ${shown(named.api_version)} is not VERSION or GROUP/VERSION`, "Write it like v1 or apps/v1.");
  if (!KIND.test(named.kind)) throw fault("kind", `kind ${shown(named.kind)} is not the name of a kind`, "Name the kind, like Deployment.");
  const problem = nameProblem(named.name);
  if (problem !== undefined) throw fault("name", `name ${problem}`, "Name the object as the cluster does.");
  const namespace = named.namespace || undefined;
  const misplaced = namespace === undefined ? undefined : nameProblem(namespace);
  if (misplaced !== undefined) throw fault("namespace", `namespace ${misplaced}`, "Name another namespace.");
  const ref: ObjectRef = { ...gv, kind: named.kind, namespace, name: named.name };
  return {
    object: {
      apiVersion: named.api_version,
      kind: named.kind,
      metadata: { name: named.name, ...(namespace === undefined ? {} : { namespace }) },
    },
    ref,
    source: { manifest: 0, document: 1, line: 1 },
  };
}

/** Throws DUPLICATE_OBJECT where an event means the same object twice, by manifest or by name. */
export function refuseNamedTwice(objects: readonly ParsedObject[], defaultNamespace: string): void {
  const seen = new Set<string>();
  for (const { ref } of objects) {
    const key = refKey(ref, defaultNamespace);
    if (seen.has(key))
      throw new TransporterError("DUPLICATE_OBJECT", `${describeRef(ref)} stands twice in the event`, {
        details: { object: describeRef(ref) },
      });
    seen.add(key);
  }
}
