import {
  checkEvent,
  type Checked,
  type Event,
  LIMITS,
  needsCapability,
  NS_PER_MS,
  type Operation,
  OPERATION_DEFAULTS,
  type Payload,
  refuse,
  type RetryPolicy,
} from "../protocol/mod.ts";
import type { EncodedPayload, EventMeta } from "../stores/mod.ts";
import { type CloudEnvelope, unwrapCloudEvent } from "./cloud-envelope.ts";

/** Manifests are text that repeats itself: more effort saves little and costs time. */
const ZSTD_LEVEL = 3;

/** An event as the store wants it: what was asked apart from its payload, and the digests that tell two events apart. */
export interface PreparedEvent {
  readonly event: EventMeta;
  /** Compact JSON; undefined when it is above `LIMITS.payloadApartBytes` and lies in `encoded`. */
  readonly payloadText: string | undefined;
  readonly encoded: EncodedPayload | undefined;
  /** SHA-256 of the payload's text, hex. */
  readonly payloadDigest: string;
  /** UTF-8 bytes of the payload's text. */
  readonly payloadBytes: number;
  readonly contentDigest: string;
}

/** Where an event's id comes from, besides the event itself. */
export interface IdRule {
  /** The id of an event that brings none; undefined: it must bring one. */
  readonly id: string | undefined;
  /** The id stands for an Idempotency-Key, so an event that brings another contradicts it. */
  readonly only: boolean;
  /** The event comes in a CloudEvent, whose source and id say which event it is. */
  readonly envelope?: CloudEnvelope | undefined;
}
export const OWN_ID: IdRule = { id: undefined, only: false };

/** JSON with the keys of every object sorted, so that the same content gives the same text whoever wrote it. */
export function stableJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item: unknown) => stableJson(item)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const parts: string[] = [];
  for (const key of Object.keys(value).toSorted()) {
    const child = (value as Record<string, unknown>)[key];
    if (child !== undefined) parts.push(`${JSON.stringify(key)}:${stableJson(child)}`);
  }
  return `{${parts.join(",")}}`;
}

function sha256(text: string): string {
  return Bun.SHA256.hash(text, "hex");
}

/** "The same content" is what is asked for: type, target, payload, the times and how urgent. When it was written and by whom is not. */
function contentOf(event: Event, payloadDigest: string): string {
  const { deadlineMs, notBeforeMs, delayMs, retry } = event;
  const content = `${event.type}\n${event.targetAgent}\n${payloadDigest}\n${event.ttlNs}\n${event.priority}\n${deadlineMs ?? ""}\n${labelsJson(event.labels)}`;
  // Only where there is something to say: events that were accepted before these fields existed keep their digest.
  if (notBeforeMs === undefined && delayMs === undefined && retry === undefined) return content;
  const policy = retry === undefined ? "" : `${retry.attempts}/${retry.backoffMs}/${retry.maxBackoffMs}`;
  return `${content}\n${notBeforeMs ?? ""}\n${delayMs ?? ""}\n${policy}`;
}

/** Most events have one label or none, which are in order as they are. */
function labelsJson(labels: Readonly<Record<string, string>>): string {
  let count = 0;
  for (const _key in labels) count += 1;
  return count > 1 ? stableJson(labels) : JSON.stringify(labels);
}

/** Payloads are nearly always manifests alone, whose keys are in order already. */
function isPlain(payload: Payload): boolean {
  for (const key in payload) if (key !== "manifests") return false;
  return true;
}

/** What only agents that know operations may be asked; a plain apply is what every agent knows. */
function operationOf({ type, payload }: Event): Operation | undefined {
  if (type !== "k8s_resource" || !needsCapability(payload)) return undefined;
  return payload.operation ?? OPERATION_DEFAULTS.operation;
}

function isAbsent(id: unknown): boolean {
  return id === undefined || id === null || id === "";
}

/** Puts the id in where there is none. Another than an Idempotency-Key stands for is a refusal. */
function withId(input: unknown, rule: IdRule): Checked<unknown> {
  if (rule.id === undefined || typeof input !== "object" || input === null || Array.isArray(input)) return { ok: true, value: input };
  const { id } = input as { readonly id?: unknown };
  if (isAbsent(id)) return { ok: true, value: { ...input, id: rule.id } };
  if (!rule.only || id === rule.id) return { ok: true, value: input };
  return {
    ok: false,
    code: "INVALID_IDEMPOTENCY_KEY",
    message: `the event has an id of its own (${JSON.stringify(id).slice(0, 80)}), which is not the one that the Idempotency-Key stands for`,
    pointer: "/id",
  };
}

