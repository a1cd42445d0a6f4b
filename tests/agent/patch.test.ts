import { describe, expect } from "bun:test";
import { kubeTest, type Namespace } from "../support/kube.ts";
import { configMapWith, manifest, operating, reference } from "./operate.ts";

type Json = Record<string, unknown>;

function workload(name: string, namespace: string, replicas = 1): Json {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          containers: [
            { name: "main", image: "example.test/main:1", env: [{ name: "A", value: "1" }] },
            { name: "side", image: "example.test/side:1" },
          ],
        },
      },
    },
  };
}

/** With its managed fields, which kubectl leaves out. */
async function whole(space: Namespace, name: string): Promise<Json> {
  return (await (await space.kube.request("GET", `/apis/apps/v1/namespaces/${space.name}/deployments/${name}`)).json()) as Json;
}

/** What is the same whoever made the object, and when. */
function essence(object: Json, renamed: Readonly<Record<string, string>> = {}): Json {
  const metadata = object["metadata"] as Json;
  const { uid: _uid, resourceVersion: _version, creationTimestamp: _made, name: _name, managedFields, ...rest } = metadata;
  const managers = (managedFields as Json[])
    // The status is the controllers', and comes when it comes.
    .filter((entry) => entry["subresource"] === undefined && entry["manager"] !== "kube-controller-manager")
    .map(({ time: _time, manager, ...entry }) => ({ ...entry, manager: renamed[String(manager)] ?? manager }))
    .toSorted((a, b) => String(a.manager).localeCompare(String(b.manager)));
  const annotations = (rest["annotations"] ?? {}) as Json;
  delete annotations["deployment.kubernetes.io/revision"];
  return { ...object, metadata: { ...rest, annotations, managedFields: managers }, status: undefined };
}

describe("patch", () => {
  kubeTest("of each type makes of an object what kubectl patch makes of its twin, bookkeeping included", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    const cases: readonly (readonly ["merge" | "json" | "strategic", string])[] = [
      ["merge", "spec:\n  replicas: 0\n  template: {metadata: {annotations: {note: 'yes'}}}\n"],
      [
        "json",
        '[{"op":"test","path":"/spec/replicas","value":1},{"op":"add","path":"/spec/template/spec/containers/0/env/-","value":{"name":"B","value":"2"}}]',
      ],
      [
        "strategic",
        "spec:\n  template:\n    spec:\n      containers:\n      - name: side\n        image: example.test/side:2\n        env: [{name: C, value: '0644'}]\n",
      ],
    ];
    for (const [type, patch] of cases) {
      const [ours, theirs] = [`ours-${type}`, `theirs-${type}`];
      for (const name of [ours, theirs]) {
        const labelled = workload(name, namespace);
        // The same selector and labels, so that both can be compared.
        const text = manifest(labelled).replaceAll(`"app":"${name}"`, `"app":"${type}"`);
        await on.space.kubectl(["create", "--filename=-"], text);
      }
      const ended = await on.run({
        operation: "patch",
        patches: [{ ...reference("apps/v1", "Deployment", ours, namespace), type, patch }],
        verify_timeout: "60s",
      });
      expect(ended.told).toEqual([`updated Deployment ${ours}`]);
      expect(ended.state).toBe("completed");
      await on.space.kubectl(["patch", "deployment", theirs, `--type=${type}`, `--patch=${patch}`]);
      const renamed = { "transporter-patch": "kubectl-patch" };
      expect(essence(await whole(on.space, ours), renamed)).toEqual(essence(await whole(on.space, theirs)));
    }
  });

  kubeTest("tells what changes nothing as unchanged, and is refused as a whole before anything is changed", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    await on.run({ manifests: [manifest(configMapWith("settings", namespace))] });
    const patch = (name: string, type: string, text: string): Json => ({
      ...reference("v1", "ConfigMap", name, namespace),
      type,
      patch: text,
    });
    const same = await on.run({ operation: "patch", patches: [patch("settings", "merge", "data: {value: x}")] });
    expect(same.told).toEqual(["unchanged ConfigMap settings"]);
    const refused = await on.run({
      operation: "patch",
      patches: [patch("settings", "merge", "data: {value: other}"), patch("nowhere", "merge", "data: {value: other}")],
    });
    expect(refused.code).toBe("OBJECT_NOT_FOUND");
    expect(refused.message).toBe(`ConfigMap ${namespace}/nowhere does not exist`);
    expect(refused.told).toEqual(["pending ConfigMap settings", "failed ConfigMap nowhere"]);
    expect(((await on.space.get("configmap", "settings")) as Json)["data"]).toEqual({ value: "x" });
  });

  kubeTest("that does not fit says which operation, which field, or which type", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    await on.run({
      manifests: [
        manifest(configMapWith("settings", namespace)),
        manifest({ apiVersion: "v1", kind: "Secret", metadata: { name: "hidden", namespace }, stringData: { word: "kingfisher-4711" } }),
      ],
    });
    const run = async (kind: string, name: string, type: string, patch: string): Promise<readonly [string | undefined, string]> => {
      const { code, message } = await on.run({ operation: "patch", patches: [{ ...reference("v1", kind, name, namespace), type, patch }] });
      return [code, message];
    };
    const label = `ConfigMap ${namespace}/settings`;
    expect(await run("ConfigMap", "settings", "json", '[{"op":"test","path":"/data/value","value":"y"}]')).toEqual([
      "INVALID_PATCH",
      `${label}: operation 1 (test /data/value): there is "x", not "y"`,
    ]);
    expect(await run("ConfigMap", "settings", "json", '[{"op":"remove","path":"/data/none"}]')).toEqual([
      "INVALID_PATCH",
      `${label}: operation 1 (remove /data/none): the object has nothing at /data/none`,
    ]);
    expect(await run("ConfigMap", "settings", "json", "{data: {value: y}}")).toEqual([
      "INVALID_PATCH",
      "patches[0] (ConfigMap settings): a JSON patch is a list of operations",
    ]);
    expect(await run("ConfigMap", "settings", "merge", "data: {a: [")).toEqual([
      "INVALID_PATCH",
      expect.stringContaining("patches[0] (ConfigMap settings): the patch cannot be read: line 1"),
    ]);
    expect(await run("ConfigMap", "settings", "merge", "dta: {value: y}")).toEqual(["UNKNOWN_FIELD", `${label}: unknown field dta`]);
    const secret = await run("Secret", "hidden", "json", '[{"op":"test","path":"/data/word","value":"eA=="}]');
    expect(secret).toEqual(["INVALID_PATCH", `Secret ${namespace}/hidden: operation 1 (test /data/word): the value is another`]);
    const unknown = await run("Secret", "hidden", "merge", "spec: {}");
    expect(unknown).toEqual(["UNKNOWN_FIELD", `Secret ${namespace}/hidden: unknown field spec`]);
    const wrong = await run("Secret", "hidden", "merge", "immutable: maybe");
    expect(wrong[0]).toBe("INVALID_OBJECT");
    const unreadable = await run("Secret", "hidden", "merge", "data: {word: 'kestrel!9931'}");
    expect(unreadable[0]).toBe("INVALID_OBJECT");
    const everything = JSON.stringify(on.cp.frames("status_update"));
    expect(everything).not.toContain("kingfisher-4711");
    expect(everything).not.toContain("kestrel!9931");
    expect(everything).not.toContain(Buffer.from("kingfisher-4711").toString("base64"));
  });
});

