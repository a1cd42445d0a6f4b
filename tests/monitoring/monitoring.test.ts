import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { anchorsOf, readText } from "../docs/markdown.ts";
import { uniqueName } from "../support/kube.ts";
import { type Nats, natsTest, SKIP_NATS, startNats } from "../support/nats.ts";
import { ASKED, DASHBOARDS, GROUPS, RULES } from "./files.ts";
import { everything, readExposition } from "./metrics.ts";
import { read } from "./promql.ts";

/** Prometheus puts these on whatever it scrapes by a ServiceMonitor. */
const SCRAPED = ["namespace", "job", "instance", "pod", "service", "endpoint"];
/** Whoever is answered how is not told in advance. */
const ANY_VALUE = new Set(["status", "version", "replica"]);

let nats: Nats;
beforeAll(async () => {
  if (!SKIP_NATS) nats = await startNats();
});
afterAll(async () => nats?.[Symbol.asyncDispose]());

test("an expression that is wrong would be seen", () => {
  expect(read('sum by (job) (rate(x_total{state="a",namespace=~"$namespace"}[5m])) > 0')).toEqual({
    errors: [],
    selectors: [
      {
        metric: "x_total",
        matchers: [
          { label: "state", operator: "=", value: "a" },
          { label: "namespace", operator: "=~", value: "$namespace" },
        ],
      },
    ],
    groupings: ["job"],
    outer: ["job"],
  });
  for (const wrong of ["sum by ((", "rate(x[5m]", "x{a=b}", "x >", "x[5y y]", "unheard_of(x)"])
    expect({ wrong, seen: read(wrong).errors.length > 0 }).toEqual({ wrong, seen: true });
});

test("every expression parses", () => {
  expect(ASKED.length).toBeGreaterThan(60);
  for (const { where, expr } of ASKED) expect({ where, errors: read(expr).errors }).toEqual({ where, errors: [] });
});

natsTest("every metric, label and value that is asked for is told by a control plane that has worked", async () => {
  const told = new Map(await everything(nats.url, uniqueName("monitoring")));
  const recorded = new Map(RULES.flatMap(({ record, expr }) => (record === undefined ? [] : [[record, read(expr)] as const])));
  const wrong: string[] = [];
  for (const { where, expr, shown } of ASKED) {
    const { selectors, groupings } = read(expr);
    const labels = new Set(SCRAPED);
    for (const { metric, matchers } of selectors) {
      const series = told.get(metric) ?? (metric === "up" ? new Map<string, ReadonlySet<string>>() : undefined);
      const rule = recorded.get(metric);
      if (series === undefined && rule === undefined) wrong.push(`${where}: nothing tells ${metric}`);
      const own = [...(series?.keys() ?? []), ...(rule?.outer ?? [])];
      for (const label of own) labels.add(label);
      for (const { label, operator, value } of matchers) {
        if (!own.includes(label) && !SCRAPED.includes(label)) wrong.push(`${where}: ${metric} has no label ${label}`);
        // A record's values are those of what it is made of.
        const values =
          series?.get(label) ?? rule?.selectors.map((from) => told.get(from.metric)?.get(label)).find((one) => one !== undefined);
        if (SCRAPED.includes(label) || (ANY_VALUE.has(label) && metric !== "transporter_agents")) continue;
        const wanted = operator === "=" ? [value] : operator === "=~" ? value.split("|").filter((one) => /^[\w/]+$/.test(one)) : [];
        for (const one of wanted) if (values?.has(one) !== true) wrong.push(`${where}: ${metric} never has ${label}="${one}"`);
      }
    }
    for (const label of [...groupings, ...shown]) if (!labels.has(label)) wrong.push(`${where}: no label ${label}`);
  }
  expect(wrong).toEqual([]);
  // The other way round: what a control plane tells of itself is looked at by somebody.
  const asked = new Set(ASKED.flatMap(({ expr }) => read(expr).selectors.map(({ metric }) => metric.replace(/_(bucket|sum|count)$/, ""))));
  const unseen = [...told.keys()].filter((name) => name.startsWith("transporter_") && !asked.has(name.replace(/_(bucket|sum|count)$/, "")));
  expect(unseen).toEqual([]);
});

