import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { conflicts, type LockSet } from "../manifests/mod.ts";
import { FAIR_PLACE, Schedule } from "./schedule.ts";

function locks(writes: string[], reads: string[] = []): LockSet {
  return { writes: new Set(writes), reads: new Set(reads) };
}

/** Starts and ends one after the other, until nothing is left. */
function drain(schedule: Schedule): string[] {
  const order: string[] = [];
  for (let next = schedule.start(); next.length > 0; next = schedule.start()) {
    order.push(...next);
    for (const key of next) schedule.remove(key);
  }
  return order;
}

interface PlainSlot {
  readonly at: number;
  readonly priority: number;
  locks: LockSet | undefined;
  running: boolean;
}

/** The same rules, said in the plainest way: everybody is compared with everybody each time. */
class PlainSchedule {
  #slots: PlainSlot[] = [];
  #given = 0;
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  add(at: number, priority: number): void {
    this.#slots.push({ at, priority, locks: undefined, running: false });
  }

  setLocks(at: number, set: LockSet): void {
    const slot = this.#slots.find((one) => one.at === at);
    if (slot !== undefined) slot.locks ??= set;
  }

  remove(at: number): void {
    this.#slots = this.#slots.filter((one) => one.at !== at);
  }

  running(): number[] {
    return this.#slots.filter((one) => one.running).map((one) => one.at);
  }

  start(): number[] {
    const started: number[] = [];
    while (this.running().length < this.#max) {
      const free = this.#slots.filter(
        (slot, index) => !slot.running && this.#earlier(slot, index).length === 0 && slot.locks !== undefined,
      );
      const byLent = free.toSorted((a, b) => this.#lent(b) - this.#lent(a));
      const slot = this.#given % FAIR_PLACE === FAIR_PLACE - 1 ? free[0] : byLent[0];
      if (slot === undefined) break;
      this.#given += 1;
      slot.running = true;
      started.push(slot.at);
    }
    return started;
  }

  #earlier(slot: PlainSlot, index: number): PlainSlot[] {
    return this.#slots
      .slice(0, index)
      .filter((one) => one.locks === undefined || (slot.locks !== undefined && conflicts(one.locks, slot.locks)));
  }

  /** Only what is known to conflict lends: what is not known yet cannot start anyway. */
  #lent(slot: PlainSlot): number {
    const index = this.#slots.indexOf(slot);
    const waiters = this.#slots
      .slice(index + 1)
      .filter((one) => slot.locks !== undefined && one.locks !== undefined && conflicts(one.locks, slot.locks));
    return Math.max(slot.priority, ...waiters.map((one) => this.#lent(one)));
  }
}

