import { type CodeEntry, HTTP_STATUS_OF_KIND } from "./error-kind.ts";
import { SECURITY_CODES } from "./security-codes.ts";
import { WORK_CODES } from "./work-codes.ts";

/**
 * Every error code that can leave the program, in one place: the HTTP answers, the OpenAPI document, the agent's reports, the
 * CLI and `docs/errors.md` (held to this table by a test) all read it. A code is stable: it is never renamed or given another meaning.
 */
export const CODES = {
  // Events at the door. The first seven are 0.1's own codes.
  MISSING_EVENT_ID: {
    kind: "invalid",
    title: "The event has no id",
    remedy: "Give the event an `id`: any non-empty string without control characters.",
  },
  MISSING_TARGET_AGENT: {
    kind: "invalid",
    title: "The event names no agent",
    remedy: "Set `target_agent` to the id of the agent that should carry it out.",
  },
  MISSING_EVENT_TYPE: { kind: "invalid", title: "The event has no type", remedy: "Set `type` to one of k8s_resource, script, policy." },
  EMPTY_MANIFESTS: {
    kind: "invalid",
    title: "A k8s_resource event without manifests",
    remedy:
      "Put at least one non-empty manifest into `payload.manifests`; to delete or restart, `references` do as well, and a patch needs `patches`.",
  },
  EMPTY_SCRIPT: { kind: "invalid", title: "A script event without a script", remedy: "Put the script into `payload.script`." },
  EMPTY_POLICY_RULES: {
    kind: "invalid",
    title: "A policy event without rules",
    remedy: "Put at least one rule into `payload.policy_rules`.",
  },
  UNKNOWN_EVENT_TYPE: { kind: "invalid", title: "Unknown event type", remedy: "Use one of k8s_resource, script, policy." },
  INVALID_JSON: { kind: "invalid", title: "The body is not JSON", remedy: "Send one JSON object; the detail says where parsing stopped." },
  INVALID_EVENT: {
    kind: "invalid",
    title: "A field of the event is not as the schema wants it",
    remedy: "Correct the field that the detail names; /openapi.json has the schema.",
  },
  INVALID_EVENT_ID: {
    kind: "invalid",
    title: "The event id cannot be used",
    remedy: "Use 1 to 253 characters, none of them a control character.",
  },
  INVALID_TTL: {
    kind: "invalid",
    title: "The TTL cannot be used",
    remedy: "Give `ttl` as whole nanoseconds between 1 ms and ten years, or leave it out for 24 h.",
  },
  INVALID_TIMESTAMP: {
    kind: "invalid",
    title: "A timestamp is not RFC 3339",
    remedy: "Write it like 2026-02-10T10:00:00Z, with up to nine fractional digits.",
  },
  EVENT_EXPIRED: {
    kind: "expired",
    title: "The event is past its TTL",
    remedy: "Send it again with a fresh `created_at` or a longer `ttl`; check the sender's clock.",
  },
  EVENT_CONFLICT: {
    kind: "conflict",
    title: "Another event has this id",
    remedy: "Use a new id for new content; the same id with the same content is answered again.",
  },
  INVALID_CLOUDEVENT: {
    kind: "invalid",
    title: "The CloudEvent cannot be used",
    remedy: "Send specversion 1.0 with id, source and type, and the event as its data; the detail says what is wrong.",
  },
  BODY_TOO_LARGE: {
    kind: "invalid",
    title: "The body is larger than the control plane accepts",
    remedy: "Split the event, or raise --max-event-bytes on the control plane.",
    httpStatus: 413,
  },
  EVENT_NOT_FOUND: {
    kind: "missing",
    title: "No such event",
    remedy: "List events with `transporter get events`; finished ones are removed after the retention time.",
  },
  EVENT_NOT_CANCELLABLE: {
    kind: "conflict",
    title: "The event can no longer be cancelled",
    remedy: "Only an event that has not been handed to its agent can be cancelled; see its state.",
  },
  EVENT_NOT_RETRYABLE: {
    kind: "conflict",
    title: "The event cannot be tried again now",
    remedy: "Only an event that has ended can be tried again; wait for its end, or cancel it.",
  },
  INVALID_IDEMPOTENCY_KEY: {
    kind: "invalid",
    title: "The Idempotency-Key cannot be used",
    remedy: "Use 1 to 255 visible ASCII characters, and give the event no other id.",
  },
  EVENT_QUARANTINED: {
    kind: "failed",
    title: "The event ended the agent's process again and again and is not tried any more",
    remedy: "See the agent's log for why it ended; then `transporter retry` makes a new attempt.",
  },
  EVENT_CANCELLED: {
    kind: "failed",
    title: "The event was cancelled while it was carried out",
    remedy: "The result says which objects had been changed by then.",
  },
  PAYLOAD_LOST: {
    kind: "failed",
    title: "The payload of the event cannot be fetched any more",
    remedy: "Send the event again; the control plane has removed its payload.",
  },
  // HTTP in general.
  NOT_FOUND: { kind: "missing", title: "Nothing is served here", remedy: "See /openapi.json for the paths." },
  METHOD_NOT_ALLOWED: {
    kind: "invalid",
    title: "This path does not take this method",
    remedy: "Use one of the methods in the Allow header.",
    httpStatus: 405,
  },
  UNSUPPORTED_MEDIA_TYPE: {
    kind: "invalid",
    title: "The content type is not understood here",
    remedy: "Send Content-Type: application/json.",
    httpStatus: 415,
  },
  NOT_ACCEPTABLE: {
    kind: "invalid",
    title: "None of the accepted media types is served here",
    remedy: "Ask for the media type that the detail names.",
    httpStatus: 406,
  },
  UPGRADE_REQUIRED: { kind: "invalid", title: "This path speaks WebSocket", remedy: "Connect with a WebSocket client.", httpStatus: 426 },
  INVALID_QUERY: { kind: "invalid", title: "A query parameter is not as expected", remedy: "Correct the parameter that the detail names." },
  INVALID_CURSOR: { kind: "invalid", title: "The cursor is not one of ours", remedy: "Start the listing again without `cursor`." },
  FOREIGN_ORIGIN: {
    kind: "denied",
    title: "The request comes from a web page or for a host that is not this control plane",
    remedy: "Call it by 127.0.0.1 or localhost, not from a browser page of another origin.",
  },
  TOO_MANY_REQUESTS: {
    kind: "unavailable",
    title: "Too much is waiting",
    remedy: "Try again after the seconds in Retry-After.",
    httpStatus: 429,
  },
  TOO_MANY_AGENTS: {
    kind: "unavailable",
    title: "Too many agents are connecting at once",
    remedy: "Try again after the seconds in Retry-After; agents do so by themselves.",
  },
  SHUTTING_DOWN: {
    kind: "unavailable",
    title: "The control plane is stopping",
    remedy: "Try again; another instance or the restarted one will take it.",
  },
  INTERNAL: { kind: "bug", title: "A fault of ours", remedy: "Report it with the request id; the control plane's log has the cause." },
  // Agents.
  AGENT_NOT_FOUND: { kind: "missing", title: "No such agent", remedy: "List agents with `transporter get agents`." },
  INVALID_REGISTRATION: {
    kind: "invalid",
    title: "The registration is not complete",
    remedy: "An agent must say id, name, cluster_name, version and at least one capability.",
  },
  AGENT_REMOVED: {
    kind: "missing",
    title: "The agent was removed",
    remedy: "Send the event to an agent that exists; an agent that connects again is registered anew.",
  },
  INVALID_FRAME: {
    kind: "invalid",
    title: "The frame is not of the protocol",
    remedy: "See docs/protocol.md for the frames of each side.",
  },
  // Who may come in.
  ...SECURITY_CODES,
  // Stores.
  STORE_UNAVAILABLE: {
    kind: "unavailable",
    title: "The store does not answer",
    remedy: "Nothing was accepted; try again. /readyz?verbose says what is wrong.",
  },
  STORE_FULL: { kind: "unavailable", title: "The store's disk is full", remedy: "Free space; the control plane resumes by itself." },
  STORE_CORRUPT: {
    kind: "bug",
    title: "The store's file is damaged",
    remedy: "Restore a backup; `transporter doctor cp` checks the file.",
  },
  STORE_TOO_NEW: {
    kind: "conflict",
    title: "The store was written by a newer version",
    remedy: "Run that version or a later one; downgrades need a backup from before.",
  },
  STORE_INVALID: {
    kind: "invalid",
    title: "The store's address is not understood",
    remedy: "Use sqlite:PATH, memory: or redis://HOST; docs/redis.md has all forms.",
  },
  STORE_DENIED: {
    kind: "denied",
    title: "The store does not accept the credentials, or they lack a right",
    remedy: "Check user and password, and what they may do; docs/redis.md lists what is needed.",
    // It is us who are denied, not who asked.
    httpStatus: 503,
  },
  STORE_LOCKED: {
    kind: "conflict",
    title: "Another process uses this store",
    remedy: "Stop the other process, or give this one a store of its own.",
  },
  // Queues in front of the control planes.
  QUEUE_UNAVAILABLE: {
    kind: "unavailable",
    title: "The queue does not answer",
    remedy: "Try again; check its address and that it runs. /readyz?verbose of a control plane says how it sees it.",
  },
  QUEUE_INVALID: {
    kind: "invalid",
    title: "The queue's address or its settings cannot be used",
    remedy: "Use nats://HOST, memphis://USER@HOST/STATION or redis://HOST?stream=NAME; docs/queues.md has what each must be set to.",
  },
  QUEUE_DENIED: {
    kind: "denied",
    title: "The queue does not accept the credentials, or they lack a right",
    remedy: "Check the user, token or credentials file, and what they may do; docs/queues.md lists what is needed.",
  },
  QUEUE_MESSAGE_TOO_LARGE: {
    kind: "invalid",
    title: "The event is larger than the queue accepts",
    remedy: "Split the event, hand it in over HTTP, or raise the queue's own limit.",
    httpStatus: 413,
  },
  QUEUE_DELIVERIES_EXHAUSTED: {
    kind: "failed",
    title: "The message was handed out again and again and never settled",
    remedy: "Look at the control planes' logs for what ended them; then send it again from the dead letters.",
  },
  // What the agent says about the work.
  ...WORK_CODES,
  // Command line.
  USAGE: { kind: "invalid", title: "The command line is not understood", remedy: "See --help of the command." },
  CONFIG_INVALID: {
    kind: "invalid",
    title: "A setting cannot be used",
    remedy: "Correct the setting where the message says it came from.",
  },
  FILE_UNREADABLE: { kind: "invalid", title: "A file cannot be read", remedy: "Check the path and its permissions." },
  CP_UNREACHABLE: {
    kind: "unavailable",
    title: "The control plane cannot be reached",
    remedy: "Check --cp-url and that the control plane runs; `transporter doctor send` checks the way there.",
  },
  CP_ANSWER: { kind: "failed", title: "The control plane answered with an error", remedy: "The detail has its words." },
  WAIT_TIMEOUT: {
    kind: "timeout",
    title: "The event did not finish in the time given to wait",
    remedy: "It goes on; follow it with `transporter watch`.",
  },
  EVENT_FAILED: {
    kind: "failed",
    title: "The event did not complete",
    remedy: "`transporter describe event ID` has its log and the state of each object.",
  },
  INSECURE_REFUSED: {
    kind: "denied",
    title: "Refused without security",
    remedy: "Listen on 127.0.0.1, or say --insecure if the network itself keeps strangers out.",
  },
} as const satisfies Record<string, CodeEntry>;

export type ErrorCode = keyof typeof CODES;

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(CODES, code);
}

/** The HTTP status that answers an error of this code. */
export function httpStatusOf(code: ErrorCode): number {
  const entry: CodeEntry = CODES[code];
  return entry.httpStatus ?? HTTP_STATUS_OF_KIND[entry.kind];
}
