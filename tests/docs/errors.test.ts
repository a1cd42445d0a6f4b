import { expect, test } from "bun:test";
import { join } from "node:path";
import { EXIT } from "../../src/cli/exit.ts";
import { CODES, type ErrorCode, httpStatusOf } from "../../src/protocol/mod.ts";
import { readText, ROOT, tableBelow } from "./markdown.ts";

const PAGE = "docs/errors.md";
const HEADING = "## The codes";
const COLUMNS = ["code", "kind", "HTTP", "exit", "what happened", "what to do"];

function rowOf(code: ErrorCode): string[] {
  const { kind, title, remedy } = CODES[code];
  return [`\`${code}\``, kind, String(httpStatusOf(code)), String(EXIT[kind]), title, remedy].map((cell) => cell.replaceAll("|", "\\|"));
}

const wanted = (Object.keys(CODES) as ErrorCode[]).map(rowOf);

/** The page with its table made anew, columns aligned as the formatter aligns them. */
function rewritten(page: string): string {
  const rows = [COLUMNS, ...wanted];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string => `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const table = [line(COLUMNS), line(widths.map((width) => "-".repeat(width))), ...wanted.map(line)].join("\n");
  const [before = "", after = ""] = page.split(`${HEADING}\n`);
  const rest = after.replace(/^\n*(?:\|.*\n)+/, "");
  return `${before}${HEADING}\n\n${table}\n${rest}`;
}

test("docs/errors.md lists every code as the program has it (UPDATE_DOCS=1 rewrites the table)", async () => {
  const page = await readText(PAGE);
  if (process.env["UPDATE_DOCS"] === "1") await Bun.write(join(ROOT, PAGE), rewritten(page));
  expect(tableBelow(await readText(PAGE), HEADING)).toEqual(wanted);
});