describe("restart", () => {
  kubeTest("does to workloads what kubectl rollout restart does, and waits until their pods are new", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    for (const name of ["ours", "theirs"])
      await on.space.kubectl(["create", "--filename=-"], manifest(workload(name, namespace)).replaceAll(`"app":"${name}"`, '"app":"same"'));
    const pods = async (): Promise<string> => on.space.kubectl(["get", "pods", "--output=jsonpath={.items[*].metadata.uid}"]);
    await on.space.kubectl(["rollout", "status", "deployment/ours"]);
    const before = new Set((await pods()).split(" "));
    const ended = await on.run({ operation: "restart", references: [reference("apps/v1", "Deployment", "ours", namespace)] });
    expect(ended.told).toEqual(["restarted Deployment ours"]);
    expect(ended.messages).toEqual(["Resource restarted"]);
    expect(ended.state).toBe("completed");
    await on.space.kubectl(["rollout", "restart", "deployment/theirs"]);
    const at = (object: Json): string => {
      const template = ((object["spec"] as Json)["template"] as Json)["metadata"] as Json;
      return String((template["annotations"] as Json)["kubectl.kubernetes.io/restartedAt"]);
    };
    const [ours, theirs] = [await whole(on.space, "ours"), await whole(on.space, "theirs")];
    expect(at(ours)).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const flat = (object: Json): Json => JSON.parse(JSON.stringify(object).replaceAll(at(object), "AT")) as Json;
    expect(essence(flat(ours), { "transporter-restart": "kubectl-rollout" })).toEqual(essence(flat(theirs)));
    expect((await pods()).split(" ").some((uid) => !before.has(uid))).toBeTrue();
  });

  kubeTest("refuses what is paused and what has no pods of its own, and restarts nothing then", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    const paused = workload("paused", namespace, 0);
    (paused["spec"] as Json)["paused"] = true;
    const manifests = [manifest(paused), manifest(workload("free", namespace, 0)), manifest(configMapWith("settings", namespace))];
    await on.run({ manifests });
    const ended = await on.run({ operation: "restart", manifests });
    expect(ended.code).toBe("INVALID_OBJECT");
    expect(ended.told).toEqual(["failed Deployment paused", "pending Deployment free", "failed ConfigMap settings"]);
    expect(ended.messages[0]).toBe(
      `Deployment ${namespace}/paused cannot be restarted: it is paused, and would go on running what it runs`,
    );
    expect(ended.messages[2]).toBe(
      `ConfigMap ${namespace}/settings cannot be restarted: only Deployments, StatefulSets and DaemonSets can, not a ConfigMap`,
    );
    const free = await whole(on.space, "free");
    expect(JSON.stringify(free)).not.toContain("restartedAt");
  });
});
