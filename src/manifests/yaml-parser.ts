import type { FaultAt } from "./place.ts";
import { YamlCursor } from "./yaml-cursor.ts";
import { YamlScanner } from "./yaml-scanner.ts";
import type { Token, TokenType } from "./yaml-tokens.ts";

export interface ScalarNode {
  readonly kind: "scalar";
  readonly at: number;
  readonly text: string;
  /** Its text decides its type; never with a tag. */
  readonly plain: boolean;
  /** "" without one. */
  readonly tag: string;
}
export interface MappingNode {
  readonly kind: "mapping";
  readonly at: number;
  readonly entries: { readonly key: YamlNode; readonly value: YamlNode }[];
}
export interface SequenceNode {
  readonly kind: "sequence";
  readonly at: number;
  readonly items: YamlNode[];
}
export interface AliasNode {
  readonly kind: "alias";
  readonly at: number;
  readonly name: string;
  readonly target: ScalarNode | MappingNode | SequenceNode;
}
export type YamlNode = ScalarNode | MappingNode | SequenceNode | AliasNode;

interface Properties {
  readonly at: number;
  readonly anchor: string | undefined;
  readonly tag: string;
}

function emptyAt(at: number): ScalarNode {
  return { kind: "scalar", at, text: "", plain: true, tag: "" };
}

class Parser {
  readonly #scanner: YamlScanner;
  readonly #fault: FaultAt;
  readonly #maxDepth: number;
  readonly #anchors = new Map<string, ScalarNode | MappingNode | SequenceNode>();

  constructor(text: string, fault: FaultAt, maxDepth: number) {
    this.#scanner = new YamlScanner(new YamlCursor(text, fault), maxDepth);
    this.#fault = fault;
    this.#maxDepth = maxDepth;
  }

  document(): YamlNode | undefined {
    const first = this.#scanner.peek();
    const root = first.type === "stream-end" || first.type === "document-end" ? undefined : this.#node(1, true, false);
    while (this.#scanner.peek().type === "document-end") this.#scanner.next();
    const rest = this.#scanner.peek();
    if (rest.type !== "stream-end")
      throw this.#fault(rest.at, "something follows the end of the document", "Start another document with a line of ---.");
    return root;
  }

  #isNext(...types: readonly TokenType[]): boolean {
    return types.includes(this.#scanner.peek().type);
  }

  /** Takes the next token when it is of this type. */
  #took(type: TokenType): boolean {
    if (this.#scanner.peek().type !== type) return false;
    this.#scanner.next();
    return true;
  }

  #node(depth: number, block: boolean, indentless: boolean): YamlNode {
    const first = this.#scanner.peek();
    if (depth > this.#maxDepth) throw this.#fault(first.at, `nested deeper than ${this.#maxDepth} levels`);
    if (first.type === "alias") {
      this.#scanner.next();
      const target = this.#anchors.get(first.text);
      if (target === undefined) throw this.#fault(first.at, `there is no anchor &${first.text} before this alias`);
      return { kind: "alias", at: first.at, name: first.text, target };
    }
    return this.#content(depth, block, indentless, this.#properties(first));
  }

  #properties(first: Token): Properties {
    let anchor: string | undefined;
    let tag = "";
    if (first.type === "anchor") {
      anchor = this.#scanner.next().text;
      if (this.#isNext("tag")) tag = this.#scanner.next().text;
    } else if (first.type === "tag") {
      tag = this.#scanner.next().text;
      if (this.#isNext("anchor")) anchor = this.#scanner.next().text;
    }
    return { at: first.at, anchor, tag };
  }

  /** An anchor stands for its node from the node's start, so that an alias inside is found (and then refused for holding itself). */
  #anchored<T extends ScalarNode | MappingNode | SequenceNode>(node: T, properties: Properties): T {
    if (properties.anchor !== undefined) this.#anchors.set(properties.anchor, node);
    return node;
  }

  #content(depth: number, block: boolean, indentless: boolean, properties: Properties): YamlNode {
    const { at, tag } = properties;
    const token = this.#scanner.peek();
    switch (token.type) {
      case "scalar":
        this.#scanner.next();
        return this.#anchored({ kind: "scalar", at, text: token.text, plain: token.plain && tag === "", tag }, properties);
      case "flow-sequence-start":
        return this.#flowSequence(depth, this.#anchored({ kind: "sequence", at, items: [] }, properties));
      case "flow-mapping-start":
        return this.#flowMapping(depth, this.#anchored({ kind: "mapping", at, entries: [] }, properties));
      case "block-entry":
        if (indentless) return this.#indentlessSequence(depth, this.#anchored({ kind: "sequence", at, items: [] }, properties));
        break;
      case "block-sequence-start":
        if (block) return this.#blockSequence(depth, this.#anchored({ kind: "sequence", at, items: [] }, properties));
        break;
      case "block-mapping-start":
        if (block) return this.#blockMapping(depth, this.#anchored({ kind: "mapping", at, entries: [] }, properties));
        break;
      default:
        break;
    }
    if (properties.anchor !== undefined || tag !== "")
      return this.#anchored({ kind: "scalar", at, text: "", plain: tag === "", tag }, properties);
    throw this.#fault(token.at, "a value is expected here");
  }

