import { describe, expect, test } from "bun:test";
import { resolvePlain, resolveTagged, scalarKey, scalarValue } from "./scalars.ts";

// What kubectl says about all of these, and thousands more, is tested against kubectl itself in tests/manifests.
describe("plain scalars", () => {
  const values: readonly (readonly [string, unknown])[] = [
    ["0644", 420],
    ["0o644", 420],
    ["08", 8],
    ["0x1F", 31],
    ["0b101", 5],
    ["-0x1F", -31],
    ["0b-11", -3],
    ["+1", 1],
    ["1_000", 1000],
    [".1_0", 0.1],
    ["1.", 1],
    ["1.0", 1],
    ["1e3", 1000],
    ["-0", 0],
    ["1e400", "1e400"],
    ["9007199254740993", 9007199254740993n],
    ["18446744073709551616", 18446744073709552000],
    ["12:30", "12:30"],
    ["2001-12-14", "2001-12-14"],
    ["y", true],
    ["No", false],
    ["oN", "oN"],
    ["~", null],
    ["", null],
    ["nULL", "nULL"],
    ["<<", "<<"],
    ["1.2.3", "1.2.3"],
    ["500m", "500m"],
  ];
  for (const [text, value] of values)
    test(`${JSON.stringify(text)} is ${typeof value === "bigint" ? `${value}` : JSON.stringify(value)}`, () => {
      expect(scalarValue(resolvePlain(text))).toBe(value as string);
    });

  test("infinity and NaN have no value in JSON", () => {
    for (const text of [".inf", "-.Inf", "+.INF", ".NaN"]) expect(scalarValue(resolvePlain(text))).toBeUndefined();
  });
});

describe("keys", () => {
  const keys: readonly (readonly [string, string | undefined])[] = [
    ["0644", "420"],
    ["yes", "true"],
    ["1.5", "1.5"],
    ["1.0", "1"],
    ["1234567.0", "1.234567e+06"],
    ["0.1", "0.1"],
    ["3.14159265358979", "3.1415927"],
    ["0.00001", "1e-05"],
    ["1e39", ".inf"],
    ["-.inf", "-.inf"],
    [".nan", ".nan"],
    ["a b", "a b"],
    ["~", undefined],
    ["18446744073709551615", undefined],
  ];
  for (const [text, key] of keys)
    test(`${text} becomes ${key ?? "nothing"}`, () => {
      expect(scalarKey(resolvePlain(text))).toBe(key);
    });
});

describe("tags", () => {
  const tag = (name: string): string => `tag:yaml.org,2002:${name}`;
  test("make what they say, or say why not", () => {
    expect(resolveTagged(tag("str"), "12")).toEqual({ type: "string", value: "12" });
    expect(resolveTagged(tag("int"), "0x1F")).toEqual({ type: "int", value: 31n });
    expect(resolveTagged(tag("float"), "3")).toEqual({ type: "float", value: 3 });
    expect(resolveTagged(tag("binary"), "aGVs\nbG8=")).toEqual({ type: "string", value: "hello" });
    expect(resolveTagged(tag("timestamp"), "2001-02-28")).toEqual({ type: "string", value: "2001-02-28" });
    expect(resolveTagged("!local", "12")).toEqual({ type: "string", value: "12" });
    for (const [name, text] of [
      ["int", "1.5"],
      ["bool", "1"],
      ["null", "x"],
      ["float", "18446744073709551615"],
      ["binary", "a"],
      ["binary", "/w=="],
      ["timestamp", "2001-02-29"],
    ] as const)
      expect(resolveTagged(tag(name), text).type).toBe("fault");
  });
});
