import { describe, expect, test } from "bun:test";
import { formatPointer, indexOf, parsePointer, pointerProblem } from "./pointer.ts";

describe("JSON pointers", () => {
  // The examples of RFC 6901, section 5, but for the empty one, which is the whole document.
  test.each([
    ["/foo", ["foo"]],
    ["/foo/0", ["foo", "0"]],
    ["/", [""]],
    ["/a~1b", ["a/b"]],
    ["/c%d", ["c%d"]],
    ["/e^f", ["e^f"]],
    ["/g|h", ["g|h"]],
    ["/i\\j", ["i\\j"]],
    ['/k"l', ['k"l']],
    ["/ ", [" "]],
    ["/m~0n", ["m~n"]],
    ["/~01", ["~1"]],
  ])("%s", (pointer, path) => {
    expect(pointerProblem(pointer)).toBeUndefined();
    expect(parsePointer(pointer)).toEqual(path);
    expect(formatPointer(path)).toBe(pointer);
  });

  test("what is none, or names which object it is, has a problem", () => {
    for (const pointer of ["", "spec", "#/spec", "/a~", "/a~2b"]) expect(pointerProblem(pointer)).toBe("is not a JSON pointer");
    for (const pointer of ["/apiVersion", "/kind", "/metadata", "/metadata/name", "/metadata/namespace"])
      expect(pointerProblem(pointer)).toBe("names which object it is");
    expect(pointerProblem("/metadata/labels")).toBeUndefined();
  });

  test("an index is a number without leading zeros, inside the list", () => {
    expect(["0", "2", "3", "00", "-", "-1", "1e0", ""].map((token) => indexOf(token, 3))).toEqual([0, 2, ...Array(6).fill(undefined)]);
  });
});
