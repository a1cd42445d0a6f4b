import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type Clock, type Timers, TransporterError } from "../kit/mod.ts";
import { GroupCommit } from "./group-commit.ts";

/** Turns of the event loop and time, by hand. */
class Hand {
  readonly #turns: (() => void)[] = [];
  nowMs = 0;
  readonly clock: Clock = { now: () => this.nowMs, monotonic: () => this.nowMs };
  readonly timers: Timers = {
    after: () => ({ cancel: () => undefined }),
    every: () => ({ cancel: () => undefined }),
    soon: (run) => void this.#turns.push(run),
    sleep: () => Promise.resolve(),
  };
  get waiting(): number {
    return this.#turns.length;
  }
  turn(): void {
    this.#turns.shift()?.();
  }
}

interface Settled {
  readonly value?: unknown;
  readonly code?: string;
  readonly error?: unknown;
}

function settle(promise: Promise<unknown>): Promise<Settled> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => (error instanceof TransporterError ? { code: error.code } : { error }),
  );
}

describe("group commit", () => {
  let db: Database;
  let hand: Hand;
  let calls: string[];
  beforeEach(() => {
    db = new Database(":memory:");
    db.run("CREATE TABLE t (a INTEGER PRIMARY KEY)");
    hand = new Hand();
    calls = [];
  });
  afterEach(() => db.close());

  const make = (options: { readonly maxOperations?: number; readonly maxMs?: number } = {}): GroupCommit =>
    new GroupCommit({
      db,
      clock: hand.clock,
      timers: hand.timers,
      what: "store",
      hooks: { begin: () => calls.push("begin"), beforeCommit: () => calls.push("commit"), undo: () => calls.push("undo") },
      ...options,
    });
  const insert = (a: number) => () => {
    db.run("INSERT INTO t VALUES (?)", [a]);
    return a;
  };
  const rows = (): number[] =>
    db
      .query<{ a: number }, []>("SELECT a FROM t ORDER BY a")
      .all()
      .map((row) => row.a);

  test("what is asked in one turn is one transaction, and each gets its own value after it", async () => {
    const group = make();
    const promises = [1, 2, 3].map((a) => group.run(insert(a)));
    expect(rows()).toEqual([]);
    expect(hand.waiting).toBe(1);
    hand.turn();
    expect(calls).toEqual(["begin", "commit"]);
    expect(await Promise.all(promises)).toEqual([1, 2, 3]);
    expect(rows()).toEqual([1, 2, 3]);
    expect(hand.waiting).toBe(0);
  });

  test("a read sees the writes asked for before it and not those after", async () => {
    const group = make();
    const promises = [group.run(insert(1)), group.run(rows), group.run(insert(2)), group.run(rows)];
    hand.turn();
    expect(await Promise.all(promises)).toEqual([1, [1], 2, [1, 2]]);
  });

  test("one that fails takes none with it, whether the database or the operation refuses", async () => {
    const group = make();
    const own = new TransporterError("INVALID_CURSOR", "own");
    const settled = [
      group.run(insert(1)),
      group.run(insert(1)),
      group.run(() => {
        insert(7)();
        throw own;
      }),
      group.run(insert(2)),
    ].map(settle);
    hand.turn();
    expect(await Promise.all(settled)).toEqual([{ value: 1 }, { code: "INTERNAL" }, { code: "INVALID_CURSOR" }, { value: 2 }]);
    expect(rows()).toEqual([1, 2]);
    expect(calls.filter((call) => call === "begin").length).toBe(5);
    expect(calls.filter((call) => call === "undo").length).toBe(3);
  });

  test("a commit that fails acknowledges nothing", async () => {
    let broken = true;
    const group = new GroupCommit({
      db,
      clock: hand.clock,
      timers: hand.timers,
      what: "store",
      hooks: {
        beforeCommit: () => {
          if (broken) throw new TransporterError("STORE_FULL", "no room");
        },
      },
    });
    const settled = [group.run(insert(1)), group.run(insert(2))].map(settle);
    hand.turn();
    expect(await Promise.all(settled)).toEqual([{ code: "STORE_FULL" }, { code: "STORE_FULL" }]);
    expect(rows()).toEqual([]);
    broken = false;
    const again = group.run(insert(1));
    hand.turn();
    expect(await again).toBe(1);
  });

  test("a batch is bounded in number and in time, and the rest follows in the next turn", async () => {
    const group = make({ maxOperations: 2 });
    const promises = [1, 2, 3, 4, 5].map((a) => group.run(insert(a)));
    hand.turn();
    expect(rows()).toEqual([1, 2]);
    hand.turn();
    hand.turn();
    expect(await Promise.all(promises)).toEqual([1, 2, 3, 4, 5]);
    const slow = make({ maxMs: 10 });
    const late = [6, 7, 8].map((a) =>
      slow.run(() => {
        hand.nowMs += 6;
        return insert(a)();
      }),
    );
    hand.turn();
    expect(rows()).toEqual([1, 2, 3, 4, 5, 6, 7]);
    hand.turn();
    expect(await Promise.all(late)).toEqual([6, 7, 8]);
  });

  test("operations that are tried one by one do not hold the turn for long either", async () => {
    const group = make({ maxMs: 10 });
    const settled = [1, 1, 2, 3].map((a) =>
      settle(
        group.run(() => {
          hand.nowMs += 4;
          return insert(a)();
        }),
      ),
    );
    let turns = 0;
    for (; hand.waiting > 0; turns += 1) hand.turn();
    expect(turns).toBeGreaterThan(1);
    expect(await Promise.all(settled)).toEqual([{ value: 1 }, { code: "INTERNAL" }, { value: 2 }, { value: 3 }]);
  });

  test("close waits for what was asked and refuses what comes after", async () => {
    const group = make();
    const before = group.run(insert(1));
    const closed = group.close();
    const after = settle(group.run(insert(2)));
    expect(group.close()).toBe(closed);
    hand.turn();
    await closed;
    expect(await before).toBe(1);
    expect(await after).toEqual({ code: "STORE_UNAVAILABLE" });
    expect(rows()).toEqual([1]);
  });

  for (const [when, kept] of [
    ["committing", 0],
    ["committed", 1],
  ] as const) {
    test(`a throw when ${when} is the end, as of a process that dies there: nothing is settled, run again or taken any more`, async () => {
      let settled = 0;
      let runs = 0;
      const group = new GroupCommit({
        db,
        clock: hand.clock,
        timers: hand.timers,
        what: "store",
        hooks: {
          [when]: () => {
            throw new Error("killed");
          },
        },
      });
      const count = (promise: Promise<unknown>): void => {
        void promise.finally(() => {
          settled += 1;
        });
      };
      count(
        group.run(() => {
          runs += 1;
          insert(1)();
        }),
      );
      expect(() => hand.turn()).toThrow("killed");
      count(group.run(insert(2)));
      while (hand.waiting > 0) hand.turn();
      await Promise.resolve();
      expect({ settled, runs, rows: db.query("SELECT count(*) AS n FROM t").get() }).toEqual({ settled: 0, runs: 1, rows: { n: kept } });
      expect(db.inTransaction).toBe(false);
    });
  }
});
