import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "../..");

/** Rows as a table of Markdown; the formatter aligns it. */
export function markdownTable(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ").trim()).join(" | ")} |`;
  return [line(columns), line(columns.map(() => "-")), ...rows.map(line)].join("\n");
}

const begin = (name: string): string => `<!-- ${name}: written by UPDATE_DOCS=1 bun test tests/docs -->`;
const end = (name: string): string => `<!-- end of ${name} -->`;

/** What stands between the marks of a part; undefined where a page has none. */
function between(page: string, name: string): { readonly from: number; readonly to: number } | undefined {
  const at = page.indexOf(begin(name));
  const to = page.indexOf(end(name));
  return at < 0 || to < at ? undefined : { from: at + begin(name).length, to };
}

/** Alignment is the formatter's: only words count. */
export function words(text: string): string {
  return text
    .replaceAll(/-{2,}/g, "-")
    .replaceAll(/^([*-] )/gm, "- ")
    .replaceAll(/\s+/g, " ")
    .trim();
}

/** The parts of a page that are made, each between its marks: as they stand, and as they should. UPDATE_DOCS=1 writes them first. */
export async function generatedParts(
  path: string,
  parts: Readonly<Record<string, string>>,
): Promise<{ readonly name: string; readonly stands: string; readonly wanted: string }[]> {
  const file = join(ROOT, path);
  let page = await Bun.file(file).text();
  const out: { name: string; stands: string; wanted: string }[] = [];
  for (const [name, wanted] of Object.entries(parts)) {
    const place = between(page, name);
    if (place === undefined) throw new Error(`${path} has no lines ${begin(name)} and ${end(name)}`);
    out.push({ name, stands: words(page.slice(place.from, place.to)), wanted: words(wanted) });
    page = `${page.slice(0, place.from)}\n\n${wanted}\n\n${page.slice(place.to)}`;
  }
  if (process.env["UPDATE_DOCS"] !== "1") return out;
  await Bun.write(file, page);
  return out.map(({ name, wanted }) => ({ name, stands: wanted, wanted }));
}

/** The parts of this kind that a page has marks for. */
export function partsMarked(page: string): string[] {
  return [...page.matchAll(/^<!-- ([\w -]+): written by UPDATE_DOCS=1/gm)].map((match) => match[1] ?? "");
}
