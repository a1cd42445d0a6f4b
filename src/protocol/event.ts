import * as v from "valibot";
import { type Checked, issueRefusal, type Refusal, refuse, shown } from "./checked.ts";
import { NS_PER_MS, formatDurationMs, parseGoDuration } from "./duration.ts";
import { LIMITS } from "./limits.ts";
import { OPERATION_ENTRIES, refuseOperation } from "./operation.ts";
import { parseTimestampMs } from "./timestamp.ts";

export const EventTypeSchema = v.picklist(["k8s_resource", "script", "policy"]);
export type EventType = v.InferOutput<typeof EventTypeSchema>;

/** The capability an agent must announce before it is given an event of the type. */
export const CAPABILITY_OF_TYPE: Readonly<Record<EventType, string>> = {
  k8s_resource: "k8s_crud",
  script: "script_exec",
  policy: "policy",
};

/** Integer nanoseconds (Go's `time.Duration` in JSON), or Go's text form ("24h", "1h30m"). */
export const DurationSchema = v.union([v.pipe(v.number(), v.integer()), v.string()]);
export type WireDuration = v.InferOutput<typeof DurationSchema>;

export const PolicyRuleSchema = v.looseObject({
  name: v.string(),
  type: v.string(),
  parameters: v.nullish(v.record(v.string(), v.string())),
  severity: v.nullish(v.picklist(["error", "warning", "info"])),
  description: v.nullish(v.string()),
});

/** What is to be done. Fields that are not known are kept and travel on. */
export const PayloadSchema = v.looseObject({
  /** Each string is YAML or JSON of one or more documents. */
  manifests: v.nullish(v.array(v.string())),
  /** Take fields over from other field managers instead of reporting a conflict. */
  force_conflicts: v.nullish(v.boolean()),
  /** How long objects may take to become ready; 2 min when absent. */
  verify_timeout: v.nullish(DurationSchema),
  ...OPERATION_ENTRIES,
  script: v.nullish(v.string()),
  args: v.nullish(v.array(v.string())),
  policy_rules: v.nullish(v.array(PolicyRuleSchema)),
});
export type Payload = v.InferOutput<typeof PayloadSchema>;

/** Only for what can heal: the API server is away or throttles, a webhook is down, an optimistic lock was lost. Never for what is invalid or forbidden. */
export const RetrySchema = v.looseObject({
  /** How often it is tried in all; 1 never tries again; 8 when absent, which is about a minute of waiting in all. */
  attempts: v.nullish(v.pipe(v.number(), v.integer())),
  /** The longest first wait; 1 s when absent. It doubles each time, and a random part of it (full jitter) is waited. */
  backoff: v.nullish(DurationSchema),
  /** The longest wait; 1 min when absent. */
  max_backoff: v.nullish(DurationSchema),
});

/** An event as it stands on the wire: 0.1's fields, and ours that 0.1 programs ignore. */
export const EventSchema = v.looseObject({
  id: v.string(),
  type: EventTypeSchema,
  target_agent: v.string(),
  payload: PayloadSchema,
  /** RFC 3339, up to nine fractional digits; the time of receipt when absent. */
  created_at: v.nullish(v.string()),
  /** A claim of the sender's, never an identity. */
  created_by: v.nullish(v.string()),
  /** How long the event may wait for its start; 24 h when absent. */
  ttl: v.nullish(DurationSchema),
  /** Higher is more urgent; 0 when absent. */
  priority: v.nullish(v.pipe(v.number(), v.integer())),
  labels: v.nullish(v.record(v.string(), v.string())),
  /** How long the execution may take once it has started; 1 h when absent. */
  deadline: v.nullish(DurationSchema),
  /** Not to be started before, RFC 3339; the TTL counts from then. */
  not_before: v.nullish(v.string()),
  /** The same, counted from acceptance. With both, the later holds. */
  delay: v.nullish(DurationSchema),
  /** How often and for how long to try again what can heal. */
  retry: v.nullish(RetrySchema),
  /** W3C trace context of whoever submitted the event. */
  traceparent: v.nullish(v.string()),
});
export type WireEvent = v.InferOutput<typeof EventSchema>;

export interface RetryPolicy {
  readonly attempts: number;
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
}
export const RETRY_DEFAULTS: RetryPolicy = { attempts: 8, backoffMs: 1_000, maxBackoffMs: 60_000 };

