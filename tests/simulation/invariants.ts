import { isTerminal, type LogEntry, type State } from "../../src/protocol/mod.ts";
import { type Effect, type History, keyOf } from "./history.ts";
import type { Simulation } from "./simulation.ts";

interface Delivery {
  readonly ord: number;
  readonly id: string;
  readonly revision: number;
  readonly agent_id: string;
  readonly state: State;
  readonly boot_id: string | null;
}

const FINALS =
  "SELECT event.id, delivery.revision, delivery.state FROM delivery JOIN event ON event.no = delivery.event_no WHERE finished_at_ms IS NOT NULL";

/** What has ended stays as it ended. */
export function judgeFinals({ storeData, history }: Simulation): void {
  for (const { id, revision, state } of storeData.read<{ id: string; revision: number; state: State }>(FINALS)) {
    const key = keyOf(id, revision);
    const before = history.finals.get(key);
    if (before !== undefined && before !== state) history.violate(`${key} had ended ${before} and is now ${state}`);
    history.finals.set(key, state);
  }
  for (const [key, state] of history.finals) {
    // Nothing is old enough to be removed in a run.
    if (!isTerminal(state)) history.violate(`${key} is final and ${state}`);
  }
}

/** The whole judgement, once all is quiet. */
export function judge(simulation: Simulation): void {
  judgeFinals(simulation);
  const { storeData, history } = simulation;
  const deliveries = storeData.read<Delivery>(
    "SELECT delivery.ord, event.id, delivery.revision, delivery.agent_id, delivery.state, delivery.boot_id FROM delivery JOIN event ON event.no = delivery.event_no ORDER BY delivery.ord",
  );
  const byKey = new Map(deliveries.map((delivery) => [keyOf(delivery.id, delivery.revision), delivery]));
  const entries = simulation.log();
  judgeAccepted(history, byKey);
  judgeLog(history, byKey, entries);
  judgeEnds(history, byKey, entries);
  judgeEffects(simulation, byKey);
  judgeOrder(history, byKey);
  judgeCancels(simulation, byKey, entries);
  judgeCounts(simulation, deliveries);
}

/** Accepted is a subset of ended: nothing that a client was promised is missing. */
function judgeAccepted(history: History, byKey: ReadonlyMap<string, Delivery>): void {
  for (const key of history.accepted.keys())
    if (!byKey.has(key) && !history.lost.has(key)) history.violate(`${key} was accepted and is not there`);
  for (const [id, count] of history.retriesAccepted)
    if (!byKey.has(keyOf(id, 1 + count)) && !history.hasLost(id))
      history.violate(`${id} was accepted again ${count} times, and not all of its revisions are there`);
  for (const [key, { state }] of byKey) if (!isTerminal(state)) history.violate(`${key} is ${state} at the end`);
}

function isLate({ details }: LogEntry): boolean {
  return details?.["late"] === true;
}

function keyOfEntry({ event_id: id, revision }: LogEntry): string {
  return keyOf(id, revision);
}

/** One end in the log, nothing but late words after it, and no word twice. */
function judgeLog(history: History, byKey: ReadonlyMap<string, Delivery>, entries: readonly LogEntry[]): void {
  const ended = new Map<string, LogEntry>();
  const seen = new Set<string>();
  for (const entry of entries) {
    const key = keyOfEntry(entry);
    if (!byKey.has(key)) history.violate(`log entry ${entry.seq} belongs to nothing: ${key}`);
    const word = `${key} ${entry.state}/${entry.phase} ${entry.timestamp} ${entry.message}`;
    if (seen.has(word)) history.violate(`it stands in the log twice: ${word}`);
    seen.add(word);
    const end = ended.get(key);
    if (end === undefined) {
      if (isTerminal(entry.state)) ended.set(key, entry);
    } else if (!isLate(entry)) history.violate(`after its end ${end.state} the log of ${key} goes on: ${entry.state} ${entry.message}`);
  }
  for (const [key, { state }] of byKey) {
    const end = ended.get(key);
    if (end?.state !== state && isTerminal(state)) history.violate(`${key} is ${state}, its log says ${end?.state ?? "nothing"}`);
  }
}

