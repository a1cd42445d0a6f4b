import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { podClustersProblem, prepareBinaries, preparePodPrograms, prepareRedis } from "../sandbox/mod.ts";
import { definitionFiles, HELM, KUBECONFORM } from "../sandbox/helm/mod.ts";
import { ACTIONLINT } from "../sandbox/linters/mod.ts";
import { build } from "./build.ts";
import { BUN, ROOT } from "./run.ts";

export interface TestRunOptions {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** For tests that name none of their own. */
  readonly timeoutMs?: number;
  /** All tests in two processes side by side, which takes little more than half the time: most of them wait for something. */
  readonly sideBySide?: boolean;
}

export interface Outcome {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Faults outside any test: a file that does not load, a rejection that nobody took. */
  readonly errors: number;
}

function onProgress(line: string): void {
  console.log(line);
}

/** One build after the other: each takes all that a small machine has. */
async function prepareClusters(): Promise<void> {
  await Promise.all(Object.values(prepareBinaries({ onProgress })));
  const tools = [HELM.prepare({ onProgress }), KUBECONFORM.prepare({ onProgress }), ACTIONLINT.prepare({ onProgress })];
  await Promise.all(tools.flatMap((programs) => Object.values<Promise<string>>(programs)));
  await definitionFiles();
  if ((await podClustersProblem()) === undefined) await preparePodPrograms(onProgress);
}

/** Prepares what the tests need, runs them, prints `N passed, N failed` as the last line; gives the exit code. */
export async function runTests({ args, env = {}, timeoutMs = 30_000, sideBySide = false }: TestRunOptions): Promise<number> {
  const ready = await Promise.allSettled([
    build(),
    prepareRedis({ onProgress }),
    // Where it can be had, the store's contract is tried on it as well; nobody has to have it.
    prepareRedis({ flavor: "valkey", onProgress }).catch(() => undefined),
    prepareClusters(),
  ]);
  for (const part of ready)
    if (part.status === "rejected") {
      console.error(part.reason instanceof Error ? part.reason.message : String(part.reason));
      // At home the tests that need what is missing are skipped loudly; under CI they fail one by one.
      console.error("Going on without it.\n");
    }
  const lanes = sideBySide ? lanesOf([...new Bun.Glob("{src,tests}/**/*.test.ts").scanSync({ cwd: ROOT })]) : [[]];
  const outcomes = await inLanes(lanes, (files, log) =>
    runBunTest([`--timeout=${timeoutMs}`, ...args, ...files], { cwd: ROOT, env, ...(log === undefined ? {} : { log }) }),
  );
  const outcome = together(outcomes);
  console.log(`\n${lastLine(outcome)}`);
  return isGood(outcome) ? 0 : 1;
}

/**
 * What mostly starts other programs and waits for them, beside all the rest. What may want the default ports (examples, the quickstart) is
 * in one lane, where one file runs after the other.
 */
const SECOND_LANE = /^tests\/(charts|crash|differential|docs|e2e-local|image|operations|queues|release|sandbox|stories|upgrade)\//;

/** Each file in one of two lanes, as paths that `bun test` takes for paths. */
export function lanesOf(files: readonly string[]): readonly (readonly string[])[] {
  const paths = files.toSorted().map((file) => file.replaceAll("\\", "/"));
  return [paths.filter((path) => !SECOND_LANE.test(path)), paths.filter((path) => SECOND_LANE.test(path))].map((lane) =>
    lane.map((path) => `./${path}`),
  );
}

/** Runs them at the same time. The first is seen as it goes; of the others one sees all when they have ended, since mixed lines say nothing. */
async function inLanes(
  lanes: readonly (readonly string[])[],
  go: (files: readonly string[], log: string | undefined) => Promise<Outcome>,
): Promise<readonly Outcome[]> {
  const directory = await mkdtemp(join(tmpdir(), "transporter-lanes-"));
  try {
    const running = lanes.map((files, lane) => go(files, lane === 0 ? undefined : join(directory, `${lane}.log`)));
    const outcomes: Outcome[] = [];
    for (const [lane, outcome] of running.entries()) {
      outcomes.push(await outcome);
      if (lane > 0) process.stdout.write(`\n${await readFile(join(directory, `${lane}.log`), "utf8")}`);
    }
    return outcomes;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function together(outcomes: readonly Outcome[]): Outcome {
  const sum = (of: keyof Outcome): number => outcomes.reduce((total, outcome) => total + outcome[of], 0);
  // A lane in which nothing ran proves nothing, however much the other one did.
  const idle = outcomes.filter(({ passed, failed }) => passed + failed === 0).length;
  return { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped"), errors: sum("errors") + idle };
}

export interface BunTestOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly quiet?: boolean;
  /** A file that its output goes to instead. */
  readonly log?: string;
}

/** `bun test` with its output passed on, and what really happened. */
export async function runBunTest(args: readonly string[], { cwd, env = {}, quiet = false, log }: BunTestOptions): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), "transporter-junit-"));
  try {
    const report = join(directory, "junit.xml");
    const child = Bun.spawn([BUN, "test", "--reporter=junit", `--reporter-outfile=${report}`, ...args], {
      cwd,
      env: { ...process.env, ...(process.stderr.isTTY ? { FORCE_COLOR: "1" } : {}), ...env },
      stdin: "ignore",
      stdout: log === undefined ? (quiet ? "ignore" : "inherit") : "pipe",
      stderr: "pipe",
    });
    let tail = "";
    const decoder = new TextDecoder();
    const kept = log === undefined ? undefined : Bun.file(log).writer();
    const reading = kept === undefined || child.stdout === undefined ? undefined : keep(child.stdout, kept);
    for await (const chunk of child.stderr) {
      if (kept !== undefined) await kept.write(chunk);
      else if (!quiet) process.stderr.write(chunk);
      tail = (tail + decoder.decode(chunk, { stream: true })).slice(-2000);
    }
    await reading;
    await kept?.end();
    const exitCode = await child.exited;
    const counts = countsOf(await readFile(report, "utf8").catch(() => ""));
    const stated = Number(/^ (\d+) errors?$/m.exec(Bun.stripANSI(tail))?.[1] ?? 0);
    // Whatever made it end badly counts, also when nobody said what: a crash of the runner must not look like success.
    const errors = stated === 0 && exitCode !== 0 && counts.failed === 0 ? 1 : stated;
    return { ...counts, errors };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function keep(output: ReadableStream<Uint8Array>, kept: Bun.FileSink): Promise<void> {
  for await (const chunk of output) await kept.write(chunk);
}

/** Counts the cases of the report themselves, not the totals that it states. It lacks faults outside tests. */
export function countsOf(junit: string): Omit<Outcome, "errors"> {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  for (const [, selfClosed, body = ""] of junit.matchAll(/<testcase\b(?:[^>"]|"[^"]*")*?(?:(\/)>|>([\s\S]*?)<\/testcase>)/g)) {
    if (selfClosed === undefined && /<(?:failure|error)\b/.test(body)) failed += 1;
    else if (selfClosed === undefined && /<skipped\b/.test(body)) skipped += 1;
    else passed += 1;
  }
  return { passed, failed, skipped };
}

export function lastLine({ passed, failed, skipped, errors }: Outcome): string {
  return `${passed} passed, ${failed + errors} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

/** A run in which nothing ran proves nothing. */
export function isGood({ passed, failed, errors }: Outcome): boolean {
  return failed + errors === 0 && passed > 0;
}
