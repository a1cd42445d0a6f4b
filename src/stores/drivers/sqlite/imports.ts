import type { Statement } from "bun:sqlite";
import { formatTimestamp, isTerminal } from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import type { EventCounters, ImportedEntry, ImportedEvent } from "../../port.ts";
import { IMPORTED_DIGEST } from "./events.ts";
import type { LogBook } from "./log-book.ts";
import type { Tally } from "./tally.ts";

/** The row of `imported` that says which events were. */
const EVENTS = "";

/** Takes in what another system did: events that have ended, and what it counted. */
export class Imports {
  readonly #tally: Tally;
  readonly #log: LogBook;
  readonly #event;
  readonly #delivery;
  readonly #once: Statement<unknown, [string]>;
  readonly #reached: Statement<unknown, [string, number]>;
  readonly #upTo: Statement<{ readonly up_to: number }, [string]>;

  constructor(database: OpenedDatabase, parts: { readonly tally: Tally; readonly log: LogBook }) {
    this.#tally = parts.tally;
    this.#log = parts.log;
    this.#event = database.prepare<unknown, [number, string, string, string, string, string, string, number, string | null]>(
      `INSERT INTO event (no, tenant, id, principal, type, target_agent, created_by, ttl_ns, priority, received_at_ms, content_digest,
       payload_digest, payload_bytes, labels) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, ?, '${IMPORTED_DIGEST}', '', 0, ?)
       ON CONFLICT (tenant, id) DO NOTHING`,
    );
    this.#delivery = database.prepare<
      unknown,
      [number, number, string, string, string, number, number, string, string, number, number | null, number, number, string]
    >(
      `INSERT INTO delivery (ord, event_no, tenant, agent_id, principal, revision, priority, expires_at_ms, due_at_ms, state, phase, entered,
       attempts, last_seq, result_seq, updated_at_ms, finished_at_ms, message)
       VALUES (?, ?, ?, ?, ?, 1, 0, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, ?)`,
    );
    this.#once = database.prepare("INSERT INTO imported (source) VALUES (?) ON CONFLICT (source) DO NOTHING");
    this.#reached = database.prepare(
      "INSERT INTO imported (source, up_to) VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET up_to = excluded.up_to",
    );
    this.#upTo = database.prepare("SELECT up_to FROM imported WHERE source = ?");
  }

  event(input: ImportedEvent): boolean {
    if (!isTerminal(input.state)) throw new RangeError(`an event that is ${input.state} cannot be imported`);
    const { tenant, id, agentId, principal, receivedAtMs, finishedAtMs } = input;
    const no = this.#tally.next("ord");
    const labels = Object.keys(input.labels).length === 0 ? null : JSON.stringify(input.labels);
    if (this.#event.run(no, tenant, id, principal, input.type, agentId, principal, receivedAtMs, labels).changes === 0) return false;
    const { state, phase, message, result } = input;
    // The result stands in the log's last word; where that is not the end, the end gets a word of its own.
    const log = input.log.at(-1)?.state === state ? input.log : [...input.log, endOf(input)];
    let last = 0;
    for (const [at, { state: to, ...entry }] of log.entries()) {
      const seq = this.#tally.next("seq");
      const ends = at === log.length - 1;
      this.#log.append(seq, { ord: no, eventId: id, agentId, revision: 1 }, last, {
        ...entry,
        to,
        nowMs: finishedAtMs,
        result: ends ? result : undefined,
      });
      last = seq;
    }
    const resultSeq = result === undefined ? null : last;
    this.#delivery.run(
      no,
      no,
      tenant,
      agentId,
      principal,
      receivedAtMs,
      finishedAtMs,
      state,
      phase,
      last,
      resultSeq,
      finishedAtMs,
      finishedAtMs,
      message,
    );
    this.#reached.run(EVENTS, no);
    return true;
  }

  counters(source: string, counters: Partial<EventCounters>): boolean {
    if (this.#once.run(`counters ${source}`).changes === 0) return false;
    this.#tally.add(counters);
    return true;
  }

  /** The highest number of an event that was imported: up to there the order of numbers is not that of time. 0 when none was. */
  upTo(): number {
    return this.#upTo.get(EVENTS)?.up_to ?? 0;
  }
}

function endOf({ state, phase, message, finishedAtMs }: ImportedEvent): ImportedEntry {
  return { timestamp: formatTimestamp(finishedAtMs), state, phase, level: state === "completed" ? "info" : "error", message };
}
