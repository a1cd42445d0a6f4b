import { describe, expect } from "bun:test";
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { kubeTest, startKube } from "../support/kube.ts";
import { startProcess, type RunningProcess } from "../support/process.ts";

const ROOT = resolve(import.meta.dir, "../..");

function quickstart(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<RunningProcess> {
  // The cache of programs is found by the home directory, so this keeps it; the quickstart itself reads nothing else there.
  const home = process.env["HOME"] ?? "/";
  return startProcess([process.execPath, join(ROOT, "scripts", "quickstart.ts"), ...args], { home, cwd: ROOT, env });
}

describe("the quickstart", () => {
  kubeTest("shows both manifests through all phases, what the API server has, and leaves nothing behind", async () => {
    await using run = await quickstart(["--once", "--sandbox"]);
    expect({ exitCode: await run.exited, stderr: run.stderr() }).toMatchObject({ exitCode: 0 });
    for (const phase of ["received", "validating", "applying", "verifying", "completed"])
      expect(run.stderr().match(new RegExp(`^[0-9:]+ +${phase} `, "gm"))?.length).toBe(2);
    expect(run.stdout()).toContain("SIMULATED");
    expect(run.stdout()).toMatch(/^transporter-test\s+Active/m);
    expect(run.stdout()).toMatch(/^deployment.apps\/nginx-test\s+2\/2/m);
    expect(run.stdout()).toMatch(/^service\/nginx-test\s/m);
    expect(run.stdout()).toContain("Everything that was started has ended.");
  });

  kubeTest("stays up with commands that work as pasted, and cleans up at Ctrl-C", async () => {
    await using run = await quickstart(["--sandbox"]);
    const [, kubectl = ""] = await run.line(/^ {2}(\S+kubectl) get all --namespace transporter-test$/, { timeoutMs: 50_000 });
    const [, cpUrl = ""] = await run.line(/^ {2}curl -s (\S+)\/metrics$/);
    await run.line(/^Running until Ctrl-C/);
    await using pasted = await startProcess([kubectl, "get", "all", "--namespace", "transporter-test"]);
    await pasted.line(/^service\/nginx-test/);
    expect(await (await fetch(`${cpUrl}/metrics`)).json()).toMatchObject({ agents: { connected: 1 }, events: { completed: 2 } });
    await run.kill("SIGINT");
    expect(await run.exited).toBe(0);
    expect(existsSync(dirname(kubectl))).toBe(false);
    expect(await fetch(cpUrl).catch(() => "gone")).toBe("gone");
  });

  kubeTest("works on the context that was named and takes away there what it made", async () => {
    await using kube = await startKube({ controllers: true, scheduler: true, nodes: 1 });
    await kube.kubectl(["create", "namespace", "mine"]);
    const env = { KUBECONFIG: kube.kubeconfigPath, PATH: `${dirname(kube.kubectlPath)}:${process.env["PATH"] ?? ""}` };
    await using run = await quickstart(["--once", "--context", "transporter-sandbox"], env);
    expect({ exitCode: await run.exited, stderr: run.stderr() }).toMatchObject({ exitCode: 0 });
    expect(run.stdout()).toContain("the cluster of context transporter-sandbox");
    const namespaces = await kube.kubectl(["get", "namespaces", "--output=name"]);
    expect(namespaces).toContain("namespace/mine");
    expect(namespaces).not.toContain("transporter-test");
  });

  kubeTest("does not touch a namespace of the named cluster that was there before, nor start for an unknown context", async () => {
    await using kube = await startKube({ controllers: true });
    await kube.kubectl(["create", "namespace", "transporter-test"]);
    const env = { KUBECONFIG: kube.kubeconfigPath, PATH: `${dirname(kube.kubectlPath)}:${process.env["PATH"] ?? ""}` };
    await using taken = await quickstart(["--once", "--context", "transporter-sandbox"], env);
    expect(await taken.exited).toBe(1);
    expect(taken.stderr()).toContain("it is not ours to change or remove");
    const { status } = (await (await kube.request("GET", "/api/v1/namespaces/transporter-test")).json()) as { status: { phase: string } };
    expect(status.phase).toBe("Active");
    await using unknown = await quickstart(["--once", "--context", "other"], env);
    expect(await unknown.exited).toBe(1);
    expect(unknown.stderr()).toContain('no context "other" in your kubeconfig; it has: transporter-sandbox');
  });
});
