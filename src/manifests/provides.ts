import type { ParsedObject } from "./object.ts";

/** A kind that a CustomResourceDefinition of the event brings. */
export interface ProvidedKind {
  readonly group: string;
  readonly kind: string;
  readonly plural: string;
  readonly scope: "Namespaced" | "Cluster";
  /** The versions it serves, as written; empty when the CRD says none. */
  readonly versions: readonly string[];
}

/** `group/kind`, the key of `crdProvides`. */
export function providedKindKey(group: string, kind: string): string {
  return `${group}/${kind}`;
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function servedVersions(spec: Readonly<Record<string, unknown>>): string[] {
  const versions = Array.isArray(spec["versions"]) ? spec["versions"] : [];
  return versions.flatMap((version: unknown) => {
    const { name, served } = recordOf(version);
    return typeof name === "string" && served !== false ? [name] : [];
  });
}

/** What the CRDs of an event bring, by `group/kind`. A CRD too broken to say is left out: the API server will name its fault. */
export function crdProvides(parsed: readonly Pick<ParsedObject, "object" | "ref">[]): ReadonlyMap<string, ProvidedKind> {
  const provided = new Map<string, ProvidedKind>();
  for (const { object, ref } of parsed) {
    if (ref.group !== "apiextensions.k8s.io" || ref.kind !== "CustomResourceDefinition") continue;
    const spec = recordOf(object["spec"]);
    const names = recordOf(spec["names"]);
    const { group, scope } = spec;
    const { kind, plural } = names;
    if (typeof group !== "string" || typeof kind !== "string" || typeof plural !== "string") continue;
    if (scope !== "Namespaced" && scope !== "Cluster") continue;
    provided.set(providedKindKey(group, kind), { group, kind, plural, scope, versions: servedVersions(spec) });
  }
  return provided;
}

/** The names of the namespaces that the event itself creates. */
export function namespacesProvided(parsed: readonly ParsedObject[]): ReadonlySet<string> {
  return new Set(parsed.filter(({ ref }) => ref.group === "" && ref.kind === "Namespace").map(({ ref }) => ref.name));
}
