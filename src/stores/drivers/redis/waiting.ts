import type { DispatchItem, OpenQuery, WaitingQuery } from "../../port.ts";
import type { Operation } from "./calls.ts";
import { keyOf, STATE_CODES } from "./codes.ts";
import { dispatchItem, listOf } from "./rows.ts";

/** Small operations that one delivery which is handed out stands for. */
const ITEM_WEIGHT = 2;
const MOST_WEIGHT = 32;

export function openDeliveries(query: OpenQuery): Operation<DispatchItem[]> {
  return {
    writes: false,
    weight: weightOf(query.maxItems),
    build: () => [
      "o",
      keyOf(query.tenant, query.agentId),
      query.states.map((state) => STATE_CODES[state]),
      query.order === "accepted" ? 1 : 0,
      query.nowMs,
      bounded(query.maxItems),
      bounded(query.maxBytes),
      [...query.skip],
    ],
    read: (answer, take) => listOf(answer).map((item) => dispatchItem(item, take)),
  };
}

export function waitingBefore(query: WaitingQuery): Operation<DispatchItem[]> {
  return {
    writes: false,
    weight: weightOf(query.maxItems),
    build: () => [
      "b",
      keyOf(query.tenant, query.agentId),
      query.afterOrd,
      query.beforeOrd,
      query.nowMs,
      bounded(query.maxItems),
      bounded(query.maxBytes),
    ],
    read: (answer, take) => listOf(answer).map((item) => dispatchItem(item, take)),
  };
}

export function nextStart(tenant: string, agentId: string, nowMs: number): Operation<number | undefined> {
  return {
    writes: false,
    build: () => ["ns", keyOf(tenant, agentId), nowMs],
    read: (answer) => (answer === false ? undefined : Number(answer)),
  };
}

function weightOf(items: number): number {
  return Math.min(MOST_WEIGHT, 2 + items * ITEM_WEIGHT);
}

/** JSON has no Infinity, and Redis counts in whole numbers. */
function bounded(count: number): number {
  return Math.floor(Math.min(Math.max(0, count), 1e12));
}
