import type { LockSet } from "../manifests/mod.ts";

interface Slot {
  readonly key: string;
  readonly priority: number;
  /** Undefined while its manifests are not parsed yet: it could touch anything. */
  locks: LockSet | undefined;
  running: boolean;
}

/**
 * Which of the accepted events may start now. Pure: it knows keys, priorities and locks, and neither time nor cluster. Two events that
 * conflict start in the order they were added, the second only when the first has been removed; an event whose locks are not known yet
 * holds back everything after it. Among what may start, higher priority goes first, then the order added.
 */
export class Schedule {
  readonly #maxRunning: number;
  /** In the order added. */
  readonly #slots = new Map<string, Slot>();
  #running = 0;

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

  isRunning(key: string): boolean {
    return this.#slots.get(key)?.running === true;
  }

  add(key: string, priority: number): void {
    if (!this.#slots.has(key)) this.#slots.set(key, { key, priority, locks: undefined, running: false });
  }

  setLocks(key: string, locks: LockSet): void {
    const slot = this.#slots.get(key);
    if (slot !== undefined) slot.locks = locks;
  }

  /** It is finished, expired or given up; what waited for it may go. */
  remove(key: string): void {
    if (this.#slots.get(key)?.running === true) this.#running -= 1;
    this.#slots.delete(key);
  }

  /** Keys of waiting events in the order added, for whoever prepares them. */
  waitingKeys(): string[] {
    return [...this.#slots.values()].filter((slot) => !slot.running).map((slot) => slot.key);
  }

  /** Marks as running, and answers, what may start now. */
  start(): string[] {
    const free = this.#maxRunning - this.#running;
    if (free <= 0) return [];
    const ready = this.#ready().toSorted((a, b) => b.priority - a.priority);
    const chosen = ready.slice(0, free);
    for (const slot of chosen) slot.running = true;
    this.#running += chosen.length;
    return chosen.map((slot) => slot.key);
  }

  #ready(): Slot[] {
    // What everybody before writes and reads, gathered, so that one pass over the queue is enough.
    const writes = new Set<string>();
    const reads = new Set<string>();
    const ready: Slot[] = [];
    for (const slot of this.#slots.values()) {
      const { locks } = slot;
      if (locks === undefined) break;
      const blocked = !locks.writes.isDisjointFrom(writes) || !locks.writes.isDisjointFrom(reads) || !locks.reads.isDisjointFrom(writes);
      if (!slot.running && !blocked) ready.push(slot);
      for (const key of locks.writes) writes.add(key);
      for (const key of locks.reads) reads.add(key);
    }
    return ready;
  }
}
