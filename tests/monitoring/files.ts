import { join } from "node:path";
import { parse } from "yaml";
import { filesOf, ROOT } from "../docs/markdown.ts";

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface RuleFile {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
}

interface Target {
  readonly refId: string;
  readonly expr: string;
  readonly legendFormat: string;
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly Target[];
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
}

interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly schemaVersion: number;
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string; readonly query: unknown }[] };
  readonly annotations: { readonly list: readonly { readonly expr: string }[] };
  readonly panels: readonly Panel[];
}

const CHART = "helm/transporter-cp";

export const RULE_FILES: readonly string[] = filesOf(`${CHART}/rules/*.yaml`);

export const GROUPS: readonly (RuleFile["groups"][number] & { readonly file: string })[] = (
  await Promise.all(
    RULE_FILES.map(async (file) =>
      (parse(await Bun.file(join(ROOT, file)).text()) as RuleFile).groups.map((group) => ({ file, ...group })),
    ),
  )
).flat();

export const RULES: readonly Rule[] = GROUPS.flatMap(({ rules }) => rules);

export const DASHBOARDS: readonly (Dashboard & { readonly file: string; readonly bytes: number })[] = await Promise.all(
  filesOf(`${CHART}/dashboards/*.json`).map(async (file) => {
    const text = await Bun.file(join(ROOT, file)).text();
    return { file, bytes: Buffer.byteLength(text), ...(JSON.parse(text) as Dashboard) };
  }),
);

/** Grafana puts times in before it asks. */
export function asAsked(expression: string): string {
  return expression.replaceAll(/\$__(rate_interval|interval|range)\b/g, "5m");
}

interface Asked {
  /** For whoever reads the failure. */
  readonly where: string;
  readonly expr: string;
  /** The labels that the text beside it shows. */
  readonly shown: readonly string[];
}

function labelsOfText(text: string): string[] {
  return [...text.matchAll(/\$labels\.(\w+)/g)].map(([, label = ""]) => label);
}

/** Every expression of the chart. */
export const ASKED: readonly Asked[] = [
  ...RULES.map(({ alert, record, expr, annotations = {} }) => ({
    where: alert ?? record ?? "a rule without a name",
    expr,
    shown: Object.values(annotations).flatMap(labelsOfText),
  })),
  ...DASHBOARDS.flatMap(({ file, panels, annotations }) => [
    ...panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr, legendFormat, refId }) => ({
        where: `${file}, ${title}, ${refId}`,
        expr: asAsked(expr),
        shown: [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = ""]) => label),
      })),
    ),
    ...annotations.list.map(({ expr }) => ({ where: `${file}, its annotations`, expr: asAsked(expr), shown: [] })),
  ]),
];
