import { describe, expect, test } from "bun:test";
import { TransporterError } from "../kit/mod.ts";
import { readPatch } from "./patch-text.ts";

function refusal(text: string, kind: "merge" | "json" | "strategic"): string {
  try {
    readPatch(text, kind, "patches[0] (Deployment web)");
  } catch (error) {
    if (error instanceof TransporterError && error.code === "INVALID_PATCH")
      return error.message.replace("patches[0] (Deployment web): ", "");
    throw error;
  }
  throw new Error("it was not refused");
}

describe("the text of a patch", () => {
  test("is YAML or JSON with kubectl's meaning of scalars, and large numbers stay exact", () => {
    expect(readPatch("spec: {replicas: 0644, on: yes, time: 12:30, big: 9007199254740993}", "merge", "p").body).toBe(
      '{"spec":{"replicas":420,"true":true,"time":"12:30","big":9007199254740993}}',
    );
    expect(readPatch('{"spec": {"replicas": 3}}', "strategic", "p").value).toEqual({ spec: { replicas: 3 } });
    expect(readPatch("- {op: replace, path: /spec/replicas, value: 3}\n", "json", "p").body).toBe(
      '[{"op":"replace","path":"/spec/replicas","value":3}]',
    );
  });

  test.each([
    ["", "merge", "the patch is empty"],
    ["a: 1\n---\nb: 2\n", "merge", "the patch has 2 documents"],
    ["[]", "merge", "a merge patch is a mapping of what is to be changed"],
    ["word", "strategic", "a strategic patch is a mapping of what is to be changed"],
    ["a: 1", "json", "a JSON patch is a list of operations"],
    ["[]", "json", "the JSON patch has no operation"],
    ["[1]", "json", "operation 1 is not an object with op and path"],
    ["[{op: set, path: /a}]", "json", 'operation 1 has the op "set", and there are add, remove, replace, move, copy and test'],
    ["[{op: remove, path: a}]", "json", "operation 1 (remove) has a path that is not a JSON pointer, like /spec/replicas"],
    ["[{op: remove, path: /a~2}]", "json", "operation 1 (remove) has a path that is not a JSON pointer, like /spec/replicas"],
    ["[{op: add, path: /a}]", "json", "operation 1 (add /a) has no value"],
    ["[{op: move, path: /a}]", "json", "operation 1 (move /a) has a from that is not a JSON pointer"],
  ] as const)("%j as %s is refused", (text, kind, why) => {
    expect(refusal(text, kind)).toBe(why);
  });

  test("that is broken says where", () => {
    expect(refusal("a: [1", "merge")).toMatch(/^the patch cannot be read: line \d+, column \d+: /);
    expect(refusal("a: 1\na: 2", "merge")).toContain("line 2");
  });

  test("is bounded", () => {
    const operations = Array.from({ length: 10_001 }, () => ({ op: "remove", path: "/a" }));
    expect(refusal(JSON.stringify(operations), "json")).toBe("the JSON patch has 10001 operations, and 10000 are the most");
    expect(refusal(`a: ${"x".repeat(256 * 1024)}`, "merge")).toBe("the patch has 262147 characters, and 262144 are the most");
    expect(refusal(JSON.stringify({ a: "x".repeat(3 * 1024 * 1024) }), "merge")).toContain("characters, and 3145728 are the most");
    expect(readPatch('[{"op":"add","path":"/a","value":9007199254740993}]', "json", "p").body).toContain("9007199254740993");
  });
});
