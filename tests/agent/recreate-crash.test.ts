import { expect } from "bun:test";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventFrame } from "../support/agent.ts";
import { freshNamespace, kubeTest, type Namespace } from "../support/kube.ts";
import { startTransporter } from "../support/process.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

function sealed({ name: namespace }: Namespace, value: string): string {
  return JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "sealed", namespace }, data: { value }, immutable: true });
}

kubeTest(
  "an agent that is killed when the old object is gone makes the new one when it is back",
  async () => {
    await using space = await freshNamespace();
    await using cp = await scriptedCp({ protocol: 2 });
    const home = await mkdtemp(join(await realpath(tmpdir()), "transporter-recreate-"));
    const flags = ["--agent-id", "anew", "--cluster-name", "test", "--cp-url", cp.url, "--kubeconfig", space.kube.kubeconfigPath];
    try {
      await space.kubectl(["apply", "--server-side", "--field-manager=transporter", "-f", "-"], sealed(space, "1"));
      {
        await using doomed = await startTransporter(["agent", ...flags], { home, env: { TRANSPORTER_FAILPOINT: "recreate.gone@1" } });
        (await cp.connection()).send(eventFrame("killed", [sealed(space, "2")], { payload: { on_immutable: "recreate" } }));
        await doomed.exited;
        expect(doomed.signal()).toBe("SIGKILL");
      }
      expect(await space.get("configmap", "sealed")).toBeUndefined();
      await using _agent = await startTransporter(["agent", ...flags], { home });
      const last = await cp.ended("killed", 60_000);
      expect(last).toMatchObject({ state: "completed" });
      expect(((last["result"] as Json)["resource_status"] as Json[])[0]).toMatchObject({ name: "sealed", status: "created" });
      expect(await space.get("configmap", "sealed")).toMatchObject({ data: { value: "2" }, immutable: true });
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },
  120_000,
);
