import { type ErrorCode, formatTimestamp } from "../protocol/mod.ts";
import type { DeliveryRow } from "../stores/mod.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";

/** Ends a delivery that cannot be handed over, whatever is waited for. False when another connection owns its agent by now. */
export async function failDelivery(
  { store, ports, bell }: Pick<DispatcherOptions, "store" | "ports" | "bell">,
  delivery: DeliveryRow,
  epoch: number,
  code: ErrorCode,
  why: string,
): Promise<boolean> {
  const nowMs = ports.clock.now();
  const timestamp = formatTimestamp(nowMs);
  const outcome = await store.applyStatus({
    tenant: delivery.tenant,
    eventId: delivery.eventId,
    revision: delivery.revision,
    agentId: delivery.agentId,
    epoch,
    bootId: undefined,
    seq: undefined,
    state: "failed",
    phase: "failed",
    level: "error",
    message: `${code}: ${why}`,
    details: { code },
    result: { success: false, error_message: why, error_code: code, completed_at: timestamp, duration: 0 },
    timestamp,
    nowMs,
  });
  bell.ring(outcome.entry);
  return outcome.verdict !== "fenced";
}
