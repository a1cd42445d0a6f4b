import { describe, expect, test } from "bun:test";
import { TransporterError } from "../kit/mod.ts";
import { parseEverydayManifests, parseManifests, stringifyObject } from "./mod.ts";

function failureOf(manifests: readonly string[], limits = {}): TransporterError {
  try {
    parseManifests(manifests, limits);
  } catch (error) {
    if (error instanceof TransporterError) return error;
    throw error;
  }
  throw new Error("the manifests were accepted");
}

/** A ConfigMap whose field x is this text. */
function withField(field: string, name = "a"): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\nx:${field}`;
}

function fieldOf(field: string): unknown {
  return parseManifests([withField(field)])[0]?.object["x"];
}

describe("documents", () => {
  test("every document of every manifest is read, in order, with its place", () => {
    const parsed = parseManifests([
      `# a comment\n---\n${withField(" 1\n", "one")}--- # next\n\n${withField(" 2\n", "two")}---\n---\n`,
      `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"three"}}\n{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"four"}}`,
    ]);
    expect(parsed.map(({ ref, source }) => [ref.name, source])).toEqual([
      ["one", { manifest: 0, document: 1, line: 3 }],
      ["two", { manifest: 0, document: 2, line: 10 }],
      ["three", { manifest: 1, document: 1, line: 1 }],
      ["four", { manifest: 1, document: 2, line: 2 }],
    ]);
  });

  test("JSON may be followed by YAML, and YAML in braces is not JSON", () => {
    const parsed = parseManifests([
      `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"json"}}\n---\n${withField(" 0644\n", "yaml")}`,
      "{apiVersion: v1, kind: Namespace, metadata: {name: braces}}",
    ]);
    expect(parsed.map(({ ref }) => ref.name)).toEqual(["json", "yaml", "braces"]);
    expect(parsed[1]?.object["x"]).toBe(420);
  });

  test("Windows line ends and a byte order mark change nothing", () => {
    const [parsed] = parseManifests([
      `\ufeff---\r\n${withField(" |\r\n  a\r\n  b\r\n").replaceAll("\n", "\r\n").replaceAll("\r\r", "\r")}`,
    ]);
    expect(parsed?.object["x"]).toBe("a\nb\n");
  });

  test("Lists are expanded, typed ones lend their kind to items, and each item has its line", () => {
    const parsed = parseManifests([
      [
        "apiVersion: v1",
        "kind: List",
        "items:",
        "- apiVersion: v1",
        "  kind: Namespace",
        "  metadata: {name: a}",
        "- apiVersion: v1",
        "  kind: ConfigMapList",
        "  items:",
        "  - metadata: {name: b}",
        "  - {apiVersion: v1, kind: Secret, metadata: {name: c}}",
      ].join("\n"),
      '{"apiVersion":"v1","kind":"List","items":null}',
    ]);
    expect(parsed.map(({ ref }) => `${ref.kind}/${ref.name}`)).toEqual(["Namespace/a", "ConfigMap/b", "Secret/c"]);
    expect(parsed.map(({ source }) => source.line)).toEqual([4, 1, 1]);
    expect(parsed[1]?.object).toEqual({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "b" } });
  });

  test("a kind that only ends in List is an object of its own", () => {
    const [parsed] = parseManifests(["apiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: a}\nspec: {items: [1]}"]);
    expect(parsed?.ref).toEqual({ group: "example.com", version: "v1", kind: "AllowList", namespace: undefined, name: "a" });
  });

  test("manifests without one object are refused", () => {
    for (const manifests of [[], [""], ["# nothing\n---\n"], ['{"apiVersion":"v1","kind":"List","items":[]}'], ["~"]])
      expect(failureOf(manifests).code).toBe("EMPTY_MANIFESTS");
  });
});

