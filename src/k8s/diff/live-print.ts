import { createHash } from "node:crypto";
import { stringifyObject } from "../../manifests/mod.ts";
import { isRecord, type Json, recordOf } from "../http/json.ts";

/** What the API server, or a controller on its behalf, keeps about an object: it changes without anybody changing the object. */
const BOOKKEEPING: ReadonlySet<string> = new Set(["managedFields", "resourceVersion", "generation", "creationTimestamp", "selfLink"]);
const REVISION = "deployment.kubernetes.io/revision";

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .toSorted()
      .map((key) => [key, sorted(value[key])]),
  );
}

function metadataOf(object: Json): Json {
  const metadata = Object.fromEntries(Object.entries(recordOf(object["metadata"])).filter(([key]) => !BOOKKEEPING.has(key)));
  if (!isRecord(metadata["annotations"])) return metadata;
  const { [REVISION]: _ofTheController, ...annotations } = metadata["annotations"];
  return { ...metadata, annotations: Object.keys(annotations).length === 0 ? undefined : annotations };
}

/**
 * Stands for an object as it is, without its status and the server's own bookkeeping; two that are equal in the rest have the same print. A
 * Secret is told by its version alone, which any write changes: nobody is to find a short password by trying prints. Pure.
 */
export function livePrint(live: Json | undefined): string {
  const hash = createHash("sha256");
  if (live === undefined) return hash.update("absent").digest("hex");
  if (live["kind"] === "Secret" && live["apiVersion"] === "v1") {
    const { uid, resourceVersion } = recordOf(live["metadata"]);
    return hash.update(`Secret\n${String(uid)}\n${String(resourceVersion)}`).digest("hex");
  }
  const { status: _reported, ...rest } = live;
  return hash.update(stringifyObject(sorted({ ...rest, metadata: metadataOf(live) }))).digest("hex");
}
