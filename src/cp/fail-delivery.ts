import { type ErrorCode, formatTimestamp } from "../protocol/mod.ts";
import type { DeliveryRow } from "../stores/mod.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";

/** Ends a delivery that cannot be handed over, whatever is waited for. */
export async function failDelivery(
  { store, ports, bell }: Pick<DispatcherOptions, "store" | "ports" | "bell">,
  delivery: DeliveryRow,
  code: ErrorCode,
  why: string,
): Promise<void> {
  const nowMs = ports.clock.now();
  const timestamp = formatTimestamp(nowMs);
  const outcome = await store.applyStatus({
    tenant: delivery.tenant,
    eventId: delivery.eventId,
    revision: delivery.revision,
    agentId: delivery.agentId,
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
}
