import * as v from "valibot";
import { CreditSchema } from "./agent.ts";
import { type Checked, issueRefusal } from "./checked.ts";
import { EventSchema } from "./event.ts";
import { ChallengeFrameSchema, TrustFrameSchema } from "./security.ts";
import { LogLevelSchema, PhaseSchema, StateSchema } from "./states.ts";

/** One object's outcome. 0.1 knows created, updated, unchanged and failed; `pending` is ours: never reached because something before it failed. */
export const ResourceStatusSchema = v.looseObject({
  kind: v.string(),
  name: v.string(),
  namespace: v.nullish(v.string()),
  api_version: v.nullish(v.string()),
  status: v.string(),
  message: v.nullish(v.string()),
  /** Of an object that failed: one of the catalogue's codes. */
  code: v.nullish(v.string()),
  /** Of a `diff`: what an apply would change, as a unified diff of YAML; values of Secrets are masked. */
  diff: v.nullish(v.string()),
});
export type ResourceStatus = v.InferOutput<typeof ResourceStatusSchema>;

export const EventResultSchema = v.looseObject({
  success: v.boolean(),
  resource_status: v.nullish(v.array(ResourceStatusSchema)),
  error_message: v.nullish(v.string()),
  /** One of the catalogue's codes; absent from 0.1 agents. */
  error_code: v.nullish(v.string()),
  completed_at: v.nullish(v.string()),
  /** Integer nanoseconds. */
  duration: v.nullish(v.number()),
  /** Of a `diff`: stands for the manifests and for all that was seen of the cluster. */
  plan: v.nullish(v.string()),
});
export type EventResult = v.InferOutput<typeof EventResultSchema>;

/** What an agent believes to be open, in short: how many deliveries it holds that are not finished and told, and `openDigest` of them. */
export const OpenDigestSchema = v.looseObject({ count: v.pipe(v.number(), v.integer()), digest: v.string() });
export type OpenDigest = v.InferOutput<typeof OpenDigestSchema>;

export const HeartbeatSchema = v.looseObject({
  type: v.literal("heartbeat"),
  timestamp: v.nullish(v.string()),
  metrics: v.nullish(v.record(v.string(), v.unknown())),
  // Protocol 2.
  open: v.nullish(OpenDigestSchema),
  /** The credit as it stands, again: a `credit` frame that was lost must not stop the flow for ever. */
  credit: v.nullish(CreditSchema),
});

export const StatusUpdateSchema = v.looseObject({
  type: v.literal("status_update"),
  event_id: v.pipe(v.string(), v.nonEmpty()),
  agent_id: v.nullish(v.string()),
  state: StateSchema,
  phase: PhaseSchema,
  message: v.nullish(v.string()),
  log_level: v.nullish(LogLevelSchema),
  details: v.nullish(v.record(v.string(), v.unknown())),
  result: v.nullish(EventResultSchema),
  timestamp: v.nullish(v.string()),
  // Protocol 2.
  revision: v.nullish(v.pipe(v.number(), v.integer())),
  boot_id: v.nullish(v.string()),
  seq: v.nullish(v.pipe(v.number(), v.integer())),
  /**
   * How many statuses were sent before this one on this connection since it began or was asked to begin again (`status_resend`). Numbers of a
   * boot have gaps where words were left out; these have none, so a frame that was lost on the way is noticed.
   */
  nth: v.nullish(v.pipe(v.number(), v.integer())),
  /** How often counting began again on this connection; 0 when absent. A frame from before that comes late is told by it. */
  round: v.nullish(v.pipe(v.number(), v.integer())),
});
export type StatusUpdate = v.InferOutput<typeof StatusUpdateSchema>;

/** Protocol 2: the agent has this delivery on disk (`received`) and will not need it again. */
export const EventAckSchema = v.looseObject({
  type: v.literal("event_ack"),
  event_id: v.pipe(v.string(), v.nonEmpty()),
  revision: v.pipe(v.number(), v.integer()),
});

/** Protocol 2, `credit`: what the agent is ready to hold from now on. */
export const CreditFrameSchema = v.looseObject({ type: v.literal("credit"), ...CreditSchema.entries });

