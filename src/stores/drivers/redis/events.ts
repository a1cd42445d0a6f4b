import { isTerminal } from "../../../protocol/mod.ts";
import { cleanAudit } from "../../audit-text.ts";
import { FENCED_MESSAGE } from "../../ending.ts";
import type { CreateOutcome, ImportedEvent, NewAudit, NewEvent, RetryInput, RetryOutcome, StoredEvent } from "../../port.ts";
import { wordsOf } from "../../words.ts";
import type { Operation, Put } from "./calls.ts";
import { keyOf, knownState, luaJson, phaseCode, STATE_CODES } from "./codes.ts";
import {
  empty,
  entryOf,
  eventMeta,
  eventSummary,
  listOf,
  logEntry,
  logText,
  type Meta,
  metaText,
  payloadSource,
  resultOf,
  type Said,
  viewOf,
} from "./rows.ts";

/** Payloads up to this many bytes lie with their event: sharing them would cost more than it saves. */
const INLINE_BYTES = 1024;

/** What is looked for, a line break, and the rest. */
export function auditRow(entry: NewAudit, put: Put): readonly unknown[] {
  const { tenant, atMs, action, eventId, agentId, principal, remoteAddress, requestId } = entry;
  const { user, details } = cleanAudit(entry);
  const rest = JSON.stringify([principal, user ?? 0, remoteAddress ?? 0, requestId ?? 0, ...(details === undefined ? [] : [details])]);
  return [put(`${luaJson([tenant, atMs, action, eventId ?? "", agentId ?? ""])}\n${rest}`)];
}

/** A word of the control plane itself. */
export function ownWord(message: string, nowMs: number): Said {
  return { phase: "", level: "info", message, nowMs };
}

export function createEvent(input: NewEvent): Operation<CreateOutcome> {
  const { event, tenant, payloadText, message, receivedAtMs } = input;
  const said = ownWord(message, receivedAtMs);
  const fenced = ownWord(FENCED_MESSAGE, receivedAtMs);
  const how = payloadText === undefined ? "a" : input.payloadBytes <= INLINE_BYTES ? "i" : "t";
  return {
    writes: true,
    build: (put) => [
      "c",
      keyOf(tenant, event.id),
      event.targetAgent,
      input.contentDigest,
      input.epoch ?? 0,
      STATE_CODES[input.state],
      event.priority,
      input.expiresAtMs,
      notYet(input),
      event.deadlineMs ?? 0,
      input.payloadBytes,
      receivedAtMs,
      how,
      input.payloadDigest,
      message,
      FENCED_MESSAGE,
      put(metaText(input)),
      empty(event.extra) ? 0 : put(JSON.stringify(event.extra)),
      payloadText === undefined ? 0 : put(payloadText),
      put(logText(said)),
      input.state === "assigned" ? put(logText(fenced)) : 0,
      auditRow(input.audit, put),
    ],
    read(answer) {
      const [kind, ord, seq, code] = answer as number[];
      if (kind === 2) return { kind: "duplicate", state: knownState(ord) };
      if (kind !== 1) return { kind: "conflict" };
      const state = knownState(code);
      const { id: eventId, targetAgent: agentId, priority } = event;
      const entry = { seq: seq ?? 0, eventId, agentId, revision: 1, state };
      return {
        kind: "created",
        delivery: {
          ord: ord ?? 0,
          tenant,
          eventId,
          agentId,
          revision: 1,
          state,
          priority,
          expiresAtMs: input.expiresAtMs,
          payloadBytes: input.payloadBytes,
          cancelRequested: false,
        },
        entries: [entryOf(entry, state === input.state ? said : fenced)],
      };
    },
    words: (outcome) => wordsOf.createEvent(input, outcome),
  };
}

/** 0 where it may start at once: only what waits can wait for its time. */
function notYet({ notBeforeMs, receivedAtMs, state }: NewEvent): number {
  return notBeforeMs === undefined || notBeforeMs <= receivedAtMs || state !== "queued" ? 0 : Math.ceil(notBeforeMs);
}

