import type { Clock } from "../kit/mod.ts";
import type { LockSet } from "../manifests/mod.ts";
import type { DispatchItem } from "../stores/mod.ts";

/** What an event touches, as far as order goes: hashes of its lock keys. Should two keys ever look alike, one event waits for another needlessly. */
export interface Footprint {
  readonly writes: readonly number[];
  readonly reads: readonly number[];
}

export const TOUCHES_NOTHING: Footprint = { writes: [], reads: [] };

/** 53 bits of a key. */
function hashOf(key: string): number {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let at = 0; at < key.length; at += 1) {
    const code = key.charCodeAt(at);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b);
  }
  return (a >>> 0) * 0x20_0000 + ((b >>> 0) & 0x1f_ffff);
}

export function footprintOf({ writes, reads }: LockSet): Footprint {
  return { writes: Array.from(writes, hashOf), reads: Array.from(reads, hashOf) };
}

/** How many footprints all agents' deliveries together may have remembered. */
export class FootprintBudget {
  #left: number;

  constructor(most: number) {
    this.#left = most;
  }

  take(): boolean {
    if (this.#left <= 0) return false;
    this.#left -= 1;
    return true;
  }

  give(count: number): void {
    this.#left += count;
  }
}

/** How long one look may take, and how many pages it may read, before what is safe goes; the rest is looked through meanwhile. */
const LOOK_MS = 300;
const PAGES_PER_LOOK = 100;
const PAGE_ITEMS = 200;
const PAGE_BYTES = 4 * 1024 * 1024;

export interface PrecedenceOptions {
  /** What waits and was accepted after `afterOrd` and before `beforeOrd`, in the order accepted. */
  readonly waiting: (query: {
    readonly afterOrd: number;
    readonly beforeOrd: number;
    readonly maxItems: number;
    readonly maxBytes: number;
  }) => Promise<readonly DispatchItem[]>;
  /** What a delivery touches at its agent. Must not throw. */
  readonly touches: (item: DispatchItem) => Footprint | Promise<Footprint>;
  readonly budget: FootprintBudget;
  readonly clock: Pick<Clock, "monotonic">;
}

/**
 * Keeps the order by object while the urgent overtake: a delivery that is about to go must not overtake one that was accepted earlier, waits
 * still and touches the same objects. Remembers what each waiting delivery of one agent touches, so that each is parsed once.
 */
export class Precedence {
  readonly #options: PrecedenceOptions;
  readonly #seen = new Map<number, Footprint>();
  readonly #writers = new Map<number, Set<number>>();
  readonly #readers = new Map<number, Set<number>>();
  /** Everything that waits and was accepted up to here is remembered. */
  #scannedTo = 0;
  /** How often it was asked to look at everything anew. */
  #again = 0;
  /** Grows when everything is forgotten, so that a look under way ends. */
  #generation = 0;
  #lookingOn = false;

  constructor(options: PrecedenceOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#seen.size;
  }

  /** Something may wait again, or may start now, that was accepted before what was looked at. */
  lookAgain(): void {
    this.#scannedTo = 0;
    this.#again += 1;
  }

