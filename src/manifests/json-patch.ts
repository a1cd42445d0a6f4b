import { stringifyObject } from "./object.ts";
import type { JsonOperation } from "./patch-text.ts";
import { indexOf, parsePointer, type PointerPath } from "./pointer.ts";

type Loose = Record<string, unknown>;

class Misfit extends Error {
  override readonly name = "Misfit";
}

function isLoose(value: unknown): value is Loose {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function formatAt(path: PointerPath, length: number): string {
  return length === 0 ? "the object" : `/${path.slice(0, length).join("/")}`;
}

/** What stands at a path. Throws where there is nothing. */
function valueAt(root: unknown, path: PointerPath): unknown {
  let value = root;
  for (const [depth, token] of path.entries()) {
    if (Array.isArray(value)) {
      const index = indexOf(token, value.length);
      if (index === undefined) throw new Misfit(`${formatAt(path, depth)} has ${value.length} items, and no ${token}`);
      value = value[index];
    } else if (isLoose(value) && Object.hasOwn(value, token)) value = value[token];
    else throw new Misfit(`the object has nothing at ${formatAt(path, depth + 1)}`);
  }
  return value;
}

function place(root: unknown, path: PointerPath, value: unknown, how: "add" | "replace" | "remove"): void {
  const token = path.at(-1);
  if (token === undefined) throw new Misfit("the whole object cannot be put in place of itself");
  const parent = valueAt(root, path.slice(0, -1));
  if (how !== "add") valueAt(root, path);
  if (Array.isArray(parent)) {
    const index = token === "-" ? parent.length : indexOf(token, parent.length + 1);
    if (index === undefined) throw new Misfit(`${formatAt(path, path.length - 1)} has ${parent.length} items, and no place ${token}`);
    if (how === "add") parent.splice(index, 0, value);
    else if (how === "replace") parent[index] = value;
    else parent.splice(index, 1);
  } else if (isLoose(parent)) {
    if (how === "remove") delete parent[token];
    else Object.defineProperty(parent, token, { value, writable: true, enumerable: true, configurable: true });
  } else throw new Misfit(`there is nothing to put ${token} into at ${formatAt(path, path.length - 1)}`);
}

/** Whether two values are the same to JSON, whatever the order of their keys. */
function isAlike(a: unknown, b: unknown): boolean {
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, index) => isAlike(item, b[index]));
  if (!isLoose(a)) return a === b || (Number.isInteger(a) && typeof b === "bigint" && Number(b) === a);
  if (!isLoose(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && isAlike(a[key], b[key]));
}

/** What copies may add up to, as for the API server: a list that is copied into itself again and again doubles each time. */
const MAX_COPIED_CHARS = 3 * 1024 * 1024;

interface Copied {
  chars: number;
}

function copyOf(value: unknown, copied: Copied): unknown {
  copied.chars += stringifyObject(value).length;
  if (copied.chars > MAX_COPIED_CHARS) throw new Misfit(`the patch copies more than ${MAX_COPIED_CHARS} characters in all`);
  return structuredClone(value);
}

const SHOWN_PATH_CHARS = 300;
/** Deeper than any object is. */
const MAX_POINTER_CHARS = 4_096;

function pathOf(pointer: string): PointerPath {
  if (pointer.length > MAX_POINTER_CHARS) throw new Misfit("the object has nothing so deep");
  return parsePointer(pointer);
}

function carryOut(root: unknown, operation: JsonOperation, copied: Copied): void {
  const path = pathOf(operation.path);
  switch (operation.op) {
    case "test": {
      const found = valueAt(root, path);
      if (!isAlike(found, operation.value)) throw new Misfit(`there is ${shown(found)}, not ${shown(operation.value)}`);
      return;
    }
    case "add":
    case "replace":
    case "remove":
      place(root, path, structuredClone(operation.value), operation.op);
      return;
    default: {
      const from = pathOf(operation.from ?? "");
      const found = valueAt(root, from);
      const value = operation.op === "move" ? found : copyOf(found, copied);
      if (operation.op === "move") place(root, from, undefined, "remove");
      place(root, path, value, "add");
    }
  }
}

function shown(value: unknown): string {
  const text = stringifyObject(value) ?? "nothing";
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/**
 * Which operation of a JSON patch an object does not fit, and why; undefined when all do. The API server says only that one does not. Pure; `object`
 * is left as it is. `hideValues`: for objects whose values nobody may see.
 */
export function misfitOf(object: unknown, operations: readonly JsonOperation[], hideValues: boolean): string | undefined {
  const root: unknown = structuredClone(object);
  const copied: Copied = { chars: 0 };
  for (const [index, operation] of operations.entries()) {
    try {
      carryOut(root, operation, copied);
    } catch (error) {
      const what = `operation ${index + 1} (${operation.op} ${operation.path.slice(0, SHOWN_PATH_CHARS)})`;
      // Copied into itself, an object gets deeper than can be walked.
      if (error instanceof RangeError) return `${what}: the object becomes too deep`;
      if (!(error instanceof Misfit)) throw error;
      const why = hideValues && operation.op === "test" && error.message.startsWith("there is ") ? "the value is another" : error.message;
      return `${what}: ${why}`;
    }
  }
  return undefined;
}
