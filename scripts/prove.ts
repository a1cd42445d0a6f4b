/**
 * The tests at full size: what an ordinary run does with small counts (kills, soaks, large events) looks at TRANSPORTER_PROVE and does
 * here in full. Takes long. A folder of tests as the first word (`crash`, …) runs that one alone; other arguments go to `bun test`.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { BUN, ROOT, run } from "./run.ts";
import { runTests } from "./test-run.ts";

const [first = "", ...rest] = process.argv.slice(2);
const folder = /^[a-z0-9]+$/.test(first) && existsSync(join(ROOT, "tests", first));
const args = folder ? [`./tests/${first}`, ...rest] : process.argv.slice(2);
process.exitCode = await runTests({ args, env: { TRANSPORTER_PROVE: "1" }, timeoutMs: 1_800_000 });
// That the tests of the security room are tests: with all of them, or where that folder is named.
if (process.argv.length === 2 || first === "security") {
  const mutated = await run([BUN, "scripts/mutate.ts"]);
  if (process.exitCode === 0) process.exitCode = mutated;
}
