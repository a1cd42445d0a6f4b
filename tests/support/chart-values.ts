import { join, resolve } from "node:path";
import { parse } from "yaml";
import { markdownTable } from "./generated.ts";

const ROOT = resolve(import.meta.dir, "../..");

export interface ChartValue {
  readonly key: string;
  readonly value: unknown;
  /** From the comment above it that begins with `# --`; undefined when there is none. */
  readonly description: string | undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The comments of the lines that begin with `# --`, by the path of the key below them. */
function descriptionsOf(text: string): Map<string, string> {
  const out = new Map<string, string>();
  const path: { readonly indent: number; readonly key: string }[] = [];
  let description: string | undefined;
  for (const line of text.split("\n")) {
    const comment = /^\s*# ?(.*)$/.exec(line)?.[1];
    if (comment !== undefined) {
      if (comment.startsWith("-- ")) description = comment.slice(3);
      else if (description !== undefined) description += ` ${comment.trim()}`;
      continue;
    }
    const [, space, key] = /^( *)"?([\w.-]+)"?:(?: |$)/.exec(line) ?? [];
    if (space !== undefined && key !== undefined) {
      while ((path.at(-1)?.indent ?? -1) >= space.length) path.pop();
      path.push({ indent: space.length, key });
      if (description !== undefined) out.set(path.map((part) => part.key).join("."), description);
    }
    description = undefined;
  }
  return out;
}

/** The values of a chart as people set them: a map that has a description is one value, another is a group of values. */
export function chartValues(text: string): readonly ChartValue[] {
  const descriptions = descriptionsOf(text);
  const walk = (value: Record<string, unknown>, prefix: string): ChartValue[] =>
    Object.entries(value).flatMap(([name, inner]) => {
      const key = `${prefix}${name}`;
      const description = descriptions.get(key);
      if (description === undefined && isRecord(inner) && Object.keys(inner).length > 0) return walk(inner, `${key}.`);
      return [{ key, value: inner, description }];
    });
  const all: unknown = parse(text);
  return isRecord(all) ? walk(all, "") : [];
}

export async function valuesOfChart(chart: string): Promise<readonly ChartValue[]> {
  return chartValues(await Bun.file(join(ROOT, "helm", chart, "values.yaml")).text());
}

function shown(value: unknown): string {
  return `\`${JSON.stringify(value)}\``;
}

/** For the README of the chart. */
export function valuesTable(values: readonly ChartValue[]): string {
  return markdownTable(
    ["Value", "Default", "What it is"],
    values.map(({ key, value, description }) => [`\`${key}\``, shown(value), description ?? ""]),
  );
}
