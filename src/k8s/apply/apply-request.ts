import type { KubeClient } from "../http/client.ts";
import { collectionPath } from "../http/discovery.ts";
import { isRecord, parseRecord, recordOf, textOf, type Json } from "../http/json.ts";
import { managedFieldsOf, ownApplyFields, ownApplyTimeMs, type ManagedFields } from "../ownership/managers.ts";
import { type Pin, pinnedBody, type WriteGuard } from "../diff/pin.ts";
import type { PlannedObject } from "./plan.ts";
import { pathOf } from "./target.ts";
import { errorOfAnswer } from "../http/status-error.ts";
import type { KubeAnswer } from "../http/transport.ts";
import { TransporterError } from "../../kit/mod.ts";
import type { IgnoreFields, OnImmutable } from "../../protocol/mod.ts";

/** Metadata is all that is read of an answer, so the body of a large object need not come back. */
export const METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
export const METADATA_LIST_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

export interface ApplyOptions {
  /** Stable name under which the API server books our fields. */
  readonly fieldManager: string;
  /** Take fields from other managers instead of refusing. */
  readonly forceConflicts: boolean;
  /** What of objects that exist is left to others. */
  readonly ignoreFields?: readonly IgnoreFields[];
  /** `recreate`: where a field cannot be changed, the object is deleted and made anew. */
  readonly onImmutable?: OnImmutable;
  /** How long an object that is made anew may take to go; a minute when absent. */
  readonly goneTimeoutMs?: number;
  /** An object that exists is a fault. */
  readonly createOnly?: boolean;
  /** Of these, what exists was made by the same event before. */
  readonly isOwnCreation?: (planned: PlannedObject) => boolean;
  /** Nothing is written but to the versions that it allows. */
  readonly guard?: WriteGuard;
  /** The one version that a write is for, as the guard gave it. */
  readonly pin?: Pin | undefined;
  readonly signal?: AbortSignal;
}

export interface ApplyMode {
  /** In place of the whole manifest. */
  readonly body?: string;
  readonly dryRun: boolean;
  readonly force: boolean;
  /** False only for bytes that the API server has validated strictly just before: reading them twice costs it a quarter of an apply. */
  readonly strict: boolean;
  /** The whole object is wanted back, not its metadata alone. */
  readonly whole?: boolean;
}

/** Server-side apply of one object. May be sent twice without harm: that is what apply means. */
export async function sendApply(client: KubeClient, planned: PlannedObject, options: ApplyOptions, mode: ApplyMode): Promise<KubeAnswer> {
  const query = `?fieldManager=${encodeURIComponent(options.fieldManager)}&force=${String(mode.force)}&fieldValidation=${mode.strict ? "Strict" : "Ignore"}${mode.dryRun ? "&dryRun=All" : ""}`;
  const body = mode.body ?? planned.body;
  return client.send({
    method: "PATCH",
    path: `${pathOf(planned)}${query}`,
    contentType: "application/apply-patch+yaml",
    ...(mode.whole === true ? {} : { accept: METADATA_ONLY }),
    body: mode.dryRun || options.pin === undefined ? body : pinnedBody(body, options.pin),
    repeatable: true,
    signal: options.signal,
  });
}

/** A create: refused (409) where the object exists. As it has a name, a second arrival finds what the first has made. */
export async function sendCreate(
  client: KubeClient,
  planned: PlannedObject,
  options: ApplyOptions,
  mode: { readonly dryRun: boolean; readonly body?: string },
): Promise<KubeAnswer> {
  return client.send({
    method: "POST",
    path: `${collectionPath(planned.type, planned.ref.namespace)}?fieldManager=${encodeURIComponent(options.fieldManager)}&fieldValidation=Strict${mode.dryRun ? "&dryRun=All" : ""}`,
    contentType: "application/json",
    accept: METADATA_ONLY,
    body: mode.body ?? planned.body,
    repeatable: true,
    signal: options.signal,
  });
}

/** Only tried: cheaper for the API server than trying an apply, and the same judgement of a plain new object. */
export async function sendDryCreate(client: KubeClient, planned: PlannedObject, options: ApplyOptions): Promise<KubeAnswer> {
  return sendCreate(client, planned, options, { dryRun: true });
}

/** Whether a create was refused because the object is there. */
export function isTaken(answer: KubeAnswer): boolean {
  return answer.status === 409 && parseRecord(answer.text)["reason"] === "AlreadyExists";
}

