import { checkEvent, type Checked, type Event } from "../protocol/mod.ts";
import type { EventMeta } from "../stores/mod.ts";

/** An event as the store wants it: what was asked apart from its payload, and the digests that tell two events apart. */
export interface PreparedEvent {
  readonly event: EventMeta;
  readonly payloadText: string;
  /** SHA-256 of `payloadText`, hex. */
  readonly payloadDigest: string;
  /** UTF-8 bytes of `payloadText`. */
  readonly payloadBytes: number;
  readonly contentDigest: string;
}

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

/** "The same content" is type, target, payload, ttl, priority, labels and deadline; when it was written and by whom is not. */
function contentOf(event: Event, payloadDigest: string): string {
  return `${event.type}\n${event.targetAgent}\n${payloadDigest}\n${event.ttlNs}\n${event.priority}\n${event.deadlineMs ?? ""}\n${stableJson(event.labels)}`;
}

/** Checks a body as an event and prepares it for the store. Pure and synchronous: large bodies go through the worker. */
export function prepareEvent(text: string): Checked<PreparedEvent> {
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch (error) {
    return { ok: false, code: "INVALID_JSON", message: `the body is not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  const checked = checkEvent(input);
  if (!checked.ok) return checked;
  const { payload, ...event } = checked.value;
  const payloadText = stableJson(payload);
  const payloadDigest = sha256(payloadText);
  return {
    ok: true,
    value: {
      event,
      payloadText,
      payloadDigest,
      payloadBytes: Buffer.byteLength(payloadText),
      contentDigest: sha256(contentOf(checked.value, payloadDigest)),
    },
  };
}

/** The event as it goes to an agent, in 0.1's order of fields. The payload is pasted in as it lies in the store, never parsed again. */
export function eventJson(event: EventMeta, payloadText: string): string {
  const labels = Object.keys(event.labels).length > 0 ? `,"labels":${JSON.stringify(event.labels)}` : "";
  const deadline = event.deadlineMs === undefined ? "" : `,"deadline":${Math.round(event.deadlineMs * 1_000_000)}`;
  const trace = event.traceparent === undefined ? "" : `,"traceparent":${JSON.stringify(event.traceparent)}`;
  let extra = "";
  for (const [key, value] of Object.entries(event.extra)) extra += `,${JSON.stringify(key)}:${JSON.stringify(value)}`;
  return (
    `{"id":${JSON.stringify(event.id)},"type":"${event.type}","target_agent":${JSON.stringify(event.targetAgent)},"payload":${payloadText}` +
    `,"created_at":${JSON.stringify(event.createdAt ?? "")},"created_by":${JSON.stringify(event.createdBy)},"ttl":${event.ttlNs}` +
    `,"priority":${event.priority}${labels}${deadline}${trace}${extra}}`
  );
}
