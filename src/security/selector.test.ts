import { describe, expect, test } from "bun:test";
import { systemPorts, TransporterError } from "../kit/mod.ts";
import { checkLabels, MAX_SELECTOR_CHARS, parseSelector, selects } from "./selector.ts";

const LABELS = { site: "north", tier: "edge", empty: "", size: "12", above: "+5", below: "-5", half: "1.5", "example.com/team": "blue" };

describe("a label selector", () => {
  test.each([
    ["", true],
    ["  ", true],
    ["site=north", true],
    ["site==north", true],
    ["site=south", false],
    [" site = north , tier = edge ", true],
    ["site=north,tier=core", false],
    ["absent=north", false],
    ["site!=south", true],
    ["site!=north", false],
    ["absent!=north", true],
    ["site in (south, north)", true],
    ["site in(south)", false],
    ["site in (south)", false],
    ["absent in (a,b)", false],
    ["site notin (south)", true],
    ["site notin (south,north)", false],
    ["absent notin (a)", true],
    ["site", true],
    ["absent", false],
    ["!absent", true],
    ["!site", false],
    ["! absent,site", true],
    ["empty=", true],
    ["empty=,site", true],
    ["empty in (,a)", true],
    ["empty in (a,)", true],
    ["empty in (,)", true],
    ["empty in (a,,b)", true],
    ["site=", false],
    ["site in (a,)", false],
    ["size>11", true],
    ["size>12", false],
    ["size<13", true],
    ["size<12", false],
    ["size > 9", true],
    ["above>4", true],
    ["above<6", true],
    ["below<0", true],
    ["below>0", false],
    ["half>1", false],
    ["toString in (a)", false],
    ["site>1", false],
    ["absent<1", false],
    ["example.com/team=blue", true],
    ["example.com/team in (blue,red),!site", false],
    ["in in (a)", false],
    ["notin", false],
    ["site in (in,notin,north)", true],
    ["toString", false],
    ["!constructor", true],
    [`!${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(61)}/x`, true],
    ["site\n=\tnorth\r", true],
  ])("%p: %p", (text, expected) => {
    expect(selects(parseSelector(text), LABELS)).toBe(expected);
  });

  test.each([
    ",",
    "a,",
    ",a",
    "a,,b",
    "=a",
    "a=b=c",
    "a b",
    "a=(b)",
    "a in b",
    "a in ()",
    "a in (b",
    "a in (b,",
    "a in (",
    "a in (b c)",
    "a in (b,(c))",
    "a in",
    "a notin",
    "a ! b",
    "!",
    "!!a",
    "!a=b",
    "(a)",
    "a=b)",
    "a>b",
    "a>",
    "a<1.5",
    "a>12345678901234567890",
    "a>+1",
    "__proto__",
    "a===b",
    "a=!b",
    "-a",
    "a-",
    "a/b/c",
    "/a",
    "a/",
    "A.com/x",
    "a..b/x",
    "a_b/x",
    "a=b-",
    "a=*",
    `a=${"b".repeat(64)}`,
    "a".repeat(64),
    `${"a".repeat(64)}/b`,
    `${Array.from({ length: 70 }, () => "abc").join(".")}/b`,
    "ä=b",
  ])("%p is refused", (text) => {
    expect(() => parseSelector(text)).toThrow(TransporterError);
  });

  test("is refused when it is too long, and read quickly when it is as long as may be", () => {
    expect(MAX_SELECTOR_CHARS).toBe(4_096);
    expect(() => parseSelector(`${"a,".repeat(MAX_SELECTOR_CHARS / 2)}a`)).toThrow("characters");
    expect(() => parseSelector(`${"a,".repeat(MAX_SELECTOR_CHARS / 2 - 1)}aa`)).not.toThrow();
    const nasty = ["(", "!", "=", "a ", " ", "a,", "a in (", "a in (,", "a=b,"];
    const startedMs = systemPorts.clock.monotonic();
    for (const piece of nasty) {
      try {
        parseSelector(piece.repeat(MAX_SELECTOR_CHARS).slice(0, MAX_SELECTOR_CHARS));
      } catch (error) {
        expect(error).toBeInstanceOf(TransporterError);
      }
    }
    expect(systemPorts.clock.monotonic() - startedMs).toBeLessThan(1_000);
  });
});

describe("labels", () => {
  test("are such as a selector can name", () => {
    expect(() => checkLabels({ site: "north", empty: "", "example.com/team": "blue" })).not.toThrow();
    expect(() => checkLabels({ "a b": "c" })).toThrow(TransporterError);
    expect(() => checkLabels({ a: "b c" })).toThrow(TransporterError);
    expect(() => checkLabels(Object.fromEntries(Array.from({ length: 64 }, (_, at) => [`k${at}`, "v"])))).not.toThrow();
    expect(() => checkLabels(Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`k${at}`, "v"])))).toThrow(TransporterError);
  });
});
