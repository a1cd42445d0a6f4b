import { expect, test } from "bun:test";
import { readText } from "./markdown.ts";

const page = await readText("docs/delivery.md");

/** The rows of "What holds it": promise, title of the test, file. */
const rows = [...page.matchAll(/^\| (\d+) +\| (.+?) +\| `([^`]+)` +\|$/gm)].map((match) => ({
  promise: Number(match[1]),
  title: match[2] ?? "",
  file: match[3] ?? "",
}));
const promises = [...page.matchAll(/^(\d+)\. \*\*/gm)].map((match) => Number(match[1]));

test("every promise about delivery is held by tests that are there", async () => {
  expect(promises.length).toBeGreaterThan(5);
  expect([...new Set(rows.map(({ promise }) => promise))].toSorted((a, b) => a - b)).toEqual(promises);
  const absent: string[] = [];
  for (const { title, file } of rows) if (!(await readText(file)).includes(`test("${title}"`)) absent.push(`${file}: ${title}`);
  expect(absent).toEqual([]);
});