describe("rules", () => {
  test("names are unique, and each alert says what it is, how bad, and where to read on", async () => {
    const names = [...GROUPS.map(({ name }) => name), ...RULES.map(({ alert, record }) => alert ?? record)];
    expect(names).toEqual([...new Set(names)]);
    for (const { alert, labels, annotations = {} } of RULES) {
      if (alert === undefined) continue;
      expect(alert).toMatch(/^Transporter[A-Z][A-Za-z]+$/);
      expect(["critical", "warning", "info"]).toContain(labels?.["severity"] ?? "");
      const { summary = "", description = "", runbook_url = "" } = annotations;
      expect(summary).toMatch(/^[A-Z].*\.$/);
      expect(description).toMatch(/^\S.*\.$/s);
      expect(runbook_url).toBe(`https://github.com/transporter-dev/transporter/blob/main/docs/troubleshooting.md#${alert.toLowerCase()}`);
    }
  });

  test("what each alert leads to is there, and nothing about alerts that are gone", async () => {
    const page = await readText("docs/troubleshooting.md");
    const alerts = RULES.flatMap(({ alert }) => alert ?? []);
    const told = [...page.matchAll(/^#+ (Transporter[A-Z]\w+)$/gm)].map(([, name = ""]) => name);
    expect(told.toSorted()).toEqual(alerts.toSorted());
    for (const alert of alerts) expect(anchorsOf(page)).toContain(alert.toLowerCase());
  });

  test("a record is named level:metric:operation and says which labels stay", () => {
    for (const { record, expr } of RULES) {
      if (record === undefined) continue;
      expect(record).toMatch(/^transporter:[a-z_]+:[a-z0-9_]+$/);
      expect({ record, labels: read(expr).outer }).toMatchObject({ record, labels: expect.arrayContaining(["namespace", "job"]) });
    }
  });
});

describe("dashboards", () => {
  test("each has an identity, a data source to choose, and panels that do not overlap", () => {
    expect(DASHBOARDS.map(({ uid }) => uid).toSorted()).toEqual(["transporter-delivery", "transporter-fleet", "transporter-store-queue"]);
    for (const { file, schemaVersion, templating, panels, title } of DASHBOARDS) {
      expect({ file, title }).toEqual({ file, title: expect.stringMatching(/^Transporter \/ /) });
      expect(schemaVersion).toBeGreaterThanOrEqual(39);
      expect(templating.list.map(({ name, type }) => ({ name, type }))).toEqual([
        { name: "datasource", type: "datasource" },
        { name: "namespace", type: "query" },
        { name: "job", type: "query" },
      ]);
      const ids = panels.map(({ id }) => id);
      expect(ids).toEqual([...new Set(ids)]);
      const taken = new Map<string, string>();
      for (const { title: panel, type, datasource, targets, gridPos, description } of panels) {
        expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1)
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
            const place = `${x}/${y}`;
            expect({ file, panel, under: taken.get(place) }).toEqual({ file, panel, under: undefined });
            taken.set(place, panel);
          }
        if (type === "row") continue;
        expect({ panel, uid: datasource?.uid, described: (description ?? "") !== "" }).toEqual({
          panel,
          uid: "${datasource}",
          described: true,
        });
        const refs = (targets ?? []).map(({ refId }) => refId);
        expect(refs.length).toBeGreaterThan(0);
        expect(refs).toEqual([...new Set(refs)]);
        // What is chosen above decides what is seen.
        for (const { expr } of targets ?? [])
          expect({ panel, expr }).toEqual({ panel, expr: expect.stringContaining('namespace=~"$namespace",job=~"$job"') });
      }
    }
  });

  test("fit into a ConfigMap together", () => {
    expect(DASHBOARDS.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(500_000);
  });
});

test("Prometheus' text is read with its labels and values", () => {
  const text = '# HELP a b\na{x="1",y="p\\"q"} 2\na{x="2",y="r"} 1\nb 3\n';
  expect(readExposition(text)).toEqual(
    new Map([
      [
        "a",
        new Map([
          ["x", new Set(["1", "2"])],
          ["y", new Set(['p\\"q', "r"])],
        ]),
      ],
      ["b", new Map()],
    ]),
  );
});
