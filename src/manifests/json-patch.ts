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

function carryOut(root: unknown, operation: JsonOperation): void {
  const path = parsePointer(operation.path);
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
      const from = parsePointer(operation.from ?? "");
      const value = structuredClone(valueAt(root, from));
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
  for (const [index, operation] of operations.entries()) {
    try {
      carryOut(root, operation);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      const why = hideValues && operation.op === "test" && error.message.startsWith("there is ") ? "the value is another" : error.message;
      return `operation ${index + 1} (${operation.op} ${operation.path}): ${why}`;
    }
  }
  return undefined;
}
