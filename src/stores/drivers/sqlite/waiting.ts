import type { Statement } from "bun:sqlite";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import type { DispatchItem, HandedOver, OpenQuery, WaitingQuery } from "../../port.ts";
import type { Deliveries } from "./deliveries.ts";
import { LANE } from "./delivery.ts";
import { deliveryRow, eventMeta, type Events, JOINED, type JoinedRow } from "./events.ts";
import { isInFlight, isWaiting, type Tally } from "./tally.ts";

/** Deliveries whose time has come that one call lets join those that wait: when a hundred thousand come due at midnight, it is still answered soon. */
const RELEASED_AT_ONCE = 1000;
/** No window is larger. */
const MOST_RELEASED = 10_000;

interface Candidate {
  readonly ord: number;
  readonly priority: number;
  readonly id: string;
}

const CANDIDATE = "SELECT d.ord, d.priority, e.id FROM delivery d INDEXED BY delivery_open CROSS JOIN event e ON e.no = d.event_no";
const OF_LANE = "d.tenant = ? AND d.agent_id = ? AND d.lane = ?";

/**
 * What an agent still has to do. The index has it by lane, priority and number. The order accepted, across priorities, is taken from the
 * heads of its priorities: they are few, and each is found at once, however many wait.
 */
export class Waiting {
  readonly #events: Events;
  readonly #deliveries: Deliveries;
  readonly #tally: Tally;
  readonly #urgent: Statement<Candidate, [string, string, number, string, string, string, string, number]>;
  readonly #ofPriority: Statement<Candidate, [string, string, number, number, number, number, string, string, string, string, number]>;
  readonly #nextPriority: Statement<{ readonly priority: number }, [string, string, number, number]>;
  readonly #item: Statement<JoinedRow, [number]>;
  readonly #ready: Statement<{ readonly ord: number }, [string, string, number, number]>;
  readonly #handedOver: Statement<{ readonly id: string; readonly revision: number; readonly wished: number }, [string, string, number]>;
  readonly #nextStart: Statement<{ readonly at: number | null }, [string, string, number]>;

