import { TransporterError } from "../kit/mod.ts";

/** One part of a label selector; all parts have to hold. */
export interface Requirement {
  readonly key: string;
  readonly operator: "in" | "notin" | "exists" | "!exists" | ">" | "<";
  /** Sorted, each once. */
  readonly values: readonly string[];
}

export type Selector = readonly Requirement[];

export const MAX_SELECTOR_CHARS = 4_096;
const SYMBOLS = "=!(),<>";
const OPERATORS: ReadonlySet<string> = new Set(["=", "==", "!=", "in", "notin", ">", "<"]);
/** No nested repetition in any of these, and all are run on short texts: nothing for a long night. */
const NAME = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const DNS_LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;
const WHOLE_NUMBER = /^[+-]?\d{1,19}$/;

function refuse(message: string): never {
  throw new TransporterError("INVALID_REQUEST", `the label selector cannot be used: ${message}`, {
    remedy: "Write it as for kubectl -l: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.",
  });
}

/** Splits into symbols and names, each looked at once. Runs of symbols become the longest operator that there is, as Kubernetes reads them. */
function lex(text: string): string[] {
  const tokens: string[] = [];
  for (let at = 0; at < text.length;) {
    const char = text.charAt(at);
    if (char === " " || char === "\t" || char === "\r" || char === "\n") at += 1;
    else if (SYMBOLS.includes(char)) {
      const two = text.slice(at, at + 2);
      const symbol = two === "==" || two === "!=" ? two : char;
      tokens.push(symbol);
      at += symbol.length;
    } else {
      let end = at + 1;
      // The end of the text is an empty text, which every text includes.
      while (!` \t\r\n${SYMBOLS}`.includes(text.charAt(end))) end += 1;
      tokens.push(text.slice(at, end));
      at = end;
    }
  }
  return tokens;
}

/** The end is none: it counts as a symbol here. */
const isName = (token: string | undefined): token is string => !SYMBOLS.includes(token?.charAt(0) ?? SYMBOLS);

const MAX_LABELS = 64;

/** Throws INVALID_REQUEST for labels that no selector could name. */
export function checkLabels(labels: Readonly<Record<string, string>>): void {
  const entries = Object.entries(labels);
  if (entries.length > MAX_LABELS) refuse(`there are more than ${MAX_LABELS} labels`);
  for (const [key, value] of entries) {
    checkKey(key);
    checkValue(value);
  }
}

function checkKey(key: string): string {
  const prefixes = key.split("/");
  const name = prefixes.pop() ?? "";
  const prefixHolds =
    prefixes.length <= 1 && prefixes.every((one) => one.length <= 253 && one.split(".").every((part) => DNS_LABEL.test(part)));
  if (!prefixHolds || !NAME.test(name)) refuse(`${JSON.stringify(key.slice(0, 80))} is no label's name`);
  return key;
}

function checkValue(value: string): string {
  if (value !== "" && !NAME.test(value)) refuse(`${JSON.stringify(value.slice(0, 80))} is no label's value`);
  return value;
}

class Parser {
  readonly #tokens: readonly string[];
  #at = 0;

  constructor(text: string) {
    this.#tokens = lex(text);
  }

  all(): Selector {
    const requirements: Requirement[] = [];
    if (this.#tokens.length === 0) return requirements;
    for (;;) {
      requirements.push(this.#requirement());
      const next = this.#take();
      if (next === undefined) return requirements;
      if (next !== ",") refuse(`found ${JSON.stringify(next)} where a comma or the end should be`);
    }
  }

  #take(): string | undefined {
    const token = this.#tokens[this.#at];
    this.#at += 1;
    return token;
  }

  #peek(): string | undefined {
    return this.#tokens[this.#at];
  }

  #key(): string {
    const token = this.#take();
    if (!isName(token)) refuse(`found ${JSON.stringify(token ?? "the end")} where a label's name should be`);
    return checkKey(token);
  }

  #requirement(): Requirement {
    if (this.#peek() === "!") {
      this.#take();
      return { key: this.#key(), operator: "!exists", values: [] };
    }
    const key = this.#key();
    if (this.#peek() === undefined || this.#peek() === ",") return { key, operator: "exists", values: [] };
    const operator = this.#take() ?? "";
    if (!OPERATORS.has(operator)) refuse(`found ${JSON.stringify(operator)} where one of = == != in notin > < should be`);
    if (operator === "in" || operator === "notin") return { key, operator, values: this.#list() };
    const value = this.#value();
    if (operator === ">" || operator === "<") {
      if (!WHOLE_NUMBER.test(value)) refuse(`${operator} needs a whole number`);
      return { key, operator, values: [value] };
    }
    return { key, operator: operator === "!=" ? "notin" : "in", values: [value] };
  }

  /** Nothing is the empty value, as in `a=`. */
  #value(): string {
    return this.#peek() === "," ? "" : checkValue(this.#take() ?? "");
  }

  /** `(a,b)`; nothing before or after a comma is the empty value, and nothing at all is an error. */
  #list(): string[] {
    if (this.#take() !== "(") refuse("in and notin need a list in parentheses");
    if (this.#peek() === ")") refuse("a list needs a value");
    const values = new Set<string>();
    for (;;) {
      const token = this.#peek();
      if (token === "," || token === ")") values.add("");
      else values.add(checkValue(this.#take() ?? ""));
      const after = this.#take();
      if (after === ")") return [...values].toSorted();
      if (after !== ",") refuse(`found ${JSON.stringify(after ?? "the end")} in a list of values`);
    }
  }
}

/** Reads a label selector as Kubernetes does, in time that grows with its length. Throws INVALID_REQUEST. */
export function parseSelector(text: string): Selector {
  if (text.length > MAX_SELECTOR_CHARS) refuse(`it has more than ${MAX_SELECTOR_CHARS} characters`);
  return new Parser(text).all();
}

function holds({ key, operator, values }: Requirement, labels: Readonly<Record<string, string>>): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case "exists":
      return value !== undefined;
    case "!exists":
      return value === undefined;
    case "in":
      return values.some((one) => one === value);
    case "notin":
      return values.every((one) => one !== value);
    case ">":
    case "<": {
      const number = value ?? "";
      if (!WHOLE_NUMBER.test(number)) return false;
      const [left, right] = [BigInt(number), BigInt(values[0] ?? "")];
      return operator === ">" ? left > right : left < right;
    }
  }
}

export function selects(selector: Selector, labels: Readonly<Record<string, string>>): boolean {
  return selector.every((requirement) => holds(requirement, labels));
}
