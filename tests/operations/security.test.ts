import { expect, test } from "bun:test";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { freshNamespace, kubeTest, sharedKube, uniqueName } from "../support/kube.ts";
import { sectionOf, stepsOf, runStep } from "../docs/steps.ts";
import { readText } from "../docs/markdown.ts";
import { completed, configMapEvent, hand, startSite } from "./site.ts";

kubeTest(
  "a store that is lost without a backup: the first admin token counts again, agents leave until they enrol anew",
  async () => {
    await using namespace = await freshNamespace();
    await using site = await startSite();
    await site.startCp();
    const agentId = uniqueName("agent");
    const agent = await site.startAgent(agentId, namespace.kube.kubeconfigPath);
    await using _agent = agent;
    await site.stopCp();
    for (const name of await readdir(site.state)) if (name.startsWith("cp.db")) await rm(join(site.state, name));
    await site.startCp();
    expect(await site.status("/v1/whoami")).toBe(200);
    // Its identity is of an installation that is no more: it keeps that, until somebody takes it away.
    await agent.line(/This Control Plane is not the one that this agent belongs to/, { timeoutMs: 30_000 });
    await agent.kill("SIGTERM");
    await rm(join(site.home, `agent-${agentId}`, ".local/state/transporter/agents", agentId, "identity"), { recursive: true });
    await rm(join(site.home, `agent-${agentId}`, "enrolled"));
    await using _enrolled = await site.startAgent(agentId, namespace.kube.kubeconfigPath);
    await completed(site, await hand(site, configMapEvent("after", agentId, namespace.name)));
  },
  120_000,
);

test("where nobody has an admin token any more, docs/troubleshooting.md makes one", async () => {
  await using site = await startSite();
  await site.startCp();
  const [{ id } = { id: "" }] = (await site.json<{ items: { id: string }[] }>("/v1/tokens")).items;
  await site.json(`/v1/tokens/${id}`, { method: "DELETE" });
  expect(await site.status("/v1/whoami")).toBe(401);
  await site.stopCp();
  const [step] = stepsOf(sectionOf(await readText("docs/troubleshooting.md"), "### Nobody has an admin token"));
  const output = await runStep(step ?? { line: 0, script: "false", expected: [] }, site);
  const token = /\btpu_\w+/.exec(output)?.[0] ?? "";
  const hash = join(site.home, "new-admin/admin-token.hash");
  await site.startCp({ TRANSPORTER_ADMIN_TOKEN_FILE: hash });
  expect((await site.json<{ role: string }>("/v1/whoami", { token })).role).toBe("admin");
  // It stays, without the file; what was revoked stays so.
  await site.stopCp();
  await site.startCp();
  expect(await site.status("/v1/whoami", { token })).toBe(200);
  expect(await site.status("/v1/whoami")).toBe(401);
}, 60_000);

kubeTest(
  "the Secret of a chart is saved and put back by the commands of docs/operations.md",
  async () => {
    const kube = await sharedKube();
    const namespace = "transporter-system";
    await kube.tryKubectl(["create", "namespace", namespace]);
    const name = "transporter-cp-security";
    const made = ["-n", namespace, "create", "secret", "generic", name];
    try {
      await kube.kubectl([...made, "--from-literal=ca.crt=one\n", "--from-literal=ca.key=two\n", "--from-literal=ca-hash=sha256:three"]);
      const data = await kube.kubectl(["-n", namespace, "get", "secret", name, "-o", "jsonpath={.data}"]);
      await using site = await startSite({ programs: { kubectl: [kube.kubectlPath, "--kubeconfig", kube.kubeconfigPath] } });
      await site.follow("### The security directory", 2);
      await kube.kubectl(["-n", namespace, "delete", "secret", name]);
      await kube.kubectl(made);
      await site.follow("### The security directory", 3);
      expect(await kube.kubectl(["-n", namespace, "get", "secret", name, "-o", "jsonpath={.data}"])).toBe(data);
      expect(JSON.parse(data)).toHaveProperty("ca-hash");
    } finally {
      await kube.tryKubectl(["-n", namespace, "delete", "secret", name, "--ignore-not-found"]);
    }
  },
  60_000,
);
