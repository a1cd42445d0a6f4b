import { type Alias, Composer, isAlias, isMap, isNode, isScalar, type Pair, Parser, type Scalar, type YAMLMap, type YAMLSeq } from "yaml";
import type { FaultAt } from "./place.ts";

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

const INDENT_WITH_SPACES = "Indent with spaces only.";

/**
 * Where this reader (YAML 1.2 in its structure) and kubectl's (YAML 1.1) understand the same text differently, it is refused: nobody
 * should have to know which of the two they meant. Each check names what kubectl does.
 */
class Differences {
  readonly #text: string;
  readonly #fault: FaultAt;

  constructor(text: string, fault: FaultAt) {
    this.#text = text;
    this.#fault = fault;
  }

  /** Line breaks for kubectl, ordinary characters here. */
  inText(): void {
    const at = this.#text.search(/[\r\u0085\u2028\u2029]/);
    if (at === -1) return;
    const code = this.#text.charCodeAt(at).toString(16).toUpperCase().padStart(4, "0");
    throw this.#fault(
      at,
      `the line break U+${code} is not understood alike by everybody`,
      'End lines with a line feed; write the character as an escape in "double quotes".',
    );
  }

  /** kubectl wants letters, digits, - and _ only, and ends the name at anything else. */
  inName(at: number, name: string, what: string): void {
    if (!/^[A-Za-z0-9_-]+$/.test(name))
      throw this.#fault(at, `the ${what} ${name} may hold letters, digits, - and _ only`, "Quote a text that starts with * or &.");
  }

  inScalar(node: Scalar, start: number, end: number, inFlow: boolean): void {
    if (node.type === "QUOTE_DOUBLE") this.#inDoubleQuotes(start, end);
    else if (node.type === "BLOCK_LITERAL" || node.type === "BLOCK_FOLDED") this.#inBlock(start, end);
    else if (inFlow && node.type !== "QUOTE_SINGLE") this.#inFlowPlain(node, start, end);
  }

  #inDoubleQuotes(start: number, end: number): void {
    for (const match of this.#text.slice(start, end).matchAll(/\\(?:u([0-9a-fA-F]{4})|\n[ \t]*\n|[^])/g)) {
      const [escape, hex] = match;
      const at = start + match.index;
      if (escape === "\\/") throw this.#fault(at, '"\\/" is not an escape in YAML 1.1', "Write / without a backslash.");
      if (hex !== undefined && /^[dD][89a-fA-F]/.test(hex))
        throw this.#fault(at, `"${escape}" is half of a character`, "Write the character itself, or as \\U and eight hexadecimal digits.");
      if (escape.startsWith("\\\n") && escape.length > 2)
        throw this.#fault(
          at,
          "an escaped line break before an empty line is not understood alike by everybody",
          "Write the line break as \\n.",
        );
    }
  }

  /** For kubectl the tab is bad indentation, here the first character of the text. */
  #inBlock(start: number, end: number): void {
    const tab = /^[|>][+-]?[ \t]*(?:#[^\n]*)?\n(?: *\n)* *\t/.exec(this.#text.slice(start, end));
    if (tab !== null)
      throw this.#fault(
        start + tab[0].length - 1,
        "a tab cannot indent",
        `${INDENT_WITH_SPACES} A block whose text begins with a tab needs its indentation as a digit: |2.`,
      );
  }

  /** kubectl ends an unquoted text in [] or {} at a '?', and takes ':' at its start as an indicator. */
  #inFlowPlain(node: Scalar, start: number, end: number): void {
    const source = this.#text.slice(start, end);
    if (source.includes("?") || source.startsWith(":"))
      throw this.#fault(
        start,
        `an unquoted text inside [] or {} cannot ${source.includes("?") ? "hold '?'" : "start with ':'"}`,
        "Quote it.",
      );
    if (source === "" && node.tag !== undefined)
      throw this.#fault(start, "a tag inside [] or {} needs a value", "Write the value, or take the tag away.");
  }

  /** `[a:]` is the text "a:" for kubectl, and a key is one of a line and at most 1024 characters. */
  inFlowKey(key: Scalar, start: number, end: number): void {
    if (end - start > 1024 || this.#text.slice(start, end).includes("\n"))
      throw this.#fault(start, "a key inside [] or {} stands on one line and has at most 1024 characters", "Shorten the key.");
    if (key.type === "PLAIN" && this.#text.charAt(end) === ":" && /[,[\]{}]/.test(this.#text.charAt(end + 1)))
      throw this.#fault(end, "inside [] or {} a ':' after an unquoted key needs a space", "Write a space after it, or quote the key.");
  }

  /** Without '?', kubectl wants the ':' on the line of the key. */
  inPair(pair: Pair, at: number): void {
    if (pair.srcToken?.start.some((token) => token.type === "explicit-key-ind") !== false) return;
    const separator = pair.srcToken.sep ?? [];
    const colon = separator.findIndex((token) => token.type === "map-value-ind");
    if (separator.slice(0, Math.max(0, colon)).some((token) => token.type === "newline"))
      throw this.#fault(at, "a ':' must stand on the line of its key", "Write the ':' right after the key.");
  }

  /** Outside of [] and {} kubectl takes no tab before what begins a line or follows - or ?. */
  beforeNode(start: number): void {
    let at = start - 1;
    while (this.#text.charAt(at) === " " || this.#text.charAt(at) === "\t") at -= 1;
    if ("-?\n".includes(this.#text.charAt(at)) && this.#text.slice(at + 1, start).includes("\t"))
      throw this.#fault(at + 1, "a tab cannot indent", INDENT_WITH_SPACES);
  }

  inTag(at: number, tag: string): void {
    if (!/^[0-9A-Za-z_;/?:@&=+$,.!~*'()[\]%-]*$/.test(tag))
      throw this.#fault(at, `the tag ${tag} holds a character that a tag cannot hold`);
  }
}

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

/** The nodes of one YAML document, undefined for an empty one. Offsets in nodes and faults count from the start of `text`. */
export function parseYamlNodes(text: string, fault: FaultAt, maxDepth: number): YamlNode | undefined {
  new Differences(text, fault).inText();
  const composer = new Composer(COMPOSE_OPTIONS);
  const documents = [...composer.compose(new Parser().parse(text), true, text.length)];
  for (const document of documents) {
    const [error] = document.errors;
    if (error !== undefined) throw fault(error.pos[0], error.message);
  }
  const [document, another] = documents;
  if (another !== undefined)
    throw fault(another.range[0], "something follows the end of the document", "Start another document with a line of ---.");
  if (document === undefined || document.contents === null) return undefined;
  return new Converter(text, fault, maxDepth).node(document.contents, document.range[0], 1, false);
}
