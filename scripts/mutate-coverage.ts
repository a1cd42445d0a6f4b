import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** The runtime counts lines after its own translation: what stands within so many lines of one that ran counts as run. */
const NEAR_LINES = 2;

/** Which lines of which files one file of tests runs, and how long it takes. */
export interface Coverage {
  readonly test: string;
  readonly tookMs: number;
  readonly lines: ReadonlyMap<string, ReadonlySet<number>>;
}

/** Reads what `bun test --coverage --coverage-reporter=lcov` has left in a directory. */
export async function readCoverage(test: string, directory: string, tookMs: number): Promise<Coverage> {
  const lines = new Map<string, Set<number>>();
  let current = new Set<number>();
  for (const line of (await readFile(join(directory, "lcov.info"), "utf8")).split("\n")) {
    if (line.startsWith("SF:")) {
      current = new Set();
      lines.set(line.slice(3), current);
    } else if (line.startsWith("DA:")) {
      const [at = 0, count = 0] = line.slice(3).split(",").map(Number);
      if (count > 0) current.add(at);
    }
  }
  return { test, tookMs, lines };
}

/** The tests that run this line, the quickest first; those that run anything of the file where none seems to. */
export function testsOf(coverages: readonly Coverage[], file: string, line: number): string[] {
  const near = ({ lines }: Coverage): boolean => {
    const ran = lines.get(file);
    if (ran === undefined) return false;
    for (let at = line - NEAR_LINES; at <= line + NEAR_LINES; at += 1) if (ran.has(at)) return true;
    return false;
  };
  const quick = coverages.toSorted((a, b) => a.tookMs - b.tookMs);
  const found = quick.filter(near);
  return (found.length > 0 ? found : quick.filter(({ lines }) => (lines.get(file)?.size ?? 0) > 0)).map(({ test }) => test);
}
