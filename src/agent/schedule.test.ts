import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { conflicts, type LockSet } from "../manifests/mod.ts";
import { Schedule } from "./schedule.ts";

function locks(writes: string[], reads: string[] = []): LockSet {
  return { writes: new Set(writes), reads: new Set(reads) };
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
