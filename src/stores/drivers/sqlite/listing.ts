import type { SQLQueryBindings, Statement } from "bun:sqlite";
import type { Clock, Timers } from "../../../kit/mod.ts";
import { type AuditEntry, type EventSummary, OPEN_STATES, type State } from "../../../protocol/mod.ts";
import type { GroupCommit, OpenedDatabase } from "../../../sqlite/mod.ts";
import { encodeCursor, numberCursor } from "../../cursor.ts";
import type { AuditQuery, EventQuery, Page } from "../../port.ts";
import { type Audit, auditEntry, type AuditRow } from "./audit.ts";
import type { Deliveries } from "./deliveries.ts";
import { NEWEST_ORD } from "./delivery.ts";
import { eventSummary, JOINED, type JoinedRow } from "./events.ts";
import type { Imports } from "./imports.ts";
import type { Tally } from "./tally.ts";

/** A time filter may leave a scan early only when even a clock that was set back by this much cannot have hidden a match. */
const CLOCK_SLACK_MS = 24 * 3_600_000;
/** How long one step of a scan may hold the event loop. */
const STEP_MS = 4;
const FIRST_STEP = 4096;
/** Up to so many open deliveries are sorted in one step; where there are more, they are dense enough to be met in a scan. */
const FEW_OPEN = 4096;

const AUDIT_COLUMNS = "seq, principal, at_ms, action, event_id, agent_id, user, remote_address, request_id, details";

interface Scan<Row> {
  /** Rows of [from, to) of the key, newest first, at most `limit`. */
  readonly window: (from: number, to: number, limit: number) => Row[];
  readonly keyOf: (row: Row) => number;
  /** The lowest key there is, and whether anything below `key` is too old to match. */
  readonly lowest: () => number | undefined;
  readonly pastBelow?: (key: number) => boolean;
  /** Everything that could match is so little that it is looked at in one step. */
  readonly whole: boolean;
}

/**
 * Listings: newest first, by the number in which things came. A filter that no index serves is scanned in steps of a few milliseconds
 * with the event loop free in between, however large the store is, so a listing is no snapshot; its cursor is the number of the last item.
 */
export class Listing {
  readonly #database: OpenedDatabase;
  readonly #group: GroupCommit;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #tally: Tally;
  readonly #deliveries: Deliveries;
  readonly #audit: Audit;
  readonly #imports: Imports;
  readonly #lowestEvent;
  readonly #lowestAudit;
  readonly #receivedBefore;
  readonly #auditedBefore;
  readonly #auditedAfter: Statement<AuditRow, [string, number, number]>;

