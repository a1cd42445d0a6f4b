import { TransporterError } from "../kit/mod.ts";
import { annotationProblem } from "./annotations.ts";
import type { ManifestDocument } from "./documents.ts";
import { type KubeObject, type ObjectRef, type ParsedObject, splitApiVersion } from "./object.ts";
import { describePlace } from "./place.ts";

type Loose = Readonly<Record<string, unknown>>;

function isLoose(value: unknown): value is Loose {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `a number (123)`, `missing`, `a list`: for messages, so never a long value. */
function describeValue(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "empty (null)";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  if (typeof value === "string") return value === "" ? "an empty string" : "a string";
  if (typeof value === "boolean") return `a boolean (${value})`;
  return typeof value === "number" || typeof value === "bigint" ? `a number (${value})` : `a ${typeof value}`;
}

/** Group and version become a part of a path: no character that could lead elsewhere. */
export const GROUP_OR_VERSION = /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/;
export const KIND = /^[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?$/;
const NAME_CHARS = 253;

/** Why a name cannot stand in a path (the API server's own rule for names of any kind); undefined when it can. */
export function nameProblem(name: string): string | undefined {
  if (name === "") return "is empty";
  if (name.length > NAME_CHARS) return `is longer than ${NAME_CHARS} characters`;
  if (name === "." || name === "..") return `cannot be "${name}"`;
  if (/[/%]/.test(name)) return "holds '/' or '%'";
  if (/[\u0000-\u0020\u007f-\u00a0]/.test(name)) return "holds a space or control character";
  return undefined;
}

class ShapeCheck {
  readonly #document: ManifestDocument;
  readonly #object: Loose;
  readonly #line: number;

  constructor(document: ManifestDocument, object: Loose) {
    this.#document = document;
    this.#object = object;
    this.#line = document.lineOf(object);
  }

  run(): ParsedObject {
    const { group, version } = this.#groupVersion();
    const kind = this.#kind();
    const metadata = this.#object["metadata"];
    if (!isLoose(metadata))
      throw this.#fault("metadata", `metadata is ${describeValue(metadata)}, not a mapping`, "Give it at least a name.");
    const name = this.#name(metadata);
    const namespace = this.#namespace(metadata);
    this.#texts(metadata, "labels");
    this.#texts(metadata, "annotations");
    const ref: ObjectRef = { group, version, kind, namespace, name };
    // Every field that KubeObject names has just been looked at.
    const object = this.#object as KubeObject;
    this.#wishes(object);
    return { object, ref, source: { ...this.#document.place, line: this.#line } };
  }

  /** What it says about its own treatment must be understood before anything is touched. */
  #wishes(object: KubeObject): void {
    const found = annotationProblem(object);
    if (found === undefined) return;
    const { annotation, problem, remedy } = found;
    throw this.#fault(`metadata.annotations[${JSON.stringify(annotation)}]`, `the annotation ${annotation} ${problem}`, remedy);
  }

  #fault(field: string, message: string, remedy: string): TransporterError {
    const place = { ...this.#document.place, line: this.#line };
    return new TransporterError("INVALID_OBJECT", `${describePlace(place)}: ${this.#describe()}${message}`, {
      details: { ...place, field },
      remedy,
    });
  }

  #describe(): string {
    const { kind, metadata } = this.#object;
    const name = isLoose(metadata) ? metadata["name"] : undefined;
    const words = [kind, name].filter((word) => typeof word === "string" && word !== "" && word.length <= NAME_CHARS);
    return words.length === 0 ? "" : `${words.join(" ")}: `;
  }

  #groupVersion(): { readonly group: string; readonly version: string } {
    const { apiVersion } = this.#object;
    if (typeof apiVersion !== "string" || apiVersion === "")
      throw this.#fault("apiVersion", `apiVersion is ${describeValue(apiVersion)}, not a string`, "Write it like v1 or apps/v1.");
    const split = splitApiVersion(apiVersion);
    if (split === undefined || !GROUP_OR_VERSION.test(split.version) || (split.group !== "" && !GROUP_OR_VERSION.test(split.group)))
      throw this.#fault(
        "apiVersion",
        `apiVersion ${JSON.stringify(apiVersion)} is not VERSION or GROUP/VERSION`,
        "Write it like v1 or apps/v1.",
      );
    return split;
  }

  #kind(): string {
    const { kind } = this.#object;
    if (typeof kind !== "string" || kind === "")
      throw this.#fault("kind", `kind is ${describeValue(kind)}, not a string`, "Name the kind, like Deployment.");
    if (!KIND.test(kind))
      throw this.#fault("kind", `kind ${JSON.stringify(kind)} is not the name of a kind`, "Name the kind, like Deployment.");
    return kind;
  }

  #name(metadata: Loose): string {
    const { name } = metadata;
    if (name === undefined && metadata["generateName"] !== undefined)
      throw this.#fault(
        "metadata.generateName",
        "metadata.generateName cannot be applied: without a name nobody can tell which object is meant",
        "Give it a metadata.name.",
      );
    if (typeof name !== "string")
      throw this.#fault(
        "metadata.name",
        `metadata.name is ${describeValue(name)}, not a string`,
        name === undefined ? "Give it a metadata.name." : "Quote the name if a text is meant.",
      );
    const problem = nameProblem(name);
    if (problem !== undefined) throw this.#fault("metadata.name", `metadata.name ${problem}`, "Give it another name.");
    return name;
  }

  /** Absent, empty and null are the same: none is written. */
  #namespace(metadata: Loose): string | undefined {
    const { namespace } = metadata;
    if (namespace === undefined || namespace === null || namespace === "") return undefined;
    if (typeof namespace !== "string")
      throw this.#fault(
        "metadata.namespace",
        `metadata.namespace is ${describeValue(namespace)}, not a string`,
        "Quote the namespace if a text is meant.",
      );
    const problem = nameProblem(namespace);
    if (problem !== undefined) throw this.#fault("metadata.namespace", `metadata.namespace ${problem}`, "Name another namespace.");
    return namespace;
  }

  #texts(metadata: Loose, field: "labels" | "annotations"): void {
    const texts = metadata[field];
    if (texts === undefined || texts === null) return;
    if (!isLoose(texts))
      throw this.#fault(
        `metadata.${field}`,
        `metadata.${field} is ${describeValue(texts)}, not a mapping`,
        "Write it as KEY: VALUE lines.",
      );
    for (const [key, value] of Object.entries(texts)) {
      // The API server stores null as "", and rendered charts are full of it.
      if (typeof value === "string" || value === null) continue;
      throw this.#fault(
        `metadata.${field}[${JSON.stringify(key)}]`,
        `metadata.${field}: the value of ${JSON.stringify(key)} is ${describeValue(value)}, not a string`,
        "Quote the value.",
      );
    }
  }
}

