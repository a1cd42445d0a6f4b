import type { Statement } from "bun:sqlite";
import { isTerminal, type LogEntry } from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import { dueAtMs } from "../../ending.ts";
import type { DeliveryRow } from "../../port.ts";
import {
  CLEAN,
  type Delivery,
  type DeliveryRecord,
  ENDED,
  ENTERED,
  fromRow,
  laneOf,
  MOVED,
  rowOf,
  SAID,
  SELECT_NEWEST,
  SELECT_ORD,
  SELECT_REVISION,
  SHIFTED,
} from "./delivery.ts";
import type { LogBook, Step } from "./log-book.ts";
import { isInFlight, type Tally } from "./tally.ts";

/** Open deliveries whose row is kept in memory, so that a status needs no SELECT. About half a kilobyte each. */
const KEPT = 8192;
/** Agent processes before the present one whose numbers are remembered. */
const EARLIER_BOOTS = 32;

type SqlText = string | null;
type SqlNumber = number | null;
type NewRow = [
  number,
  number,
  string,
  string,
  string,
  number,
  number,
  number,
  number,
  string,
  string,
  number,
  number,
  number,
  number,
  string,
  SqlNumber,
  SqlNumber,
];

/**
 * Deliveries and their log: the hot path. Rows of open deliveries are kept in memory between transactions and written at most once in
 * each, however many statuses it holds; `save` must therefore run before anything else reads the table, and before the commit.
 */
export class Deliveries {
  readonly #tally: Tally;
  readonly #kept = new Map<string, Delivery>();
  #unsaved: Delivery[] = [];
  readonly #newest: Statement<DeliveryRecord, [string, string]>;
  readonly #ofRevision: Statement<DeliveryRecord, [string, string, number]>;
  readonly #byOrd: Statement<DeliveryRecord, [number]>;
  readonly #insert: Statement<unknown, NewRow>;
  readonly #log: LogBook;
  readonly #said;
  readonly #moved;
  readonly #shifted;
  readonly #ended;
  readonly #supersede: Statement<unknown, [number]>;
  readonly #wish: Statement<unknown, [number, number]>;
  readonly #earlier: Statement<unknown, [string, number]>;

