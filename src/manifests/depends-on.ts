/** An object that another says it depends on. Without a version: that makes no other object of it. */
export interface Dependency {
  readonly group: string;
  readonly kind: string;
  /** Undefined for what lives in no namespace. */
  readonly namespace: string | undefined;
  readonly name: string;
}

/** So many are more than anybody means. */
const MAX_DEPENDENCIES = 1_000;

function parseDependency(text: string): Dependency | undefined {
  const fields = text.split("/");
  const [group = "", second = "", third = "", fourth = "", fifth = ""] = fields;
  const found =
    fields.length === 3
      ? { group, kind: second, namespace: undefined, name: third }
      : fields.length === 5 && second === "namespaces" && third !== ""
        ? { group, kind: fourth, namespace: third, name: fifth }
        : undefined;
  return found === undefined || found.kind === "" || found.name === "" || /\s/.test(text) ? undefined : found;
}

function partsOf(text: string): string[] {
  return text.split(",").map((part) => part.trim());
}

/**
 * The dependencies that an annotation names: `GROUP/namespaces/NAMESPACE/KIND/NAME`, or `GROUP/KIND/NAME` for what lives in no namespace, with
 * commas between them; the core group is empty. Source: sigs.k8s.io/cli-utils/pkg/object/dependson
 */
export function parseDependencies(text: string): Dependency[] {
  return partsOf(text).flatMap((part) => parseDependency(part) ?? []);
}

/** The first part of the annotation that names no object, or what is wrong with all of them; undefined when it is good. */
export function dependenciesProblem(text: string): string | undefined {
  const parts = partsOf(text);
  if (parts.length > MAX_DEPENDENCIES) return `names ${parts.length} objects, more than ${MAX_DEPENDENCIES}`;
  const bad = parts.find((part) => parseDependency(part) === undefined);
  return bad === undefined ? undefined : `has ${JSON.stringify(bad.slice(0, 120))}, which names no object`;
}
