import { LIMITS } from "./limits.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

export interface JsonLimits {
  /** How deep arrays and objects may nest. */
  readonly depth: number;
  /** How many values there may be in all, keys not counted. */
  readonly values: number;
}

/** No number and no word is longer; reading a number of megabytes of digits takes long. */
const TOKEN_BYTES = 1_024;

/** What a byte means outside a string: 1 for a blank or a colon, 2 comma, 3 opens, 4 closes, 5 begins a string; 0 is part of a number or a word. */
const MEANING = new Uint8Array(256);
for (const char of " \t\r\n:") MEANING[char.charCodeAt(0)] = 1;
MEANING[0x2c] = 2;
for (const char of "[{") MEANING[char.charCodeAt(0)] = 3;
for (const char of "]}") MEANING[char.charCodeAt(0)] = 4;
MEANING[QUOTE] = 5;

/**
 * Counts what a JSON text holds before anything is made of it: a few megabytes of `[],` become hundreds once they are parsed. Takes the text
 * as its UTF-8 bytes, in pieces. It only counts: what is no JSON is for the parser to refuse.
 */
export class JsonBounds {
  readonly #limits: JsonLimits;
  #depth = 0;
  #values = 1;
  /** Bytes of the number or word at hand. */
  #token = 0;
  #inString = false;
  /** The last piece ended inside a string, after a backslash that counts. */
  #escaped = false;

  constructor(limits: JsonLimits) {
    this.#limits = limits;
  }

  /** Why the text is refused, as far as it has come; undefined while nothing is wrong. */
  add(bytes: Uint8Array): string | undefined {
    const { depth: maxDepth, values: maxValues } = this.#limits;
    let at = this.#inString ? this.#afterString(bytes, 0) : 0;
    let depth = this.#depth;
    let values = this.#values;
    let token = this.#token;
    for (; at < bytes.length; at += 1) {
      const meaning = MEANING[bytes[at] ?? 0];
      if (meaning === 0) {
        token += 1;
        if (token > TOKEN_BYTES) return `a number or word of the JSON is longer than ${TOKEN_BYTES} bytes`;
        continue;
      }
      token = 0;
      if (meaning === 5) at = this.#afterString(bytes, at + 1) - 1;
      else if (meaning === 2 || meaning === 3) {
        values += 1;
        if (meaning === 3) depth += 1;
        if (depth > maxDepth) return `the JSON nests deeper than ${maxDepth} levels`;
        if (values > maxValues) return `the JSON holds more than ${maxValues} values`;
      } else if (meaning === 4) depth -= 1;
    }
    this.#depth = depth;
    this.#values = values;
    this.#token = token;
    return undefined;
  }

  /** Where the string that goes on at `from` has ended; the end of the bytes where it has not. Most of a manifest is passed over in leaps. */
  #afterString(bytes: Uint8Array, from: number): number {
    let start = from;
    if (this.#escaped && start < bytes.length) {
      this.#escaped = false;
      start += 1;
    }
    for (let at = start; ;) {
      const quote = bytes.indexOf(QUOTE, at);
      const end = quote < 0 ? bytes.length : quote;
      let first = end;
      while (first > start && bytes[first - 1] === BACKSLASH) first -= 1;
      const isEscaped = (end - first) % 2 === 1;
      if (quote < 0) {
        this.#inString = true;
        this.#escaped = isEscaped || (this.#escaped && bytes.length === from);
        return end;
      }
      if (!isEscaped) {
        this.#inString = false;
        return quote + 1;
      }
      at = quote + 1;
      start = at;
    }
  }
}

const ENCODER = new TextEncoder();

/** Why a JSON text must not be parsed; undefined where it may. A short one cannot hold much. */
export function jsonProblem(text: string, limits: JsonLimits): string | undefined {
  return text.length <= LIMITS.jsonFreeBytes ? undefined : new JsonBounds(limits).add(ENCODER.encode(text));
}

/** `JSON.parse` of a text within bounds. Throws SyntaxError. */
export function parseJson(text: string, limits: JsonLimits): unknown {
  const problem = jsonProblem(text, limits);
  if (problem !== undefined) throw new SyntaxError(problem);
  return JSON.parse(text) as unknown;
}
