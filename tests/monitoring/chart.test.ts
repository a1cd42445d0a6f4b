import { expect } from "bun:test";
import { at, chartTest, listAt, objects, render } from "../charts/helm-tools.ts";
import { DASHBOARDS, GROUPS } from "./files.ts";

chartTest("the chart brings rules and dashboards into the cluster as they are, with what Prometheus fills in left alone", async () => {
  const on = ["--set", "metrics.prometheusRule.enabled=true,metrics.dashboards.enabled=true"];
  const all = objects(await render("transporter-cp", on));
  const rules = all.filter(({ kind }) => kind === "PrometheusRule").flatMap((object) => listAt(object, "spec", "groups"));
  const byName = (groups: readonly unknown[]): readonly unknown[] =>
    groups.toSorted((one, other) => (String(at(one, "name")) < String(at(other, "name")) ? -1 : 1));
  expect(byName(rules)).toEqual(byName(GROUPS.map(({ name, rules: of }) => ({ name, rules: of }))));
  const texts = all
    .filter((object) => at(object, "metadata", "labels", "grafana_dashboard") === "1")
    .flatMap((object) => Object.values(at(object, "data") ?? {}));
  expect(texts.map((text) => String(at(JSON.parse(String(text)), "uid"))).toSorted()).toEqual(DASHBOARDS.map(({ uid }) => uid).toSorted());
  for (const text of texts) expect(String(text)).toContain('namespace=~\\"$namespace\\"');
  // Nobody without Prometheus' operator gets an object that his API server does not know.
  const off = objects(await render("transporter-cp", []));
  expect(off.filter(({ kind }) => kind === "PrometheusRule")).toEqual([]);
});
