import type { DispatchItem } from "../stores/mod.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";
import type { Lane } from "./lane.ts";

/** Of so many places that are filled from what waits, one goes to whoever waits longest, whatever its priority. */
const TURNS = 8;
const EARLIER_BYTES = 8 * 1024 * 1024;

export function inlineBytes(items: readonly DispatchItem[]): number {
  let bytes = 0;
  for (const { delivery, payload } of items) if ("text" in payload) bytes += delivery.payloadBytes;
  return bytes;
}

function isAscending(items: readonly DispatchItem[]): boolean {
  let last = Number.NEGATIVE_INFINITY;
  for (const { delivery } of items) {
    if (delivery.ord < last) return false;
    last = delivery.ord;
  }
  return true;
}

type Options = Pick<DispatcherOptions, "store" | "tenant" | "ports">;

function earlierThan(options: Options, lane: Lane, items: readonly DispatchItem[], maxItems: number): Promise<DispatchItem[]> {
  const { store, tenant, ports } = options;
  let beforeOrd = 0;
  for (const { delivery } of items) beforeOrd = Math.max(beforeOrd, delivery.ord);
  const { agentId } = lane.session;
  return store.waitingBefore({ tenant, agentId, afterOrd: 0, beforeOrd, nowMs: ports.clock.now(), maxItems, maxBytes: EARLIER_BYTES });
}

/**
 * The order in which what waits goes: the urgent first, of every few one that waits longest, and none before what it must not overtake.
 * `whole`: nothing waits but these.
 */
export async function urgentOrder(
  options: Options,
  lane: Lane,
  items: readonly DispatchItem[],
  whole: boolean,
): Promise<readonly DispatchItem[]> {
  // Where all is of one priority, the urgent order is the order accepted. What comes in through others is not known of here, or not yet.
  const isOne = typeof lane.waiting === "number" && !options.store.info.shared;
  if (isAscending(items) && (whole || isOne)) return items;
  const earlier = await earlierThan(options, lane, items, items.length);
  const known = new Set(items.map(({ delivery }) => delivery.ord));
  const complete = earlier.length < items.length && inlineBytes(earlier) < EARLIER_BYTES;
  if (isAscending(items) && complete && earlier.every(({ delivery }) => known.has(delivery.ord))) return items;
  let due = 0;
  for (let turn = lane.turns; turn < lane.turns + lane.room; turn += 1) if (turn % TURNS === TURNS - 1) due += 1;
  await noticeStarts(options, lane);
  // Their place is sure, and it is the last: what is most urgent goes out first.
  const urgent = items.slice(0, Math.max(0, lane.room - due));
  return lane.precedence.clearTheWay([...urgent, ...earlier.slice(0, due), ...items], earlier, lane.room);
}

/** What waited for its time was left out when what waits was looked through: once that has come, it may be in the way. */
async function noticeStarts({ store, tenant, ports }: Options, lane: Lane): Promise<void> {
  const nowMs = ports.clock.now();
  const come = lane.nextStartMs !== undefined && lane.nextStartMs <= nowMs;
  if (come) lane.precedence.lookAgain();
  if (!come && lane.startsKnown) return;
  lane.startsKnown = true;
  try {
    lane.nextStartMs = await store.nextStartMs(tenant, lane.session.agentId, nowMs);
  } catch (error) {
    lane.startsKnown = false;
    throw error;
  }
}

/**
 * What was handed over goes again in the order accepted. It had nothing in its way then; but should one of two wait again that were promised
 * together, what waits and was accepted before is looked at, as far as one look goes.
 */
export async function resumeOrder(options: Options, lane: Lane, items: readonly DispatchItem[]): Promise<readonly DispatchItem[]> {
  if (items.every(({ delivery }) => delivery.state === "in_progress")) return items;
  const earlier = await earlierThan(options, lane, items, 1);
  if (earlier.length === 0) return items;
  await noticeStarts(options, lane);
  return lane.precedence.clearTheWay(items, items, lane.room);
}
