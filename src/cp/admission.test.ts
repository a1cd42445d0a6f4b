import { describe, expect, test } from "bun:test";
import { manualPorts } from "../kit/mod.ts";
import { Admission, Turns } from "./admission.ts";

describe("Admission", () => {
  test("lets a burst in, then so many a second, and tells the others when to come again, each another time", async () => {
    let turn = 0;
    const manual = manualPorts({ random: () => (turn += 0.1) % 1 });
    const admission = new Admission(manual.ports, { atOnce: 100, perSecond: 10, burst: 5 });
    const ask = (times: number): { readonly let: number; readonly later: number[] } => {
      const answers = Array.from({ length: times }, () => admission.admit());
      return {
        let: answers.filter((answer) => answer === undefined).length,
        later: answers.flatMap((answer) => (answer === undefined ? [] : [answer.retryAfterMs])),
      };
    };
    const first = ask(15);
    expect(first.let).toBe(5);
    expect(new Set(first.later).size).toBe(10);
    expect(Math.min(...first.later)).toBeGreaterThanOrEqual(1_000);
    await manual.advance(300);
    expect(ask(15).let).toBe(3);
    await manual.advance(3_600_000);
    expect(ask(15).let).toBe(5);
  });

  test("lets nobody in while too many registrations are on their way to the disk", () => {
    const { ports } = manualPorts();
    const admission = new Admission(ports, { atOnce: 2, perSecond: 1000, burst: 1000 });
    admission.began();
    expect(admission.admit()).toBeUndefined();
    admission.began();
    expect(admission.admit()).toHaveProperty("retryAfterMs");
    admission.ended();
    expect(admission.admit()).toBeUndefined();
  });
});

describe("turns", () => {
  test("so many at a time, the last to come first, and whoever left is passed over", async () => {
    const turns = new Turns(2);
    const called: string[] = [];
    const people = new Map(["a", "b", "c", "d", "e"].map((name) => [name, { name }]));
    const take = (name: string): void => {
      void turns.take(people.get(name) ?? {}).then((inTime) => called.push(`${name} ${inTime}`));
    };
    for (const name of people.keys()) take(name);
    await Promise.resolve();
    await Promise.resolve();
    expect(called).toEqual(["a true", "b true"]);
    turns.leave(people.get("d") ?? {});
    turns.give();
    turns.give();
    await Promise.resolve();
    await Promise.resolve();
    expect(called).toEqual(["a true", "b true", "d false", "e true", "c true"]);
    turns.give();
    turns.give();
    take("a");
    await Promise.resolve();
    await Promise.resolve();
    expect(called.at(-1)).toBe("a true");
  });
});
