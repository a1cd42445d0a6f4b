/**
 * Every pattern of the program takes time in proportion to the text, whoever wrote that. What does not is listed here with the reason why
 * nobody can make use of it. An ordinary run compares the list with the source; a full one has every pattern judged (makenowjust/recheck).
 */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { parseSync } from "oxc-parser";
import { check } from "recheck";
import { PROVE } from "../support/prove.ts";

const ROOT = join(import.meta.dir, "../..");
const OPERATOR = "read by whoever started the program, in what he wrote himself";
const OURS = "only ever sees our own words";
const BROKER = "sees the messages of the server that the operator chose, a line each";
const CUT = "sees at most LIMITS.messageChars, so a tenth of a second at the very most";

/** Patterns that are slower than the text is long, by file and pattern. */
const JUDGED: readonly (readonly [file: string, pattern: string, because: string])[] = [
  ["src/queues/drivers/memphis/faults.ts", "user\\b.*does not exist|", BROKER],
  ["src/redis/fault.ts", "certificate|self.?signed|", BROKER],
  ["src/redis/fault.ts", "Last error: (.*)$", BROKER],
  ["src/config/known.ts", "_(SERVICE_HOST|", "sees names of the environment"],
  ["src/config/address.ts", "\\/+$", OPERATOR],
  ["src/config/places.ts", "\\/+$", "sees HOME of the environment"],
  ["src/config/store.ts", "\\/+$", OPERATOR],
  ["src/config/setting.ts", '\\s*(?:"((?:[^"]|"")*)"', OPERATOR],
  ["src/cp/http/openapi.ts", "[/:]+(\\w)", OURS],
  [
    "src/redaction/shapes.ts",
    "(\\\\{0,8}[\"'](?:data",
    "each of its repetitions is bounded, and what follows ends at the next brace: 2 MB take 150 ms",
  ],
  [
    "src/redaction/shapes.ts",
    "(pass(?:word|wd|phrase)|",
    "each of its repetitions is bounded: 2 MB of beginnings that never end take 300 ms",
  ],
  ["src/k8s/diff/diff.ts", "[^a-z0-9]+$", "sees forty characters of a name"],
  ["src/k8s/http/status-error.ts", '^admission webhook "|', CUT],
  ["src/k8s/http/status-error.ts", "(?:is|are) immutable|", CUT],
  ["src/k8s/http/status-error.ts", "cannot [a-z]+ resource|", CUT],
  ["src/k8s/http/status-error.ts", "does not support dry run|", CUT],
];
/** Files that make patterns of values at run time, and of which. */
const DYNAMIC: readonly (readonly [file: string, because: string])[] = [
  ["src/redaction/kept.ts", "of secrets that were registered, each escaped: alternatives that are texts"],
];

interface Pattern {
  readonly file: string;
  readonly line: number;
  readonly source: string;
  readonly flags: string;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

const patterns: Pattern[] = [];
const dynamic = new Set<string>();
for (const file of [...new Bun.Glob("src/**/*.ts").scanSync({ cwd: ROOT })].filter((path) => !path.endsWith(".test.ts")).toSorted()) {
  const text = await Bun.file(join(ROOT, file)).text();
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) for (const child of node) visit(child);
    if (!isRecord(node) || Array.isArray(node)) return;
    const { type, regex, callee, start } = node;
    if (type === "Literal" && isRecord(regex))
      patterns.push({
        file,
        line: text.slice(0, Number(start)).split("\n").length,
        source: String(regex["pattern"]),
        flags: String(regex["flags"]),
      });
    if ((type === "NewExpression" || type === "CallExpression") && isRecord(callee) && callee["name"] === "RegExp") dynamic.add(file);
    for (const child of Object.values(node)) visit(child);
  };
  visit(parseSync(file, text).program);
}

const judged = ({ file, source }: Pattern): boolean => JUDGED.some(([path, begin]) => path === file && source.startsWith(begin));

describe("patterns", () => {
  test("that are slow by reasoning are still there, and those made at run time are known", () => {
    expect(patterns.length).toBeGreaterThan(200);
    expect(JUDGED.filter(([file, begin]) => !patterns.some((one) => one.file === file && one.source.startsWith(begin)))).toEqual([]);
    expect([...dynamic].toSorted()).toEqual(DYNAMIC.map(([file]) => file).toSorted());
  });

  test.skipIf(!PROVE)(
    "take time in proportion to the text",
    async () => {
      const slow: string[] = [];
      for (const one of patterns.filter((pattern) => !judged(pattern))) {
        const verdict = await check(one.source, one.flags, { timeout: 60_000 });
        if (verdict.status === "safe") continue;
        const how =
          verdict.status === "vulnerable" ? `${verdict.complexity.summary}, by ${verdict.attack.pattern.slice(0, 200)}` : "nobody knows";
        slow.push(`${one.file}:${one.line} /${one.source}/${one.flags}: ${how}`);
      }
      expect(slow).toEqual([]);
    },
    900_000,
  );
});
