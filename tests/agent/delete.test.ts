import { describe, expect } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { kubeTest, uniqueName } from "../support/kube.ts";
import { configMapWith, manifest, operating, reference } from "./operate.ts";

type Json = Record<string, unknown>;

const HELD = { finalizers: ["example.org/hold"] };

describe("delete", () => {
  kubeTest("takes manifests and references, waits until they are gone, and what is not there is fine", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    await on.run({ manifests: [manifest(configMapWith("by-manifest", namespace)), manifest(configMapWith("by-name", namespace))] });
    const ended = await on.run({
      operation: "delete",
      manifests: [manifest(configMapWith("by-manifest", namespace)), manifest(configMapWith("never-was", namespace))],
      references: [reference("v1", "ConfigMap", "by-name", namespace), reference("v1", "Secret", "nor-this", namespace)],
    });
    expect(ended.told).toEqual([
      "deleted ConfigMap by-manifest",
      "absent ConfigMap never-was",
      "deleted ConfigMap by-name",
      "absent Secret nor-this",
    ]);
    expect(ended.messages).toEqual(["Resource deleted", "Resource does not exist", "Resource deleted", "Resource does not exist"]);
    expect(ended.state).toBe("completed");
    expect(await on.space.get("configmap", "by-manifest")).toBeUndefined();
    expect(await on.space.get("configmap", "by-name")).toBeUndefined();
  });

  kubeTest("what a finalizer holds is not told as deleted before it is gone, and by then it is", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    await on.run({ manifests: [manifest(configMapWith("held", namespace, HELD))] });
    const id = await on.begin({ operation: "delete", references: [reference("v1", "ConfigMap", "held", namespace)] });
    const said = await eventually(() => on.cp.statuses(id).find((status) => String(status["message"]).includes("waiting until gone")), {
      what: "word of what is waited for",
      timeoutMs: 30_000,
    });
    expect(String(said["message"])).toBe(
      `waiting until gone: ConfigMap ${namespace}/held: being deleted; finalizer example.org/hold holds it: whoever is to take it away has not`,
    );
    await on.space.kubectl(["patch", "configmap", "held", "--type=json", '--patch=[{"op":"remove","path":"/metadata/finalizers"}]']);
    const ended = await on.ended(id);
    expect(ended.told).toEqual(["deleted ConfigMap held"]);
    expect(ended.messages).toEqual(["Resource deleted"]);
  });

  kubeTest("what does not go in time fails, naming its finalizer, and what it leans on stays", async () => {
    await using on = await operating();
    const namespace = uniqueName("doomed");
    const objects = [
      manifest({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } }),
      manifest(configMapWith("held", namespace, HELD)),
      manifest(configMapWith("free", namespace)),
    ];
    expect((await on.run({ manifests: objects })).state).toBe("completed");
    const ended = await on.run({ operation: "delete", manifests: objects, verify_timeout: "2s" });
    expect(ended.code).toBe("VERIFY_TIMEOUT");
    expect(ended.message).toBe(
      `not gone after 2 s: ConfigMap ${namespace}/held: being deleted; finalizer example.org/hold holds it: whoever is to take it away has not`,
    );
    expect(ended.told).toEqual([`pending Namespace ${namespace}`, "failed ConfigMap held", "deleted ConfigMap free"]);
    expect(ended.resources[1]?.["code"]).toBe("VERIFY_TIMEOUT");
    const left = (await (await on.space.kube.request("GET", `/api/v1/namespaces/${namespace}`)).json()) as Json;
    expect((left["metadata"] as Json)["deletionTimestamp"]).toBeUndefined();
    await on.space.kube.kubectl([
      "patch",
      "configmap",
      "held",
      "-n",
      namespace,
      "--type=json",
      '--patch=[{"op":"remove","path":"/metadata/finalizers"}]',
    ]);
    // The same event again tolerates what is gone by now, and ends the rest: a namespace really ends.
    const again = await on.run({ operation: "delete", manifests: objects });
    expect(again.told).toEqual([`deleted Namespace ${namespace}`, "absent ConfigMap held", "absent ConfigMap free"]);
    expect((await on.space.kube.request("GET", `/api/v1/namespaces/${namespace}`)).status).toBe(404);
  });
});