  /** It waits no longer. */
  forget(ord: number): void {
    const footprint = this.#seen.get(ord);
    if (footprint === undefined) return;
    this.#seen.delete(ord);
    this.#options.budget.give(1);
    for (const key of footprint.writes) remove(this.#writers, key, ord);
    for (const key of footprint.reads) remove(this.#readers, key, ord);
  }

  /** Nothing waits any more, or the connection is gone. */
  clear(): void {
    this.#options.budget.give(this.#seen.size);
    this.#seen.clear();
    this.#writers.clear();
    this.#readers.clear();
    this.#scannedTo = 0;
    this.#generation += 1;
  }

  /**
   * The first `room` of what should go, each behind what it must not overtake, that in the order accepted. Where too much was accepted
   * earlier to have been looked at by now, `oldest` go instead: they overtake nobody.
   */
  async clearTheWay(wanted: readonly DispatchItem[], oldest: readonly DispatchItem[], room: number): Promise<DispatchItem[]> {
    const known = new Map<number, DispatchItem>();
    for (const item of wanted) known.set(item.delivery.ord, item);
    const highest = Math.max(...known.keys());
    const complete = await this.#scan(highest);
    if (!complete) void this.#lookOn(highest);
    const chosen = new Map<number, DispatchItem>();
    for (const item of wanted) {
      if (chosen.size >= room) break;
      const { ord } = item.delivery;
      if (chosen.has(ord) || (!complete && ord > this.#scannedTo + 1)) continue;
      const footprint = this.#seen.get(ord) ?? (await this.#options.touches(item));
      for (const before of this.#inTheWay(ord, footprint, chosen)) {
        if (chosen.size >= room) break;
        const other = known.get(before) ?? (await this.#fetch(before));
        if (other === undefined) this.forget(before);
        else chosen.set(before, other);
      }
      if (chosen.size < room) chosen.set(ord, item);
    }
    if (chosen.size === 0) for (const item of oldest.slice(0, room)) chosen.set(item.delivery.ord, item);
    return [...chosen.values()];
  }

  /** Remembers what waits and was accepted before; false when that is more than one look may take. */
  async #scan(beforeOrd: number): Promise<boolean> {
    const untilMs = this.#options.clock.monotonic() + LOOK_MS;
    for (let page = 0; page < PAGES_PER_LOOK && this.#scannedTo < beforeOrd - 1; page += 1) {
      if (!(await this.#scanPage(beforeOrd)) || this.#options.clock.monotonic() >= untilMs) break;
    }
    return this.#scannedTo >= beforeOrd - 1;
  }

  /** Goes on after a look that was not complete, so that the next one is. */
  async #lookOn(beforeOrd: number): Promise<void> {
    if (this.#lookingOn) return;
    this.#lookingOn = true;
    const generation = this.#generation;
    try {
      while (generation === this.#generation && this.#scannedTo < beforeOrd - 1) if (!(await this.#scanPage(beforeOrd))) break;
    } catch {
      // The store is away: the next look begins where this one ended, and says so if it fails as well.
    } finally {
      this.#lookingOn = false;
    }
  }

  /** False when nothing more can be remembered. */
  async #scanPage(beforeOrd: number): Promise<boolean> {
    const [afterOrd, again, generation] = [this.#scannedTo, this.#again, this.#generation];
    const items = await this.#options.waiting({ afterOrd, beforeOrd, maxItems: PAGE_ITEMS, maxBytes: PAGE_BYTES });
    let last = afterOrd;
    for (const item of items) {
      const { ord } = item.delivery;
      if (ord <= last) continue;
      if (!this.#seen.has(ord)) {
        const touched = this.#options.touches(item);
        const footprint = touched instanceof Promise ? await touched : touched;
        if (generation !== this.#generation) return false;
        if (!this.#seen.has(ord)) {
          if (!this.#options.budget.take()) return false;
          this.#remember(ord, footprint);
        }
      }
      last = ord;
    }
    if (generation !== this.#generation) return false;
    // Asked meanwhile to look at everything anew: what was remembered counts, that it was everything does not.
    if (again === this.#again) this.#scannedTo = Math.max(this.#scannedTo, last === afterOrd ? beforeOrd - 1 : last);
    return true;
  }

  async #fetch(ord: number): Promise<DispatchItem | undefined> {
    const items = await this.#options.waiting({ afterOrd: ord - 1, beforeOrd: ord + 1, maxItems: 1, maxBytes: PAGE_BYTES });
    return items.find((item) => item.delivery.ord === ord);
  }

  #remember(ord: number, footprint: Footprint): void {
    this.#seen.set(ord, footprint);
    for (const key of footprint.writes) add(this.#writers, key, ord);
    for (const key of footprint.reads) add(this.#readers, key, ord);
  }

  /** What was accepted earlier and must go first, transitively, in the order accepted. */
  #inTheWay(ord: number, footprint: Footprint, chosen: ReadonlyMap<number, unknown>): number[] {
    const found = new Set<number>();
    const open: { readonly ord: number; readonly footprint: Footprint }[] = [{ ord, footprint }];
    const visit = (before: ReadonlySet<number> | undefined, than: number): void => {
      if (before === undefined) return;
      for (const other of before) {
        if (other >= than || found.has(other) || chosen.has(other)) continue;
        found.add(other);
        open.push({ ord: other, footprint: this.#seen.get(other) ?? TOUCHES_NOTHING });
      }
    };
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const key of next.footprint.writes) {
        visit(this.#writers.get(key), next.ord);
        visit(this.#readers.get(key), next.ord);
      }
      for (const key of next.footprint.reads) visit(this.#writers.get(key), next.ord);
    }
    return [...found].toSorted((a, b) => a - b);
  }
}

function add(index: Map<number, Set<number>>, key: number, ord: number): void {
  const ords = index.get(key);
  if (ords === undefined) index.set(key, new Set([ord]));
  else ords.add(ord);
}

function remove(index: Map<number, Set<number>>, key: number, ord: number): void {
  const ords = index.get(key);
  if (ords?.delete(ord) === true && ords.size === 0) index.delete(key);
}