/** No status is lost: the end at the agent is the end at the control plane, or stands in the log as late. */
function judgeEnds(history: History, byKey: ReadonlyMap<string, Delivery>, entries: readonly LogEntry[]): void {
  const words = new Set<string>();
  const late = new Set<string>();
  for (const entry of entries) {
    words.add(`${keyOfEntry(entry)}/${entry.state}/${entry.timestamp}`);
    if (isLate(entry) && isTerminal(entry.state)) late.add(`${keyOfEntry(entry)}/${entry.state}`);
  }
  for (const [key, { state, code }] of history.finishedAtAgent) {
    const delivery = byKey.get(key);
    // Its word was stored, acknowledged, and lost with what the store forgot.
    if (history.disturbed.has(key)) continue;
    if (delivery === undefined) history.violate(`${key} ended at its agent and is not there`);
    else if (delivery.state !== state && !late.has(`${key}/${state}`))
      history.violate(`${key} ended ${state} (${code}) at its agent and is ${delivery.state}`);
  }
  for (const { key, state, timestamp } of history.keptStatuses.values()) {
    if (byKey.has(key) && !history.disturbed.has(key) && !words.has(`${key}/${state}/${timestamp}`))
      history.violate(`the status ${state} of ${key} from ${timestamp} was on the agent's disk and is lost`);
  }
}

/** What never began has no effect, what has ended has none any more, and scripts run once. */
function judgeEffects({ history }: Simulation, byKey: ReadonlyMap<string, Delivery>): void {
  for (const effect of history.effects) {
    const key = keyOf(effect.eventId, effect.revision);
    const delivery = byKey.get(key);
    const ended = history.finishedAtAgent.get(key);
    if (ended !== undefined && effect.atMs > ended.atMs) history.violate(`${key} had an effect after it had ended at its agent`);
    if (history.disturbed.has(key)) continue;
    if (delivery === undefined) {
      history.violate(`${key} had an effect and is not there`);
      continue;
    }
    if (delivery.state === "expired") history.violate(`${key} expired and had an effect`);
    if (delivery.state === "cancelled" && delivery.boot_id === null)
      history.violate(`${key} was cancelled while it waited and had an effect`);
  }
  for (const [key, runs] of history.scriptRuns) if (runs > 1) history.violate(`the script of ${key} ran ${runs} times`);
  for (const [key, runs] of history.scriptRuns) {
    if (runs === 1 && !history.disturbed.has(key) && byKey.get(key)?.state === "expired") history.violate(`${key} expired and ran`);
  }
}

/** Of two that touch the same object the one accepted first is applied first: nothing goes back. */
function judgeOrder(history: History, byKey: ReadonlyMap<string, Delivery>): void {
  const latest = new Map<string, Effect>();
  for (const effect of history.effects) {
    // What was lost and handed in again was accepted anew, later than what it did.
    if (effect.object === "script" || history.lost.has(keyOf(effect.eventId, effect.revision))) continue;
    const place = `${effect.agentId}/${effect.object}`;
    const before = latest.get(place);
    if (before !== undefined && before !== effect) {
      const [mine, other] = [byKey.get(keyOf(effect.eventId, effect.revision)), byKey.get(keyOf(before.eventId, before.revision))];
      const delayed = effect.revision === 1 && history.plans.get(effect.eventId)?.delayed === true;
      if (mine !== undefined && other !== undefined && mine.ord < other.ord && !delayed)
        history.violate(
          `${place} went back: ${keyOf(effect.eventId, effect.revision)} (accepted as ${mine.ord}) after ${keyOf(before.eventId, before.revision)} (accepted as ${other.ord})`,
        );
      if (mine !== undefined && other !== undefined && mine.ord < other.ord) continue;
    }
    latest.set(place, effect);
  }
}

/** A wish to cancel is not forgotten: it is in the log, and in calm nothing goes on long after it. */
function judgeCancels({ history, shape }: Simulation, byKey: ReadonlyMap<string, Delivery>, entries: readonly LogEntry[]): void {
  for (const [id, wishedMs] of history.cancelWished) {
    if (history.hasDisturbed(id)) continue;
    if (!entries.some((entry) => entry.event_id === id && entry.message.startsWith("Cancellation asked for")))
      history.violate(`the wish to cancel ${id} was accepted and is nowhere to be read`);
    const heardMs = Math.max(wishedMs, shape.chaosMs) + 90_000;
    const key = keyOf(id, 1);
    const ended = history.finishedAtAgent.get(key);
    if (!shape.removal && ended !== undefined && ended.atMs > heardMs && byKey.get(key)?.state !== "cancelled")
      history.violate(`${key} went on long after it was called back`);
  }
}

/** What is counted by hand agrees with what is there. */
function judgeCounts({ controlPlanes, storeData, history }: Simulation, deliveries: readonly Delivery[]): void {
  const [counter] = storeData.read<Record<string, number>>("SELECT * FROM counter");
  if (counter?.["total"] !== deliveries.length)
    history.violate(`${counter?.["total"]} deliveries are counted and ${deliveries.length} are there`);
  for (const state of ["completed", "failed", "expired", "cancelled"] as const) {
    const there = deliveries.filter((delivery) => delivery.state === state).length;
    if (counter?.[state] !== there) history.violate(`${counter?.[state]} deliveries are counted as ${state} and ${there} are`);
  }
  for (const { name, core } of controlPlanes) if (core === undefined) history.violate(`${name} is not there at the end`);
}
