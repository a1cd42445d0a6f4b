import { describe, expect, test } from "bun:test";
import { choiceOr, integer, list, text, toggle } from "../config/mod.ts";
import { type ParsedArgs, parseArgs } from "./argv.ts";

const COMMAND = {
  settings: {
    manifest: list({ describe: "m", short: "m" }),
    filename: list({ describe: "f", short: "f", aliases: ["file"] }),
    recursive: toggle(false, { describe: "R", short: "R" }),
    watch: toggle(false, { describe: "w", short: "w" }),
    wait: toggle(true, { describe: "wait" }),
    priority: integer({ describe: "p", min: -5, max: 5 }),
    output: choiceOr("table", ["table", "json"], { describe: "o", short: "o" }),
    "cp-url": text({ describe: "u" }),
    "no-headers": toggle(false, { describe: "n" }),
  },
  positional: { name: "EVENT", describe: "ids", min: 0, max: 2 },
} as const;

const parse = (...args: string[]): ParsedArgs => parseArgs(args, COMMAND, "transporter x");
const raws = (...args: string[]): Record<string, readonly string[]> =>
  Object.fromEntries([...parse(...args).flags].map(([name, { raws: values }]) => [name, values]));

describe("flags", () => {
  test("are read in every form that pflag had", () => {
    expect(raws("--manifest", "a", "--manifest=b", "-m", "c", "-md", "-m=e")).toEqual({ manifest: ["a", "b", "c", "d", "e"] });
    expect(raws("--manifest=a,b", "--cp-url=http://x/?a=b")).toEqual({ manifest: ["a,b"], "cp-url": ["http://x/?a=b"] });
    expect(raws("-wR")).toEqual({ watch: ["true"], recursive: ["true"] });
    expect(raws("-wRfx")).toEqual({ watch: ["true"], recursive: ["true"], filename: ["x"] });
    expect(raws("-f", "-")).toEqual({ filename: ["-"] });
    expect(raws("--priority", "-5")).toEqual({ priority: ["-5"] });
    expect(raws("--cp-url=")).toEqual({ "cp-url": [""] });
  });

  test("of yes and no are never mistaken", () => {
    expect(raws("--wait=off")).toEqual({ wait: ["off"] });
    expect(raws("--wait=false")).toEqual({ wait: ["false"] });
    expect(raws("--no-wait")).toEqual({ wait: ["false"] });
    expect(raws("--no-headers")).toEqual({ "no-headers": ["true"] });
    expect(raws("-w=false")).toEqual({ watch: ["false"] });
    expect(() => parse("--no-wait=true")).toThrow("takes no value");
    expect(() => parse("--no-manifest")).toThrow("unknown flag --no-manifest");
  });

  test("that are aliases count as the same flag", () => {
    expect(raws("--file", "a", "-f", "b", "--filename=c")).toEqual({ filename: ["a", "b", "c"] });
  });

  test("that nobody knows are refused, with the likely one", () => {
    expect(() => parse("--manfest", "a")).toThrow('unknown flag --manfest for "transporter x". Did you mean --manifest?');
    expect(() => parse("--cp_url", "a")).toThrow("Did you mean --cp-url?");
    expect(() => parse("-z")).toThrow("unknown flag -z");
    expect(() => parse("-manifest", "a", "-q")).toThrow();
    expect(() => parse("-priority", "3")).toThrow("Did you mean --priority?");
    expect(() => parse("--__proto__=1")).toThrow("unknown flag --__proto__");
    expect(() => parse("--constructor")).toThrow("unknown flag --constructor");
  });

  test("that lack their value say so instead of taking the next flag", () => {
    expect(() => parse("--manifest")).toThrow("flag --manifest needs a value");
    expect(() => parse("--manifest", "--wait")).toThrow("flag --manifest needs a value");
    expect(() => parse("-m")).toThrow("flag -m needs a value");
    expect(() => parse("--cp-url", "--")).toThrow("needs a value");
  });
});

describe("arguments", () => {
  test("may stand anywhere, and after -- are never flags", () => {
    expect(parse("a", "-w", "b").positionals).toEqual(["a", "b"]);
    expect(parse("--", "--wait", "-x").positionals).toEqual(["--wait", "-x"]);
  });
  test("too many are refused, and a value that was meant for a switch is recognised", () => {
    expect(() => parse("a", "b", "c")).toThrow('unexpected argument "c"');
    expect(() => parse("a", "b", "--wait", "false")).toThrow("Did you mean --wait=false?");
  });
  test("too few, empty or unknown ones are refused", () => {
    const one = { ...COMMAND, positional: { ...COMMAND.positional, min: 1, max: 1, choices: ["bash", "zsh"] } };
    expect(() => parseArgs([], one, "x")).toThrow("needs EVENT");
    expect(() => parseArgs([""], one, "x")).toThrow("EVENT is empty");
    expect(() => parseArgs(["bsh"], one, "x")).toThrow("Did you mean bash?");
  });
});

test("help wins wherever it stands, even with the rest incomplete", () => {
  expect(parse("-h").help).toBe(true);
  expect(parse("a", "b", "c", "--help").help).toBe(true);
  expect(parse("-wh").help).toBe(true);
  expect(parse("--", "--help").help).toBe(false);
});
