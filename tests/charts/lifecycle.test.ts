import { describe, expect } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { at, chartDirectory, besideChartTest } from "./helm-tools.ts";
import { site, type Site, untilNothingIsLeft } from "./releases.ts";

const WAIT = ["--wait", "--timeout=180s"] as const;

const RBAC = "/apis/rbac.authorization.k8s.io/v1";

async function names(of: Site, path: string): Promise<readonly string[]> {
  const items = at(await of.get(path), "items");
  return (Array.isArray(items) ? items : []).map((item) => String(at(item, "metadata", "name")));
}

describe("transporter-agent: install, upgrade, rollback, uninstall", () => {
  besideChartTest(
    "what it may changes with the values, what it keeps stays, and nothing is left",
    async () => {
      await using shop = await site();
      await using here = await site();
      const release = `${here.namespace}-transporter-agent`;
      const identity = `${release}-identity`;
      const chart = chartDirectory("transporter-agent");
      const set = `agent.agentID=shop-1,agent.cpURL=https://cp.example.com,persistence.storageClass=${here.storageClass}`;
      const clusterRoles = async (): Promise<readonly string[]> =>
        (await names(here, `${RBAC}/clusterroles`)).filter((name) => name === release);
      const roles = (namespace: string): Promise<readonly string[]> => names(here, `${RBAC}/namespaces/${namespace}/roles`);

      await here.helm("install", release, chart, "--set", `${set},enrolment.token=tpe_first`, ...WAIT);
      expect(await clusterRoles()).toEqual([release]);
      expect(await names(here, `/api/v1/namespaces/${here.namespace}/pods`)).toHaveLength(1);
      expect(await here.read(identity)).toEqual({});
      // As the agent does when it is enrolled.
      const kept = { "key.pem": "the key", "certificate.pem": "the certificate", "identity.json": "{}" };
      await here.write(identity, kept);

      await here.helm("upgrade", release, chart, "--set", `${set},rbac.preset=namespaced,rbac.namespaces={${shop.namespace}}`, ...WAIT);
      expect(await clusterRoles()).toEqual([]);
      expect(await roles(shop.namespace)).toEqual([release]);
      expect(await here.read(identity)).toEqual(kept);
      expect(await here.get(`/api/v1/namespaces/${here.namespace}/secrets/${release}-enrolment`)).toBeUndefined();

      await here.helm("rollback", release, "1", ...WAIT);
      expect(await clusterRoles()).toEqual([release]);
      expect(await roles(shop.namespace)).toEqual([]);
      expect(await here.read(identity)).toEqual(kept);
      const claims = `/api/v1/namespaces/${here.namespace}/persistentvolumeclaims`;
      expect(await names(here, claims)).toEqual([`${release}-state`]);

      await here.helm("uninstall", release, ...WAIT);
      await untilNothingIsLeft(here);
    },
    300_000,
  );

  besideChartTest(
    "a volume that is to stay stays, and is taken up by the next release",
    async () => {
      await using here = await site();
      const chart = chartDirectory("transporter-agent");
      const set = `agent.agentID=shop-1,agent.cpURL=https://cp.example.com,persistence.storageClass=${here.storageClass},persistence.keep=true,fullnameOverride=${here.namespace}`;
      await here.helm("install", "agent", chart, "--set", set, ...WAIT);
      await here.helm("uninstall", "agent", ...WAIT);
      await eventually(
        async () => expect(await here.changes()).toEqual([`PersistentVolumeClaim ${here.namespace}/${here.namespace}-state`]) ?? true,
      );
      await here.helm("install", "agent", chart, "--set", set, ...WAIT);
      await here.helm("uninstall", "agent", ...WAIT);
      await here.kube.kubectl(["--namespace", here.namespace, "delete", "pvc", "--all"]);
      await untilNothingIsLeft(here);
    },
    300_000,
  );

  besideChartTest(
    "helm test makes its pods, and takes away what it made",
    async () => {
      await using here = await site();
      const chart = chartDirectory("transporter-agent");
      const set = `agent.agentID=shop-1,agent.cpURL=https://cp.example.com,persistence.enabled=false,tests.tokenSecret=producer,fullnameOverride=${here.namespace}`;
      await here.helm("install", "agent", chart, "--set", set, ...WAIT);
      const pods = `/api/v1/namespaces/${here.namespace}/pods`;
      const testing = here.helm("test", "agent", "--timeout=180s");
      // Simulated nodes run nothing: somebody has to say how it went.
      for (const name of ["event", "settings"]) {
        const path = `${pods}/${here.namespace}-test-${name}`;
        const pod = await eventually(() => here.get(path), { timeoutMs: 60_000 });
        expect(at(pod, "spec", "securityContext", "runAsNonRoot")).toBe(true);
        await eventually(async () => at(await here.get(path), "status", "phase") === "Running", { timeoutMs: 30_000 });
        const status = JSON.stringify({ status: { phase: "Succeeded" } });
        await here.kube.kubectl([
          "--namespace",
          here.namespace,
          "patch",
          "pod",
          `${here.namespace}-test-${name}`,
          "--subresource=status",
          "--type=merge",
          `--patch=${status}`,
        ]);
      }
      expect(await testing).toContain("Phase:          Succeeded");
      await here.helm("uninstall", "agent", ...WAIT);
      await untilNothingIsLeft(here);
    },
    300_000,
  );
});

