import type { LockSet } from "../manifests/mod.ts";
import { LockIndex } from "./lock-index.ts";

interface Slot {
  readonly key: string;
  /** In the order added, from 1. */
  readonly place: number;
  readonly priority: number;
  readonly suspect: boolean;
  /** The highest of its own priority and of those that wait for it, however far behind. */
  lent: number;
  /** Undefined while its manifests are not known yet: it could touch anything. */
  locks: LockSet | undefined;
  running: boolean;
  /** Those right before it that it waits for, and those right after it that wait for it. */
  readonly waitsFor: Set<Slot>;
  readonly waiters: Set<Slot>;
}

/** Of so many places, one goes to whoever was added first, whatever its priority: what is urgent must not starve the rest for ever. */
export const FAIR_PLACE = 8;

/**
 * Which of the accepted events may start now. Pure: it knows keys, priorities and locks, and neither time nor cluster. Two events that
 * conflict start in the order they were added, the second only when the first has been removed; an event whose locks are not known yet
 * holds back everything after it. Among what may start, higher priority goes first, then the order added; an event lends its priority to
 * all that it waits for, and every eighth place goes to the one that was added first. Of those under suspicion of ending the process at most
 * one runs at a time, so that in the end it is known which of them does.
 */
export class Schedule {
  readonly #maxRunning: number;
  /** In the order added. */
  readonly #slots = new Map<string, Slot>();
  readonly #index = new LockIndex<Slot>();
  /** Not known yet what they touch, in the order added. */
  readonly #unknown = new Set<Slot>();
  /** Known, not running, and nothing known stands in their way. */
  readonly #free = new Set<Slot>();
  #running = 0;
  #suspects = 0;
  #places = 0;
  #given = 0;
  /** A waiting event is gone, so what it had lent may be too high. */
  #stale = false;

  constructor(maxRunning: number) {
    this.#maxRunning = maxRunning;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#slots.size - this.#running;
  }

  has(key: string): boolean {
    return this.#slots.has(key);
  }

  /** One of those under suspicion is running. */
  get suspectRunning(): boolean {
    return this.#suspects > 0;
  }

  isRunning(key: string): boolean {
    return this.#slots.get(key)?.running === true;
  }

  add(key: string, priority: number, suspect = false): void {
    if (this.#slots.has(key)) return;
    this.#places += 1;
    const slot: Slot = {
      key,
      place: this.#places,
      priority,
      suspect,
      lent: priority,
      locks: undefined,
      running: false,
      waitsFor: new Set(),
      waiters: new Set(),
    };
    this.#slots.set(key, slot);
    this.#unknown.add(slot);
  }

  setLocks(key: string, locks: LockSet): void {
    const slot = this.#slots.get(key);
    if (slot === undefined || slot.locks !== undefined) return;
    slot.locks = locks;
    this.#unknown.delete(slot);
    this.#index.add(slot, locks);
    const after = new Set<Slot>();
    this.#index.after(slot, locks, after);
    this.#relink(slot, locks);
    for (const later of after) if (later.locks !== undefined) this.#relink(later, later.locks);
  }

  /** It is finished, expired or given up; what waited for it may go. */
  remove(key: string): void {
    const slot = this.#slots.get(key);
    if (slot === undefined) return;
    this.#slots.delete(key);
    this.#unknown.delete(slot);
    this.#free.delete(slot);
    if (slot.running) {
      this.#running -= 1;
      if (slot.suspect) this.#suspects -= 1;
    } else if (slot.waitsFor.size > 0) this.#stale = true;
    for (const earlier of slot.waitsFor) earlier.waiters.delete(slot);
    if (slot.locks === undefined) return;
    this.#index.remove(slot, slot.locks);
    for (const later of slot.waiters) if (later.locks !== undefined) this.#relink(later, later.locks);
  }

  /** Keys of waiting events in the order added, for whoever prepares them. */
  *waitingKeys(): Generator<string> {
    for (const slot of this.#slots.values()) if (!slot.running) yield slot.key;
  }

  /** Marks as running, and answers, what may start now; of those under suspicion none, where they are to wait. */
  start(suspectsWait = false): string[] {
    if (this.#stale) this.#lendAnew();
    const started: string[] = [];
    while (this.#running < this.#maxRunning) {
      const slot = this.#next(suspectsWait || this.#suspects > 0);
      if (slot === undefined) break;
      this.#given += 1;
      slot.running = true;
      this.#running += 1;
      if (slot.suspect) this.#suspects += 1;
      this.#free.delete(slot);
      started.push(slot.key);
    }
    return started;
  }

  #next(suspectsWait: boolean): Slot | undefined {
    const [unknown] = this.#unknown;
    const before = unknown?.place ?? Number.POSITIVE_INFINITY;
    let first: Slot | undefined;
    let best: Slot | undefined;
    for (const slot of this.#free) {
      if (slot.place > before || (slot.suspect && suspectsWait)) continue;
      if (first === undefined || slot.place < first.place) first = slot;
      if (best === undefined || slot.lent > best.lent || (slot.lent === best.lent && slot.place < best.place)) best = slot;
    }
    return this.#given % FAIR_PLACE === FAIR_PLACE - 1 ? first : best;
  }

  /** Finds out anew whom a slot waits for, and lends them its priority. */
  #relink(slot: Slot, locks: LockSet): void {
    for (const earlier of slot.waitsFor) earlier.waiters.delete(slot);
    slot.waitsFor.clear();
    this.#index.before(slot, locks, slot.waitsFor);
    for (const earlier of slot.waitsFor) earlier.waiters.add(slot);
    if (slot.running) return;
    if (slot.waitsFor.size === 0) this.#free.add(slot);
    else this.#free.delete(slot);
    this.#lend(slot);
  }

  #lend(slot: Slot): void {
    const lenders = [slot];
    for (let lender = lenders.pop(); lender !== undefined; lender = lenders.pop()) {
      for (const earlier of lender.waitsFor) {
        if (earlier.lent >= lender.lent) continue;
        earlier.lent = lender.lent;
        lenders.push(earlier);
      }
    }
  }

  /** From the last to the first: whoever waits for a slot stands behind it. */
  #lendAnew(): void {
    this.#stale = false;
    for (const slot of [...this.#slots.values()].toReversed()) {
      slot.lent = slot.priority;
      for (const later of slot.waiters) slot.lent = Math.max(slot.lent, later.lent);
    }
  }
}
