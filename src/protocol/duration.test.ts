import { expect, test } from "bun:test";
import { formatDurationMs, parseGoDuration } from "./mod.ts";

test.each([
  ["24h", 86_400e9],
  ["1h30m", 5_400e9],
  ["1.5h", 5_400e9],
  ["300ms", 3e8],
  ["-1.5s", -1.5e9],
  ["+5s", 5e9],
  ["0", 0],
  ["2µs", 2000],
  ["2us", 2000],
  [".5s", 5e8],
  ["1h1h", 7_200e9],
])("%s is a duration", (text, ns) => {
  expect(parseGoDuration(text)).toBe(ns);
});

// Go's own parser says no to each of these.
test.each(["", "1", "h", "1 h", "1d", "1h30", "--1s", "s1", "1e3s", "9999999h", " 1s", "1s "])("%j is none", (text) => {
  expect(parseGoDuration(text)).toBeUndefined();
});

// It stands in events: a quarter of a megabyte of digits once took minutes.
test.each(["0".repeat(262_144), `${"0".repeat(262_144)}.`, "1.".repeat(131_072), "0s".repeat(131_072) + "0", ".".repeat(262_144)])(
  "a long text that is nearly one is told in no time",
  (text) => {
    const startedNs = Bun.nanoseconds();
    expect(parseGoDuration(text)).toBeUndefined();
    // Minutes, or a moment: what lies between is the machine's.
    expect((Bun.nanoseconds() - startedNs) / 1e6).toBeLessThan(5_000);
  },
);

test.each([
  [0, "0s"],
  [0.5, "500µs"],
  [250, "250ms"],
  [1500, "1.5s"],
  [59_960, "1m"],
  [90_000, "1m30s"],
  [86_400_000, "24h"],
  [-2000, "-2s"],
])("%d ms reads %s", (ms, text) => {
  expect(formatDurationMs(ms)).toBe(text);
});
