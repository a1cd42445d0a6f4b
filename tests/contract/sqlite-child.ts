/** A process of its own that owns a store and says on standard output what was acknowledged, so that a test can kill it at any moment. */
import { writeSync } from "node:fs";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openStore } from "../../src/stores/mod.ts";
import { newEvent, statusOf } from "../support/store-inputs.ts";

const [url = "", round = "0", job = "accept"] = process.argv.slice(2);
const store = await openStore(url, { ports: systemPorts, log: silentLogger });
/** Written when it returns. A pipe whose reader does not come round on a busy machine is full, and says EAGAIN instead of waiting. */
function say(line: string): void {
  let rest = Buffer.from(`${line}\n`);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Bun.sleepSync(1);
    }
  }
}
say("ready");

if (job === "hold") {
  // Until it is killed.
  await new Promise<never>(() => setInterval(() => undefined, 1000));
}

const worker = async (worker: number): Promise<void> => {
  for (let at = 0; ; at += 1) {
    const id = `r${round}-w${worker}-${at}`;
    const input = newEvent({
      id,
      state: "assigned",
      ...(at % 20 === 0 ? { payloadText: JSON.stringify(`${id}${"x".repeat(5000)}`) } : {}),
    });
    await store.createEvent(input);
    say(`accepted ${id}`);
    if (at % 3 === 0) {
      await store.applyStatus(statusOf(input, "in_progress", { bootId: "b", seq: 1 }));
      await store.applyStatus(statusOf(input, "completed", { bootId: "b", seq: 2, result: { success: true } }));
      say(`completed ${id}`);
    }
  }
};
await Promise.all(Array.from({ length: 32 }, (_, at) => worker(at)));
