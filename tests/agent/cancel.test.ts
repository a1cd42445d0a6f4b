import { describe, expect, test } from "bun:test";
import { configMap, eventFrame, MapCluster, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace } from "../support/kube.ts";
import { type ScriptedConnection, scriptedCp } from "../support/scripted-cp.ts";
import { webhookThatIsDown } from "../support/webhook.ts";

type Json = Record<string, unknown>;

const access = (space: Namespace): { access: { kubeconfig: string } } => ({ access: { kubeconfig: space.kube.kubeconfigPath } });
const resources = (status: Json): Json[] => (status["result"] as Json)["resource_status"] as Json[];

function callBack(connection: ScriptedConnection, id: string): void {
  connection.send({ type: "cancel", event_id: id, revision: 1 });
}

function neverReady(namespace: string): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ${namespace}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, transporter.dev/never-ready: "true"}}
    spec: {containers: [{name: web, image: "none"}]}
`;
}

describe("an event that is called back", () => {
  kubeTest(
    "while it applies: what is being applied is finished, no further object is touched, and each says where it stands",
    async () => {
      await using space = await freshNamespace();
      await using cp = await scriptedCp({ protocol: 2 });
      await using _running = await startTestAgent({ cpUrl: cp.url, cluster: access(space) });
      const total = 800;
      const connection = await cp.connection();
      connection.send(
        eventFrame(
          "many",
          Array.from({ length: total }, (_, at) => configMap(`c${at}`, space.name, "x".repeat(1_000))),
        ),
      );
      await eventually(() => cp.statuses("many").some((status) => status["phase"] === "applying"), { timeoutMs: 40_000, everyMs: 1 });
      callBack(connection, "many");
      const last = await cp.ended("many", 30_000);
      expect(last).toMatchObject({
        state: "cancelled",
        phase: "failed",
        details: { code: "EVENT_CANCELLED" },
        result: { success: false, error_code: "EVENT_CANCELLED" },
      });
      const told = resources(last);
      expect(told).toHaveLength(total);
      const created = told.filter((one) => one["status"] === "created").map((one) => String(one["name"]));
      expect(told.filter((one) => one["status"] === "pending")).toHaveLength(total - created.length);
      expect(created.length).toBeLessThan(total);
      const there = (await space.kubectl(["get", "configmaps", "--output=name"])).split("\n").map((line) => line.replace("configmap/", ""));
      expect(there.filter((name) => /^c\d+$/.test(name)).toSorted()).toEqual(created.toSorted());
    },
    90_000,
  );

  kubeTest("while it waits for readiness: at once, and what was applied stays and is told", async () => {
    await using space = await freshNamespace();
    await using cp = await scriptedCp({ protocol: 2 });
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: access(space) });
    const connection = await cp.connection();
    connection.send(eventFrame("waits", [neverReady(space.name)]));
    await eventually(() => cp.statuses("waits").some((status) => status["phase"] === "verifying"), { timeoutMs: 20_000 });
    const askedMs = performance.now();
    callBack(connection, "waits");
    const last = await cp.ended("waits");
    expect(performance.now() - askedMs).toBeLessThan(2_000);
    expect(last).toMatchObject({ state: "cancelled" });
    expect(resources(last)).toMatchObject([{ kind: "Deployment", status: "created" }]);
    expect(await space.get("deployment", "web")).toBeDefined();
  });

  kubeTest("while it waits for another attempt: at once", async () => {
    await using space = await freshNamespace();
    await using _webhook = await webhookThatIsDown(space);
    await using cp = await scriptedCp({ protocol: 2 });
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: access(space) });
    const connection = await cp.connection();
    connection.send(
      eventFrame("tries", [configMap("settings", space.name)], { event: { retry: { backoff: "10m", max_backoff: "10m", attempts: 100 } } }),
    );
    await eventually(() => cp.statuses("tries").some((status) => status["log_level"] === "warning"));
    callBack(connection, "tries");
    const last = await cp.ended("tries");
    expect(last).toMatchObject({ state: "cancelled" });
    expect(resources(last)).toMatchObject([{ name: "settings", status: "failed" }]);
  });

  test("while it waits behind another: at once, it never starts, and what waited for it goes on", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    const open = Promise.withResolvers<void>();
    cluster.gates.set("shared", open.promise);
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources } });
    const connection = await cp.connection();
    connection.send(eventFrame("first", [configMap("shared")]));
    connection.send(eventFrame("second", [configMap("shared"), configMap("other")]));
    connection.send(eventFrame("third", [configMap("other")]));
    await eventually(() => cluster.history.includes("start shared"));
    await eventually(() => cp.frames("event_ack").length === 3);
    callBack(connection, "second");
    expect(await cp.ended("second")).toMatchObject({ state: "cancelled", message: "Event cancelled before it was started" });
    expect(await cp.ended("third")).toMatchObject({ state: "completed" });
    open.resolve();
    expect(await cp.ended("first")).toMatchObject({ state: "completed" });
    expect(cluster.history).toEqual(["start shared", "start other", "end other", "end shared"]);
    // Too late: it has ended as it has, and the agent is none the worse for it.
    callBack(connection, "first");
    callBack(connection, "never-heard-of");
    connection.send(eventFrame("after", [configMap("after")]));
    expect(await cp.ended("after")).toMatchObject({ state: "completed" });
    expect(new Set(cp.statuses("first").map((status) => status["state"]))).toEqual(new Set(["in_progress", "completed"]));
  });
});
