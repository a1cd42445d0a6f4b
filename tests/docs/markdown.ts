import { dirname, join, relative, resolve } from "node:path";

export const ROOT: string = resolve(import.meta.dir, "../..");

const SKIPPED = /(^|\/)(node_modules|\.git|dist)\//;

/** Paths of the repository's files that match, relative to its root and sorted. */
export function filesOf(pattern: string): string[] {
  return [...new Bun.Glob(pattern).scanSync({ cwd: ROOT, dot: true })].filter((path) => !SKIPPED.test(path)).toSorted();
}

export function readText(path: string): Promise<string> {
  return Bun.file(join(ROOT, path)).text();
}

export interface CodeBlock {
  /** `sh`, `text`, …; "" when none is named. */
  readonly language: string;
  readonly text: string;
  /** Of the opening fence, from 1. */
  readonly line: number;
}

/** The fenced code blocks of a page, in order. */
export function codeBlocks(markdown: string): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  let open: { language: string; lines: string[]; line: number } | undefined;
  for (const [index, line] of markdown.split("\n").entries()) {
    const fence = /^```(\S*)/.exec(line);
    if (open === undefined) {
      if (fence !== null) open = { language: fence[1] ?? "", lines: [], line: index + 1 };
    } else if (fence === null) {
      open.lines.push(line);
    } else {
      blocks.push({ language: open.language, text: `${open.lines.join("\n")}\n`, line: open.line });
      open = undefined;
    }
  }
  if (open !== undefined) throw new Error(`the code block of line ${open.line} is not closed`);
  return blocks;
}

/** The page without its code blocks, lines kept so that numbers stay true. */
export function prose(markdown: string): string {
  let inside = false;
  return markdown
    .split("\n")
    .map((line) => {
      const isFence = line.startsWith("```");
      if (isFence) inside = !inside;
      return isFence || inside ? "" : line;
    })
    .join("\n");
}

/** The body rows of the table that stands below this line, each cell trimmed. */
export function tableBelow(markdown: string, heading: string): string[][] {
  const lines = markdown.split("\n");
  const at = lines.findIndex((line) => line.trim() === heading);
  if (at < 0) throw new Error(`there is no line ${JSON.stringify(heading)}`);
  const first = lines.findIndex((line, index) => index > at && line.startsWith("|"));
  const rows: string[][] = [];
  for (const line of lines.slice(first + 2)) {
    if (!line.startsWith("|")) break;
    rows.push(
      line
        .replace(/^\|(.*)\|\s*$/, "$1")
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim()),
    );
  }
  return rows;
}

/** A heading as it stands in an address, as GitHub makes it. */
export function anchorOf(heading: string): string {
  return heading
    .replaceAll(/[`*]/g, "")
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .replaceAll(/\s/g, "-");
}

export function anchorsOf(markdown: string): string[] {
  return [...prose(markdown).matchAll(/^#{1,6} (.+)$/gm)].map((match) => anchorOf(match[1] ?? ""));
}

/** Where a relative link leads, from the repository's root; undefined for what leads elsewhere. */
export function targetOf(page: string, link: string): { readonly path: string; readonly anchor: string | undefined } | undefined {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return undefined;
  const [path = "", anchor] = link.split("#");
  return { path: path === "" ? page : relative(ROOT, resolve(ROOT, dirname(page), decodeURI(path))), anchor };
}
