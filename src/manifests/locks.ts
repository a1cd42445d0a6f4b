import { dependenciesOf } from "./annotations.ts";
import { isBuiltInGroup, isClusterWide } from "./built-in.ts";
import { type ObjectRef, type ParsedObject, refKey, splitApiVersion } from "./object.ts";
import { crdProvides, providedKindKey } from "./provides.ts";

/** An object as a reference or a patch names it. */
export interface NamedObject {
  readonly api_version: string;
  readonly kind: string;
  readonly namespace?: string | null | undefined;
  readonly name: string;
}

/** What an event works on without having a manifest of it. */
export interface Named {
  readonly references?: readonly NamedObject[] | null | undefined;
  readonly patches?: readonly NamedObject[] | null | undefined;
}

/** What an event writes and what it leans on, as keys. */
export interface LockSet {
  readonly writes: ReadonlySet<string>;
  readonly reads: ReadonlySet<string>;
}

/** The key of a Namespace object, for those who lock or wait for it. */
export function namespaceKey(name: string): string {
  return refKey({ group: "", version: "v1", kind: "Namespace", namespace: undefined, name });
}

function definitionKey(group: string, kind: string): string {
  return `crd:${providedKindKey(group, kind)}`;
}

/** Stands for all kinds of a group: the name of a CRD says its group, and not its kind. */
const ANY_KIND = "*";

/**
 * Writes: the key of each object, and for a CRD `crd:GROUP/KIND` too. Reads: the Namespace of each object (absent means `default`; a
 * custom resource that turns out to be cluster-wide merely waits a little more than it must), and `crd:GROUP/KIND` and `crd:GROUP/*` for
 * objects of groups that are not the API server's own; and what objects say that they depend on.
 */
export function lockSet(parsed: readonly ParsedObject[], defaultNamespace = "default"): LockSet {
  const { writes, reads } = locksOf(
    parsed.map(({ ref }) => ref),
    defaultNamespace,
  );
  for (const provided of crdProvides(parsed).values()) writes.add(definitionKey(provided.group, provided.kind));
  for (const { object } of parsed)
    for (const other of dependenciesOf(object)) reads.add(refKey({ ...other, version: "" }, defaultNamespace));
  return { writes, reads };
}

/** The same for objects of which only the references are known, and which are no CRDs. */
export function locksOf(
  refs: readonly ObjectRef[],
  defaultNamespace: string,
): { readonly writes: Set<string>; readonly reads: Set<string> } {
  const writes = new Set<string>();
  const reads = new Set<string>();
  for (const ref of refs) {
    writes.add(refKey(ref, defaultNamespace));
    if (!isClusterWide(ref.group, ref.kind)) reads.add(namespaceKey(ref.namespace ?? defaultNamespace));
    if (!isBuiltInGroup(ref.group)) reads.add(definitionKey(ref.group, ref.kind)).add(definitionKey(ref.group, ANY_KIND));
  }
  return { writes, reads };
}

/**
 * Of what an event names without a manifest, with `locks` of what it has manifests of. A CRD that is only named is taken to bring every kind of
 * its group.
 */
export function withNamed(locks: LockSet, named: Named | undefined, defaultNamespace = "default"): LockSet {
  const refs = namedObjects(named);
  if (refs.length === 0) return locks;
  const { writes, reads } = locksOf(refs, defaultNamespace);
  for (const { group, kind, name } of refs)
    if (group === "apiextensions.k8s.io" && kind === "CustomResourceDefinition")
      writes.add(definitionKey(name.slice(name.indexOf(".") + 1), ANY_KIND));
  return { writes: locks.writes.union(writes), reads: locks.reads.union(reads) };
}

/** What an event names without a manifest, as its payload has it. What cannot be a name is left out: it fails when it is looked up. */
export function namedObjects(named: Named = {}): ObjectRef[] {
  return [...(named.references ?? []), ...(named.patches ?? [])].flatMap((one) => {
    const gv = splitApiVersion(one.api_version);
    return gv === undefined ? [] : [{ ...gv, kind: one.kind, namespace: one.namespace || undefined, name: one.name }];
  });
}

function meets(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return !a.isDisjointFrom(b);
}

/** True when one writes what the other writes or reads: then they must not run at the same time. */
export function conflicts(a: LockSet, b: LockSet): boolean {
  return meets(a.writes, b.writes) || meets(a.writes, b.reads) || meets(a.reads, b.writes);
}
