import { describe, expect, test } from "bun:test";
import { CODES } from "../../src/protocol/mod.ts";
import { filesOf, prose, readText } from "./markdown.ts";

const PAGE = "docs/troubleshooting.md";
const SOURCES = [...filesOf("src/**/*.ts").filter((path) => !path.endsWith(".test.ts")), ...filesOf("helm/**/templates/*.{tpl,yaml,txt}")];

/** The texts in code that stand first in each row of the page's tables: what somebody searches for. */
function quoted(page: string): string[] {
  return [...prose(page).matchAll(/^\| +`([^`]+)`/gm)].map((match) => match[1] ?? "");
}

/** The parts of a message that never vary. */
function fixedParts(message: string): string[] {
  return message
    .split("…")
    .map((part) => part.trim())
    .filter((part) => /\w{3}/.test(part));
}

/** As the sources write it: what is put together from pieces stands in one line, with something between. */
function isIn(source: string, message: string): boolean {
  const parts = fixedParts(message).map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(parts.join("[^\\n]*")).test(source);
}

/** Lines of /readyz and of an event's log are put together in two places: what it is about, and what is wrong. */
function pieces(message: string): string[] {
  const [, waits, why] = /^(Event waits:) (.+)$/.exec(message) ?? [];
  if (waits !== undefined && why !== undefined) return [waits, why];
  const [, line] = /^\[[-!]\](.+)$/.exec(message) ?? [];
  return line === undefined ? [message] : line.split("…").filter((part) => part.trim() !== "");
}

describe("docs/troubleshooting.md", () => {
  test("quotes messages and codes that the program has", async () => {
    const sources = await Promise.all(SOURCES.map(readText));
    const all = quoted(await readText(PAGE));
    expect(all.length).toBeGreaterThan(50);
    const known = (text: string): boolean =>
      /^[A-Z_]+$/.test(text) ? Object.hasOwn(CODES, text) : sources.some((source) => isIn(source, text));
    const invented = all.filter(
      (text) => fixedParts(text).length === 0 || !pieces(text).every((piece) => fixedParts(piece).length === 0 || known(piece)),
    );
    expect(invented).toEqual([]);
  });

  test("has a heading for each alert of the chart, and none for another", async () => {
    const alerts = new Set<string>();
    for (const path of filesOf("helm/transporter-cp/rules/*.yaml"))
      for (const [, name = ""] of (await readText(path)).matchAll(/^\s+- alert: (\w+)$/gm)) alerts.add(name);
    const headings = [...(await readText(PAGE)).matchAll(/^### (Transporter\w+)$/gm)].map((match) => match[1] ?? "");
    expect(headings.toSorted()).toEqual([...alerts].toSorted());
    expect(alerts.size).toBeGreaterThan(20);
  });
});

describe("the reader of these tests", () => {
  test("finds what is quoted, and tells a message from one that nobody says", () => {
    expect(quoted("| `a …` | b |\n| c | `d` |\n```\n| `e` |\n```")).toEqual(["a …"]);
    const source = 'log.warn("Cannot connect"); throw new E(`the plane at ${url} answered HTTP ${status}`)';
    expect(isIn(source, "the plane at … answered HTTP …")).toBe(true);
    expect(isIn(source, "the plane at … says HTTP …")).toBe(false);
    expect(isIn(source, "Cannot connect")).toBe(true);
    expect(pieces("Event waits: agent … is away")).toEqual(["Event waits:", "agent … is away"]);
    expect(pieces("[-]store … failed")).toEqual(["store ", " failed"]);
  });
});
