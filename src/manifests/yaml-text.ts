import { BEST_WIDTH, compareKeys, escapeChar, numberText, type ScalarStyle, styleOf } from "./yaml-scalar.ts";

const INDENT = 2;
const LONGEST_SIMPLE_KEY = 128;

interface Place {
  /** The value of a key: a list there is not indented further. */
  readonly inMap: boolean;
  readonly key: boolean;
}

/**
 * Writes YAML as kubectl does (`sigs.k8s.io/yaml` over go-yaml v2), text for text: a port of libyaml's emitter for block style. It stands
 * beside the library `yaml`, whose folding, quoting and order of keys are others.
 */
class Emitter {
  readonly #parts: string[] = [];
  #column = 0;
  #indent = -INDENT;
  #whitespace = true;
  #indention = true;

  text(): string {
    return this.#parts.join("");
  }

  node(value: unknown, place: Place): void {
    if (Array.isArray(value)) this.#list(value, place);
    else if (typeof value === "object" && value !== null) this.#map(value as Readonly<Record<string, unknown>>);
    else if (typeof value === "string") this.#scalar(value, styleOf(value, place.key), place.key);
    else this.#scalar(typeof value === "number" || typeof value === "bigint" ? numberText(value) : String(value), "plain", place.key);
  }

  #put(text: string): void {
    this.#parts.push(text);
    this.#column += text.length;
  }

  #break(): void {
    this.#parts.push("\n");
    this.#column = 0;
  }

  #writeIndent(indent = Math.max(this.#indent, 0)): void {
    if (!this.#indention || this.#column > indent || (this.#column === indent && !this.#whitespace)) this.#break();
    if (this.#column < indent) this.#put(" ".repeat(indent - this.#column));
    this.#whitespace = true;
    this.#indention = true;
  }

  #indicator(text: string, needSpace: boolean, isIndention = false): void {
    this.#put(needSpace && !this.#whitespace ? ` ${text}` : text);
    this.#whitespace = false;
    this.#indention &&= isIndention;
  }

  #list(items: readonly unknown[], place: Place): void {
    if (items.length === 0) {
      this.#indicator("[]", true);
      return;
    }
    const before = this.#indent;
    if (before < 0) this.#indent = 0;
    else if (!place.inMap || this.#indention) this.#indent += INDENT;
    for (const item of items) {
      this.#writeIndent();
      this.#indicator("-", true, true);
      this.node(item, { inMap: false, key: false });
    }
    this.#indent = before;
  }

  #map(map: Readonly<Record<string, unknown>>): void {
    const keys = Object.keys(map)
      .filter((key) => map[key] !== undefined)
      .toSorted(compareKeys);
    if (keys.length === 0) {
      this.#indicator("{}", true);
      return;
    }
    const before = this.#indent;
    this.#indent = before < 0 ? 0 : before + INDENT;
    for (const key of keys) {
      this.#writeIndent();
      const simple = !key.includes("\n") && Buffer.byteLength(key) <= LONGEST_SIMPLE_KEY;
      if (!simple) this.#indicator("?", true, true);
      this.node(key, { inMap: true, key: simple });
      if (!simple) this.#writeIndent();
      this.#indicator(":", !simple, !simple);
      this.node(map[key], { inMap: true, key: false });
    }
    this.#indent = before;
  }

  #scalar(text: string, style: ScalarStyle, key: boolean): void {
    const indent = this.#indent < 0 ? INDENT : this.#indent + INDENT;
    if (style === "literal") {
      this.#literal(text, indent);
      return;
    }
    if (style === "plain") {
      if (!this.#whitespace) this.#put(" ");
      // An empty plain text: only null is written so, and that as a word.
      this.#folded(text, key ? undefined : indent, false);
    } else {
      const quote = style === "single" ? "'" : '"';
      this.#indicator(quote, true);
      if (style === "single") this.#folded(text.replaceAll("'", "''"), key ? undefined : indent, true);
      else this.#double(text, key ? undefined : indent);
      this.#indicator(quote, false);
    }
    this.#whitespace = false;
    this.#indention = false;
  }

  /** A text whose lines end at a blank once they are long enough; `indent` undefined: on one line. */
  #folded(text: string, indent: number | undefined, quoted: boolean): void {
    this.#indention = false;
    if (indent === undefined || this.#column + text.length <= BEST_WIDTH || !text.includes(" ")) {
      this.#put(text);
      return;
    }
    let spaces = false;
    const chars = Array.from(text);
    for (const [at, char] of chars.entries()) {
      const breakable = !quoted || (at > 0 && at < chars.length - 1);
      if (char === " " && !spaces && breakable && this.#column > BEST_WIDTH && chars[at + 1] !== " ") {
        this.#indention = false;
        this.#writeIndent(indent);
      } else {
        this.#parts.push(char);
        this.#column += 1;
      }
      if (char !== " ") this.#indention = false;
      spaces = char === " ";
    }
  }

  #double(text: string, indent: number | undefined): void {
    // As there: a text that begins with a byte order mark has every character of it escaped.
    const all = text.startsWith("\ufeff");
    let spaces = false;
    const chars = Array.from(text);
    for (const [at, char] of chars.entries()) {
      const escaped = escapeChar(char, all);
      const space = char === " " && escaped === " ";
      if (space && indent !== undefined && !spaces && this.#column > BEST_WIDTH && at > 0 && at < chars.length - 1) {
        this.#indention = false;
        this.#writeIndent(indent);
        if (chars[at + 1] === " ") this.#put("\\");
      } else {
        this.#parts.push(escaped);
        this.#column += escaped === char ? 1 : escaped.length;
      }
      spaces = space;
    }
  }

  #literal(text: string, indent: number): void {
    const hint = /^[ \n]/.test(text) ? String(INDENT) : "";
    const chomp = !/[\n]$/.test(text) ? "-" : /^.$|[\n]{2}$/s.test(text) ? "+" : "";
    this.#indicator(`|${hint}${chomp}`, true);
    const lines = text.split(/(?<=[\n])/);
    this.#break();
    for (const line of lines) {
      const bare = /^[\n]/.test(line);
      this.#parts.push(bare ? line : `${" ".repeat(indent)}${line}`);
    }
    const ended = /[\n]$/.test(text);
    this.#column = ended ? 0 : indent + 1;
    this.#whitespace = true;
    this.#indention = ended;
  }
}

/** The YAML of a value, as kubectl writes it; ends with a line end. Undefined fields are left out. */
export function yamlText(value: unknown): string {
  const emitter = new Emitter();
  emitter.node(value, { inMap: false, key: false });
  const text = emitter.text();
  return text.endsWith("\n") ? text : `${text}\n`;
}
