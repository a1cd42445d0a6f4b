import { describe, expect } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { createKubeClient, type KubeClient, loadKubeAccess } from "../../src/k8s/mod.ts";
import { eventFrame, startTestAgent } from "../support/agent.ts";
import { freshNamespace, kubeTest } from "../support/kube.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

/** An API server that deletes, and then has trouble with whatever is to stand in its place, so often. */
function troubledAfterDeletion(client: KubeClient, times: number): KubeClient {
  let left = 0;
  return {
    access: client.access,
    ports: client.ports,
    log: client.log,
    maxInFlight: client.maxInFlight,
    discovery: client.discovery,
    openApi: client.openApi,
    identity: client.identity,
    as: (identity) => client.as(identity),
    open: (request, abort) => client.open(request, abort),
    async send(request) {
      const isTrial = request.path.includes("dryRun") || request.body?.includes("dryRun") === true;
      if (!isTrial && left > 0 && (request.method === "PATCH" || request.method === "POST")) {
        left -= 1;
        const text = JSON.stringify({ kind: "Status", message: "the database is not there", code: 500 });
        return { status: 500, headers: new Headers(), text };
      }
      const answer = await client.send(request);
      if (!isTrial && request.method === "DELETE") left = times;
      return answer;
    },
  };
}

function sealed(namespace: string, value: string): string {
  return JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "sealed", namespace }, data: { value }, immutable: true });
}

describe("an object that was deleted to be made anew", () => {
  kubeTest("and could neither be made nor put back, is made by the next attempt, and told as what it is", async () => {
    await using space = await freshNamespace();
    await using cp = await scriptedCp({ protocol: 2 });
    const access = await loadKubeAccess({ kubeconfig: space.kube.kubeconfigPath, ports: systemPorts });
    // Both the new one and the old one.
    const client = troubledAfterDeletion(createKubeClient(access, { ports: systemPorts, log: silentLogger }), 2);
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { client: () => client } });
    (await cp.connection()).send(eventFrame("first", [sealed(space.name, "1")]));
    expect(await cp.ended("first")).toMatchObject({ state: "completed" });
    const frame = eventFrame("anew", [sealed(space.name, "2")], {
      event: { retry: { attempts: 3, backoff: "20ms" } },
      payload: { on_immutable: "recreate" },
    });
    (await cp.connection()).send(frame);
    const last = await cp.ended("anew");
    expect(last).toMatchObject({ state: "completed" });
    const [resource] = (last["result"] as Json)["resource_status"] as Json[];
    expect(resource).toMatchObject({ name: "sealed", status: "recreated" });
    const [failed] = cp.statuses("anew").filter(({ log_level }) => log_level === "warning");
    expect(String(failed?.["message"])).toContain("and the old one could not be put back");
    expect(await space.get("configmap", "sealed")).toMatchObject({ data: { value: "2" } });
  });
});
