import { TransporterError } from "../kit/mod.ts";
import { readDocuments } from "./documents.ts";
import { stringifyObject } from "./object.ts";
import { DEFAULT_MANIFEST_LIMITS } from "./parse.ts";

/** How a patch is to be read. */
export type PatchKind = "merge" | "json" | "strategic";

/** One step of a JSON patch (RFC 6902). */
export interface JsonOperation {
  readonly op: string;
  readonly path: string;
  readonly from?: string | undefined;
  readonly value?: unknown;
}

/** A patch that can be sent. */
export interface PatchText {
  /** JSON. */
  readonly body: string;
  /** As parsed; a list of `JsonOperation` for a JSON patch. */
  readonly value: unknown;
}

/** What the API server takes at most. */
const MAX_OPERATIONS = 10_000;
const MAX_CHARS = 3 * 1024 * 1024;
/** YAML takes a second a megabyte, and everybody else would wait for it. */
const MAX_YAML_CHARS = 256 * 1024;
const POINTER = /^(?:\/(?:[^~/]|~[01])*)*$/;
const WITH_VALUE: ReadonlySet<string> = new Set(["add", "replace", "test"]);
const WITH_FROM: ReadonlySet<string> = new Set(["move", "copy"]);

type Loose = Readonly<Record<string, unknown>>;

function isLoose(value: unknown): value is Loose {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(where: string, problem: string, remedy: string): TransporterError {
  return new TransporterError("INVALID_PATCH", `${where}: ${problem}`, { details: { patch: where }, remedy });
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function readAll(text: string): readonly unknown[] {
  const { depth, tokens, aliasNodes, aliasChars } = DEFAULT_MANIFEST_LIMITS;
  const limits = { depth, tokens, budget: { nodes: aliasNodes, chars: aliasChars } };
  // A manifest of JSON begins with a brace; a list in one is read as quickly, and as exactly.
  if (!text.trimStart().startsWith("[") || !isJson(text)) return readDocuments(text, 0, limits).map(({ value }) => value);
  return readDocuments(`{"list":${text}}`, 0, limits).map(({ value }) => (value as Loose)["list"]);
}

/** The one document of a patch. */
function readValue(text: string, where: string): unknown {
  const most = /^\s*[[{]/.test(text) && isJson(text) ? MAX_CHARS : MAX_YAML_CHARS;
  if (text.length > most)
    throw invalid(
      where,
      `the patch has ${text.length} characters, and ${most} are the most`,
      "Send less at once, or as JSON, of which more is taken.",
    );
  let values: readonly unknown[];
  try {
    values = readAll(text);
  } catch (error) {
    if (!(error instanceof TransporterError)) throw error;
    throw invalid(where, `the patch cannot be read: ${error.message.replace(/^manifests\[0\], document \d+, /, "")}`, error.remedy);
  }
  if (values.length === 0) throw invalid(where, "the patch is empty", "Say what is to be changed.");
  if (values.length > 1) throw invalid(where, `the patch has ${values.length} documents`, "Give each object a patch of its own.");
  return values[0];
}

function operationProblem(operation: unknown): string | undefined {
  if (!isLoose(operation)) return "is not an object with op and path";
  const { op, path, from } = operation;
  if (typeof op !== "string" || !(WITH_VALUE.has(op) || WITH_FROM.has(op) || op === "remove"))
    return `has the op ${typeof op === "string" ? JSON.stringify(op.slice(0, 40)) : "of no name"}, and there are add, remove, replace, move, copy and test`;
  if (typeof path !== "string" || !POINTER.test(path)) return `(${op}) has a path that is not a JSON pointer, like /spec/replicas`;
  if (WITH_VALUE.has(op) && !Object.hasOwn(operation, "value")) return `(${op} ${path}) has no value`;
  if (WITH_FROM.has(op) && (typeof from !== "string" || !POINTER.test(from)))
    return `(${op} ${path}) has a from that is not a JSON pointer`;
  return undefined;
}

function checkOperations(value: unknown, where: string): void {
  if (!Array.isArray(value))
    throw invalid(
      where,
      "a JSON patch is a list of operations",
      "Write it like [{op: replace, path: /spec/replicas, value: 3}], or use the type merge.",
    );
  if (value.length === 0) throw invalid(where, "the JSON patch has no operation", "Say what is to be changed.");
  if (value.length > MAX_OPERATIONS)
    throw invalid(where, `the JSON patch has ${value.length} operations, and ${MAX_OPERATIONS} are the most`, "Send less at once.");
  for (const [index, operation] of value.entries()) {
    const problem = operationProblem(operation);
    if (problem !== undefined)
      throw invalid(where, `operation ${index + 1} ${problem}`, "Correct the operation; RFC 6902 says what each has.");
  }
}

/** Reads a patch, YAML or JSON, with kubectl's meaning of scalars. `where` names it in errors. Throws INVALID_PATCH. */
export function readPatch(text: string, kind: PatchKind, where: string): PatchText {
  const value = readValue(text, where);
  if (kind === "json") checkOperations(value, where);
  else if (!isLoose(value))
    throw invalid(
      where,
      `a ${kind} patch is a mapping of what is to be changed`,
      "Write it like {spec: {replicas: 3}}, or use the type json.",
    );
  return { body: stringifyObject(value), value };
}
