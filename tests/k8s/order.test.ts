import { describe, expect } from "bun:test";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace, uniqueName } from "../support/kube.ts";
import { dependingOn, gated, inWave } from "./gate.ts";
import { clientOf, configMap, deployment, parsed, refusal, walk, type Walked } from "./walk.ts";

/** What of these ConfigMaps is there. */
async function present(space: Namespace, ...names: readonly string[]): Promise<string[]> {
  const found = await Promise.all(names.map((name) => space.get("configmap", name)));
  return names.filter((_, index) => found[index] !== undefined);
}

interface Begun {
  readonly ended: Promise<Walked>;
  readonly waiting: string[];
}

async function begin(
  space: Namespace,
  objects: readonly KubeObject[],
  options: { readonly readyTimeoutMs?: number; readonly goOn?: boolean } = {},
): Promise<Begun> {
  const client = await clientOf(space.kube);
  const waiting: string[] = [];
  const ended = walk(client, parsed(...objects), {
    defaultNamespace: space.name,
    readyTimeoutMs: 60_000,
    ...options,
    onWaiting: (text) => waiting.push(text),
  });
  ended.catch(() => undefined);
  return { ended, waiting };
}

function timeOf(object: Record<string, unknown> | undefined): number {
  return Date.parse((object?.["metadata"] as { creationTimestamp?: string } | undefined)?.creationTimestamp ?? "");
}

describe("waves", () => {
  kubeTest("the next begins when all of the one before is ready, and what it waits for is told", async () => {
    await using space = await freshNamespace();
    const gate = await gated(space, "first");
    const { ended, waiting } = await begin(space, [
      inWave(configMap("late", {}), 1),
      gate.deployment,
      configMap("beside", {}),
      inWave(configMap("early", {}), -1),
    ]);
    await eventually(() => waiting.length > 0, { what: "word of what is waited for", timeoutMs: 30_000 });
    expect(waiting[0]).toStartWith(`waiting for Deployment ${space.name}/first: `);
    expect(await present(space, "early", "beside", "late")).toEqual(["early", "beside"]);
    await gate.open();
    const { told } = await ended;
    expect(told).toEqual(
      ["ConfigMap late", "Deployment first", "ConfigMap beside", "ConfigMap early"].map(
        (text) => `created ${text.replace(" ", ` ${space.name}/`)}`,
      ),
    );
    const available = (await space.get("deployment", "first"))?.["status"] as {
      conditions: { type: string; lastTransitionTime: string }[];
    };
    const since = Date.parse(available.conditions.find(({ type }) => type === "Available")?.lastTransitionTime ?? "");
    expect(timeOf(await space.get("configmap", "late"))).toBeGreaterThanOrEqual(since);
  });

  kubeTest("one that does not get ready is explained, and nothing of a later one is begun", async () => {
    await using space = await freshNamespace();
    const gate = await gated(space, "stuck");
    // On a busy machine it may take longer than the event waits until the scheduler says anything.
    await (
      await begin(space, [gate.deployment])
    ).ended;
    const condition = "--output=jsonpath={.items[*].status.conditions[?(@.type=='PodScheduled')].message}";
    await eventually(async () => (await space.kubectl(["get", "pods", condition])).includes("affinity"), {
      timeoutMs: 30_000,
      what: "the scheduler's word",
    });
    const { ended } = await begin(space, [gate.deployment, inWave(configMap("late", {}), 1), inWave(configMap("later", {}), 2)], {
      readyTimeoutMs: 3_000,
    });
    const { outcomes, told } = await ended;
    expect(told).toEqual([
      `unchanged Deployment ${space.name}/stuck`,
      `pending ConfigMap ${space.name}/late`,
      `pending ConfigMap ${space.name}/later`,
    ]);
    expect(outcomes[0]?.error?.code).toBe("VERIFY_TIMEOUT");
    expect(outcomes[0]?.error?.message).toStartWith(`not ready after 3 s: Deployment ${space.name}/stuck: 0 of 1 pods are available`);
    expect(outcomes[0]?.error?.message).toContain("node affinity/selector");
    expect(outcomes[0]?.message).toStartWith("not ready: 0 of 1 pods are available");
    expect(outcomes[1]?.message).toBe(`not tried, because Deployment ${space.name}/stuck of wave 0 is not ready`);
    expect(await present(space, "late", "later")).toEqual([]);
    // The second time it may go on where it stopped.
    await gate.open();
    const again = await (await begin(space, [gate.deployment, inWave(configMap("late", {}), 1)])).ended;
    expect(again.told[1]).toBe(`created ConfigMap ${space.name}/late`);
  });

  kubeTest("a Job of a wave has to complete before the next", async () => {
    await using space = await freshNamespace();
    const job = {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "migrate", namespace: space.name },
      spec: { template: { spec: { restartPolicy: "Never", containers: [{ name: "main", image: "none" }] } } },
    };
    await (
      await begin(space, [inWave(configMap("after", {}), 1), job])
    ).ended;
    const { status } = (await space.get("job", "migrate")) as { status: { succeeded: number; completionTime: string } };
    expect(status.succeeded).toBe(1);
    expect(timeOf(await space.get("configmap", "after"))).toBeGreaterThanOrEqual(Date.parse(status.completionTime));
  });
});

