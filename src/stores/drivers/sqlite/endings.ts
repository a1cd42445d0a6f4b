import type { Statement } from "bun:sqlite";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import { dueAtMs, EXPIRED_MESSAGE, GRACE_MS, REMOVED_MESSAGE, unknownOutcome } from "../../ending.ts";
import type { Ended } from "../../port.ts";
import type { Agents } from "./agents.ts";
import type { Deliveries } from "./deliveries.ts";
import type { Delivery } from "./delivery.ts";
import { ownStep } from "./handling.ts";
import { isWaiting } from "./tally.ts";

interface Ord {
  readonly ord: number;
}

/** When the next one is due is asked often and answered at once: a run of executions is put off in several such steps. */
const MOST_PUT_OFF = 64;

/** Ends that the control plane itself decides on: nobody came for an event, or nobody ever said how it went. */
export class Endings {
  readonly #deliveries: Deliveries;
  readonly #agents: Agents;
  readonly #due: Statement<Ord, [number, number]>;
  readonly #nextDue: Statement<Ord & { readonly due: number }, []>;
  readonly #openOfAgent: Statement<Ord, [string, string, number]>;

  constructor(database: OpenedDatabase, parts: { readonly deliveries: Deliveries; readonly agents: Agents }) {
    this.#deliveries = parts.deliveries;
    this.#agents = parts.agents;
    this.#due = database.prepare(
      "SELECT ord FROM delivery INDEXED BY delivery_due WHERE lane IS NOT NULL AND due_at_ms <= ? ORDER BY due_at_ms LIMIT ?",
    );
    this.#nextDue = database.prepare(
      "SELECT ord, due_at_ms AS due FROM delivery INDEXED BY delivery_due WHERE lane IS NOT NULL ORDER BY due_at_ms LIMIT 1",
    );
    this.#openOfAgent = database.prepare(
      "SELECT ord FROM delivery INDEXED BY delivery_open WHERE tenant = ? AND agent_id = ? AND lane IS NOT NULL LIMIT ?",
    );
  }

  nextDueMs(): number | undefined {
    for (let put = 0; ; put += 1) {
      this.#deliveries.save();
      const found = this.#nextDue.get();
      if (found === null) return undefined;
      const delivery = this.#deliveries.byOrd(found.ord);
      if (delivery === undefined || put >= MOST_PUT_OFF || !this.#putOff(delivery, found.due)) return found.due;
    }
  }

  /** Answers also how many rows it looked at, so that the caller knows whether more are due. */
  expire(nowMs: number, limit: number): { readonly ended: Ended[]; readonly seen: number } {
    this.#deliveries.save();
    const ended: Ended[] = [];
    const due = this.#due.all(nowMs, limit);
    for (const { ord } of due) {
      const delivery = this.#deliveries.byOrd(ord);
      if (delivery === undefined || this.#putOff(delivery, nowMs)) continue;
      if (isWaiting(delivery.state)) {
        ended.push(this.#end(delivery, { ...ownStep("expired", EXPIRED_MESSAGE, nowMs), level: "warning" }));
      } else if (delivery.state === "assigned" && this.#agents.isConnected(delivery.tenant, delivery.agentId)) {
        // Its agent has it and is there. Looked at again later, or those that are left alone would hide all that are due after them.
        this.#deliveries.postpone(delivery, nowMs + GRACE_MS);
      } else {
        const why =
          delivery.state === "assigned"
            ? "it was handed to its agent, which never answered and is gone"
            : "its deadline passed without a final status from its agent";
        ended.push(this.#unknown(delivery, why, nowMs));
      }
    }
    return { ended, seen: due.length };
  }

  /** Ends what is open at an agent that is being removed, at most `limit` deliveries. */
  abandon(tenant: string, agentId: string, nowMs: number, limit: number): Ended[] {
    this.#deliveries.save();
    const ended: Ended[] = [];
    for (const { ord } of this.#openOfAgent.all(tenant, agentId, limit)) {
      const delivery = this.#deliveries.byOrd(ord);
      if (delivery === undefined) continue;
      if (isWaiting(delivery.state)) ended.push(this.#end(delivery, ownStep("cancelled", REMOVED_MESSAGE, nowMs)));
      else ended.push(this.#unknown(delivery, "its agent was removed", nowMs));
    }
    return ended;
  }

  /** Whether it is only to be looked at by now, and due later: its execution has begun since. */
  #putOff(delivery: Delivery, nowMs: number): boolean {
    const due = dueAtMs(delivery);
    if (due <= nowMs) return false;
    this.#deliveries.postpone(delivery, due);
    return true;
  }

  #unknown(delivery: Delivery, why: string, nowMs: number): Ended {
    const { message, result } = unknownOutcome(nowMs, why);
    return this.#end(delivery, { ...ownStep("failed", message, nowMs), level: "error", result });
  }

  #end(delivery: Delivery, step: Parameters<Deliveries["take"]>[1]): Ended {
    const entry = this.#deliveries.take(delivery, step);
    return {
      tenant: delivery.tenant,
      eventId: delivery.eventId,
      agentId: delivery.agentId,
      revision: delivery.revision,
      state: delivery.state,
      entry,
    };
  }
}
