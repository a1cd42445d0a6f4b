import { describe, expect } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { kubeTest } from "../support/kube.ts";
import { configMapWith, manifest, operating, reference } from "./operate.ts";

type Json = Record<string, unknown>;

const HELD = { finalizers: ["example.org/hold"] };

describe("rolled back", () => {
  kubeTest(
    "a deletion that does not end makes anew what had gone",
    async () => {
      await using on = await operating();
      const { name: namespace } = on.space;
      for (const object of [configMapWith("held", namespace, HELD), configMapWith("free", namespace, { labels: { a: "b" } }, { k: "v" })])
        await on.space.kubectl(["create", "--filename=-"], manifest(object));
      const id = await on.begin({
        operation: "delete",
        on_failure: "rollback",
        verify_timeout: "1s",
        references: ["held", "free"].map((name) => reference("v1", "ConfigMap", name, namespace)),
      });
      await eventually(() => on.cp.statuses(id).some((status) => String(status["message"]).includes("to be gone")), {
        timeoutMs: 60_000,
        what: "the wait of the rollback",
      });
      // What is being deleted cannot be called back by anybody: it goes, and is made anew.
      await on.space.kubectl(["patch", "configmap", "held", "--type=merge", '--patch={"metadata":{"finalizers":null}}']);
      const ended = await on.ended(id);
      expect(ended.told).toEqual(["restored ConfigMap held", "restored ConfigMap free"]);
      expect(ended.code).toBe("VERIFY_TIMEOUT");
      const [held, free] = [(await on.space.get("configmap", "held")) as Json, (await on.space.get("configmap", "free")) as Json];
      expect((held["metadata"] as Json)["finalizers"]).toEqual(HELD.finalizers);
      expect(free["data"]).toEqual({ k: "v" });
      await on.space.kubectl(["patch", "configmap", "held", "--type=merge", '--patch={"metadata":{"finalizers":null}}']);
    },
    300_000,
  );

  kubeTest("a patch after which an object does not get ready is taken back", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    await on.space.kubectl(["create", "deployment", "web", "--image=example.test/main:1"]);
    await on.space.kubectl(["rollout", "status", "deployment/web"]);
    const patch = JSON.stringify({ spec: { template: { metadata: { labels: { "transporter.dev/image-error": "true" } } } } });
    const ended = await on.run({
      operation: "patch",
      on_failure: "rollback",
      verify_timeout: "4s",
      patches: [{ ...reference("apps/v1", "Deployment", "web", namespace), type: "merge", patch }],
    });
    expect(ended.told).toEqual(["restored Deployment web"]);
    expect(ended.code).toBe("VERIFY_TIMEOUT");
    expect(JSON.stringify(((await on.space.get("deployment", "web")) as Json)["spec"])).not.toContain("image-error");
  });

  kubeTest("what the event had not changed and was not ready still says why", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    const manifests = [
      manifest({
        apiVersion: "apps/v1",
        kind: "Deployment",
        metadata: { name: "ill", namespace },
        spec: {
          selector: { matchLabels: { app: "ill" } },
          template: {
            metadata: { labels: { app: "ill", "transporter.dev/image-error": "true" } },
            spec: { containers: [{ name: "main", image: "example.test/main:1" }] },
          },
        },
      }),
    ];
    expect((await on.run({ verify_timeout: "1s", manifests })).told).toEqual(["created Deployment ill"]);
    const ended = await on.run({ on_failure: "rollback", verify_timeout: "1s", manifests });
    expect(ended.told).toEqual(["unchanged Deployment ill"]);
    expect(ended.messages[0]).toMatch(/^not ready: 0 of 1 pods .*; Not changed by the event$/s);
    expect(ended.message).toEndWith("rolled back: nothing had been changed");
  });

  kubeTest("of a create everything that was made is removed", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    const broken = {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "never", namespace },
      spec: {
        template: {
          spec: { restartPolicy: "Never", nodeSelector: { none: "such" }, containers: [{ name: "main", image: "example.test/main:1" }] },
        },
      },
    };
    const ended = await on.run({
      operation: "create",
      on_failure: "rollback",
      verify_timeout: "2s",
      manifests: [manifest(configMapWith("made", namespace)), manifest(broken)],
    });
    expect(ended.told).toEqual(["removed ConfigMap made", "removed Job never"]);
    expect(await on.space.get("configmap", "made")).toBeUndefined();
  });
});
