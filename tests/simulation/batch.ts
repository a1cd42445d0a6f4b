/** A child of the runner: runs its share of the seeds and tells, a line of JSON for each hundred or so, what came of them. */
import { messageOf } from "../../src/kit/mod.ts";
import type { Report } from "./runner.ts";
import { simulate } from "./simulation.ts";

const [from = 0, step = 1, count = 0, replicas = 1, seconds = Number.POSITIVE_INFINITY] = process.argv.slice(2).map(Number);
const lastMs = performance.now() + seconds * 1000;

function fresh(): Report {
  return { runs: 0, steps: 0, virtualMs: 0, counts: {}, points: {}, deaths: {}, reached: [], failed: [] };
}

function add(to: Record<string, number>, what: Iterable<readonly [string, number]>): void {
  for (const [name, value] of what) to[name] = (to[name] ?? 0) + value;
}

let report = fresh();
let stray: unknown;
process.on("unhandledRejection", (reason) => {
  stray = reason;
});
/** Rejections that nobody took show up only when the turn is over; also gives memory back. */
async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

for (let done = 0; done < count; done += 1) {
  const last = done === count - 1 || performance.now() > lastMs;
  const seed = from + done * step;
  const outcome = simulate(seed, { replicas });
  await turn();
  const violations =
    stray === undefined ? [...outcome.violations] : [...outcome.violations, `a rejection that nobody took: ${messageOf(stray)}`];
  stray = undefined;
  report.runs += 1;
  report.steps += outcome.steps;
  report.virtualMs += outcome.virtualMs;
  add(report.counts, Object.entries(outcome.counts));
  add(report.points, outcome.points);
  add(report.deaths, outcome.deaths);
  report.reached = [...new Set([...report.reached, ...outcome.reached])];
  if (violations.length > 0) report.failed.push({ seed, violations });
  if (report.runs >= 100 || report.failed.length > 0 || last) {
    console.log(JSON.stringify(report));
    report = fresh();
  }
  if (last) break;
}
