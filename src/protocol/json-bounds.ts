import { LIMITS } from "./limits.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;

export interface JsonLimits {
  /** How deep arrays and objects may nest. */
  readonly depth: number;
  /** How many values there may be in all, keys not counted. */
  readonly values: number;
}

/**
 * Counts what a JSON text holds before anything is made of it: a few megabytes of `[],` become hundreds once they are parsed. Takes the text
 * as its UTF-8 bytes, in pieces. It only counts: what is no JSON is for the parser to refuse.
 */
export class JsonBounds {
  readonly #limits: JsonLimits;
  #depth = 0;
  #values = 1;
  #inString = false;
  #escaped = false;

  constructor(limits: JsonLimits) {
    this.#limits = limits;
  }

  /** Why the text is refused, as far as it has come; undefined while nothing is wrong. */
  add(bytes: Uint8Array): string | undefined {
    const { depth: maxDepth, values: maxValues } = this.#limits;
    let depth = this.#depth;
    let values = this.#values;
    let inString = this.#inString;
    let escaped = this.#escaped;
    for (let at = 0; at < bytes.length; at += 1) {
      const byte = bytes[at];
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inString = false;
      } else if (byte === QUOTE) inString = true;
      else if (byte === COMMA) {
        values += 1;
        if (values > maxValues) return `the JSON holds more than ${maxValues} values`;
      } else if (byte === 0x5b || byte === 0x7b) {
        depth += 1;
        values += 1;
        if (depth > maxDepth) return `the JSON nests deeper than ${maxDepth} levels`;
        if (values > maxValues) return `the JSON holds more than ${maxValues} values`;
      } else if (byte === 0x5d || byte === 0x7d) depth -= 1;
    }
    this.#depth = depth;
    this.#values = values;
    this.#inString = inString;
    this.#escaped = escaped;
    return undefined;
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
