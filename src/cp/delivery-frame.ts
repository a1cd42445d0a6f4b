import type { DeliveryRow, EventMeta, PayloadSource } from "../stores/mod.ts";
import { eventJson } from "./prepare.ts";

/** How an agent wants its deliveries. */
export interface FrameStyle {
  /** Protocol 2: with the revision and the time that is left. */
  readonly acks: boolean;
}

/**
 * The frame that hands a delivery over. A payload that lies apart is only named; for agents that cannot fetch it the caller reads its text
 * first. The TTL bounds the start, so what has begun carries none: an agent that lost its memory of it must not take it for expired.
 */
export function deliveryFrame(
  style: FrameStyle,
  delivery: DeliveryRow,
  event: EventMeta,
  payload: PayloadSource,
  nowMs: number,
  nth: number,
): string {
  const json = eventJson(event, "text" in payload ? payload.text : "{}");
  if (!style.acks) return `{"type":"event","event":${json}}`;
  const rest = delivery.state === "in_progress" ? "" : `,"expires_in_ms":${Math.max(0, Math.round(delivery.expiresAtMs - nowMs))}`;
  const apart = "text" in payload ? "" : `,"payload":${JSON.stringify(payload.apart)}`;
  return `{"type":"event","event":${json},"revision":${delivery.revision}${rest}${apart},"nth":${nth}}`;
}

/** The frame that calls a delivery back. */
export function cancelFrame(eventId: string, revision: number): string {
  return `{"type":"cancel","event_id":${JSON.stringify(eventId)},"revision":${revision}}`;
}
