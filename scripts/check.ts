/** Everything that can be known without running the program. All of it runs, so that one look shows all that is wrong. */
import { capture, seconds, tool } from "./run.ts";

const CHECKS: readonly (readonly [string, readonly string[]])[] = [
  ["types", tool("tsc", "-p", ".")],
  ["lint", tool("oxlint", "--type-aware", "--deny-warnings")],
  ["format", tool("oxfmt", "--check")],
  ["unused", tool("knip")],
];

const startedMs = performance.now();
const failed: string[] = [];
await Promise.all(
  CHECKS.map(async ([name, command]) => {
    const checkStartedMs = performance.now();
    const { exitCode, output } = await capture(command);
    if (exitCode !== 0) {
      failed.push(name);
      console.log(output);
    }
    console.log(`${exitCode === 0 ? "ok    " : "FAILED"} ${name} (${command.slice(4).join(" ")}) in ${seconds(checkStartedMs)}`);
  }),
);
if (failed.length > 0) {
  console.error(`\n${failed.length} of ${CHECKS.length} checks failed: ${failed.toSorted().join(", ")} (${seconds(startedMs)})`);
  process.exitCode = 1;
} else console.log(`\nAll ${CHECKS.length} checks passed in ${seconds(startedMs)}`);
