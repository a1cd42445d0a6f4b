/**
 * Shows that every check of `src/security` is held by a test: takes each away, one at a time, and runs the tests. What no test notices is
 * printed, and the exit code is 1, unless `mutate-equivalents.ts` says why it makes no difference.
 *
 *   bun scripts/mutate.ts [FILE…] [--jobs N] [--list]
 *
 * FILE: parts of the paths of those to mutate. `--list` only says what would be tried.
 */
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Coverage, readCoverage, testsOf } from "./mutate-coverage.ts";
import { EQUIVALENTS } from "./mutate-equivalents.ts";
import { type Mutant, mutantsOf } from "./mutants.ts";
import { BUN, ROOT, seconds } from "./run.ts";

const ROOM = "src/security";
/** What stands in for something in tests is no check. */
const NOT_MUTATED = /\.test\.ts$|-for-tests\.ts$|\/memory-documents\.ts$|\/mod\.ts$|\/gate\.ts$/;
/** Folders of tests elsewhere that hold checks of the room by openssl or a real client. */
const FURTHER_TESTS: readonly string[] = ["tests/security/pki"];
/** A mutant may make a test wait for what never comes. */
const TIMEOUT_MS = 60_000;

type Verdict = "killed" | "survived" | "late";

/** A copy of the project of its own, in which one file at a time is another. */
class Workshop {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  static async open(base: string, name: string): Promise<Workshop> {
    const directory = join(base, name);
    await mkdir(directory);
    for (const folder of ["src", "tests", "scripts", "sandbox", "bin"])
      await cp(join(ROOT, folder), join(directory, folder), { recursive: true });
    for (const file of ["package.json", "tsconfig.json", "bunfig.toml"]) await cp(join(ROOT, file), join(directory, file));
    await symlink(join(ROOT, "node_modules"), join(directory, "node_modules"));
    return new Workshop(directory);
  }

  /** One file of tests after the other, until one notices. */
  async try(mutant: Mutant, source: string, tests: readonly string[]): Promise<Verdict> {
    const path = join(this.#directory, mutant.file);
    await writeFile(path, source.slice(0, mutant.start) + mutant.replacement + source.slice(mutant.end));
    try {
      for (const test of tests) {
        const code = await this.test([test]);
        if (code !== 0) return code === undefined ? "late" : "killed";
      }
      return "survived";
    } finally {
      await writeFile(path, source);
    }
  }

  /** The exit code of these tests; undefined where they took too long. */
  async test(paths: readonly string[], options: readonly string[] = []): Promise<number | undefined> {
    const child = Bun.spawn([BUN, "test", "--bail=1", "--timeout=20000", ...options, ...paths], {
      cwd: this.#directory,
      env: { ...process.env, NO_COLOR: "1" },
      stdio: ["ignore", "ignore", "ignore"],
      detached: true,
    });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      process.kill(-child.pid, "SIGKILL");
    }, TIMEOUT_MS);
    const code = await child.exited;
    clearTimeout(timer);
    return late ? undefined : code;
  }
}

/** What each file of tests runs. They must pass as things are, or nothing could be said. */
async function coverageOf(workshop: Workshop, base: string): Promise<Coverage[]> {
  const paths = [ROOM, ...FURTHER_TESTS].flatMap((folder) => [...new Bun.Glob(`${folder}/**/*.test.ts`).scanSync({ cwd: ROOT })]);
  const coverages: Coverage[] = [];
  for (const path of paths.toSorted()) {
    const directory = join(base, "coverage");
    const testMs = performance.now();
    const code = await workshop.test([`./${path}`], ["--coverage", "--coverage-reporter=lcov", `--coverage-dir=${directory}`]);
    if (code !== 0) throw new Error(`${path} fails without any change: nothing can be said`);
    coverages.push(await readCoverage(`./${path}`, directory, performance.now() - testMs));
  }
  return coverages;
}

function shown(text: string): string {
  return JSON.stringify(text.replaceAll(/\s+/g, " ").slice(0, 100));
}

function describe({ file, line, what, original, replacement }: Mutant): string {
  return `${file}:${line}: ${what}: ${shown(original)} -> ${shown(replacement)}`;
}

/** By what stands there and not by line: lines move. */
function reasonFor({ file, what, original, context }: Mutant): string | undefined {
  const of = EQUIVALENTS[file.slice(ROOM.length + 1)] ?? [];
  return of.find((one) => one.what === what && original.includes(one.original) && context.includes(one.within ?? ""))?.because;
}

const { values, positionals } = parseArgs({
  options: { jobs: { type: "string" }, list: { type: "boolean" } },
  allowPositionals: true,
});
const startedMs = performance.now();
const files = [...new Bun.Glob(`${ROOM}/**/*.ts`).scanSync({ cwd: ROOT })]
  .filter((file) => !NOT_MUTATED.test(file) && (positionals.length === 0 || positionals.some((part) => file.includes(part))))
  .toSorted();
const sources = new Map(await Promise.all(files.map(async (file) => [file, await readFile(join(ROOT, file), "utf8")] as const)));
const mutants = files.flatMap((file) => mutantsOf(file, sources.get(file) ?? ""));

if (values.list === true) {
  for (const mutant of mutants) console.log(describe(mutant));
  console.log(`${mutants.length} mutants of ${files.length} files`);
  process.exit(0);
}

const base = await mkdtemp(join(tmpdir(), "transporter-mutate-"));
const survivors: Mutant[] = [];
const excused: Mutant[] = [];
let tried = 0;
let late = 0;
try {
  const jobs = Number(values.jobs ?? 2);
  const workshops = await Promise.all(Array.from({ length: jobs }, (_, at) => Workshop.open(base, String(at))));
  const [first] = workshops;
  if (first === undefined) throw new Error("--jobs is 1 or more");
  const coverages = await coverageOf(first, base);
  const queue = mutants.values();
  await Promise.all(
    workshops.map(async (workshop) => {
      for (const mutant of queue) {
        const known = reasonFor(mutant);
        if (known !== undefined) {
          excused.push(mutant);
          continue;
        }
        const verdict = await workshop.try(mutant, sources.get(mutant.file) ?? "", testsOf(coverages, mutant.file, mutant.line));
        tried += 1;
        if (verdict === "late") late += 1;
        if (verdict === "survived") {
          survivors.push(mutant);
          console.log(`SURVIVED ${describe(mutant)}`);
        }
        if (tried % 100 === 0)
          console.log(`${tried} of ${mutants.length - excused.length} tried, ${survivors.length} survived (${seconds(startedMs)})`);
      }
    }),
  );
} finally {
  await rm(base, { recursive: true, force: true });
}
console.log(
  `\n${mutants.length} mutants of ${files.length} files: ${tried - survivors.length} noticed (${late} by never ending), ${excused.length} make no difference by reasoning, ${survivors.length} survived (${seconds(startedMs)})`,
);
process.exitCode = survivors.length > 0 ? 1 : 0;
