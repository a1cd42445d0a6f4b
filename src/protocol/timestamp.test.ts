import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatTimestamp, parseTimestampMs } from "./mod.ts";

test.each([
  ["2026-02-10T10:00:00Z", "2026-02-10T10:00:00.000Z"],
  ["2026-11-22T02:14:57.027312785Z", "2026-11-22T02:14:57.027Z"],
  ["2026-11-22T02:14:57.9+02:00", "2026-11-22T00:14:57.900Z"],
  ["2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000Z"],
])("%s is read", (text, expected) => {
  expect(formatTimestamp(parseTimestampMs(text) ?? Number.NaN)).toBe(expected);
});

test.each([
  "",
  "2026-02-10",
  "2026-02-10 10:00:00Z",
  "2026-02-10T10:00:00",
  "2025-02-29T10:00:00Z",
  "2026-13-01T10:00:00Z",
  "2026-02-10T24:00:00Z",
  "2026-02-10T10:00:00.1234567890Z",
  "10:00",
  "2024-02-29t23:59:59Z",
  "2024-02-29T23:59:59z",
  "2024-02-29T23:59:60Z",
])("%j is none", (text) => {
  expect(parseTimestampMs(text)).toBeUndefined();
});

test("the usual form is read as every other is", () => {
  const padded = (width: number, max: number): fc.Arbitrary<string> => fc.nat(max).map((value) => String(value).padStart(width, "0"));
  const form = fc.tuple(padded(4, 9999), padded(2, 14), padded(2, 33), padded(2, 25), padded(2, 61), padded(2, 61), padded(3, 999));
  fc.assert(
    fc.property(form, ([year, month, day, hour, minute, second, ms]) => {
      const text = `${year}-${month}-${day}T${hour}:${minute}:${second}`;
      const thorough = parseTimestampMs(`${text}.${ms}000000Z`);
      expect(parseTimestampMs(`${text}.${ms}Z`)).toBe(thorough);
      expect(parseTimestampMs(`${text}Z`)).toBe(thorough === undefined ? undefined : thorough - Number(ms));
    }),
    { numRuns: 2_000 },
  );
  for (const broken of [
    "2026-02-10T10:00:00.00Z",
    "2026-02-10T10:00:0 .000Z",
    "2026-02-10T1-:00:00.000Z",
    "2026-02-10T10:00:00,000Z",
    "0026-02-1xT10:00:00.000Z",
  ])
    expect(parseTimestampMs(broken)).toBe(broken === "2026-02-10T10:00:00.00Z" ? Date.UTC(2026, 1, 10, 10) : undefined);
});
