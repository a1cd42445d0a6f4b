/**
 * The control plane under fuzz, a process of its own: `bun cp-process.ts STORE_PATH`. Says its address, and on SIGUSR2 what it holds in
 * memory once the garbage is gone. What nobody caught is said, so that it cannot pass unseen.
 */
import { createLogger, systemPorts } from "../../src/kit/mod.ts";
import { startCp } from "../support/cp.ts";
import { sayFaults, sayMemoryWhenAsked } from "./saying.ts";

sayFaults();
sayMemoryWhenAsked();
const log = createLogger({
  format: "json",
  debug: false,
  color: false,
  now: () => systemPorts.clock.now(),
  // What is refused is no news here, and writing it all would be most of the work.
  write: (line) => void (line.includes('"level":"error"') && process.stdout.write(`${line}\n`)),
});
const cp = await startCp({ storeUrl: `sqlite:${process.argv[2] ?? ""}`, log, maxEventBytes: 4 * 1024 * 1024 });
process.stdout.write(`READY ${cp.url}\n`);
