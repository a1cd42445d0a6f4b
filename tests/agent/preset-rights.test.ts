import { describe, expect } from "bun:test";
import { eventFrame, startTestAgent } from "../support/agent.ts";
import { runCli } from "../support/cli.ts";
import { freshNamespace, kubeTest, sharedKube, uniqueName } from "../support/kube.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

const words = (status: Json): string[] =>
  (((status["result"] as Json | undefined)?.["resource_status"] ?? []) as Json[]).map(
    (one) => `${String(one["status"])} ${String(one["kind"])} ${String(one["name"])}`,
  );

function map(name: string, namespace: string, value: string, more: Json = {}): string {
  return JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, data: { value }, ...more });
}

function deployment(name: string, namespace: string, image: string, selector = name): string {
  const labels = { app: selector };
  const template = { metadata: { labels }, spec: { containers: [{ name: "main", image }] } };
  return JSON.stringify({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: { selector: { matchLabels: labels }, template },
  });
}

describe("the preset of namespaces", () => {
  kubeTest(
    "is enough for every operation there, for making anew and for rolling back",
    async () => {
      const kube = await sharedKube();
      await using space = await freshNamespace(kube);
      const account = uniqueName("agent");
      const { out } = await runCli([
        "agent",
        "rbac",
        "--preset=namespaced",
        `--namespace=${space.name}`,
        `--agent-namespace=${account}`,
        `--account=${account}`,
      ]);
      await kube.kubectl(["apply", "-f", "-"], { input: out });
      const token = await kube.kubectl(["--namespace", account, "create", "token", account]);
      const kubeconfig = await kube.kubeconfigFor(account, token.trim(), account);
      await using cp = await scriptedCp({ protocol: 2 });
      await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig } } });
      const run = async (id: string, manifests: readonly string[], payload: Json = {}): Promise<Json> => {
        (await cp.connection()).send(eventFrame(id, manifests, { payload }));
        const ended = await cp.ended(id, 90_000);
        expect({ id, text: JSON.stringify(ended).includes("cannot") }).toEqual({ id, text: false });
        return ended;
      };
      const { name } = space;
      const web = { api_version: "apps/v1", kind: "Deployment", namespace: name, name: "web" };

      expect(words(await run("create", [map("a", name, "1")], { operation: "create" }))).toEqual(["created ConfigMap a"]);
      expect(words(await run("apply", [deployment("web", name, "web:1")]))).toEqual(["created Deployment web"]);
      expect(
        (await run("patch", [], { operation: "patch", patches: [{ ...web, type: "merge", patch: '{"metadata":{"labels":{"x":"y"}}}' }] }))[
          "state"
        ],
      ).toBe("completed");
      expect(words(await run("restart", [], { operation: "restart", references: [web] }))).toEqual(["restarted Deployment web"]);
      expect((await run("diff", [map("a", name, "2")], { operation: "diff" }))["state"]).toBe("completed");
      expect(words(await run("anew", [deployment("web", name, "web:2", "other")], { on_immutable: "recreate" }))).toEqual([
        "recreated Deployment web",
      ]);

      const stuck = JSON.parse(deployment("stuck", name, "web:1")) as { spec: { template: { metadata: { labels: Json } } } };
      stuck.spec.template.metadata.labels["transporter.dev/never-ready"] = "true";
      const back = await run("back", [map("a", name, "3"), map("new", name, "1"), JSON.stringify(stuck)], {
        on_failure: "rollback",
        verify_timeout: "3s",
      });
      expect(back["state"]).toBe("failed");
      expect(words(back).toSorted()).toEqual(["removed ConfigMap new", "removed Deployment stuck", "restored ConfigMap a"]);
      expect(await space.get("configmap", "a")).toMatchObject({ data: { value: "1" } });

      const gone = await run("delete", [], {
        operation: "delete",
        references: [web, { api_version: "v1", kind: "ConfigMap", namespace: name, name: "a" }],
      });
      expect(words(gone).toSorted()).toEqual(["deleted ConfigMap a", "deleted Deployment web"]);
      expect(await space.get("deployment", "web")).toBeUndefined();
    },
    240_000,
  );
});
