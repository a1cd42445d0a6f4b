/** The executable, the sandbox's programs, then every test. Arguments (a path, -t NAME, --seed N) go to `bun test`. */
import { runTests } from "./test-run.ts";

const args = process.argv.slice(2);
// Whoever names a test looks at that one.
process.exitCode = await runTests({ args, sideBySide: args.every((arg) => arg.startsWith("--")) });
