import type { KubeClient } from "../http/client.ts";
import { awaitedOf, awaitTargets, type Unready, type VerifyOptions } from "../ready/verify.ts";
import type { ResourceOutcome } from "./apply.ts";
import type { Plan } from "./plan.ts";

/**
 * Waits for everything that was applied and is not known to be at fault, whatever becomes of the rest: one that cannot become ready ends the
 * waiting for itself alone. Resolves to what is not ready; throws as `awaitTargets`.
 */
export async function verifyEach(
  client: KubeClient,
  plan: Plan,
  outcomes: readonly ResourceOutcome[],
  options: VerifyOptions,
): Promise<readonly Unready[]> {
  const { clock } = client.ports;
  const untilMs = clock.monotonic() + options.timeoutMs;
  const unready: Unready[] = [];
  let open = awaitedOf(
    plan,
    outcomes.filter(({ error }) => error === undefined),
  );
  for (let leftMs = options.timeoutMs; open.length > 0 && leftMs > 0; leftMs = untilMs - clock.monotonic()) {
    const found = await awaitTargets(client, open, { ...options, timeoutMs: Math.ceil(leftMs / 1_000) * 1_000 });
    if (found === undefined) break;
    const isFinal = found.error.code !== "VERIFY_FAILED";
    const lagging = found.targets.filter(({ failed }) => isFinal || failed);
    unready.push(...lagging);
    if (isFinal || lagging.length === 0) break;
    const gone = new Set(lagging.map(({ target }) => target));
    open = open.filter(({ target }) => !gone.has(target));
  }
  return unready;
}
