import { expect, test } from "bun:test";
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