/** An event out of its CloudEvent, prepared; what is wrong with it is told by its place in the body. */
function prepareWrapped(input: unknown, envelope: CloudEnvelope, rule: IdRule): Checked<PreparedEvent> {
  const unwrapped = unwrapCloudEvent(input, envelope);
  if (!unwrapped.ok) return unwrapped;
  const { event, at, isCloudEvent } = unwrapped.value;
  if (!isCloudEvent) return prepareInput(event, rule);
  if (rule.only)
    return refuse(
      "INVALID_IDEMPOTENCY_KEY",
      "source and id of a CloudEvent say which event it is; it can have no Idempotency-Key beside them",
    );
  const prepared = prepareInput(event, OWN_ID);
  return prepared.ok || prepared.pointer === undefined ? prepared : { ...prepared, pointer: at + prepared.pointer };
}

/** Checks a body as an event and prepares it for the store. Pure and synchronous: large bodies go through the worker. */
export function prepareEvent(text: string, rule: IdRule = OWN_ID): Checked<PreparedEvent> {
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch (error) {
    return { ok: false, code: "INVALID_JSON", message: `the body is not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  return rule.envelope === undefined ? prepareInput(input, rule) : prepareWrapped(input, rule.envelope, rule);
}

function prepareInput(input: unknown, rule: IdRule): Checked<PreparedEvent> {
  const identified = rule.id === undefined ? { ok: true as const, value: input } : withId(input, rule);
  if (!identified.ok) return identified;
  const checked = checkEvent(identified.value);
  if (!checked.ok) return checked;
  const plain = isPlain(checked.value.payload);
  const event = metaOf(checked.value);
  const payloadText = plain ? JSON.stringify(checked.value.payload) : stableJson(checked.value.payload);
  const payloadBytes = Buffer.byteLength(payloadText);
  const apart = payloadBytes > LIMITS.payloadApartBytes ? encode(payloadText, payloadBytes) : undefined;
  const payloadDigest = apart?.digest ?? sha256(payloadText);
  return {
    ok: true,
    value: {
      event,
      payloadText: apart === undefined ? payloadText : undefined,
      encoded: apart,
      payloadDigest,
      payloadBytes,
      contentDigest: sha256(contentOf(checked.value, payloadDigest)),
    },
  };
}

/** An event without its payload. Written out: this is done for every event, and copying what is left over costs many times as much. */
function metaOf(event: Event): EventMeta {
  return {
    id: event.id,
    type: event.type,
    targetAgent: event.targetAgent,
    createdAt: event.createdAt,
    createdAtMs: event.createdAtMs,
    createdBy: event.createdBy,
    ttlNs: event.ttlNs,
    ttlMs: event.ttlMs,
    priority: event.priority,
    labels: event.labels,
    deadlineMs: event.deadlineMs,
    notBeforeMs: event.notBeforeMs,
    delayMs: event.delayMs,
    retry: event.retry,
    traceparent: event.traceparent,
    extra: event.extra,
    operation: operationOf(event),
  };
}

function encode(payloadText: string, bytes: number): EncodedPayload {
  const text = Buffer.from(payloadText);
  const encoded = Bun.zstdCompressSync(text, { level: ZSTD_LEVEL });
  return { digest: Bun.SHA256.hash(text, "hex"), bytes, encoding: "zstd", encoded, encodedHash: Bun.hash(encoded).toString(16) };
}

/** A retry policy as it stands on the wire. */
export function wireRetry(retry: RetryPolicy): { attempts: number; backoff: number; max_backoff: number } {
  return {
    attempts: retry.attempts,
    backoff: Math.round(retry.backoffMs * NS_PER_MS),
    max_backoff: Math.round(retry.maxBackoffMs * NS_PER_MS),
  };
}

/**
 * The event as it goes to an agent, in 0.1's order of fields. The payload is pasted in as it lies in the store, never parsed again. When it
 * may start is not told: it is not handed over before.
 */
export function eventJson(event: EventMeta, payloadText: string): string {
  const labels = Object.keys(event.labels).length > 0 ? `,"labels":${JSON.stringify(event.labels)}` : "";
  const deadline = event.deadlineMs === undefined ? "" : `,"deadline":${Math.round(event.deadlineMs * NS_PER_MS)}`;
  const retry = event.retry === undefined ? "" : `,"retry":${JSON.stringify(wireRetry(event.retry))}`;
  const trace = event.traceparent === undefined ? "" : `,"traceparent":${JSON.stringify(event.traceparent)}`;
  let extra = "";
  for (const [key, value] of Object.entries(event.extra)) extra += `,${JSON.stringify(key)}:${JSON.stringify(value)}`;
  return (
    `{"id":${JSON.stringify(event.id)},"type":"${event.type}","target_agent":${JSON.stringify(event.targetAgent)},"payload":${payloadText}` +
    `,"created_at":${JSON.stringify(event.createdAt ?? "")},"created_by":${JSON.stringify(event.createdBy)},"ttl":${event.ttlNs}` +
    `,"priority":${event.priority}${labels}${deadline}${retry}${trace}${extra}}`
  );
}
