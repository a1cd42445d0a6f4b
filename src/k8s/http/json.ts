export type Json = Readonly<Record<string, unknown>>;

export function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The record that stands there, or an empty one. */
export function recordOf(value: unknown): Json {
  return isRecord(value) ? value : {};
}

/** The records of the list that stands there; anything else is left out. */
export function recordsOf(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

export function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

export function numberOf(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

/** Parses what should be one JSON object; an empty record when it is not. */
export function parseRecord(text: string): Json {
  try {
    return recordOf(JSON.parse(text) as unknown);
  } catch {
    return {};
  }
}

const LARGE_INTEGER = /\d{16}/;
const INTEGER = /^-?\d+$/;

function exactly(_key: string, value: unknown, context: { readonly source?: string }): unknown {
  const { source = "" } = context;
  return typeof value === "number" && !Number.isSafeInteger(value) && INTEGER.test(source) ? BigInt(source) : value;
}

/**
 * Parses JSON with integers of 64 bits exact, as bigints where a number cannot hold them, for what is sent back as it came. Throws
 * SyntaxError.
 */
export function readExact(text: string): unknown {
  if (!LARGE_INTEGER.test(text)) return JSON.parse(text) as unknown;
  return JSON.parse(text, exactly as (this: unknown, key: string, value: unknown) => unknown) as unknown;
}
