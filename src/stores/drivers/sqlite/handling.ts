import { hasFeature, isTerminal, judgeStatus, LIMITS, NEXT_STATES, type State } from "../../../protocol/mod.ts";
import type { CancelInput, CancelOutcome, DeliveryKey, DeliveryMove, MoveOutcome, StatusOutcome, StatusWrite } from "../../port.ts";
import type { Agents } from "./agents.ts";
import type { Audit } from "./audit.ts";
import type { Deliveries } from "./deliveries.ts";
import type { Owners } from "./owners.ts";
import { isWaiting } from "./tally.ts";

const FENCED: StatusOutcome = { verdict: "fenced", state: undefined, entry: undefined };

/** What happens to a delivery between its making and its end: handed over, reported on, cancelled. */
export class Handling {
  readonly #deliveries: Deliveries;
  readonly #audit: Audit;
  readonly #agents: Agents;
  readonly #owners: Owners;

  constructor(parts: { readonly deliveries: Deliveries; readonly audit: Audit; readonly agents: Agents; readonly owners: Owners }) {
    this.#deliveries = parts.deliveries;
    this.#audit = parts.audit;
    this.#agents = parts.agents;
    this.#owners = parts.owners;
  }

  apply(status: StatusWrite): StatusOutcome {
    if (!this.#owners.admits(status.tenant, status.agentId, status.epoch)) return FENCED;
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
    if (!this.#owners.admits(move.tenant, delivery.agentId, move.epoch)) return { kind: "fenced" };
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
    if (isTerminal(state) || !this.#canRecall(input.tenant, agentId)) return { kind: "refused", state };
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

  #canRecall(tenant: string, agentId: string): boolean {
    const agent = this.#agents.get(tenant, agentId);
    return agent !== undefined && hasFeature(agent.registration, "cancel");
  }
}

/** A step that the control plane itself takes. */
export function ownStep(to: State, message: string, nowMs: number) {
  return { to, phase: "", level: "info", message, nowMs } as const;
}
