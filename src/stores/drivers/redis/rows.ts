import {
  type EventResult,
  type EventSummary,
  type EventType,
  formatTimestamp,
  isTerminal,
  type LogEntry,
  type LogLevel,
  NS_PER_MS,
  type Phase,
  type State,
} from "../../../protocol/mod.ts";
import type { DeliveryRow, DispatchItem, EventMeta, NewEvent, PayloadSource } from "../../port.ts";
import type { Answer, Take } from "./calls.ts";
import { knownState, levelCode, levelOf, luaJson, phaseCode, phaseOf, splitKey } from "./codes.ts";

/** What an event is, as Lua reads it too; the names are short because each event has them. */
export interface Meta {
  /** Type. */
  readonly y: EventType;
  /** Principal. */
  readonly p: string;
  /** Created by. */
  readonly b: string;
  /** Received at. */
  readonly r: number;
  /** Target agent. */
  readonly g: string;
  readonly l?: Readonly<Record<string, string>>;
  /** TTL in nanoseconds. */
  readonly t: number;
  readonly c?: string;
  readonly cm?: number;
  readonly dl?: number;
  readonly pr: number;
  readonly tp?: string;
  /** Payload digest and bytes. */
  readonly pd: string;
  readonly pb: number;
  /** Not before. */
  readonly n?: number;
  /** Delay. */
  readonly dm?: number;
  readonly rt?: EventMeta["retry"];
  readonly op?: EventMeta["operation"];
}

export function metaText(input: NewEvent): string {
  const { event } = input;
  return luaJson({
    y: event.type,
    p: input.principal,
    b: event.createdBy,
    r: input.receivedAtMs,
    g: event.targetAgent,
    l: empty(event.labels) ? undefined : event.labels,
    t: event.ttlNs,
    c: event.createdAt,
    cm: event.createdAtMs,
    dl: event.deadlineMs,
    pr: event.priority,
    tp: event.traceparent,
    pd: input.payloadDigest,
    pb: input.payloadBytes,
    n: event.notBeforeMs,
    dm: event.delayMs,
    rt: event.retry,
    op: event.operation,
  });
}

export function empty(value: object): boolean {
  for (const key in value) if (Object.hasOwn(value, key)) return false;
  return true;
}

export function eventMeta(id: string, meta: Meta, extra: string | undefined): EventMeta {
  return {
    id,
    type: meta.y,
    targetAgent: meta.g,
    createdAt: meta.c,
    createdAtMs: meta.cm,
    createdBy: meta.b,
    ttlNs: meta.t,
    ttlMs: meta.t / NS_PER_MS,
    priority: meta.pr,
    labels: { ...meta.l },
    deadlineMs: meta.dl,
    notBeforeMs: meta.n,
    delayMs: meta.dm,
    retry: meta.rt,
    traceparent: meta.tp,
    extra: extra === undefined ? {} : (JSON.parse(extra) as Record<string, unknown>),
    operation: meta.op,
  };
}

/** A delivery as the engine tells of it (`view` in delivery.lua). */
export interface View {
  readonly row: DeliveryRow;
  readonly phase: Phase | "";
  readonly message: string;
  readonly attempts: number;
  readonly updatedAtMs: number;
  readonly finishedAtMs: number | undefined;
  readonly notBeforeMs: number | undefined;
  /** Its event's number: the place of the event in listings. */
  readonly no: number;
}

export function viewOf(answer: Answer): View {
  const [
    key,
    ord,
    agentId,
    revision,
    state,
    priority,
    expires,
    payloadBytes,
    wished,
    phase,
    message,
    attempts,
    updated,
    finished,
    notBefore,
    no,
  ] = answer as [
    string,
    number,
    string,
    number,
    number,
    number,
    Exact,
    number,
    number,
    number,
    string,
    number,
    Exact,
    Exact,
    Exact,
    number,
  ];
  const { tenant, id } = splitKey(key);
  return {
    row: {
      ord,
      tenant,
      eventId: id,
      agentId,
      revision,
      state: knownState(state),
      priority,
      expiresAtMs: Number(expires),
      payloadBytes,
      cancelRequested: wished === 1,
    },
    phase: phaseOf(phase),
    message,
    attempts,
    updatedAtMs: Number(updated),
    finishedAtMs: finished === false ? undefined : Number(finished),
    notBeforeMs: notBefore === false ? undefined : Number(notBefore),
    no,
  };
}
/** A number that Lua may have had to write as text to keep it exact; false for none. */
type Exact = number | string | false;

