import { type AuditEntry, type EventSummary, formatTimestamp, type LogEntry, OPEN_STATES, type State } from "../../../protocol/mod.ts";
import { encodeCursor, numberCursor } from "../../cursor.ts";
import type { AuditQuery, EventCounters, EventQuery, LogQuery, OpenCounts, Page } from "../../port.ts";
import type { Answer, Calls, Operation, Take } from "./calls.ts";
import { keyOf, STATE_CODES, tenantKey } from "./codes.ts";
import { eventSummary, listOf, logEntry, type Meta, viewOf } from "./rows.ts";

/** What one call looks at: some milliseconds of the server. */
const EVENTS_AT_ONCE = 192;
const ENTRIES_AT_ONCE = 512;
const SCAN_WEIGHT = 96;

interface Part<Item> {
  readonly found: readonly { readonly key: number; readonly item: Item }[];
  /** Looked at down to here. */
  readonly from: number | "";
  readonly last: boolean;
}

/**
 * Listings: newest first, by the number in which things came, in steps of a few milliseconds of the server, so a listing is no snapshot; its
 * cursor is the number of the last item. Only the newest delivery of an event stands for it, at the place where the event came.
 */
export class Listing {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  events(query: EventQuery): Promise<Page<EventSummary>> {
    const before = numberCursor("events", query.cursor);
    const states = query.states === undefined ? undefined : [...new Set(query.states)];
    if (states?.length === 0) return Promise.resolve({ items: [], nextCursor: undefined });
    const index = indexOf(states);
    const labels = query.labels !== undefined && Object.keys(query.labels).length > 0 ? query.labels : undefined;
    const filter = {
      states: states?.map((state) => STATE_CODES[state]),
      agent: query.agentId,
      type: query.type,
      by: query.createdBy,
      since: query.sinceMs,
      until: query.untilMs,
      labels,
    };
    return this.#page("events", before, query.limit, (from, most) => ({
      writes: false,
      weight: SCAN_WEIGHT,
      build: () => ["l", tenantKey(query.tenant), index, String(from), EVENTS_AT_ONCE, most, filter],
      read: (answer, take) =>
        partOf(answer, (one) => {
          const [seen, metaAt] = one as [unknown, number];
          const view = viewOf(seen);
          return { key: view.no, item: eventSummary(view, JSON.parse(take(metaAt)) as Meta) };
        }),
    }));
  }

  audit(query: AuditQuery): Promise<Page<AuditEntry>> {
    const before = numberCursor("audit", query.cursor);
    const filter = { action: query.action, event: query.eventId, agent: query.agentId, since: query.sinceMs, until: query.untilMs };
    return this.#page("audit", before, query.limit, (from, most) => ({
      writes: false,
      weight: SCAN_WEIGHT,
      build: () => ["ul", query.tenant, from, ENTRIES_AT_ONCE, most, filter],
      read: (answer, take) =>
        partOf(answer, (one) => {
          const item = auditEntry(one, take);
          return { key: item.seq, item };
        }),
    }));
  }

  async auditAfter(tenant: string, afterSeq: number, limit: number): Promise<AuditEntry[]> {
    return this.#after(afterSeq, limit, (after, most) => ["ua", tenant, after, most], auditEntry);
  }

  async log(query: LogQuery): Promise<LogEntry[]> {
    const { tenant, eventId, afterSeq, limit } = query;
    if (eventId === undefined) {
      const key = tenantKey(tenant);
      return this.#after(afterSeq, limit, (after, most) => ["la", key, after, most], logEntry);
    }
    return this.#calls.run({
      writes: false,
      weight: 2,
      build: () => ["le", keyOf(tenant, eventId), afterSeq, limit],
      read: (answer, take) => listOf(answer).map((entry) => logEntry(entry, take)),
    });
  }

  /** Oldest first, in steps, as what is of other tenants is looked at too. */
  async #after<Item>(
    afterSeq: number,
    limit: number,
    build: (after: number, most: number) => readonly unknown[],
    toItem: (answer: Answer, take: Take) => Item,
  ): Promise<Item[]> {
    const items: Item[] = [];
    let after = afterSeq;
    for (let more = limit > 0; more && items.length < limit;) {
      const most = Math.min(ENTRIES_AT_ONCE, limit - items.length);
      const part = await this.#calls.run({
        writes: false,
        weight: 1 + most / 4,
        build: () => build(after, most),
        read: (answer, take) => {
          const [found, last, again] = answer as [unknown, number, number];
          return { items: listOf(found).map((one) => toItem(one, take)), last, more: again === 1 };
        },
      });
      items.push(...part.items);
      after = part.last;
      ({ more } = part);
    }
    return items;
  }

  async #page<Item>(
    kind: "events" | "audit",
    before: number | undefined,
    limit: number,
    operation: (from: number | "", most: number) => Operation<Part<Item>>,
  ): Promise<Page<Item>> {
    const found: { readonly key: number; readonly item: Item }[] = [];
    let from: number | "" = before ?? "";
    for (;;) {
      const part = await this.#calls.run(operation(from, limit + 1 - found.length));
      found.push(...part.found);
      ({ from } = part);
      if (part.last || found.length > limit) break;
    }
    const shown = found.slice(0, limit);
    const last = shown.at(-1);
    return {
      items: shown.map(({ item }) => item),
      nextCursor: found.length > limit && last !== undefined ? encodeCursor(kind, last.key) : undefined,
    };
  }
}

