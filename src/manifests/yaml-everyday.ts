import type { MappingNode, ScalarNode, SequenceNode, YamlLimits, YamlNode } from "./yaml-nodes.ts";

/** Not everyday YAML, or none at all: who knows all of YAML decides. */
class Unsure extends Error {
  override readonly name = "Unsure";
}
const UNSURE = new Unsure("not everyday YAML");

const NEWLINE = 0x0a;
const SPACE = 0x20;
const HASH = 0x23;
const DASH = 0x2d;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const DOUBLE = 0x22;
const SINGLE = 0x27;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_MAP = 0x7b;
const CLOSE_MAP = 0x7d;
const PIPE = 0x7c;

function table(chars: string): Uint8Array {
  const marks = new Uint8Array(128);
  for (const char of chars) marks[char.charCodeAt(0)] = 1;
  return marks;
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./";
/** What an unquoted key, and an unquoted text in [] or {}, begins with and goes on with. */
const WORD_FIRST = table(LETTERS);
const WORD = table(`${LETTERS}-`);
/** What an unquoted text begins with, beside a dash that is none of a list. */
const TEXT_FIRST = table(`${LETTERS}$()+~^;\\=`);

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", '"': '"', "\\": "\\" };

/** An unquoted key stands on one line and is not longer than this. */
const KEY_CHARS = 1_000;
/** More than yaml's lexer cuts any line into that is read here, values in [] and {} apart. */
const LINE_TOKENS = 16;
const FLOW_TOKENS = 8;

class Reader {
  readonly #text: string;
  readonly #limits: YamlLimits;
  /** Where reading goes on; in a new line at its first character. */
  #at = 0;
  #lineStart = 0;
  /** Column of the content that comes next; -1 at the end. */
  #indent = -1;
  #tokens = 0;

  constructor(text: string, limits: YamlLimits) {
    this.#text = text;
    this.#limits = limits;
  }

  root(): YamlNode {
    this.#nextLine(0);
    const root = this.#isAt(0) ? this.#block(1) : undefined;
    if (root === undefined || !this.#isAt(-1)) throw UNSURE;
    return root;
  }

  #isAt(indent: number): boolean {
    return this.#indent === indent;
  }

  #code(at: number): number {
    return this.#text.charCodeAt(at);
  }

  #spend(tokens: number): void {
    this.#tokens += tokens;
    if (this.#tokens > this.#limits.tokens) throw UNSURE;
  }

  /** To the next line, from the start of one, that is neither empty nor a comment. */
  #nextLine(from: number): void {
    const text = this.#text;
    for (let start = from; start < text.length;) {
      this.#spend(LINE_TOKENS);
      let at = start;
      while (text.charCodeAt(at) === SPACE) at += 1;
      const code = text.charCodeAt(at);
      if (code !== NEWLINE && code !== HASH) {
        // The end of a document, or a directive; what begins a line otherwise is looked at where it is read.
        if (at === start && (text.startsWith("...", at) || text.startsWith("%", at))) throw UNSURE;
        this.#at = at;
        this.#lineStart = start;
        this.#indent = at - start;
        return;
      }
      start = code === NEWLINE ? at + 1 : text.indexOf("\n", at) + 1;
    }
    this.#indent = -1;
  }

  #isBlank(at: number): boolean {
    const code = this.#code(at);
    return code === SPACE || code === NEWLINE;
  }

  #isDash(at: number): boolean {
    return this.#code(at) === DASH && this.#isBlank(at + 1);
  }

  #block(depth: number): YamlNode {
    // What is counted elsewhere counts differently, so half of it.
    if (depth * 2 > this.#limits.depth) throw UNSURE;
    return this.#isDash(this.#at) ? this.#sequence(depth) : this.#mapping(depth);
  }

  #sequence(depth: number): SequenceNode {
    if (depth * 2 > this.#limits.depth) throw UNSURE;
    const indent = this.#indent;
    const node: SequenceNode = { kind: "sequence", at: this.#at, items: [] };
    while (this.#indent === indent && this.#isDash(this.#at)) {
      this.#at += 1;
      node.items.push(this.#item(indent, depth + 1));
    }
    if (this.#indent > indent) throw UNSURE;
    return node;
  }

  #item(indent: number, depth: number): YamlNode {
    const at = this.#skipSpaces();
    const code = this.#code(at);
    if (code !== NEWLINE && code !== HASH) {
      const column = at - this.#lineStart;
      if (this.#isDash(at)) {
        this.#indent = column;
        return this.#sequence(depth);
      }
      const key = this.#key();
      if (key !== undefined) {
        this.#indent = column;
        return this.#mapping(depth, key);
      }
    }
    return this.#value(indent, depth, false);
  }

  #mapping(depth: number, firstKey?: ScalarNode): MappingNode {
    if (depth * 2 > this.#limits.depth) throw UNSURE;
    const indent = this.#indent;
    const node: MappingNode = { kind: "mapping", at: firstKey?.at ?? this.#at, entries: [] };
    let key = firstKey ?? this.#key();
    for (;;) {
      if (key === undefined) throw UNSURE;
      node.entries.push({ key, value: this.#value(indent, depth + 1, true) });
      if (this.#indent > indent) throw UNSURE;
      if (this.#indent < indent) return node;
      key = this.#key();
    }
  }

  #skipSpaces(): number {
    while (this.#code(this.#at) === SPACE) this.#at += 1;
    return this.#at;
  }

  /** A key and its colon, and stands behind them; undefined, where it stood, if it is none that is surely one. */
  #key(): ScalarNode | undefined {
    const at = this.#at;
    const first = this.#code(at);
    const quoted = first === DOUBLE || first === SINGLE;
    const end = quoted ? this.#quotedEnd(at, first) : this.#wordEnd(at, true);
    if (end === undefined || end - at > KEY_CHARS || this.#code(end) !== COLON || !this.#isBlank(end + 1)) return undefined;
    this.#at = end + 1;
    return { kind: "scalar", at, text: quoted ? this.#text.slice(at + 1, end - 1) : this.#text.slice(at, end), plain: !quoted, tag: "" };
  }

  /** Behind the closing quote of what is on one line and has no escapes. */
  #quotedEnd(at: number, quote: number): number | undefined {
    for (let end = at + 1; ; end += 1) {
      const code = this.#code(end);
      if (code === quote) return this.#code(end + 1) === quote ? undefined : end + 1;
      if (code === NEWLINE || code === BACKSLASH || code === 0x09 || Number.isNaN(code)) return undefined;
    }
  }

  #wordEnd(at: number, colons: boolean): number | undefined {
    const text = this.#text;
    if (WORD_FIRST[text.charCodeAt(at)] !== 1) return undefined;
    let end = at + 1;
    for (;;) {
      const code = text.charCodeAt(end);
      if (WORD[code] !== 1 && !(colons && code === COLON && !this.#isBlank(end + 1))) return end;
      end += 1;
    }
  }

  /** What stands behind a colon or a dash of a block with this indentation. */
  #value(indent: number, depth: number, inMapping: boolean): YamlNode {
    const at = this.#skipSpaces();
    const code = this.#code(at);
    if (code === NEWLINE || code === HASH) {
      this.#nextLine(this.#text.indexOf("\n", at) + 1);
      if (this.#indent > indent) return this.#block(depth);
      if (inMapping && this.#indent === indent && this.#isDash(this.#at)) return this.#sequence(depth);
      return { kind: "scalar", at, text: "", plain: true, tag: "" };
    }
    if (code === PIPE) return this.#literal(indent);
    const node = this.#inline(depth);
    // More of it in the next line: only texts of one line are read here.
    if (this.#indent > indent) throw UNSURE;
    return node;
  }

  /** A value that ends with its line. */
  #inline(depth: number): YamlNode {
    const code = this.#code(this.#at);
    if (code !== OPEN_LIST && code !== OPEN_MAP && code !== DOUBLE && code !== SINGLE) return this.#plain();
    const node = code === DOUBLE || code === SINGLE ? this.#quoted() : this.#flow(depth);
    const behind = this.#at;
    const at = this.#skipSpaces();
    const end = this.#code(at);
    if (end !== NEWLINE && !(end === HASH && at > behind)) throw UNSURE;
    this.#nextLine(this.#text.indexOf("\n", at) + 1);
    return node;
  }

  #plain(): ScalarNode {
    const at = this.#at;
    const first = this.#code(at);
    const begins = first > 127 || TEXT_FIRST[first] === 1 || (first === DASH && !this.#isBlank(at + 1));
    if (!begins) throw UNSURE;
    const end = this.#text.indexOf("\n", at);
    const line = this.#text.slice(at, end);
    const comment = line.indexOf(" #");
    let chars = comment === -1 ? line.length : comment;
    while (line.charCodeAt(chars - 1) === SPACE) chars -= 1;
    const text = line.slice(0, chars);
    if (text.includes(": ") || text.endsWith(":") || line.includes("\t")) throw UNSURE;
    this.#nextLine(end + 1);
    return { kind: "scalar", at, text, plain: true, tag: "" };
  }

  /** In quotes, on one line. */
  #quoted(): ScalarNode {
    const at = this.#at;
    const quote = this.#code(at);
    const simple = this.#quotedEnd(at, quote);
    if (simple !== undefined) {
      this.#at = simple;
      return { kind: "scalar", at, text: this.#text.slice(at + 1, simple - 1), plain: false, tag: "" };
    }
    let text = "";
    for (let from = at + 1, end = from; ; end += 1) {
      const code = this.#code(end);
      if (code === NEWLINE || code === 0x09 || Number.isNaN(code)) throw UNSURE;
      if (code === quote && (quote === DOUBLE || this.#code(end + 1) !== quote)) {
        this.#at = end + 1;
        return { kind: "scalar", at, text: text + this.#text.slice(from, end), plain: false, tag: "" };
      }
      if (code !== quote && (code !== BACKSLASH || quote === SINGLE)) continue;
      const escaped = quote === SINGLE ? "'" : ESCAPES[this.#text.charAt(end + 1)];
      if (escaped === undefined) throw UNSURE;
      text += this.#text.slice(from, end) + escaped;
      end += 1;
      from = end + 1;
    }
  }

  /** `|` and `|-`, whose first line has text. */
  #literal(indent: number): ScalarNode {
    const text = this.#text;
    const at = this.#at;
    const strip = text.charCodeAt(at + 1) === DASH;
    let start = at + (strip ? 2 : 1);
    if (text.charCodeAt(start) !== NEWLINE) throw UNSURE;
    start += 1;
    let column = 0;
    while (text.charCodeAt(start + column) === SPACE) column += 1;
    const first = text.charCodeAt(start + column);
    if (column <= indent || first === NEWLINE || first === 0x09 || Number.isNaN(first)) throw UNSURE;
    const lines: string[] = [];
    let kept = 0;
    while (start < text.length) {
      const end = text.indexOf("\n", start);
      let spaces = 0;
      while (spaces < column && text.charCodeAt(start + spaces) === SPACE) spaces += 1;
      const isEmpty = start + spaces === end;
      if (spaces < column && !isEmpty) {
        // Neither of the text nor of what is around it.
        if (spaces > indent || text.charCodeAt(start + spaces) === 0x09) throw UNSURE;
        break;
      }
      lines.push(isEmpty ? "" : text.slice(start + spaces, end));
      if (!isEmpty) {
        // A line of spaces alone may be one of text, or not.
        if (/^ *$/.test(lines.at(-1) ?? "")) throw UNSURE;
        kept = lines.length;
      }
      start = end + 1;
    }
    this.#nextLine(start);
    if (this.#indent > indent) throw UNSURE;
    lines.length = kept;
    return { kind: "scalar", at, text: lines.join("\n") + (strip ? "" : "\n"), plain: false, tag: "" };
  }

  /** A list or mapping in brackets, on one line. */
  #flow(depth: number): YamlNode {
    if (depth * 2 > this.#limits.depth) throw UNSURE;
    return this.#code(this.#at) === OPEN_LIST ? this.#flowSequence(depth) : this.#flowMapping(depth);
  }

  #flowSequence(depth: number): SequenceNode {
    const node: SequenceNode = { kind: "sequence", at: this.#at, items: [] };
    this.#at += 1;
    if (this.#ends(CLOSE_LIST)) return node;
    do {
      node.items.push(this.#flowValue(depth + 1));
    } while (!this.#goesOnOrEnds(CLOSE_LIST));
    return node;
  }

  #flowMapping(depth: number): MappingNode {
    const node: MappingNode = { kind: "mapping", at: this.#at, entries: [] };
    this.#at += 1;
    if (this.#ends(CLOSE_MAP)) return node;
    do {
      const at = this.#skipSpaces();
      const key = this.#key();
      // A colon inside the key, or a line break behind it, means something else to somebody.
      if (key === undefined || (key.plain && key.text.includes(":")) || this.#code(this.#at) !== SPACE) throw UNSURE;
      node.entries.push({ key: { ...key, at }, value: this.#flowValue(depth + 1) });
    } while (!this.#goesOnOrEnds(CLOSE_MAP));
    return node;
  }

  #ends(close: number): boolean {
    if (this.#code(this.#skipSpaces()) !== close) return false;
    this.#at += 1;
    return true;
  }

  #goesOnOrEnds(close: number): boolean {
    if (this.#ends(close)) return true;
    if (this.#code(this.#at) !== COMMA) throw UNSURE;
    this.#at += 1;
    return false;
  }

  #flowValue(depth: number): YamlNode {
    this.#spend(FLOW_TOKENS);
    const at = this.#skipSpaces();
    const code = this.#code(at);
    if (code === OPEN_LIST || code === OPEN_MAP) return this.#flow(depth);
    if (code === DOUBLE || code === SINGLE) return this.#quoted();
    const end = this.#wordEnd(at, false);
    if (end === undefined) throw UNSURE;
    this.#at = end;
    return { kind: "scalar", at, text: this.#text.slice(at, end), plain: true, tag: "" };
  }
}

/**
 * Reads what nearly all manifests are written in: blocks of mappings and lists, texts of one line, literal blocks, short lists and mappings in
 * brackets. Undefined for everything else, wrong text included: then all of YAML is asked, which costs twenty times as much. What it does read
 * comes out node for node as from there. `text` ends with a line break and has no others than line feeds.
 */
export function readEverydayYaml(text: string, limits: YamlLimits): YamlNode | undefined {
  // A byte order mark inside means something to some.
  if (text.includes("\ufeff")) return undefined;
  try {
    return new Reader(text, limits).root();
  } catch (error) {
    if (error instanceof Unsure) return undefined;
    throw error;
  }
}
