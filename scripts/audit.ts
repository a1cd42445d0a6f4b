/**
 * Known faults of the packages in the lockfile, by the registry's advisories. 0: none; 1: some; 2: the registry does not tell (a mirror
 * often has no advisories), so nothing was looked at.
 */
import { BUN, capture } from "./run.ts";

const { exitCode, output } = await capture([BUN, "audit"]);
const plain = Bun.stripANSI(output);
console.log(plain);
if (exitCode !== 0 && /^error:/m.test(plain)) {
  console.error(
    "\nNOT AUDITED: the registry does not answer questions about advisories. Ask one that does: npm_config_registry=URL just audit",
  );
  process.exitCode = 2;
} else process.exitCode = exitCode === 0 ? 0 : 1;
