import { afterAll, expect } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest } from "../support/kube.ts";
import { deployment, Storytellers, tell } from "./story.ts";

const tellers = new Storytellers();
afterAll(() => tellers[Symbol.asyncDispose]());

const LONG_MS = 240_000;

kubeTest(
  "1: an image that cannot be pulled sticks the rollout, and the old pods stay",
  async () => {
    await using namespace = await freshNamespace();
    const stack = await tellers.stack();
    const good = await tell(stack, [deployment({ namespace: namespace.name, replicas: 2 })]);
    expect(good.detail.state).toBe("completed");
    const { code, told, object, detail } = await tell(stack, [
      deployment({
        namespace: namespace.name,
        replicas: 2,
        labels: { "transporter.dev/image-error": "true" },
        container: { image: "registry.example/shop:8" },
        // The rollout gives up by itself, as Deployments do, and nobody waits for the rest of verify_timeout.
        spec: { progressDeadlineSeconds: 8 },
      }),
    ]);
    expect(detail.state).toBe("failed");
    expect(code).toBe("VERIFY_FAILED");
    expect(told).toMatch(/Deployment test-\w+\/web: ReplicaSet "web-\w+" has timed out progressing\.; pod web-[\w-]+: /);
    expect(told).toContain(
      'the image "registry.example/shop:8" of container main cannot be pulled (ImagePullBackOff: Back-off pulling image "registry.example/shop:8")',
    );
    expect(told).toMatch(
      /last warning of Pod web-[\w-]+: Failed: Failed to pull image: code = NotFound desc = the registry has no such image/,
    );
    expect(object("web")).toMatchObject({ status: "updated", message: expect.stringContaining("cannot be pulled") });
    const pods = await namespace.kubectl(["get", "pods", "--output=jsonpath={.items[*].spec.containers[0].image}"]);
    expect(pods.split(" ").filter((image) => image === "registry.example/shop:7")).toHaveLength(2);
  },
  LONG_MS,
);

kubeTest(
  "2: a crash loop, with the last words of the container and without the password in them",
  async () => {
    await using namespace = await freshNamespace();
    const secret = {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "database", namespace: namespace.name },
      stringData: { password: "correct-horse-battery" },
    };
    const crashing = deployment({ namespace: namespace.name, replicas: 2, labels: { "transporter.dev/crash-loop": "true" } });
    const { code, told, detail } = await tell(await tellers.stack(), [secret, crashing], { verify_timeout: "12s" });
    expect(code).toBe("VERIFY_TIMEOUT");
    expect(told).toContain("not ready after 12 s: Deployment");
    expect(told).toContain("0 of 2 pods are available; pod web-");
    expect(told).toContain(
      'container main (image "registry.example/shop:7") is in CrashLoopBackOff after 5 restarts: back-off 2m40s restarting failed container=main ' +
        "(last ended with code 1, Error) (and 1 more alike)",
    );
    expect(told).toMatch(/last warning of Pod web-[\w-]+: Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 503/);
    expect(told).toMatch(
      /container main wrote last: starting up \| connecting to db:5432 as app:\S+ \| panic: dial tcp 10\.0\.0\.7:5432: connect: connection refused/,
    );
    expect(JSON.stringify(detail)).not.toContain("correct-horse-battery");
    expect(told).not.toContain("correct-horse-battery");
  },
  LONG_MS,
);

kubeTest(
  "3: pods that no node can take, for want of room and for want of a volume",
  async () => {
    await using namespace = await freshNamespace();
    const big = deployment({ namespace: namespace.name, container: { resources: { requests: { cpu: "5000" } } } });
    const stateful = {
      apiVersion: "apps/v1",
      kind: "StatefulSet",
      metadata: { name: "db", namespace: namespace.name },
      spec: {
        serviceName: "db",
        selector: { matchLabels: { app: "db" } },
        template: {
          metadata: { labels: { app: "db" } },
          spec: { containers: [{ name: "main", image: "registry.example/db:1", volumeMounts: [{ name: "data", mountPath: "/data" }] }] },
        },
        volumeClaimTemplates: [
          {
            metadata: { name: "data" },
            spec: { storageClassName: "fast", accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
          },
        ],
      },
    };
    const { code, told, object } = await tell(await tellers.stack(), [big, stateful], { verify_timeout: "12s" });
    expect(code).toBe("VERIFY_TIMEOUT");
    expect(told).toMatch(/0 of 1 pods are available; pod web-[\w-]+ cannot be scheduled: 0\/3 nodes are available: 3 Insufficient cpu\./);
    expect(object("db")?.message).toContain("0 of 1 pods are ready; pod db-0 cannot be scheduled: ");
    expect(object("db")?.message).toContain("unbound immediate PersistentVolumeClaims");
    expect(object("db")?.message).toContain(
      `PersistentVolumeClaim ${namespace.name}/data-db-0 is Pending: storageclass.storage.k8s.io "fast" not found`,
    );
  },
  LONG_MS,
);

kubeTest(
  "4: a quota that leaves room for one pod of three",
  async () => {
    await using namespace = await freshNamespace();
    await namespace.kubectl(["create", "quota", "small", "--hard=pods=1"]);
    await eventually(async () => (await namespace.kubectl(["get", "quota", "small", "--output=jsonpath={.status.hard.pods}"])) === "1", {
      timeoutMs: 30_000,
    });
    const { code, told } = await tell(await tellers.stack(), [deployment({ namespace: namespace.name, replicas: 3 })], {
      verify_timeout: "12s",
    });
    expect(code).toBe("VERIFY_TIMEOUT");
    expect(told).toMatch(
      /1 of 3 pods are (updated|available): pods "web-[\w-]+" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1/,
    );
  },
  LONG_MS,
);

kubeTest(
  "and a Job: its pods, what they ended with and what they wrote",
  async () => {
    await using namespace = await freshNamespace();
    const job = {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "migrate", namespace: namespace.name },
      spec: {
        backoffLimit: 0,
        template: {
          metadata: { labels: { "transporter.dev/fails": "true" } },
          spec: { restartPolicy: "Never", containers: [{ name: "main", image: "registry.example/shop:7" }] },
        },
      },
    };
    const { code, told } = await tell(await tellers.stack(), [job]);
    expect(code).toBe("VERIFY_FAILED");
    expect(told).toContain("migrate: Job has reached the specified backoff limit; pod migrate-");
    expect(told).toContain("container main ended with code 1 (Error)");
    expect(told).toContain("container main wrote last: starting up | waiting for the migration of the database");
  },
  LONG_MS,
);
