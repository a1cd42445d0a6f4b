import type { Pair, Scalar } from "yaml";
import type { FaultAt } from "./place.ts";

const INDENT_WITH_SPACES = "Indent with spaces only.";

/**
 * Where this reader (YAML 1.2 in its structure) and kubectl's (YAML 1.1) understand the same text differently, it is refused: nobody
 * should have to know which of the two they meant. Each check names what kubectl does.
 */
export class Differences {
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
