import { isRecord, recordOf, recordsOf, textOf, type Json } from "./json.ts";

/** A field by which the items of a list are told apart, and what stands for it where an item leaves it out. */
export interface MergeKey {
  readonly name: string;
  readonly default?: string | number | boolean;
}

/** How server-side apply merges a list: as one value, as distinct values, or item by item, told apart by keys. */
export type ListMerge =
  | { readonly type: "atomic" }
  | { readonly type: "set" }
  | { readonly type: "map"; readonly keys: readonly MergeKey[] };

/** What the API server publishes of one place in an object. */
export interface Schema {
  /** Undefined where it is no list. */
  readonly list: ListMerge | undefined;
  /** An object whose fields belong to one manager together. */
  readonly atomicMap: boolean;
  /** Of an object or a map; undefined where nothing is known of such a field. */
  field(name: string): Schema | undefined;
  /** Of a list: what its items are. */
  item(): Schema | undefined;
}

/** What is kept of a schema: a document of a megabyte shrinks to some tens of kilobytes. */
interface Node {
  readonly ref?: string;
  readonly fields?: ReadonlyMap<string, Node>;
  /** Of a map: what every value is. */
  readonly values?: Node;
  readonly items?: Node;
  readonly list?: "atomic" | "set" | "map";
  readonly keys?: readonly string[];
  readonly atomic?: true;
  readonly default?: string | number | boolean;
}

/** Most places are plain values, of which nothing has to be known. */
const PLAIN: Node = {};
const REF = "#/components/schemas/";
/** Deeper than any schema; one that refers to itself goes by references. */
const MAX_DEPTH = 100;

function scalar(value: unknown): string | number | boolean | undefined {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : undefined;
}

function referenceOf(schema: Json): string | undefined {
  // A reference that has a default beside it is written as `allOf` of one.
  const [first] = recordsOf(schema["allOf"]);
  const ref = textOf(schema["$ref"]) ?? textOf(first?.["$ref"]);
  return ref?.startsWith(REF) === true ? ref.slice(REF.length) : undefined;
}

function listOf(schema: Json, depth: number): Partial<Node> {
  if (schema["type"] !== "array") return {};
  const type = schema["x-kubernetes-list-type"];
  const keys = schema["x-kubernetes-list-map-keys"];
  return {
    list: type === "map" || type === "set" ? type : "atomic",
    items: nodeOf(schema["items"], depth + 1),
    ...(Array.isArray(keys) ? { keys: keys.filter((key) => typeof key === "string") } : {}),
  };
}

function nodeOf(value: unknown, depth: number): Node {
  if (!isRecord(value) || depth > MAX_DEPTH) return PLAIN;
  const ref = referenceOf(value);
  const fallback = scalar(value["default"]);
  const fields = isRecord(value["properties"]) ? Object.entries(value["properties"]) : [];
  const values = isRecord(value["additionalProperties"]) ? nodeOf(value["additionalProperties"], depth + 1) : undefined;
  const node: Node = {
    ...(ref === undefined ? {} : { ref }),
    ...(fields.length === 0 ? {} : { fields: new Map(fields.map(([name, schema]) => [name, nodeOf(schema, depth + 1)])) }),
    ...(values === undefined ? {} : { values }),
    ...listOf(value, depth),
    ...(value["x-kubernetes-map-type"] === "atomic" ? { atomic: true as const } : {}),
    ...(fallback === undefined ? {} : { default: fallback }),
  };
  return Object.keys(node).length === 0 ? PLAIN : node;
}

/** The schemas of one group and version. */
export class SchemaDocument {
  readonly #nodes: ReadonlyMap<string, Node>;
  readonly #kinds: ReadonlyMap<string, string>;

  constructor(root: Json) {
    const nodes = new Map<string, Node>();
    const kinds = new Map<string, string>();
    for (const [name, schema] of Object.entries(recordOf(recordOf(root["components"])["schemas"]))) {
      nodes.set(name, nodeOf(schema, 0));
      for (const { group, version, kind } of recordsOf(recordOf(schema)["x-kubernetes-group-version-kind"]))
        kinds.set(`${textOf(group) ?? ""}/${textOf(version) ?? ""}/${textOf(kind) ?? ""}`, name);
    }
    this.#nodes = nodes;
    this.#kinds = kinds;
  }

  /** The schema of the objects of a kind; undefined where the document has none. */
  kind(group: string, version: string, kind: string): Schema | undefined {
    const name = this.#kinds.get(`${group}/${version}/${kind}`);
    return name === undefined ? undefined : this.#schema({ ref: name });
  }

  /** The node that a chain of references ends at; what stands beside a reference wins over what is referred to. */
  #resolve(node: Node): Node {
    let found = node;
    for (let hops = 0; found.ref !== undefined && hops < MAX_DEPTH; hops += 1) {
      const { ref, ...beside } = found;
      found = { ...(this.#nodes.get(ref) ?? PLAIN), ...beside };
    }
    return found;
  }

  #schema(node: Node): Schema {
    const here = this.#resolve(node);
    const list = this.#merge(here);
    return {
      list,
      atomicMap: here.atomic === true,
      field: (name) => {
        const child = here.fields?.get(name) ?? here.values;
        return child === undefined ? undefined : this.#schema(child);
      },
      item: () => (here.items === undefined ? undefined : this.#schema(here.items)),
    };
  }

  #merge(node: Node): ListMerge | undefined {
    if (node.list !== "map") return node.list === undefined ? undefined : { type: node.list };
    const items = this.#resolve(node.items ?? PLAIN);
    const keys = (node.keys ?? []).map((name): MergeKey => {
      const found = this.#resolve(items.fields?.get(name) ?? PLAIN).default;
      return { name, ...(found === undefined ? {} : { default: found }) };
    });
    return { type: "map", keys };
  }
}
