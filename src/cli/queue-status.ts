import { type Ports, TransporterError } from "../kit/mod.ts";
import type { QueueObserver, QueueStatus } from "../queues/mod.ts";

/** A connection that has just been begun needs its moment. */
const PATIENCE_MS = 2000;
const AGAIN_MS = 200;

/** The state of a queue that has just been opened. Throws what keeps it from being asked. */
export async function statusOf(
  queue: Pick<QueueObserver, "status">,
  { ports, signal }: { readonly ports: Pick<Ports, "clock" | "timers">; readonly signal: AbortSignal },
): Promise<QueueStatus> {
  const untilMs = ports.clock.monotonic() + PATIENCE_MS;
  for (;;) {
    try {
      return await queue.status();
    } catch (error) {
      const passing = error instanceof TransporterError && error.code === "QUEUE_UNAVAILABLE";
      if (!passing || ports.clock.monotonic() + AGAIN_MS > untilMs) throw error;
    }
    await ports.timers.sleep(AGAIN_MS, signal);
  }
}