/**
 * The error of a refused apply. A manifest that names the very version or the very object it is for (`resourceVersion`, `uid`) loses its lock
 * for good, so that refusal is marked as one that no waiting cures.
 */
export function applyRefusal(answer: KubeAnswer, planned: PlannedObject, ours?: ReadonlySet<string>): TransporterError {
  const error = errorOfAnswer(answer, planned.label, ours);
  const { resourceVersion, uid } = planned.parsed.object.metadata as Json;
  if (answer.status !== 409 || (resourceVersion === undefined && uid === undefined)) return error;
  return new TransporterError(error.code, error.message, { details: { ...error.details, pinned: true }, remedy: error.remedy });
}

/** The part of an applied object's metadata that tells what happened. */
export interface AppliedMetadata {
  /** Labels, annotations and the like: everything of the metadata that an apply could change. */
  readonly bearing: string;
  readonly resourceVersion: string | undefined;
  readonly generation: number | undefined;
  readonly uid: string | undefined;
  readonly createdAt: string | undefined;
  readonly managedFields: ManagedFields;
}

export function metadataOf(answer: KubeAnswer): AppliedMetadata {
  return metadataIn(recordOf(parseRecord(answer.text)["metadata"]));
}

export function metadataIn(metadata: Json): AppliedMetadata {
  const generation = metadata["generation"];
  const { labels, annotations, ownerReferences, finalizers } = metadata;
  return {
    bearing: JSON.stringify([labels ?? {}, annotations ?? {}, ownerReferences ?? [], finalizers ?? []]),
    resourceVersion: textOf(metadata["resourceVersion"]),
    generation: typeof generation === "number" ? generation : undefined,
    uid: textOf(metadata["uid"]),
    createdAt: textOf(metadata["creationTimestamp"]),
    managedFields: managedFieldsOf(metadata),
  };
}

/**
 * True when the answer to an apply proves that it changed nothing: the API server stamps our entry whenever our apply changes something,
 * so a stamp clearly older than the answer (both of the server's clock, to the second) was set by an earlier one. Older by more than the `tookMs`
 * that the answer took: a webhook may be asked for long after the stamp was set.
 */
export function provesNoChange(answer: KubeAnswer, managedFields: ManagedFields, fieldManager: string, tookMs: number): boolean {
  const answeredAtMs = Date.parse(answer.headers.get("date") ?? "");
  const appliedAtMs = ownApplyTimeMs(managedFields, fieldManager);
  // NaN compares false: without a Date nothing is proven.
  return appliedAtMs !== undefined && answeredAtMs - appliedAtMs >= 2_000 + tookMs;
}

/**
 * True when the tried apply left alone what was there: the generation counts every change of a spec. Says something only of objects that
 * are nothing but metadata and spec; other fields some kinds do not count.
 */
export function leavesAsIs(object: Json, before: AppliedMetadata, tried: AppliedMetadata, fieldManager: string): boolean {
  if (tried.generation === undefined || before.generation !== tried.generation || before.bearing !== tried.bearing) return false;
  if (!Object.keys(object).every((key) => ["apiVersion", "kind", "metadata", "spec"].includes(key))) return false;
  const owned = ownApplyFields(before.managedFields, fieldManager);
  return owned !== undefined && owned === ownApplyFields(tried.managedFields, fieldManager);
}

/**
 * True for objects on which a tried create and a tried apply cannot disagree: only maps, texts, booleans and lists of distinct texts.
 * Apply judges lists of objects by their merge keys (duplicate environment variables), numbers and nulls by types of its own; a create
 * lets some of that pass.
 */
export function isPlain(value: unknown, depth = 0): boolean {
  if (typeof value === "string" || typeof value === "boolean") return true;
  if (depth > 60) return false;
  if (Array.isArray(value)) return value.every((item) => typeof item === "string") && new Set(value).size === value.length;
  return isRecord(value) && Object.values(value).every((child) => isPlain(child, depth + 1));
}

/** Fields that only the server writes; with them a create and an apply are judged differently. */
export function carriesServerFields(metadata: Json): boolean {
  return [
    "resourceVersion",
    "uid",
    "managedFields",
    "generateName",
    "selfLink",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
  ].some((field) => metadata[field] !== undefined);
}
