/** Runs the simulation: docs/simulation.md has what it does and what it proves. Arguments go to tests/simulation/main.ts. */
import { BUN, run } from "./run.ts";

process.exitCode = await run([BUN, "tests/simulation/main.ts", ...process.argv.slice(2)]);
