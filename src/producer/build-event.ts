import { failpoint, type Ports, refusalError } from "../kit/mod.ts";
import {
  LIMITS,
  NS_PER_MS,
  type OPERATION_ENTRIES,
  type Payload,
  type RetryPolicy,
  type WireEvent,
  checkEvent,
  durationNs,
  formatTimestamp,
} from "../protocol/mod.ts";

/** An event that has passed the same check as at the control plane's door, and its text as it is sent. */
export interface ReadyEvent {
  /** Its `id` is "" where the control plane makes one of the Idempotency-Key. */
  readonly wire: WireEvent;
  readonly json: string;
  readonly idempotencyKey: string | undefined;
}

export interface EventFields {
  readonly id?: string | undefined;
  /** The control plane makes the id from this, unless the event has one. */
  readonly idempotencyKey?: string | undefined;
  readonly createdBy?: string | undefined;
  readonly ttlMs?: number | undefined;
  readonly deadlineMs?: number | undefined;
  /** RFC 3339. */
  readonly notBefore?: string | undefined;
  readonly delayMs?: number | undefined;
  /** What is undefined stays as the file or the defaults have it. */
  readonly retry?: Partial<{ readonly [K in keyof RetryPolicy]: RetryPolicy[K] | undefined }> | undefined;
  readonly priority?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** The payload's fields of operations. */
export type OperationPayload = Partial<Pick<Payload, keyof typeof OPERATION_ENTRIES>>;

export interface K8sFields extends EventFields {
  readonly agent: string;
  readonly manifests: readonly string[];
  /** What is to be done with the objects, and how, as the payload says it. */
  readonly operation?: OperationPayload | undefined;
  readonly forceConflicts?: boolean | undefined;
  readonly verifyTimeoutMs?: number | undefined;
}

const ns = (ms: number): number => Math.round(ms * NS_PER_MS);

/** Builds a k8s_resource event. Throws the protocol's refusal (INVALID_EVENT, EMPTY_MANIFESTS, …). */
export function buildK8sEvent(fields: K8sFields, ports: Pick<Ports, "clock" | "ids">): ReadyEvent {
  const { operation = {} } = fields;
  const named = (operation.references ?? operation.patches ?? []).length > 0;
  const payload: Payload = named && fields.manifests.length === 0 ? {} : { manifests: [...fields.manifests] };
  for (const [field, value] of Object.entries(operation)) if (value !== undefined) Object.assign(payload, { [field]: value });
  if (fields.forceConflicts === true) payload["force_conflicts"] = true;
  if (fields.verifyTimeoutMs !== undefined) payload["verify_timeout"] = ns(fields.verifyTimeoutMs);
  return finish({ type: "k8s_resource", target_agent: fields.agent, payload }, fields, ports);
}

/** Completes an event that was read from a file: what the file says stays, unless a field here says otherwise. Throws as above. */
export function completeEvent(
  raw: Readonly<Record<string, unknown>>,
  fields: EventFields,
  ports: Pick<Ports, "clock" | "ids">,
): ReadyEvent {
  return finish(raw, fields, ports);
}

function finish(raw: Readonly<Record<string, unknown>>, fields: EventFields, ports: Pick<Ports, "clock" | "ids">): ReadyEvent {
  const has = (name: string): boolean => raw[name] !== undefined && raw[name] !== null && raw[name] !== "";
  const event: Record<string, unknown> = {
    id: fields.id ?? (has("id") ? raw["id"] : fields.idempotencyKey === undefined ? ports.ids.uuid() : ""),
    type: raw["type"],
    target_agent: raw["target_agent"],
    payload: raw["payload"],
    created_at: has("created_at") ? raw["created_at"] : formatTimestamp(ports.clock.now()),
    created_by: fields.createdBy ?? (has("created_by") ? raw["created_by"] : "cli"),
    ttl: fields.ttlMs === undefined ? (has("ttl") ? raw["ttl"] : ns(LIMITS.ttlDefaultMs)) : ns(fields.ttlMs),
    priority: fields.priority ?? (has("priority") ? raw["priority"] : 0),
  };
  if (fields.deadlineMs !== undefined) event["deadline"] = ns(fields.deadlineMs);
  if (fields.notBefore !== undefined) event["not_before"] = fields.notBefore;
  if (fields.delayMs !== undefined) event["delay"] = ns(fields.delayMs);
  const retry = retryOf(raw["retry"], fields.retry);
  if (retry !== undefined) event["retry"] = retry;
  for (const [key, value] of Object.entries(raw))
    if (!Object.hasOwn(event, key)) Object.defineProperty(event, key, { value, enumerable: true, configurable: true, writable: true });
  if (fields.labels !== undefined && Object.keys(fields.labels).length > 0)
    event["labels"] = { ...(typeof raw["labels"] === "object" ? raw["labels"] : {}), ...fields.labels };
  // A zero time is Go's way of saying that nobody set it.
  if (typeof event["created_at"] === "string" && event["created_at"].startsWith("0001-01-01"))
    event["created_at"] = formatTimestamp(ports.clock.now());
  // 0.1 reads durations as whole nanoseconds alone.
  for (const field of ["ttl", "deadline", "delay"]) event[field] = inNs(event[field]);
  for (const field of ["deadline", "delay"]) if (event[field] === undefined) delete event[field];
  const keyed = event["id"] === "" && fields.idempotencyKey !== undefined;
  const checked = checkEvent(keyed ? { ...event, id: "made-from-the-key" } : event);
  if (!checked.ok) throw refusalError(checked);
  failpoint("producer.built");
  return {
    wire: event as unknown as WireEvent,
    json: JSON.stringify(keyed ? { ...event, id: undefined } : event),
    idempotencyKey: fields.idempotencyKey,
  };
}

function inNs(value: unknown): unknown {
  return typeof value === "string" ? (durationNs(value) ?? value) : value;
}

/** The file's policy with what the flags say over it; undefined when neither says anything. */
function retryOf(raw: unknown, fields: EventFields["retry"]): unknown {
  const { attempts, backoffMs, maxBackoffMs } = fields ?? {};
  const said = {
    ...(attempts === undefined ? {} : { attempts }),
    ...(backoffMs === undefined ? {} : { backoff: ns(backoffMs) }),
    ...(maxBackoffMs === undefined ? {} : { max_backoff: ns(maxBackoffMs) }),
  };
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return Object.keys(said).length === 0 ? (raw ?? undefined) : said;
  const merged: Record<string, unknown> = { ...raw, ...said };
  for (const field of ["backoff", "max_backoff"]) if (field in merged) merged[field] = inNs(merged[field]);
  return merged;
}