/** The items of a List as kubectl sees them: of a typed list they may leave out apiVersion and kind. */
function listItems(list: Loose): readonly unknown[] | undefined {
  const { kind, items, apiVersion } = list;
  if (typeof kind !== "string" || !kind.endsWith("List") || !Object.hasOwn(list, "items")) return undefined;
  if (items === null) return [];
  if (!Array.isArray(items)) return undefined;
  const itemKind = kind.slice(0, -"List".length);
  return items.map((item: unknown) => {
    if (itemKind === "" || !isLoose(item) || item["kind"] !== undefined || item["apiVersion"] !== undefined) return item;
    return { apiVersion, kind: itemKind, ...item };
  });
}

/** The checked objects of a document, Lists expanded. Throws INVALID_MANIFEST for what is no object, INVALID_OBJECT for a wrong shape. */
export function objectsOf(document: ManifestDocument): ParsedObject[] {
  const found: ParsedObject[] = [];
  const visit = (value: unknown, what: string): void => {
    if (!isLoose(value)) {
      const place = { ...document.place, line: document.lineOf(value) };
      throw new TransporterError("INVALID_MANIFEST", `${describePlace(place)}: ${what} is ${describeValue(value)}, not an object`, {
        details: { ...place, column: 1 },
      });
    }
    const items = listItems(value);
    if (items === undefined) found.push(new ShapeCheck(document, value).run());
    else for (const [index, item] of items.entries()) visit(item, `items[${index}] of the list`);
  };
  visit(document.value, "the document");
  return found;
}
