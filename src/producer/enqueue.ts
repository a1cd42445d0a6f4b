import { Backoff, type Ports, TransporterError, failpoint } from "../kit/mod.ts";
import type { QueueWriter } from "../queues/mod.ts";
import type { ReadyEvent } from "./build-event.ts";
import type { SubmitOptions } from "./submit.ts";

/** How long a queue is sought that is not there: a wrong address is told soon, a restart is waited out. */
const PATIENCE_MS = 8_000;

/** Throws QUEUE_MESSAGE_TOO_LARGE where the queue would not take the event, with both sizes. */
export function checkQueueSize(writer: Pick<QueueWriter, "info">, event: Pick<ReadyEvent, "json" | "wire">): Uint8Array {
  const body = new TextEncoder().encode(event.json);
  const { maxMessageBytes, location, name } = writer.info;
  if (body.byteLength <= maxMessageBytes) return body;
  throw new TransporterError(
    "QUEUE_MESSAGE_TOO_LARGE",
    `event ${event.wire.id} has ${body.byteLength} bytes, and a message in ${name} at ${location} may have ${maxMessageBytes}`,
  );
}

/**
 * Puts an event into a queue and answers when the queue has it durably. Tries the very same again where the queue does not answer: its id makes
 * that safe. `duplicate`: the queue had it before. Throws QUEUE_UNAVAILABLE, QUEUE_DENIED, QUEUE_INVALID, QUEUE_MESSAGE_TOO_LARGE.
 */
export async function enqueueEvent(
  writer: QueueWriter,
  event: Pick<ReadyEvent, "json" | "wire">,
  ports: Pick<Ports, "clock" | "timers" | "random">,
  options: SubmitOptions,
): Promise<{ readonly duplicate: boolean }> {
  const body = checkQueueSize(writer, event);
  const backoff = new Backoff({ firstMs: 400, maxMs: 5_000 }, ports.random);
  const startedMs = ports.clock.monotonic();
  for (;;) {
    options.signal.throwIfAborted();
    let waitMs: number;
    try {
      const published = await writer.publish({ id: event.wire.id, body, priority: event.wire.priority ?? 0 });
      failpoint("producer.sent");
      return published;
    } catch (error) {
      if (!(error instanceof TransporterError) || error.code !== "QUEUE_UNAVAILABLE") throw error;
      waitMs = backoff.next();
      if (ports.clock.monotonic() - startedMs + waitMs > PATIENCE_MS) throw error;
      options.onRetry?.(error);
    }
    await ports.timers.sleep(waitMs, options.signal);
  }
}
