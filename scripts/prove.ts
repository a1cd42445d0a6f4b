/**
 * The tests at full size: what an ordinary run does with small counts (kills, soaks, large events) looks at TRANSPORTER_PROVE and does
 * here in full. Takes long. Arguments go to `bun test`.
 */
import { runTests } from "./test-run.ts";

process.exitCode = await runTests({ args: process.argv.slice(2), env: { TRANSPORTER_PROVE: "1" }, timeoutMs: 1_800_000 });
