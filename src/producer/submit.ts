import { type Client, isPassing, retryAfterMs } from "../client/mod.ts";
import { Backoff, failpoint, type Ports, TransporterError } from "../kit/mod.ts";
import { type Accepted, needsCapability } from "../protocol/mod.ts";
import type { ReadyEvent } from "./build-event.ts";

export interface SubmitOptions {
  readonly signal: AbortSignal;
  /** Told before each further attempt. */
  readonly onRetry?: (why: TransporterError) => void;
}

/** How long a control plane is sought that is not there: a wrong address is told soon, a restart is waited out. */
const PATIENCE_UNREACHABLE_MS = 10_000;
/** How long one that is there and busy is asked. */
const PATIENCE_BUSY_MS = 60_000;

/**
 * Hands an event in and answers when the control plane has it durably. Tries the very same again where the control plane is busy or the
 * connection breaks, with full jitter and not before it asked for: its id, or its key, makes that safe. Throws what the control plane refuses
 * with, or CP_UNREACHABLE.
 */
export async function submitEvent(
  client: Client,
  event: Pick<ReadyEvent, "json" | "idempotencyKey"> & Partial<Pick<ReadyEvent, "wire">>,
  ports: Pick<Ports, "clock" | "timers" | "random">,
  options: SubmitOptions,
): Promise<Accepted> {
  const backoff = new Backoff({ firstMs: 400, maxMs: 5_000 }, ports.random);
  const startedMs = ports.clock.monotonic();
  const saysMore = event.wire?.type === "k8s_resource" && needsCapability(event.wire.payload);
  for (;;) {
    let waitMs: number;
    try {
      const { json, idempotencyKey } = event;
      const accepted = await client.submit(json, { signal: options.signal, idempotencyKey, ...(saysMore ? { saysMore } : {}) });
      failpoint("producer.sent");
      return accepted;
    } catch (error) {
      if (!(error instanceof TransporterError) || !isPassing(error)) throw error;
      // Added to what was asked for, so that a thousand who were told the same do not come back in step.
      waitMs = retryAfterMs(error) + backoff.next();
      const patienceMs = error.code === "CP_UNREACHABLE" ? PATIENCE_UNREACHABLE_MS : PATIENCE_BUSY_MS;
      if (ports.clock.monotonic() - startedMs + waitMs > patienceMs) throw error;
      options.onRetry?.(error);
    }
    await ports.timers.sleep(waitMs, options.signal);
  }
}
