import { TransporterError } from "../kit/mod.ts";
import { isClusterWide } from "./built-in.ts";

/** One value of an object, as JSON has it; integers beyond 2^53 that fit 64 bits are bigint, so that they stay exact. */
export type KubeValue = unknown;

export interface KubeMetadata {
  name?: string;
  namespace?: string;
  /** A value that is empty in the manifest is null, which the API server takes for "". */
  labels?: Record<string, string | null>;
  annotations?: Record<string, string | null>;
  [key: string]: KubeValue;
}

/** A Kubernetes object as parsed and checked: every field that the manifest has, none that it lacks. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: KubeMetadata;
  [key: string]: KubeValue;
}

/** Which object is meant. `group` is "" for the core group; `namespace` is as written, so undefined where the manifest has none. */
export interface ObjectRef {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly namespace: string | undefined;
  readonly name: string;
}

/** Where an object stands: the manifest's index in the event (from 0), its document in that manifest and its line (both from 1). */
export interface ObjectSource {
  readonly manifest: number;
  readonly document: number;
  readonly line: number;
}

export interface ParsedObject {
  readonly object: KubeObject;
  readonly ref: ObjectRef;
  readonly source: ObjectSource;
}

/** Splits `apps/v1` into group and version; undefined when it is neither `VERSION` nor `GROUP/VERSION`. */
export function splitApiVersion(apiVersion: string): { readonly group: string; readonly version: string } | undefined {
  const parts = apiVersion.split("/");
  if (parts.length > 2 || parts.some((part) => part === "")) return undefined;
  const [first = "", second] = parts;
  return second === undefined ? { group: "", version: first } : { group: first, version: second };
}

/**
 * The identity of an object without its version: group/kind/namespace/name. An absent namespace stands for `defaultNamespace`, so a
 * custom resource that is cluster-wide carries it too; built-in cluster-wide kinds carry none. Keys are for comparing, not for showing.
 */
export function refKey(ref: ObjectRef, defaultNamespace = "default"): string {
  if (isClusterWide(ref.group, ref.kind)) return `${ref.group}/${ref.kind}//${ref.name}`;
  const namespace = ref.namespace === undefined || ref.namespace === "" ? defaultNamespace : ref.namespace;
  return `${ref.group}/${ref.kind}/${namespace}/${ref.name}`;
}

/** For people: `Deployment transporter-test/nginx`, or `Namespace transporter-test` where none is written. */
export function describeRef(ref: ObjectRef): string {
  return ref.namespace === undefined || ref.namespace === "" ? `${ref.kind} ${ref.name}` : `${ref.kind} ${ref.namespace}/${ref.name}`;
}

/** The reference of an object that has passed validation; throws INVALID_OBJECT where apiVersion or name cannot be used. */
export function refOf(object: KubeObject): ObjectRef {
  const gv = splitApiVersion(object.apiVersion);
  const name = object.metadata.name;
  if (gv === undefined || name === undefined)
    throw new TransporterError(
      "INVALID_OBJECT",
      `${object.kind}: apiVersion ${JSON.stringify(object.apiVersion)} or metadata.name is not usable`,
    );
  return { ...gv, kind: object.kind, namespace: object.metadata.namespace, name };
}

const { rawJSON } = JSON as unknown as { rawJSON(this: void, text: string): unknown };

/** JSON of an object, with bigints written as plain integers. */
export function stringifyObject(object: unknown): string {
  try {
    return JSON.stringify(object);
  } catch (error) {
    // A bigint inside; asking for each value is slower, and hardly any object has one.
    if (!(error instanceof TypeError)) throw error;
    return JSON.stringify(object, (_key, value: unknown) => (typeof value === "bigint" ? rawJSON(value.toString()) : value));
  }
}
