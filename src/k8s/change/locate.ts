import { TransporterError } from "../../kit/mod.ts";
import { crdProvides, describeRef, type ObjectRef, type ParsedObject, providedKindKey } from "../../manifests/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { apiVersionOf, type KindRef } from "../http/discovery.ts";
import { type Target, targetOf } from "../apply/target.ts";

/** An object that an event means, by a manifest or by its name alone, with its place in the cluster. */
export interface Located extends Target {
  readonly parsed: ParsedObject;
  /** Its definition goes with the same event: that nobody knows its kind any more is no fault. */
  readonly goesToo?: boolean;
}

export interface LocateOptions {
  /** For namespaced objects that name none. */
  readonly defaultNamespace: string;
  /** What the API server has to let be done with each, and how that is called. */
  readonly verb: "delete" | "patch";
  /** An object whose kind goes with the event is absent when the kind is; else every kind has to be known. */
  readonly tolerant?: boolean;
  readonly signal?: AbortSignal;
}

export interface Places {
  readonly located: readonly Located[];
  /** Their kind is not served any more, and so neither are they there. */
  readonly absent: readonly ParsedObject[];
}

const DONE: Readonly<Record<LocateOptions["verb"], string>> = { delete: "deleted", patch: "patched" };

/** UNKNOWN_KIND that lists every kind once, with what the API server knows instead. */
export function unknownKinds(client: KubeClient, refs: readonly ObjectRef[]): TransporterError {
  const unknown = new Map<string, { readonly ref: KindRef; count: number; readonly first: string }>();
  for (const ref of refs) {
    const key = `${apiVersionOf(ref)} ${ref.kind}`;
    const entry = unknown.get(key) ?? { ref, count: 0, first: describeRef(ref) };
    entry.count += 1;
    unknown.set(key, entry);
  }
  const texts = [...unknown].map(([key, { ref, count, first }]) => {
    const others = client.discovery.suggestions(ref);
    const hint = others.length === 0 ? "" : `; it knows ${others.join(", ")}`;
    return `${key} (${count === 1 ? first : `${count} objects, first ${first}`}${hint})`;
  });
  return new TransporterError("UNKNOWN_KIND", `the cluster does not know ${texts.join("; ")}`, { details: { kinds: [...unknown.keys()] } });
}

function isDefinition({ group, kind }: ObjectRef): boolean {
  return group === "apiextensions.k8s.io" && kind === "CustomResourceDefinition";
}

/** Whether the definition of a kind goes with the same event: by its manifest, or by its name, which ends with the group. */
function comesWithDefinition(parsed: readonly ParsedObject[]): (ref: ObjectRef) => boolean {
  const provided = crdProvides(parsed);
  const groups = new Set(parsed.filter(({ ref }) => isDefinition(ref)).map(({ ref }) => ref.name.slice(ref.name.indexOf(".") + 1)));
  return ({ group, kind }) => provided.has(providedKindKey(group, kind)) || groups.has(group);
}

/**
 * Finds where in the cluster each object is; changes nothing. Throws UNKNOWN_KIND that lists every unknown kind, and INVALID_OBJECT for
 * kinds with which that cannot be done.
 */
export async function locateObjects(client: KubeClient, parsed: readonly ParsedObject[], options: LocateOptions): Promise<Places> {
  const types = await client.discovery.resolve(
    parsed.map(({ ref }) => ref),
    options.signal,
  );
  const goesToo = options.tolerant === true ? comesWithDefinition(parsed) : (): boolean => false;
  const absent: ParsedObject[] = [];
  const unknown: ObjectRef[] = [];
  const located = parsed.flatMap((one, index): Located[] => {
    const type = types[index];
    if (type === undefined) {
      if (goesToo(one.ref)) absent.push(one);
      else unknown.push(one.ref);
      return [];
    }
    if (!type.verbs.has(options.verb))
      throw new TransporterError(
        "INVALID_OBJECT",
        `${describeRef(one.ref)}: the API server does not let this kind be ${DONE[options.verb]}`,
      );
    const namespace = type.namespaced ? one.ref.namespace || options.defaultNamespace : undefined;
    return [{ ...targetOf({ ...one.ref, namespace }, type), parsed: one, goesToo: goesToo(one.ref) }];
  });
  if (unknown.length > 0) throw unknownKinds(client, unknown);
  return { located, absent };
}
