import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { parse } from "yaml";
import { ACTIONLINT } from "../../sandbox/linters/mod.ts";
import { filesOf, readText, ROOT } from "../docs/markdown.ts";

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}
interface Job {
  readonly permissions?: Readonly<Record<string, string>>;
  readonly "timeout-minutes"?: number;
  readonly "runs-on"?: string;
  readonly steps: readonly Step[];
}
interface Workflow {
  readonly on: Readonly<Record<string, unknown>>;
  readonly permissions?: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, Job>>;
}

const PATHS = filesOf(".github/workflows/*.yml");
const TEXTS = new Map(await Promise.all(PATHS.map(async (path) => [path, await readText(path)] as const)));
const WORKFLOWS = [...TEXTS].map(([path, text]) => ({ path, ...(parse(text) as Workflow) }));
const JOBS = WORKFLOWS.flatMap(({ path, jobs }) => Object.entries(jobs).map(([name, job]) => ({ where: `${path}: ${name}`, ...job })));
const SETUP = ".github/actions/setup/action.yml";

function just(...args: readonly string[]): { readonly code: number; readonly text: string } {
  const program = join(ROOT, "node_modules/.bin/just");
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, "--bun", program, ...args], { cwd: ROOT, stdin: "ignore" });
  return { code: exitCode, text: stdout.toString() + stderr.toString() };
}

interface Recipe {
  readonly doc: string | null;
  readonly private: boolean;
  readonly parameters: readonly { readonly kind: "singular" | "star" | "plus"; readonly default: string | null }[];
  readonly body: readonly (readonly unknown[])[];
}
const RECIPES = (JSON.parse(just("--dump", "--dump-format", "json").text) as { readonly recipes: Readonly<Record<string, Recipe>> })
  .recipes;

/** As a shell would, for the quotes and expressions that workflows use here. */
function wordsOf(line: string): string[] {
  const plain = line.replaceAll(/\$\{\{[^}]*\}\}/g, "x").replaceAll(/\$\{\w+[^}]*\}|\$\w+/g, "x");
  return plain.split(/\s+/).map((word) => word.replaceAll('"', ""));
}

describe("the justfile", () => {
  test("lists its recipes, each with what it is for", () => {
    const listed = just("--list", "--unsorted");
    expect(listed.code).toBe(0);
    for (const [name, { doc, private: hidden }] of Object.entries(RECIPES)) {
      if (hidden) continue;
      expect({ name, doc }).toEqual({ name, doc: expect.stringMatching(/^[A-Z]/) });
      expect(listed.text).toContain(`${name} `);
    }
  });

  test("runs scripts that are there", async () => {
    const doors = (JSON.parse(await readText("package.json")) as { readonly scripts: Readonly<Record<string, string>> }).scripts;
    const called = Object.entries(RECIPES).flatMap(([name, { body }]) => {
      const text = JSON.stringify(body);
      const door = / run ([\w-]+)/.exec(text)?.[1];
      const command = door === undefined ? text : (doors[door] ?? `no door ${door}`);
      return [{ name, file: /(?:scripts|bin)\/[\w-]+\.ts/.exec(command)?.[0], command }];
    });
    const missing = [];
    for (const { name, file, command } of called)
      if (file === undefined ? !/--list|oxfmt|\.\/src|^\[\]$/.test(command) : !(await Bun.file(join(ROOT, file)).exists()))
        missing.push(`${name}: ${file ?? command}`);
    expect(missing).toEqual([]);
  });
});

