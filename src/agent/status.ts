import { type EventResult, LIMITS, type LogLevel, type Phase, type ResourceStatus, type State } from "../protocol/mod.ts";
import type { Agreement } from "./registration.ts";

/** What is said about an event at one moment. */
export interface Status {
  readonly state: State;
  readonly phase: Phase;
  readonly message: string;
  readonly level: LogLevel;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly result?: EventResult;
  /** Between two phases; a 0.1 control plane is not told, because a 0.1 agent would not say it. */
  readonly progress?: boolean;
}

/** A status with its place: kept as it is until the control plane has it, over restarts too. */
export interface StatusRecord extends Status {
  readonly bootId: string;
  /** From 1 in each boot. */
  readonly seq: number;
  readonly eventId: string;
  readonly revision: number | undefined;
  /** RFC 3339. */
  readonly timestamp: string;
}

/** Room for what surrounds the body in its frame. */
const ENVELOPE_BYTES = 64 * 1024;
export const MAX_STATUS_BYTES = LIMITS.agentFrameBytes - ENVELOPE_BYTES;

function cut(text: string, chars: number): string {
  return text.length <= chars ? text : `${text.slice(0, chars - 1).toWellFormed()}…`;
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

/**
 * Makes a status small enough for one frame, because a control plane closes the connection over a larger one and would do so every time it
 * is sent again. What goes first: words about objects that did not fail, then objects that did not fail, then the rest; the message says so.
 */
export function fitStatus(status: Status, maxBytes: number = MAX_STATUS_BYTES): Status {
  const short: Status = { ...status, message: cut(status.message, LIMITS.messageChars) };
  if (jsonBytes(short) <= maxBytes) return short;
  const { details, result, ...rest } = short;
  const resources = result?.resource_status ?? [];
  const withResources = (kept: readonly ResourceStatus[], note: string): Status => ({
    ...rest,
    message: cut(`${cut(rest.message, LIMITS.messageChars - 200)}${note}`, LIMITS.messageChars),
    ...(result === undefined
      ? {}
      : {
          result: {
            ...result,
            ...(typeof result.error_message === "string" ? { error_message: cut(result.error_message, LIMITS.messageChars) } : {}),
            resource_status: [...kept],
          },
        }),
  });
  const terse = resources.map((resource) => {
    if (resource.status === "failed") return { ...resource, message: cut(resource.message ?? "", 500) };
    const { message: _dropped, ...bare } = resource;
    return bare;
  });
  const first = withResources(terse, "");
  if (jsonBytes(first) <= maxBytes)
    return details !== undefined && jsonBytes({ ...first, details }) <= maxBytes ? { ...first, details } : first;
  const urgent = [...terse.filter((one) => one.status === "failed"), ...terse.filter((one) => one.status !== "failed")];
  let keep = urgent.length;
  for (;;) {
    keep = Math.floor(keep / 2);
    const smaller = withResources(
      urgent.slice(0, keep),
      ` (the state of ${urgent.length - keep} of ${urgent.length} objects does not fit into the report)`,
    );
    if (keep === 0 || jsonBytes(smaller) <= maxBytes) return smaller;
  }
}

/** What our words are in 0.1's, which knows created, updated, unchanged and failed; what is not here has not changed anything. */
const WORDS_OF_01: ReadonlyMap<string, string> = new Map([
  ["created", "created"],
  ["updated", "updated"],
  ["failed", "failed"],
  ["recreated", "updated"],
  ["restarted", "updated"],
  ["deleted", "updated"],
]);

function resultFor01(result: EventResult): EventResult {
  const resources = result.resource_status?.map(({ code: _code, diff: _diff, ...one }) => ({
    ...one,
    status: WORDS_OF_01.get(one.status) ?? "unchanged",
  }));
  const { plan: _plan, ...rest } = result;
  return { ...rest, ...(resources === undefined ? {} : { resource_status: resources }) };
}

/**
 * The frame of a status. Fields stand in alphabetical order and absent ones are null, as 0.1's agent writes them; to a 0.1 control
 * plane nothing more is said, and a failure carries no result, as there. `nth` counts what was sent on this connection, from 0, and
 * `round` how often that began anew.
 */
export function statusFrame(record: StatusRecord, agentId: string, agreement: Agreement, nth: number, round = 0): string {
  const modern = agreement.protocol >= 2;
  const result = modern ? record.result : record.result?.success === true ? resultFor01(record.result) : undefined;
  return JSON.stringify({
    agent_id: agentId,
    details: (modern ? record.details : undefined) ?? null,
    event_id: record.eventId,
    // 0.1's agent says info of a failure too.
    log_level: modern ? record.level : "info",
    message: record.message,
    phase: record.phase,
    result: result ?? null,
    state: record.state,
    timestamp: record.timestamp,
    type: "status_update",
    ...(modern
      ? {
          ...(record.revision === undefined ? {} : { revision: record.revision }),
          boot_id: record.bootId,
          seq: record.seq,
          nth,
          ...(round === 0 ? {} : { round }),
        }
      : {}),
  });
}