/** A checked event with its defaults in place and its times in milliseconds. */
export interface Event {
  readonly id: string;
  readonly type: EventType;
  readonly targetAgent: string;
  readonly payload: Payload;
  /** As the sender wrote it; undefined when it wrote none. */
  readonly createdAt: string | undefined;
  readonly createdAtMs: number | undefined;
  readonly createdBy: string;
  /** Whole nanoseconds, as it goes to a 0.1 agent. */
  readonly ttlNs: number;
  readonly ttlMs: number;
  readonly priority: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly deadlineMs: number | undefined;
  readonly notBeforeMs: number | undefined;
  readonly delayMs: number | undefined;
  /** Undefined when the sender said nothing: `RETRY_DEFAULTS`. */
  readonly retry: RetryPolicy | undefined;
  readonly traceparent: string | undefined;
  /** Fields we do not know, kept as they came. */
  readonly extra: Readonly<Record<string, unknown>>;
}

const KNOWN_FIELDS: ReadonlySet<string> = new Set(Object.keys(EventSchema.entries));
const UNSAFE_KEY = "__proto__";

/** Says why an id cannot be used, or undefined when it can. Ids stand in URLs, logs and terminals, so control characters are out. */
export function idProblem(id: string): string | undefined {
  if (id.length > LIMITS.idChars) return `is ${id.length} characters long; at most ${LIMITS.idChars} are allowed`;
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(id)) return "contains a control character";
  if (id.trim() === "") return "is only white space";
  if (!id.isWellFormed()) return "is not well-formed Unicode";
  return undefined;
}

/** Reads a duration of the wire as whole nanoseconds; undefined when it is neither. */
export function durationNs(value: WireDuration): number | undefined {
  if (typeof value === "string") return parseGoDuration(value);
  return value;
}

function checkDuration(value: WireDuration, field: string): Checked<number> {
  const ns = durationNs(value);
  if (ns === undefined)
    return refuse(
      "INVALID_TTL",
      `${field} "${String(value).slice(0, 40)}" is not a duration; write nanoseconds or text such as "24h"`,
      `/${field}`,
    );
  if (ns <= 0) return refuse("INVALID_TTL", `${field} is ${ns === 0 ? "zero" : "negative"}; it must be longer than nothing`, `/${field}`);
  const ms = ns / NS_PER_MS;
  if (ms < LIMITS.ttlMinMs)
    return refuse("INVALID_TTL", `${field} is ${ns} ns, less than a millisecond; durations are nanoseconds in JSON`, `/${field}`);
  if (ms > LIMITS.ttlMaxMs) return refuse("INVALID_TTL", `${field} is longer than ten years (${formatDurationMs(ms)})`, `/${field}`);
  return { ok: true, value: ns };
}

