import { expect, test } from "bun:test";
import { createLogger, type Logger } from "./log.ts";
import { REDACTED } from "./redact.ts";

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
