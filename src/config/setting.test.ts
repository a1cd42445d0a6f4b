import { describe, expect, test } from "bun:test";
import { bytesOr, choiceOr, durationOr, formatBytes, integerOr, list, pairs, splitCommas, text, toggle } from "./setting.ts";

const any = { describe: "x" };

test("sizes are read with and without unit, and only within their bounds", () => {
  const size = bytesOr(1024, { ...any, min: 1024, max: 2 ** 30 });
  const read = (raw: unknown): unknown => {
    const answer = size.read([raw]);
    return answer.ok ? answer.value : answer.allowed;
  };
  expect(read("32MiB")).toBe(33_554_432);
  expect(read("32mb")).toBe(32_000_000);
  expect(read("1.5KiB")).toBe(1536);
  expect(read("2048")).toBe(2048);
  expect(read(4096)).toBe(4096);
  expect(read("1Gi")).toBe(2 ** 30);
  for (const bad of ["", "MiB", "-1", "1000", "2GiB", "32 M iB", "0x20", {}, null])
    expect(read(bad)).toBe("a size from 1KiB to 1GiB, such as 32MiB");
});

test("durations need their unit, in a file too", () => {
  const wait = durationOr(30_000, { ...any, min: 1000, max: 3_600_000 });
  expect(wait.read(["1m30s"])).toEqual({ ok: true, value: 90_000 });
  expect(wait.read(["1.5s"])).toEqual({ ok: true, value: 1500 });
  for (const bad of [30, "30", "", "1d", "-5s", "2h", "999ms", true]) expect(wait.read([bad]).ok).toBe(false);
  expect(wait.defaultText).toBe("30s");
});

test("whole numbers are whole, decimal and bounded", () => {
  const port = integerOr(8080, { ...any, min: 0, max: 65_535 });
  expect(port.read(["0"])).toEqual({ ok: true, value: 0 });
  expect(port.read([9090])).toEqual({ ok: true, value: 9090 });
  for (const bad of ["65536", "-1", "1e3", "80.5", "", " ", "tcp://10.0.0.1:80", "0x50", null, []]) expect(port.read([bad]).ok).toBe(false);
});

test("switches take the words of Go and of people, and nothing else", () => {
  const on = toggle(false, any);
  for (const yes of ["true", "TRUE", "t", "1", "yes", "on", true, 1]) expect(on.read([yes])).toEqual({ ok: true, value: true });
  for (const no of ["false", "F", "0", "no", "off", false, 0]) expect(on.read([no])).toEqual({ ok: true, value: false });
  for (const bad of ["", "maybe", "2", null, {}]) expect(on.read([bad]).ok).toBe(false);
});

test("of several mentions of one value the last counts", () => {
  expect(text(any).read(["a", "b"])).toEqual({ ok: true, value: "b" });
});

describe("lists", () => {
  test("gather repeated flags, commas, quotes and YAML lists in order", () => {
    const files = list(any);
    expect(files.read(["a,b", "c"])).toEqual({ ok: true, value: ["a", "b", "c"] });
    expect(files.read(['"a,b", c'])).toEqual({ ok: true, value: ["a,b", "c"] });
    expect(files.read([["a", "b"]])).toEqual({ ok: true, value: ["a", "b"] });
    for (const bad of ["a,,b", ",", "", '"open', [["nested"]]]) expect(files.read([bad]).ok).toBe(false);
  });

  test("commas split as 0.1's flags did", () => {
    expect(splitCommas("a")).toEqual(["a"]);
    expect(splitCommas('"say ""hi""",b')).toEqual(['say "hi"', "b"]);
    expect(splitCommas('a "b')).toEqual(['a "b']);
    expect(splitCommas('"a"b')).toBeUndefined();
  });
});

test("pairs keep equal signs in values and treat __proto__ as a key like any other", () => {
  const labels = pairs(any);
  const read = labels.read(["a=1,b=x=y", "__proto__=z"]);
  expect(read.ok && Object.entries(read.value)).toEqual([
    ["a", "1"],
    ["b", "x=y"],
    ["__proto__", "z"],
  ]);
  expect(labels.read([{ team: "shop", tier: 1 }])).toMatchObject({ ok: true });
  for (const bad of ["a", "=1", { a: {} }]) expect(labels.read([bad]).ok).toBe(false);
});

test("a choice says what may be chosen, and what was probably meant", () => {
  const read = choiceOr("http", ["http", "memphis"], any).read(["memhpis"]);
  expect(read).toEqual({ ok: false, allowed: "http, memphis. Did you mean memphis?" });
});

test("sizes are written as people would write them", () => {
  expect([1, 1023, 1024, 33_554_432, 2 ** 30, 1025].map(formatBytes)).toEqual(["1", "1023", "1KiB", "32MiB", "1GiB", "1025"]);
});
