import { clip, displayWidth, safeLine } from "./text.ts";

export interface Column<T> {
  readonly head: string;
  readonly cell: (item: T) => string;
  /** Only with `-o wide`. */
  readonly wide?: true;
}

/** Lays rows out in columns as kubectl does: three blanks between, nothing after the last. Cells are made safe to show. */
export function renderTable<T>(
  items: readonly T[],
  columns: readonly Column<T>[],
  options: { readonly wide: boolean; readonly headers: boolean; readonly maxColumns?: number | undefined },
): string {
  const shown = columns.filter((column) => options.wide || column.wide !== true);
  const rows = items.map((item) => shown.map((column) => safeLine(column.cell(item)) || "-"));
  if (options.headers) rows.unshift(shown.map((column) => column.head));
  const widths = shown.map((_, index) => Math.max(0, ...rows.map((row) => displayWidth(row[index] ?? ""))));
  return rows
    .map((row) => {
      const line = row
        .map((cell, index) => (index === row.length - 1 ? cell : cell + " ".repeat((widths[index] ?? 0) - displayWidth(cell) + 3)))
        .join("");
      return `${options.maxColumns === undefined ? line : clip(line, options.maxColumns)}\n`;
    })
    .join("");
}
