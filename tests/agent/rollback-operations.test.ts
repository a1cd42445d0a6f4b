import { describe, expect } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configMap, eventFrame, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { type Cluster, freshNamespace, kubeTest, sharedKube, startKube, uniqueName } from "../support/kube.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

interface Place extends AsyncDisposable {
  readonly cp: ScriptedCp;
  carryOut(manifests: readonly string[], payload?: Json): Promise<Json>;
}

async function place(kube: Cluster): Promise<Place> {
  const stack = new AsyncDisposableStack();
  const stateDir = await mkdtemp(join(tmpdir(), "transporter-rollback-"));
  stack.defer(() => rm(stateDir, { recursive: true, force: true }));
  const cp = stack.use(await scriptedCp({ protocol: 2 }));
  stack.use(await startTestAgent({ cpUrl: cp.url, stateDir, cluster: { access: { kubeconfig: kube.kubeconfigPath } } }));
  return {
    cp,
    async carryOut(manifests, payload) {
      const id = uniqueName("event");
      (await cp.connection()).send(eventFrame(id, manifests, { payload: { on_failure: "rollback", verify_timeout: "2s", ...payload } }));
      return cp.ended(id, 90_000);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const resources = (status: Json): Json[] => (status["result"] as Json)["resource_status"] as Json[];
const brief = (status: Json): string[] => resources(status).map((one) => `${String(one["status"])} ${String(one["name"])}`);
const metadataOf = (object: Json): Json => object["metadata"] as Json;

async function read(kube: Cluster, path: string): Promise<Json> {
  return (await (await kube.request("GET", path)).json()) as Json;
}

/** What of an object its controllers do not write. */
function essence(object: Json): Json {
  const { managedFields, labels, generateName } = metadataOf(object);
  const ours = (managedFields as Json[]).filter(({ subresource }) => subresource === undefined);
  return { managedFields: ours, labels, generateName, spec: object["spec"], data: object["data"] };
}

function web(namespace: string, more: { readonly app?: string; readonly label?: string; readonly replicas?: number } = {}): string {
  const app = more.app ?? "web";
  const label = more.label === undefined ? "" : `, transporter.dev/${more.label}: "true"`;
  return `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ${namespace}}
spec:
  replicas: ${more.replicas ?? 1}
  selector: {matchLabels: {app: ${app}}}
  template:
    metadata: {labels: {app: ${app}${label}}}
    spec: {containers: [{name: main, image: "images.example/web:1"}]}
`;
}

describe("rolling back", () => {
  kubeTest("a patch and a restart: the template and who wrote what of it are as they were", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    await using at = await place(kube);
    const path = `/apis/apps/v1/namespaces/${space.name}/deployments/web`;
    expect(await at.carryOut([web(space.name)], { verify_timeout: "40s" })).toMatchObject({ state: "completed" });
    const before = essence(await read(kube, path));
    const reference = { api_version: "apps/v1", kind: "Deployment", namespace: space.name, name: "web" };
    const ill = { spec: { template: { metadata: { labels: { "transporter.dev/image-error": "true" } } } } };
    const patched = await at.carryOut([], {
      operation: "patch",
      patches: [{ ...reference, type: "strategic", patch: JSON.stringify(ill) }],
    });
    expect(patched).toMatchObject({ state: "failed", details: { code: "VERIFY_TIMEOUT", rolled_back: true } });
    expect(brief(patched)).toEqual(["restored web"]);
    expect(essence(await read(kube, path))).toEqual(before);
    await space.kubectl(["patch", "deployment", "web", "--field-manager=people", "--patch", JSON.stringify(ill)]);
    const sick = essence(await read(kube, path));
    const restarted = await at.carryOut([], { operation: "restart", references: [reference] });
    expect(restarted).toMatchObject({ state: "failed", details: { rolled_back: true } });
    expect(brief(restarted)).toEqual(["restored web"]);
    expect(essence(await read(kube, path))).toEqual(sick);
    expect(JSON.stringify(sick)).not.toContain("restartedAt");
  });

  kubeTest("a creation: what exists already is not taken for the event's own", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    await using at = await place(kube);
    await at.carryOut([configMap("there", space.name, "first")]);
    const status = await at.carryOut([configMap("new", space.name), web(space.name, { label: "image-error" })], { operation: "create" });
    expect(status).toMatchObject({ details: { code: "VERIFY_TIMEOUT" } });
    expect(brief(status)).toEqual(["removed new", "removed web"]);
    const refused = await at.carryOut([configMap("new", space.name), configMap("there", space.name, "second")], { operation: "create" });
    expect(refused).toMatchObject({ details: { code: "ALREADY_EXISTS" } });
    expect((await space.get("configmap", "there"))?.["data"]).toEqual({ value: "first" });
    expect(await space.get("configmap", "new")).toBeUndefined();
  });

  kubeTest("an object that was made anew for a field that cannot be changed is made again as it was", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    await using at = await place(kube);
    const path = `/apis/apps/v1/namespaces/${space.name}/deployments/web`;
    expect(await at.carryOut([web(space.name)], { verify_timeout: "40s" })).toMatchObject({ state: "completed" });
    const before = await read(kube, path);
    const status = await at.carryOut([web(space.name, { app: "other", label: "image-error" })], { on_immutable: "recreate" });
    expect(status).toMatchObject({ state: "failed", details: { code: "VERIFY_TIMEOUT", rolled_back: true } });
    expect(resources(status)).toMatchObject([{ name: "web", status: "restored", message: expect.stringContaining("(made again)") }]);
    const after = await read(kube, path);
    expect(essence(after)).toEqual(essence(before));
    expect(metadataOf(after)["uid"]).not.toBe(metadataOf(before)["uid"]);
    await space.kubectl(["rollout", "status", "deployment/web", "--timeout=40s"]);
  });

  kubeTest(
    "a namespace, a definition and its objects, and a webhook that refuses everything else: all are gone, the rest is as it was",
    async () => {
      const kube = await sharedKube();
      await using space = await freshNamespace(kube);
      await using at = await place(kube);
      const [group, other] = [`${uniqueName("g")}.example.com`, uniqueName("made")];
      await at.carryOut([configMap("settings", space.name, "first")]);
      const manifests = [
        `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${other}}\n`,
        configMap("inside", other),
        `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.${group}}
spec:
  group: ${group}
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`,
        `apiVersion: ${group}/v1\nkind: Thing\nmetadata: {name: one, namespace: ${other}}\nspec: {size: 1}\n`,
        configMap("settings", space.name, "second"),
        web(space.name, { label: "image-error" }),
        `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: ${other}}
webhooks:
- name: nobody.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  clientConfig: {url: "https://127.0.0.1:1/"}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ${space.name}}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: ["*"], resources: [configmaps]}]
`,
      ];
      const status = await at.carryOut(manifests, { verify_timeout: "5s" });
      expect(status).toMatchObject({ state: "failed", details: { rolled_back: true } });
      expect(brief(status)).toEqual([
        `removed ${other}`,
        "removed inside",
        `removed things.${group}`,
        "removed one",
        "restored settings",
        "removed web",
        `removed ${other}`,
      ]);
      expect((await space.get("configmap", "settings"))?.["data"]).toEqual({ value: "first" });
      for (const path of [
        `/api/v1/namespaces/${other}`,
        `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.${group}`,
        `/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/${other}`,
      ])
        expect({ path, code: (await read(kube, path))["code"] }).toEqual({ path, code: 404 });
    },
  );

  kubeTest(
    "an API server that is away in the middle of it: it goes on when that is back",
    async () => {
      await using kube = await startKube();
      await using at = await place(kube);
      const before = Array.from({ length: 40 }, (_, nth) => configMap(`c${nth}`, "default", "first"));
      expect(await at.carryOut(before)).toMatchObject({ state: "completed" });
      // Without controllers no Deployment gets ready.
      const running = at.carryOut([...before.map((one) => one.replace("first", "second")), web("default")]);
      await eventually(() => at.cp.frames("status_update").some((one) => String(one["message"]).startsWith("Putting everything back")), {
        timeoutMs: 40_000,
        everyMs: 1,
      });
      await kube.killApiServer();
      await kube.restartApiServer();
      const status = await running;
      expect(status).toMatchObject({ state: "failed", details: { code: "VERIFY_TIMEOUT", rolled_back: true } });
      expect(resources(status).map((one) => one["status"])).toEqual([...before.map(() => "restored"), "removed"]);
      for (const nth of [0, 39])
        expect((await read(kube, `/api/v1/namespaces/default/configmaps/c${nth}`))["data"]).toEqual({ value: "first" });
    },
    150_000,
  );
});
