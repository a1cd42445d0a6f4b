import { describe, expect, test } from "bun:test";
import { keepSecret, REDACTED } from "../redaction/mod.ts";
import { createLogger, type Logger } from "./log.ts";

function jsonLog(): { readonly log: Logger; readonly lines: string[] } {
  const lines: string[] = [];
  const now = (): number => Date.UTC(2026, 1, 10, 10);
  return { log: createLogger({ format: "json", debug: false, color: false, write: (line) => void lines.push(line), now }), lines };
}

test("a JSON line holds time, level, message and every field, whatever their kind", () => {
  const { log, lines } = jsonLog();
  log
    .with({ agent_id: "a" })
    .warn('Say "hi"\n', { n: 1.5, yes: true, none: null, gone: undefined, list: [1, { a: "b" }], text: 'ä\u0000\n"' });
  expect(lines).toHaveLength(1);
  expect(lines[0]).not.toContain("\n");
  expect(JSON.parse(lines[0] ?? "")).toEqual({
    time: "2026-02-10T10:00:00.000Z",
    level: "warning",
    message: 'Say "hi"\n',
    agent_id: "a",
    n: 1.5,
    yes: true,
    none: null,
    list: [1, { a: "b" }],
    text: 'ä\u0000\n"',
  });
});

test("a field cannot take the place of what the line itself says", () => {
  const { log, lines } = jsonLog();
  log.info("Event status", { message: "of the agent", level: "x", time: 0 });
  const line = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  expect(line).toMatchObject({ message: "Event status", level: "info", message_: "of the agent", level_: "x", time_: 0 });
});

test("secrets stay out, by name and by shape, at any depth", () => {
  const { log, lines } = jsonLog();
  for (let round = 0; round < 2; round += 1)
    log.error("Dial failed", {
      password: "p4ss",
      empty_token: "",
      header: "Bearer abcdefghij",
      error: new Error("cannot reach redis://user:hunter2@host"),
      nested: { api_key: "k3y", url: "https://me:hunter2@x" },
    });
  expect(lines[0]).toBe(lines[1] ?? "");
  for (const secret of ["p4ss", "abcdefghij", "hunter2", "k3y"]) expect(lines[0]).not.toContain(secret);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ password: REDACTED, empty_token: "" });
});

test("debug lines are written only when asked for", () => {
  const { log, lines } = jsonLog();
  log.debug("Event status");
  expect(lines).toEqual([]);
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

  test("shows nothing of a value that was named as a secret, however it is put", () => {
    lines.length = 0;
    using kept = new DisposableStack();
    kept.defer(keepSecret('geh"eim'));
    for (const format of ["json", "text"] as const)
      make(format).error('It failed: geh"eim', { plain: 'a geh"eim b', error: new Error('geh"eim'), deep: { x: ['geh"eim'] }, n: 1 });
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      expect(line).not.toMatch(/geh|eim/);
      expect(line).toContain("It failed");
    }
  });
});
