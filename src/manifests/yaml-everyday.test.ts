import { array, assert, constantFrom, integer, property, record } from "fast-check";
import { describe, expect, test } from "bun:test";
import { TransporterError } from "../kit/mod.ts";
import { readAllYaml } from "./yaml-nodes.ts";
import { readEverydayYaml } from "./yaml-everyday.ts";

const LIMITS = { depth: 200, tokens: 2_000_000 };
const RUNS = 1_500;

function fault(at: number, message: string): TransporterError {
  return new TransporterError("INVALID_MANIFEST", message, { details: { at } });
}

const DEPLOYMENT = `# A comment first
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # and one behind
  labels: {app: web, "tier": 'front end', empty: {}}
  annotations:
    note: it's a text, with commas and (brackets) and a:colon
    "quoted key": "with \\"escapes\\" and \\n more"
    single: 'it''s one'
    nothing:
    # comment inside

    also/nothing: ~
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: web
        args: ["--flag=value", a, 'b', [], [x, y]]
        command:
          - /bin/sh
          - -c
          - |
            set -e
              echo "deeper: text"

            # no comment
            exit 0
        ports:
          - containerPort: 80
            name: http
          -
            containerPort: 443
      - - nested
        - - deeper
          - twice
      volumes: []
`;
const CONFIG_MAP = `apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  a.conf: |
    color=blue
    text=é 😀

  b.conf: |-
    one line


  mode: 0644
  time: 12:30
  url: http://host:80/p?q=1#fragment
`;
const LIST = `- a: 1
  b:
  - x
  - y
- c:
    d: "e"
-
  f: g
`;

/** Every document here is read without asking all of YAML; the next ones are left to it. */
const EVERYDAY = [DEPLOYMENT, CONFIG_MAP, LIST, "a: b\n", "a:\n", "a: {b: [c, {d: e}]}\n", "'a': b\n", "a: -b\n", "a:b: c\n"];
const NOT_EVERYDAY = [
  "text\n",
  " a: b\n",
  "a: b\n  c\n",
  "a: &x b\nc: *x\n",
  "a: !!str 1\n",
  "<<: {a: b}\n",
  "? a\n: b\n",
  "a: >\n  folded\n",
  "a: |+\n  kept\n\n",
  "a: |2\n   x\n",
  "a: |\n\n  x\n",
  "a: |\n  x\n \t y\n",
  "a: |\n    x\n   y\n",
  "a: b: c\n",
  "a: [b\n  ]\n",
  "a: [b: c]\n",
  "a: [b,]\n",
  "a: {b}\n",
  "a:\tb\n",
  "a: 'b\n  c'\n",
  'a: "\\u0041"\n',
  'a: "b" c\n',
  "a: @b\n",
  "a: - b\n",
  "a:\n b\n",
  "a:\n  b: c\n d: e\n",
  "- a\nb: c\n",
  "a: b\n- c\n",
  "a: b\n...\n",
  "a: \ufeffb\n",
  `${"k".repeat(1_001)}: v\n`,
];

describe("everyday YAML", () => {
  test.each(EVERYDAY)("reads %j as all of YAML is read, node for node", (text) => {
    const read = readEverydayYaml(text, LIMITS);
    expect(read).toBeDefined();
    expect(read).toStrictEqual<unknown>(readAllYaml(text, fault, LIMITS));
  });

  test.each(NOT_EVERYDAY)("leaves %j to those who know all of YAML", (text) => {
    expect(readEverydayYaml(text, LIMITS)).toBeUndefined();
  });

  test("leaves what comes near a limit to those who keep it", () => {
    const nested = `${Array.from({ length: 120 }, (_, at) => `${" ".repeat(at)}a:`).join("\n")} b\n`;
    expect(readEverydayYaml(nested, LIMITS)).toBeUndefined();
    expect(readEverydayYaml(nested, { ...LIMITS, depth: 400 })).toBeDefined();
    expect(readEverydayYaml(CONFIG_MAP, { ...LIMITS, tokens: 100 })).toBeUndefined();
    expect(readEverydayYaml(`a: [${"b, ".repeat(200)}c]\n`, { ...LIMITS, tokens: 1_000 })).toBeUndefined();
  });

  // The one promise: wherever a text is bent, what is read at all is what all of YAML says, errors included.
  test("never reads anything else than all of YAML does, in documents bent at random", () => {
    const pairs = "  |\n  |\n    |\n\n|: | #|- |\n- |? |\n''|\\\"|{}|[]|...\n|\n...|, |: x".split("|");
    const pieces = [...` :-#,?!&*|>%@\`~'"\\[]{}<=/.\n\t0aé`.split(""), ...pairs, "|-", "|\n", ": |\n  "];
    const bend = record({ at: integer({ min: 0, max: 2_000 }), cut: integer({ min: 0, max: 3 }), put: constantFrom("", ...pieces) });
    const bent = record({ base: constantFrom(...EVERYDAY), bends: array(bend, { minLength: 1, maxLength: 3 }) });
    let everyday = 0;
    assert(
      property(bent, ({ base, bends }) => {
        let text = base;
        for (const { at, cut, put } of bends) {
          const start = at % text.length;
          text = text.slice(0, start) + put + text.slice(start + cut);
          if (text === "") return;
        }
        if (!text.endsWith("\n")) text += "\n";
        const read = readEverydayYaml(text, LIMITS);
        if (read === undefined) return;
        everyday += 1;
        expect(read).toStrictEqual<unknown>(readAllYaml(text, fault, LIMITS));
      }),
      { numRuns: RUNS, seed: 20_260_210 },
    );
    expect(everyday).toBeGreaterThan(RUNS / 10);
  });
});
