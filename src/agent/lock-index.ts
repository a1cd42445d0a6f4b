import type { LockSet } from "../manifests/mod.ts";

/** Somebody who holds or waits for locks; `place` is its place in the order added. */
export interface Holder {
  readonly place: number;
}

interface Users<T> {
  /** Both in the order of places. */
  readonly writers: T[];
  readonly readers: T[];
}

/** Where a place stands, or would stand, in an ordered list. */
function positionOf(list: readonly Holder[], place: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((list[middle]?.place ?? 0) < place) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Who uses which lock, in order. It answers with neighbours only: the last writer before, or the readers since. Whoever they in turn wait
 * for need not be named, so a thousand events on one object make a chain and not half a million pairs.
 */
export class LockIndex<T extends Holder> {
  readonly #users = new Map<string, Users<T>>();

  add(holder: T, locks: LockSet): void {
    for (const key of locks.writes) this.#insert(this.#usersOf(key).writers, holder);
    for (const key of locks.reads) if (!locks.writes.has(key)) this.#insert(this.#usersOf(key).readers, holder);
  }

  remove(holder: T, locks: LockSet): void {
    for (const key of locks.writes) this.#drop(key, "writers", holder);
    for (const key of locks.reads) if (!locks.writes.has(key)) this.#drop(key, "readers", holder);
  }

  /** Those right before it that it must wait for. */
  before(holder: T, locks: LockSet, into: Set<T>): void {
    for (const key of locks.writes) {
      const users = this.#users.get(key);
      if (users === undefined) continue;
      const writer = users.writers[positionOf(users.writers, holder.place) - 1];
      const until = positionOf(users.readers, holder.place);
      const from = writer === undefined ? 0 : positionOf(users.readers, writer.place);
      // Readers since that writer wait for it themselves.
      if (from < until) for (let at = from; at < until; at += 1) into.add(users.readers[at] as T);
      else if (writer !== undefined) into.add(writer);
    }
    for (const key of locks.reads) {
      if (locks.writes.has(key)) continue;
      const users = this.#users.get(key);
      const writer = users?.writers[positionOf(users.writers, holder.place) - 1];
      if (writer !== undefined) into.add(writer);
    }
  }

  /** Those right after it, for whom it stands in the way or would. */
  after(holder: T, locks: LockSet, into: Set<T>): void {
    const nextWriter = (users: Users<T>): T | undefined => {
      const at = positionOf(users.writers, holder.place);
      return users.writers[at] === holder ? users.writers[at + 1] : users.writers[at];
    };
    for (const key of locks.writes) {
      const users = this.#users.get(key);
      if (users === undefined) continue;
      const writer = nextWriter(users);
      const until = writer === undefined ? users.readers.length : positionOf(users.readers, writer.place);
      for (let at = positionOf(users.readers, holder.place); at < until; at += 1) into.add(users.readers[at] as T);
      if (writer !== undefined) into.add(writer);
    }
    for (const key of locks.reads) {
      if (locks.writes.has(key)) continue;
      const users = this.#users.get(key);
      const writer = users === undefined ? undefined : nextWriter(users);
      if (writer !== undefined) into.add(writer);
    }
  }

  #usersOf(key: string): Users<T> {
    let users = this.#users.get(key);
    if (users === undefined) {
      users = { writers: [], readers: [] };
      this.#users.set(key, users);
    }
    return users;
  }

  #insert(list: T[], holder: T): void {
    const at = positionOf(list, holder.place);
    if (at === list.length) list.push(holder);
    else list.splice(at, 0, holder);
  }

  #drop(key: string, role: keyof Users<T>, holder: T): void {
    const users = this.#users.get(key);
    if (users === undefined) return;
    const list = users[role];
    const at = positionOf(list, holder.place);
    if (list[at] === holder) list.splice(at, 1);
    if (users.writers.length === 0 && users.readers.length === 0) this.#users.delete(key);
  }
}
