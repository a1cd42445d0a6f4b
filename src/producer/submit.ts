import { type Client, isPassing } from "../client/mod.ts";
import { Backoff, failpoint, type Ports, TransporterError } from "../kit/mod.ts";
import type { Accepted } from "../protocol/mod.ts";

export interface SubmitOptions {
  readonly signal: AbortSignal;
  /** Told before each further attempt. */
  readonly onRetry?: (why: TransporterError) => void;
}

const ATTEMPTS_UNREACHABLE = 3;
const ATTEMPTS_BUSY = 8;

/**
 * Hands an event in and answers when the control plane has it durably. Tries again a few times where the control plane is busy or the
 * connection breaks: the id makes that safe. Throws what the control plane refuses with, or CP_UNREACHABLE.
 */
export async function submitEvent(
  client: Client,
  eventJson: string,
  ports: Pick<Ports, "timers" | "random">,
  options: SubmitOptions,
): Promise<Accepted> {
  const backoff = new Backoff({ firstMs: 400, maxMs: 3000 }, ports.random);
  for (let attempt = 1; ; attempt++) {
    try {
      const accepted = await client.submit(eventJson, { signal: options.signal });
      failpoint("producer.sent");
      return accepted;
    } catch (error) {
      if (!(error instanceof TransporterError) || !isPassing(error)) throw error;
      if (attempt >= (error.code === "CP_UNREACHABLE" ? ATTEMPTS_UNREACHABLE : ATTEMPTS_BUSY)) throw error;
      options.onRetry?.(error);
    }
    await ports.timers.sleep(backoff.next(), options.signal);
  }
}
