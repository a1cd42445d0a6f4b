import {
  type Arbitrary,
  array,
  base64String,
  constantFrom,
  double,
  integer,
  json,
  jsonValue,
  nat,
  oneof,
  record,
  string,
  tuple,
  uint8Array,
} from "fast-check";

/** Texts that programs stumble over. */
export const nastyText: Arbitrary<string> = oneof(
  constantFrom(
    "",
    " ",
    "\u0000",
    "a\u0000b",
    "\ud800",
    "\ufeff",
    "\u202eabc",
    "../../etc/passwd",
    "..%2f..%2f",
    "%",
    "%zz",
    "%00",
    "__proto__",
    "constructor",
    "toString",
    "null",
    "undefined",
    "NaN",
    "-0",
    "1e999",
    "9223372036854775808",
    "' OR 1=1 --",
    "a".repeat(253),
    "a".repeat(254),
    "é".repeat(200),
    "😀".repeat(100),
    "2026-02-30T25:61:61Z",
    "0001-01-01T00:00:00Z",
    "+275760-09-13T00:00:00.001Z",
    "1h",
    "-1h",
    "9999999h",
    "1ns",
    "*",
    "?",
    "{}",
    "[]",
    "\r\nx-injected: 1",
  ),
  string({ maxLength: 40 }),
  string({ unit: "binary", maxLength: 40 }),
  base64String({ maxLength: 80 }),
);

const nastyValue: Arbitrary<unknown> = oneof(
  { arbitrary: nastyText, weight: 4 },
  { arbitrary: jsonValue({ maxDepth: 3 }), weight: 2 },
  constantFrom<unknown>(null, true, false, 0, -1, 1.5, -0, 1e308, 5e-324, 2 ** 53, -(2 ** 63), 2 ** 31, [], {}, [[]], [null], {
    a: { b: {} },
  }),
  integer(),
  double(),
  array(nastyText, { maxLength: 4 }),
);

interface Mutation {
  readonly path: readonly number[];
  readonly action: "replace" | "remove" | "add" | "wrap";
  readonly value: unknown;
  readonly name: string;
}

const mutation: Arbitrary<Mutation> = record({
  path: array(nat({ max: 20 }), { maxLength: 4 }),
  action: constantFrom("replace", "replace", "replace", "remove", "add", "wrap"),
  value: nastyValue,
  name: oneof(nastyText, constantFrom("id", "type", "payload", "manifests", "revision", "seq", "nth", "digest", "offset", "ttl", "delay")),
});

function apply(base: unknown, { path, action, value, name }: Mutation): unknown {
  const copy = structuredClone(base);
  let parent: Record<string, unknown> | undefined;
  let key = "";
  let at: unknown = copy;
  for (const step of path) {
    if (typeof at !== "object" || at === null) break;
    const keys = Object.keys(at);
    if (keys.length === 0) break;
    parent = at as Record<string, unknown>;
    key = keys[step % keys.length] ?? "";
    at = parent[key];
  }
  if (parent === undefined) return action === "replace" ? value : copy;
  if (action === "replace") parent[key] = value;
  else if (action === "remove") Reflect.deleteProperty(parent, key);
  else if (action === "wrap") parent[key] = [parent[key]];
  else if (name !== "__proto__" && !(name === "length" && Array.isArray(parent))) parent[name] = value;
  return copy;
}

/** One of these, with a few things about it changed. */
export function mutated(...bases: readonly unknown[]): Arbitrary<unknown> {
  return tuple(constantFrom(...bases), array(mutation, { minLength: 1, maxLength: 3 })).map(([base, mutations]) => {
    let value = base;
    for (const one of mutations) value = apply(value, one);
    return value;
  });
}

function nested(open: string, close: string, depth: number): string {
  return open.repeat(depth) + close.repeat(depth);
}

const DEEP: Readonly<Record<string, string>> = {
  arrays: nested("[", "]", 50_000),
  objects: nested('{"a":', "", 20_000),
  metrics: `{"type":"heartbeat","metrics":{"a":${nested("[", "]", 5_000)}}}`,
  details: `{"type":"status_update","event_id":"held","state":"in_progress","phase":"applying","details":{"a":${nested('{"b":[', "]}", 3_000)}}}`,
  registration: `{"id":"a","name":"a","cluster_name":"a","version":"1","capabilities":["a"],"metadata":{"a":${nested("[", "]", 5_000)}}}`,
  payload: `{"id":"deep","type":"policy","target_agent":"a","payload":{"policy_rules":[${nested("[", "]", 3_000)}]}}`,
  labels: `{"id":"deep","type":"k8s_resource","target_agent":"a","payload":{"manifests":["a"],"x":${nested('{"a":', "}", 90).replace("}", "1}")}}}`,
};

/** Texts near JSON: deep, cut off, repeated, too large to count. */
export const oddJson: Arbitrary<string | { readonly deep: string }> = oneof(
  json(),
  constantFrom(
    "",
    "{",
    "null",
    "[]",
    '""',
    "0",
    '{"id":"a","id":"b","type":"heartbeat","type":"x"}',
    '{"a":1e999,"type":"status_update"}',
    '\ufeff{"type":"heartbeat"}',
    '{"type":"heartbeat"} {"type":"heartbeat"}',
    '{"__proto__":{"admin":true},"type":"heartbeat"}',
    '{"type":"heartbeat","metrics":{"a":"\\ud800"}}',
  ),
  // Named, not written out, so that a counterexample can be read.
  record({ deep: constantFrom(...Object.keys(DEEP)) }),
);

/** What `oddJson` stands for. */
export function textOf(value: string | { readonly deep: string }): string {
  return typeof value === "string" ? value : (DEEP[value.deep] ?? "");
}

/** An object as JSON, sometimes cut off or with something behind it. */
export function asText(value: Arbitrary<unknown>): Arbitrary<string> {
  return tuple(value, constantFrom("whole", "whole", "whole", "whole", "cut", "behind"), nat({ max: 1000 })).map(([one, how, at]) => {
    const text = JSON.stringify(one) ?? "";
    if (how === "cut") return text.slice(0, at % (text.length + 1));
    return how === "behind" ? `${text}\n}` : text;
  });
}

export const rawBytes: Arbitrary<Uint8Array> = uint8Array({ maxLength: 300 });
