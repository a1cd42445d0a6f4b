import type { Offsets } from "./build.ts";
import { fromFloat, fromInteger } from "./numbers.ts";
import type { FaultAt } from "./place.ts";

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y;
const BLANKS = /[ \t\n\r]*/y;
const OFFSETS_DEPTH = 3;

/**
 * Reads JSON values one after the other out of a text, with what JSON.parse does not do: integers of 64 bits stay exact, a key that
 * stands twice and `__proto__` are refused, and every fault has its offset.
 */
export class JsonReader {
  readonly #text: string;
  readonly #fault: FaultAt;
  readonly #maxDepth: number;
  readonly #offsets: Offsets;
  #pos = 0;
  /** True after a fault of syntax: the text may still be YAML. What JSON can say and we refuse leaves it false. */
  brokenSyntax = false;

  constructor(text: string, fault: FaultAt, maxDepth: number, offsets: Offsets) {
    this.#text = text;
    this.#fault = fault;
    this.#maxDepth = maxDepth;
    this.#offsets = offsets;
  }

  /** Where the last value ended. */
  get offset(): number {
    return this.#pos;
  }

  /** Goes over blanks; true when nothing else is left. */
  atEnd(): boolean {
    this.#skipBlanks();
    return this.#pos >= this.#text.length;
  }

  value(depth = 1): unknown {
    if (depth > this.#maxDepth) throw this.#fault(this.#pos, `nested deeper than ${this.#maxDepth} levels`);
    this.#skipBlanks();
    const code = this.#text.charCodeAt(this.#pos);
    switch (code) {
      case 0x7b:
        return this.#object(depth);
      case 0x5b:
        return this.#array(depth);
      case 0x22:
        return this.#string();
      case 0x74:
        return this.#word("true", true);
      case 0x66:
        return this.#word("false", false);
      case 0x6e:
        return this.#word("null", null);
      default:
        return this.#number();
    }
  }

  #skipBlanks(): void {
    if (this.#text.charCodeAt(this.#pos) > 0x20) return;
    BLANKS.lastIndex = this.#pos;
    BLANKS.test(this.#text);
    this.#pos = BLANKS.lastIndex;
  }

  #unexpected(wanted: string): Error {
    this.brokenSyntax = true;
    const found = this.#pos >= this.#text.length ? "the end" : JSON.stringify(this.#text.charAt(this.#pos));
    return this.#fault(this.#pos, `${wanted} is expected here, not ${found}`);
  }

  #took(char: string): boolean {
    this.#skipBlanks();
    if (this.#text.charAt(this.#pos) !== char) return false;
    this.#pos += 1;
    return true;
  }

  #object(depth: number): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    if (depth <= OFFSETS_DEPTH) this.#offsets.set(object, this.#pos);
    this.#pos += 1;
    if (this.#took("}")) return object;
    do {
      this.#skipBlanks();
      const at = this.#pos;
      if (this.#text.charCodeAt(at) !== 0x22) throw this.#unexpected("a key in double quotes");
      const key = this.#string();
      if (key === "__proto__") throw this.#fault(at, "the key __proto__ is not accepted");
      if (Object.hasOwn(object, key))
        throw this.#fault(at, `the key ${JSON.stringify(key)} stands twice in one object`, "Keep one of the two.");
      if (!this.#took(":")) throw this.#unexpected("':'");
      object[key] = this.value(depth + 1);
    } while (this.#took(","));
    if (!this.#took("}")) throw this.#unexpected("',' or '}'");
    return object;
  }

  #array(depth: number): unknown[] {
    const array: unknown[] = [];
    this.#pos += 1;
    if (this.#took("]")) return array;
    do array.push(this.value(depth + 1));
    while (this.#took(","));
    if (!this.#took("]")) throw this.#unexpected("',' or ']'");
    return array;
  }

  #word<T>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#pos)) throw this.#unexpected("a value");
    this.#pos += word.length;
    return value;
  }

  #number(): number | bigint {
    NUMBER.lastIndex = this.#pos;
    const text = NUMBER.exec(this.#text)?.[0];
    if (text === undefined) throw this.#unexpected("a value");
    if (text.length > 4096) throw this.#fault(this.#pos, "a number of more than 4096 digits is not accepted");
    const value = Number(text);
    if (!Number.isFinite(value)) throw this.#fault(this.#pos, `${text} is beyond the range of numbers`, "Quote it if a text is meant.");
    this.#pos += text.length;
    if (Number.isSafeInteger(value)) return value === 0 ? 0 : value;
    return /[.eE]/.test(text) ? fromFloat(value) : fromInteger(BigInt(text));
  }

  #string(): string {
    const start = this.#pos;
    const end = this.#stringEnd(start);
    this.#pos = end + 1;
    const inner = this.#text.slice(start + 1, end);
    // Below this line is only what JSON.parse has to look at: escapes and control characters.
    if (!/[\\\u0000-\u001f]/.test(inner)) return inner;
    let value: unknown;
    try {
      value = JSON.parse(this.#text.slice(start, end + 1));
    } catch {
      this.brokenSyntax = true;
      throw this.#fault(start, "the string holds a control character or an escape that JSON does not have");
    }
    if (typeof value !== "string" || !value.isWellFormed()) throw this.#fault(start, "the string holds half of a surrogate pair");
    return value;
  }

  #stringEnd(start: number): number {
    for (let end = this.#text.indexOf('"', start + 1); end !== -1; end = this.#text.indexOf('"', end + 1)) {
      let slashes = 0;
      while (this.#text.charCodeAt(end - 1 - slashes) === 0x5c) slashes += 1;
      if (slashes % 2 === 0) return end;
    }
    this.brokenSyntax = true;
    throw this.#fault(start, "the string is never closed");
  }
}
