import { describe, expect } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configMap, eventFrame, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace, sharedKube, uniqueName } from "../support/kube.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

interface Place extends AsyncDisposable {
  readonly cp: ScriptedCp;
  readonly space: Namespace;
  /** Sends an event and gives its last status. */
  carryOut(manifests: readonly string[], payload?: Json, event?: Json): Promise<Json>;
  send(id: string, manifests: readonly string[], payload?: Json, event?: Json): Promise<void>;
}

async function place(kubeconfig?: (space: Namespace) => Promise<string>): Promise<Place> {
  const stack = new AsyncDisposableStack();
  const space = stack.use(await freshNamespace(await sharedKube()));
  const stateDir = await mkdtemp(join(tmpdir(), "transporter-rollback-"));
  stack.defer(() => rm(stateDir, { recursive: true, force: true }));
  const cp = stack.use(await scriptedCp({ protocol: 2 }));
  const access = { kubeconfig: (await kubeconfig?.(space)) ?? space.kube.kubeconfigPath };
  stack.use(await startTestAgent({ cpUrl: cp.url, stateDir, cluster: { access } }));
  const send: Place["send"] = async (id, manifests, payload = {}, event = {}) => {
    (await cp.connection()).send(eventFrame(id, manifests, { event, payload: { on_failure: "rollback", ...payload } }));
  };
  return {
    cp,
    space,
    send,
    async carryOut(manifests, payload, event) {
      const id = uniqueName("event");
      await send(id, manifests, payload, event);
      return cp.ended(id, 60_000);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const resources = (status: Json): Json[] => (status["result"] as Json)["resource_status"] as Json[];
const brief = (status: Json): string[] => resources(status).map((one) => `${String(one["status"])} ${String(one["name"])}`);

async function data(space: Namespace, name: string): Promise<unknown> {
  return (await space.get("configmap", name))?.["data"];
}

function sick(name: string, namespace: string, replicas = 1): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}, transporter.dev/image-error: "true"}}
    spec: {containers: [{name: main, image: "images.example/none:1"}]}
