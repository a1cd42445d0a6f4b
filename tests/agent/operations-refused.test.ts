import { describe, expect } from "bun:test";
import { apartFrame } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { kubeTest, type Rule } from "../support/kube.ts";
import { webhookThatIsDown } from "../support/webhook.ts";
import { configMapWith, endingOf, manifest, operating, reference } from "./operate.ts";

type Json = Record<string, unknown>;

const HELD = { finalizers: ["example.org/hold"] };

const READING: Rule = { apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list", "watch"] };

describe("an account that may not", () => {
  kubeTest("delete one of two is refused as a whole, by the API server's own word, and nothing is deleted", async () => {
    await using on = await operating({
      kubeconfig: (space) =>
        space.kubeconfigWith([READING, { apiGroups: [""], resources: ["configmaps"], resourceNames: ["mine"], verbs: ["delete"] }]),
    });
    const { name: namespace } = on.space;
    for (const name of ["mine", "theirs"]) await on.space.kubectl(["create", "configmap", name]);
    const references = ["mine", "theirs"].map((name) => reference("v1", "ConfigMap", name, namespace));
    const ended = await on.run({ operation: "delete", references });
    expect(ended.code).toBe("FORBIDDEN");
    expect(ended.message).toContain(`ConfigMap ${namespace}/theirs: `);
    expect(ended.message).toContain('cannot delete resource "configmaps"');
    expect(ended.told).toEqual(["pending ConfigMap mine", "failed ConfigMap theirs"]);
    expect(await on.space.get("configmap", "mine")).toBeDefined();
    // Where the others are to be done all the same, they are.
    const others = await on.run({ operation: "delete", references, on_failure: "continue" });
    expect(others.told).toEqual(["deleted ConfigMap mine", "failed ConfigMap theirs"]);
    expect(others.resources[1]?.["code"]).toBe("FORBIDDEN");
    expect(others.code).toBe("FORBIDDEN");
  });

  kubeTest("watch what it deletes sees by asking that it is gone", async () => {
    await using on = await operating({
      kubeconfig: (space) => space.kubeconfigWith([{ apiGroups: [""], resources: ["configmaps"], verbs: ["get", "delete"] }]),
    });
    const { name: namespace } = on.space;
    await on.space.kubectl(["create", "--filename=-"], manifest(configMapWith("held", namespace, HELD)));
    const id = await on.begin({ operation: "delete", references: [reference("v1", "ConfigMap", "held", namespace)] });
    const isGoing = async (): Promise<boolean> => JSON.stringify(await on.space.get("configmap", "held")).includes("deletionTimestamp");
    await eventually(isGoing, { what: "its deletion", timeoutMs: 30_000 });
    await on.space.kubectl(["patch", "configmap", "held", "--type=merge", '--patch={"metadata":{"finalizers":null}}']);
    expect((await on.ended(id)).told).toEqual(["deleted ConfigMap held"]);
  });
});

describe("a restart", () => {
  kubeTest(
    "of what is not there, or cannot be restarted, is refused as a whole, and goes on without it where that was asked for",
    async () => {
      await using on = await operating();
      const { name: namespace } = on.space;
      await on.space.kubectl(["create", "configmap", "settings"]);
      await on.space.kubectl(["create", "deployment", "web", "--image=example.test/main:1"]);
      const references = [
        reference("v1", "ConfigMap", "settings", namespace),
        reference("apps/v1", "Deployment", "web", namespace),
        reference("apps/v1", "Deployment", "nowhere", namespace),
      ];
      const restartedAt = async (): Promise<boolean> => JSON.stringify(await on.space.get("deployment", "web")).includes("restartedAt");
      const refused = await on.run({ operation: "restart", references });
      expect(refused.told).toEqual(["failed ConfigMap settings", "pending Deployment web", "failed Deployment nowhere"]);
      expect(await restartedAt()).toBe(false);
      const ended = await on.run({ operation: "restart", on_failure: "continue", references });
      expect(ended.told).toEqual(["failed ConfigMap settings", "restarted Deployment web", "failed Deployment nowhere"]);
      expect(ended.resources.map(({ code }) => code)).toEqual(["INVALID_OBJECT", undefined, "OBJECT_NOT_FOUND"]);
      expect(ended.state).toBe("failed");
      expect(ended.code).toBe("INVALID_OBJECT");
      expect(ended.message).toStartWith("2 of 3 objects failed (1 were restarted), first: ConfigMap ");
      expect(await restartedAt()).toBe(true);
    },
  );
});

describe("a read-only agent", () => {
  kubeTest("says what each operation would do, and changes nothing", async () => {
    await using on = await operating({ readOnly: true });
    const { name: namespace } = on.space;
    await on.space.kubectl(["create", "configmap", "there", "--from-literal=value=x"]);
    await on.space.kubectl(["create", "deployment", "web", "--image=example.test/main:1", "--replicas=0"]);
    const [there, nowhere] = [reference("v1", "ConfigMap", "there", namespace), reference("v1", "ConfigMap", "nowhere", namespace)];
    const before = await on.space.kubectl([
      "get",
      "configmaps,deployments",
      "--output=jsonpath={.items[*].metadata.generation}{.items[*].data}",
    ]);
    expect((await on.run({ operation: "delete", references: [there, nowhere] })).told).toEqual([
      "would_delete ConfigMap there",
      "absent ConfigMap nowhere",
    ]);
    const restarted = await on.run({ operation: "restart", references: [reference("apps/v1", "Deployment", "web", namespace)] });
    expect(restarted.told).toEqual(["would_restart Deployment web"]);
    const patches = [{ ...there, type: "merge", patch: "data: {value: other}" }];
    expect((await on.run({ operation: "patch", patches })).told).toEqual(["would_update ConfigMap there"]);
    const manifests = [manifest(configMapWith("new", namespace))];
    expect((await on.run({ operation: "create", manifests })).told).toEqual(["would_create ConfigMap new"]);
    const after = await on.space.kubectl([
      "get",
      "configmaps,deployments",
      "--output=jsonpath={.items[*].metadata.generation}{.items[*].data}",
    ]);
    expect(after).toBe(before);
  });

  kubeTest("whose account may only read says that nobody judged it", async () => {
    await using on = await operating({ readOnly: true, kubeconfig: (space) => space.kubeconfigWith([READING]) });
    const { name: namespace } = on.space;
    await on.space.kubectl(["create", "configmap", "there"]);
    const [there, nowhere] = [reference("v1", "ConfigMap", "there", namespace), reference("v1", "ConfigMap", "nowhere", namespace)];
    const ended = await on.run({ operation: "delete", references: [there, nowhere] });
    expect(ended.told).toEqual(["unknown ConfigMap there", "absent ConfigMap nowhere"]);
    expect(ended.messages[0]).toContain("may only read");
    const patched = await on.run({ operation: "patch", patches: [{ ...there, type: "merge", patch: "data: {value: other}" }] });
    expect(patched.told).toEqual(["unknown ConfigMap there"]);
    expect(patched.state).toBe("completed");
  });
});

describe("what cannot be meant", () => {
  kubeTest("is refused in words, and leads nowhere else", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    const run = async (payload: Json): Promise<readonly [string | undefined, string]> => {
      const { code, message } = await on.run(payload);
      return [code, message];
    };
    const removal = (...references: Json[]): Json => ({ operation: "delete", references });
    // As a part of a path this would be the namespace itself.
    expect(await run(removal(reference("v1", "ConfigMap", "..", namespace)))).toEqual([
      "INVALID_OBJECT",
      'references[0]: name cannot be ".."',
    ]);
    expect(await run(removal(reference("v1", "ConfigMap", "a/b", namespace)))).toEqual([
      "INVALID_OBJECT",
      "references[0]: name holds '/' or '%'",
    ]);
    expect(await run(removal(reference("../v1", "ConfigMap", "a", namespace)))).toEqual([
      "INVALID_OBJECT",
      'references[0]: api_version "../v1" is not VERSION or GROUP/VERSION',
    ]);
    const twice = reference("v1", "ConfigMap", "a", namespace);
    expect(await run(removal(twice, twice))).toEqual(["DUPLICATE_OBJECT", `ConfigMap ${namespace}/a stands twice in the event`]);
    const [code, message] = await run(removal(reference("apps/v1beta9", "Deployment", "a", namespace)));
    expect(code).toBe("UNKNOWN_KIND");
    expect(message).toBe(`the cluster does not know apps/v1beta9 Deployment (Deployment ${namespace}/a; it knows apps/v1 Deployment)`);
    expect((await run(removal(reference("v1", "Namespace", "kube-system"))))[1]).toContain("this namespace may not be deleted");
    expect((await on.space.kube.request("GET", `/api/v1/namespaces/${namespace}`)).status).toBe(200);
  });

  kubeTest("a manifest that names a uid means that object and no later one", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    await on.space.kubectl(["create", "configmap", "one"]);
    const uid = "6c9e6b0f-6e4b-4f4e-9a37-0d6a6a3f7a11";
    const ended = await on.run({ operation: "delete", manifests: [manifest(configMapWith("one", namespace, { uid }))] });
    expect(ended.code).toBe("APPLY_FAILED");
    expect(ended.message).toContain(uid);
    expect(ended.message).not.toContain("tried");
    expect(await on.space.get("configmap", "one")).toBeDefined();
  });
});

