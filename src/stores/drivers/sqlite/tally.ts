import type { Statement } from "bun:sqlite";
import type { State } from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import type { EventCounters, OpenCounts } from "../../port.ts";

const COUNTED = ["total", "created", "queued", "assigned", "in_progress", "completed", "failed", "expired", "cancelled"] as const;
const NUMBERED = ["last_ord", "last_seq", "last_audit", "last_payload", "last_document"] as const;
type Column = (typeof COUNTED)[number] | (typeof NUMBERED)[number];
const COLUMNS: readonly Column[] = [...COUNTED, ...NUMBERED];

interface Open {
  queued: number;
  inFlight: number;
}

type Side = keyof Open;

export function isWaiting(state: State): boolean {
  return state === "created" || state === "queued";
}

export function isInFlight(state: State): boolean {
  return state === "assigned" || state === "in_progress";
}

function sideOf(state: State): Side | undefined {
  if (isWaiting(state)) return "queued";
  return isInFlight(state) ? "inFlight" : undefined;
}

const NONE: Readonly<Open> = { queued: 0, inFlight: 0 };

/**
 * The numbers of the store, kept in memory because this process is its only writer: how many events ever entered each state, how many
 * deliveries are open, and the last number given to each kind of row. They are written once per transaction and undone with it.
 */
export class Tally {
  readonly #write: Statement<unknown, number[]>;
  #numbers: Record<Column, number>;
  #before: Record<Column, number>;
  #changed = false;
  readonly #open = new Map<string, Open>();
  readonly #all: Open = { queued: 0, inFlight: 0 };
  #moves: { readonly agentId: string; readonly from: Side | undefined; readonly to: Side | undefined }[] = [];

  constructor(database: OpenedDatabase) {
    this.#write = database.prepare(`UPDATE counter SET ${COLUMNS.map((column) => `${column} = ?`).join(", ")} WHERE id = 1`);
    const row = database.db.query<Record<Column, number>, []>("SELECT * FROM counter WHERE id = 1").get();
    this.#numbers = Object.fromEntries(COLUMNS.map((column) => [column, row?.[column] ?? 0])) as Record<Column, number>;
    this.#before = { ...this.#numbers };
    const open = database.db
      .query<{ agent_id: string; state: State; n: number }, []>(
        "SELECT agent_id, state, count(*) AS n FROM delivery INDEXED BY delivery_open WHERE lane IS NOT NULL GROUP BY agent_id, state",
      )
      .all();
    for (const row of open) this.#shift(row.agent_id, undefined, sideOf(row.state), row.n);
  }

  begin(): void {
    if (!this.#changed && this.#moves.length === 0) return;
    this.#changed = false;
    this.#moves = [];
    this.#before = { ...this.#numbers };
  }

  write(): void {
    if (!this.#changed) return;
    this.#write.run(...COLUMNS.map((column) => this.#numbers[column]));
  }

  undo(): void {
    this.#numbers = { ...this.#before };
    for (const move of this.#moves.toReversed()) this.#shift(move.agentId, move.to, move.from);
    this.#moves = [];
    this.#changed = false;
  }

  /** Makes the next commit a write, whatever else it holds. */
  touch(): void {
    this.#changed = true;
  }

  next(kind: "ord" | "seq" | "audit" | "payload" | "document"): number {
    this.#changed = true;
    return (this.#numbers[`last_${kind}`] += 1);
  }

  get lastSeq(): number {
    return this.#numbers.last_seq;
  }

  get lastOrd(): number {
    return this.#numbers.last_ord;
  }

  get lastAudit(): number {
    return this.#numbers.last_audit;
  }

  get lastDocument(): number {
    return this.#numbers.last_document;
  }

  get openCounted(): number {
    return this.#all.queued + this.#all.inFlight;
  }

  /** In all tenants together. */
  openOf(agentId: string): Readonly<Open> {
    return this.#open.get(agentId) ?? NONE;
  }

  entered(state: State | "total"): void {
    this.#changed = true;
    this.#numbers[state] += 1;
  }

  /** Adds what was counted elsewhere. */
  add(counters: Partial<EventCounters>): void {
    this.#changed = true;
    for (const column of COUNTED) this.#numbers[column] += counters[column] ?? 0;
  }

  /** A delivery of this agent went from one state to another; undefined is "not there yet". */
  moved(agentId: string, from: State | undefined, to: State): void {
    const before = from === undefined ? undefined : sideOf(from);
    const after = sideOf(to);
    if (before === after) return;
    this.#shift(agentId, before, after);
    this.#moves.push({ agentId, from: before, to: after });
  }

  counters(): EventCounters {
    return Object.fromEntries(COUNTED.map((column) => [column, this.#numbers[column]])) as EventCounters;
  }

  openCounts(): OpenCounts {
    return { ...this.#all, byAgent: new Map([...this.#open].map(([agentId, open]) => [agentId, { ...open }])) };
  }

  #shift(agentId: string, from: Side | undefined, to: Side | undefined, count = 1): void {
    let open = this.#open.get(agentId);
    if (open === undefined) {
      open = { queued: 0, inFlight: 0 };
      this.#open.set(agentId, open);
    }
    if (from !== undefined) {
      open[from] -= count;
      this.#all[from] -= count;
    }
    if (to !== undefined) {
      open[to] += count;
      this.#all[to] += count;
    }
    if (open.queued === 0 && open.inFlight === 0) this.#open.delete(agentId);
  }
}
