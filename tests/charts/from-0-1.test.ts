import { describe, expect } from "bun:test";
import { join } from "node:path";
import { at, chartDirectory, besideChartTest, type ChartName, tryHelm } from "./helm-tools.ts";
import { site, type Site, untilNothingIsLeft } from "./releases.ts";

const WAIT = ["--wait", "--timeout=180s"] as const;
const VALUES = join(import.meta.dir, "values");
const old = (chart: ChartName): string => join(import.meta.dir, "old", chart);

const imageOf = async (of: Site, name: string): Promise<string> =>
  String(
    at(await of.get(`/apis/apps/v1/namespaces/${of.namespace}/deployments/${name}`), "spec", "template", "spec", "containers", 0, "image"),
  );

/** What 0.1's pods needed, the restricted standard refuses; its namespace enforced nothing. */
async function asIn01(of: Site): Promise<void> {
  await of.kube.kubectl(["label", "namespace", of.namespace, "pod-security.kubernetes.io/enforce=privileged", "--overwrite"]);
}

async function restrict(of: Site): Promise<void> {
  await of.kube.kubectl(["label", "namespace", of.namespace, "pod-security.kubernetes.io/enforce=restricted", "--overwrite"]);
}

describe("upgrade from the charts of 0.1 with the same values file", () => {
  besideChartTest(
    "transporter-agent: same names, another pod, read-only unless rbac says otherwise; back, and nothing is left",
    async () => {
      await using here = await site();
      await asIn01(here);
      const name = here.namespace;
      const args = [`--values=${join(VALUES, "agent-0.1.yaml")}`, "--set", `fullnameOverride=${name}`, ...WAIT];
      await here.helm("install", "agent", old("transporter-agent"), ...args);
      await restrict(here);
      const ours = ["--set", `persistence.storageClass=${here.storageClass}`];
      await here.helm("upgrade", "agent", chartDirectory("transporter-agent"), ...args, ...ours);
      const notes = await here.helm("get", "notes", "agent");
      expect(notes).toContain("RIGHTS: the 2 rules of rbac.rules, in the WHOLE cluster.");
      expect(notes).toContain("whoever can send events to this agent owns this cluster");
      expect(notes).toContain("IS WITHOUT TLS");
      const role = await here.get(`/apis/rbac.authorization.k8s.io/v1/clusterroles/${name}`);
      expect(at(role, "rules", 0, "verbs")).toEqual(["*"]);
      expect(at(role, "rules", 1, "nonResourceURLs")).toEqual(["*"]);

      await asIn01(here);
      await here.helm("rollback", "agent", "1", ...WAIT);
      expect(await imageOf(here, name)).toContain("latest");
      await here.helm("uninstall", "agent", ...WAIT);
      await untilNothingIsLeft(here);
    },
    300_000,
  );

  besideChartTest(
    "transporter-cp: same Service and NodePort; the strategy changes with the store; back, and nothing is left",
    async () => {
      await using here = await site(4);
      await asIn01(here);
      const name = here.namespace;
      const args = [`--values=${join(VALUES, "cp-0.1.yaml")}`, "--set", `fullnameOverride=${name}`, ...WAIT];
      await here.helm("install", "cp", old("transporter-cp"), ...args);
      const service = `/api/v1/namespaces/${name}/services/${name}`;
      const before = await here.get(service);
      await restrict(here);
      const ours = ["--set", `persistence.storageClass=${here.storageClass},redis.enabled=false`];
      await here.helm("upgrade", "cp", chartDirectory("transporter-cp"), ...args, ...ours);
      const after = await here.get(service);
      for (const part of [
        ["metadata", "uid"],
        ["spec", "clusterIP"],
        ["spec", "selector"],
      ] as const)
        expect(at(after, ...part)).toEqual(at(before, ...part));
      const ports = at(after, "spec", "ports");
      const websocket = (Array.isArray(ports) ? ports : []).find((port) => at(port, "name") === "websocket");
      expect([at(websocket, "port"), at(websocket, "nodePort")]).toEqual([8080, 30080]);
      expect(await here.helm("get", "notes", "cp")).toContain("FROM 0.1");

      await asIn01(here);
      await here.helm("rollback", "cp", "1", ...WAIT);
      await restrict(here);
      await here.helm("upgrade", "cp", chartDirectory("transporter-cp"), ...args, "--set", "legacy.enabled=true,legacy.agents={agent-1}");
      expect(await here.helm("get", "notes", "cp")).toContain("OPEN FOR 0.1");
      await here.helm("uninstall", "cp", ...WAIT);
      await untilNothingIsLeft(here);
    },
    300_000,
  );

  besideChartTest(
    "--reuse-values with the values of 0.1 is refused with the way out, which works",
    async () => {
      await using here = await site();
      await asIn01(here);
      for (const chart of ["transporter-agent", "transporter-cp"] as const) {
        const install = ["install", chart, old(chart), "--set", `fullnameOverride=${here.namespace}-${chart}`];
        await here.helm(...install);
        const upgrade = [
          "upgrade",
          chart,
          chartDirectory(chart),
          `--namespace=${here.namespace}`,
          "--set",
          "service.nodePort=,persistence.enabled=false",
        ];
        const set =
          chart === "transporter-cp"
            ? upgrade
            : [...upgrade.slice(0, -1), "persistence.enabled=false,agent.agentID=a,agent.cpURL=ws://cp:8080/ws"];
        const kubeconfig = here.kube.kubeconfigPath;
        const reused = await tryHelm([...set, "--reuse-values"], { kubeconfig });
        expect(reused.code).not.toBe(0);
        expect(reused.err).toContain("--reset-then-reuse-values");
        const reset = await tryHelm([...set, "--reset-then-reuse-values"], { kubeconfig });
        expect(reset.err).toBe("");
        await here.helm("uninstall", chart, ...WAIT);
      }
      await untilNothingIsLeft(here);
    },
    300_000,
  );
});