  constructor(database: OpenedDatabase, parts: { readonly events: Events; readonly deliveries: Deliveries; readonly tally: Tally }) {
    this.#events = parts.events;
    this.#deliveries = parts.deliveries;
    this.#tally = parts.tally;
    this.#urgent = database.prepare(`${CANDIDATE} WHERE ${OF_LANE} AND d.state IN (?, ?, ?, ?) ORDER BY d.priority DESC, d.ord LIMIT ?`);
    this.#ofPriority = database.prepare(
      `${CANDIDATE} WHERE ${OF_LANE} AND d.priority = ? AND d.ord > ? AND d.ord < ? AND d.state IN (?, ?, ?, ?) ORDER BY d.ord LIMIT ?`,
    );
    this.#nextPriority = database.prepare(
      `SELECT priority FROM delivery d INDEXED BY delivery_open WHERE ${OF_LANE} AND d.priority < ? ORDER BY d.priority DESC LIMIT 1`,
    );
    this.#item = database.prepare(`SELECT ${JOINED} FROM delivery d JOIN event e ON e.no = d.event_no WHERE d.ord = ?`);
    this.#ready = database.prepare(
      "SELECT ord FROM delivery INDEXED BY delivery_delayed WHERE tenant = ? AND agent_id = ? AND lane = 2 AND not_before_ms <= ? ORDER BY not_before_ms LIMIT ?",
    );
    this.#handedOver = database.prepare(
      `SELECT e.id, d.revision, d.cancel_at_ms IS NOT NULL AS wished FROM delivery d INDEXED BY delivery_open
       CROSS JOIN event e ON e.no = d.event_no WHERE ${OF_LANE} AND d.lane IS NOT NULL`,
    );
    this.#nextStart = database.prepare(
      "SELECT min(not_before_ms) AS at FROM delivery INDEXED BY delivery_delayed WHERE tenant = ? AND agent_id = ? AND lane = 2 AND not_before_ms > ?",
    );
  }

  open(query: OpenQuery): DispatchItem[] {
    const { tenant, agentId, states, skip, order, nowMs } = query;
    if (states.length === 0 || query.maxItems < 1) return [];
    const there = this.#tally.openOf(agentId);
    const candidates: Candidate[] = [];
    const [waiting, handedOver] = [states.filter(isWaiting), states.filter(isInFlight)];
    // What is skipped belongs to this agent too, so with that many more there is always enough to choose from. And no more than there are.
    if (waiting.length > 0 && there.queued > 0) {
      this.#release(tenant, agentId, nowMs, query.maxItems);
      const limit = Math.min(query.maxItems + skip.size, there.queued);
      candidates.push(...this.#candidates(query, LANE.waiting, waiting, limit));
    }
    if (handedOver.length > 0 && there.inFlight > 0) {
      this.#deliveries.save();
      const limit = Math.min(query.maxItems + skip.size, there.inFlight);
      candidates.push(...this.#candidates(query, LANE.handedOver, handedOver, limit));
    }
    if (order === "accepted") candidates.sort((a, b) => a.ord - b.ord);
    else if (waiting.length > 0 && handedOver.length > 0) candidates.sort((a, b) => b.priority - a.priority || a.ord - b.ord);
    return this.#items(
      candidates.filter(({ id }) => !skip.has(id)),
      query,
    );
  }

  before(query: WaitingQuery): DispatchItem[] {
    const { tenant, agentId, afterOrd, beforeOrd, maxItems, nowMs } = query;
    if (maxItems < 1 || this.#tally.openOf(agentId).queued === 0) return [];
    this.#release(tenant, agentId, nowMs, maxItems);
    const candidates: Candidate[] = [];
    for (const priority of this.#priorities(tenant, agentId, LANE.waiting))
      candidates.push(
        ...this.#ofPriority.all(
          tenant,
          agentId,
          LANE.waiting,
          priority,
          afterOrd,
          beforeOrd,
          "queued",
          "created",
          "queued",
          "created",
          maxItems,
        ),
      );
    return this.#items(
      candidates.toSorted((a, b) => a.ord - b.ord),
      query,
    );
  }

  nextStartMs(tenant: string, agentId: string, nowMs: number): number | undefined {
    this.#deliveries.save();
    return this.#nextStart.get(tenant, agentId, nowMs)?.at ?? undefined;
  }

  handedOver(tenant: string, agentId: string): HandedOver[] {
    this.#deliveries.save();
    const rows = this.#handedOver.all(tenant, agentId, LANE.handedOver);
    return rows.map(({ id: eventId, revision, wished }) => ({ eventId, revision, cancelRequested: wished === 1 }));
  }

  #candidates(query: OpenQuery, lane: number, states: readonly string[], limit: number): Candidate[] {
    const { tenant, agentId } = query;
    const [first = "", second = first, third = first, fourth = first] = states;
    if (query.order === "urgent") return this.#urgent.all(tenant, agentId, lane, first, second, third, fourth, limit);
    const found: Candidate[] = [];
    for (const priority of this.#priorities(tenant, agentId, lane))
      found.push(...this.#ofPriority.all(tenant, agentId, lane, priority, 0, Number.MAX_SAFE_INTEGER, first, second, third, fourth, limit));
    return found;
  }

  /** Which priorities there are in a lane: one step into the index for each. */
  #priorities(tenant: string, agentId: string, lane: number): number[] {
    const found: number[] = [];
    for (let below = Number.MAX_SAFE_INTEGER; ;) {
      const next = this.#nextPriority.get(tenant, agentId, lane, below);
      if (next === null) return found;
      found.push(next.priority);
      below = next.priority;
    }
  }

  #items(candidates: readonly Candidate[], most: { readonly maxItems: number; readonly maxBytes: number }): DispatchItem[] {
    const items: DispatchItem[] = [];
    let bytes = 0;
    for (const { ord } of candidates) {
      if (items.length >= most.maxItems) break;
      const row = this.#item.get(ord);
      if (row === null) continue;
      const payload = this.#events.payload(row.no);
      if ("text" in payload) bytes += row.payload_bytes;
      if (items.length > 0 && bytes > most.maxBytes) break;
      items.push({ delivery: deliveryRow(row), event: eventMeta(row), payload });
    }
    return items;
  }

  /** Lets those wait like all others whose time has come; as many as are asked for at least, or a part would look like the whole. */
  #release(tenant: string, agentId: string, nowMs: number, most: number): void {
    this.#deliveries.save();
    const ready = this.#ready.all(tenant, agentId, nowMs, Math.max(RELEASED_AT_ONCE, Math.min(most, MOST_RELEASED)));
    if (ready.length === 0) return;
    for (const { ord } of ready) {
      const delivery = this.#deliveries.byOrd(ord);
      if (delivery !== undefined) this.#deliveries.release(delivery);
    }
    this.#deliveries.save();
  }
}
