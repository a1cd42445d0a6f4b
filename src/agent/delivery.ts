import { createHash } from "node:crypto";
import * as v from "valibot";
import { messageOf } from "../kit/mod.ts";
import {
  type Checked,
  checkControlPlaneFrame,
  checkRetry,
  durationNs,
  type ErrorCode,
  type EventFrame,
  idProblem,
  issueRefusal,
  LIMITS,
  needsOperations,
  NS_PER_MS,
  type OperationOptions,
  operationOptions,
  type Payload,
  type PayloadRef,
  parseJson,
  PayloadSchema,
  RETRY_DEFAULTS,
  type RetryPolicy,
  type WireDuration,
} from "../protocol/mod.ts";

/** What was asked for, as the executor and the ledger need it; survives a restart as JSON. The manifests travel apart from it. */
export interface Work {
  readonly eventId: string;
  /** Undefined from a 0.1 control plane, which has none. */
  readonly revision: number | undefined;
  readonly type: string;
  readonly priority: number;
  readonly deadlineMs: number;
  readonly verifyTimeoutMs: number;
  readonly forceConflicts: boolean;
  /** Undefined for an apply with nothing said, as nearly all are: `OPERATION_DEFAULTS`. */
  readonly options?: OperationOptions | undefined;
  /** How often and for how long what can heal is tried again. */
  readonly retry: RetryPolicy;
  readonly traceparent: string | undefined;
  /** Set where the frame named an event that cannot be carried out; it then fails with this. */
  readonly fault: { readonly code: ErrorCode; readonly message: string } | undefined;
}

/** An event as it arrived, before anything else is known about it. */
export interface Delivery {
  /**
   * What tells this delivery from every other: id, revision and the digest of the event as sent. An id alone does not, because it comes
   * back once the control plane has forgotten it, and then stands for something else.
   */
  readonly key: string;
  readonly work: Work;
  /** JSON of the array of manifests, of a script its text and then its arguments; "[]" for what has none, or has it apart. */
  readonly manifestsJson: string;
  /** The payload did not come along and is to be fetched; `work` then holds the defaults for what the payload says. */
  readonly payload: PayloadRef | undefined;
  /** Milliseconds from receipt within which it must start; undefined without bound. */
  readonly expiresInMs: number | undefined;
}

/** A frame of the control plane, decoded. It crosses from the worker to the main loop, so it holds plain data only. */
export type Decoded =
  /** `nth`: how many event frames came before it on its connection, where the control plane counts them. */
  | { readonly kind: "event"; readonly delivery: Delivery; readonly nth: number | undefined }
  | { readonly kind: "status_ack"; readonly bootId: string; readonly seq: number }
  | { readonly kind: "status_resend" }
  | { readonly kind: "cancel"; readonly eventId: string; readonly revision: number }
  | { readonly kind: "piece"; readonly digest: string; readonly offset: number; readonly data: string | null }
  | { readonly kind: "resync" }
  | { readonly kind: "trust"; readonly bundle: string; readonly renew: boolean }
  | { readonly kind: "unknown"; readonly type: string }
  /** `nth` where it is an event all the same: it was counted. */
  | { readonly kind: "garbled"; readonly why: string; readonly nth?: number | undefined };

function digest(...parts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part);
  return hash.digest("hex");
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function toMs(duration: WireDuration | null | undefined, fallbackMs: number): number {
  if (duration === null || duration === undefined) return fallbackMs;
  const ns = durationNs(duration);
  return ns === undefined || !(ns > 0) ? fallbackMs : ns / NS_PER_MS;
}

/** What a payload says beside its manifests: all of it that the ledger keeps with the work. */
export interface PayloadTraits {
  readonly verifyTimeoutMs: number;
  readonly forceConflicts: boolean;
  readonly options?: OperationOptions | undefined;
}

function traitsOf(payload: Payload): PayloadTraits {
  return {
    verifyTimeoutMs: toMs(payload.verify_timeout, LIMITS.verifyTimeoutDefaultMs),
    forceConflicts: payload.force_conflicts === true,
    ...(needsOperations(payload) ? { options: operationOptions(payload) } : {}),
  };
}

function textsOf(type: string, payload: Payload): readonly string[] {
  if (type !== "script") return payload.manifests ?? [];
  return typeof payload.script === "string" ? [payload.script, ...(payload.args ?? [])] : [];
}

export interface PayloadContent {
  readonly traits: PayloadTraits;
  /** What `Delivery.manifestsJson` is the JSON of. */
  readonly texts: readonly string[];
}

/** Reads a payload that was fetched. Pure; large ones are read in the worker. */
export function readPayload(text: string, type: string): Checked<PayloadContent> {
  let input: unknown;
  try {
    input = parseJson(text, LIMITS.eventJson);
  } catch (error) {
    return { ok: false, code: "INVALID_EVENT", message: `the payload is not JSON: ${messageOf(error)}` };
  }
  const parsed = v.safeParse(PayloadSchema, input, { abortEarly: true });
  if (!parsed.success) return issueRefusal(parsed.issues[0], "INVALID_EVENT");
  return { ok: true, value: { traits: traitsOf(parsed.output), texts: textsOf(type, parsed.output) } };
}

function retryOf(retry: EventFrame["event"]["retry"]): RetryPolicy {
  if (retry === undefined || retry === null) return RETRY_DEFAULTS;
  const checked = checkRetry(retry);
  // The control plane has checked it; whatever else stands here must not keep the event from being carried out.
  return checked.ok ? checked.value : RETRY_DEFAULTS;
}

