import type { Statement } from "bun:sqlite";
import {
  type EventSummary,
  type EventType,
  formatTimestamp,
  isTerminal,
  NS_PER_MS,
  type Phase,
  type State,
} from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import { FENCED_MESSAGE } from "../../ending.ts";
import type { CreateOutcome, DeliveryRow, EventMeta, NewEvent, PayloadSource, RetryInput, RetryOutcome } from "../../port.ts";
import type { Audit } from "./audit.ts";
import type { Deliveries } from "./deliveries.ts";
import { LANE } from "./delivery.ts";
import type { Owners } from "./owners.ts";
import type { Payloads } from "./payloads.ts";
import type { Tally } from "./tally.ts";

/** Payloads up to this many bytes lie in the event's own row: sharing them would cost more than it saves. */
const INLINE_BYTES = 1024;

/** The columns of an event and its delivery that an answer needs; the payload is fetched apart, when it is asked for. */
export const JOINED = `e.no, e.tenant, e.id, e.principal, e.type, e.target_agent, e.created_at, e.created_at_ms, e.created_by, e.ttl_ns,
  e.deadline_ms, e.priority, e.traceparent, e.received_at_ms, e.payload_digest, e.payload_bytes, e.labels, e.extra, e.options, d.ord,
  d.agent_id, d.revision, d.expires_at_ms, d.state, d.phase, d.message, d.attempts, d.result_seq, d.cancel_at_ms, d.not_before_ms, d.updated_at_ms,
  d.finished_at_ms`;

export interface JoinedRow {
  readonly no: number;
  readonly tenant: string;
  readonly id: string;
  readonly principal: string;
  readonly type: EventType;
  readonly target_agent: string;
  readonly created_at: string | null;
  readonly created_at_ms: number | null;
  readonly created_by: string;
  readonly ttl_ns: number;
  readonly deadline_ms: number | null;
  readonly priority: number;
  readonly traceparent: string | null;
  readonly received_at_ms: number;
  readonly payload_digest: string;
  readonly payload_bytes: number;
  readonly labels: string | null;
  readonly extra: string | null;
  readonly options: string | null;
  readonly ord: number;
  readonly agent_id: string;
  readonly revision: number;
  readonly expires_at_ms: number;
  readonly state: State;
  readonly phase: Phase | "";
  readonly message: string;
  readonly attempts: number;
  readonly result_seq: number | null;
  readonly cancel_at_ms: number | null;
  readonly not_before_ms: number | null;
  readonly updated_at_ms: number;
  readonly finished_at_ms: number | null;
}

interface RetriedRow {
  readonly ttl_ns: number;
  readonly options: string | null;
  readonly content_digest: string;
}

/** Stands for the content of an event that was imported: no content is the same. */
export const IMPORTED_DIGEST = "";

type EventValues = [
  number,
  string,
  string,
  string,
  string,
  string,
  string | null,
  number | null,
  string,
  number,
  number | null,
  number,
  string | null,
  number,
  string,
  string,
  number,
  number | null,
  number | null,
  string | null,
  string | null,
  string | null,
  string | null,
];

/** What few events have, kept as JSON in one column. */
type Options = Pick<EventMeta, "notBeforeMs" | "delayMs" | "retry" | "operation">;

/** Events as they were asked for, and their payloads. */
export class Events {
  readonly #tally: Tally;
  readonly #deliveries: Deliveries;
  readonly #audit: Audit;
  readonly #payloads: Payloads;
  readonly #owners: Owners;
  readonly #insert: Statement<unknown, EventValues>;
  readonly #known: Statement<{ readonly content_digest: string; readonly no: number }, [string, string]>;
  readonly #sharedNo: Statement<{ readonly no: number }, [string]>;
  readonly #share: Statement<unknown, [number, string, number, string]>;
  readonly #payload: Statement<{ readonly text: string | null; readonly apart_no: number | null }, [number]>;
  readonly #waits: Statement<unknown, [string, string, number]>;
  readonly #ready: Statement<unknown, [string, string, number]>;
  readonly #retried: Statement<RetriedRow, [number]>;

