import { parseArgs } from "node:util";
import { runSeeds } from "./runner.ts";
import { simulate } from "./simulation.ts";

const USAGE = `bun run simulate [--seeds N] [--from M] [--workers W] [--seconds S]   many runs
bun run simulate --seed N [--trace]                     one run again
With --replicas R, that many control planes share a store in each run.`;

function whole(text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${JSON.stringify(text)} is not a whole number\n${USAGE}`);
  return value;
}

/** One run, done twice: it must do the same each time. */
function replay(seed: number, trace: boolean, replicas: number): number {
  const outcome = simulate(seed, { trace, replicas });
  for (const line of outcome.lines) console.log(line);
  for (const violation of outcome.violations) console.log(`BROKEN: ${violation}`);
  console.log(
    `seed ${seed}: ${outcome.violations.length === 0 ? "all is well" : `${outcome.violations.length} broken promises`}, ` +
      `${outcome.steps} steps in ${(outcome.virtualMs / 1000).toFixed(1)} virtual seconds, hash ${outcome.hash}`,
  );
  const again = simulate(seed, { trace, replicas });
  if (again.hash !== outcome.hash) {
    const at = again.lines.findIndex((line, index) => line !== outcome.lines[index]);
    console.log(
      `IT DOES NOT REPLAY: the second run has the hash ${again.hash}${at < 0 ? "" : `, and differs first in:\n${again.lines[at]}`}`,
    );
    return 1;
  }
  return outcome.violations.length === 0 ? 0 : 1;
}

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    trace: { type: "boolean" },
    replicas: { type: "string" },
    seeds: { type: "string" },
    from: { type: "string" },
    workers: { type: "string" },
    seconds: { type: "string" },
    help: { type: "boolean" },
  },
});
const replicas = Math.max(1, whole(values.replicas, 1));
if (values.help === true) console.log(USAGE);
else if (values.seed === undefined) {
  const result = await runSeeds({
    from: whole(values.from, 1),
    seeds: whole(values.seeds, 2_000),
    replicas,
    workers: Math.max(1, whole(values.workers, 2)),
    ...(values.seconds === undefined ? {} : { seconds: whole(values.seconds, 0) }),
    say: (line) => console.log(line),
  });
  process.exitCode = result.good ? 0 : 1;
} else process.exitCode = replay(whole(values.seed, 1), values.trace === true, replicas);
