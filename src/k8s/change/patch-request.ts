import { createHash } from "node:crypto";
import { TransporterError } from "../../kit/mod.ts";
import { type JsonOperation, misfitOf } from "../../manifests/mod.ts";
import type { PatchType } from "../../protocol/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { isRecord, type Json, parseRecord, recordOf, recordsOf, textOf } from "../http/json.ts";
import { errorOfAnswer, refusesDryRun } from "../http/status-error.ts";
import type { KubeAnswer } from "../http/transport.ts";
import type { Located } from "./locate.ts";
import { pathOf, type Target } from "../apply/target.ts";

/** One object and how it is to be changed. */
export interface PatchOrder {
  readonly target: Located;
  readonly type: PatchType;
  /** JSON. */
  readonly body: string;
  readonly value: unknown;
}

export interface PatchOptions {
  /** Under which name the API server books what the patch changes: another than that of applies, which own all that they send. */
  readonly fieldManager: string;
  readonly signal?: AbortSignal | undefined;
}

const CONTENT_TYPES: Readonly<Record<PatchType, string>> = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
};

/** The body with a guard: it is refused (409) where the object is another by now. */
function guarded({ type, body }: PatchOrder, resourceVersion: string | undefined): string {
  if (type !== "json" || resourceVersion === undefined) return body;
  const guard = JSON.stringify({ op: "replace", path: "/metadata/resourceVersion", value: resourceVersion });
  return `${body.slice(0, body.lastIndexOf("]"))},${guard}]`;
}

/**
 * Sends a patch. A JSON patch says other things of another object, so a real one is sent with the `resourceVersion` that it is for; the
 * other types say the same however often they arrive.
 */
export async function sendPatch(
  client: KubeClient,
  order: PatchOrder,
  options: PatchOptions,
  how: { readonly dryRun: boolean; readonly resourceVersion?: string | undefined },
): Promise<KubeAnswer> {
  const query = `?fieldManager=${encodeURIComponent(options.fieldManager)}&fieldValidation=Strict${how.dryRun ? "&dryRun=All" : ""}`;
  return client.send({
    method: "PATCH",
    path: `${pathOf(order.target)}${query}`,
    contentType: CONTENT_TYPES[order.type],
    body: guarded(order, how.resourceVersion),
    repeatable: how.dryRun || order.type !== "json" || how.resourceVersion !== undefined,
    signal: options.signal,
  });
}

/** The whole object as it stands; undefined where it is not there. */
export async function readObject(client: KubeClient, target: Target, signal: AbortSignal | undefined): Promise<Json | undefined> {
  const answer = await client.send({ method: "GET", path: pathOf(target), signal });
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw errorOfAnswer(answer, target.label);
  return parseRecord(answer.text);
}

export function notFound(target: Target): TransporterError {
  return new TransporterError("OBJECT_NOT_FOUND", `${target.label} does not exist`, { details: { object: target.label } });
}

export function isSecret({ ref }: Target): boolean {
  return ref.group === "" && ref.kind === "Secret";
}

/** The API server quotes the whole patched object where it cannot decode it: nothing to read, and not for everybody's eyes. */
const QUOTED = /(?:patch: )?Invalid value: "(?:[^"\\]|\\.)*": /gs;

function strip(value: unknown): unknown {
  return typeof value === "string" ? value.replaceAll(QUOTED, "") : value;
}

function withoutQuotes(answer: KubeAnswer): KubeAnswer {
  const root = parseRecord(answer.text);
  const details = recordOf(root["details"]);
  const causes = recordsOf(details["causes"]).map((cause) => ({
    ...cause,
    message: strip(cause["message"]),
    ...(cause["field"] === "patch" ? { field: "" } : {}),
  }));
  return { ...answer, text: JSON.stringify({ ...root, message: strip(root["message"]), details: { ...details, causes } }) };
}

/** Whether the patch itself names the version or the object that it is for: then a lost lock is lost for good. */
function isPinned({ type, value }: PatchOrder): boolean {
  if (type === "json")
    return (value as readonly JsonOperation[]).some(({ path }) => path === "/metadata/resourceVersion" || path === "/metadata/uid");
  const metadata = isRecord(value) ? recordOf(value["metadata"]) : {};
  return metadata["resourceVersion"] !== undefined || metadata["uid"] !== undefined;
}

const DECODING =
  /error decoding patch|invalid JSON patch|json patch|unable to (?:parse|find api field)|cannot unmarshal|invalid character/i;
const NO_REASON = /rejected our request due to an error in our request/i;

