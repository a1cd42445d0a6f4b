import { Environment } from "@marcbachmann/cel-js";
import { isRecord, type Json } from "../http/json.ts";

/** More than any condition needs; what is longer is no condition but a program. */
const MAX_CHARS = 4_096;
const LIMITS = { maxAstNodes: 2_000, maxDepth: 50, maxListElements: 500, maxMapEntries: 500, maxCallArguments: 32 };

/** What an expression says of an object. `unknown`: it asks for what the object does not have, or not as it is meant. */
export type Verdict =
  | { readonly kind: "true" | "false" }
  | { readonly kind: "unknown"; readonly why: string }
  | { readonly kind: "unusable"; readonly why: string };

const environment = new Environment({
  unlistedVariablesAreDyn: false,
  homogeneousAggregateLiterals: false,
  enableOptionalTypes: true,
  limits: LIMITS,
})
  .registerVariable("self", "map")
  .registerVariable("object", "map");

/** The library draws the place into further lines; the first says what it is. */
function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n", 1)[0] ?? "";
}

/** Why an expression can never say yes or no; undefined when it can. */
export function expressionProblem(expression: string): string | undefined {
  if (expression.length > MAX_CHARS) return `it has ${expression.length} characters, and ${MAX_CHARS} are the most`;
  const { valid, type, error } = environment.check(expression);
  if (!valid) return firstLine(error);
  return type === "bool" || type === "dyn" ? undefined : `it gives ${String(type)}, and has to be true or false`;
}

/** Whole numbers as CEL's int, as they are to Kubernetes; the library takes every number of JavaScript for a double. */
function withIntegers(value: unknown): unknown {
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(withIntegers);
  if (!isRecord(value)) return value;
  return new Map(Object.entries(value).map(([key, child]) => [key, withIntegers(child)]));
}

function verdictOf(value: unknown): Verdict {
  if (value === true) return { kind: "true" };
  if (value === false) return { kind: "false" };
  return { kind: "unusable", why: `it gave ${value === null ? "null" : typeof value}, and has to be true or false` };
}

/** What each expression says of one object, in their order. */
export function judgeObject(expressions: readonly string[], object: Json): Verdict[] {
  const self = withIntegers(object);
  return expressions.map((expression) => {
    try {
      return verdictOf(environment.evaluate(expression, { self, object: self }));
    } catch (error) {
      return { kind: "unknown", why: firstLine(error) };
    }
  });
}