/** Reads a retry policy, with defaults in place. */
export function checkRetry(retry: v.InferOutput<typeof RetrySchema>): Checked<RetryPolicy> {
  const attempts = retry.attempts ?? RETRY_DEFAULTS.attempts;
  if (attempts < 1 || attempts > LIMITS.retryAttempts)
    return refuse("INVALID_EVENT", `retry.attempts ${attempts} is not 1 to ${LIMITS.retryAttempts}`, "/retry/attempts");
  const waits = { backoff: RETRY_DEFAULTS.backoffMs, max_backoff: RETRY_DEFAULTS.maxBackoffMs };
  for (const field of ["backoff", "max_backoff"] as const) {
    const value = retry[field];
    if (value === undefined || value === null) continue;
    const checked = checkDuration(value, field);
    if (!checked.ok) return refuse("INVALID_EVENT", `retry.${checked.message}`, `/retry/${field}`);
    waits[field] = checked.value / NS_PER_MS;
  }
  return {
    ok: true,
    value: { attempts, backoffMs: Math.min(waits.backoff, waits.max_backoff), maxBackoffMs: waits.max_backoff },
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The pointer of what lies inside, with as many of the names above it as are worth showing. */
function below(name: string, inner: string): string {
  return inner.length > 1_000 ? inner : name + inner;
}

/** A key that could reach a prototype, anywhere in the value; its JSON pointer, or undefined. */
function unsafeKey(value: object, depth = 0): string | undefined {
  if (depth > 100) return "";
  if (Array.isArray(value)) {
    // An array that was decoded has no keys but its places, and most hold texts alone.
    for (let at = 0; at < value.length; at += 1) {
      const child: unknown = value[at];
      const inner = typeof child === "object" && child !== null ? unsafeKey(child, depth + 1) : undefined;
      if (inner !== undefined) return below(`/${at}`, inner);
    }
    return undefined;
  }
  for (const key of Object.keys(value)) {
    if (key === UNSAFE_KEY) return `/${key}`;
    const child = (value as Record<string, unknown>)[key];
    if (typeof child !== "object" || child === null) continue;
    const inner = unsafeKey(child, depth + 1);
    if (inner !== undefined) return below(`/${shown(key)}`, inner);
  }
  return undefined;
}

function missingField(value: Record<string, unknown>): Refusal | undefined {
  // In 0.1's order, so that a request with several faults gets the same answer as before.
  const absent = (field: string): boolean => value[field] === undefined || value[field] === null || value[field] === "";
  if (absent("id")) return refuse("MISSING_EVENT_ID", "event ID is required", "/id");
  if (absent("target_agent")) return refuse("MISSING_TARGET_AGENT", "target agent is required", "/target_agent");
  if (absent("type")) return refuse("MISSING_EVENT_TYPE", "event type is required", "/type");
  if (!v.is(EventTypeSchema, value["type"])) {
    return refuse(
      "UNKNOWN_EVENT_TYPE",
      `unknown event type ${JSON.stringify(value["type"]).slice(0, 80)}; known are ${EventTypeSchema.options.join(", ")}`,
      "/type",
    );
  }
  return undefined;
}

function emptyPayload(type: EventType, payload: Payload): Refusal | undefined {
  switch (type) {
    case "k8s_resource":
      return refuseOperation(payload);
    case "script":
      if (!payload.script?.trim()) return refuse("EMPTY_SCRIPT", "script event must have a script", "/payload/script");
      return undefined;
    case "policy":
      if (!payload.policy_rules?.length)
        return refuse("EMPTY_POLICY_RULES", "policy event must have at least one rule", "/payload/policy_rules");
      return undefined;
  }
}

function checkLabels(labels: Readonly<Record<string, string>>): Refusal | undefined {
  const entries = Object.entries(labels);
  if (entries.length > LIMITS.labels)
    return refuse("INVALID_EVENT", `labels has ${entries.length} entries; at most ${LIMITS.labels} are allowed`, "/labels");
  for (const [key, value] of entries) {
    if (key === "" || key.length > LIMITS.labelKeyChars)
      return refuse(
        "INVALID_EVENT",
        `label key ${JSON.stringify(key.slice(0, 40))} must be 1 to ${LIMITS.labelKeyChars} characters`,
        "/labels",
      );
    if (value.length > LIMITS.labelValueChars)
      return refuse(
        "INVALID_EVENT",
        `label ${JSON.stringify(key)} has a value of more than ${LIMITS.labelValueChars} characters`,
        "/labels",
      );
  }
  return undefined;
}

function isTextOrNone(value: unknown): boolean {
  return value === undefined || value === null || typeof value === "string";
}

function isDurationOrNone(value: unknown): boolean {
  return isTextOrNone(value) || Number.isInteger(value);
}

function isSomeText(value: unknown): boolean {
  return typeof value === "string" && value !== "";
}

/** The schema drops these from records, so what has them is not plain. */
const DROPPED_KEYS: ReadonlySet<string> = new Set([UNSAFE_KEY, "prototype", "constructor"]);

/**
 * Whether a value is plainly an event that the schema takes, unchanged: nearly all are, and this costs a tenth. What is not plain goes to the
 * schema, which alone decides and says why; a test holds the two together.
 */
function isPlainEvent(input: Record<string, unknown>): boolean {
  for (const key of Object.keys(input)) if (!KNOWN_FIELDS.has(key)) return false;
  const { payload, labels, priority } = input as { payload?: unknown; labels?: unknown; priority?: unknown };
  if (!isRecord(payload)) return false;
  for (const key of Object.keys(payload)) if (key !== "manifests") return false;
  const manifests = payload["manifests"];
  if (!Array.isArray(manifests) || !manifests.every((manifest) => typeof manifest === "string")) return false;
  if (labels !== undefined && labels !== null) {
    if (!isRecord(labels)) return false;
    for (const key of Object.keys(labels)) if (typeof labels[key] !== "string" || DROPPED_KEYS.has(key)) return false;
  }
  return (
    isSomeText(input["id"]) &&
    input["type"] === "k8s_resource" &&
    isSomeText(input["target_agent"]) &&
    isTextOrNone(input["created_at"]) &&
    isTextOrNone(input["created_by"]) &&
    isTextOrNone(input["traceparent"]) &&
    isDurationOrNone(input["ttl"]) &&
    isDurationOrNone(input["deadline"]) &&
    (priority === undefined || priority === null || Number.isInteger(priority)) &&
    (input["not_before"] ?? undefined) === undefined &&
    (input["delay"] ?? undefined) === undefined &&
    (input["retry"] ?? undefined) === undefined
  );
}

function checkWire(input: Record<string, unknown>): Checked<WireEvent> {
  const unsafe = unsafeKey(input);
  if (unsafe !== undefined) return refuse("INVALID_EVENT", `the key ${unsafe} is not allowed`, unsafe);
  const missing = missingField(input);
  if (missing !== undefined) return missing;
  // 0.1 decodes an absent or null payload as an empty one, which then has no manifests.
  const parsed = v.safeParse(EventSchema, (input["payload"] ?? undefined) === undefined ? { ...input, payload: {} } : input, {
    abortEarly: true,
  });
  return parsed.success ? { ok: true, value: parsed.output } : issueRefusal(parsed.issues[0], "INVALID_EVENT");
}

/** Checks a decoded JSON or YAML value as an event; answers it with defaults in place, or the first fault. Throws nothing. */
export function checkEvent(input: unknown): Checked<Event> {
  if (!isRecord(input))
    return refuse(
      "INVALID_EVENT",
      `an event is a JSON object, not ${Array.isArray(input) ? "an array" : input === null ? "null" : `a ${typeof input}`}`,
    );
  const plain = isPlainEvent(input);
  const checked: Checked<WireEvent> = plain ? { ok: true, value: input as WireEvent } : checkWire(input);
  if (!checked.ok) return checked;
  const wire = checked.value;
  for (const field of ["id", "target_agent"] as const) {
    const problem = idProblem(wire[field]);
    if (problem !== undefined) return refuse(field === "id" ? "INVALID_EVENT_ID" : "INVALID_EVENT", `${field} ${problem}`, `/${field}`);
  }
  const empty = emptyPayload(wire.type, wire.payload);
  if (empty !== undefined) return empty;
  const labels = wire.labels ?? {};
  const labelFault = checkLabels(labels);
  if (labelFault !== undefined) return labelFault;
  const ttl = wire.ttl === undefined || wire.ttl === null ? undefined : checkDuration(wire.ttl, "ttl");
  if (ttl?.ok === false) return ttl;
  const deadline = wire.deadline === undefined || wire.deadline === null ? undefined : checkDuration(wire.deadline, "deadline");
  if (deadline?.ok === false) return deadline;
  if (wire.payload.verify_timeout !== undefined && wire.payload.verify_timeout !== null) {
    const verify = checkDuration(wire.payload.verify_timeout, "verify_timeout");
    if (!verify.ok) return refuse("INVALID_EVENT", verify.message, "/payload/verify_timeout");
  }
  const delay = wire.delay === undefined || wire.delay === null ? undefined : checkDuration(wire.delay, "delay");
  if (delay?.ok === false) return delay;
  const notBeforeMs = typeof wire.not_before === "string" ? parseTimestampMs(wire.not_before) : undefined;
  if (typeof wire.not_before === "string" && notBeforeMs === undefined)
    return refuse(
      "INVALID_TIMESTAMP",
      `not_before ${JSON.stringify(wire.not_before.slice(0, 60))} is not an RFC 3339 timestamp`,
      "/not_before",
    );
  const retry = wire.retry === undefined || wire.retry === null ? undefined : checkRetry(wire.retry);
  if (retry?.ok === false) return retry;
  const priority = wire.priority ?? 0;
  if (Math.abs(priority) > LIMITS.priorityAbs)
    return refuse("INVALID_EVENT", `priority ${priority} is beyond ${LIMITS.priorityAbs}`, "/priority");
  if ((wire.created_by?.length ?? 0) > LIMITS.creatorChars)
    return refuse("INVALID_EVENT", `created_by has more than ${LIMITS.creatorChars} characters`, "/created_by");
  const createdAt = wire.created_at ?? undefined;
  const createdAtMs = createdAt === undefined ? undefined : parseTimestampMs(createdAt);
  if (createdAt !== undefined && createdAtMs === undefined)
    return refuse("INVALID_TIMESTAMP", `created_at ${JSON.stringify(createdAt.slice(0, 60))} is not an RFC 3339 timestamp`, "/created_at");
  const ttlNs = ttl?.value ?? LIMITS.ttlDefaultMs * NS_PER_MS;
  const extra: Record<string, unknown> = {};
  if (!plain) for (const key of Object.keys(wire)) if (!KNOWN_FIELDS.has(key)) extra[key] = wire[key];
  return {
    ok: true,
    value: {
      id: wire.id,
      type: wire.type,
      targetAgent: wire.target_agent,
      payload: wire.payload,
      createdAt,
      // Go's zero time means that nobody set it.
      createdAtMs: createdAt?.startsWith("0001-01-01") === true ? undefined : createdAtMs,
      createdBy: wire.created_by ?? "",
      ttlNs,
      ttlMs: ttlNs / NS_PER_MS,
      priority,
      labels,
      deadlineMs: deadline === undefined ? undefined : deadline.value / NS_PER_MS,
      notBeforeMs,
      delayMs: delay === undefined ? undefined : delay.value / NS_PER_MS,
      retry: retry?.value,
      traceparent: wire.traceparent ?? undefined,
      extra,
    },
  };
}
