import { LIMITS, type State } from "../../../protocol/mod.ts";
import type {
  CancelInput,
  CancelOutcome,
  DeliveryKey,
  DeliveryMove,
  HandedOver,
  MoveOutcome,
  StatusOutcome,
  StatusWrite,
  Word,
} from "../../port.ts";
import { wordsOf } from "../../words.ts";
import type { Operation } from "./calls.ts";
import { keyOf, knownState, phaseCode, STATE_CODES, stateOf } from "./codes.ts";
import { auditRow, ownWord } from "./events.ts";
import { entryOf, listOf, logText, type Said } from "./rows.ts";

/** What the engine says of a status, by its number. */
const VERDICTS = ["unknown", "fenced", "unknown", "stale", "forbidden", "late", "apply"] as const;

export function applyStatus(status: StatusWrite): Operation<StatusOutcome> {
  const { message } = status;
  const said: Said = {
    phase: status.phase,
    level: status.level,
    message: message.length > LIMITS.messageChars ? message.slice(0, LIMITS.messageChars) : message,
    timestamp: status.timestamp,
    nowMs: status.nowMs,
    details: status.details,
    result: status.result,
  };
  const counted = status.bootId !== undefined && status.seq !== undefined;
  return {
    writes: true,
    build: (put) => [
      "s",
      keyOf(status.tenant, status.eventId),
      status.revision ?? 0,
      status.agentId,
      status.epoch,
      counted ? status.bootId : "",
      counted ? status.seq : 0,
      STATE_CODES[status.state],
      phaseCode(status.phase),
      said.message,
      status.nowMs,
      put(logText(said)),
      status.result === undefined ? 0 : 1,
    ],
    read(answer) {
      const [kind = 2, state, seq, revision = 1] = answer as number[];
      const verdict = VERDICTS[kind] ?? "unknown";
      if (seq === undefined) return { verdict, state: stateOf(state), entry: undefined };
      const { eventId, agentId } = status;
      const late: Said = verdict === "late" ? { ...said, level: "warning", details: { ...said.details, late: true } } : said;
      return { verdict, state: knownState(state), entry: entryOf({ seq, eventId, agentId, revision, state: status.state }, late) };
    },
    words: (outcome) => wordsOf.applyStatus(status.eventId, outcome),
  };
}

interface Moved {
  readonly outcome: MoveOutcome;
  readonly agentId: string | undefined;
}

export function moveDelivery(move: DeliveryMove): Operation<Moved> {
  const said = ownWord(move.message, move.nowMs);
  const { eventId, to } = move;
  return {
    writes: true,
    build: (put) => [
      "m",
      keyOf(move.tenant, eventId),
      move.revision,
      STATE_CODES[to],
      move.epoch,
      move.nowMs,
      move.message,
      put(logText(said)),
    ],
    read(answer) {
      const [kind, detail, agentId, revision = 1] = answer as [number, number, string, number?];
      if (kind === 3) return { outcome: { kind: "fenced" }, agentId: undefined };
      if (kind === 2) return { outcome: { kind: "refused", state: stateOf(detail) }, agentId: undefined };
      if (detail === 0) return { outcome: { kind: "moved", entry: undefined }, agentId };
      const entry = entryOf({ seq: detail, eventId, agentId, revision, state: to }, said);
      return { outcome: { kind: "moved", entry }, agentId };
    },
    words: ({ outcome, agentId }): readonly Word[] => {
      const words = wordsOf.moveDelivery(move, outcome);
      return agentId !== undefined && to === "queued" && words.length > 0 ? [...wordsOf.putBack(agentId), ...words] : words;
    },
  };
}

export function cancelEvent(input: CancelInput): Operation<CancelOutcome> {
  const said = ownWord(input.message, input.nowMs);
  const wish = ownWord(input.requestMessage, input.nowMs);
  const { eventId } = input;
  return {
    writes: true,
    build: (put) => [
      "k",
      keyOf(input.tenant, eventId),
      input.nowMs,
      input.message,
      put(logText(said)),
      put(logText(wish)),
      auditRow(input.audit, put),
    ],
    read(answer) {
      const [kind, detail = 0, agentId = "", revision = 1, state] = answer as [number, number?, string?, number?, number?];
      switch (kind) {
        case 1:
          return { kind: "cancelled", entry: entryOf({ seq: detail, eventId, agentId, revision, state: "cancelled" }, said), agentId };
        case 2: {
          const entry = detail === 0 ? undefined : entryOf({ seq: detail, eventId, agentId, revision, state: knownState(state) }, wish);
          return { kind: "requested", entry, agentId, revision };
        }
        case 3:
          return { kind: "already" };
        case 4:
          return { kind: "refused", state: knownState(detail) };
        default:
          return { kind: "missing" };
      }
    },
    words: (outcome) => wordsOf.cancelEvent(eventId, outcome),
  };
}

export function positions(tenant: string, agentId: string, keys: readonly DeliveryKey[]): Operation<readonly (State | undefined)[]> {
  return {
    writes: false,
    weight: 1 + keys.length / 2,
    build: () => ["p", agentId, keys.map((key) => keyOf(tenant, key.eventId)), keys.map((key) => key.revision)],
    read: (answer) => listOf(answer).map(stateOf),
  };
}

export function handedOver(tenant: string, agentId: string): Operation<readonly HandedOver[]> {
  return {
    writes: false,
    weight: 8,
    build: () => ["ho", keyOf(tenant, agentId)],
    read: (answer) =>
      listOf(answer).map((one) => {
        const [eventId, revision, wished] = one as [string, number, number];
        return { eventId, revision, cancelRequested: wished === 1 };
      }),
  };
}
