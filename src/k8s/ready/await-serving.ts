import type { KubeClient } from "../http/client.ts";
import type { KindRef } from "../http/discovery.ts";

/** How long a kind may take from being established to being served. */
const SERVING_MS = 15_000;

/**
 * Waits until discovery has these kinds: an established definition says that the names are taken, and what leans on it, in this event or in
 * the next, is understood only when the kind is served. False when that takes too long; nothing is wrong with the definition then.
 */
export async function awaitServing(client: KubeClient, refs: readonly KindRef[], signal: AbortSignal | undefined): Promise<boolean> {
  const { clock, timers } = client.ports;
  const untilMs = clock.monotonic() + SERVING_MS;
  for (let waitMs = 50; refs.length > 0; waitMs = Math.min(1_000, waitMs * 2)) {
    const types = await client.discovery.resolve(refs, signal);
    if (!types.includes(undefined)) return true;
    if (clock.monotonic() >= untilMs) return false;
    await timers.sleep(waitMs, signal);
  }
  return true;
}
