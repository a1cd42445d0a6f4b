import { describe, expect } from "bun:test";
import { configMap, eventFrame, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace, sharedKube, uniqueName } from "../support/kube.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

interface Place extends AsyncDisposable {
  readonly cp: ScriptedCp;
  readonly space: Namespace;
  carryOut(manifests: readonly string[], payload?: Json): Promise<Json>;
}

async function place(): Promise<Place> {
  const stack = new AsyncDisposableStack();
  const space = stack.use(await freshNamespace(await sharedKube()));
  const cp = stack.use(await scriptedCp({ protocol: 2 }));
  stack.use(await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig: space.kube.kubeconfigPath } } }));
  return {
    cp,
    space,
    async carryOut(manifests, payload) {
      const id = uniqueName("event");
      (await cp.connection()).send(eventFrame(id, manifests, { payload: { on_failure: "continue", ...payload } }));
      return cp.ended(id, 60_000);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const resources = (status: Json): Json[] => (status["result"] as Json)["resource_status"] as Json[];
const brief = (status: Json): string[] =>
  resources(status).map(
    (one) => `${String(one["status"])} ${String(one["name"])}${typeof one["code"] === "string" ? ` ${one["code"]}` : ""}`,
  );

function dependent(name: string, namespace: string, on: string): string {
  return configMap(name, namespace).replace(
    "metadata:\n",
    `metadata:\n  annotations: {config.kubernetes.io/depends-on: "/namespaces/${namespace}/ConfigMap/${on}"}\n`,
  );
}

function sick(name: string, namespace: string, label = "image-error"): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  replicas: 1
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}${label === "" ? "" : `, transporter.dev/${label}: "true"`}}}
    spec: {containers: [{name: main, image: "images.example/some:1"}]}
`;
}

describe("on_failure: continue", () => {
  kubeTest("all that can be applied is; each object has its own reason, and the event fails with the first", async () => {
    await using at = await place();
    const { name } = at.space;
    const status = await at.carryOut([
      configMap("one", name),
      "apiVersion: nowhere.example/v1\nkind: Nothing\nmetadata: {name: unknown}\n",
      configMap("Not_A_Name", name),
      configMap("stray", "there-is-no-such-namespace"),
      configMap("last", name),
    ]);
    expect(status).toMatchObject({ state: "failed", details: { code: "UNKNOWN_KIND", fault_count: 3 } });
    expect(String(status["message"])).toMatch(
      /^3 of 5 objects failed \(2 were applied\), first: the cluster does not know nowhere.example\/v1 Nothing/,
    );
    expect(brief(status)).toEqual([
      "created one",
      "failed unknown UNKNOWN_KIND",
      "failed Not_A_Name INVALID_OBJECT",
      "failed stray NAMESPACE_NOT_FOUND",
      "created last",
    ]);
    for (const failed of resources(status).filter((one) => one["status"] === "failed")) expect(failed["message"]).not.toBe("");
    expect(await at.space.get("configmap", "last")).toBeDefined();
  });

  kubeTest("what depends on what failed is left, and says because of what", async () => {
    await using at = await place();
    const { name } = at.space;
    const status = await at.carryOut([
      configMap("Bad_Name", name),
      dependent("first", name, "Bad_Name"),
      dependent("second", name, "first"),
      configMap("alone", name),
    ]);
    expect(brief(status)).toEqual(["failed Bad_Name INVALID_OBJECT", "pending first", "pending second", "created alone"]);
    expect(
      resources(status)
        .slice(1, 3)
        .map((one) => one["message"]),
    ).toEqual([
      expect.stringMatching(/^not tried, because ConfigMap .*\/Bad_Name.* failed$/),
      expect.stringMatching(/^not tried, because ConfigMap .*\/first.* was not tried$/),
    ]);
  });

  kubeTest("what was applied is waited for as well, whatever failed before", async () => {
    await using at = await place();
    const { name } = at.space;
    const status = await at.carryOut([sick("ill", name), configMap("Not_A_Name", name), sick("well", name, "")], { verify_timeout: "4s" });
    expect(status).toMatchObject({ state: "failed", details: { code: "INVALID_OBJECT" } });
    expect(brief(status)).toEqual(["created ill VERIFY_TIMEOUT", "failed Not_A_Name INVALID_OBJECT", "created well"]);
    expect(resources(status)[0]?.["message"]).toMatch(/^not ready: .*cannot be pulled/);
    const phases = at.cp.frames("status_update").map((one) => one["phase"]);
    expect(phases.filter((phase) => phase === "verifying").length).toBeGreaterThan(0);
  });

  kubeTest("one that cannot become ready does not end the waiting for the others", async () => {
    await using at = await place();
    const { name } = at.space;
    const job = `apiVersion: batch/v1
kind: Job
metadata: {name: fails, namespace: ${name}}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {transporter.dev/fails: "true"}}
    spec: {restartPolicy: Never, containers: [{name: main, image: "images.example/some:1"}]}
`;
    const status = await at.carryOut([job, sick("ill", name)], { verify_timeout: "15s" });
    expect(status).toMatchObject({ state: "failed", details: { code: "VERIFY_FAILED" } });
    expect(brief(status)).toEqual(["created fails VERIFY_FAILED", "created ill VERIFY_TIMEOUT"]);
  });

  kubeTest("without it one fault refuses the event as a whole", async () => {
    await using at = await place();
    const status = await at.carryOut([configMap("one", at.space.name), configMap("Not_A_Name", at.space.name)], { on_failure: "stop" });
    expect(brief(status)).toEqual(["pending one", "failed Not_A_Name INVALID_OBJECT"]);
    expect(await at.space.get("configmap", "one")).toBeUndefined();
  });

  kubeTest("a deletion goes on as well", async () => {
    await using at = await place();
    const { space } = at;
    await space.kubectl(["create", "configmap", "held"]);
    await space.kubectl(["patch", "configmap", "held", "--patch", '{"metadata":{"finalizers":["example.com/hold"]}}']);
    await space.kubectl(["create", "configmap", "free"]);
    const references = ["held", "free"].map((name) => ({ api_version: "v1", kind: "ConfigMap", namespace: space.name, name }));
    const status = await at.carryOut([], { operation: "delete", references, verify_timeout: "2s" });
    await space.kubectl(["patch", "configmap", "held", "--type=json", "--patch", '[{"op":"remove","path":"/metadata/finalizers"}]']);
    expect(status).toMatchObject({ state: "failed" });
    expect(resources(status).map((one) => one["name"])).toEqual(["held", "free"]);
    expect(resources(status)[1]).toMatchObject({ status: "deleted" });
    await eventually(async () => (await space.get("configmap", "held")) === undefined);
  });
});