  constructor(
    database: OpenedDatabase,
    parts: {
      readonly tally: Tally;
      readonly deliveries: Deliveries;
      readonly audit: Audit;
      readonly payloads: Payloads;
      readonly owners: Owners;
    },
  ) {
    this.#tally = parts.tally;
    this.#payloads = parts.payloads;
    this.#owners = parts.owners;
    this.#deliveries = parts.deliveries;
    this.#audit = parts.audit;
    this.#insert = database.prepare(
      `INSERT INTO event (no, tenant, id, principal, type, target_agent, created_at, created_at_ms, created_by, ttl_ns, deadline_ms, priority,
       traceparent, received_at_ms, content_digest, payload_digest, payload_bytes, payload_no, apart_no, labels, extra, options, payload)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO NOTHING`,
    );
    this.#known = database.prepare("SELECT content_digest, no FROM event WHERE tenant = ? AND id = ?");
    this.#sharedNo = database.prepare("SELECT no FROM payload WHERE digest = ?");
    this.#share = database.prepare("INSERT INTO payload (no, digest, bytes, text) VALUES (?, ?, ?, ?)");
    this.#payload = database.prepare(
      "SELECT coalesce(e.payload, p.text) AS text, e.apart_no FROM event e LEFT JOIN payload p ON p.no = e.payload_no WHERE e.no = ?",
    );
    this.#waits = database.prepare(
      "SELECT 1 FROM delivery INDEXED BY delivery_open WHERE tenant = ? AND agent_id = ? AND lane = ? AND lane IS NOT NULL LIMIT 1",
    );
    this.#ready = database.prepare(
      "SELECT 1 FROM delivery INDEXED BY delivery_delayed WHERE tenant = ? AND agent_id = ? AND lane = 2 AND not_before_ms <= ? LIMIT 1",
    );
    this.#retried = database.prepare("SELECT ttl_ns, options, content_digest FROM event WHERE no = ?");
  }

  create(input: NewEvent): CreateOutcome {
    const { event, tenant, principal } = input;
    const { payloadText } = input;
    const inline = payloadText !== undefined && input.payloadBytes <= INLINE_BYTES;
    // A payload that lies apart is written before its event, so whether the event is new must be known first.
    if (!inline && this.#known.get(tenant, event.id) !== null) return this.#repeated(input);
    const apartNo = payloadText === undefined ? this.#payloads.noOf(input.payloadDigest) : undefined;
    if (payloadText === undefined && apartNo === undefined) return { kind: "conflict" };
    const no = this.#tally.next("ord");
    const written = this.#insert.run(
      no,
      tenant,
      event.id,
      principal,
      event.type,
      event.targetAgent,
      event.createdAt ?? null,
      event.createdAtMs ?? null,
      event.createdBy,
      event.ttlNs,
      event.deadlineMs ?? null,
      event.priority,
      event.traceparent ?? null,
      input.receivedAtMs,
      input.contentDigest,
      input.payloadDigest,
      input.payloadBytes,
      inline || payloadText === undefined ? null : this.#shared(input, payloadText),
      apartNo ?? null,
      jsonOrNull(event.labels),
      jsonOrNull(event.extra),
      optionsOf(event),
      inline ? payloadText : null,
    );
    if (written.changes === 0) return this.#repeated(input);
    const held = input.state === "assigned" && !this.#mayBeHandedOver(input);
    const { row, entry } = this.#deliveries.create({
      ord: no,
      eventNo: no,
      tenant,
      principal,
      eventId: event.id,
      agentId: event.targetAgent,
      revision: 1,
      priority: event.priority,
      expiresAtMs: input.expiresAtMs,
      notBeforeMs: notYet(input.notBeforeMs, input),
      deadlineMs: event.deadlineMs,
      payloadBytes: input.payloadBytes,
      state: held ? "queued" : input.state,
      message: held ? FENCED_MESSAGE : input.message,
      nowMs: input.receivedAtMs,
    });
    this.#audit.append(input.audit);
    return { kind: "created", delivery: row, entries: [entry] };
  }

  contentDigest(tenant: string, id: string): { readonly digest: string; readonly state: State } | undefined {
    const known = this.#known.get(tenant, id);
    const state = known === null ? undefined : this.#deliveries.find(tenant, id)?.state;
    return known === null || state === undefined ? undefined : { digest: known.content_digest, state };
  }

  retry(input: RetryInput): RetryOutcome {
    const before = this.#deliveries.find(input.tenant, input.eventId);
    const event = before === undefined ? null : this.#retried.get(before.eventNo);
    if (before === undefined || event === null) return { kind: "missing" };
    // Of what was imported nobody knows what was asked, so it cannot be asked again.
    if (!isTerminal(before.state) || event.content_digest === IMPORTED_DIGEST) return { kind: "refused", state: before.state };
    this.#deliveries.supersede(before);
    // Its delay is over; the time that it must not start before still holds.
    const { notBeforeMs } = event.options === null ? {} : (JSON.parse(event.options) as Options);
    const startMs = Math.max(input.nowMs, notBeforeMs ?? 0);
    const { row, entry } = this.#deliveries.create({
      ord: this.#tally.next("ord"),
      eventNo: before.eventNo,
      tenant: before.tenant,
      principal: input.principal,
      eventId: before.eventId,
      agentId: before.agentId,
      revision: before.revision + 1,
      priority: before.priority,
      expiresAtMs: Math.ceil(startMs + event.ttl_ns / NS_PER_MS),
      notBeforeMs: startMs > input.nowMs ? startMs : undefined,
      deadlineMs: before.deadlineMs,
      payloadBytes: before.payloadBytes,
      state: "queued",
      message: input.message,
      nowMs: input.nowMs,
    });
    this.#audit.append(input.audit);
    return { kind: "created", delivery: row, entry };
  }

  /** The payload of an event by its number. */
  payload(eventNo: number): PayloadSource {
    const row = this.#payload.get(eventNo);
    const apart = row === null || row.apart_no === null ? undefined : this.#payloads.ref(row.apart_no);
    return apart === undefined ? { text: row?.text ?? "{}" } : { apart };
  }

  /**
   * What waits may have come in through another control plane a moment ago, or have waited for its time where nobody has looked since, and
   * nothing newer may overtake it.
   */
  #mayBeHandedOver({ tenant, event, epoch, receivedAtMs }: NewEvent): boolean {
    const { targetAgent } = event;
    if (!this.#owners.admits(tenant, targetAgent, epoch ?? 0)) return false;
    if (this.#tally.openOf(targetAgent).queued === 0) return true;
    this.#deliveries.save();
    return this.#waits.get(tenant, targetAgent, LANE.waiting) === null && this.#ready.get(tenant, targetAgent, receivedAtMs) === null;
  }

  #shared(input: NewEvent, text: string): number {
    const found = this.#sharedNo.get(input.payloadDigest);
    if (found !== null) return found.no;
    const no = this.#tally.next("payload");
    this.#share.run(no, input.payloadDigest, input.payloadBytes, text);
    return no;
  }

  #repeated(input: NewEvent): CreateOutcome {
    if (this.#known.get(input.tenant, input.event.id)?.content_digest !== input.contentDigest) return { kind: "conflict" };
    const delivery = this.#deliveries.find(input.tenant, input.event.id);
    return delivery === undefined ? { kind: "conflict" } : { kind: "duplicate", state: delivery.state };
  }
}