describe("values", () => {
  test("integers stay exact to the ends of 64 bits, and come out as they went in", () => {
    const text = '{"apiVersion":"v1","kind":"X","metadata":{"name":"a"},"n":[9007199254740993,-9223372036854775808,1.5,1e3,12]}';
    const [json] = parseManifests([text]);
    expect(json?.object["n"]).toEqual([9007199254740993n, -9223372036854775808n, 1.5, 1000, 12]);
    expect(stringifyObject(json?.object)).toBe(text.replace("1e3", "1000"));
    expect(fieldOf(" [9007199254740993, 0x7fffffffffffffff, 18446744073709551615]\n")).toEqual([
      9007199254740993n,
      9223372036854775807n,
      2 ** 64,
    ]);
  });

  test("a merge writes at its place, as for kubectl", () => {
    expect(fieldOf("\n  base: &b {k: 1, l: 2}\n  early: {<<: *b, k: 3}\n  late: {k: 3, <<: *b}\n")).toEqual({
      base: { k: 1, l: 2 },
      early: { k: 3, l: 2 },
      late: { k: 1, l: 2 },
    });
  });

  test("an alias is a copy, so that changing one place changes no other", () => {
    const x = fieldOf("\n  a: &m {k: {l: 1}}\n  b: *m\n") as { a: { k: object }; b: { k: object } };
    expect(x.b).toEqual(x.a);
    expect(x.b.k).not.toBe(x.a.k);
  });

  test("names of Object.prototype are keys like others", () => {
    for (const text of [
      withField("\n  constructor: 1\n  toString: 2\n"),
      JSON.stringify({ apiVersion: "v1", kind: "X", metadata: { name: "a" }, x: { constructor: 1, toString: 2 } }),
    ]) {
      const x = parseManifests([text])[0]?.object["x"] as object;
      expect(Object.entries(x)).toEqual([
        ["constructor", 1],
        ["toString", 2],
      ]);
    }
  });
});

