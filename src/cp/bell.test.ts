import { expect, test } from "bun:test";
import { Bell } from "./bell.ts";

test("says when the first listener comes and when the last one has gone", () => {
  const bell = new Bell();
  const told: boolean[] = [];
  bell.onFollowed((followed) => told.push(followed));
  const one = bell.listen("e", () => undefined);
  const two = bell.listen("e", () => undefined);
  const all = bell.listen(undefined, () => undefined);
  expect([bell.listeners, told]).toEqual([3, [true]]);
  one();
  one();
  two();
  expect([bell.listeners, told]).toEqual([1, [true]]);
  all();
  expect([bell.listeners, told]).toEqual([0, [true, false]]);
  bell.listen("e", () => undefined);
  expect(told).toEqual([true, false, true]);
});

test("rings those who listen for an event, and those who listen for all", () => {
  const bell = new Bell();
  const rung: string[] = [];
  bell.listen("a", () => rung.push("a"));
  bell.listen("b", () => rung.push("b"));
  bell.listen(undefined, () => rung.push("all"));
  bell.ringFor("a");
  expect(rung).toEqual(["a", "all"]);
  bell.ringAll();
  expect(rung.slice(2).toSorted()).toEqual(["a", "all", "b"]);
});