/** Undefined where it may start at once: only what waits can wait for its time. */
function notYet(notBeforeMs: number | undefined, input: NewEvent): number | undefined {
  return notBeforeMs === undefined || notBeforeMs <= input.receivedAtMs || input.state !== "queued" ? undefined : Math.ceil(notBeforeMs);
}

function optionsOf({ notBeforeMs, delayMs, retry, operation }: EventMeta): string | null {
  if (notBeforeMs === undefined && delayMs === undefined && retry === undefined && operation === undefined) return null;
  return JSON.stringify({ notBeforeMs, delayMs, retry, operation } satisfies Options);
}

function jsonOrNull(value: Readonly<Record<string, unknown>>): string | null {
  // Most events have none, and an empty object need not be written or read.
  for (const key in value) if (Object.hasOwn(value, key)) return JSON.stringify(value);
  return null;
}

function readOptions({ options }: Pick<JoinedRow, "options">): Partial<Options> {
  return options === null ? {} : (JSON.parse(options) as Partial<Options>);
}

export function eventMeta(row: JoinedRow): EventMeta {
  const options = readOptions(row);
  return {
    id: row.id,
    type: row.type,
    targetAgent: row.target_agent,
    createdAt: row.created_at ?? undefined,
    createdAtMs: row.created_at_ms ?? undefined,
    createdBy: row.created_by,
    ttlNs: row.ttl_ns,
    ttlMs: row.ttl_ns / NS_PER_MS,
    priority: row.priority,
    labels: labelsOf(row),
    deadlineMs: row.deadline_ms ?? undefined,
    notBeforeMs: options.notBeforeMs,
    delayMs: options.delayMs,
    retry: options.retry,
    traceparent: row.traceparent ?? undefined,
    extra: row.extra === null ? {} : (JSON.parse(row.extra) as Record<string, unknown>),
    operation: options.operation,
  };
}