export function eventSummary(view: View, meta: Meta): EventSummary {
  const { row } = view;
  const receivedAt = formatTimestamp(meta.r);
  const summary: EventSummary = {
    id: row.eventId,
    type: meta.y,
    target_agent: meta.g,
    state: row.state,
    phase: view.phase,
    message: view.message,
    priority: meta.pr,
    labels: { ...meta.l },
    created_at: meta.c ?? receivedAt,
    created_by: meta.b,
    principal: meta.p,
    received_at: receivedAt,
    updated_at: formatTimestamp(view.updatedAtMs),
    expires_at: formatTimestamp(row.expiresAtMs),
    revision: row.revision,
    payload_bytes: meta.pb,
    payload_sha256: meta.pd,
  };
  const startMs = view.notBeforeMs ?? laterStartMs(meta, row.revision);
  if (startMs !== undefined) summary.not_before = formatTimestamp(startMs);
  if (row.cancelRequested && !isTerminal(row.state)) summary.cancel_requested = true;
  if (view.finishedAtMs !== undefined) summary.finished_at = formatTimestamp(view.finishedAtMs);
  if (meta.tp !== undefined) summary.traceparent = meta.tp;
  if (meta.op !== undefined) summary.operation = meta.op;
  return summary;
}

/** When an event that had to wait for its time was to start; told for good. */
function laterStartMs(meta: Meta, revision: number): number | undefined {
  if (revision !== 1 || (meta.n === undefined && meta.dm === undefined)) return undefined;
  const startMs = Math.ceil(Math.max(meta.n ?? 0, meta.dm === undefined ? 0 : meta.r + meta.dm));
  return startMs > meta.r ? startMs : undefined;
}

/** A text (by number), or where it lies apart. */
export function payloadSource(answer: Answer, take: Take): PayloadSource {
  if (!Array.isArray(answer)) return { text: take(answer) };
  const [digest, bytes, encodedBytes] = answer as [string, number, number];
  return { apart: { digest, bytes, encoding: "zstd", encoded_bytes: encodedBytes } };
}

export function dispatchItem(answer: Answer, take: Take): DispatchItem {
  const [seen, metaAt, extraAt, payload] = answer as [unknown, number, number, unknown];
  const { row } = viewOf(seen);
  const meta = JSON.parse(take(metaAt)) as Meta;
  return {
    delivery: row,
    event: eventMeta(row.eventId, meta, extraAt === 0 ? undefined : take(extraAt)),
    payload: payloadSource(payload, take),
  };
}

/** Lua has one kind of table: an empty list comes as an empty object. */
export function listOf(answer: Answer): readonly unknown[] {
  return Array.isArray(answer) ? (answer as unknown[]) : [];
}

/** What a log entry says, beside its number, its event and its state. */
export interface Said {
  readonly phase: Phase | "";
  readonly level: LogLevel;
  readonly message: string;
  /** The agent's own; without it, `nowMs`. */
  readonly timestamp?: string | undefined;
  readonly nowMs: number;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly result?: EventResult | undefined;
}

type Body = [
  at: string | number,
  phase: number,
  level: number,
  message: string,
  details?: Record<string, unknown> | null,
  result?: EventResult,
];

export function logText(said: Said): string {
  const body: Body = [said.timestamp ?? said.nowMs, phaseCode(said.phase), levelCode(said.level), said.message];
  if (said.details !== undefined || said.result !== undefined) body.push(said.details ?? null);
  if (said.result !== undefined) body.push(said.result);
  return JSON.stringify(body);
}

interface Subject {
  readonly seq: number;
  readonly eventId: string;
  readonly agentId: string;
  readonly revision: number;
  readonly state: State;
}

/** What is answered right after an entry was made. */
export function entryOf({ seq, eventId, agentId, revision, state }: Subject, said: Said): LogEntry {
  const { phase, level, message, details, result } = said;
  const timestamp = said.timestamp ?? stampOf(said.nowMs);
  const entry: LogEntry = { seq, event_id: eventId, agent_id: agentId, revision, timestamp, state, phase, level, message };
  if (details !== undefined) entry.details = details;
  if (result !== undefined) entry.result = result;
  return entry;
}

/** As the stream of the log has it: number, event, agent, what the engine knows of it, and the text. */
export function logEntry(answer: Answer, take: Take): LogEntry {
  const [seq, key, agentId, facts, textAt] = answer as [number, string, string, string, number];
  const [revision = 1, , state = 0, late = 0] = facts.split(" ").map(Number);
  const [at, phase, level, message, details, result] = JSON.parse(take(textAt)) as Body;
  const said: Said = {
    phase: phaseOf(phase),
    level: late === 1 ? "warning" : levelOf(level),
    message,
    ...(typeof at === "string" ? { timestamp: at, nowMs: 0 } : { nowMs: at }),
    details: late === 1 ? { ...details, late: true } : (details ?? undefined),
    result,
  };
  return entryOf({ seq, eventId: splitKey(key).id, agentId, revision, state: knownState(state) }, said);
}

let stampedMs = 0;
let stamp = formatTimestamp(0);

function stampOf(nowMs: number): string {
  // Hundreds of entries share a millisecond.
  if (nowMs !== stampedMs) {
    stamp = formatTimestamp(nowMs);
    stampedMs = nowMs;
  }
  return stamp;
}

export function resultOf(text: string): EventResult | undefined {
  return (JSON.parse(text) as Body)[5];
}
