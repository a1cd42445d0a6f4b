import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { encodeCursor, numberCursor, textCursor } from "./cursor.ts";

describe("cursors", () => {
  test("every key comes back, and only in its own listing", () => {
    fc.assert(
      fc.property(fc.nat(), fc.string(), (number, text) => {
        expect(numberCursor("events", encodeCursor("events", number))).toBe(number);
        expect(textCursor("agents", encodeCursor("agents", text))).toBe(text);
        expect(() => numberCursor("audit", encodeCursor("events", number))).toThrow("does not belong");
        expect(() => numberCursor("events", encodeCursor("events", text))).toThrow("does not belong");
      }),
    );
    expect(numberCursor("events", undefined)).toBeUndefined();
  });

  test("whatever a stranger sends is refused as INVALID_CURSOR and nothing else", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.base64String(),
          fc.json().map((json) => Buffer.from(json).toString("base64url")),
        ),
        (cursor) => {
          try {
            numberCursor("events", cursor);
            return false;
          } catch (error) {
            return error instanceof Error && "code" in error && error.code === "INVALID_CURSOR";
          }
        },
      ),
    );
  });
});