export function getEvent(
  tenant: string,
  id: string,
  options: { readonly payload: boolean; readonly log: boolean },
): Operation<StoredEvent | undefined> {
  return {
    writes: false,
    weight: 2,
    build: () => ["g", keyOf(tenant, id), options.payload ? 1 : 0, options.log ? 1 : 0],
    read(answer, take) {
      if (answer === 0) return undefined;
      const [seen, metaAt, extraAt, payload, resultAt, log] = answer as [unknown, number, number, unknown, number, unknown];
      const view = viewOf(seen);
      const meta = JSON.parse(take(metaAt)) as Meta;
      return {
        summary: eventSummary(view, meta),
        event: eventMeta(id, meta, extraAt === 0 ? undefined : take(extraAt)),
        delivery: view.row,
        attempts: view.attempts,
        result: resultAt === 0 ? undefined : resultOf(take(resultAt)),
        payload: options.payload ? payloadSource(payload, take) : undefined,
        log: listOf(log).map((entry) => logEntry(entry, take)),
      };
    },
  };
}

export function contentDigest(
  tenant: string,
  id: string,
): Operation<{ readonly digest: string; readonly state: ReturnType<typeof knownState> } | undefined> {
  return {
    writes: false,
    build: () => ["d", keyOf(tenant, id)],
    read(answer) {
      if (answer === 0) return undefined;
      const [digest, state] = answer as [string, number];
      return { digest, state: knownState(state) };
    },
  };
}

export function retryEvent(input: RetryInput): Operation<RetryOutcome> {
  const said = ownWord(input.message, input.nowMs);
  return {
    writes: true,
    weight: 2,
    build: (put) => [
      "r",
      keyOf(input.tenant, input.eventId),
      input.nowMs,
      input.message,
      put(logText(said)),
      auditRow(input.audit, put),
      input.principal,
    ],
    read(answer) {
      const [kind, detail, seen] = answer as [number, number, unknown];
      if (kind === 3) return { kind: "missing" };
      if (kind === 2) return { kind: "refused", state: knownState(detail) };
      const { row } = viewOf(seen);
      const { eventId, agentId, revision, state } = row;
      return { kind: "created", delivery: row, entry: entryOf({ seq: detail, eventId, agentId, revision, state }, said) };
    },
    words: (outcome) => wordsOf.retryEvent(outcome),
  };
}

export function importEvent(event: ImportedEvent): Operation<boolean> {
  if (!isTerminal(event.state)) throw new RangeError(`an event that is ${event.state} cannot be imported`);
  const { state, phase, message, result, finishedAtMs } = event;
  const meta: Meta = {
    y: event.type,
    p: event.principal,
    b: event.principal,
    r: event.receivedAtMs,
    g: event.agentId,
    ...(empty(event.labels) ? {} : { l: event.labels }),
    t: 0,
    pr: 0,
    pd: "",
    pb: 0,
  };
  // The result stands in the log's last word; where that is not the end, the end gets a word of its own.
  const end = {
    state,
    phase,
    level: state === "completed" ? "info" : "error",
    message,
    timestamp: new Date(finishedAtMs).toISOString(),
  } as const;
  const log = event.log.at(-1)?.state === state ? event.log : [...event.log, end];
  return {
    writes: true,
    weight: 2 + log.length,
    build: (put) => [
      "i",
      keyOf(event.tenant, event.id),
      event.agentId,
      STATE_CODES[state],
      phaseCode(phase),
      message,
      event.receivedAtMs,
      finishedAtMs,
      result === undefined ? 0 : 1,
      put(luaJson(meta)),
      log.map((entry, at) => [
        STATE_CODES[entry.state],
        put(logText({ ...entry, nowMs: finishedAtMs, result: at === log.length - 1 ? result : undefined })),
      ]),
    ],
    read: (answer) => answer === 1,
  };
}
