import { describe, expect, test } from "bun:test";
import { createLogger, REDACTED, redact, redactText } from "./mod.ts";

describe("redaction", () => {
  test.each([
    ["Authorization: Bearer abcdefghijkl", `Authorization: Bearer ${REDACTED}`],
    ["redis://user:hunter22@host:6379/0", `redis://user:${REDACTED}@host:6379/0`],
    ["token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl end", `token ${REDACTED} end`],
    ["-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----", REDACTED],
    ["nothing to hide", "nothing to hide"],
  ])("of %j", (text, expected) => {
    expect(redactText(text)).toBe(expected);
  });

  test("goes by field names at any depth and leaves the rest", () => {
    expect(redact({ redisPassword: "x", nested: [{ api_key: "y", name: "z" }], tokenCount: undefined, empty: { password: "" } })).toEqual({
      redisPassword: REDACTED,
      nested: [{ api_key: REDACTED, name: "z" }],
      tokenCount: undefined,
      empty: { password: "" },
    });
  });

  test("keeps the causes of errors readable without their secrets", () => {
    const error = new Error("outer", { cause: new Error("dial redis://a:secret1@h failed") });
    expect(redact({ error })).toEqual({
      error: { name: "Error", message: "outer", cause: { name: "Error", message: `dial redis://a:${REDACTED}@h failed` } },
    });
  });
});

describe("the log", () => {
  const lines: string[] = [];
  const make = (format: "text" | "json", debug = false) =>
    createLogger({ format, debug, color: false, write: (line) => lines.push(line), now: () => 1_770_000_000_000 });

  test("writes one JSON object a line with the message word for word", () => {
    lines.length = 0;
    make("json").with({ agent_id: "a" }).info("Agent connected", { cluster: "c", token: "t" });
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      { time: "2026-02-02T02:40:00.000Z", level: "info", message: "Agent connected", agent_id: "a", cluster: "c", token: REDACTED },
    ]);
  });

  test("cannot be made to forge a line or move a terminal's cursor", () => {
    lines.length = 0;
    make("text").warn("Frame is not JSON", { event_id: "a\n12:00:00 INFO forged \u001b[2J" });
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toMatch(/[\u0000-\u001f]/);
  });

  test("says debug lines only when asked", () => {
    lines.length = 0;
    make("json").debug("quiet");
    make("json", true).debug("loud");
    expect(lines).toHaveLength(1);
  });
});