  constructor(database: OpenedDatabase, parts: { readonly tally: Tally; readonly log: LogBook }) {
    this.#tally = parts.tally;
    this.#newest = database.prepare(SELECT_NEWEST);
    this.#ofRevision = database.prepare(SELECT_REVISION);
    this.#byOrd = database.prepare(SELECT_ORD);
    this.#insert = database.prepare(
      `INSERT INTO delivery (ord, event_no, tenant, agent_id, principal, revision, priority, expires_at_ms, due_at_ms, state, phase, entered,
       attempts, last_seq, updated_at_ms, message, lane, not_before_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#log = parts.log;
    this.#said = database.prepare<unknown, [string, string, SqlText, SqlNumber, number, number, number]>(
      "UPDATE delivery SET phase = ?, message = ?, boot_id = ?, seq = ?, last_seq = ?, updated_at_ms = ? WHERE ord = ?",
    );
    this.#moved = database.prepare<
      unknown,
      [string, string, string, SqlText, SqlNumber, number, number, number, number, SqlNumber, number]
    >(
      `UPDATE delivery SET state = ?, phase = ?, message = ?, boot_id = ?, seq = ?, last_seq = ?, updated_at_ms = ?, entered = ?,
       attempts = ?, started_at_ms = ? WHERE ord = ?`,
    );
    this.#shifted = database.prepare<unknown, [number, SqlNumber, SqlNumber, number]>(
      "UPDATE delivery SET due_at_ms = ?, lane = ?, not_before_ms = ? WHERE ord = ?",
    );
    this.#ended = database.prepare<
      unknown,
      [string, string, string, SqlText, SqlNumber, number, number, number, number, SqlNumber, SqlNumber, SqlNumber, number]
    >(
      `UPDATE delivery SET state = ?, phase = ?, message = ?, boot_id = ?, seq = ?, last_seq = ?, updated_at_ms = ?, entered = ?,
       attempts = ?, started_at_ms = ?, finished_at_ms = ?, result_seq = ?, lane = NULL WHERE ord = ?`,
    );
    this.#supersede = database.prepare("UPDATE delivery SET superseded = 1 WHERE ord = ?");
    this.#earlier = database.prepare("UPDATE delivery SET earlier = ? WHERE ord = ?");
    this.#wish = database.prepare("UPDATE delivery SET cancel_at_ms = ? WHERE ord = ?");
  }

  /** The newest revision when none is named. */
  find(tenant: string, eventId: string, revision?: number): Delivery | undefined {
    const kept = this.#kept.get(keyOf(tenant, eventId));
    if (kept !== undefined && (revision === undefined || revision === kept.revision)) return kept;
    const row = revision === undefined ? this.#newest.get(tenant, eventId) : this.#ofRevision.get(tenant, eventId, revision);
    return row === null ? undefined : fromRow(row);
  }

  byOrd(ord: number): Delivery | undefined {
    const row = this.#byOrd.get(ord);
    if (row === null) return undefined;
    const kept = this.#kept.get(keyOf(row.tenant, row.event_id));
    return kept?.ord === ord ? kept : fromRow(row);
  }

  /** A further delivery of an event: its first, which has the event's number, or its next revision, which supersedes the one before. */
  create(input: {
    readonly ord: number;
    readonly eventNo: number;
    readonly tenant: string;
    readonly principal: string;
    readonly eventId: string;
    readonly agentId: string;
    readonly revision: number;
    readonly priority: number;
    readonly expiresAtMs: number;
    readonly notBeforeMs: number | undefined;
    readonly deadlineMs: number | undefined;
    readonly payloadBytes: number;
    readonly state: "assigned" | "queued";
    readonly message: string;
    readonly nowMs: number;
  }): { readonly row: DeliveryRow; readonly entry: LogEntry } {
    const { state, agentId, eventId, tenant, nowMs, message } = input;
    const tally = this.#tally;
    const delivery: Delivery = {
      ord: input.ord,
      eventNo: input.eventNo,
      tenant,
      eventId,
      agentId,
      revision: input.revision,
      expiresAtMs: input.expiresAtMs,
      deadlineMs: input.deadlineMs,
      priority: input.priority,
      payloadBytes: input.payloadBytes,
      state,
      phase: "",
      message,
      entered: ENTERED.created | ENTERED[state],
      attempts: state === "assigned" ? 1 : 0,
      bootId: undefined,
      seq: undefined,
      earlier: undefined,
      lastSeq: 0,
      resultSeq: undefined,
      dueAtMs: 0,
      notBeforeMs: input.notBeforeMs,
      cancelRequested: false,
      updatedAtMs: nowMs,
      startedAtMs: undefined,
      finishedAtMs: undefined,
      newest: true,
      unsaved: CLEAN,
    };
    delivery.dueAtMs = dueAtMs(delivery);
    tally.entered("total");
    tally.entered("created");
    tally.entered(state);
    tally.moved(agentId, undefined, state);
    const entry = this.#append(delivery, { to: state, phase: "", level: "info", message, nowMs });
    this.#insert.run(
      delivery.ord,
      delivery.eventNo,
      tenant,
      agentId,
      input.principal,
      delivery.revision,
      input.priority,
      delivery.expiresAtMs,
      delivery.dueAtMs,
      state,
      "",
      delivery.entered,
      delivery.attempts,
      delivery.lastSeq,
      nowMs,
      message,
      laneOf(delivery) ?? null,
      delivery.notBeforeMs ?? null,
    );
    // What waits for an absent agent may wait for days; only what is about to be answered is worth its memory.
    if (state === "assigned") this.#kept.set(keyOf(tenant, eventId), delivery);
    return { row: rowOf(delivery), entry };
  }

  /** Makes way for the next revision: this one is no longer what is meant by its event. */
  supersede(delivery: Delivery): void {
    this.save();
    this.#supersede.run(delivery.ord);
    this.#kept.delete(keyOf(delivery.tenant, delivery.eventId));
  }

  /** Keeps the wish that it be cancelled. */
  wish(delivery: Delivery, nowMs: number): void {
    delivery.cancelRequested = true;
    this.#wish.run(nowMs, delivery.ord);
  }

  /** Notes the number of the status that is about to be written. Another process of the agent than before speaks: the word of that one stays known. */
  heard(delivery: Delivery, bootId: string, seq: number): void {
    const { bootId: before, seq: last, earlier } = delivery;
    if (before !== undefined && last !== undefined && before !== bootId) {
      const { [bootId]: _now, ...others } = { ...earlier, [before]: last };
      // Each comes with a restart of the agent in the middle of this one delivery, which a handful of times puts an end to.
      delivery.earlier = Object.fromEntries(Object.entries(others).slice(-EARLIER_BOOTS));
      this.#earlier.run(JSON.stringify(delivery.earlier), delivery.ord);
    }
    delivery.bootId = bootId;
    delivery.seq = seq;
  }

  /** Takes a step that the caller has judged: state, counters, due time and one log entry. */
  take(delivery: Delivery, step: Step): LogEntry {
    const from = delivery.state;
    delivery.updatedAtMs = step.nowMs;
    delivery.message = step.message;
    if (step.phase !== "") delivery.phase = step.phase;
    const entry = this.#append(delivery, step);
    if (from === step.to) {
      this.#mark(delivery, SAID);
      return entry;
    }
    delivery.state = step.to;
    if (ENTERED[step.to] === 0 || (delivery.entered & ENTERED[step.to]) === 0) this.#tally.entered(step.to);
    delivery.entered |= ENTERED[step.to];
    this.#tally.moved(delivery.agentId, from, step.to);
    if (isTerminal(step.to)) {
      delivery.finishedAtMs = step.nowMs;
      if (step.result !== undefined) delivery.resultSeq = entry.seq;
      this.#mark(delivery, ENDED);
      return entry;
    }
    if (step.to === "in_progress") delivery.startedAtMs ??= step.nowMs;
    if (step.to === "assigned") delivery.attempts += 1;
    if (isInFlight(step.to)) delivery.notBeforeMs = undefined;
    const due = dueAtMs(delivery);
    // One that is looked at too early is put off then: the usual start of an execution leaves the indexes alone.
    const stays = isInFlight(from) && isInFlight(step.to) && due >= delivery.dueAtMs;
    if (!stays) delivery.dueAtMs = due;
    this.#mark(delivery, stays ? MOVED : SHIFTED);
    return entry;
  }

  /** Adds to the log of a delivery that stays as it is. */
  note(delivery: Delivery, step: Step): LogEntry {
    const entry = this.#append(delivery, step);
    this.#mark(delivery, SAID);
    return entry;
  }

  /** Handed over once more. */
  again(delivery: Delivery): void {
    delivery.attempts += 1;
    this.#mark(delivery, MOVED);
  }

  /** Looked at and left alone; to be looked at again then. */
  postpone(delivery: Delivery, untilMs: number): void {
    delivery.dueAtMs = untilMs;
    this.#mark(delivery, SHIFTED);
  }

  /** Its time has come: it waits like all others. */
  release(delivery: Delivery): void {
    delivery.notBeforeMs = undefined;
    this.#mark(delivery, SHIFTED);
  }

  /** Writes what the transaction changed so far. */
  save(): void {
    this.#log.flush();
    if (this.#unsaved.length === 0) return;
    const unsaved = this.#unsaved;
    this.#unsaved = [];
    for (const delivery of unsaved) this.#write(delivery);
    if (this.#kept.size > KEPT) for (const key of this.#kept.keys()) if (this.#kept.delete(key) && this.#kept.size <= KEPT) break;
  }

  /** The transaction is gone, and what memory says with it. */
  undo(): void {
    this.#kept.clear();
    this.#unsaved = [];
    this.#log.undo();
  }

  #mark(delivery: Delivery, how: number): void {
    const known = delivery.unsaved !== CLEAN;
    if (how > delivery.unsaved) delivery.unsaved = how;
    if (known) return;
    if (!delivery.newest) {
      this.#write(delivery);
      return;
    }
    this.#unsaved.push(delivery);
    // Until it is saved, everybody who asks for it must get this one.
    this.#kept.set(keyOf(delivery.tenant, delivery.eventId), delivery);
  }

  #write(d: Delivery): void {
    const how = d.unsaved;
    d.unsaved = CLEAN;
    const { phase, message, lastSeq, updatedAtMs } = d;
    const bootId = d.bootId ?? null;
    const seq = d.seq ?? null;
    if (how === SAID) {
      this.#said.run(phase, message, bootId, seq, lastSeq, updatedAtMs, d.ord);
      // A late word about what has ended: kept, it would outlive its row, and stand for the next event of the same id.
      if (d.newest && d.finishedAtMs !== undefined) this.#kept.delete(keyOf(d.tenant, d.eventId));
      return;
    }
    const startedAtMs = d.startedAtMs ?? null;
    const { state, entered, attempts } = d;
    if (how !== ENDED) {
      this.#moved.run(state, phase, message, bootId, seq, lastSeq, updatedAtMs, entered, attempts, startedAtMs, d.ord);
      if (how === SHIFTED) this.#shifted.run(d.dueAtMs, laneOf(d) ?? null, d.notBeforeMs ?? null, d.ord);
      return;
    }
    const finishedAtMs = d.finishedAtMs ?? null;
    const resultSeq = d.resultSeq ?? null;
    this.#ended.run(
      state,
      phase,
      message,
      bootId,
      seq,
      lastSeq,
      updatedAtMs,
      entered,
      attempts,
      startedAtMs,
      finishedAtMs,
      resultSeq,
      d.ord,
    );
    if (d.newest) this.#kept.delete(keyOf(d.tenant, d.eventId));
  }

  #append(delivery: Delivery, step: Step): LogEntry {
    const seq = this.#tally.next("seq");
    const entry = this.#log.append(seq, delivery, delivery.lastSeq, step);
    delivery.lastSeq = seq;
    return entry;
  }
}

function keyOf(tenant: string, eventId: string): string {
  return `${tenant}\u0000${eventId}`;
}
