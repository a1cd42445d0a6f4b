import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { parse, stringify } from "yaml";
import { PROMTOOL } from "../../sandbox/linters/mod.ts";
import { readText, ROOT } from "../docs/markdown.ts";
import { PROVE } from "../support/prove.ts";
import { ASKED, RULE_FILES, RULES } from "./files.ts";

interface Case {
  readonly alert_rule_test?: readonly {
    readonly alertname: string;
    readonly eval_time: string;
    readonly exp_alerts: readonly { readonly exp_labels: Readonly<Record<string, string>> }[];
  }[];
  readonly promql_expr_test?: readonly { readonly exp_samples: readonly { readonly labels: string }[] }[];
}

interface Cases {
  readonly tests: readonly Case[];
}

/** By the series that Prometheus keeps of alerts: promtool's own way wants the words of every annotation as well. */
function bySeries({ alert_rule_test = [], promql_expr_test = [], ...others }: Case): unknown {
  const series = (labels: Readonly<Record<string, string>>): string =>
    `ALERTS{${Object.entries(labels)
      .map(([label, value]) => `${label}=${JSON.stringify(value)}`)
      .join(",")}}`;
  const asked = alert_rule_test.map(({ alertname, eval_time, exp_alerts }) => ({
    expr: series({ alertname, alertstate: "firing" }),
    eval_time,
    exp_samples: exp_alerts.map(({ exp_labels }) => ({ labels: series({ alertname, alertstate: "firing", ...exp_labels }), value: 1 })),
  }));
  return { ...others, promql_expr_test: [...promql_expr_test, ...asked] };
}

const CASES = parse(await readText("tests/monitoring/alerts.promtool.yaml")) as Cases;
const FILES = RULE_FILES.map((file) => join(ROOT, file));

test("every alert is made to fire by a case of its own", () => {
  const fired = new Set(
    CASES.tests.flatMap(({ alert_rule_test = [], promql_expr_test = [] }) => [
      ...alert_rule_test.filter(({ exp_alerts }) => exp_alerts.length > 0).map(({ alertname }) => alertname),
      ...promql_expr_test.flatMap(({ exp_samples }) => exp_samples.flatMap(({ labels }) => /alertname="(\w+)"/.exec(labels)?.[1] ?? [])),
    ]),
  );
  const alerts = RULES.flatMap(({ alert }) => alert ?? []);
  expect([...fired].toSorted()).toEqual(alerts.toSorted());
});

async function promtool(...args: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
  const program = await PROMTOOL.prepare({ onProgress: (line) => console.log(line) }).promtool;
  const child = Bun.spawn([program, ...args], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, output: out + errors };
}

/** Building it takes minutes: in a full run, or where one left it behind. */
const SKIP = !PROVE && (await PROMTOOL.missing()).length > 0;

test.skipIf(SKIP)(
  "promtool takes the rules, and each alert fires and is silent when it should",
  async () => {
    const checked = await promtool("check", "rules", "--lint=all", "--lint-fatal", ...FILES);
    expect(checked.output).toContain("SUCCESS");
    expect(checked.code).toBe(0);
    const directory = await mkdtemp(join(tmpdir(), "transporter-promtool-"));
    try {
      // Types of expressions, which the editor's grammar does not know: those of the dashboards as if they were rules.
      const panels = join(directory, "panels.yaml");
      const asRules = ASKED.map(({ expr }, at) => ({ record: `asked:expression_${at}:x`, expr }));
      await writeFile(panels, stringify({ groups: [{ name: "panels", rules: asRules }] }));
      expect(await promtool("check", "rules", panels)).toEqual({ code: 0, output: expect.stringContaining(`${ASKED.length} rules found`) });
      const path = join(directory, "alerts.yaml");
      await writeFile(path, stringify({ ...CASES, rule_files: FILES, tests: CASES.tests.map(bySeries) }));
      const run = await promtool("test", "rules", path);
      expect(run).toEqual({ code: 0, output: expect.stringContaining("SUCCESS") });
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
  1_800_000,
);