/** A work as an earlier version may have kept it. */
export function workFromLedger(json: string): Work {
  const kept = JSON.parse(json) as Omit<Work, "retry"> & { readonly retry?: RetryPolicy };
  return { ...kept, retry: kept.retry ?? RETRY_DEFAULTS };
}

/** The ledger keeps whole milliseconds and no more than a TTL can be: one that it could not keep would stop the agent for good. */
function wholeMs(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(Math.min(Math.max(ms, 0), LIMITS.ttlMaxMs));
}

/** The revision and the TTL's rest stand beside the event and change from one handing over to the next, so they are no part of the digest. */
function deliveryOf(frame: EventFrame, eventText: string): Delivery {
  const { event } = frame;
  const revision = frame.revision ?? undefined;
  const apart = frame.payload ?? undefined;
  return {
    key: digest(event.id, String(revision ?? ""), eventText, ...(apart === undefined ? [] : [apart.digest])),
    payload:
      apart === undefined
        ? undefined
        : { digest: apart.digest, bytes: apart.bytes, encoding: apart.encoding, encoded_bytes: apart.encoded_bytes },
    work: {
      eventId: event.id,
      revision,
      type: event.type,
      priority: event.priority ?? 0,
      deadlineMs: toMs(event.deadline, LIMITS.deadlineDefaultMs),
      ...traitsOf(event.payload),
      retry: retryOf(event.retry),
      traceparent: event.traceparent ?? undefined,
      fault: undefined,
    },
    manifestsJson: JSON.stringify(textsOf(event.type, event.payload)),
    // A 0.1 control plane sends no rest of the TTL; counting the whole TTL from receipt compares no clocks.
    expiresInMs: wholeMs(frame.expires_in_ms ?? (revision === undefined ? toMs(event.ttl, LIMITS.ttlDefaultMs) : undefined)),
  };
}

/** An event frame that the schema refuses still names an event: that one is failed with the reason instead of being sent again for ever. */
function faultyDelivery(input: unknown, code: ErrorCode, message: string): Delivery | undefined {
  const event = field(input, "event");
  const id = field(event, "id");
  const revision = field(input, "revision");
  if (typeof id !== "string" || id === "" || idProblem(id) !== undefined) return undefined;
  const usableRevision = typeof revision === "number" && Number.isInteger(revision) ? revision : undefined;
  const type = field(event, "type");
  return {
    key: digest(id, String(usableRevision ?? ""), JSON.stringify(event)),
    work: {
      eventId: id,
      revision: usableRevision,
      type: typeof type === "string" ? type : "",
      priority: 0,
      deadlineMs: LIMITS.deadlineDefaultMs,
      verifyTimeoutMs: LIMITS.verifyTimeoutDefaultMs,
      forceConflicts: false,
      retry: RETRY_DEFAULTS,
      traceparent: undefined,
      fault: { code, message },
    },
    manifestsJson: "[]",
    payload: undefined,
    expiresInMs: undefined,
  };
}

const KNOWN_TYPES: ReadonlySet<string> = new Set([
  "status_ack",
  "status_resend",
  "cancel",
  "payload_piece",
  "resync",
  "trust",
  "challenge",
]);

/** Decodes one frame. Pure and synchronous; large frames are decoded in the worker. Never throws. */
export function decodeFrame(text: string): Decoded {
  let input: unknown;
  try {
    input = parseJson(text, LIMITS.frameJson);
  } catch (error) {
    return { kind: "garbled", why: error instanceof Error ? error.message : String(error) };
  }
  const checked = checkControlPlaneFrame(input);
  if (checked.ok) {
    const frame = checked.value;
    switch (frame.type) {
      case "status_ack":
        return { kind: "status_ack", bootId: frame.boot_id, seq: frame.seq };
      case "status_resend":
        return { kind: "status_resend" };
      case "cancel":
        return { kind: "cancel", eventId: frame.event_id, revision: frame.revision };
      case "payload_piece":
        return { kind: "piece", digest: frame.digest, offset: frame.offset, data: frame.data };
      case "resync":
        return { kind: "resync" };
      case "trust":
        return { kind: "trust", bundle: frame.trust_bundle, renew: frame.renew === true };
      case "challenge":
        // One before the registration is the connection's to answer, and never comes here.
        return { kind: "garbled", why: "a challenge to an agent that is registered" };
      case "event":
        break;
    }
    const problem = idProblem(frame.event.id);
    if (frame.event.id === "" || problem !== undefined)
      return { kind: "garbled", why: `the event's id ${problem ?? "is empty"}`, nth: frame.nth ?? undefined };
    return { kind: "event", delivery: deliveryOf(frame, JSON.stringify(frame.event)), nth: frame.nth ?? undefined };
  }
  const type = field(input, "type");
  if (type !== "event") {
    if (typeof type === "string" && !KNOWN_TYPES.has(type)) return { kind: "unknown", type: type.slice(0, 80) };
    return { kind: "garbled", why: checked.message };
  }
  const code = field(field(input, "event"), "type");
  const unknownType = checked.pointer === "/event/type" && typeof code === "string";
  const message = unknownType
    ? `this agent does not know events of type ${JSON.stringify(code.slice(0, 80))}`
    : `the event is not as the protocol wants it: ${checked.message}`;
  const delivery = faultyDelivery(input, unknownType ? "CAPABILITY_MISSING" : "INVALID_EVENT", message);
  const counted = field(input, "nth");
  const nth = typeof counted === "number" ? counted : undefined;
  return delivery === undefined ? { kind: "garbled", why: checked.message, nth } : { kind: "event", delivery, nth };
}
