import { describe, expect } from "bun:test";
import { applyPlan, planObjects, validatePlan } from "../../src/k8s/mod.ts";
import { freshNamespace, kubeTest, type Namespace } from "../support/kube.ts";
import { dependingOn, gated } from "./gate.ts";
import { APPLY, clientOf, configMap, deployment, parsed, walk } from "./walk.ts";

const on = (space: Namespace, name: string): string => `apps/namespaces/${space.name}/Deployment/${name}`;

describe("while some wait and others go on", () => {
  kubeTest("a failure of one that went on ends the waiting of the others at once", async () => {
    await using space = await freshNamespace();
    const client = await clientOf(space.kube);
    const gate = await gated(space, "never");
    const objects = parsed(
      gate.deployment,
      deployment("ready", "none", {}, 0),
      dependingOn(configMap("waits", {}), on(space, "never")),
      dependingOn(configMap("taken", { v: "1" }), on(space, "ready")),
    );
    const plan = await planObjects(client, objects, { defaultNamespace: space.name });
    const validation = await validatePlan(client, plan, APPLY);
    const theirs = JSON.stringify({ ...configMap("taken", { v: "theirs" }), immutable: true });
    await space.kubectl(["apply", "--server-side", "--field-manager=rival", "-f", "-"], theirs);
    // Were the others waited for, the test would run out of time.
    const outcomes = await applyPlan(client, plan, validation, { ...APPLY, readyTimeoutMs: 600_000 });
    expect(outcomes.map(({ status, ref }) => `${status} ${ref.name}`)).toEqual([
      "created never",
      "created ready",
      "pending waits",
      "failed taken",
    ]);
    expect(outcomes[3]?.error?.code).toBe("FIELD_CONFLICT");
    expect(outcomes[2]?.message).toBe("not tried, because something before it failed");
  });

  kubeTest("an event that is called back finishes what goes on, and waits for nothing any more", async () => {
    await using space = await freshNamespace();
    const client = await clientOf(space.kube);
    const gate = await gated(space, "never");
    const halt = new AbortController();
    const objects = parsed(
      gate.deployment,
      deployment("ready", "none", {}, 0),
      dependingOn(configMap("waits", {}), on(space, "never")),
      dependingOn(configMap("goes-on", {}), on(space, "ready")),
    );
    const { told, outcomes } = await walk(client, objects, {
      defaultNamespace: space.name,
      readyTimeoutMs: 600_000,
      halt: halt.signal,
      onWaiting: () => halt.abort(new Error("called back")),
    });
    expect(told.map((text) => text.split(" ")[0])).toEqual(["created", "created", "pending", "created"]);
    expect(outcomes[2]?.message).toBe("not tried, because the event was cancelled");
    expect(await space.get("configmap", "waits")).toBeUndefined();
  });

  kubeTest("what depends on those goes on after them, in the order of kinds among what waits for the same", async () => {
    await using space = await freshNamespace();
    const client = await clientOf(space.kube);
    const applied: string[] = [];
    const objects = parsed(
      dependingOn(deployment("user", "none", {}, 0), `/namespaces/${space.name}/ConfigMap/settings`),
      dependingOn(deployment("beside", "none", {}, 0), on(space, "base")),
      dependingOn(configMap("settings", {}), on(space, "base")),
      deployment("base", "none", {}, 1),
    );
    await walk(client, objects, { defaultNamespace: space.name, readyTimeoutMs: 60_000, onResource: ({ ref }) => applied.push(ref.name) });
    expect(applied).toEqual(["base", "settings", "beside", "user"]);
  });
});
