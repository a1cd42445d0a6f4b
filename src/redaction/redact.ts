import { holdsKept, withoutKept } from "./kept.ts";
import { isSecretName, REDACTED } from "./names.ts";
import { hiddenData, isSecretObject } from "./secret-objects.ts";
import { withoutShapes } from "./shapes.ts";

// What every secret that is known by its shape has in it: most texts have none of it, and then a look is enough. Three patterns, because each
// of them alone lets the engine skip what cannot be the beginning of any; together they cost more than twice as much.
const MARKS = /eyJ|tp[ues]_|:\/\/|---|S0t/;
const SCHEMES = /[bB](?:[eE][aA][rR][eE][rR]|[aA][sS][iI][cC])\s/;
/** Between a name and its value; in JSON that is made of fields whose names were looked at, only where a value has it. */
const SIGNS = /=|: |\\/;

/** Whether this JSON, whose names of fields are no secrets', may hold one by its shape or its value. */
export function isSuspiciousJson(json: string): boolean {
  return MARKS.test(json) || SCHEMES.test(json) || SIGNS.test(json) || holdsKept(json);
}

/** Takes secrets out of a text, by shape and by value. */
export function redactText(text: string): string {
  if (text.length < 6) return text;
  const clean = holdsKept(text) ? withoutKept(text) : text;
  return MARKS.test(clean) || SCHEMES.test(clean) || SIGNS.test(clean) || clean.includes(":") ? withoutShapes(clean) : clean;
}

const MAX_DEPTH = 12;

/** A copy of any value without its secrets: fields by name, Secret manifests by kind, texts by shape and value; at most 12 levels deep. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= MAX_DEPTH) return "[…]";
  if (value instanceof Error)
    return {
      name: value.name,
      message: redactText(value.message),
      ...(value.cause === undefined ? {} : { cause: redact(value.cause, depth + 1) }),
      ...(value instanceof AggregateError ? { errors: redact(value.errors, depth + 1) } : {}),
    };
  if (Array.isArray(value)) return value.map((item: unknown) => redact(item, depth + 1));
  return redactObject(value as Readonly<Record<string, unknown>>, depth);
}

function redactObject(object: Readonly<Record<string, unknown>>, depth: number): unknown {
  const secret = isSecretObject(object);
  // As in the environment of a container: what it is stands beside it.
  const named = typeof object["name"] === "string" && isSecretName(object["name"]);
  return Object.fromEntries(
    Object.entries(object).map(([key, child]) => {
      if (child === "" || child === null || child === undefined) return [key, child];
      if (secret && (key === "data" || key === "stringData")) return [key, hiddenData(child)];
      if (isSecretName(key) || (named && key === "value")) return [key, REDACTED];
      return [key, redact(child, depth + 1)];
    }),
  );
}
