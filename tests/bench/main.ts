/**
 * Measures Transporter on this machine and prints every figure beside what is aimed for. Nothing is asserted: a bar that is not met is a
 * line that says so. docs/bench.md explains each part.
 *
 *   bun tests/bench/main.ts [--only NAME[,NAME]] [--quick] [--source] [--json FILE]
 */
import { cpus, loadavg, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { cluster } from "./cluster.ts";
import { connections } from "./connections.ts";
import { engine } from "./engine.ts";
import { type Figure, table } from "./figures.ts";
import { image } from "./image.ts";
import { large } from "./large.ts";
import { latency } from "./latency.ts";
import { program } from "./program.ts";
import { queues } from "./queues.ts";
import { redisStore } from "./redis-store.ts";
import { replicas } from "./replicas.ts";
import { apply, store } from "./rooms.ts";
import { security } from "./security.ts";
import { stuck } from "./stuck.ts";
import { storm } from "./storm.ts";
import { intake, throughput } from "./throughput.ts";
import { Workbench } from "./workbench.ts";

const PARTS = {
  throughput,
  intake,
  large,
  latency,
  stuck,
  connections,
  storm,
  security,
  replicas,
  queues,
  cluster,
  engine,
  program,
  image,
  store,
  "redis-store": redisStore,
  apply,
} as const;
type PartName = keyof typeof PARTS;

function isPartName(name: string): name is PartName {
  return Object.hasOwn(PARTS, name);
}

function chosen(only: string | undefined): PartName[] {
  const all = Object.keys(PARTS).filter(isPartName);
  if (only === undefined) return all;
  const asked = only.split(",");
  const unknown = asked.find((name) => !isPartName(name));
  if (unknown !== undefined) throw new Error(`--only ${unknown}: there is no such part; there are ${all.join(", ")}`);
  return all.filter((name) => asked.includes(name));
}

function machine(): {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly load: string;
  readonly bun: string;
} {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    load: (loadavg()[0] ?? 0).toFixed(1),
    bun: Bun.version,
  };
}

const { values } = parseArgs({
  options: { only: { type: "string" }, quick: { type: "boolean" }, source: { type: "boolean" }, json: { type: "string" } },
});
const names = chosen(values.only);
const startedMs = performance.now();
const at = new Date().toISOString();
const before = machine();
const say = (line: string): void => console.log(line);
const bench = await Workbench.open({ quick: values.quick === true, source: values.source === true, say });
const figures: Figure[] = [];
const faults: { readonly part: PartName; readonly error: string }[] = [];
try {
  for (const name of names) {
    const partMs = performance.now();
    try {
      figures.push(...(await PARTS[name](bench)));
      say(`${name}: ${((performance.now() - partMs) / 1000).toFixed(0)} s`);
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      faults.push({ part: name, error: text });
      say(`${name}: FAILED: ${text}`);
    }
  }
} finally {
  await bench[Symbol.asyncDispose]();
}

const judged = figures.flatMap(({ bar }) => bar ?? []);
const met = judged.filter((bar) => bar.met).length;
const how = bench.compiled ? "the compiled executable" : "from source";
say("");
say(`Transporter, ${how}, ${at}, ${before.cores} × ${before.cpu}, ${before.memoryGiB} GiB, Bun ${before.bun}`);
say(
  `Load average ${before.load} at the start${Number(before.load) > before.cores / 2 ? ": THE MACHINE WAS BUSY, the figures are worse than its own" : ""}`,
);
if (bench.quick) say("QUICK: small counts, to see that it works; these are no figures to quote");
say("");
say(table(figures));
say("");
say(`${met} of ${judged.length} bars met in ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
for (const { part, error } of faults) say(`FAILED ${part}: ${error.split("\n")[0] ?? ""}`);
if (values.json !== undefined) {
  await Bun.write(
    values.json,
    `${JSON.stringify({ at, runs: how, quick: bench.quick, machine: before, figures, faults }, undefined, 2)}\n`,
  );
  say(`Written to ${values.json}`);
}
process.exit(faults.length > 0 ? 1 : 0);
