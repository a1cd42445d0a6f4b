import { describe, expect } from "bun:test";
import { verifyPlan, type NotReady } from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, uniqueName } from "../support/kube.ts";
import { clientOf, configMap, deployment, parsed, refusal, walk, walkAll } from "./walk.ts";

function job(name: string, podLabels: Readonly<Record<string, string>> = {}): KubeObject {
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name },
    spec: {
      backoffLimit: 0,
      template: { metadata: { labels: podLabels }, spec: { restartPolicy: "Never", containers: [{ name: "main", image: "none" }] } },
    },
  };
}

function template(app: string): unknown {
  return { metadata: { labels: { app } }, spec: { containers: [{ name: "main", image: "none" }] } };
}

function storageClass(name: string, mode: string): KubeObject {
  return {
    apiVersion: "storage.k8s.io/v1",
    kind: "StorageClass",
    metadata: { name },
    provisioner: "example.org/none",
    volumeBindingMode: mode,
  };
}

function claim(name: string, className: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name },
    spec: { accessModes: ["ReadWriteOnce"], storageClassName: className, resources: { requests: { storage: "1Gi" } } },
  };
}

/** A kind `App` of a group of its own, with a status that its controller writes. */
function appDefinition(group: string): KubeObject {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `apps.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind: "App", plural: "apps", singular: "app" },
      versions: [
        {
          name: "v1",
          served: true,
          storage: true,
          subresources: { status: {} },
          schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
        },
      ],
    },
  };
}

describe("verified", () => {
  kubeTest("workloads of every kind, and their service, until they are ready", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const objects = parsed(
      deployment("web", "nginx:1.27-alpine", {}, 3),
      {
        apiVersion: "apps/v1",
        kind: "StatefulSet",
        metadata: { name: "db" },
        spec: { replicas: 2, serviceName: "db", selector: { matchLabels: { app: "db" } }, template: template("db") },
      },
      {
        apiVersion: "apps/v1",
        kind: "DaemonSet",
        metadata: { name: "node" },
        spec: { selector: { matchLabels: { app: "node" } }, template: template("node") },
      },
      { apiVersion: "v1", kind: "Pod", metadata: { name: "single" }, spec: { containers: [{ name: "main", image: "none" }] } },
      { apiVersion: "v1", kind: "Service", metadata: { name: "web" }, spec: { selector: { app: "web" }, ports: [{ port: 80 }] } },
      job("migrate"),
      configMap("settings", { a: "1" }),
    );
    await walkAll(client, objects, { timeoutMs: 60_000 }, namespace.name);
    expect(await namespace.get("deployment", "web")).toMatchObject({ status: { availableReplicas: 3 } });
    expect(await namespace.get("statefulset", "db")).toMatchObject({ status: { readyReplicas: 2 } });
    expect(await namespace.get("daemonset", "node")).toMatchObject({ status: { numberReady: 3 } });
    expect(await namespace.get("job", "migrate")).toMatchObject({ status: { succeeded: 1 } });
    // An update is waited for too, not taken for ready by what was true before it.
    await walkAll(client, parsed(deployment("web", "nginx:1.28-alpine", {}, 2)), { timeoutMs: 60_000 }, namespace.name);
    expect(await namespace.get("deployment", "web")).toMatchObject({ status: { availableReplicas: 2, updatedReplicas: 2 } });
  });

  kubeTest("an image that cannot be pulled: says which, of which pod, while it waits and at the end", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const image = "registry.invalid/none:9.9";
    const waiting: { text: string; all: readonly NotReady[] }[] = [];
    const error = await refusal(
      walkAll(
        client,
        parsed(deployment("web", image, { "transporter.dev/image-error": "true" }, 2), configMap("settings", {})),
        { timeoutMs: 4_000, onWaiting: (text, all) => waiting.push({ text, all }) },
        namespace.name,
      ),
    );
    expect(error.code).toBe("VERIFY_TIMEOUT");
    expect(error.message).toStartWith(`not ready after 4 s: Deployment ${namespace.name}/web: 0 of 2 pods are available; pod web-`);
    expect(error.message).toContain(`the image "${image}" of container main cannot be pulled (ImagePullBackOff: Back-off pulling image`);
    expect(error.message).toContain("(and 1 more alike)");
    expect(error.details["not_ready_count"]).toBe(1);
    expect(waiting[0]?.text).toStartWith(`waiting for Deployment ${namespace.name}/web: `);
    expect(waiting[0]?.text).toContain("cannot be pulled");
  });

  kubeTest("a Deployment that misses its own deadline fails at once", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const web = deployment("web", "registry.invalid/none:9.9", { "transporter.dev/image-error": "true" });
    (web["spec"] as Record<string, unknown>)["progressDeadlineSeconds"] = 1;
    const error = await refusal(walkAll(client, parsed(web), { timeoutMs: 60_000 }, namespace.name));
    expect(error.code).toBe("VERIFY_FAILED");
    expect(error.message).toContain("progress");
    expect(error.message).toContain('the image "registry.invalid/none:9.9"');
  });

  kubeTest("a Job that fails, a pod that crashes", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const failed = await refusal(
      walkAll(client, parsed(job("bad", { "transporter.dev/fails": "true" })), { timeoutMs: 60_000 }, namespace.name),
    );
    expect(failed.code).toBe("VERIFY_FAILED");
    expect(failed.message).toStartWith(`Job ${namespace.name}/bad: `);
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "crashing", labels: { "transporter.dev/crash-loop": "true" } },
      spec: { containers: [{ name: "main", image: "none" }] },
    };
    const crashing = await refusal(walkAll(client, parsed(pod), { timeoutMs: 60_000 }, namespace.name));
    expect(crashing.code).toBe("VERIFY_FAILED");
    expect(crashing.message).toContain("CrashLoopBackOff");
  });

  kubeTest("what cannot be scheduled, and what a quota forbids", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const picky = deployment("picky", "none");
    (picky["spec"] as { template: { spec: Record<string, unknown> } }).template.spec["nodeSelector"] = { "example.org/none": "there" };
    const unscheduled = await refusal(walkAll(client, parsed(picky), { timeoutMs: 3_000 }, namespace.name));
    expect(unscheduled.message).toContain("cannot be scheduled: 0/3 nodes are available");
    await namespace.kubectl(["create", "quota", "small", "--hard=pods=1"]);
    await eventually(async () => (await namespace.kubectl(["get", "quota", "small", "--output=jsonpath={.status.hard.pods}"])) === "1");
    const limited = await refusal(walkAll(client, parsed(deployment("limited", "none", {}, 3)), { timeoutMs: 3_000 }, namespace.name));
    expect(limited.message).toContain("exceeded quota: small");
  });

  kubeTest("a definition is ready when its kind is served, so that what is sent next may be of that kind", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    for (let round = 0; round < 6; round += 1) {
      const group = `${uniqueName("g")}.example.org`;
      const crd = appDefinition(group);
      try {
        await walkAll(client, parsed(crd), { timeoutMs: 30_000 });
        const one = parsed({ apiVersion: `${group}/v1`, kind: "App", metadata: { name: "one" } });
        await walkAll(client, one, { timeoutMs: 30_000 }, namespace.name);
      } finally {
        await namespace.kubectl(["delete", "crd", `apps.${group}`, "--wait=false"]);
      }
    }
  });

  kubeTest("custom resources with standard conditions, as their controller writes them", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const group = `${uniqueName("g")}.example.org`;
    const crd = appDefinition(group);
    try {
      await walkAll(client, parsed(crd), { timeoutMs: 30_000 });
      const objects = parsed({ apiVersion: `${group}/v1`, kind: "App", metadata: { name: "one" }, spec: { a: 1 } });
      const { plan, outcomes } = await walk(client, objects, { defaultNamespace: namespace.name });
      const status = (conditions: unknown): Promise<string> =>
        namespace.kubectl([
          "patch",
          `apps.${group}`,
          "one",
          "--subresource=status",
          "--type=merge",
          "--patch",
          JSON.stringify({ status: { conditions } }),
        ]);
      await status([{ type: "Ready", status: "False", reason: "Pulling", message: "fetching the chart" }]);
      const waiting: string[] = [];
      const verified = verifyPlan(client, plan, outcomes, { timeoutMs: 30_000, onWaiting: (text) => waiting.push(text) });
      await eventually(() => waiting.length > 0);
      expect(waiting[0]).toContain("fetching the chart");
      await status([{ type: "Ready", status: "True", reason: "Done", message: "" }]);
      await verified;
      await status([{ type: "Stalled", status: "True", reason: "BadChart", message: "no such chart" }]);
      const error = await refusal(verifyPlan(client, plan, outcomes, { timeoutMs: 30_000 }));
      expect(error.code).toBe("VERIFY_FAILED");
      expect(error.message).toContain("no such chart");
    } finally {
      await client.send({ method: "DELETE", path: `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/apps.${group}` });
    }
  });

  kubeTest("a claim that waits for its first consumer is no fault, one that waits for a volume is", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const [late, early] = [uniqueName("late"), uniqueName("early")];
    try {
      await walkAll(client, parsed(storageClass(late, "WaitForFirstConsumer"), claim("late", late)), { timeoutMs: 20_000 }, namespace.name);
      const error = await refusal(
        walkAll(client, parsed(storageClass(early, "Immediate"), claim("early", early)), { timeoutMs: 2_000 }, namespace.name),
      );
      expect(error.code).toBe("VERIFY_TIMEOUT");
      expect(error.message).toContain("phase is Pending, not Bound");
    } finally {
      for (const name of [late, early]) await client.send({ method: "DELETE", path: `/apis/storage.k8s.io/v1/storageclasses/${name}` });
    }
  });

  kubeTest("an object that is deleted while it is waited for", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const { plan, outcomes } = await walk(client, parsed(deployment("web", "none", { "transporter.dev/never-ready": "true" })), {
      defaultNamespace: namespace.name,
    });
    const waiting: string[] = [];
    const verified = refusal(verifyPlan(client, plan, outcomes, { timeoutMs: 30_000, onWaiting: (text) => waiting.push(text) }));
    await eventually(() => waiting.length > 0);
    expect(waiting[0]).toContain("runs and is not ready yet");
    await namespace.kubectl(["delete", "deployment", "web", "--cascade=orphan"]);
    const error = await verified;
    expect(error.code).toBe("VERIFY_FAILED");
    expect(error.message).toContain("deleted");
  });

  kubeTest("an account that may watch single objects only, and one that may not look at all", async () => {
    await using namespace = await freshNamespace();
    const deployments = { apiGroups: ["apps"], resources: ["deployments"] };
    const narrow = await namespace.kubeconfigWith([
      { ...deployments, verbs: ["get", "create", "patch"] },
      { ...deployments, verbs: ["list", "watch"], resourceNames: ["web"] },
    ]);
    await walkAll(await clientOf(namespace.kube, narrow), parsed(deployment("web", "none")), { timeoutMs: 30_000 }, namespace.name);
    const blind = await namespace.kubeconfigWith([{ ...deployments, verbs: ["get", "create", "patch"] }]);
    const error = await refusal(
      walkAll(
        await clientOf(namespace.kube, blind),
        parsed(deployment("slow", "none", { "transporter.dev/never-ready": "true" })),
        { timeoutMs: 30_000 },
        namespace.name,
      ),
    );
    expect(error.code).toBe("FORBIDDEN");
    expect(error.message).toContain("whether it becomes ready cannot be seen");
  });

  kubeTest("the caller's signal ends the wait", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const { plan, outcomes } = await walk(client, parsed(deployment("web", "none", { "transporter.dev/never-ready": "true" })), {
      defaultNamespace: namespace.name,
    });
    const stop = new AbortController();
    const verified = verifyPlan(client, plan, outcomes, {
      timeoutMs: 30_000,
      signal: stop.signal,
      onWaiting: () => stop.abort(new Error("enough")),
    });
    const reason: unknown = await verified.then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(reason).toBeInstanceOf(Error);
    expect((reason as Error).message).toBe("enough");
  });
});
