import { isTerminal, judgeStatus, LIMITS, NEXT_STATES, type State } from "../../../protocol/mod.ts";
import type { CancelInput, CancelOutcome, DeliveryKey, DeliveryMove, MoveOutcome, StatusOutcome, StatusWrite } from "../../port.ts";
import type { Audit } from "./audit.ts";
import type { Deliveries } from "./deliveries.ts";
import { isWaiting } from "./tally.ts";

/** What happens to a delivery between its making and its end: handed over, reported on, cancelled. */
export class Handling {
  readonly #deliveries: Deliveries;
  readonly #audit: Audit;

  constructor(parts: { readonly deliveries: Deliveries; readonly audit: Audit }) {
    this.#deliveries = parts.deliveries;
    this.#audit = parts.audit;
  }

  apply(status: StatusWrite): StatusOutcome {
    const delivery = this.#deliveries.find(status.tenant, status.eventId, status.revision);
    if (delivery === undefined || delivery.agentId !== status.agentId) return { verdict: "unknown", state: undefined, entry: undefined };
    const verdict = judgeStatus(delivery, status);
    if (verdict === "stale" || verdict === "forbidden") return { verdict, state: delivery.state, entry: undefined };
    if (status.bootId !== undefined && status.seq !== undefined) this.#deliveries.heard(delivery, status.bootId, status.seq);
    const step = {
      to: status.state,
      phase: status.phase,
      level: status.level,
      message: status.message.length > LIMITS.messageChars ? status.message.slice(0, LIMITS.messageChars) : status.message,
      timestamp: status.timestamp,
      nowMs: status.nowMs,
      details: status.details,
      result: status.result,
    };
    const entry =
      verdict === "late"
        ? this.#deliveries.note(delivery, { ...step, level: "warning", details: { ...status.details, late: true } })
        : this.#deliveries.take(delivery, step);
    return { verdict, state: delivery.state, entry };
  }

  move(move: DeliveryMove): MoveOutcome {
    const delivery = this.#deliveries.find(move.tenant, move.eventId, move.revision);
    if (delivery === undefined) return { kind: "refused", state: undefined };
    if (delivery.state === move.to) {
      // Said again: an attempt more where it was sent again, nothing where it waits already.
      if (move.to === "assigned") this.#deliveries.again(delivery);
      return { kind: "moved", entry: undefined };
    }
    if (!NEXT_STATES[delivery.state].includes(move.to)) return { kind: "refused", state: delivery.state };
    return { kind: "moved", entry: this.#deliveries.take(delivery, ownStep(move.to, move.message, move.nowMs)) };
  }

  cancel(input: CancelInput): CancelOutcome {
    const delivery = this.#deliveries.find(input.tenant, input.eventId);
    if (delivery === undefined) return { kind: "missing" };
    const { state, agentId, revision } = delivery;
    if (state === "cancelled") return { kind: "already" };
    if (isWaiting(state)) {
      const entry = this.#deliveries.take(delivery, ownStep("cancelled", input.message, input.nowMs));
      this.#audit.append(input.audit);
      return { kind: "cancelled", entry, agentId };
    }
    if (isTerminal(state) || !input.canRecall(agentId)) return { kind: "refused", state };
    if (delivery.cancelRequested) return { kind: "requested", entry: undefined, agentId, revision };
    const entry = this.#deliveries.note(delivery, ownStep(state, input.requestMessage, input.nowMs));
    this.#deliveries.wish(delivery, input.nowMs);
    this.#audit.append(input.audit);
    return { kind: "requested", entry, agentId, revision };
  }

  /** Where a delivery stands; undefined when this agent has none such. */
  position(tenant: string, agentId: string, key: DeliveryKey): State | undefined {
    const delivery = this.#deliveries.find(tenant, key.eventId, key.revision);
    return delivery?.agentId === agentId ? delivery.state : undefined;
  }
}

/** A step that the control plane itself takes. */
export function ownStep(to: State, message: string, nowMs: number) {
  return { to, phase: "", level: "info", message, nowMs } as const;
}
