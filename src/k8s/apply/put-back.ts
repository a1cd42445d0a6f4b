import { messageOf, TransporterError } from "../../kit/mod.ts";
import { stringifyObject } from "../../manifests/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { collectionPath } from "../http/discovery.ts";
import { type Json, readExact, recordOf, textOf } from "../http/json.ts";
import { errorOfAnswer } from "../http/status-error.ts";
import { metadataOf } from "./apply-request.ts";
import { type ManagedFields, managedFieldsOf } from "../ownership/managers.ts";
import { patchManagers, readMetadata } from "../ownership/migrate.ts";
import { pathOf, type Target } from "./target.ts";

/** Controllers write to what was just made; each time it is read again. */
const MAX_TRIES = 5;
/** What the API server gives an object itself, and takes from nobody. */
const SERVER_FIELDS: ReadonlySet<string> = new Set([
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "selfLink",
  "managedFields",
]);
/** What the API server writes into a Job to tell its pods from those of another, by the Job's uid. */
const JOB_LABELS: ReadonlySet<string> = new Set([
  "controller-uid",
  "job-name",
  "batch.kubernetes.io/controller-uid",
  "batch.kubernetes.io/job-name",
]);

function without(record: Json, keys: ReadonlySet<string>): Json {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.has(key)));
}

/** A Job takes another selector with its new uid, unless somebody chose the one that it has. */
function unselected(spec: Json): Json {
  if (spec["manualSelector"] === true) return spec;
  const template = recordOf(spec["template"]);
  const metadata = recordOf(template["metadata"]);
  const labels = without(recordOf(metadata["labels"]), JOB_LABELS);
  return { ...without(spec, new Set(["selector"])), template: { ...template, metadata: { ...metadata, labels } } };
}

/** An object that was there, as it can be made anew. Pure. */
export function remakeable(object: Json): Json {
  const metadata = without(recordOf(object["metadata"]), SERVER_FIELDS);
  const isJob = object["kind"] === "Job" && textOf(object["apiVersion"])?.startsWith("batch/") === true;
  return { ...object, metadata, ...(isJob ? { spec: unselected(recordOf(object["spec"])) } : {}) };
}

/** The object as it stands, integers exact; undefined when it does not exist. */
export async function readObject(client: KubeClient, target: Target, signal: AbortSignal | undefined): Promise<Json | undefined> {
  const answer = await client.send({ method: "GET", path: pathOf(target), signal });
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw errorOfAnswer(answer, target.label);
  return recordOf(readExact(answer.text));
}

/**
 * Has the API server book the fields of an object as it did before, times included. `resourceVersion` is that of the object as it was last
 * seen. Resolves to the resourceVersion afterwards. Throws APPLY_FAILED when somebody else keeps changing it.
 */
export async function restoreManagers(
  client: KubeClient,
  target: Target,
  entries: ManagedFields,
  resourceVersion: string,
  fieldManager: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  let seen: string | undefined = resourceVersion;
  for (let attempt = 1; seen !== undefined; attempt += 1) {
    const answer = await patchManagers(client, target, entries, { resourceVersion: seen, fieldManager, signal });
    if (answer.status < 300) return metadataOf(answer).resourceVersion;
    if (answer.status !== 409 || attempt >= MAX_TRIES) throw errorOfAnswer(answer, target.label);
    seen = (await readMetadata(client, target, signal))?.resourceVersion;
  }
  return undefined;
}

/**
 * Makes an object again that is gone, as the API server gave it: what it said, and who managed what. It has another uid then, and its status
 * is its controller's to write. Resolves to the new object. Throws the API server's refusal; who managed what is not worth one.
 */
export async function putBack(
  client: KubeClient,
  target: Target,
  before: Json,
  fieldManager: string,
  signal: AbortSignal | undefined,
): Promise<Json> {
  const answer = await client.send({
    method: "POST",
    path: `${collectionPath(target.type, target.ref.namespace)}?fieldManager=${encodeURIComponent(fieldManager)}&fieldValidation=Ignore`,
    contentType: "application/json",
    body: stringifyObject(remakeable(before)),
    // It has a name: a second arrival finds the first.
    repeatable: true,
    signal,
  });
  const made = answer.status === 409 && answer.sentBefore === true ? await readObject(client, target, signal) : undefined;
  if (made === undefined && answer.status >= 300) throw errorOfAnswer(answer, target.label);
  const object = made ?? recordOf(readExact(answer.text));
  const resourceVersion = textOf(recordOf(object["metadata"])["resourceVersion"]);
  if (resourceVersion === undefined) throw new TransporterError("INTERNAL", `${target.label}: the API server did not say what it made`);
  const entries = managedFieldsOf(recordOf(before["metadata"]));
  try {
    await restoreManagers(client, target, entries, resourceVersion, fieldManager, signal);
  } catch (error) {
    signal?.throwIfAborted();
    client.log.warn("Field managers were not restored", { object: target.label, error: messageOf(error) });
  }
  return object;
}