function labelsOf(row: JoinedRow): Record<string, string> {
  return row.labels === null ? {} : (JSON.parse(row.labels) as Record<string, string>);
}

export function deliveryRow(row: JoinedRow): DeliveryRow {
  return {
    ord: row.ord,
    tenant: row.tenant,
    eventId: row.id,
    agentId: row.agent_id,
    revision: row.revision,
    state: row.state,
    priority: row.priority,
    expiresAtMs: row.expires_at_ms,
    payloadBytes: row.payload_bytes,
    cancelRequested: row.cancel_at_ms !== null && !isTerminal(row.state),
  };
}

/** When an event that had to wait for its time was to start; told for good, though the column is for those that wait still. */
function laterStartMs(row: JoinedRow, { notBeforeMs, delayMs }: Partial<Options>): number | undefined {
  if (row.revision !== 1 || (notBeforeMs === undefined && delayMs === undefined)) return undefined;
  const startMs = Math.ceil(Math.max(notBeforeMs ?? 0, delayMs === undefined ? 0 : row.received_at_ms + delayMs));
  return startMs > row.received_at_ms ? startMs : undefined;
}

export function eventSummary(row: JoinedRow): EventSummary {
  const receivedAt = formatTimestamp(row.received_at_ms);
  const summary: EventSummary = {
    id: row.id,
    type: row.type,
    target_agent: row.target_agent,
    state: row.state,
    phase: row.phase,
    message: row.message,
    priority: row.priority,
    labels: labelsOf(row),
    created_at: row.created_at ?? receivedAt,
    created_by: row.created_by,
    principal: row.principal,
    received_at: receivedAt,
    updated_at: formatTimestamp(row.updated_at_ms),
    expires_at: formatTimestamp(row.expires_at_ms),
    revision: row.revision,
    payload_bytes: row.payload_bytes,
    payload_sha256: row.payload_digest,
  };
  const options = readOptions(row);
  if (options.operation !== undefined) summary.operation = options.operation;
  const startMs = row.not_before_ms ?? laterStartMs(row, options);
  if (startMs !== undefined) summary.not_before = formatTimestamp(startMs);
  if (row.cancel_at_ms !== null && !isTerminal(row.state)) summary.cancel_requested = true;
  if (row.finished_at_ms !== null) summary.finished_at = formatTimestamp(row.finished_at_ms);
  if (row.traceparent !== null) summary.traceparent = row.traceparent;
  return summary;
}
