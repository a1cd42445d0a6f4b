import { test } from "bun:test";
import { missingPodPrograms, podClustersProblem } from "../../sandbox/mod.ts";

const IN_CI = !["", "0", "false"].includes(process.env["CI"] ?? "");

const PROBLEM = await podClustersProblem();
const MISSING: readonly string[] = PROBLEM === undefined ? await missingPodPrograms() : [];

if (PROBLEM !== undefined) console.warn(`\nSKIPPED: tests on clusters with real pods. Such a cluster ${PROBLEM}.\n`);
else if (MISSING.length > 0 && !IN_CI)
  console.warn(
    `\nSKIPPED: tests on clusters with real pods. These programs are not there yet: ${MISSING.join(", ")}.\n` +
      "`bun run test` gets them once; then they run everywhere.\n",
  );

/** Whether to leave out what needs real pods. Never under CI on Linux as root: there what is missing is got, or is a failure. */
export const SKIP_PODS: boolean = PROBLEM !== undefined || (MISSING.length > 0 && !IN_CI);

/** `test` for what needs real pods. */
export function podTest(name: string, run: () => Promise<void>, timeoutMs = 120_000): void {
  test.skipIf(SKIP_PODS)(name, run, timeoutMs);
}
