import type { Sink } from "./host.ts";
import type { Output, Shape } from "./output.ts";
import { escapeUnsafe, displayWidth, safeLine } from "./text.ts";

/** Rows that arrive one at a time: columns grow with what comes, and JSON is one object a line. */
export class LiveTable<T> {
  readonly #sink: Sink;
  readonly #output: Output;
  readonly #shape: Shape<T>;
  readonly #widths: number[] = [];
  #begun = false;

  constructor(sink: Sink, output: Output, shape: Shape<T>) {
    this.#sink = sink;
    this.#output = output;
    this.#shape = shape;
  }

  async add(item: T): Promise<void> {
    if (this.#output.format === "json") this.#sink.write(`${escapeUnsafe(JSON.stringify(item))}\n`);
    else if (this.#output.format === "yaml") {
      const { toYaml } = await import("./output.ts");
      this.#sink.write(`---\n${await toYaml(item)}`);
    } else if (this.#output.format === "name") this.#sink.write(`${safeLine(this.#shape.name(item))}\n`);
    else this.#row(item);
  }

  #row(item: T): void {
    const columns = this.#shape.columns.filter((column) => this.#output.format === "wide" || column.wide !== true);
    if (!this.#begun && this.#output.headers) this.#write(columns.map((column) => column.head));
    this.#begun = true;
    this.#write(columns.map((column) => safeLine(column.cell(item)) || "-"));
  }

  #write(cells: readonly string[]): void {
    const line = cells.map((cell, index) => {
      const width = Math.max(this.#widths[index] ?? 0, displayWidth(cell));
      this.#widths[index] = Math.min(width, 48);
      return index === cells.length - 1 ? cell : cell + " ".repeat(Math.max(0, (this.#widths[index] ?? 0) - displayWidth(cell)) + 3);
    });
    this.#sink.write(`${line.join("")}\n`);
  }
}