  #blockSequence(depth: number, node: SequenceNode): SequenceNode {
    this.#scanner.next();
    while (this.#isNext("block-entry")) {
      const { at } = this.#scanner.next();
      node.items.push(this.#isNext("block-entry", "block-end") ? emptyAt(at) : this.#node(depth + 1, true, false));
    }
    if (!this.#took("block-end"))
      throw this.#fault(this.#scanner.peek().at, "a list entry ('- ') is expected here", "Check the indentation.");
    return node;
  }

  /** A list under a key that is indented no more than the key. */
  #indentlessSequence(depth: number, node: SequenceNode): SequenceNode {
    while (this.#isNext("block-entry")) {
      const { at } = this.#scanner.next();
      node.items.push(this.#isNext("block-entry", "key", "value", "block-end") ? emptyAt(at) : this.#node(depth + 1, true, false));
    }
    return node;
  }

  #blockMapping(depth: number, node: MappingNode): MappingNode {
    this.#scanner.next();
    const part = (at: number): YamlNode => (this.#isNext("key", "value", "block-end") ? emptyAt(at) : this.#node(depth + 1, true, true));
    while (this.#isNext("key")) {
      const key = part(this.#scanner.next().at);
      const { at } = this.#scanner.peek();
      node.entries.push({ key, value: this.#took("value") ? part(at) : emptyAt(at) });
    }
    if (!this.#took("block-end")) throw this.#fault(this.#scanner.peek().at, "a key is expected here", "Check the indentation.");
    return node;
  }

  #flowSequence(depth: number, node: SequenceNode): SequenceNode {
    this.#scanner.next();
    for (let first = true; !this.#isNext("flow-sequence-end"); first = false) {
      if (!first && !this.#took("flow-entry")) throw this.#fault(this.#scanner.peek().at, "',' or ']' is expected here");
      if (this.#isNext("flow-sequence-end")) break;
      node.items.push(this.#isNext("key") ? this.#flowPair(depth + 1) : this.#node(depth + 1, false, false));
    }
    this.#scanner.next();
    return node;
  }

  /** `[a: b]`: a mapping of one entry. */
  #flowPair(depth: number): MappingNode {
    const { at } = this.#scanner.next();
    const key = this.#isNext("value", "flow-entry", "flow-sequence-end") ? emptyAt(at) : this.#node(depth + 1, false, false);
    const value =
      this.#took("value") && !this.#isNext("flow-entry", "flow-sequence-end") ? this.#node(depth + 1, false, false) : emptyAt(at);
    return { kind: "mapping", at, entries: [{ key, value }] };
  }

  #flowMapping(depth: number, node: MappingNode): MappingNode {
    this.#scanner.next();
    const part = (at: number): YamlNode =>
      this.#isNext("value", "flow-entry", "flow-mapping-end") ? emptyAt(at) : this.#node(depth + 1, false, false);
    for (let first = true; !this.#isNext("flow-mapping-end"); first = false) {
      if (!first && !this.#took("flow-entry")) throw this.#fault(this.#scanner.peek().at, "',' or '}' is expected here");
      if (this.#isNext("flow-mapping-end")) break;
      const { at } = this.#scanner.peek();
      if (this.#took("key")) {
        const key = part(at);
        node.entries.push({ key, value: this.#took("value") ? part(at) : emptyAt(at) });
      } else node.entries.push({ key: this.#node(depth + 1, false, false), value: emptyAt(at) });
    }
    this.#scanner.next();
    return node;
  }
}

/**
 * The nodes of one YAML document, undefined for an empty one. Offsets in nodes and faults count from the start of `text`. Grammar and
 * tolerance are libyaml's, as kubectl has them; beyond them it refuses what kubectl drops in silence, text after the document's end.
 */
export function parseYamlNodes(text: string, fault: FaultAt, maxDepth: number): YamlNode | undefined {
  return new Parser(text, fault, maxDepth).document();
}