describe("transporter-cp: install, upgrade, rollback, uninstall", () => {
  besideChartTest(
    "from SQLite to a Redis of its own and back; CA and token stay, and nothing is left",
    async () => {
      await using here = await site(4);
      const chart = chartDirectory("transporter-cp");
      const storage = `persistence.storageClass=${here.storageClass},redis.master.persistence.storageClass=${here.storageClass}`;
      const name = here.namespace;
      const set = `${storage},fullnameOverride=${name}`;
      const kept = { "ca.crt": "the CA", "ca.key": "its key", "admin-token": "the token" };
      const deployment = (): Promise<Record<string, unknown> | undefined> =>
        here.get(`/apis/apps/v1/namespaces/${name}/deployments/${name}`);

      await here.helm("install", "cp", chart, "--set", set, ...WAIT);
      expect(at(await deployment(), "spec", "strategy", "type")).toBe("Recreate");
      expect(await here.read(`${name}-security`)).toEqual({});
      await here.write(`${name}-security`, kept);

      await here.helm("upgrade", "cp", chart, "--set", `${set},redis.enabled=true,replicaCount=2`, ...WAIT);
      expect(at(await deployment(), "spec", "strategy", "type")).toBe("RollingUpdate");
      expect(at(await deployment(), "status", "readyReplicas")).toBe(2);
      expect(await here.read(`${name}-security`)).toEqual(kept);
      const made = await here.read(`${name}-redis`);
      expect(Object.values(made).join("").length).toBeGreaterThan(15);
      // A password that was made up is not made up again.
      await here.helm("upgrade", "cp", chart, "--set", `${set},redis.enabled=true,replicaCount=3`, ...WAIT);
      expect(await here.read(`${name}-redis`)).toEqual(made);

      await here.helm("rollback", "cp", "1", ...WAIT);
      expect(at(await deployment(), "spec", "strategy", "type")).toBe("Recreate");
      expect(await here.read(`${name}-security`)).toEqual(kept);

      await here.helm("uninstall", "cp", ...WAIT);
      await untilNothingIsLeft(here);
    },
    300_000,
  );

  besideChartTest(
    "with everything that can be turned on; nothing is left",
    async () => {
      await using here = await site(4);
      const set = [
        `persistence.storageClass=${here.storageClass},redis.master.persistence.storageClass=${here.storageClass},fullnameOverride=${here.namespace}`,
        "redis.enabled=true,replicaCount=2,autoscaling.enabled=true,service.type=LoadBalancer,ingress.enabled=true,ingress.hosts={cp.example.com}",
        "gateway.enabled=true,gateway.parentRefs[0].name=g,gateway.hostnames={cp.example.com},gateway.agents.hostnames={agents.example.com},legacy.enabled=true,legacy.agents={a}",
        "metrics.serviceMonitor.enabled=auto,metrics.prometheusRule.enabled=auto,metrics.dashboards.enabled=true",
        "security.certManager.enabled=true,security.admin.existingSecret=first",
      ].join(",");
      // A simulated load balancer has no address, which --wait would wait for.
      await here.helm("install", "cp", chartDirectory("transporter-cp"), "--set", set);
      const made = (await here.changes()).map((line) => line.split(" ")[0]);
      for (const kind of ["ServiceMonitor", "PrometheusRule", "HorizontalPodAutoscaler", "TLSRoute", "Certificate", "Issuer", "Ingress"])
        expect(made).toContain(kind);
      await here.helm("uninstall", "cp", ...WAIT);
      await untilNothingIsLeft(here);
    },
    300_000,
  );
});
