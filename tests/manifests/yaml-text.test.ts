import { expect, test } from "bun:test";
import { array, constantFrom, dictionary, double, integer, letrec, oneof, sample, string, type Arbitrary } from "fast-check";
import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareBinaries } from "../../sandbox/mod.ts";
import { yamlText } from "../../src/manifests/mod.ts";
import { kubeTest } from "../support/kube.ts";
import { PROVE } from "../support/prove.ts";
import { caseName } from "./kubectl-reading.ts";

/** Fixed in an ordinary run; a full one looks somewhere new every time. */
const SEED = PROVE ? Date.now() % 2_147_483_647 : 20_261_122;
const COUNT = PROVE ? 10_000 : 600;
const FILES = 1_000;

/** What kubectl writes for each value under `x` of an object, offline. */
async function writtenByKubectl(values: readonly unknown[]): Promise<string[]> {
  const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-test-"));
  try {
    await Promise.all(
      values.map((x, index) =>
        writeFile(
          join(directory, `${caseName(index)}.json`),
          JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: caseName(index) }, x }),
        ),
      ),
    );
    const kubectl = await prepareBinaries().kubectl;
    const child = Bun.spawn([kubectl, "annotate", "--local", "--output=yaml", "--filename", directory, "a=b"], {
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: directory, KUBECONFIG: join(directory, "none") },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (stderr !== "") throw new Error(stderr);
    const written = new Map<string, string>();
    for (const text of `\n${stdout}`.split(/\n(?:---\n)?(?=apiVersion: v1\n)/).slice(1)) {
      const [name = ""] = /case-\d+/.exec(text) ?? [];
      written.set(name, text);
    }
    return values.map((_value, index) => {
      const text = written.get(caseName(index));
      if (text === undefined) throw new Error(`kubectl did not write ${JSON.stringify(values[index])}`);
      return text;
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function writtenByUs(x: unknown, index: number): string {
  return yamlText({ apiVersion: "v1", kind: "ConfigMap", metadata: { annotations: { a: "b" }, name: caseName(index) }, x });
}

async function compare(values: readonly unknown[]): Promise<void> {
  for (let from = 0; from < values.length; from += FILES) {
    const some = values.slice(from, from + FILES);
    const theirs = await writtenByKubectl(some);
    const wrong = some.flatMap((value, index) => {
      const ours = writtenByUs(value, index);
      // The line ends behind the last value are lost where the documents are taken apart.
      return ours.trimEnd() === theirs[index]?.trimEnd() ? [] : [{ value: JSON.stringify(value), ours, kubectl: theirs[index] }];
    });
    expect(wrong.slice(0, 3), `${wrong.length} of ${some.length} are written differently; seed ${SEED}`).toEqual([]);
  }
}

const LONG = "the quick brown fox jumps over the lazy dog ".repeat(6).trim();

const EDGES: readonly unknown[] = [
  [
    "",
    " ",
    "a ",
    " a",
    "a b",
    "a: b",
    "a:b",
    "a #b",
    "a#b",
    "#",
    "-",
    "- a",
    "-a",
    "?",
    "? a",
    "?a",
    ":",
    ":a",
    "'",
    '"',
    "it's",
    "`",
    "@a",
  ],
  [
    "y",
    "no",
    "true",
    "null",
    "~",
    "1",
    "1.5",
    ".5",
    "0644",
    "0x1f",
    "0b1",
    "1e3",
    "1_000",
    "12:30",
    "1:2:3",
    "<<",
    ".inf",
    ".nan",
    "-",
    "--",
    "---",
    "...",
    "--- a",
  ],
  [
    "2026-11-22",
    "2026-11-22T19:37:02Z",
    "2026-1-2 3:4:5",
    "v1.36.3",
    "100m",
    "1Gi",
    "10.0.0.1",
    "a/b:c",
    "{a}",
    "[a]",
    "a, b",
    "*a",
    "&a",
    "!a",
    "|",
    ">",
    "%a",
  ],
  [
    "a\nb",
    "a\n",
    "a\n\n",
    "\na",
    "\n",
    "\n\n",
    " a\nb",
    "a \nb",
    "a\n b",
    "a\nb ",
    "a\r\nb",
    "a\tb",
    "\ta",
    "a\u00a0b",
    "\u0000",
    "é",
    "漢字",
    "🎉",
    "a🎉b c",
    "\ufeffab",
  ],
  [
    LONG,
    `${LONG}: x`,
    `'${LONG}`,
    `1\t${LONG}`,
    `${LONG}\nx`,
    LONG.replaceAll(" ", "  "),
    `é${LONG}`,
    "x".repeat(300),
    `${"x".repeat(79)} y z`,
    `${"x".repeat(90)}  y z`,
  ],
  [0, 1, -1, 1.5, 0.1, 1e-7, 1e-4, 1e21, 1e20, 123456.75, 1234567.5, 9_007_199_254_740_991, true, false, null],
  [[], {}, [[]], [{}], [[1, 2], [3]], [{ a: [1], b: { c: [] } }], { a: [[{ b: 1 }]] }],
  { a10: 1, a9: 2, B: 4, b: 5, "a-b": 6, "a.b": 7, a_b: 8, "10": 9, "9": 10, "": 11, é: 12, "a/b": 13, a01: 14, a1: 15, a001: 16 },
  {
    [LONG]: "a long key",
    ["k".repeat(140)]: ["x", { y: 1 }],
    ["m".repeat(129)]: { a: 1 },
    "a: b": 1,
    "a\nb": { c: 1 },
    yes: 1,
    "1": 2,
    "'": 3,
    " ": 4,
  },
  { b2c: 1, b10c: 2, b2: 3, b: 4 },
  { text: `#!/bin/sh\nset -e\necho "a  b"\n\nexit 0\n`, folded: `${LONG}\n${LONG}`, "tail blanks": "a  \nb\n" },
];

kubeTest("YAML is written text for text as kubectl writes it: scalars, folds, keys, empty and nested collections", async () => {
  await compare(EDGES.flatMap((edge) => [edge, ...(Array.isArray(edge) ? edge.map((item: unknown) => ({ k: item })) : [])]));
});

const PIECES = [..."abyn01-._:#'\"{}[],&*!|>%@`~=/\\ ".split(""), "  ", "\n", "\n\n", "\t", "é", "word ", "true", "0x", ": ", " #", "🎉"];
const texts: Arbitrary<string> = oneof(
  array(constantFrom(...PIECES), { maxLength: 12 }).map((parts) => parts.join("")),
  array(constantFrom("word", "longer-word", "it's", "a:b", "c: d", "  "), { minLength: 10, maxLength: 60 }).map((parts) => parts.join(" ")),
  string({ unit: "grapheme", maxLength: 20 }).filter((text) => !/[\u0085\u2028\u2029\u007f]/.test(text)),
);
const { value: values } = letrec<{ value: unknown }>((tie) => ({
  value: oneof(
    { maxDepth: 4 },
    texts,
    integer(),
    double({ noNaN: true, noDefaultInfinity: true }),
    array(tie("value"), { maxLength: 4 }),
    dictionary(
      texts.filter((key) => key !== "__proto__" && key !== "<<"),
      tie("value"),
      { maxKeys: 4 },
    ),
  ),
}));

test("the line ends of Unicode are escaped: kubectl would break lines there that nobody wrote", () => {
  expect(yamlText({ a: "x\u2028y", b: "x\ny\u2029", c: "\u0085" })).toBe('a: "x\\Ly"\nb: "x\\ny\\P"\nc: "\\N"\n');
});

kubeTest(
  "so is what is made up",
  async () => {
    await compare(sample(values, { numRuns: COUNT, seed: SEED }));
  },
  PROVE ? 900_000 : 120_000,
);
