import { join } from "node:path";
import { FAILPOINTS, type Failpoint } from "../../src/kit/mod.ts";
import { TERMINAL_STATES } from "../../src/protocol/mod.ts";

/** What a share of the runs came to; crosses from the child as JSON. */
export interface Report {
  runs: number;
  steps: number;
  virtualMs: number;
  counts: Record<string, number>;
  points: Record<string, number>;
  deaths: Record<string, number>;
  reached: string[];
  failed: { readonly seed: number; readonly violations: readonly string[] }[];
}

export interface RunOptions {
  readonly from: number;
  readonly seeds: number;
  readonly workers: number;
  /** Control planes in each run that share a store; 1, with a store of its own, where nothing is said. */
  readonly replicas?: number;
  /** No run is begun after this long. */
  readonly seconds?: number;
  readonly say: (line: string) => void;
}

export interface Result extends Report {
  readonly seconds: number;
  /** Points and states that no run reached though there were enough of them. */
  readonly missed: readonly string[];
  readonly good: boolean;
}

/** So many failing seeds are enough. */
const MOST_FAILED = 10;
/** From so many runs on, everything has to have come up. */
const ENOUGH_RUNS = 4_000;
const SAY_EVERY_MS = 10_000;

function isOurs(name: Failpoint): boolean {
  return name.startsWith("cp.") || name.startsWith("agent.");
}

function add(to: Record<string, number>, from: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(from)) to[name] = (to[name] ?? 0) + value;
}

function merge(into: Report, part: Report): void {
  into.runs += part.runs;
  into.steps += part.steps;
  into.virtualMs += part.virtualMs;
  add(into.counts, part.counts);
  add(into.points, part.points);
  add(into.deaths, part.deaths);
  into.reached = [...new Set([...into.reached, ...part.reached])];
  into.failed.push(...part.failed);
}

/** Runs seeds in several processes, and says what came of them. */
export async function runSeeds(options: RunOptions): Promise<Result> {
  const { from, seeds, workers, say, replicas = 1 } = options;
  const total: Report = { runs: 0, steps: 0, virtualMs: 0, counts: {}, points: {}, deaths: {}, reached: [], failed: [] };
  const beganMs = performance.now();
  let saidMs = beganMs;
  const children = Array.from({ length: workers }, (_, at) => {
    const share = Math.ceil((seeds - at) / workers);
    const args = [from + at, workers, Math.max(0, share), replicas, ...(options.seconds === undefined ? [] : [options.seconds])];
    return Bun.spawn([process.execPath, join(import.meta.dir, "batch.ts"), ...args.map(String)], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
  });
  const broken: string[] = [];
  await Promise.all(
    children.map(async (child) => {
      let text = "";
      const decoder = new TextDecoder();
      for await (const chunk of child.stdout) {
        text += decoder.decode(chunk, { stream: true });
        const lines = text.split("\n");
        text = lines.pop() ?? "";
        for (const line of lines) {
          const part = JSON.parse(line) as Report;
          for (const { seed, violations } of part.failed.slice(0, Math.max(0, MOST_FAILED - total.failed.length))) {
            say(
              `seed ${seed} breaks ${violations.length === 1 ? "a promise" : `${violations.length} promises`}; again with: bun run simulate --seed ${seed}${replicas === 1 ? "" : ` --replicas ${replicas}`}`,
            );
            for (const violation of violations.slice(0, 5)) say(`  ${violation}`);
          }
          merge(total, part);
          if (total.failed.length >= MOST_FAILED) for (const one of children) one.kill();
        }
        if (performance.now() - saidMs > SAY_EVERY_MS) {
          saidMs = performance.now();
          say(`${total.runs} of ${seeds} runs, ${Math.round((total.runs / (saidMs - beganMs)) * 1000)}/s, ${total.failed.length} failed`);
        }
      }
      const code = await child.exited;
      if (code !== 0 && total.failed.length < MOST_FAILED) broken.push(`a process ended with ${code}`);
    }),
  );
  const seconds = (performance.now() - beganMs) / 1000;
  const missed = total.runs < ENOUGH_RUNS ? [] : missedBy(total);
  for (const line of [...summary(total, seconds, workers), ...broken]) say(line);
  for (const name of missed) say(`NEVER REACHED: ${name}`);
  const outOfTime = total.runs < seeds && options.seconds !== undefined && seconds >= options.seconds;
  if (outOfTime) say(`ONLY ${total.runs} OF ${seeds} RUNS: the ${options.seconds} s that were given are up`);
  const good =
    total.failed.length === 0 && missed.length === 0 && broken.length === 0 && total.runs > 0 && (outOfTime || total.runs === seeds);
  return { ...total, seconds, missed, good };
}

function missedBy(total: Report): string[] {
  return [
    ...FAILPOINTS.filter((name) => isOurs(name) && (total.points[name] ?? 0) === 0),
    ...FAILPOINTS.filter((name) => isOurs(name) && (total.deaths[name] ?? 0) === 0).map((name) => `a death at ${name}`),
    ...TERMINAL_STATES.filter((state) => !total.reached.includes(state)),
  ];
}

function summary(total: Report, seconds: number, workers: number): string[] {
  const count = (name: string): number => total.counts[name] ?? 0;
  const reached = FAILPOINTS.filter((name) => isOurs(name) && (total.points[name] ?? 0) > 0);
  const died = FAILPOINTS.filter((name) => isOurs(name) && (total.deaths[name] ?? 0) > 0);
  const deaths = Object.values(total.deaths).reduce((sum, one) => sum + one, 0);
  return [
    `${total.runs} runs in ${seconds.toFixed(1)} s with ${workers} processes: ${(total.runs / seconds).toFixed(0)}/s, ${total.failed.length} failed`,
    `${total.steps} steps, ${(total.virtualMs / 3_600_000).toFixed(0)} virtual hours; ${count("submitted")} events handed in, ${count("retried")} retries asked for, ${count("effects")} effects`,
    `${count("crashes")} crashes (${deaths} of them at failpoints), ${count("stops")} stops, ${count("cuts")} cuts, ${count("halfOpens")} half-opens, ` +
      `${count("dropped")} frames dropped, ${count("duplicated")} repeated, ${count("reordered")} out of order, ${count("clockJumps")} clock jumps, ` +
      `${count("diskFull")} writes refused by a full disk, ${count("unanswered")} requests without an answer`,
    ...(count("storeBreaks") === 0
      ? []
      : [
          `${count("freezes")} stood still, ${count("storeBreaks")} connections to the store broke, ${count("storeUnknown")} requests of unknown outcome, ` +
            `${count("storeAway")} times away, ${count("deaf")} deaf, ${count("failOvers")} fail-overs, ${count("fenced")} writes fenced`,
        ]),
    `failpoints: ${reached.length} of ${FAILPOINTS.filter(isOurs).length} reached, deaths at ${died.length}; states and verdicts: ${total.reached.toSorted().join(", ")}`,
  ];
}
