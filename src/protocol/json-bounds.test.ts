import { describe, expect, test } from "bun:test";
import { checkEvent, JsonBounds, jsonProblem, LIMITS, parseJson } from "./mod.ts";

const limits = { depth: 4, values: 10 };
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const whole = (text: string): string | undefined => new JsonBounds(limits).add(bytes(text));

describe("the bounds of a JSON text", () => {
  test.each([
    "[[[[1]]]]",
    "[1,2,3,4,5,6,7,8]",
    '{"a":{"b":{"c":[]}}}',
    '["[[[[[[","{{{{{{",",,,,,,,,,,,,,"]',
    '["\\"[[[[[[\\\\"]',
    "[][][][][]",
    "1".repeat(1_024),
    " ".repeat(5_000),
    `"${"1".repeat(5_000)}"`,
  ])("%s is within them", (text) => {
    expect(whole(text)).toBeUndefined();
  });

  test.each([
    ["[[[[[1]]]]]", "deeper than 4"],
    ['{"a":{"b":{"c":{"d":{}}}}}', "deeper than 4"],
    ["[1,2,3,4,5,6,7,8,9,10]", "more than 10"],
    ["[[],[],[],[],[]]", "more than 10"],
    ["[][][][][][][][][][]", "more than 10"],
    ["1".repeat(1_025), "longer than 1024"],
    [`[${"x".repeat(1_025)}`, "longer than 1024"],
    ["1".repeat(1_025), "longer than 1024"],
    [`[${"x".repeat(1_025)}`, "longer than 1024"],
    // The string ends before what follows it.
    ['["\\\\",[[[[', "deeper than 4"],
  ])("%s is not", (text, why) => {
    expect(whole(text)).toContain(why);
  });

  test("a string that is cut anywhere is a string all the same", () => {
    const text = '["\\"[[[[[\\\\","x,,,,,,,,,,,"]';
    for (let cut = 0; cut <= text.length; cut += 1) {
      const bounds = new JsonBounds(limits);
      expect([bounds.add(bytes(text.slice(0, cut))), bounds.add(bytes(text.slice(cut)))]).toEqual([undefined, undefined]);
    }
    const late = new JsonBounds(limits);
    expect([late.add(bytes("[[[")), late.add(bytes("[["))]).toEqual([undefined, "the JSON nests deeper than 4 levels"]);
  });

  test("a short text is not looked at, a longer one is", () => {
    expect(jsonProblem("[".repeat(LIMITS.jsonFreeBytes), limits)).toBeUndefined();
    const long = "[".repeat(LIMITS.jsonFreeBytes + 1);
    expect(jsonProblem(long, limits)).toContain("deeper");
    expect(() => parseJson(long, limits)).toThrow("deeper than 4");
    expect(parseJson(`${" ".repeat(LIMITS.jsonFreeBytes)}[1]`, limits)).toEqual([1]);
    expect(() => parseJson("[", limits)).toThrow(SyntaxError);
  });
});

test("a refusal shows as much of the sender's names as a message has room for", () => {
  const name = "k".repeat(100_000);
  const event = { id: "x", type: "k8s_resource", target_agent: "a", payload: { manifests: ["a"] } };
  for (const input of [
    { ...event, labels: { [name]: 5 } },
    { ...event, [name]: { [name]: JSON.parse('{"__proto__":1}') as unknown } },
    { ...event, payload: { policy_rules: [{ parameters: { [name]: 5 } }] } },
  ]) {
    const checked = checkEvent(input);
    if (checked.ok) throw new Error("it was taken");
    expect(checked.message.length + (checked.pointer?.length ?? 0)).toBeLessThan(2_000);
  }
});
