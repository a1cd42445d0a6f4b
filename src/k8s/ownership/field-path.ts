import { formatPointer, indexOf, type PointerPath } from "../../manifests/mod.ts";
import { isRecord, type Json } from "../http/json.ts";
import type { Schema } from "../http/schema.ts";

/** One step into an object as the API server books fields: by name, by the keys of a list's item, by an item that is its own value. */
export type FieldStep = { readonly field: string } | { readonly keys: Readonly<Record<string, unknown>> } | { readonly value: unknown };

export type FieldPath = readonly FieldStep[];

export type Resolved =
  | { readonly kind: "path"; readonly path: FieldPath }
  /** The object has no such item of a list, so there is nothing to tell it by. */
  | { readonly kind: "absent" }
  /** Goes on from the pointer. */
  | { readonly kind: "refused"; readonly problem: string };

function wholeOf(pointer: PointerPath, depth: number): string {
  return formatPointer(pointer.slice(0, depth));
}

function keysOf(item: Json, schema: Schema): Record<string, unknown> {
  if (schema.list?.type !== "map") return {};
  return Object.fromEntries(schema.list.keys.map(({ name, default: fallback }) => [name, item[name] ?? fallback ?? null]));
}

/**
 * What a pointer into an object means to the API server: items of lists by their keys, as it merges them. Where it knows no schema, maps are
 * taken field by field and lists as one value, as it does itself. Pure.
 */
export function resolvePointer(object: Json, schema: Schema | undefined, pointer: PointerPath): Resolved {
  const path: FieldStep[] = [];
  let value: unknown = object;
  let here = schema;
  for (const [depth, token] of pointer.entries()) {
    if (here?.list !== undefined || Array.isArray(value)) {
      const merge = here?.list?.type ?? "atomic";
      if (merge === "atomic" || here === undefined)
        return { kind: "refused", problem: `lies in a list that belongs to one manager as a whole; ignore ${wholeOf(pointer, depth)}` };
      const items: readonly unknown[] = Array.isArray(value) ? value : [];
      const index = indexOf(token, items.length);
      if (index === undefined) return { kind: "absent" };
      const item = items[index];
      if (merge === "set") {
        path.push({ value: item });
      } else {
        if (!isRecord(item)) return { kind: "absent" };
        const keys = keysOf(item, here);
        const next = pointer[depth + 1];
        if (next !== undefined && Object.hasOwn(keys, next))
          return { kind: "refused", problem: `is what the items of ${wholeOf(pointer, depth)} are told apart by` };
        path.push({ keys });
      }
      value = item;
      here = here.item();
    } else {
      if (here?.atomicMap === true)
        return { kind: "refused", problem: `lies in what belongs to one manager as a whole; ignore ${wholeOf(pointer, depth)}` };
      path.push({ field: token });
      value = isRecord(value) && Object.hasOwn(value, token) ? value[token] : undefined;
      here = here?.field(token);
    }
  }
  return { kind: "path", path };
}

function sameKeys(a: Json, b: Json): boolean {
  const names = Object.keys(a);
  // Values of keys are texts, numbers, booleans or null.
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && (a[name] ?? null) === (b[name] ?? null));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** The entry of a set of fields in FieldsV1 notation that a step leads to. */
function entryOf(fields: Json, step: FieldStep): string | undefined {
  if ("field" in step) {
    const key = `f:${step.field}`;
    return Object.hasOwn(fields, key) ? key : undefined;
  }
  return Object.keys(fields).find((key) => {
    const value = parsed(key.slice(2));
    if ("keys" in step) return key.startsWith("k:") && isRecord(value) && sameKeys(step.keys, value);
    return key.startsWith("v:") && value === step.value;
  });
}

function childOf(fields: Json, key: string): Json {
  const child = fields[key];
  return isRecord(child) ? child : {};
}

/** Whether a set of fields holds something at or below a path. */
export function ownsField(fields: Json, path: FieldPath): boolean {
  const [step, ...rest] = path;
  if (step === undefined) return true;
  const key = entryOf(fields, step);
  return key !== undefined && ownsField(childOf(fields, key), rest);
}

/** Without `.`, nothing in it says that the place itself is owned: an empty one would, so it has to go. */
function isHollow(fields: Json): boolean {
  return Object.keys(fields).length === 0;
}

/** `{".": {}}` is written `{}`. */
function tidied(fields: Json): Json {
  const [first, second] = Object.keys(fields);
  return first === "." && second === undefined ? {} : fields;
}

/** A set of fields without all that is at or below a path; undefined when nothing is left. */
export function withoutField(fields: Json, path: FieldPath): Json | undefined {
  const [step, ...rest] = path;
  if (step === undefined) return undefined;
  const key = entryOf(fields, step);
  if (key === undefined) return fields;
  const child = childOf(fields, key);
  // A leaf above the path is the whole above it, of which no part can be given up.
  if (rest.length > 0 && isHollow(child)) return fields;
  const left = withoutField(child, rest);
  if (left === child) return fields;
  const { [key]: _gone, ...others } = fields;
  const next = left === undefined ? others : { ...fields, [key]: tidied(left) };
  return isHollow(next) ? undefined : next;
}

function isMeant(item: unknown, step: FieldStep, schema: Schema | undefined): boolean {
  if ("value" in step) return item === step.value;
  return "keys" in step && isRecord(item) && schema !== undefined && sameKeys(step.keys, keysOf(item, schema));
}

/** What stands at a path of an object; undefined where nothing does. */
export function valueAt(object: unknown, schema: Schema | undefined, path: FieldPath): unknown {
  let value = object;
  let here = schema;
  for (const step of path) {
    if ("field" in step) {
      value = isRecord(value) && Object.hasOwn(value, step.field) ? value[step.field] : undefined;
      here = here?.field(step.field);
    } else {
      const list = here;
      value = Array.isArray(value) ? value.find((item) => isMeant(item, step, list)) : undefined;
      here = here?.item();
    }
  }
  return value;
}

/**
 * A copy of an object with another value at a path, or, for undefined, without it. Places on the way are made only for a value, and go when
 * nothing is left in them: an empty one would be a field of its own.
 */
export function withValueAt(object: unknown, schema: Schema | undefined, path: FieldPath, value: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return value;
  if ("field" in step) {
    const record = isRecord(object) ? object : {};
    const before = Object.hasOwn(record, step.field) ? record[step.field] : undefined;
    if (value === undefined && before === undefined) return object;
    const after = withValueAt(before, schema?.field(step.field), rest, value);
    if (after !== undefined) return { ...record, [step.field]: after };
    const { [step.field]: _gone, ...others } = record;
    return Object.keys(others).length === 0 ? undefined : others;
  }
  const list: readonly unknown[] = Array.isArray(object) ? object : [];
  const at = list.findIndex((item) => isMeant(item, step, schema));
  if (at < 0) {
    if (value === undefined) return object;
    const made = withValueAt("keys" in step ? step.keys : step.value, schema?.item(), rest, value);
    return [...list, made];
  }
  const after = withValueAt(list[at], schema?.item(), rest, value);
  if (after !== undefined) return list.with(at, after);
  return list.length === 1 ? undefined : list.toSpliced(at, 1);
}
