import type { FaultAt } from "./place.ts";
import { resolvePlain, resolveTagged, type Scalar, scalarKey, scalarValue } from "./scalars.ts";
import type { AliasNode, MappingNode, ScalarNode, SequenceNode, YamlLimits, YamlNode } from "./yaml-nodes.ts";

/** What aliases may still expand to, over all documents of an event: a few hundred bytes can ask for gigabytes. */
export interface AliasBudget {
  nodes: number;
  chars: number;
}

export interface BuildLimits extends YamlLimits {
  readonly budget: AliasBudget;
}

/** Remembers where the objects of a document begin, down to the items of a List. */
export type Offsets = Map<object, number>;
const OFFSETS_DEPTH = 3;

const FORBIDDEN_KEY = "__proto__";

/** Makes values of nodes: scalars, keys, aliases and merges mean what kubectl takes them for. */
class Builder {
  readonly #fault: FaultAt;
  readonly #limits: BuildLimits;
  readonly #offsets: Offsets;
  /** Nodes that are being built: an alias to one of them would never end. */
  readonly #open = new Set<YamlNode>();
  #aliasDepth = 0;

  constructor(fault: FaultAt, limits: BuildLimits, offsets: Offsets) {
    this.#fault = fault;
    this.#limits = limits;
    this.#offsets = offsets;
  }

  value(node: YamlNode, depth: number): unknown {
    if (depth > this.#limits.depth) throw this.#fault(node.at, `nested deeper than ${this.#limits.depth} levels`);
    if (this.#aliasDepth > 0) this.#spend(node);
    switch (node.kind) {
      case "scalar": {
        const value = scalarValue(this.#scalar(node));
        if (value === undefined)
          throw this.#fault(node.at, `${node.text} is a number that JSON cannot hold`, "Quote it if a text is meant.");
        return value;
      }
      case "sequence":
        return this.#items(node, depth);
      case "mapping": {
        const object: Record<string, unknown> = {};
        if (depth <= OFFSETS_DEPTH) this.#offsets.set(object, node.at);
        this.#fill(object, node, depth);
        return object;
      }
      case "alias":
        return this.#expand(node, () => this.value(node.target, depth));
    }
  }

  #spend(node: YamlNode): void {
    const { budget } = this.#limits;
    budget.nodes -= 1;
    if (node.kind === "scalar") budget.chars -= node.text.length;
    if (budget.nodes < 0 || budget.chars < 0)
      throw this.#fault(node.at, "the aliases expand to more than is allowed", "Write the repeated parts out, or split the event.");
  }

  #items(node: SequenceNode, depth: number): unknown[] {
    this.#open.add(node);
    const items = node.items.map((item) => this.value(item, depth + 1));
    this.#open.delete(node);
    return items;
  }

  #expand<T>(alias: AliasNode, build: () => T): T {
    if (this.#open.has(alias.target)) throw this.#fault(alias.at, `the value of anchor &${alias.name} holds itself`);
    this.#aliasDepth += 1;
    const built = build();
    this.#aliasDepth -= 1;
    return built;
  }

  #scalar(node: ScalarNode): Scalar {
    if (node.plain) return resolvePlain(node.text);
    if (node.tag === "") return { type: "string", value: node.text };
    const scalar = resolveTagged(node.tag, node.text);
    if (scalar.type === "fault") throw this.#fault(node.at, scalar.message);
    return scalar;
  }

  #key(node: YamlNode): string {
    const target = node.kind === "alias" ? node.target : node;
    if (this.#aliasDepth > 0 || node.kind === "alias") this.#spend(target);
    if (target.kind !== "scalar") throw this.#fault(node.at, "a mapping or list cannot be a key", "Quote a key that starts with { or [.");
    const key = scalarKey(this.#scalar(target));
    if (key === undefined) throw this.#fault(node.at, `${target.text === "" ? "nothing" : target.text} cannot be a key`, "Quote the key.");
    if (key === FORBIDDEN_KEY) throw this.#fault(node.at, `the key ${FORBIDDEN_KEY} is not accepted`);
    return key;
  }

  /**
   * Writes the entries into `object`, in order. A merge writes at its place: as for kubectl, what it brings replaces the keys before it
   * and is replaced by the keys after it.
   */
  #fill(object: Record<string, unknown>, node: MappingNode, depth: number): void {
    this.#open.add(node);
    // Where nothing is merged, what the object has so far is what this mapping wrote.
    const own = this.#mergesInto(object, node) ? new Set<string>() : undefined;
    for (const { key: keyNode, value } of node.entries) {
      if (isMerge(keyNode)) {
        this.#merge(object, value, depth);
        continue;
      }
      const key = this.#key(keyNode);
      if (own === undefined ? Object.hasOwn(object, key) : own.has(key))
        throw this.#fault(keyNode.at, `the key ${JSON.stringify(key)} stands twice in one mapping`, "Keep one of the two.");
      own?.add(key);
      object[key] = this.value(value, depth + 1);
    }
    this.#open.delete(node);
  }

  #mergesInto(object: Record<string, unknown>, node: MappingNode): boolean {
    if (node.entries.some(({ key }) => isMerge(key))) return true;
    for (const _key in object) return true;
    return false;
  }

  #merge(object: Record<string, unknown>, node: YamlNode, depth: number): void {
    if (node.kind === "sequence") {
      for (const item of node.items.toReversed()) this.#mergeOne(object, item, depth);
      return;
    }
    this.#mergeOne(object, node, depth);
  }

  #mergeOne(object: Record<string, unknown>, node: YamlNode, depth: number): void {
    const target = node.kind === "alias" ? node.target : node;
    if (target.kind !== "mapping")
      throw this.#fault(node.at, "<< needs a mapping or a list of mappings", 'Quote the key if "<<" is meant.');
    if (this.#aliasDepth > 0 || node.kind === "alias") this.#spend(target);
    if (node.kind === "alias") this.#expand(node, () => this.#fill(object, target, depth));
    else this.#fill(object, target, depth);
  }
}

function isMerge(key: YamlNode): boolean {
  return key.kind === "scalar" && key.text === "<<" && (key.plain || key.tag === "tag:yaml.org,2002:merge");
}

/** The value of a document's root node; objects are plain, with own properties only. */
export function buildValue(root: YamlNode, fault: FaultAt, limits: BuildLimits, offsets: Offsets): unknown {
  return new Builder(fault, limits, offsets).value(root, 1);
}
