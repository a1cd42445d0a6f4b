import {
  checkRegistration,
  EventResultSchema,
  LogLevelSchema,
  type Phase,
  PhaseSchema,
  parseTimestampMs,
  type State,
  StateSchema,
} from "../../protocol/mod.ts";
import * as v from "valibot";
import type { AgentWrite, EventCounters, ImportedEntry, ImportedEvent, NewAudit } from "../../stores/mod.ts";

/** What a text of 0.1's came to: what it stands for, or why it stands for nothing. */
export type Reading<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string };

/** Who stands behind what 0.1 did: it knew no principals. */
export const FORMER_PRINCIPAL = "transporter-0.1";

const Text = v.nullish(v.string(), "");
const FormerStatus = v.looseObject({
  event_id: v.pipe(v.string(), v.nonEmpty()),
  agent_id: v.pipe(v.string(), v.nonEmpty()),
  state: StateSchema,
  phase: Text,
  message: Text,
  updated_at: Text,
  execution_log: v.nullish(v.array(v.looseObject({ timestamp: Text, phase: Text, level: Text, message: Text })), []),
  result: v.nullish(v.unknown()),
});
const FormerAgent = v.looseObject({
  connection_id: Text,
  last_heartbeat: Text,
  connected_at: Text,
});
const FormerAudit = v.looseObject({
  timestamp: Text,
  event_id: Text,
  agent_id: Text,
  action: v.pipe(v.string(), v.nonEmpty()),
  user: Text,
  details: v.nullish(v.record(v.string(), v.unknown())),
});

/** An event of 0.1 as it is brought over; `unfinished` is the state in which 0.1 left it, where that was no end. */
export interface FormerEvent {
  readonly event: ImportedEvent;
  readonly unfinished: State | undefined;
}

function objectOf<T extends v.GenericSchema>(text: string, schema: T): Reading<v.InferOutput<T>> {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return { ok: false, why: "it is no JSON" };
  }
  const parsed = v.safeParse(schema, data, { abortEarly: true });
  if (parsed.success) return { ok: true, value: parsed.output };
  const [issue] = parsed.issues;
  return { ok: false, why: `${v.getDotPath(issue) ?? "it"}: ${issue.message}` };
}

const asPhase = (text: string): Phase | "" => (v.is(PhaseSchema, text) ? text : "");

/** 0.1 wrote no states into its log; they follow from phases, and without one from its own fixed messages. */
function stateOf(entry: { readonly phase: string; readonly message: string }): State {
  if (entry.phase === "completed" || entry.phase === "failed") return entry.phase;
  if (entry.phase !== "") return "in_progress";
  if (/expired/i.test(entry.message)) return "expired";
  return /queued/i.test(entry.message) ? "queued" : "assigned";
}

const LEFT: Readonly<Record<string, string>> = {
  created: "it had not been handed over; it was not carried out",
  queued: "it waited for its agent; it was not carried out",
  assigned: "it had been handed over, and nothing says whether it was carried out",
  in_progress: "it was being carried out, and nothing says how that ended",
};

