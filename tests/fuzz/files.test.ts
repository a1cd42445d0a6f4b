import { describe, expect, test } from "bun:test";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Arbitrary, array, assert, asyncProperty, constantFrom, oneof, tuple } from "fast-check";
import { systemPorts, TransporterError } from "../../src/kit/mod.ts";
import { parseManifests } from "../../src/manifests/mod.ts";
import { completeEvent, parseEventFile } from "../../src/producer/mod.ts";
import { runTransporter } from "../support/process.ts";
import { count } from "../support/prove.ts";
import { expectNoGrowth } from "./subject.ts";
import { asText, mutated, nastyText, oddJson, textOf } from "./values.ts";

/** No file of a few kilobytes may hold anybody up for longer. */
const LONGEST_MS = 10_000;

const event = {
  id: "fuzz",
  type: "k8s_resource",
  target_agent: "agent-1",
  payload: { manifests: ["kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: x\n"] },
  ttl: "1h",
  delay: "5s",
  not_before: "2036-11-22T02:14:57Z",
  retry: { attempts: 3, backoff: "1s" },
  priority: 1,
  labels: { a: "b" },
};
const eventYaml = `# as people write it
id: fuzz
type: k8s_resource
target_agent: &agent agent-1
payload:
  manifests:
    - |
      apiVersion: v1
      kind: ConfigMap
      metadata: {name: x, labels: {mode: "0644", on: yes}}
    - >-
      apiVersion: apps/v1
ttl: 3600000000000
priority: 0x10
created_by: *agent
`;
const manifestYaml = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: default
  annotations: &a {x: "1", y: 2026-01-01}
spec:
  replicas: 3
  template:
    metadata: {annotations: *a}
    spec:
      containers:
        - name: web
          image: nginx:1
          args: ["-c", 'a: b', 12:30, 0644, ~]
---
apiVersion: v1
kind: List
items: []
`;

const pieces = oneof(
  nastyText,
  constantFrom(
    "\n",
    "\n  ",
    ": ",
    "- ",
    "? ",
    "&a ",
    "*a ",
    "!!binary ",
    "!!js/function ",
    "<<: *a\n",
    "---\n",
    "...\n",
    "%YAML 9.9\n",
    "|+9\n",
    ">-\n",
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "#",
    "\t",
    "\u0085",
    "!!set {",
    "[[[[[[[[",
    "{a: {a: {a: ",
  ),
);

/** A text with a few things about it changed. */
function damaged(text: string): Arbitrary<string> {
  const change = tuple(
    oneof(constantFrom(0, text.length), constantFrom(...Array.from({ length: 60 }, (_, at) => Math.floor((at * text.length) / 60)))),
    constantFrom(0, 1, 2, 10, 40),
    pieces,
  );
  return array(change, { minLength: 1, maxLength: 4 }).map((changes) => {
    let out = text;
    for (const [at, removed, added] of changes) out = out.slice(0, at) + added + out.slice(at + removed);
    return out;
  });
}

/** Small texts that grow when they are read. */
const bombs = constantFrom(
  `a: &a [x,x,x,x,x,x,x,x,x]\n${"bcdefghij"
    .split("")
    .map((name, at) => `${name}: &${name} [${Array.from({ length: 9 }, () => `*${"abcdefghij"[at]}`).join(",")}]`)
    .join("\n")}\n`,
  `${"- ".repeat(150)}x`,
  "[".repeat(150),
  `${"{a: ".repeat(150)}1${"}".repeat(150)}`,
  `a: !!binary ${"A".repeat(5_000)}`,
  `? ${"? ".repeat(500)}a`,
  `${"a".repeat(70_000)}: 1`,
  `k: "${"\\u0000".repeat(2_000)}"`,
);

/** Runs it; a refusal must be one of ours. Answers how long it took. */
async function refusedProperly(run: () => unknown): Promise<void> {
  const startedMs = performance.now();
  try {
    await run();
  } catch (error) {
    if (!(error instanceof TransporterError)) throw error;
    if (error.kind === "bug") throw error;
  }
  const tookMs = performance.now() - startedMs;
  if (tookMs > LONGEST_MS) throw new Error(`it took ${Math.round(tookMs)} ms`);
}

describe("whatever stands in a file", () => {
  test(
    "an event file is read or refused with a code",
    async () => {
      const text = oneof(
        { arbitrary: damaged(eventYaml), weight: 4 },
        { arbitrary: asText(mutated(event)), weight: 4 },
        { arbitrary: oddJson.map(textOf), weight: 1 },
        { arbitrary: bombs, weight: 1 },
      );
      let cases = 0;
      const some = (runs: number): Promise<void> =>
        assert(
          asyncProperty(text, async (content) => {
            cases += 1;
            const nothing = {
              id: undefined,
              createdBy: undefined,
              ttlMs: undefined,
              deadlineMs: undefined,
              priority: undefined,
              labels: {},
            };
            await refusedProperly(async () => completeEvent(await parseEventFile(content, "event.yaml"), nothing, systemPorts));
          }),
          { numRuns: runs },
        );
      await some(count(300, 2_000));
      Bun.gc(true);
      const warm = process.memoryUsage.rss();
      await some(count(900, 10_000));
      Bun.gc(true);
      expectNoGrowth("event files", cases, warm, process.memoryUsage.rss(), count(128, 192));
    },
    count(60_000, 600_000),
  );

  test(
    "manifests are read or refused with a code",
    async () => {
      const text = oneof(
        { arbitrary: damaged(manifestYaml), weight: 6 },
        { arbitrary: pieces, weight: 1 },
        { arbitrary: bombs, weight: 1 },
      );
      await assert(
        asyncProperty(array(text, { minLength: 1, maxLength: 3 }), (texts) => refusedProperly(() => parseManifests(texts))),
        { numRuns: count(900, 10_000) },
      );
    },
    count(60_000, 600_000),
  );

  test(
    "`send from-file` says what is wrong and ends as it should",
    async () => {
      const home = await realpath(await mkdtemp(join(tmpdir(), "transporter-fuzz-")));
      try {
        const path = join(home, "event.yaml");
        await assert(
          asyncProperty(oneof(damaged(eventYaml), oddJson.map(textOf), bombs), async (content) => {
            await Bun.write(path, content);
            const { exitCode, stderr } = await runTransporter(["send", "from-file", "-f", path, "--dry-run=client"], { timeoutMs: 20_000 });
            // 70 is what nobody thought of.
            if (exitCode === 70 || exitCode > 100 || /INTERNAL|\bat .*\.ts:\d+/.test(stderr))
              throw new Error(`${exitCode}: ${stderr.slice(0, 1000)}`);
          }),
          { numRuns: count(5, 100) },
        );
      } finally {
        await rm(home, { recursive: true, force: true });
      }
    },
    count(60_000, 600_000),
  );

  test("what is well formed is taken", async () => {
    expect(await parseEventFile(eventYaml, "event.yaml")).toMatchObject({ id: "fuzz", target_agent: "agent-1", created_by: "agent-1" });
    expect(parseManifests([manifestYaml.split("---")[0] ?? ""])).toHaveLength(1);
  });

  test("lists and maps as names of fields are refused at once", async () => {
    const startedMs = performance.now();
    await expect(parseEventFile(`? ${"? ".repeat(500)}a`, "event.yaml")).rejects.toThrow("event.yaml:1:3: a field's name is a text");
    expect(performance.now() - startedMs).toBeLessThan(LONGEST_MS);
  });
});
