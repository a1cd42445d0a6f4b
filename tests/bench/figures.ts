/** One measured number, as it is shown. */
export interface Figure {
  readonly part: string;
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What is aimed for, and whether this run got there. Shown beside the figure, never asserted: a busy machine is not a fault. */
  readonly bar?: { readonly aim: string; readonly met: boolean };
  readonly note?: string;
}

export function atMost(value: number, limit: number, unit: string): { readonly aim: string; readonly met: boolean } {
  return { aim: `at most ${shown(limit)} ${unit}`, met: value <= limit };
}

export function below(value: number, limit: number, unit: string): { readonly aim: string; readonly met: boolean } {
  return { aim: `below ${shown(limit)} ${unit}`, met: value < limit };
}

export function atLeast(value: number, limit: number, unit: string): { readonly aim: string; readonly met: boolean } {
  return { aim: `at least ${shown(limit)} ${unit}`, met: value >= limit };
}

/** Three digits that count; whole where they are whole. */
export function shown(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 100) return Math.round(value).toLocaleString("en");
  return value.toFixed(size >= 10 ? 1 : 2);
}

/** Lines of a table with one section for each part. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map(({ name, value, unit, bar, note }) => [
    `  ${name}`,
    `${shown(value)} ${unit}`,
    bar === undefined ? "" : `${bar.met ? "met" : "NOT MET"}: ${bar.aim}`,
    note ?? "",
  ]);
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  const lines: string[] = [];
  let part = "";
  for (const [at, row] of rows.entries()) {
    const figure = figures[at];
    if (figure !== undefined && figure.part !== part) {
      ({ part } = figure);
      lines.push("", part);
    }
    lines.push(
      row
        .map((cell, column) => (column === 1 ? cell.padStart(widths[1] ?? 0) : cell.padEnd(widths[column] ?? 0)))
        .join("  ")
        .trimEnd(),
    );
  }
  return lines.join("\n").trimStart();
}
