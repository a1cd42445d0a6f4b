import { describe, expect, test } from "bun:test";
import { chartValues, valuesOfChart, valuesTable } from "../support/chart-values.ts";
import { generatedParts } from "../support/generated.ts";
import { readText } from "./markdown.ts";

describe.each([
  ["transporter-cp", 150],
  ["transporter-agent", 80],
])("helm/%s/README.md", (chart, least) => {
  test("has the table of values as values.yaml has them (UPDATE_DOCS=1 writes it)", async () => {
    const values = valuesTable(await valuesOfChart(chart));
    for (const { name, stands, wanted } of await generatedParts(`helm/${chart}/README.md`, { values })) expect(stands, name).toBe(wanted);
  });

  test("leaves no value without a word", async () => {
    const values = await valuesOfChart(chart);
    expect(values.length).toBeGreaterThan(least);
    expect(values.filter(({ description }) => description === undefined).map(({ key }) => key)).toEqual([]);
  });

  test("takes no value that values.yaml does not show", async () => {
    const shown = (await valuesOfChart(chart)).map(({ key }) => key);
    // What is free inside, or a map that is shown as a whole.
    const isShown = (key: string): boolean => shown.some((one) => one === key || one.startsWith(`${key}.`) || key.startsWith(`${one}.`));
    const allowed = keysOfSchema(await readJson(`helm/${chart}/values.schema.json`), "");
    expect(allowed.length).toBeGreaterThan(least);
    expect(allowed.filter((key) => !isShown(key))).toEqual([]);
  });
});

async function readJson(path: string): Promise<unknown> {
  return JSON.parse(await readText(path));
}

/** Every property of a schema and of those below it, by its path. */
function keysOfSchema(schema: unknown, prefix: string): string[] {
  const properties: unknown = typeof schema === "object" && schema !== null && "properties" in schema ? schema.properties : undefined;
  if (typeof properties !== "object" || properties === null) return [];
  return Object.entries(properties).flatMap(([name, inner]) => [`${prefix}${name}`, ...keysOfSchema(inner, `${prefix}${name}.`)]);
}

describe("the reader of values", () => {
  const text = [
    "# About the file.",
    "",
    "# -- First,",
    "# on two lines.",
    "a: ''",
    "group:",
    "  # -- In a group.",
    "  b: 1",
    "  bare: true",
    "# -- One value, whatever is in it.",
    "whole:",
    "  c:",
    "    d: [1]",
    "# -- Cut off by an empty line.",
    "",
    "e: x|y",
    "# -- Quoted, as YAML 1.1 would have it false.",
    '"no": ""',
  ].join("\n");

  test("takes descriptions from the comments above, groups apart", () => {
    expect(chartValues(text)).toEqual([
      { key: "a", value: "", description: "First, on two lines." },
      { key: "group.b", value: 1, description: "In a group." },
      { key: "group.bare", value: true, description: undefined },
      { key: "whole", value: { c: { d: [1] } }, description: "One value, whatever is in it." },
      { key: "e", value: "x|y", description: undefined },
      { key: "no", value: "", description: "Quoted, as YAML 1.1 would have it false." },
    ]);
  });

  test("writes a row for each", () => {
    const [, , ...rows] = valuesTable(chartValues(text)).split("\n");
    expect(rows).toHaveLength(6);
    expect(rows[1]).toBe("| `group.b` | `1` | In a group. |");
    expect(rows[4]).toBe('| `e` | `"x\\|y"` |  |');
  });
});
