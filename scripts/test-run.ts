import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareBinaries, prepareRedis } from "../sandbox/mod.ts";
import { build } from "./build.ts";
import { BUN, ROOT } from "./run.ts";

export interface TestRunOptions {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** For tests that name none of their own. */
  readonly timeoutMs?: number;
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

/** Prepares what the tests need, runs them, prints `N passed, N failed` as the last line; gives the exit code. */
export async function runTests({ args, env = {}, timeoutMs = 30_000 }: TestRunOptions): Promise<number> {
  const ready = await Promise.allSettled([
    build(),
    prepareRedis({ onProgress }),
    // Where it can be had, the store's contract is tried on it as well; nobody has to have it.
    prepareRedis({ flavor: "valkey", onProgress }).catch(() => undefined),
    Promise.all(Object.values(prepareBinaries({ onProgress }))),
  ]);
  for (const part of ready)
    if (part.status === "rejected") {
      console.error(part.reason instanceof Error ? part.reason.message : String(part.reason));
      // At home the tests that need what is missing are skipped loudly; under CI they fail one by one.
      console.error("Going on without it.\n");
    }
  const outcome = await runBunTest([`--timeout=${timeoutMs}`, ...args], { cwd: ROOT, env });
  console.log(`\n${lastLine(outcome)}`);
  return isGood(outcome) ? 0 : 1;
}

/** `bun test` with its output passed on, and what really happened. */
export async function runBunTest(
  args: readonly string[],
  { cwd, env = {}, quiet = false }: { readonly cwd: string; readonly env?: Readonly<Record<string, string>>; readonly quiet?: boolean },
): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), "transporter-junit-"));
  try {
    const report = join(directory, "junit.xml");
    const child = Bun.spawn([BUN, "test", "--reporter=junit", `--reporter-outfile=${report}`, ...args], {
      cwd,
      env: { ...process.env, ...(process.stderr.isTTY ? { FORCE_COLOR: "1" } : {}), ...env },
      stdin: "ignore",
      stdout: quiet ? "ignore" : "inherit",
      stderr: "pipe",
    });
    let tail = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) {
      if (!quiet) process.stderr.write(chunk);
      tail = (tail + decoder.decode(chunk, { stream: true })).slice(-2000);
    }
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