describe("on its way", () => {
  kubeTest("a payload that is fetched apart and holds references alone is carried out", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    await on.space.kubectl(["create", "configmap", "one"]);
    const payload = on.cp.keep({ operation: "delete", references: [reference("v1", "ConfigMap", "one", namespace)] });
    (await on.cp.connection()).send(apartFrame("apart", payload));
    expect(endingOf(await on.cp.ended("apart", 60_000)).told).toEqual(["deleted ConfigMap one"]);
  });

  kubeTest("a patch that a webhook stands in the way of is tried again, and carried out once", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    await on.space.kubectl(["create", "configmap", "one", "--from-literal=value=x"]);
    await using webhook = await webhookThatIsDown(on.space);
    const patch = '[{"op":"add","path":"/metadata/labels","value":{"a":"b"}},{"op":"move","from":"/data/value","path":"/data/moved"}]';
    const id = await on.begin(
      { operation: "patch", patches: [{ ...reference("v1", "ConfigMap", "one", namespace), type: "json", patch }] },
      { event: { retry: { attempts: 20, backoff: "500ms", max_backoff: "1s" } } },
    );
    await eventually(() => on.cp.statuses(id).some((status) => String(status["message"]).startsWith("Attempt 1 of 20 failed")), {
      timeoutMs: 60_000,
      what: "the first attempt's end",
    });
    await webhook.up();
    const ended = await on.ended(id);
    expect(ended.told).toEqual(["updated ConfigMap one"]);
    expect(((await on.space.get("configmap", "one")) as Json)["data"]).toEqual({ moved: "x" });
  });

  kubeTest("a deletion that is called back while it waits ends, and says what had been taken", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    for (const object of [configMapWith("held", namespace, HELD), configMapWith("free", namespace)])
      await on.space.kubectl(["create", "--filename=-"], manifest(object));
    const references = ["held", "free"].map((name) => reference("v1", "ConfigMap", name, namespace));
    const id = await on.begin({
      operation: "delete",
      references: [...references, reference("v1", "ServiceAccount", "default", namespace)],
    });
    await eventually(() => on.cp.statuses(id).some((status) => String(status["message"]).includes("waiting until gone")), {
      timeoutMs: 30_000,
      what: "the wait",
    });
    (await on.cp.connection()).send({ type: "cancel", event_id: id, revision: 1 });
    const ended = await on.ended(id);
    expect(ended.state).toBe("cancelled");
    expect(ended.told).toEqual(["deleted ConfigMap held", "deleted ConfigMap free", "deleted ServiceAccount default"]);
    expect(ended.messages.slice(0, 2)).toEqual(["Being deleted; it was not gone yet", "Resource deleted"]);
    await on.space.kubectl(["patch", "configmap", "held", "--type=merge", '--patch={"metadata":{"finalizers":null}}']);
  });
});
