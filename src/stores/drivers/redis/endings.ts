import { EXPIRED_MESSAGE, REMOVED_MESSAGE, unknownOutcome } from "../../ending.ts";
import type { Ended, EventCounters, NewAudit } from "../../port.ts";
import { wordsOf } from "../../words.ts";
import type { Operation, Put } from "./calls.ts";
import { keyOf, knownState, splitKey } from "./codes.ts";
import { auditRow, ownWord } from "./events.ts";
import { entryOf, listOf, logText, type Said } from "./rows.ts";

/** What is said of an end, by the number that the engine answers. */
type Endings = readonly Said[];

function unknownEnd(nowMs: number, why: string): Said {
  const { message, result } = unknownOutcome(nowMs, why);
  return { ...ownWord(message, nowMs), level: "error", result };
}

function endingRow(said: Said, put: Put): readonly unknown[] {
  return [said.message, put(logText(said))];
}

function endedOf(answer: unknown, endings: Endings): Ended[] {
  return listOf(answer).map((one) => {
    const [key, agentId, revision, code, seq, which] = one as [string, string, number, number, number, number];
    const { tenant, id: eventId } = splitKey(key);
    const state = knownState(code);
    const said = endings[which] ?? ownWord("", 0);
    return { tenant, eventId, agentId, revision, state, entry: entryOf({ seq, eventId, agentId, revision, state }, said) };
  });
}

/** Ends some of what is due; answers also how many it looked at, so that the caller knows whether more are due. */
export function expireSome(nowMs: number, limit: number): Operation<{ readonly ended: readonly Ended[]; readonly seen: number }> {
  const endings: Endings = [
    { ...ownWord(EXPIRED_MESSAGE, nowMs), level: "warning" },
    unknownEnd(nowMs, "it was handed to its agent, which never answered and is gone"),
    unknownEnd(nowMs, "its deadline passed without a final status from its agent"),
  ];
  return {
    writes: true,
    weight: limit,
    build: (put) => ["x", nowMs, limit, ...endings.map((said) => endingRow(said, put))],
    read(answer) {
      const [seen, ended] = answer as [number, unknown];
      return { seen, ended: endedOf(ended, endings) };
    },
    words: ({ ended }) => wordsOf.ended(ended),
  };
}

export function nextDue(): Operation<number | undefined> {
  return { writes: false, weight: 4, build: () => ["xn"], read: (answer) => (answer === false ? undefined : Number(answer)) };
}

/** A step of removing an agent: undefined when there is none, and whether it was the last. */
export function removeSome(
  tenant: string,
  agentId: string,
  nowMs: number,
  limit: number,
  audit: NewAudit,
): Operation<{ readonly ended: readonly Ended[]; readonly last: boolean } | undefined> {
  const endings: Endings = [ownWord(REMOVED_MESSAGE, nowMs), unknownEnd(nowMs, "its agent was removed")];
  return {
    writes: true,
    weight: limit,
    build: (put) => ["ar", keyOf(tenant, agentId), nowMs, limit, ...endings.map((said) => endingRow(said, put)), auditRow(audit, put)],
    read(answer) {
      if (answer === 0) return undefined;
      const [last, ended] = answer as [number, unknown];
      return { last: last === 1, ended: endedOf(ended, endings) };
    },
    words: (step) => (step === undefined ? [] : [...wordsOf.ended(step.ended), ...(step.last ? wordsOf.agent(agentId, "removed") : [])]),
  };
}

export function importCounters(source: string, counters: Partial<EventCounters>): Operation<boolean> {
  const counted = Object.entries(counters).filter(([, count]) => count !== undefined && count !== 0);
  return {
    writes: true,
    build: () => ["ic", source, counted.map(([name]) => name), counted.map(([, count]) => count)],
    read: (answer) => answer === 1,
  };
}
