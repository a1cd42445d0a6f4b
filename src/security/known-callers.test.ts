import { describe, expect, test } from "bun:test";
import { manualPorts } from "../kit/mod.ts";
import { Known, KnownCallers } from "./known-callers.ts";
import { ADMIN } from "./parts-for-tests.ts";

function bench() {
  const manual = manualPorts();
  return { manual, known: new KnownCallers(manual.ports.clock) };
}

describe("who was here a moment ago", () => {
  test("is known for five seconds, and remembered as somebody who was right", async () => {
    const { manual, known } = bench();
    const boss = new Known(ADMIN, [ADMIN.credential]);
    known.remember("k", boss);
    await manual.advance(4_999);
    expect(known.fresh("k")).toBe(boss);
    await manual.advance(1);
    expect(known.fresh("k")).toBeUndefined();
    expect(known.has("k")).toBe(true);
    known.remember("k", boss);
    expect(known.fresh("k")).toBe(boss);
    known.forget("k");
    expect(known.has("k")).toBe(false);
    expect(known.fresh("other")).toBeUndefined();
  });

  test("is not known past their time", async () => {
    const { manual, known } = bench();
    known.remember("k", new Known({ ...ADMIN, expiresAtMs: manual.ports.clock.now() + 10 }, []));
    await manual.advance(9);
    expect(known.fresh("k")).toBeDefined();
    await manual.advance(1);
    expect(known.fresh("k")).toBeUndefined();
  });

  test("is looked at anew when something of theirs ended, and nobody else is", () => {
    const { known } = bench();
    known.remember("a", new Known(ADMIN, ["one", undefined]));
    known.remember("b", new Known(ADMIN, ["two", "one"]));
    known.remember("c", new Known(ADMIN, ["two"]));
    expect(known.endings).toBe(0);
    known.end("one");
    expect(["a", "b", "c"].map((key) => known.fresh(key) !== undefined)).toStrictEqual([false, false, true]);
    known.end(undefined);
    expect(known.fresh("c")).toBeUndefined();
    expect(known.endings).toBe(2);
  });

  test("is told from whoever ended meanwhile", () => {
    const { known } = bench();
    known.end("one");
    const before = known.endings;
    expect(known.endedSince(before, ["one"])).toBe(false);
    known.end("two");
    expect(known.endedSince(before, ["one"])).toBe(false);
    expect(known.endedSince(before, ["one", "two"])).toBe(true);
    expect(known.endedSince(before - 1, ["one"])).toBe(true);
    known.end(undefined);
    expect(known.endedSince(before, ["one"])).toBe(true);
    const later = known.endings;
    for (let count = 0; count < 1_000; count += 1) known.end("others");
    expect(known.endedSince(later, ["one"])).toBe(false);
    known.end("others");
    expect(known.endedSince(later, ["one"])).toBe(true);
  });

  test("is forgotten for others where there are too many", () => {
    const { known } = bench();
    for (let count = 0; count < 10_001; count += 1) known.remember(`k${count}`, new Known(ADMIN, []));
    expect(known.size).toBe(10_000);
    expect(known.has("k0")).toBe(false);
    expect(known.has("k1")).toBe(true);
    known.remember("k1", new Known(ADMIN, []));
    expect(known.size).toBe(10_000);
  });

  test("has sessions, which are known by what they were begun with until they run out", async () => {
    const { manual, known } = bench();
    const untilMs = manual.ports.clock.now() + 1_000;
    for (let count = 0; count < 1_000; count += 1) {
      known.remember(`k${count}`, new Known({ ...ADMIN, expiresAtMs: untilMs }, [`session:${count}`, "parent"]));
    }
    known.remember("k", new Known(ADMIN, ["session:x", "other"]));
    known.forget("k");
    expect(known.sessionsOf("parent")).toHaveLength(1_000);
    expect(known.sessionsOf("other")).toStrictEqual(["session:x"]);
    await manual.advance(1_000);
    known.remember("k", new Known(ADMIN, ["session:x", "other"]));
    expect(known.sessionsOf("parent")).toHaveLength(1_000);
    known.remember("k", new Known(ADMIN, ["session:y", "other"]));
    expect(known.sessionsOf("parent")).toStrictEqual([]);
    expect(known.sessionsOf("other")).toStrictEqual(["session:x", "session:y"]);
  });
});