describe("which events may start", () => {
  test("what does not conflict runs together, up to the bound", () => {
    const schedule = new Schedule(2);
    for (const key of ["a", "b", "c"]) {
      schedule.add(key, 0);
      schedule.setLocks(key, locks([key]));
    }
    expect(schedule.start()).toEqual(["a", "b"]);
    expect(schedule.start()).toEqual([]);
    schedule.remove("b");
    expect(schedule.start()).toEqual(["c"]);
  });

  test("two that write the same object go one after the other, in the order added, whatever their priority", () => {
    const schedule = new Schedule(4);
    schedule.add("first", 0);
    schedule.add("second", 1000);
    schedule.setLocks("first", locks(["x"]));
    schedule.setLocks("second", locks(["x"]));
    expect(schedule.start()).toEqual(["first"]);
    expect(schedule.start()).toEqual([]);
    schedule.remove("first");
    expect(schedule.start()).toEqual(["second"]);
  });

  test("one that reads what another writes waits for it, in both directions; two readers do not", () => {
    const schedule = new Schedule(4);
    schedule.add("reader", 0);
    schedule.add("writer", 0);
    schedule.add("reader2", 0);
    schedule.setLocks("reader", locks(["a"], ["ns"]));
    schedule.setLocks("writer", locks(["ns"]));
    schedule.setLocks("reader2", locks(["b"], ["ns"]));
    expect(schedule.start()).toEqual(["reader"]);
    schedule.remove("reader");
    expect(schedule.start()).toEqual(["writer"]);
    schedule.remove("writer");
    expect(schedule.start()).toEqual(["reader2"]);
    const readers = new Schedule(4);
    for (const key of ["p", "q"]) {
      readers.add(key, 0);
      readers.setLocks(key, locks([key], ["ns"]));
    }
    expect(readers.start()).toEqual(["p", "q"]);
  });

  test("one that is not parsed yet holds back everything after it and nothing before it", () => {
    const schedule = new Schedule(4);
    schedule.add("before", 0);
    schedule.add("unknown", 0);
    schedule.add("after", 50);
    schedule.setLocks("before", locks(["x"]));
    schedule.setLocks("after", locks(["y"]));
    expect(schedule.start()).toEqual(["before"]);
    schedule.setLocks("unknown", locks(["z"]));
    expect(schedule.start()).toEqual(["after", "unknown"]);
  });

  test("a waiting event also holds back a later one that conflicts with it alone", () => {
    const schedule = new Schedule(4);
    for (const [key, set] of [
      ["a", ["x"]],
      ["b", ["x", "y"]],
      ["c", ["y"]],
    ] as const) {
      schedule.add(key, 0);
      schedule.setLocks(key, locks([...set]));
    }
    expect(schedule.start()).toEqual(["a"]);
    schedule.remove("a");
    expect(schedule.start()).toEqual(["b"]);
    schedule.remove("b");
    expect(schedule.start()).toEqual(["c"]);
  });

  test("more urgent ones first, then the order added", () => {
    const schedule = new Schedule(1);
    for (const [key, priority] of [
      ["low", -5],
      ["normal", 0],
      ["high", 7],
      ["high2", 7],
    ] as const) {
      schedule.add(key, priority);
      schedule.setLocks(key, locks([key]));
    }
    const order: string[] = [];
    for (let next = schedule.start(); next.length > 0; next = schedule.start()) {
      order.push(...next);
      for (const key of next) schedule.remove(key);
    }
    expect(order).toEqual(["high", "high2", "normal", "low"]);
  });

  test("for any events: conflicting ones never run together and start in order, and all of them run in the end", () => {
    const name = fc.constantFrom("a", "b", "c", "d", "e");
    const event = fc.record({
      writes: fc.uniqueArray(name, { maxLength: 3 }),
      reads: fc.uniqueArray(name, { maxLength: 3 }),
      priority: fc.integer({ min: -2, max: 2 }),
    });
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 12 }),
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.nat(), { maxLength: 60 }),
        (events, max, picks) => {
          const schedule = new Schedule(max);
          const sets = events.map(({ writes, reads }) => locks(writes, reads));
          events.forEach(({ priority }, at) => schedule.add(String(at), priority));
          const parseLater = sets.map((set, at) => () => schedule.setLocks(String(at), set));
          const started: number[] = [];
          const running = new Set<number>();
          let step = 0;
          while (started.length < events.length || running.size > 0) {
            parseLater.shift()?.();
            for (const key of schedule.start()) {
              const at = Number(key);
              for (const other of running) if (conflicts(sets[at] as LockSet, sets[other] as LockSet)) return false;
              for (let earlier = 0; earlier < at; earlier += 1)
                if (!started.includes(earlier) && conflicts(sets[at] as LockSet, sets[earlier] as LockSet)) return false;
              started.push(at);
              running.add(at);
            }
            if (running.size > max) return false;
            if (running.size === 0 && parseLater.length === 0 && started.length < events.length) return false;
            const all = [...running];
            const done = all[(picks[step % Math.max(1, picks.length)] ?? 0) % Math.max(1, all.length)];
            if (done !== undefined) {
              running.delete(done);
              schedule.remove(String(done));
            }
            step += 1;
          }
          return true;
        },
      ),
    );
  });

  test("an urgent event lends its priority to all that it waits for, however far", () => {
    const schedule = new Schedule(1);
    for (const [key, priority, set] of [
      ["blocker", 0, ["z"]],
      ["normal", 5, ["n"]],
      ["first", 0, ["x"]],
      ["second", 0, ["x", "y"]],
      ["urgent", 100, ["y"]],
    ] as const) {
      schedule.add(key, priority);
      schedule.setLocks(key, locks([...set]));
    }
    expect(drain(schedule)).toEqual(["first", "second", "urgent", "normal", "blocker"]);
  });

  test("what was lent is given back when whoever lent it goes", () => {
    const schedule = new Schedule(1);
    for (const [key, priority, set] of [
      ["low", 0, ["x"]],
      ["normal", 5, ["n"]],
      ["urgent", 100, ["x"]],
    ] as const) {
      schedule.add(key, priority);
      schedule.setLocks(key, locks([...set]));
    }
    schedule.remove("urgent");
    expect(drain(schedule)).toEqual(["normal", "low"]);
  });

  test("one that goes while it waits in the middle leaves those around it in order", () => {
    const schedule = new Schedule(4);
    for (const key of ["a", "b", "c"]) {
      schedule.add(key, 0);
      schedule.setLocks(key, locks(["x"]));
    }
    expect(schedule.start()).toEqual(["a"]);
    schedule.remove("b");
    expect(schedule.start()).toEqual([]);
    schedule.remove("a");
    expect(schedule.start()).toEqual(["c"]);
  });

  test("every eighth place goes to the one that was added first, so that nothing starves", () => {
    const schedule = new Schedule(1);
    schedule.add("old", 0);
    schedule.setLocks("old", locks(["old"]));
    const order: string[] = [];
    for (let at = 0; at < 20; at += 1) {
      const key = `urgent${at}`;
      schedule.add(key, 10);
      schedule.setLocks(key, locks([key]));
      for (const started of schedule.start()) {
        order.push(started);
        schedule.remove(started);
      }
    }
    expect(order.indexOf("old")).toBe(FAIR_PLACE - 1);
    expect(order.filter((key) => key !== "old")).toEqual(Array.from({ length: 19 }, (_, at) => `urgent${at}`));
  });

  test("of those under suspicion one runs at a time, beside all others", () => {
    const schedule = new Schedule(4);
    for (const key of ["s1", "s2", "other"]) {
      schedule.add(key, 0, key !== "other");
      schedule.setLocks(key, locks([key]));
    }
    expect(schedule.start()).toEqual(["s1", "other"]);
    schedule.remove("other");
    expect(schedule.start()).toEqual([]);
    schedule.remove("s1");
    expect(schedule.start()).toEqual(["s2"]);
  });

  test("for any events, known in any order, some of them withdrawn: as one that compares each with each would start them", () => {
    const name = fc.constantFrom("a", "b", "c", "d", "e");
    const event = fc.record({
      writes: fc.uniqueArray(name, { maxLength: 3 }),
      reads: fc.uniqueArray(name, { maxLength: 3 }),
      priority: fc.integer({ min: -2, max: 2 }),
      knownAt: fc.nat({ max: 20 }),
      goneAt: fc.option(fc.nat({ max: 20 })),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 12 }), fc.integer({ min: 1, max: 3 }), (events, max) => {
        const schedule = new Schedule(max);
        const plain = new PlainSchedule(max);
        events.forEach(({ priority }, at) => {
          schedule.add(String(at), priority);
          plain.add(at, priority);
        });
        for (let step = 0; step <= 40; step += 1) {
          events.forEach(({ writes, reads, knownAt, goneAt }, at) => {
            if (knownAt === step) {
              schedule.setLocks(String(at), locks(writes, reads));
              plain.setLocks(at, locks(writes, reads));
            }
            if (goneAt === step) {
              schedule.remove(String(at));
              plain.remove(at);
            }
          });
          const started = schedule.start();
          expect(started).toEqual(plain.start().map(String));
          const [done] = plain.running();
          if (done !== undefined && step % 2 === 1) {
            schedule.remove(String(done));
            plain.remove(done);
          }
        }
      }),
    );
  });

  test("two thousand waiting events, of different urgency and on shared objects, all run", () => {
    const schedule = new Schedule(4);
    const total = 2_000;
    for (let at = 0; at < total; at += 1) {
      schedule.add(String(at), at % 7);
      schedule.setLocks(String(at), locks([`o${at % 500}`, `p${at}`], ["ns"]));
    }
    let ran = 0;
    for (;;) {
      const next = schedule.start();
      for (const key of next) schedule.remove(key);
      if (next.length === 0) break;
      ran += next.length;
    }
    expect(ran).toBe(total);
  });

  test("a thousand waiting events that share a namespace all run", () => {
    const schedule = new Schedule(4);
    for (let at = 0; at < 1000; at += 1) {
      schedule.add(String(at), at % 5);
      schedule.setLocks(String(at), locks([`o${at}`], ["ns"]));
    }
    let ran = 0;
    for (let next = schedule.start(); next.length > 0; next = schedule.start()) {
      for (const key of next) schedule.remove(key);
      ran += next.length;
    }
    expect(ran).toBe(1000);
  });
});