  constructor(
    database: OpenedDatabase,
    parts: {
      readonly group: GroupCommit;
      readonly clock: Clock;
      readonly timers: Timers;
      readonly tally: Tally;
      readonly deliveries: Deliveries;
      readonly audit: Audit;
      readonly imports: Imports;
    },
  ) {
    this.#database = database;
    this.#group = parts.group;
    this.#clock = parts.clock;
    this.#timers = parts.timers;
    this.#tally = parts.tally;
    this.#deliveries = parts.deliveries;
    this.#audit = parts.audit;
    this.#imports = parts.imports;
    this.#lowestEvent = database.prepare<{ readonly key: number | null }, []>("SELECT min(no) AS key FROM event");
    this.#lowestAudit = database.prepare<{ readonly key: number | null }, []>("SELECT min(seq) AS key FROM audit");
    this.#receivedBefore = database.prepare<{ readonly at: number }, [number]>(
      "SELECT received_at_ms AS at FROM event WHERE no < ? ORDER BY no DESC LIMIT 1",
    );
    this.#auditedAfter = database.prepare(`SELECT ${AUDIT_COLUMNS} FROM audit WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?`);
    this.#auditedBefore = database.prepare<{ readonly at: number }, [number]>(
      "SELECT at_ms AS at FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT 1",
    );
  }

  async events(query: EventQuery): Promise<Page<EventSummary>> {
    const before = numberCursor("events", query.cursor);
    const states = query.states === undefined ? undefined : [...new Set(query.states)];
    if (states?.length === 0) return { items: [], nextCursor: undefined };
    const filter = new Filter();
    // Only the newest delivery of an event stands for it, at the place where the event came: being tried again does not move it.
    filter.add("d.tenant = ? AND d.superseded IS NULL", query.tenant);
    // The planner uses a partial index only where the query repeats its condition.
    const few = this.#tally.openCounted <= FEW_OPEN;
    const open = few && states?.every(isOpen) === true;
    const unsuccessful = states?.every((state) => !isOpen(state) && state !== "completed") === true;
    let source = `event e CROSS JOIN delivery d ON d.ord = ${NEWEST_ORD}`;
    let key = "e.no";
    if (open) {
      source = "delivery d INDEXED BY delivery_open CROSS JOIN event e ON e.no = d.event_no";
      filter.add("d.lane IS NOT NULL");
    } else if (unsuccessful) {
      source = "delivery d INDEXED BY delivery_unsuccessful CROSS JOIN event e ON e.no = d.event_no";
      key = "d.event_no";
      filter.add("d.finished_at_ms IS NOT NULL AND d.state <> 'completed'");
    }
    if (states !== undefined) filter.add(`d.state IN (${states.map(() => "?").join(", ")})`, ...states);
    if (query.agentId !== undefined) filter.add("d.agent_id = ?", query.agentId);
    if (query.type !== undefined) filter.add("e.type = ?", query.type);
    if (query.createdBy !== undefined) filter.add("e.created_by = ?", query.createdBy);
    if (query.sinceMs !== undefined) filter.add("e.received_at_ms >= ?", query.sinceMs);
    if (query.untilMs !== undefined) filter.add("e.received_at_ms < ?", query.untilMs);
    for (const [key, value] of Object.entries(query.labels ?? {}))
      filter.add("EXISTS (SELECT 1 FROM json_each(e.labels) WHERE key = ? AND value = ?)", key, value);
    const sql = `SELECT ${JOINED} FROM ${source} WHERE ${key} >= ? AND ${key} < ? AND ${filter.where} ORDER BY ${key} DESC LIMIT ?`;
    const { sinceMs } = query;
    return this.#page("events", before ?? Number.MAX_SAFE_INTEGER, query.limit, eventSummary, {
      window: (from, to, limit) => this.#database.db.query<JoinedRow, SQLQueryBindings[]>(sql).all(from, to, ...filter.values, limit),
      keyOf: (row) => row.no,
      lowest: () => this.#lowestEvent.get()?.key ?? undefined,
      ...(sinceMs === undefined
        ? {}
        : { pastBelow: (key: number) => !this.#outOfOrder() && (this.#receivedBefore.get(key)?.at ?? 0) < sinceMs - CLOCK_SLACK_MS }),
      whole: open,
    });
  }

  async audit(query: AuditQuery): Promise<Page<AuditEntry>> {
    const before = numberCursor("audit", query.cursor);
    const filter = new Filter();
    filter.add("tenant = ?", query.tenant);
    if (query.action !== undefined) filter.add("action = ?", query.action);
    if (query.eventId !== undefined) filter.add("event_id = ?", query.eventId);
    if (query.agentId !== undefined) filter.add("agent_id = ?", query.agentId);
    if (query.sinceMs !== undefined) filter.add("at_ms >= ?", query.sinceMs);
    if (query.untilMs !== undefined) filter.add("at_ms < ?", query.untilMs);
    const sql = `SELECT ${AUDIT_COLUMNS} FROM audit
      WHERE seq >= ? AND seq < ? AND ${filter.where} ORDER BY seq DESC LIMIT ?`;
    const { sinceMs } = query;
    return this.#page("audit", before ?? Number.MAX_SAFE_INTEGER, query.limit, auditEntry, {
      window: (from, to, limit) => this.#database.db.query<AuditRow, SQLQueryBindings[]>(sql).all(from, to, ...filter.values, limit),
      keyOf: (row) => row.seq,
      lowest: () => this.#lowestAudit.get()?.key ?? undefined,
      ...(sinceMs === undefined ? {} : { pastBelow: (key: number) => (this.#auditedBefore.get(key)?.at ?? 0) < sinceMs - CLOCK_SLACK_MS }),
      whole: false,
    });
  }

  /** Oldest first. */
  auditAfter(tenant: string, afterSeq: number, limit: number): AuditEntry[] {
    this.#audit.flush();
    return this.#auditedAfter.all(tenant, afterSeq, limit).map(auditEntry);
  }

  /** Whether the order of numbers may not be that of time, as events were imported. */
  #outOfOrder(): boolean {
    const upTo = this.#imports.upTo();
    return upTo > 0 && (this.#lowestEvent.get()?.key ?? 0) <= upTo;
  }

  /** One range of keys below `before`; has no effect of its own, so that the transaction may run it again. */
  #step<Row>(kind: "events" | "audit", scan: Scan<Row>, before: number, keys: number, limit: number) {
    const began = this.#clock.monotonic();
    const newest = kind === "events" ? this.#tally.lastOrd : this.#tally.lastAudit;
    this.#deliveries.save();
    this.#audit.flush();
    const lowest = scan.lowest();
    const to = Math.min(before, newest + 1);
    if (lowest === undefined || to <= lowest) return { rows: [], from: to, last: true, tookMs: 0 };
    const from = scan.whole ? lowest : Math.max(lowest, to - keys);
    const rows = scan.window(from, to, limit);
    const last = from <= lowest || scan.pastBelow?.(from) === true;
    return { rows, from, last, tookMs: this.#clock.monotonic() - began };
  }

  async #page<Row, Item>(
    kind: "events" | "audit",
    before: number,
    limit: number,
    toItem: (row: Row) => Item,
    scan: Scan<Row>,
  ): Promise<Page<Item>> {
    const rows: Row[] = [];
    let step = FIRST_STEP;
    let to = before;
    for (;;) {
      const began = this.#clock.monotonic();
      const part = await this.#group.run(() => this.#step(kind, scan, to, step, limit + 1 - rows.length));
      rows.push(...part.rows);
      to = part.from;
      if (part.last || rows.length > limit) break;
      if (part.tookMs < STEP_MS / 2) step *= 2;
      else if (part.tookMs > STEP_MS * 2) step = Math.max(256, Math.floor(step / 4));
      // A long scan yields as much time as it takes, so that a few of them together cannot starve what is urgent.
      if (part.tookMs >= 1) await this.#timers.sleep(Math.min(this.#clock.monotonic() - began, STEP_MS * 2));
    }
    const items = rows.slice(0, limit);
    const last = items.at(-1);
    return {
      items: items.map(toItem),
      nextCursor: rows.length > limit && last !== undefined ? encodeCursor(kind, scan.keyOf(last)) : undefined,
    };
  }
}

/** A WHERE clause out of fixed texts; what callers give is only ever bound. */
class Filter {
  readonly #terms: string[] = [];
  readonly values: SQLQueryBindings[] = [];

  get where(): string {
    return this.#terms.join(" AND ");
  }

  add(term: string, ...values: SQLQueryBindings[]): void {
    this.#terms.push(term);
    this.values.push(...values);
  }
}

function isOpen(state: State): boolean {
  return (OPEN_STATES as readonly State[]).includes(state);
}
