import { describe, expect } from "bun:test";
import { systemPorts } from "../../src/kit/mod.ts";
import { readyRules, verifyPlan } from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace } from "../support/kube.ts";
import { clientOf, deployment, parsed, refusal, walk } from "./walk.ts";

const LONG_MS = 120_000;

async function warned(namespace: Namespace, reason: string): Promise<void> {
  await eventually(async () => (await namespace.kubectl(["get", "events", "--output=jsonpath={.items[*].reason}"])).includes(reason), {
    timeoutMs: 60_000,
    what: `the event ${reason}`,
  });
}

describe("why something is not ready", () => {
  kubeTest(
    "a claim that nothing provides for, and one of a class that does not exist",
    async () => {
      await using namespace = await freshNamespace();
      const client = await clientOf(namespace.kube);
      const claim = (name: string, storageClassName: string): KubeObject => ({
        apiVersion: "v1",
        kind: "PersistentVolumeClaim",
        metadata: { name },
        spec: { storageClassName, accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
      });
      const { plan, outcomes } = await walk(client, parsed(claim("none", ""), claim("fast", "nowhere")), {
        defaultNamespace: namespace.name,
      });
      await warned(namespace, "ProvisioningFailed");
      await warned(namespace, "FailedBinding");
      const { message } = await refusal(verifyPlan(client, plan, outcomes, { timeoutMs: 1_000 }));
      expect(message).toContain(
        `PersistentVolumeClaim ${namespace.name}/none: phase is Pending, not Bound; last warning: FailedBinding: no persistent volumes available for this claim and no storage class is set`,
      );
      expect(message).toContain(
        `PersistentVolumeClaim ${namespace.name}/fast: phase is Pending, not Bound; last warning: ProvisioningFailed: storageclass.storage.k8s.io "nowhere" not found`,
      );
    },
    LONG_MS,
  );

  kubeTest(
    "a pod whose claim is missing, and a Service that nobody gives an address",
    async () => {
      await using namespace = await freshNamespace();
      const client = await clientOf(namespace.kube);
      const pod: KubeObject = {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "db" },
        spec: {
          containers: [{ name: "main", image: "none" }],
          volumes: [{ name: "data", persistentVolumeClaim: { claimName: "data" } }],
        },
      };
      const service: KubeObject = {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "shop" },
        spec: { type: "LoadBalancer", selector: { app: "shop" }, ports: [{ port: 80 }] },
      };
      const { plan, outcomes } = await walk(client, parsed(pod, service), { defaultNamespace: namespace.name });
      await warned(namespace, "FailedScheduling");
      const { message } = await refusal(verifyPlan(client, plan, outcomes, { timeoutMs: 1_000 }));
      expect(message).toMatch(
        /Pod test-\w+\/db: pod db cannot be scheduled: 0\/3 nodes are available: persistentvolumeclaim "data" not found\. [^;]*; PersistentVolumeClaim/,
      );
      expect(message).toContain(`PersistentVolumeClaim ${namespace.name}/data does not exist`);
      expect(message).toContain(
        `Service ${namespace.name}/shop: has no load balancer address yet; no event tells of an address being given, so perhaps nothing in this cluster gives load balancers theirs`,
      );
    },
    LONG_MS,
  );

  kubeTest(
    "an autoscaler without metrics, where the event asks for one that works",
    async () => {
      await using namespace = await freshNamespace();
      const client = await clientOf(namespace.kube);
      const scaler: KubeObject = {
        apiVersion: "autoscaling/v2",
        kind: "HorizontalPodAutoscaler",
        metadata: { name: "web" },
        spec: {
          maxReplicas: 3,
          scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "nowhere" },
          metrics: [{ type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 50 } } }],
        },
      };
      const { plan, outcomes } = await walk(client, parsed(scaler), { defaultNamespace: namespace.name });
      // Without a rule it is ready by being stored.
      await verifyPlan(client, plan, outcomes, { timeoutMs: 1_000 });
      const ready = "self.status.conditions.all(c, c.type == 'ScalingLimited' || c.status == 'True')";
      const rules = await readyRules(systemPorts.timers, [{ kind: "HorizontalPodAutoscaler", ready }]);
      await warned(namespace, "FailedGetScale");
      const { message } = await refusal(verifyPlan(client, plan, outcomes, { timeoutMs: 2_000, rules }));
      expect(message).toContain(`HorizontalPodAutoscaler ${namespace.name}/web: not yet so: ${ready}; `);
      expect(message).toContain(`the HPA controller was unable to get the target's current scale: deployments.apps "nowhere" not found`);
    },
    LONG_MS,
  );

  kubeTest(
    "as much as the account may see: without events and logs the pods still tell",
    async () => {
      await using namespace = await freshNamespace();
      const all = ["get", "list", "watch", "create", "patch"];
      const kubeconfig = await namespace.kubeconfigWith([
        { apiGroups: ["apps"], resources: ["deployments", "replicasets"], verbs: all },
        { apiGroups: [""], resources: ["pods"], verbs: ["get", "list"] },
      ]);
      const client = await clientOf(namespace.kube, kubeconfig);
      const crashing = parsed(deployment("web", "none", { "transporter.dev/crash-loop": "true" }));
      const { plan, outcomes } = await walk(client, crashing, { defaultNamespace: namespace.name });
      await eventually(
        async () => (await namespace.kubectl(["get", "pods", "--output=jsonpath={.items[*].status.containerStatuses[*].state}"])) !== "",
        { timeoutMs: 60_000 },
      );
      const { message, details } = await refusal(verifyPlan(client, plan, outcomes, { timeoutMs: 1_000 }));
      expect(message).toContain('container main (image "none") is in CrashLoopBackOff after 5 restarts');
      expect(message).not.toContain("wrote last");
      expect(message).not.toContain("last warning");
      expect(details["not_ready"]).not.toMatchObject([{ log: {} }]);
      // Who may read logs gets the last lines, in full in the details.
      const told = await refusal(verifyPlan(await clientOf(namespace.kube), plan, outcomes, { timeoutMs: 1_000 }));
      expect(told.message).toContain("; container main wrote last: starting up | connecting to db:5432");
      expect(told.details["not_ready"]).toMatchObject([
        {
          log: {
            container: "main",
            previous: true,
            lines: [
              "starting up",
              "connecting to db:5432 as app:correct-horse-battery",
              "panic: dial tcp 10.0.0.7:5432: connect: connection refused",
            ],
          },
        },
      ]);
    },
    LONG_MS,
  );
});