describe("depends-on", () => {
  kubeTest("holds up who says it, against the order of kinds, and nobody else", async () => {
    await using space = await freshNamespace();
    const gate = await gated(space, "db");
    const settings = dependingOn(configMap("settings", {}), `apps/namespaces/${space.name}/Deployment/db`);
    const { ended, waiting } = await begin(space, [
      settings,
      gate.deployment,
      deployment("stranger", "none", {}, 0),
      configMap("other", {}),
    ]);
    await eventually(() => waiting.length > 0, { what: "word of what is waited for", timeoutMs: 30_000 });
    expect(await present(space, "settings", "other")).toEqual(["other"]);
    expect(await space.get("deployment", "stranger")).toBeDefined();
    await gate.open();
    await ended;
    expect(await present(space, "settings")).toEqual(["settings"]);
  });

  kubeTest("of several that wait, each goes on when its own is ready, and one that waits in vain keeps nobody", async () => {
    await using space = await freshNamespace();
    const gates = { a: await gated(space, "a"), b: await gated(space, "b") };
    const on = (...names: readonly string[]): string[] => names.map((name) => `apps/namespaces/${space.name}/Deployment/${name}`);
    const objects = [
      gates.a.deployment,
      gates.b.deployment,
      dependingOn(configMap("needs-a", {}), ...on("a")),
      dependingOn(configMap("needs-b", {}), ...on("b")),
      dependingOn(configMap("needs-both", {}), ...on("b", "a")),
      dependingOn(deployment("needs-b-too", "none", {}, 0), ...on("b")),
    ];
    const { ended, waiting } = await begin(space, objects);
    await eventually(() => waiting.length > 0, { what: "word of what is waited for", timeoutMs: 30_000 });
    expect(await present(space, "needs-a", "needs-b", "needs-both")).toEqual([]);
    await gates.b.open();
    await eventually(async () => (await space.get("deployment", "needs-b-too")) !== undefined, {
      timeoutMs: 30_000,
      what: "what waits for b",
    });
    expect(await present(space, "needs-a", "needs-b", "needs-both")).toEqual(["needs-b"]);
    await gates.a.open();
    const { told } = await ended;
    expect(new Set(told.map((text) => text.split(" ")[0]))).toEqual(new Set(["created"]));
  });

  kubeTest("on what stands outside of the event: it has to be ready first", async () => {
    await using space = await freshNamespace();
    const gate = await gated(space, "elsewhere");
    await (
      await begin(space, [gate.deployment])
    ).ended;
    const settings = dependingOn(
      configMap("settings", {}),
      `apps/namespaces/${space.name}/Deployment/elsewhere`,
      `/Namespace/${space.name}`,
    );
    const late = await (await begin(space, [settings, configMap("other", {})], { readyTimeoutMs: 2_000 })).ended;
    expect(late.told).toEqual([`failed ConfigMap ${space.name}/settings`, `created ConfigMap ${space.name}/other`]);
    expect(late.outcomes[0]?.error?.code).toBe("VERIFY_TIMEOUT");
    expect(late.outcomes[0]?.message).toStartWith(
      `ConfigMap ${space.name}/settings depends on Deployment ${space.name}/elsewhere: not ready after 2 s: Deployment ${space.name}/elsewhere: 0 of 1 pods`,
    );
    const { ended, waiting } = await begin(space, [settings]);
    await eventually(() => waiting.length > 0, { what: "word of what is waited for", timeoutMs: 30_000 });
    await gate.open();
    expect((await ended).told).toEqual([`created ConfigMap ${space.name}/settings`]);
  });

  kubeTest("on what is nowhere: refused before anything is touched, each by its name", async () => {
    await using space = await freshNamespace();
    const objects = [
      configMap("other", {}),
      dependingOn(configMap("a", {}), `apps/namespaces/${space.name}/Deployment/none`),
      dependingOn(configMap("b", {}), `/namespaces/${space.name}/Secret/none`),
    ];
    const error = await refusal((await begin(space, objects)).ended);
    expect(error.code).toBe("DEPENDENCY_NOT_FOUND");
    expect(error.message.split("; ").toSorted()).toEqual([
      `ConfigMap ${space.name}/a depends on Deployment ${space.name}/none, which does not exist`,
      `ConfigMap ${space.name}/b depends on Secret ${space.name}/none, which does not exist`,
    ]);
    expect(await present(space, "other", "a", "b")).toEqual([]);
  });

  kubeTest("written in a way that cannot be meant: refused with the way to write it", async () => {
    await using space = await freshNamespace();
    const ask = async (on: string): Promise<{ readonly message: string; readonly remedy: string; readonly code: string }> =>
      refusal((await begin(space, [dependingOn(configMap("a", {}), on)])).ended);
    const unknown = await ask("example.invalid/Nothing/none");
    expect(unknown.code).toBe("DEPENDENCY_NOT_FOUND");
    expect(unknown.message).toBe(
      `ConfigMap ${space.name}/a depends on Nothing none, and the cluster does not know a kind Nothing in example.invalid`,
    );
    const versioned = await ask(`v1/namespaces/${space.name}/ConfigMap/b`);
    expect(versioned.message).toContain("the cluster does not know a kind ConfigMap in v1");
    expect(versioned.remedy).toContain(`nothing for that of v1: /namespaces/${space.name}/ConfigMap/b.`);
    const short = await ask("apps/Deployment/db");
    expect(short.message).toBe(`ConfigMap ${space.name}/a depends on Deployment db without a namespace`);
    expect(short.remedy).toBe("In config.kubernetes.io/depends-on, write apps/namespaces/NAMESPACE/Deployment/db.");
    const long = await ask(`/namespaces/${space.name}/Namespace/x`);
    expect(long.message).toContain("and a Namespace is in no namespace");
    expect(long.remedy).toBe("In config.kubernetes.io/depends-on, write /Namespace/x.");
  });

  kubeTest("on more outside of the event than anybody means: refused, and none of them is asked for", async () => {
    await using space = await freshNamespace();
    const many = (from: number): string[] => Array.from({ length: 600 }, (_, index) => `/namespaces/${space.name}/Secret/s${from + index}`);
    const error = await refusal(
      (await begin(space, [dependingOn(configMap("a", {}), ...many(0)), dependingOn(configMap("b", {}), ...many(500))])).ended,
    );
    expect(error.code).toBe("INVALID_OBJECT");
    expect(error.message).toBe("the event depends on 1100 objects that it does not bring; 1000 are looked for at most");
  });

  kubeTest("in a circle: refused before anything is touched", async () => {
    await using space = await freshNamespace();
    const on = (name: string): string => `/namespaces/${space.name}/ConfigMap/${name}`;
    const objects = [configMap("other", {}), dependingOn(configMap("a", {}), on("b")), dependingOn(configMap("b", {}), on("a"))];
    const error = await refusal((await begin(space, objects)).ended);
    expect(error.code).toBe("DEPENDENCY_CYCLE");
    expect(error.message).toBe(
      `objects wait for each other: ConfigMap ${space.name}/a depends on ConfigMap ${space.name}/b; ConfigMap ${space.name}/b depends on ConfigMap ${space.name}/a`,
    );
    expect(await present(space, "other", "a", "b")).toEqual([]);
  });

  kubeTest("may not be looked for: says so, and for whom it is asked", async () => {
    await using space = await freshNamespace();
    const kubeconfig = await space.kubeconfigWith([
      { apiGroups: [""], resources: ["configmaps"], verbs: ["get", "create", "patch", "list", "watch"] },
    ]);
    const client = await clientOf(space.kube, kubeconfig);
    const object = dependingOn(configMap("a", {}), `apps/namespaces/${space.name}/Deployment/db`);
    const error = await refusal(walk(client, parsed(object), { defaultNamespace: space.name }));
    expect(error.code).toBe("FORBIDDEN");
    expect(error.message).toStartWith(`Deployment ${space.name}/db, on which ConfigMap ${space.name}/a depends: `);
  });
});

describe("a namespace of a wave", () => {
  kubeTest("is made, and filled in a later one, though nothing of it can be tried before", async () => {
    await using space = await freshNamespace();
    const name = uniqueName("waved");
    const inside = inWave(configMap("inside", { a: "1" }, name), 3);
    try {
      const { told, validation } = await (await begin(space, [inside, { apiVersion: "v1", kind: "Namespace", metadata: { name } }])).ended;
      expect(told).toEqual([`created ConfigMap ${name}/inside`, `created Namespace ${name}`]);
      expect(validation.deferred).toHaveLength(1);
    } finally {
      await space.kubectl(["delete", "namespace", name, "--wait=false"]);
    }
  });
});