`;
}

/** Passes its dry run, as its namespace is asked for only by the quota that the event brings. */
function quota(namespace: string): string {
  return `apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none, namespace: ${namespace}}\nspec: {hard: {services: "0"}}\n`;
}

function service(namespace: string): string {
  return `apiVersion: v1\nkind: Service\nmetadata: {name: refused, namespace: ${namespace}}\nspec: {clusterIP: None, selector: {app: none}}\n`;
}

describe("on_failure: rollback", () => {
  kubeTest("what does not become ready is taken back with all the rest; the error keeps the first cause", async () => {
    await using at = await place();
    const { space } = at;
    expect(await at.carryOut([configMap("settings", space.name, "before")])).toMatchObject({ state: "completed" });
    const before = (await space.get("configmap", "settings"))?.["metadata"] as Json;
    const status = await at.carryOut(
      [configMap("settings", space.name, "after"), configMap("fresh", space.name), sick("web", space.name)],
      {
        verify_timeout: "3s",
      },
    );
    expect(status).toMatchObject({ state: "failed", details: { code: "VERIFY_TIMEOUT", rolled_back: true } });
    expect(String(status["message"])).toMatch(
      /^not ready after 3 s: Deployment .*web.*; rolled back: 1 object was restored and 2 objects were removed$/,
    );
    expect(resources(status)).toMatchObject([
      { name: "settings", status: "restored", message: "Put back as it was before the event" },
      { name: "fresh", status: "removed", message: "Removed again: it was not there before the event" },
      { name: "web", status: "removed", message: expect.stringMatching(/^not ready: .*cannot be pulled.*; Removed again/) },
    ]);
    expect(await data(space, "settings")).toEqual({ value: "before" });
    const after = (await space.get("configmap", "settings"))?.["metadata"] as Json;
    expect({ ...after, resourceVersion: undefined }).toEqual({ ...before, resourceVersion: undefined });
    expect([await space.get("configmap", "fresh"), await space.get("deployment", "web")]).toEqual([undefined, undefined]);
    const told = at.cp.frames("status_update").map((one) => String(one["message"]));
    expect(told.some((message) => message.startsWith("Putting everything back as it was, because of: not ready after 3 s"))).toBe(true);
  });

  kubeTest("what the API server refuses in the middle: the object that failed keeps its reason and its code", async () => {
    await using at = await place();
    const { space } = at;
    await at.carryOut([configMap("settings", space.name, "before")]);
    const status = await at.carryOut([configMap("settings", space.name, "after"), quota(space.name), service(space.name)]);
    expect(status).toMatchObject({ state: "failed", details: { code: "QUOTA_EXCEEDED" } });
    expect(resources(status)).toMatchObject([
      { name: "settings", status: "restored" },
      { name: "none", status: "removed" },
      { name: "refused", status: "failed", code: "QUOTA_EXCEEDED", message: expect.stringContaining("exceeded quota: none") },
    ]);
    expect(await data(space, "settings")).toEqual({ value: "before" });
    expect(await space.get("resourcequota", "none")).toBeUndefined();
  });

  kubeTest("refused before anything was changed, there is nothing to say of a rollback", async () => {
    await using at = await place();
    const status = await at.carryOut([configMap("fresh", at.space.name), configMap("Not_A_Name", at.space.name)]);
    expect(status).toMatchObject({ state: "failed", details: { code: "INVALID_OBJECT" } });
    expect(String(status["message"])).not.toContain("rolled back");
    expect(brief(status)).toEqual(["pending fresh", "failed Not_A_Name"]);
  });

  kubeTest("past its deadline: the time for the way back is its own", async () => {
    await using at = await place();
    const status = await at.carryOut([configMap("fresh", at.space.name), sick("web", at.space.name)], {}, { deadline: "8s" });
    expect(status).toMatchObject({ state: "failed", details: { code: "DEADLINE_EXCEEDED", rolled_back: true } });
    expect(brief(status)).toEqual(["removed fresh", "removed web"]);
    expect(await at.space.get("configmap", "fresh")).toBeUndefined();
  });

  kubeTest("called back while it waits: everything is put back, and it ends cancelled", async () => {
    await using at = await place();
    await at.send("back", [configMap("fresh", at.space.name), sick("web", at.space.name)]);
    await eventually(() => at.cp.statuses("back").some((one) => one["phase"] === "verifying"), { timeoutMs: 20_000 });
    (await at.cp.connection()).send({ type: "cancel", event_id: "back", revision: 1 });
    const status = await at.cp.ended("back", 60_000);
    expect(status).toMatchObject({ state: "cancelled", details: { code: "EVENT_CANCELLED" } });
    expect(status["message"]).toBe(
      "Event cancelled while waiting for what was applied to become ready; rolled back: 2 objects were removed",
    );
    expect(brief(status)).toEqual(["removed fresh", "removed web"]);
    expect(await at.space.get("configmap", "fresh")).toBeUndefined();
  });

  kubeTest("what cannot be put back is named by ROLLBACK_FAILED, and the first cause with it", async () => {
    await using at = await place();
    const { space } = at;
    const frozen = `${configMap("frozen", space.name, "a")}immutable: true\n`;
    await at.carryOut([configMap("frozen", space.name, "a"), configMap("settings", space.name, "before")]);
    const status = await at.carryOut([frozen, configMap("settings", space.name, "after"), sick("web", space.name)], {
      verify_timeout: "2s",
    });
    expect(status).toMatchObject({
      state: "failed",
      details: { code: "ROLLBACK_FAILED", cause: { code: "VERIFY_TIMEOUT" }, fault_count: 1 },
      result: { error_code: "ROLLBACK_FAILED" },
    });
    expect(String(status["message"])).toMatch(
      /^not everything is as it was before the event: ConfigMap .*\/frozen: immutable: .*; it had failed with VERIFY_TIMEOUT: not ready after 2 s/,
    );
    expect(resources(status)).toMatchObject([
      { name: "frozen", status: "failed", code: "ROLLBACK_FAILED" },
      { name: "settings", status: "restored" },
      { name: "web", status: "removed" },
    ]);
    expect(await data(space, "settings")).toEqual({ value: "before" });
  });

  kubeTest("an account that could not take back what it makes is told so before it makes it", async () => {
    await using at = await place((space) =>
      space.kubeconfigWith([{ apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list", "watch", "create", "patch"] }]),
    );
    const status = await at.carryOut([configMap("fresh", at.space.name)]);
    expect(status).toMatchObject({ state: "failed", details: { code: "FORBIDDEN" } });
    expect(String(status["message"])).toContain(`the account may not delete configmaps in namespace ${at.space.name}`);
    expect(await at.space.get("configmap", "fresh")).toBeUndefined();
    expect(brief(status)).toEqual(["pending fresh"]);
  });

  kubeTest("an agent without a disk puts back as well, and says what it could not", async () => {
    await using space = await freshNamespace(await sharedKube());
    await using cp = await scriptedCp({ protocol: 2 });
    await using _agent = await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig: space.kube.kubeconfigPath } } });
    (await cp.connection()).send(
      eventFrame("memory", [configMap("fresh", space.name), sick("web", space.name)], {
        payload: { on_failure: "rollback", verify_timeout: "2s" },
      }),
    );
    expect(brief(await cp.ended("memory", 60_000))).toEqual(["removed fresh", "removed web"]);
    const told = cp.statuses("memory").map((one) => String(one["message"]));
    expect(told.filter((message) => message.startsWith("This agent keeps nothing on disk"))).toHaveLength(1);
  });

  kubeTest("a deletion that cannot be finished is taken back, but for what holds it; a namespace is not deleted so at all", async () => {
    await using at = await place();
    const { space } = at;
    await at.carryOut([configMap("gone", space.name, "before")]);
    await space.kubectl(["create", "configmap", "held"]);
    await space.kubectl(["patch", "configmap", "held", "--patch", '{"metadata":{"finalizers":["example.com/hold"]}}']);
    const references = ["gone", "held"].map((name) => ({ api_version: "v1", kind: "ConfigMap", namespace: space.name, name }));
    const running = at.carryOut([], { operation: "delete", references, verify_timeout: "2s" });
    await eventually(() => at.cp.frames("status_update").some((one) => String(one["message"]).startsWith("Putting everything back")), {
      timeoutMs: 30_000,
    });
    await space.kubectl(["patch", "configmap", "held", "--type=json", "--patch", '[{"op":"remove","path":"/metadata/finalizers"}]']);
    const status = await running;
    expect(status).toMatchObject({ state: "failed", details: { rolled_back: true } });
    expect(brief(status)).toEqual(["restored gone", "restored held"]);
    expect(await data(space, "gone")).toEqual({ value: "before" });
    expect((await space.get("configmap", "held"))?.["metadata"]).toMatchObject({ finalizers: ["example.com/hold"] });
    await space.kubectl(["patch", "configmap", "held", "--type=json", "--patch", '[{"op":"remove","path":"/metadata/finalizers"}]']);
    const namespace = { api_version: "v1", kind: "Namespace", name: space.name };
    expect(await at.carryOut([], { operation: "delete", references: [namespace] })).toMatchObject({
      details: { code: "INVALID_OBJECT" },
      message: expect.stringContaining("cannot be deleted with on_failure: rollback"),
    });
  });

  kubeTest("a StatefulSet that takes its volume claims along is not deleted so either", async () => {
    await using at = await place();
    const { space } = at;
    const set = {
      apiVersion: "apps/v1",
      kind: "StatefulSet",
      metadata: { name: "db" },
      spec: {
        serviceName: "db",
        replicas: 0,
        persistentVolumeClaimRetentionPolicy: { whenDeleted: "Delete", whenScaled: "Retain" },
        selector: { matchLabels: { app: "db" } },
        template: { metadata: { labels: { app: "db" } }, spec: { containers: [{ name: "main", image: "none" }] } },
      },
    };
    await space.kubectl(["apply", "--server-side", "-f", "-"], JSON.stringify(set));
    const references = [{ api_version: "apps/v1", kind: "StatefulSet", namespace: space.name, name: "db" }];
    expect(await at.carryOut([], { operation: "delete", references })).toMatchObject({
      details: { code: "INVALID_OBJECT" },
      message: expect.stringContaining("with it would go the volume claims of its pods"),
    });
    expect((await space.get("statefulset", "db"))?.["metadata"]).not.toHaveProperty("deletionTimestamp");
  });

  kubeTest("what the event leaves to others stays as they have made it meanwhile", async () => {
    await using at = await place();
    const { name } = at.space;
    const colours = (size: string): string =>
      JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "colours", namespace: name }, data: { color: "red", size } });
    expect(await at.carryOut([colours("small")])).toMatchObject({ state: "completed" });
    const id = uniqueName("event");
    const ignore_fields = [{ kind: "ConfigMap", pointers: ["/data/color"] }];
    await at.send(id, [colours("large"), sick("ill", name)], { ignore_fields, verify_timeout: "10s" });
    await eventually(async () => ((await data(at.space, "colours")) as Json)["size"] === "large", { what: "the event's write" });
    await at.space.kubectl(["patch", "configmap", "colours", "--field-manager=painter", "--patch", '{"data":{"color":"green"}}']);
    expect(brief(await at.cp.ended(id, 60_000))).toEqual(["restored colours", "removed ill"]);
    expect(await data(at.space, "colours")).toEqual({ color: "green", size: "small" });
  });
});