function isOpen(state: State): boolean {
  return (OPEN_STATES as readonly State[]).includes(state);
}

/** What is open and what went wrong is found without looking at all there is. */
function indexOf(states: readonly State[] | undefined): string {
  if (states?.every(isOpen) === true) return "evo";
  return states?.every((state) => !isOpen(state) && state !== "completed") === true ? "evu" : "evs";
}

function partOf<Item>(answer: Answer, toFound: (one: unknown) => { readonly key: number; readonly item: Item }): Part<Item> {
  const [found, from, last] = answer as [unknown, string | number, number];
  return { found: listOf(found).map(toFound), from: from === "" ? "" : Number(from), last: last === 1 };
}

function auditEntry(answer: Answer, take: Take): AuditEntry {
  const [seq, textAt] = answer as [number, number];
  const [head = "", rest = ""] = take(textAt).split("\n");
  const [, atMs, action, eventId, agentId] = JSON.parse(head) as [string, number, string, string, string];
  const [principal, user, remoteAddress, requestId, details] = JSON.parse(rest) as [
    string,
    string | 0,
    string | 0,
    string | 0,
    Record<string, unknown>?,
  ];
  return {
    seq,
    timestamp: formatTimestamp(atMs),
    principal,
    action,
    ...(eventId === "" ? {} : { event_id: eventId }),
    ...(agentId === "" ? {} : { agent_id: agentId }),
    ...(user === 0 ? {} : { user }),
    ...(remoteAddress === 0 ? {} : { remote_address: remoteAddress }),
    ...(requestId === 0 ? {} : { request_id: requestId }),
    ...(details === undefined ? {} : { details }),
  };
}

const COUNTED = ["total", "created", "queued", "assigned", "in_progress", "completed", "failed", "expired", "cancelled"] as const;

export function counters(): Operation<EventCounters> {
  return {
    writes: false,
    build: () => ["n"],
    read: (answer) => {
      const numbers = answer as Record<string, number>;
      return Object.fromEntries(COUNTED.map((name) => [name, numbers[name] ?? 0])) as EventCounters;
    },
  };
}

export function lastSeq(): Operation<number> {
  return { writes: false, build: () => ["n"], read: (answer) => (answer as Record<string, number>)["seq"] ?? 0 };
}

export function openCounts(): Operation<OpenCounts> {
  return {
    writes: false,
    weight: 8,
    build: () => ["oc"],
    read(answer) {
      const [waiting, handed] = answer as [unknown, unknown];
      const byAgent = new Map<string, { queued: number; inFlight: number }>();
      const sums = { queued: 0, inFlight: 0 };
      const count = (side: "queued" | "inFlight", flat: readonly unknown[]): void => {
        for (let at = 0; at < flat.length; at += 2) {
          const agentId = String(flat[at]);
          const open = byAgent.get(agentId) ?? { queued: 0, inFlight: 0 };
          open[side] = Number(flat[at + 1]);
          sums[side] += open[side];
          byAgent.set(agentId, open);
        }
      };
      count("queued", listOf(waiting));
      count("inFlight", listOf(handed));
      return { ...sums, byAgent };
    },
  };
}