/** Protocol 2, `chunk`: asks for the piece of an encoded payload that begins at `offset`. */
export const PayloadGetSchema = v.looseObject({
  type: v.literal("payload_get"),
  /** SHA-256 of the payload's JSON text, hex. */
  digest: v.string(),
  /** Into the encoded bytes; a whole number of pieces. */
  offset: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
export type PayloadGet = v.InferOutput<typeof PayloadGetSchema>;

const OpenEntrySchema = v.looseObject({
  event_id: v.pipe(v.string(), v.nonEmpty()),
  revision: v.pipe(v.number(), v.integer()),
  /** `finished`: its end is not acknowledged yet, so it will be told. */
  state: v.picklist(["waiting", "running", "finished"]),
});
/** Protocol 2, `resync`: all that the agent holds open, in answer to `resync`. */
export const OpenFrameSchema = v.looseObject({ type: v.literal("open"), deliveries: v.array(OpenEntrySchema) });
export type OpenFrame = v.InferOutput<typeof OpenFrameSchema>;

/** What an agent may send once it is registered. */
export const AgentFrameSchema = v.variant("type", [
  HeartbeatSchema,
  StatusUpdateSchema,
  EventAckSchema,
  CreditFrameSchema,
  PayloadGetSchema,
  OpenFrameSchema,
]);
export type AgentFrame = v.InferOutput<typeof AgentFrameSchema>;

/** A payload that lies apart: what it is, and how many bytes are to be fetched for it. */
export const PayloadRefSchema = v.looseObject({
  /** SHA-256 of the payload's JSON text, hex. */
  digest: v.string(),
  /** UTF-8 bytes of the text. */
  bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
  encoding: v.picklist(["zstd"]),
  encoded_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
export type PayloadRef = v.InferOutput<typeof PayloadRefSchema>;

export const EventFrameSchema = v.looseObject({
  type: v.literal("event"),
  event: EventSchema,
  // Protocol 2.
  revision: v.nullish(v.pipe(v.number(), v.integer())),
  /** Milliseconds, counted from receipt, within which the execution must begin: no clocks are compared. */
  expires_in_ms: v.nullish(v.number()),
  /** `chunk`: the payload did not come along (`event.payload` is empty) and is to be fetched. */
  payload: v.nullish(PayloadRefSchema),
  /**
   * How many event frames were sent before this one on this connection. An agent that misses one takes none after it, since order is promised,
   * and begins a new connection, on which all that is not finished comes again in the order accepted.
   */
  nth: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0))),
});
export type EventFrame = v.InferOutput<typeof EventFrameSchema>;

/** Protocol 2: every status of this boot up to and with `seq` is stored; the agent may forget them. */
export const StatusAckSchema = v.looseObject({
  type: v.literal("status_ack"),
  boot_id: v.string(),
  seq: v.pipe(v.number(), v.integer()),
});
export type StatusAck = v.InferOutput<typeof StatusAckSchema>;

/** Protocol 2: a status frame is missing; everything that is not acknowledged is to be sent again, counted (`nth`) from 0. */
export const StatusResendSchema = v.looseObject({ type: v.literal("status_resend") });

/** Protocol 2, `cancel`: end this delivery at the next safe point. Said again until the delivery has ended. */
export const CancelFrameSchema = v.looseObject({
  type: v.literal("cancel"),
  event_id: v.pipe(v.string(), v.nonEmpty()),
  revision: v.pipe(v.number(), v.integer()),
});

/** Protocol 2, `chunk`: one piece of an encoded payload, or none when the control plane does not have it (any more). */
export const PayloadPieceSchema = v.looseObject({
  type: v.literal("payload_piece"),
  digest: v.string(),
  offset: v.pipe(v.number(), v.integer(), v.minValue(0)),
  /** Base64; null: gone. */
  data: v.nullable(v.string()),
});
export type PayloadPiece = v.InferOutput<typeof PayloadPieceSchema>;

/** Protocol 2, `resync`: say all that you hold open. */
export const ResyncFrameSchema = v.looseObject({ type: v.literal("resync") });

/** What a control plane may send after the registration reply. */
export const ControlPlaneFrameSchema = v.variant("type", [
  EventFrameSchema,
  StatusAckSchema,
  StatusResendSchema,
  CancelFrameSchema,
  PayloadPieceSchema,
  ResyncFrameSchema,
  ChallengeFrameSchema,
  TrustFrameSchema,
]);
export type ControlPlaneFrame = v.InferOutput<typeof ControlPlaneFrameSchema>;

function frameType(input: unknown): string | undefined {
  return typeof input === "object" && input !== null && "type" in input && typeof input.type === "string" ? input.type : undefined;
}

const STATES: ReadonlySet<unknown> = new Set(StateSchema.options);
const PHASES: ReadonlySet<unknown> = new Set(PhaseSchema.options);
const LEVELS: ReadonlySet<unknown> = new Set(LogLevelSchema.options);

function isText(value: unknown): boolean {
  return typeof value === "string" && value !== "";
}

function isTextOrNone(value: unknown): boolean {
  return value === undefined || value === null || typeof value === "string";
}

function isWholeOrNone(value: unknown): boolean {
  return value === undefined || value === null || Number.isInteger(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The schema leaves these names out of what it copies, so what has them is not plain. */
function hasDroppedKey(value: object): boolean {
  return Object.hasOwn(value, "__proto__") || Object.hasOwn(value, "constructor") || Object.hasOwn(value, "prototype");
}

function isPlainResource(value: unknown): boolean {
  return (
    isRecord(value) &&
    typeof value["kind"] === "string" &&
    typeof value["name"] === "string" &&
    typeof value["status"] === "string" &&
    isTextOrNone(value["namespace"]) &&
    isTextOrNone(value["api_version"]) &&
    isTextOrNone(value["message"]) &&
    !hasDroppedKey(value)
  );
}

function isPlainResultOrNone(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  if (!isRecord(value) || typeof value["success"] !== "boolean" || hasDroppedKey(value)) return false;
  const { resource_status: resources, duration } = value as { resource_status?: unknown; duration?: unknown };
  return (
    (resources === undefined || resources === null || (Array.isArray(resources) && resources.every(isPlainResource))) &&
    (duration === undefined || duration === null || (typeof duration === "number" && !Number.isNaN(duration))) &&
    isTextOrNone(value["error_message"]) &&
    isTextOrNone(value["error_code"]) &&
    isTextOrNone(value["completed_at"])
  );
}

/**
 * Whether a frame is plainly one that the schema takes, unchanged: what every event brings six of, at a tenth of the cost. What is not
 * plain goes to the schema, which alone decides and says why; a test holds the two together.
 */
function isPlainFrame(frame: Record<string, unknown>): boolean {
  switch (frame["type"]) {
    case "status_update":
      return (
        isText(frame["event_id"]) &&
        STATES.has(frame["state"]) &&
        PHASES.has(frame["phase"]) &&
        isPlainResultOrNone(frame["result"]) &&
        (frame["details"] ?? undefined) === undefined &&
        isTextOrNone(frame["agent_id"]) &&
        isTextOrNone(frame["message"]) &&
        ((frame["log_level"] ?? undefined) === undefined || LEVELS.has(frame["log_level"])) &&
        isTextOrNone(frame["timestamp"]) &&
        isWholeOrNone(frame["revision"]) &&
        isTextOrNone(frame["boot_id"]) &&
        isWholeOrNone(frame["seq"]) &&
        isWholeOrNone(frame["nth"]) &&
        isWholeOrNone(frame["round"])
      );
    case "event_ack":
      return isText(frame["event_id"]) && Number.isInteger(frame["revision"]);
    default:
      return false;
  }
}

/** Checks a decoded frame of an agent. A refusal is to be logged and survived: 0.1 agents are known to garble frames. */
export function checkAgentFrame(input: unknown): Checked<AgentFrame> {
  if (typeof input === "object" && input !== null && isPlainFrame(input as Record<string, unknown>))
    return { ok: true, value: input as AgentFrame };
  const parsed = v.safeParse(AgentFrameSchema, input, { abortEarly: true });
  if (parsed.success) return { ok: true, value: parsed.output };
  const type = frameType(input);
  if (type === undefined) return { ok: false, code: "INVALID_FRAME", message: "the frame has no type" };
  return issueRefusal(parsed.issues[0], "INVALID_FRAME");
}

/** Checks a decoded frame of a control plane. An unknown type answers a refusal; the agent warns and goes on, as 0.1's does. */
export function checkControlPlaneFrame(input: unknown): Checked<ControlPlaneFrame> {
  const parsed = v.safeParse(ControlPlaneFrameSchema, input, { abortEarly: true });
  if (parsed.success) return { ok: true, value: parsed.output };
  const type = frameType(input);
  if (type === undefined) return { ok: false, code: "INVALID_FRAME", message: "the frame has no type" };
  return issueRefusal(parsed.issues[0], "INVALID_FRAME");
}

/** WebSocket close codes of our own (4000-4999 are for applications). */
export const CLOSE = {
  goingAway: 1001,
  protocolError: 1002,
  /** Another connection registered with the same agent id. */
  replaced: 4001,
  invalidRegistration: 4003,
  /** It does not take what is sent to it fast enough. */
  tooSlow: 4004,
  removed: 4005,
  /** This control plane is about to stop: the agent is to connect again now, to another. */
  moveOn: 4006,
  /** It did not show that it is the agent that it says it is, or is another's by now. */
  identityRefused: 4007,
  /** Its certificate was revoked, or ran out: only a renewal or a fresh enrolment helps. */
  identityEnded: 4008,
} as const;

/**
 * The digest that both sides compare: of the keys `event_id NUL revision`, whatever their order. Two 32-bit hashes of each, summed, hex; it
 * guards against mistakes, not against an enemy.
 */
export function openDigest(keys: Iterable<{ readonly eventId: string; readonly revision: number }>): OpenDigest {
  let count = 0;
  let low = 0;
  let high = 0;
  for (const { eventId, revision } of keys) {
    count += 1;
    let a = 0x811c9dc5;
    let b = 0x01000193;
    const text = `${eventId}\u0000${revision}`;
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      a = Math.imul(a ^ code, 0x01000193);
      b = Math.imul(b ^ code, 0x85ebca6b);
    }
    low = (low + (a >>> 0)) % 0x1_0000_0000;
    high = (high + (b >>> 0)) % 0x1_0000_0000;
  }
  return { count, digest: `${high.toString(16).padStart(8, "0")}${low.toString(16).padStart(8, "0")}` };
}
