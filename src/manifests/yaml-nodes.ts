import {
  type Alias,
  Composer,
  type CST,
  isAlias,
  isMap,
  isNode,
  isScalar,
  Lexer,
  Parser,
  type Scalar,
  type YAMLMap,
  type YAMLSeq,
} from "yaml";
import type { FaultAt } from "./place.ts";
import { Differences } from "./yaml-differences.ts";
import { readEverydayYaml } from "./yaml-everyday.ts";

/** What `!!` stands for. */
export const TAG_PREFIX = "tag:yaml.org,2002:";

export interface ScalarNode {
  readonly kind: "scalar";
  readonly at: number;
  readonly text: string;
  /** Without quotes, not a block and without a tag: the only kind whose text decides its type. */
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
type Anchored = ScalarNode | MappingNode | SequenceNode;

/** As strings, all of them: what a scalar means is for `scalars.ts` to say, which knows kubectl's YAML. Keys are checked in `build.ts`. */
const COMPOSE_OPTIONS = {
  version: "1.1",
  schema: "failsafe",
  merge: false,
  uniqueKeys: false,
  resolveKnownTags: false,
  strict: true,
  // The tokens of a pair tell whether its key has a '?' and where its ':' stands.
  keepSourceTokens: true,
} as const;

class Converter {
  readonly #fault: FaultAt;
  readonly #maxDepth: number;
  readonly #differences: Differences;
  readonly #anchors = new Map<string, Anchored>();

  constructor(text: string, fault: FaultAt, maxDepth: number) {
    this.#fault = fault;
    this.#maxDepth = maxDepth;
    this.#differences = new Differences(text, fault);
  }

  node(node: unknown, at: number, depth: number, inFlow: boolean): YamlNode {
    if (depth > this.#maxDepth) throw this.#fault(at, `nested deeper than ${this.#maxDepth} levels`);
    // Nothing is written here: a value after "key:", or between the commas of a flow mapping.
    if (!isNode(node)) return { kind: "scalar", at, text: "", plain: true, tag: "" };
    const start = node.range?.[0] ?? at;
    if (!inFlow) this.#differences.beforeNode(start);
    if (isAlias(node)) return this.#alias(node, start);
    this.#differences.inTag(start, node.tag ?? "");
    if (isScalar(node)) return this.#scalar(node, start, inFlow);
    return isMap(node) ? this.#mapping(node, start, depth) : this.#sequence(node, start, depth);
  }

  #mapping(node: YAMLMap, at: number, depth: number): MappingNode {
    const mapping = this.#anchored<MappingNode>(node.anchor, { kind: "mapping", at, entries: [] });
    const inFlow = node.flow === true;
    for (const pair of node.items) {
      const { key, value } = pair;
      const keyNode = this.node(key, at, depth + 1, inFlow);
      if (inFlow && isScalar(key)) this.#differences.inFlowKey(key, keyNode.at, key.range?.[1] ?? keyNode.at);
      this.#differences.inPair(pair, keyNode.at);
      mapping.entries.push({ key: keyNode, value: this.node(value, keyNode.at, depth + 1, inFlow) });
    }
    return mapping;
  }

  #sequence(node: YAMLSeq, at: number, depth: number): SequenceNode {
    const sequence = this.#anchored<SequenceNode>(node.anchor, { kind: "sequence", at, items: [] });
    for (const item of node.items) sequence.items.push(this.node(item, at, depth + 1, node.flow === true));
    return sequence;
  }

  #alias(node: Alias, at: number): AliasNode {
    this.#differences.inName(at, node.source, "alias");
    const target = this.#anchors.get(node.source);
    if (target === undefined) throw this.#fault(at, `there is no anchor &${node.source} before this alias`);
    return { kind: "alias", at, name: node.source, target };
  }

  #scalar(node: Scalar, at: number, inFlow: boolean): ScalarNode {
    const tag = node.tag ?? "";
    this.#differences.inScalar(node, at, node.range?.[1] ?? at, inFlow);
    const plain = tag === "" && (node.type === "PLAIN" || node.type === undefined);
    return this.#anchored<ScalarNode>(node.anchor, { kind: "scalar", at, text: node.source ?? "", plain, tag });
  }

  /** An anchor stands for its node from the node's start, so that an alias inside is found (and then refused for holding itself). */
  #anchored<T extends Anchored>(anchor: string | undefined, node: T): T {
    if (anchor === undefined) return node;
    this.#differences.inName(node.at, anchor, "anchor");
    this.#anchors.set(anchor, node);
    return node;
  }
}

/** Bounds of one document's text, before anything is made of it. */
export interface YamlLimits {
  /** How deep mappings and lists may nest. */
  readonly depth: number;
  /** How many pieces yaml's lexer may cut it into: time and memory grow with them. */
  readonly tokens: number;
  /** What is not everyday YAML is not read at all: NotEveryday. */
  readonly everydayOnly?: boolean;
}

/** Read on somebody's loop, all of YAML would hold it up for too long. */
export class NotEveryday extends Error {
  override readonly name = "NotEveryday";
}

/** yaml's composer calls itself for every level, so levels are counted before it sees them. */
function* tokensOf(text: string, fault: FaultAt, limits: YamlLimits): Generator<CST.Token> {
  const parser = new Parser();
  let count = 0;
  for (const lexeme of new Lexer().lex(text)) {
    yield* parser.next(lexeme);
    // The document and the scalar at hand are on the stack too.
    if (parser.stack.length > limits.depth + 2) throw fault(parser.offset, `nested deeper than ${limits.depth} levels`);
    count += 1;
    if (count > limits.tokens)
      throw fault(
        parser.offset,
        `the document has more than ${limits.tokens} tokens`,
        "Cut a long list into documents, or send it as JSON.",
      );
  }
  yield* parser.end();
}

/** The nodes of one YAML document, undefined for an empty one. Offsets in nodes and faults count from the start of `text`. */
export function parseYamlNodes(text: string, fault: FaultAt, limits: YamlLimits): YamlNode | undefined {
  const blank = /^(?:[ \t]*(?:#[^\n]*)?\n)*/.exec(text)?.[0].length ?? 0;
  if (blank === text.length) return undefined;
  if (text.startsWith("%", blank)) throw fault(blank, "directives are not understood, as for kubectl", "Remove the line.");
  new Differences(text, fault).inText();
  const everyday = readEverydayYaml(text, limits);
  if (everyday === undefined && limits.everydayOnly === true) throw new NotEveryday("not everyday YAML");
  return everyday ?? readAllYaml(text, fault, limits);
}

/** The same by yaml's own reader, which knows everything that can stand in a document that is not blank. */
export function readAllYaml(text: string, fault: FaultAt, limits: YamlLimits): YamlNode | undefined {
  const documents = [...new Composer(COMPOSE_OPTIONS).compose(tokensOf(text, fault, limits), true, text.length)];
  for (const document of documents) {
    const [error] = document.errors;
    if (error !== undefined) throw fault(error.pos[0], error.message);
  }
  const [document, another] = documents;
  if (another !== undefined)
    throw fault(another.range[0], "something follows the end of the document", "Start another document with a line of ---.");
  if (document === undefined || document.contents === null) return undefined;
  return new Converter(text, fault, limits.depth).node(document.contents, document.range[0], 1, false);
}
