/** The executable, the sandbox's programs, then every test. Arguments (a path, -t NAME, --seed N) go to `bun test`. */
import { runTests } from "./test-run.ts";

process.exitCode = await runTests({ args: process.argv.slice(2) });