/** Reads `event:status:<id>`. 0.1 kept neither type nor payload, so an event that had not ended cannot go on here: it ends as not known. */
export function readStatus(
  text: string,
  options: { readonly tenant: string; readonly createdBy: string | undefined; readonly nowMs: number },
): Reading<FormerEvent> {
  const read = objectOf(text, FormerStatus);
  if (!read.ok) return read;
  const status = read.value;
  const times = status.execution_log.map(({ timestamp }) => parseTimestampMs(timestamp)).filter((ms) => ms !== undefined);
  const updatedAtMs = parseTimestampMs(status.updated_at) ?? times.at(-1);
  const receivedAtMs = times[0] ?? updatedAtMs;
  if (updatedAtMs === undefined || receivedAtMs === undefined) return { ok: false, why: "it has no time" };
  const log = status.execution_log.map((entry): ImportedEntry => {
    const level = entry.level === "warn" ? "warning" : entry.level;
    return {
      timestamp: parseTimestampMs(entry.timestamp) === undefined ? new Date(receivedAtMs).toISOString() : entry.timestamp,
      state: stateOf(entry),
      phase: asPhase(entry.phase),
      level: v.is(LogLevelSchema, level) ? level : "info",
      message: entry.message,
    };
  });
  const left = LEFT[status.state];
  const result = v.safeParse(EventResultSchema, status.result);
  const common = {
    tenant: options.tenant,
    principal: options.createdBy ?? FORMER_PRINCIPAL,
    id: status.event_id,
    agentId: status.agent_id,
    type: "k8s_resource" as const,
    labels: {},
    receivedAtMs,
    log,
  };
  if (left === undefined)
    return {
      ok: true,
      value: {
        unfinished: undefined,
        event: {
          ...common,
          finishedAtMs: Math.max(updatedAtMs, receivedAtMs),
          state: status.state,
          phase: asPhase(status.phase),
          message: status.message,
          result: result.success ? result.output : undefined,
        },
      },
    };
  const message = `Outcome unknown: 0.1 left this event ${status.state === "in_progress" ? "in progress" : status.state}: ${left}`;
  return {
    ok: true,
    value: {
      unfinished: status.state,
      event: {
        ...common,
        finishedAtMs: Math.max(options.nowMs, receivedAtMs),
        state: "failed",
        phase: "failed",
        message,
        result: {
          success: false,
          error_code: "OUTCOME_UNKNOWN",
          error_message: message,
          completed_at: new Date(options.nowMs).toISOString(),
        },
      },
    },
  };
}

/** Reads `agent:<id>`. It is connected to nobody here, whatever 0.1 thought of it. */
export function readAgent(text: string, options: { readonly tenant: string; readonly nowMs: number }): Reading<AgentWrite> {
  const read = objectOf(text, FormerAgent);
  if (!read.ok) return read;
  const { connection_id: remoteAddress, last_heartbeat: heard, connected_at: connected, status: _status, ...registered } = read.value;
  const checked = checkRegistration(registered);
  if (!checked.ok) return { ok: false, why: checked.message };
  const { id } = checked.value;
  const connectedAtMs = parseTimestampMs(connected);
  const lastSeenMs = parseTimestampMs(heard) ?? connectedAtMs ?? options.nowMs;
  return {
    ok: true,
    value: {
      tenant: options.tenant,
      id,
      registration: checked.value,
      status: "disconnected",
      principal: `agent:${id}`,
      remoteAddress,
      connectedAtMs,
      disconnectedAtMs: lastSeenMs,
      lastSeenMs,
      clockOffsetMs: undefined,
    },
  };
}

/** What names an entry of 0.1's audit log in ours, so that none is brought twice. */
export const FORMER_ID = "from_0_1";

/** Reads the field `data` of an entry of the stream `audit:log`. */
export function readAudit(id: string, text: string, tenant: string): Reading<NewAudit> {
  const read = objectOf(text, FormerAudit);
  if (!read.ok) return read;
  const { timestamp, event_id: eventId, agent_id: agentId, action, user, details } = read.value;
  // The id of an entry begins with the time at which Redis took it.
  const atMs = parseTimestampMs(timestamp) ?? Number.parseInt(id, 10);
  return {
    ok: true,
    value: {
      tenant,
      atMs,
      principal: FORMER_PRINCIPAL,
      action,
      ...(eventId === "" ? {} : { eventId }),
      ...(agentId === "" ? {} : { agentId }),
      ...(user === "" ? {} : { user }),
      details: { ...details, [FORMER_ID]: id },
    },
  };
}

/**
 * What 0.1 counted, and where its own numbers are lower than what lies there (it never counted how events ended), what lies there. 0.1
 * counted each event once as created.
 */
export function formerCounters(stats: ReadonlyMap<string, number>, seen: ReadonlyMap<State, number>): Partial<EventCounters> {
  const states = StateSchema.options;
  const counters: Partial<Record<State | "total", number>> = {};
  for (const state of states) {
    const count = Math.max(stats.get(state) ?? 0, seen.get(state) ?? 0);
    if (count > 0) counters[state] = count;
  }
  const events = [...seen.values()].reduce((sum, count) => sum + count, 0);
  const total = Math.max(stats.get("total") ?? 0, events);
  if (total > 0) counters.total = total;
  return counters;
}
