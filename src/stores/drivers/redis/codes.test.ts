import { expect, test } from "bun:test";
import fc from "fast-check";
import { keyOf, luaJson, splitKey } from "./codes.ts";

test("a key gives back its tenant and id, whatever characters they have", () => {
  const text = fc.array(fc.constantFrom("a", "é", ":", "1", "2", "😀", "\n", "中", " ")).map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, text, (tenant, id) => {
      expect(splitKey(keyOf(tenant, id))).toEqual({ tenant, id });
    }),
  );
});

test("no two tenants and ids make the same key", () => {
  expect(keyOf("a", "b:c")).not.toBe(keyOf("a:b", "c"));
  expect(keyOf("a", "1:b:c")).not.toBe(keyOf("a:1:b", "c"));
});

test("half a character is none for Lua, and a text that only looks like one stays as it is", () => {
  expect(luaJson(["\ud800", "\ude00x", "😀"])).toBe('["\\ufffd","\\ufffdx","😀"]');
  expect(luaJson(["\\ud800", "\\\ud800"])).toBe('["\\\\ud800","\\\\\\ufffd"]');
});