describe("workflows", () => {
  test("are there for checks, tests, clusters, the image, releases and what takes long", () => {
    expect(PATHS.map((path) => path.split("/").at(-1))).toEqual([
      "check.yml",
      "e2e.yml",
      "image.yml",
      "release.yml",
      "scheduled.yml",
      "test.yml",
    ]);
  });

  test("run recipes and nothing else, with arguments that these take", () => {
    const lines = JOBS.flatMap(({ where, steps }) => steps.flatMap(({ run }) => (run === undefined ? [] : [{ where, run: run.trim() }])));
    expect(lines.length).toBeGreaterThan(15);
    for (const { where, run } of lines) {
      expect({ where, run }).toEqual({ where, run: expect.stringMatching(/^just [a-z][^\n;&|]*$/) });
      const [, ...words] = wordsOf(run);
      const [recipe = "", ...given] = words;
      const { parameters } = RECIPES[recipe] ?? { parameters: undefined };
      const required = parameters?.filter(({ kind, default: preset }) => kind === "singular" && preset === null).length ?? 0;
      const atMost = parameters?.some(({ kind }) => kind !== "singular") === true ? Infinity : (parameters?.length ?? -1);
      expect({ where, run, taken: given.length >= required && given.length <= atMost }).toEqual({ where, run, taken: true });
    }
  });

  test("begin by what CONTRIBUTING.md says, with the Bun that package.json wants", async () => {
    const { runs } = parse(await readText(SETUP)) as { readonly runs: { readonly steps: readonly Step[] } };
    const { engines } = JSON.parse(await readText("package.json")) as { readonly engines: { readonly bun: string } };
    expect(runs.steps.flatMap(({ run }) => run ?? [])).toEqual([
      `npm install --global bun@${engines.bun.replace(">=", "")}`,
      "bun install --frozen-lockfile",
      'echo "$PWD/node_modules/.bin" >> "$GITHUB_PATH"',
    ]);
    for (const { where, steps } of JOBS)
      expect({ where, first: steps.slice(0, 2).map(({ uses = "" }) => uses.split("@")[0]) }).toEqual({
        where,
        first: ["actions/checkout", "./.github/actions/setup"],
      });
  });

  test("use others' actions by commit, and say of which version it is", async () => {
    const texts = [...TEXTS, [SETUP, await readText(SETUP)] as const];
    const uses = texts.flatMap(([path, text]) => [...text.matchAll(/uses: (.+)$/gm)].map(([, used = ""]) => ({ path, used })));
    const commits = new Map<string, Set<string>>();
    for (const { path, used } of uses) {
      if (used.startsWith("./")) continue;
      expect({ path, used }).toEqual({ path, used: expect.stringMatching(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/) });
      const [name = "", commit = ""] = used.split("@");
      commits.set(name, (commits.get(name) ?? new Set()).add(commit));
    }
    for (const [name, of] of commits) expect({ name, of: of.size }).toEqual({ name, of: 1 });
  });

  test("may read the sources and nothing else, except where something is published", () => {
    for (const { path, permissions, on } of WORKFLOWS) {
      expect({ path, permissions }).toEqual({ path, permissions: { contents: "read" } });
      // Would run what strangers propose with rights of the repository.
      expect(Object.keys(on)).not.toContain("pull_request_target");
    }
    const written = JOBS.filter(({ permissions = {} }) => Object.values(permissions).includes("write"));
    expect(written.map(({ where }) => where).toSorted()).toEqual([
      ".github/workflows/image.yml: edge",
      ".github/workflows/release.yml: charts",
      ".github/workflows/release.yml: image",
      ".github/workflows/release.yml: publish",
    ]);
    for (const { where, steps, ...job } of JOBS) {
      expect({ where, minutes: job["timeout-minutes"] }).toEqual({ where, minutes: expect.any(Number) });
      for (const { uses = "", with: given } of steps)
        if (uses.startsWith("actions/checkout@")) expect({ where, given }).toEqual({ where, given: { "persist-credentials": false } });
    }
    for (const text of TEXTS.values()) expect(text).not.toContain("secrets.");
  });
});

const IN_CI = !["", "0", "false"].includes(process.env["CI"] ?? "");
const SKIP = (await ACTIONLINT.missing()).length > 0 && !IN_CI;
if (SKIP) console.warn("\nSKIPPED: actionlint on the workflows. `bun run test` builds it once.\n");

test.skipIf(SKIP)(
  "actionlint finds nothing in them, and would",
  async () => {
    const program = await ACTIONLINT.prepare({ onProgress: (line) => console.log(line) }).actionlint;
    const lint = (args: readonly string[], stdin?: string): { readonly code: number; readonly text: string } => {
      const run = Bun.spawnSync([program, "-no-color", "-shellcheck=", "-pyflakes=", ...args], {
        cwd: ROOT,
        stdin: stdin === undefined ? "ignore" : Buffer.from(stdin),
      });
      return { code: run.exitCode, text: run.stdout.toString() + run.stderr.toString() };
    };
    expect(lint(PATHS)).toEqual({ code: 0, text: "" });
    const broken = (TEXTS.get(".github/workflows/release.yml") ?? "").replace("steps.push.outputs", "steps.pushed.outputs");
    expect(lint(["-"], broken)).toEqual({ code: 1, text: expect.stringContaining('property "pushed" is not defined') });
  },
  300_000,
);
