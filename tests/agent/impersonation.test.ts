import { describe, expect } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configMap, eventFrame, startTestAgent } from "../support/agent.ts";
import { runCli } from "../support/cli.ts";
import { type Cluster, freshNamespace, kubeTest, type Namespace, sharedKube, uniqueName } from "../support/kube.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

async function run(cp: ScriptedCp, id: string, manifests: readonly string[], payload: Json = {}): Promise<Json> {
  (await cp.connection()).send(eventFrame(id, manifests, { payload }));
  return cp.ended(id, 60_000);
}

const resultOf = (status: Json): Json => status["result"] as Json;
const codeOf = (status: Json): unknown => resultOf(status)["error_code"];
const messageOf = (status: Json): string => String(resultOf(status)["error_message"]);

/** The kubeconfig of an account that has what `agent rbac` prints for it, and nothing else. */
async function impersonator(kube: Cluster, grants: readonly string[]): Promise<{ readonly kubeconfig: string; readonly user: string }> {
  const account = uniqueName("agent");
  const flags = ["--preset=impersonator", `--agent-namespace=${account}`, `--account=${account}`];
  const { code, out, err } = await runCli(["agent", "rbac", ...flags, ...grants.map((grant) => `--impersonate=${grant}`)]);
  if (code !== 0) throw new Error(err);
  await kube.kubectl(["apply", "-f", "-"], { input: out });
  const token = await kube.kubectl(["--namespace", account, "create", "token", account]);
  return { kubeconfig: await kube.kubeconfigFor(account, token.trim(), account), user: `system:serviceaccount:${account}:${account}` };
}

async function accountWith(space: Namespace, name: string, role: string): Promise<void> {
  await space.kubectl(["create", "serviceaccount", name]);
  await space.kubectl(["create", "rolebinding", name, `--clusterrole=${role}`, `--serviceaccount=${space.name}:${name}`]);
}

const DEPLOYMENT = (name: string, namespace: string): string =>
  JSON.stringify({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: {
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: "main", image: "web:1" }] } },
    },
  });

describe("an agent that does nothing as itself", () => {
  kubeTest(
    "carries out what names somebody, as that one, until it is ready; whatever names nobody is refused",
    async () => {
      const kube = await sharedKube();
      await using space = await freshNamespace(kube);
      await using other = await freshNamespace(kube);
      await accountWith(space, "deployer", "edit");
      const { kubeconfig, user } = await impersonator(kube, [`${space.name}/deployer`, "group:crew", "group:night shift", "user:jane"]);
      await using cp = await scriptedCp({ protocol: 2 });
      await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig } }, requireImpersonation: true });
      const deployer = { service_account: `${space.name}/deployer` };
      const name = `system:serviceaccount:${space.name}:deployer`;

      const nobody = await run(cp, "nobody", [configMap("a", space.name)]);
      expect(codeOf(nobody)).toBe("IMPERSONATION_REQUIRED");
      expect(messageOf(nobody)).toContain("does not say who is to do it");
      expect(await space.get("configmap", "a")).toBeUndefined();

      const done = await run(cp, "done", [configMap("a", space.name), DEPLOYMENT("web", space.name)], deployer);
      expect(done["state"]).toBe("completed");
      expect(cp.statuses("done").map((status) => status["message"])).toContain(`Carried out as ${name}`);
      expect(await space.get("deployment", "web")).toMatchObject({ status: { readyReplicas: 1 } });

      const elsewhere = await run(cp, "elsewhere", [configMap("a", other.name)], deployer);
      expect(codeOf(elsewhere)).toBe("FORBIDDEN");
      expect(messageOf(elsewhere)).toContain(`User "${name}" cannot`);
      expect(await other.get("configmap", "a")).toBeUndefined();

      const stranger = await run(cp, "stranger", [configMap("b", space.name)], { service_account: `${other.name}/default` });
      expect(codeOf(stranger)).toBe("FORBIDDEN");
      expect(messageOf(stranger)).toContain(`the agent's account "${user}" may not act as system:serviceaccount:${other.name}:default`);
      expect(stranger["details"]).toMatchObject({ remedy: expect.stringContaining(`--impersonate ${other.name}/default`) });

      // The rights of a group reach whoever is in it.
      await space.kubectl(["create", "rolebinding", "crew", "--clusterrole=edit", "--group=crew"]);
      const alone = await run(cp, "alone", [configMap("c", space.name)], { impersonate: { user: "jane" } });
      expect(messageOf(alone)).toContain('User "jane" cannot');
      const jane = { user: "jane", groups: ["night shift", "crew"] };
      const member = await run(cp, "member", [configMap("c", space.name), DEPLOYMENT("night", space.name)], { impersonate: jane });
      expect(member["state"]).toBe("completed");
      expect(cp.statuses("member").map((status) => status["message"])).toContain("Carried out as jane of the groups night shift, crew");
      expect(await space.get("deployment", "night")).toMatchObject({ status: { readyReplicas: 1 } });
      const climber = await run(cp, "climber", [configMap("d", space.name)], {
        impersonate: { user: "jane", groups: ["crew", "system:masters"] },
      });
      expect(messageOf(climber)).toContain("may not act as jane of the groups crew, system:masters");
      expect(await space.get("configmap", "d")).toBeUndefined();
    },
    120_000,
  );

  kubeTest(
    "runs no script either, even with somebody to run it",
    async () => {
      const kube = await sharedKube();
      await using cp = await scriptedCp({ protocol: 2 });
      const stateDir = await mkdtemp(join(tmpdir(), "transporter-script-"));
      let ran = 0;
      const script = (): Promise<{ success: boolean }> => {
        ran += 1;
        return Promise.resolve({ success: true });
      };
      try {
        await using _running = await startTestAgent({
          cpUrl: cp.url,
          cluster: { access: { kubeconfig: kube.kubeconfigPath } },
          stateDir,
          runners: { script },
          requireImpersonation: true,
        });
        (await cp.connection()).send(eventFrame("script", [], { event: { type: "script", payload: { script: "echo hello" } } }));
        expect(codeOf(await cp.ended("script", 60_000))).toBe("IMPERSONATION_REQUIRED");
        expect(ran).toBe(0);
      } finally {
        await rm(stateDir, { recursive: true, force: true });
      }
    },
    60_000,
  );

  kubeTest(
    "an agent that may act as others and works as itself as well does both, side by side",
    async () => {
      const kube = await sharedKube();
      await using space = await freshNamespace(kube);
      await accountWith(space, "viewer", "view");
      await using cp = await scriptedCp({ protocol: 2 });
      await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig: kube.kubeconfigPath } } });
      const [own, as] = await Promise.all([
        run(cp, "own", [configMap("a", space.name)]),
        run(cp, "as", [configMap("b", space.name)], { service_account: `${space.name}/viewer` }),
      ]);
      expect(own["state"]).toBe("completed");
      expect(codeOf(as)).toBe("FORBIDDEN");
      expect(messageOf(as)).toContain(`system:serviceaccount:${space.name}:viewer`);
      expect(await space.get("configmap", "b")).toBeUndefined();
    },
    60_000,
  );
});
