import { describe, expect } from "bun:test";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configMap, eventFrame, startTestAgent } from "../support/agent.ts";
import { freshNamespace, kubeTest, startKube } from "../support/kube.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

interface Audited {
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string };
  readonly impersonatedUser?: { readonly username: string; readonly groups?: readonly string[] };
}

const AGENT = "agent-of-the-audit";

function deployment(namespace: string, image: string, labels: Json = {}): string {
  const app = { app: "web" };
  const template = { metadata: { labels: { ...app, ...labels } }, spec: { containers: [{ name: "main", image }] } };
  return JSON.stringify({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", namespace },
    spec: { selector: { matchLabels: app }, template },
  });
}

describe("the API server's own record of who asked", () => {
  kubeTest(
    "has the identity of the event on every request of every operation, also by an agent that might do all itself",
    async () => {
      const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-audit-"));
      const policy = join(directory, "policy.yaml");
      const log = join(directory, "audit.log");
      await Bun.write(policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n  - level: Metadata\n");
      try {
        await using kube = await startKube({
          controllers: true,
          scheduler: true,
          nodes: 1,
          apiServerFlags: [`--audit-policy-file=${policy}`, `--audit-log-path=${log}`],
        });
        await using space = await freshNamespace(kube);
        await space.kubectl(["create", "serviceaccount", "deployer"]);
        await space.kubectl(["create", "rolebinding", "deployer", "--clusterrole=admin", `--serviceaccount=${space.name}:deployer`]);
        const { kubeconfigPath } = await kube.clientCertificate(AGENT, ["system:masters"]);
        await using cp = await scriptedCp({ protocol: 2 });
        await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig: kubeconfigPath } } });
        const run = async (id: string, manifests: readonly string[], payload: Json = {}): Promise<string> => {
          const service = { service_account: `${space.name}/deployer` };
          (await cp.connection()).send(eventFrame(id, manifests, { payload: { ...payload, ...service } }));
          const { state } = await cp.ended(id, 90_000);
          return `${id} ${String(state)}`;
        };
        const web = { api_version: "apps/v1", kind: "Deployment", namespace: space.name, name: "web" };
        const never = { "transporter.dev/never-ready": "true" };
        const ended = [
          await run("create", [configMap("a", space.name)], { operation: "create" }),
          await run("apply", [deployment(space.name, "web:1"), configMap("a", space.name, "y")]),
          await run("restart", [], { operation: "restart", references: [web] }),
          await run("patch", [], { operation: "patch", patches: [{ ...web, type: "strategic", patch: '{"spec":{"replicas":2}}' }] }),
          await run("diff", [deployment(space.name, "web:2")], { operation: "diff" }),
          await run("back", [deployment(space.name, "web:3", never)], { on_failure: "rollback", verify_timeout: "3s" }),
          await run("delete", [], { operation: "delete", references: [web] }),
        ];
        expect(ended).toEqual(
          ["create", "apply", "restart", "patch", "diff", "back", "delete"].map((id) => `${id} ${id === "back" ? "failed" : "completed"}`),
        );

        const lines = (await Bun.file(log).text()).trimEnd().split("\n");
        const ours = lines.map((line) => JSON.parse(line) as Audited).filter(({ user }) => user.username === AGENT);
        const path = ({ verb, requestURI }: Audited): string => `${verb} ${requestURI.replace(/\?.*/, "")}`;
        const asItself = ours.filter(({ impersonatedUser }) => impersonatedUser === undefined).map(path);
        expect([...new Set(asItself)].filter((one) => one !== "get /readyz")).toEqual([]);
        expect([...new Set(ours.flatMap(({ impersonatedUser }) => impersonatedUser?.username ?? []))]).toEqual([
          `system:serviceaccount:${space.name}:deployer`,
        ]);
        // All kinds of requests are among them, so that what is said above says something.
        const verbs = new Set(ours.map(({ verb }) => verb));
        for (const verb of ["get", "list", "watch", "create", "patch", "delete"]) expect(verbs).toContain(verb);
        const asked = new Set(ours.map(path));
        for (const one of ["get /api", "get /apis"]) expect(asked).toContain(one);
        expect([...asked].some((one) => one.startsWith(`list /api/v1/namespaces/${space.name}/pods`))).toBe(true);
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    },
    300_000,
  );
});
