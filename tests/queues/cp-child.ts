/** A control plane in a process of its own, with a queue in front, that a test can kill; `failpoint@N` lets it kill itself there. */
import { writeSync } from "node:fs";
import { listenToFailpoints, silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openQueue } from "../../src/queues/mod.ts";
import { startCp } from "../support/cp.ts";

const [storeUrl = "", queueUrl = "", order = ""] = process.argv.slice(2);
if (order !== "") {
  const [name, count] = order.split("@");
  let left = Number(count);
  listenToFailpoints((reached) => {
    if (reached !== name) return;
    left -= 1;
    if (left === 0) process.kill(process.pid, "SIGKILL");
  });
}
const queue = await openQueue(queueUrl, { log: silentLogger, ports: systemPorts });
const cp = await startCp({ storeUrl, queue });
writeSync(1, `listening ${cp.url}\n`);
