import { createHash } from "node:crypto";
import {
  checkControlPlaneFrame,
  durationNs,
  type ErrorCode,
  type EventFrame,
  idProblem,
  LIMITS,
  NS_PER_MS,
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
  /** JSON of the array of manifests; "[]" for what has none. */
  readonly manifestsJson: string;
  /** Milliseconds from receipt within which it must start; undefined without bound. */
  readonly expiresInMs: number | undefined;
}

/** A frame of the control plane, decoded. It crosses from the worker to the main loop, so it holds plain data only. */
export type Decoded =
  | { readonly kind: "event"; readonly delivery: Delivery }
  | { readonly kind: "status_ack"; readonly bootId: string; readonly seq: number }
  | { readonly kind: "unknown"; readonly type: string }
  | { readonly kind: "garbled"; readonly why: string };

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

/** The revision and the TTL's rest stand beside the event and change from one handing over to the next, so they are no part of the digest. */
function deliveryOf(frame: EventFrame, eventText: string): Delivery {
  const { event } = frame;
  const revision = frame.revision ?? undefined;
  return {
    key: digest(event.id, String(revision ?? ""), eventText),
    work: {
      eventId: event.id,
      revision,
      type: event.type,
      priority: event.priority ?? 0,
      deadlineMs: toMs(event.deadline, LIMITS.deadlineDefaultMs),
      verifyTimeoutMs: toMs(event.payload.verify_timeout, LIMITS.verifyTimeoutDefaultMs),
      forceConflicts: event.payload.force_conflicts === true,
      traceparent: event.traceparent ?? undefined,
      fault: undefined,
    },
    manifestsJson: JSON.stringify(event.payload.manifests ?? []),
    // A 0.1 control plane sends no rest of the TTL; counting the whole TTL from receipt compares no clocks.
    expiresInMs: frame.expires_in_ms ?? (revision === undefined ? toMs(event.ttl, LIMITS.ttlDefaultMs) : undefined),
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
      traceparent: undefined,
      fault: { code, message },
    },
    manifestsJson: "[]",
    expiresInMs: undefined,
  };
}

/** Decodes one frame. Pure and synchronous; large frames are decoded in the worker. Never throws. */
export function decodeFrame(text: string): Decoded {
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch (error) {
    return { kind: "garbled", why: error instanceof Error ? error.message : String(error) };
  }
  const checked = checkControlPlaneFrame(input);
  if (checked.ok) {
    const frame = checked.value;
    if (frame.type === "status_ack") return { kind: "status_ack", bootId: frame.boot_id, seq: frame.seq };
    const problem = idProblem(frame.event.id);
    if (frame.event.id === "" || problem !== undefined) return { kind: "garbled", why: `the event's id ${problem ?? "is empty"}` };
    return { kind: "event", delivery: deliveryOf(frame, JSON.stringify(frame.event)) };
  }
  const type = field(input, "type");
  if (type !== "event") {
    if (typeof type === "string" && type !== "status_ack") return { kind: "unknown", type: type.slice(0, 80) };
    return { kind: "garbled", why: checked.message };
  }
  const code = field(field(input, "event"), "type");
  const unknownType = checked.pointer === "/event/type" && typeof code === "string";
  const message = unknownType
    ? `this agent does not know events of type ${JSON.stringify(code.slice(0, 80))}`
    : `the event is not as the protocol wants it: ${checked.message}`;
  const delivery = faultyDelivery(input, unknownType ? "CAPABILITY_MISSING" : "INVALID_EVENT", message);
  return delivery === undefined ? { kind: "garbled", why: checked.message } : { kind: "event", delivery };
}
