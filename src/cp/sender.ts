import { failpoint } from "../kit/mod.ts";
import type { DeliveryRow, EventMeta, PayloadSource } from "../stores/mod.ts";
import { deliveryFrame } from "./delivery-frame.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";
import type { Lane } from "./lane.ts";
import type { Recalls } from "./recalls.ts";

/** Puts deliveries on the wire and into their lane. */
export class Sender {
  readonly #options: Pick<DispatcherOptions, "ports" | "log" | "payloads">;
  readonly #recalls: Recalls;

  constructor(options: Pick<DispatcherOptions, "ports" | "log" | "payloads">, recalls: Recalls) {
    this.#options = options;
    this.#recalls = recalls;
  }

  /** False when the connection is being closed; then it counts as in flight all the same, and goes again on the next one. */
  send(lane: Lane, delivery: DeliveryRow, event: EventMeta, payload: PayloadSource): boolean {
    const { session } = lane;
    const { clock } = this.#options.ports;
    const { eventId, revision } = delivery;
    const apart = "text" in payload ? undefined : payload.apart;
    lane.put(eventId, {
      revision,
      inlineBytes: apart === undefined ? delivery.payloadBytes : 0,
      digest: apart?.digest,
      sentAtMs: clock.monotonic(),
      acknowledged: !session.acks,
      resent: lane.inFlight.get(eventId)?.resent ?? 0,
    });
    if (!session.sendEvent((nth) => deliveryFrame(session, delivery, event, payload, clock.now(), nth))) return false;
    failpoint("cp.dispatch.sent");
    this.#options.log.info("Event routed to agent", {
      event_id: eventId,
      agent_id: delivery.agentId,
      cluster: session.clusterName,
      state: delivery.state,
    });
    if (delivery.cancelRequested || lane.wishes.size > 0) this.#recalls.sent(lane, delivery);
    return true;
  }

  /** Sends what is in flight once more. Throws what the store throws. */
  async again(lane: Lane, delivery: DeliveryRow, event: EventMeta, payload: PayloadSource): Promise<void> {
    const source = await this.readable(lane, payload);
    if (source !== undefined && !lane.session.closed && lane.inFlight.get(delivery.eventId)?.revision === delivery.revision)
      this.send(lane, delivery, event, source);
  }

  /** The payload as this agent can take it; undefined when it is not there any more. Throws what the store throws. */
  async readable(lane: Lane, payload: PayloadSource): Promise<PayloadSource | undefined> {
    if ("text" in payload || lane.fetches) return payload;
    const text = await this.#options.payloads.text(payload.apart);
    return text === undefined ? undefined : { text };
  }
}