describe("a manifest that cannot be read is refused with its place", () => {
  const cases: readonly (readonly [string, string, { line: number; column?: number }, RegExp])[] = [
    ["broken YAML", withField(" [1, 2\n"), { line: 6 }, /./],
    ["a bad indentation", withField("\n  a: 1\n b: 2\n"), { line: 7 }, /./],
    ["a tab as indentation", withField("\n\ta: 1\n"), { line: 6, column: 1 }, /tab/i],
    ["a key that stands twice", withField("\n  a: 1\n  b: 2\n  a: 3\n"), { line: 8, column: 3 }, /"a" stands twice/],
    ["a key that stands twice after conversion", withField('\n  1: a\n  "1": b\n'), { line: 7, column: 3 }, /"1" stands twice/],
    ["a key that stands twice in JSON", '{"apiVersion":"v1",\n "kind":"X","kind":"Y"}', { line: 2, column: 13 }, /"kind" stands twice/],
    ["__proto__", withField("\n  __proto__: {admin: true}\n"), { line: 6, column: 3 }, /__proto__/],
    ["__proto__ in JSON", '{"__proto__":{}}', { line: 1, column: 2 }, /__proto__/],
    ["__proto__ by an escape in JSON", '{"\\u005f_proto__":{}}', { line: 1, column: 2 }, /__proto__/],
    ["__proto__ as a merge", withField("\n  <<: {__proto__: {}}\n"), { line: 6, column: 8 }, /__proto__/],
    ["null as a key", withField("\n  ~: 1\n"), { line: 6, column: 3 }, /cannot be a key/],
    ["a list as a key", withField("\n  ? [1]\n  : 2\n"), { line: 6, column: 5 }, /cannot be a key/],
    ["infinity", withField(" .inf\n"), { line: 5, column: 4 }, /JSON cannot hold/],
    ["a number beyond all floats in JSON", '{"a":1e400}', { line: 1, column: 6 }, /beyond the range/],
    ["an alias without anchor", withField(" *a\n"), { line: 5, column: 4 }, /no anchor &a/],
    ["a value that holds itself", withField(" &a [*a]\n"), { line: 5, column: 8 }, /holds itself/],
    ["a control character", withField(" a\u0007b\n"), { line: 5, column: 5 }, /U\+0007/],
    ["half a surrogate pair", withField(" a\ud800\n"), { line: 5, column: 5 }, /surrogate/],
    ["half a surrogate pair by an escape in JSON", '{"a":"\\ud800"}', { line: 1, column: 6 }, /surrogate/],
    ["text after the end of a document", withField(" 1\n...\nx: 2\n"), { line: 7, column: 1 }, /follows the end/],
    ["a directive", `%YAML 1.1\n---\n${withField(" 1\n")}`, { line: 1, column: 1 }, /directives/],
    ["JSON that stops", '{"a":\n [1, 2', { line: 2 }, /./],
    ["JSON with a raw line break in a string", '{"a":"b\nc\n', { line: 3 }, /./],
    ["a document that is a list", "- a\n", { line: 1 }, /a list, not an object/],
    ["a document that is a text", "---\nhello\n", { line: 2 }, /a string, not an object/],
    ["an item that is a number", "kind: List\napiVersion: v1\nitems: [1]\n", { line: 1 }, /items\[0\] of the list is a number/],
  ];
  for (const [what, text, place, message] of cases)
    test(what, () => {
      const error = failureOf(["apiVersion: v1\nkind: Namespace\nmetadata: {name: fine}\n", text]);
      expect(error.code).toBe("INVALID_MANIFEST");
      expect(error.message).toMatch(message);
      expect(error.message).toStartWith(`manifests[1], document 1, line ${place.line}`);
      expect(error.details).toMatchObject({ manifest: 1, document: 1, ...place });
    });

  test("the second document of a manifest is named as such", () => {
    const error = failureOf([`${withField(" 1\n")}---\n# c\n---\n${withField(" [\n", "b")}`]);
    expect(error.details).toMatchObject({ manifest: 0, document: 2 });
  });

  test("content on a separator line is refused where it stands", () => {
    const error = failureOf([`${withField(" 1\n")}--- a\n`]);
    expect(error.message).toBe("manifests[0], document 2, line 6, column 4: only a comment may follow --- on its line");
  });

  test("nothing that a manifest says reaches Object.prototype", () => {
    failureOf([withField("\n  __proto__: {polluted: true}\n")]);
    failureOf(['{"__proto__":{"polluted":true}}']);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

describe("bombs", () => {
  const layers = (count: number, first: string, next: (name: string) => string): string =>
    `\n  l0: &l0 ${first}\n${Array.from({ length: count }, (_, index) => `  l${index + 1}: &l${index + 1} ${next(`*l${index}`)}\n`).join("")}`;
  const bombs: readonly (readonly [string, string])[] = [
    ["lists of aliases", layers(12, "[x, x, x, x]", (alias) => `[${Array.from({ length: 10 }, () => alias).join(", ")}]`)],
    ["merges of merges", layers(40, "{k: v}", (alias) => `{<<: [${alias}, ${alias}]}`)],
    ["aliases of a long text", `\n  s: &s ${"x".repeat(100_000)}\n  l: [${"*s, ".repeat(1000)}]\n`],
  ];
  for (const [what, field] of bombs)
    test(`${what} are refused before they go off`, () => {
      expect(failureOf([withField(field)]).message).toContain("the aliases expand to more than is allowed");
    });

  test("the budget of aliases is one for the whole event", () => {
    const small = "\n  a: &a [1, 2, 3]\n  b: [*a, *a]\n";
    const manifests = Array.from({ length: 10 }, (_, index) => withField(small, `n${index}`));
    expect(parseManifests(manifests, { aliasNodes: 80 })).toHaveLength(10);
    expect(failureOf(manifests, { aliasNodes: 70 }).code).toBe("INVALID_MANIFEST");
  });

  test("depth is bounded, in YAML and JSON, and never ends in a stack overflow", () => {
    for (const text of [
      withField(` ${"[".repeat(50_000)}`),
      withField(`\n  ${"- ".repeat(50_000)}a\n`),
      withField(` ${"{a: ".repeat(50_000)}`),
      `{"a":${"[".repeat(50_000)}`,
      '{"a":'.repeat(50_000),
    ])
      expect(failureOf([text]).message).toContain("nested deeper than 200 levels");
    expect(fieldOf(` ${"[".repeat(150)}${"]".repeat(150)}\n`)).toBeArray();
  });

  test("the number of tokens of a document is bounded", () => {
    expect(failureOf([withField(` [${"1, ".repeat(1000)}]\n`)], { tokens: 1000 }).message).toContain("more than 1000 tokens");
  });

  test("a number of very many digits is a text in YAML and refused in JSON, quickly", () => {
    expect(fieldOf(` ${"1".repeat(200_000)}\n`)).toBeString();
    expect(failureOf([`{"a":${"1".repeat(200_000)}}`]).message).toContain("digits");
  });
});

describe("an object of the wrong shape is refused with object, field and remedy", () => {
  const cases: readonly (readonly [string, string, string, RegExp])[] = [
    ["no apiVersion", "kind: ConfigMap\nmetadata: {name: a}", "apiVersion", /apiVersion is missing/],
    ["a number as apiVersion", "apiVersion: 1\nkind: ConfigMap\nmetadata: {name: a}", "apiVersion", /a number \(1\), not a string/],
    ["too many slashes", "apiVersion: a/b/c\nkind: X\nmetadata: {name: a}", "apiVersion", /"a\/b\/c" is not VERSION or GROUP\/VERSION/],
    ["a path as apiVersion", "apiVersion: ../v1\nkind: X\nmetadata: {name: a}", "apiVersion", /is not VERSION/],
    ["no kind", "apiVersion: v1\nmetadata: {name: a}", "kind", /kind is missing/],
    ["an odd kind", "apiVersion: v1\nkind: a/b\nmetadata: {name: a}", "kind", /is not the name of a kind/],
    ["no metadata", "apiVersion: v1\nkind: ConfigMap", "metadata", /metadata is missing/],
    ["no name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}", "metadata.name", /metadata.name is missing/],
    ["a number as name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 123}", "metadata.name", /a number \(123\), not a string/],
    ["yes as name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yes}", "metadata.name", /a boolean \(true\), not a string/],
    ["an empty name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ''}", "metadata.name", /metadata.name is empty/],
    ["a path as name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ../a}", "metadata.name", /holds '\/' or '%'/],
    ["dots as name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ..}", "metadata.name", /cannot be "\.\."/],
    ["a line break in a name", 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "a\\nb"}', "metadata.name", /control character/],
    ["generateName", "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}", "metadata.generateName", /generateName cannot be applied/],
    ["a number as namespace", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: 1}", "metadata.namespace", /a number \(1\)/],
    [
      "a number as label",
      "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {ok: x, v: 1.10}}",
      'metadata.labels["v"]',
      /"v" is a number \(1\.1\)/,
    ],
    [
      "yes as annotation",
      "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {a/b: yes}}",
      'metadata.annotations["a/b"]',
      /a boolean \(true\)/,
    ],
    ["a list of labels", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: [x]}", "metadata.labels", /a list, not a mapping/],
  ];
  for (const [what, text, field, message] of cases)
    test(what, () => {
      const error = failureOf([`# c\n${text}\n`]);
      expect(error.code).toBe("INVALID_OBJECT");
      expect(error.message).toMatch(message);
      expect(error.message).toStartWith("manifests[0], document 1, line 2: ");
      expect(error.details).toEqual({ manifest: 0, document: 1, line: 2, field });
      expect(error.remedy).not.toBe("");
    });

  test("the message names the object and says to quote", () => {
    const error = failureOf(["apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {version: 1}}"]);
    expect(error.message).toBe(
      'manifests[0], document 1, line 1: Pod web: metadata.labels: the value of "version" is a number (1), not a string',
    );
    expect(error.remedy).toBe("Quote the value.");
  });

  test("null is no namespace, no labels, and an empty label", () => {
    const [parsed] = parseManifests(["apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: , annotations: , labels: {x: }}"]);
    expect(parsed?.ref.namespace).toBeUndefined();
    expect(parsed?.object.metadata.labels).toEqual({ x: null });
  });
});

describe("an object that stands twice", () => {
  test("is refused with both places", () => {
    const error = failureOf([
      `${withField(" 1\n", "other")}---\n${withField(" 1\n")}`,
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n",
    ]);
    expect(error.code).toBe("DUPLICATE_OBJECT");
    expect(error.message).toBe(
      "ConfigMap default/a stands twice: at manifests[0], document 2, line 7 and at manifests[1], document 1, line 1",
    );
  });

  test("in another version it is the same object, in another namespace or group it is not", () => {
    const deployment = (apiVersion: string, namespace: string): string =>
      `apiVersion: ${apiVersion}\nkind: Deployment\nmetadata: {name: a, namespace: ${namespace}}\n`;
    expect(failureOf([deployment("apps/v1", "x"), deployment("apps/v1beta1", "x")]).code).toBe("DUPLICATE_OBJECT");
    expect(parseManifests([deployment("apps/v1", "x"), deployment("apps/v1", "z"), deployment("example.com/v1", "x")])).toHaveLength(3);
  });
});

describe("everyday manifests", () => {
  const everyday = withField(" 0644\n");

  test("are the same as ever", () => {
    expect(parseEverydayManifests([everyday, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}'])).toEqual(
      parseManifests([everyday, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}']),
    );
  });

  test("are all of them, or it is said that they are not", () => {
    expect(parseEverydayManifests([everyday, withField(" &anchor 1\n", "b")])).toBeUndefined();
    expect(parseEverydayManifests(["{ apiVersion: v1, &a kind: ConfigMap }\n"])).toBeUndefined();
  });

  test("have the same faults", () => {
    expect(() => parseEverydayManifests([everyday, everyday])).toThrow(failureOf([everyday, everyday]).message);
  });
});
