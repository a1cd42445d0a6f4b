import { OUTPUT_FORMATS, type OutputFormat, choiceOr, toggle } from "../config/mod.ts";
import type { Sink } from "./host.ts";
import { type Column, renderTable } from "./table.ts";
import { escapeUnsafe, hasUnsafe, safeLine } from "./text.ts";

/** The flags of every command that prints data. */
export const OUTPUT_SETTINGS = {
  output: choiceOr("table", OUTPUT_FORMATS, { short: "o", describe: "Form of the output", flagOnly: true }),
  "no-headers": toggle(false, { describe: "Leave out the head line of tables", flagOnly: true }),
} as const;

export interface Shape<T> {
  readonly columns: readonly Column<T>[];
  /** For `-o name`, such as `event/ID`. */
  readonly name: (item: T) => string;
}

export interface Output {
  readonly format: OutputFormat;
  readonly headers: boolean;
}

export function outputOf(values: { readonly output: OutputFormat; readonly "no-headers": boolean }): Output {
  return { format: values.output, headers: !values["no-headers"] };
}

/** Prints a list: `{items, next_cursor}` as JSON or YAML, a table, or names. */
export async function printList<T>(sink: Sink, output: Output, shape: Shape<T>, items: readonly T[], nextCursor?: string): Promise<void> {
  switch (output.format) {
    case "json":
    case "yaml":
      await printData(sink, output.format, nextCursor === undefined ? { items } : { items, next_cursor: nextCursor });
      return;
    case "name":
      for (const item of items) sink.write(`${safeLine(shape.name(item))}\n`);
      return;
    case "table":
    case "wide":
      if (items.length === 0) return;
      sink.write(
        renderTable(items, shape.columns, {
          wide: output.format === "wide",
          headers: output.headers,
          // On a terminal a long message is cut rather than wrapped; `wide` and files have all of it.
          maxColumns: sink.isTerminal && output.format === "table" ? sink.columns() : undefined,
        }),
      );
  }
}

/** Prints one thing, given in its wire form. */
export async function printOne<T>(sink: Sink, output: Output, shape: Shape<T>, item: T): Promise<void> {
  if (output.format === "json" || output.format === "yaml") await printData(sink, output.format, item);
  else await printList(sink, output, shape, [item]);
}

export async function printData(sink: Sink, format: "json" | "yaml", data: unknown): Promise<void> {
  if (format === "json") {
    sink.write(`${escapeUnsafe(JSON.stringify(data, null, 2))}\n`);
    return;
  }
  sink.write(await toYaml(data));
}

export async function toYaml(data: unknown): Promise<string> {
  const { Document, Scalar, visit } = await import("yaml");
  const document = new Document(data, { aliasDuplicateObjects: false });
  visit(document, {
    Scalar(_key, node) {
      if (typeof node.value === "string" && hasUnsafe(node.value)) node.type = Scalar.QUOTE_DOUBLE;
    },
  });
  return escapeUnsafe(document.toString({ lineWidth: 0 }));
}