/** The error of a refused patch. */
export async function patchRefusal(
  client: KubeClient,
  answer: KubeAnswer,
  order: PatchOrder,
  signal: AbortSignal | undefined,
): Promise<TransporterError> {
  const { target, type, value } = order;
  const invalid = (why: string, remedy?: string): TransporterError =>
    new TransporterError("INVALID_PATCH", `${target.label}: ${why}`, {
      details: { object: target.label, http_status: answer.status },
      ...(remedy === undefined ? {} : { remedy }),
    });
  if (answer.status === 404) return notFound(target);
  if (answer.status === 415)
    return invalid(`${target.ref.kind} takes no ${type} patch`, "Use the type merge or json: only built-in kinds know strategic merge.");
  const clean = withoutQuotes(answer);
  if (answer.status === 422 && type === "json" && NO_REASON.test(answer.text)) {
    const live = await readObject(client, target, signal);
    const misfit = live === undefined ? undefined : misfitOf(live, value as readonly JsonOperation[], isSecret(target));
    return invalid(
      misfit ?? "an operation of the JSON patch does not fit the object",
      "Look at the object as it is, and correct the patch.",
    );
  }
  const error = errorOfAnswer(clean, target.label);
  if (answer.status === 409 && isPinned(order))
    return new TransporterError(error.code, error.message, { details: { ...error.details, pinned: true }, remedy: error.remedy });
  if (error.code === "IMMUTABLE_FIELD")
    return new TransporterError(error.code, error.message, {
      details: error.details,
      remedy: "Keep the field as it is. A patch makes nothing anew; an apply with --on-immutable recreate does.",
    });
  if (error.code === "INVALID_OBJECT" && answer.status === 400 && DECODING.test(error.message))
    return invalid(error.message.slice(target.label.length + 2));
  return error;
}

/** What our patches of earlier own, and when they took it: it changes with every change of theirs. */
function ownEntries(metadata: Json, fieldManager: string): string {
  return JSON.stringify(recordsOf(metadata["managedFields"]).filter((entry) => entry["manager"] === fieldManager));
}

export function metadataIn(answer: KubeAnswer): Json {
  return recordOf(parseRecord(answer.text)["metadata"]);
}

/** A digest of what an object says: without its status and the API server's own bookkeeping. */
function contentOf(object: Json): string {
  const { managedFields: _fields, resourceVersion: _version, generation: _generation, ...metadata } = recordOf(object["metadata"]);
  const { status: _status, ...rest } = object;
  return createHash("sha256")
    .update(JSON.stringify({ ...rest, metadata }))
    .digest("base64");
}

/** How an object stood, as far as it tells whether a patch has been carried out on it. Plain data. */
export interface PatchTrace {
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
  /** What our patches own of it, and since when: nearly every change of theirs is seen there. */
  readonly own: string;
  readonly content: string;
  /** What it would say after the patch, by its dry run. */
  readonly expected?: string | undefined;
}

/** What the trial of one patch found. */
export interface PatchFinding extends PatchTrace {
  /**
   * - `update`, `unchanged`: what the patch would do.
   * - `unknown`: an admission webhook refuses every dry run.
   * - `unjudged`: the account may read and nothing else.
   * - `unseen`: it may not even be read.
   */
  readonly would: "update" | "unchanged" | "unknown" | "unjudged" | "unseen";
}

/** Whether the patch that was tried on an object as it was before has been carried out since. */
export function hasBeenPatched(before: PatchTrace, now: PatchTrace): boolean {
  if (before.uid !== now.uid || before.resourceVersion === now.resourceVersion) return false;
  return before.own !== now.own || (now.content === before.expected && before.content !== before.expected);
}

export function traceIn(object: Json, fieldManager: string): PatchTrace {
  const metadata = recordOf(object["metadata"]);
  return {
    uid: textOf(metadata["uid"]),
    resourceVersion: textOf(metadata["resourceVersion"]),
    own: ownEntries(metadata, fieldManager),
    content: contentOf(object),
  };
}

/** How an object stands; undefined where it is not there. */
export async function readTrace(client: KubeClient, target: Target, options: PatchOptions): Promise<PatchTrace | undefined> {
  const live = await readObject(client, target, options.signal);
  return live === undefined ? undefined : traceIn(live, options.fieldManager);
}

/** Has the API server judge one patch without carrying it out. Throws its refusal, and OBJECT_NOT_FOUND. */
export async function tryPatch(client: KubeClient, order: PatchOrder, options: PatchOptions): Promise<PatchFinding> {
  const live = await readObject(client, order.target, options.signal);
  if (live === undefined) throw notFound(order.target);
  const trace = traceIn(live, options.fieldManager);
  const answer = await sendPatch(client, order, options, { dryRun: true });
  if (refusesDryRun(answer)) return { ...trace, would: "unknown" };
  if (answer.status >= 300) throw await patchRefusal(client, answer, order, options.signal);
  const expected = contentOf(parseRecord(answer.text));
  return { ...trace, expected, would: expected === trace.content ? "unchanged" : "update" };
}
