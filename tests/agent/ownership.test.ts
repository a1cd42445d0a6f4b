import { afterAll, describe, expect } from "bun:test";
import { configMap, deployment, Storytellers, tell } from "../stories/story.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest } from "../support/kube.ts";

const tellers = new Storytellers();
afterAll(() => tellers[Symbol.asyncDispose]());

function autoscaler(namespace: string, minReplicas: number): unknown {
  return {
    apiVersion: "autoscaling/v2",
    kind: "HorizontalPodAutoscaler",
    metadata: { name: "web", namespace },
    spec: {
      minReplicas,
      maxReplicas: 9,
      scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "web" },
      metrics: [{ type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 80 } } }],
    },
  };
}

describe("ownership, through control plane and agent", () => {
  kubeTest(
    "a real autoscaler and an event share a Deployment, and neither undoes the other",
    async () => {
      await using namespace = await freshNamespace();
      const stack = await tellers.stack();
      const shared = { ignore_fields: [{ kind: "Deployment", pointers: ["/spec/replicas"] }] };
      const web = (image: string): unknown => deployment({ namespace: namespace.name, container: { image } });
      const first = await tell(stack, [web("registry.example/shop:1")], shared);
      expect(first.detail.state).toBe("completed");
      expect(first.object("web")?.status).toBe("created");
      // Below its least, it scales without having to measure anything.
      await namespace.kubectl(["apply", "-f", "-"], JSON.stringify(autoscaler(namespace.name, 3)));
      const replicas = async (): Promise<string> => namespace.kubectl(["get", "deployment", "web", "--output=jsonpath={.spec.replicas}"]);
      await eventually(async () => (await replicas()) === "3", { timeoutMs: 120_000 });
      const second = await tell(stack, [web("registry.example/shop:2")], shared);
      expect(second.detail.state).toBe("completed");
      expect(second.object("web")?.status).toBe("updated");
      expect(await replicas()).toBe("3");
      const third = await tell(stack, [web("registry.example/shop:2")], shared);
      expect(third.object("web")?.status).toBe("unchanged");
    },
    240_000,
  );

  kubeTest(
    "what cannot be changed is told with the way out, and that way works",
    async () => {
      await using namespace = await freshNamespace();
      const stack = await tellers.stack();
      const { name } = namespace;
      const sealed = (value: string): unknown => ({ ...(configMap(name, "sealed", { value }) as object), immutable: true });
      await tell(stack, [sealed("1")]);
      const refused = await tell(stack, [sealed("2"), configMap(name, "beside")]);
      expect(refused.code).toBe("IMMUTABLE_FIELD");
      expect(refused.told).toContain(`ConfigMap ${name}/sealed: data cannot be changed once it is set`);
      expect(await namespace.get("configmap", "beside")).toBeUndefined();
      const anew = await tell(stack, [sealed("2"), configMap(name, "beside")], { on_immutable: "recreate" });
      expect(anew.detail.state).toBe("completed");
      expect([anew.object("sealed")?.status, anew.object("beside")?.status]).toEqual(["recreated", "created"]);
      expect(anew.told).toContain("recreated");
      expect(await namespace.get("configmap", "sealed")).toMatchObject({ data: { value: "2" }, immutable: true });
    },
    240_000,
  );

  kubeTest(
    "an annotation that cannot be meant, and a pointer into a whole, end the event before anything is touched",
    async () => {
      await using namespace = await freshNamespace();
      const stack = await tellers.stack();
      const { name } = namespace;
      const odd = configMap(name, "odd") as { metadata: object };
      const annotated = { ...odd, metadata: { ...odd.metadata, annotations: { "transporter.dev/force-conflicts": "yes" } } };
      const refused = await tell(stack, [configMap(name, "beside"), annotated]);
      expect(refused.code).toBe("INVALID_OBJECT");
      expect(refused.told).toContain('ConfigMap odd: the annotation transporter.dev/force-conflicts is "yes", neither "true" nor "false"');
      const web = deployment({ namespace: name, replicas: 0 });
      const ignoring = { ignore_fields: [{ pointers: ["/spec/selector/matchLabels/app"] }] };
      const within = await tell(stack, [configMap(name, "beside"), web], ignoring);
      expect(within.code).toBe("INVALID_OBJECT");
      expect(within.told).toContain("lies in what belongs to one manager as a whole; ignore /spec/selector");
      expect(await namespace.get("configmap", "beside")).toBeUndefined();
      const slip = { ignore_fields: [{ kind: "Deploymnet", pointers: ["/spec/replicas"] }] };
      const noted = await tell(stack, [configMap(name, "beside")], slip);
      expect(noted.detail.state).toBe("completed");
      expect(noted.told).toContain("ignore_fields /spec/replicas of Deploymnet is for no object of this event");
    },
    240_000,
  );
});
