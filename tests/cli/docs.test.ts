import { expect, test } from "bun:test";
import { CODES } from "../../src/protocol/mod.ts";
import { EXIT } from "../../src/cli/exit.ts";
import { CLI_PAGE, expectedPage } from "../support/cli-reference.ts";

test("docs/cli.md says every command and flag as they are (UPDATE_DOCS=1 writes it anew)", async () => {
  const before = await Bun.file(CLI_PAGE).text();
  if (process.env["UPDATE_DOCS"] === "1") await Bun.write(CLI_PAGE, await expectedPage(before));
  const page = await Bun.file(CLI_PAGE).text();
  const words = (text: string): string => text.replace(/\s+/g, " ").trim();
  expect(words(page)).toBe(words(await expectedPage(page)));
});

test("docs/cli.md says every exit code", async () => {
  const page = await Bun.file(CLI_PAGE).text();
  const documented = [...page.matchAll(/^\| (\d+) +\| \S/gm)].map((match) => Number(match[1]));
  expect(documented).toEqual(Object.values(EXIT));
  for (const { kind } of Object.values(CODES)) expect(EXIT[kind]).toBeNumber();
});
