import { describe, expect, test } from "bun:test";
import { misfitOf } from "./json-patch.ts";

const OBJECT = { kind: "ConfigMap", data: { "a/b": "1", "c~d": "2" }, list: [{ name: "x" }, { name: "y" }] };

describe("a JSON patch", () => {
  test("that fits has nothing to say, in every operation there is", () => {
    const before = structuredClone(OBJECT);
    const operations = [
      { op: "test", path: "/data/a~1b", value: "1" },
      { op: "test", path: "/list", value: [{ name: "x" }, { name: "y" }] },
      { op: "replace", path: "/data/c~0d", value: "3" },
      { op: "add", path: "/list/-", value: { name: "z" } },
      { op: "add", path: "/list/1", value: { name: "w" } },
      { op: "test", path: "/list/3/name", value: "z" },
      { op: "copy", from: "/list/0", path: "/list/0" },
      { op: "move", from: "/data/a~1b", path: "/data/moved" },
      { op: "remove", path: "/list/0" },
      { op: "test", path: "/data", value: { moved: "1", "c~d": "3" } },
    ];
    expect(misfitOf(OBJECT, operations, false)).toBeUndefined();
    expect(OBJECT).toEqual(before);
  });

  test.each([
    [{ op: "remove", path: "/data/none" }, "operation 1 (remove /data/none): the object has nothing at /data/none"],
    [{ op: "replace", path: "/none/deep", value: 1 }, "operation 1 (replace /none/deep): the object has nothing at /none"],
    [{ op: "add", path: "/list/4", value: 1 }, "operation 1 (add /list/4): /list has 2 items, and no place 4"],
    [{ op: "remove", path: "/list/-" }, "operation 1 (remove /list/-): /list has 2 items, and no -"],
    [{ op: "add", path: "/kind/x", value: 1 }, "operation 1 (add /kind/x): there is nothing to put x into at /kind"],
    [{ op: "copy", from: "/gone", path: "/data/x" }, "operation 1 (copy /data/x): the object has nothing at /gone"],
    [{ op: "test", path: "/kind", value: "Secret" }, 'operation 1 (test /kind): there is "ConfigMap", not "Secret"'],
    [{ op: "remove", path: "/__proto__" }, "operation 1 (remove /__proto__): the object has nothing at /__proto__"],
  ])("%j does not fit", (operation, why) => {
    expect(misfitOf(OBJECT, [operation], false)).toBe(why);
  });

  test("that doubles what it copies is stopped, as the API server stops it", () => {
    const doubling = Array.from({ length: 10_000 }, () => ({ op: "copy", from: "/list", path: "/list/-" }));
    expect(misfitOf(OBJECT, doubling, false)).toMatch(
      /^operation \d\d \(copy \/list\/-\): the patch copies more than 3145728 characters in all$/,
    );
  });

  test("that goes deeper than any object is stopped, too", () => {
    const deeper: { op: string; from: string; path: string }[] = [];
    for (let path = "/a"; path.length < 100_000; path += path) deeper.push({ op: "copy", from: "/a", path: `${path}/a` });
    expect(misfitOf({ a: {} }, deeper, false)).toMatch(/^operation 12 \(copy (\/a){150}\): the object has nothing so deep$/);
  });

  test("shows no value where none may be seen", () => {
    expect(misfitOf({ data: { word: "hidden" } }, [{ op: "test", path: "/data/word", value: "guess" }], true)).toBe(
      "operation 1 (test /data/word): the value is another",
    );
  });
});
