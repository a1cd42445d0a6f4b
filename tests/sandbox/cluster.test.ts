import { describe, expect } from "bun:test";
import { existsSync } from "node:fs";
import { eventually } from "../support/eventually.ts";
import { STRANGER_TOKEN, freshNamespace, kubeTest, sharedKube, startKube } from "../support/kube.ts";
import { startProcess } from "../support/process.ts";

interface Pod {
  readonly status: {
    readonly phase: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly {
      readonly ready: boolean;
      readonly state: { readonly waiting?: { readonly reason: string; readonly message: string } };
    }[];
  };
}

/** The message with which it failed, or nothing when it did not. */
async function failureOf(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => "",
    (error: unknown) => String(error),
  );
}

function pod(name: string, labels: Readonly<Record<string, string>>): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels },
    spec: { restartPolicy: "Never", containers: [{ name: "main", image: "registry.invalid/none:1" }] },
  });
}

describe("the sandbox", () => {
  kubeTest("runs a Deployment on simulated nodes", async () => {
    await using namespace = await freshNamespace();
    await namespace.kubectl(["create", "deployment", "web", "--image=nginx:1.27-alpine", "--replicas=3"]);
    await namespace.kubectl(["wait", "--for=condition=Available", "deployment/web", "--timeout=20s"]);
    const deployment = await namespace.get("deployment", "web");
    expect(deployment?.["status"]).toMatchObject({ availableReplicas: 3, readyReplicas: 3 });
    const pods = JSON.parse(await namespace.kubectl(["get", "pods", "--output=json"])) as { items: { spec: { nodeName: string } }[] };
    for (const one of pods.items) expect(one.spec.nodeName).toStartWith("simulated-");
  });

  kubeTest("reports the fault that a pod's label asks for", async () => {
    await using namespace = await freshNamespace();
    const podOf = async (name: string): Promise<Pod | undefined> => (await namespace.get("pod", name)) as Pod | undefined;
    for (const fault of ["image-error", "crash-loop", "never-ready", "fails"])
      await namespace.kubectl(["create", "-f", "-"], pod(fault, { [`transporter.dev/${fault}`]: "true" }));
    await eventually(async () => {
      const image = await podOf("image-error");
      expect(image?.status.phase).toBe("Pending");
      expect(image?.status.containerStatuses?.[0]?.state.waiting?.reason).toBe("ImagePullBackOff");
      expect(image?.status.containerStatuses?.[0]?.state.waiting?.message).toContain("registry.invalid/none:1");
      expect((await podOf("crash-loop"))?.status.containerStatuses?.[0]?.state.waiting?.reason).toBe("CrashLoopBackOff");
      const neverReady = await podOf("never-ready");
      expect(neverReady?.status.phase).toBe("Running");
      expect(neverReady?.status.conditions?.find((one) => one.type === "Ready")?.status).toBe("False");
      expect((await podOf("fails"))?.status.phase).toBe("Failed");
      return true;
    });
    expect(await namespace.kubectl(["logs", "crash-loop", "--previous", "--tail=1"])).toContain("connection refused");
    expect(await namespace.kubectl(["logs", "never-ready", "--tail=1"])).toContain("waiting for the migration");
  });

  kubeTest("completes a Job, and fails one that is asked to", async () => {
    await using namespace = await freshNamespace();
    await namespace.kubectl(["create", "job", "good", "--image=none"]);
    await namespace.kubectl(["wait", "--for=condition=Complete", "job/good", "--timeout=20s"]);
    const bad = {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "bad" },
      spec: {
        backoffLimit: 0,
        template: {
          metadata: { labels: { "transporter.dev/fails": "true" } },
          spec: { restartPolicy: "Never", containers: [{ name: "main", image: "none" }] },
        },
      },
    };
    await namespace.kubectl(["create", "-f", "-"], JSON.stringify(bad));
    await namespace.kubectl(["wait", "--for=condition=Failed", "job/bad", "--timeout=20s"]);
  });

  kubeTest("ends a namespace that holds something", async () => {
    await using namespace = await freshNamespace();
    await namespace.kubectl(["create", "deployment", "web", "--image=nginx", "--replicas=2"]);
    await namespace.kubectl(["wait", "--for=condition=Available", "deployment/web", "--timeout=20s"]);
    await namespace.kube.kubectl(["delete", "namespace", namespace.name, "--timeout=25s"]);
    expect(await namespace.kube.kubectl(["get", "namespace", namespace.name, "--ignore-not-found"])).toBe("");
  });

  kubeTest("knows users, and gives them what RBAC gives", async () => {
    await using namespace = await freshNamespace();
    const kube = await sharedKube();
    const stranger = await kube.tryKubectl(["get", "configmaps", "--namespace", namespace.name], {
      kubeconfigPath: await kube.kubeconfigFor("stranger", STRANGER_TOKEN),
    });
    expect(stranger.exitCode).not.toBe(0);
    expect(stranger.stderr).toContain('User "stranger" cannot list resource "configmaps"');
    const reader = await namespace.kubeconfigWith([{ apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list"] }]);
    expect((await kube.tryKubectl(["get", "configmaps"], { kubeconfigPath: reader })).exitCode).toBe(0);
    expect((await kube.tryKubectl(["get", "secrets"], { kubeconfigPath: reader })).stderr).toContain("forbidden");
    const unknown = await kube.kubeconfigFor("nobody", "no-such-token");
    expect((await kube.tryKubectl(["get", "configmaps"], { kubeconfigPath: unknown })).exitCode).not.toBe(0);
  });

  kubeTest("knows users by their client certificates", async () => {
    const kube = await sharedKube();
    const whoIs = async (kubeconfigPath: string): Promise<unknown> => {
      const answer = await kube.tryKubectl(["auth", "whoami", "--output=json"], { kubeconfigPath });
      return answer.exitCode === 0 ? (JSON.parse(answer.stdout) as { status: { userInfo: unknown } }).status.userInfo : answer.stderr;
    };
    const valid = await kube.clientCertificate("ada", ["builders", "testers"]);
    expect(await whoIs(valid.kubeconfigPath)).toMatchObject({ username: "ada", groups: ["builders", "testers", "system:authenticated"] });
    const expired = await kube.clientCertificate("ada", [], -3_600_000);
    expect(await whoIs(expired.kubeconfigPath)).toContain("Unauthorized");
  });

  kubeTest("keeps its state over a kill -9 of the API server, and leaves nothing behind", async () => {
    const kube = await startKube({ controllers: true });
    try {
      await kube.kubectl(["create", "configmap", "kept"]);
      await kube.killApiServer();
      expect(await failureOf(kube.request("GET", "/readyz"))).not.toBe("");
      await kube.restartApiServer();
      expect(await kube.kubectl(["get", "configmap", "kept", "--output=name"])).toBe("configmap/kept\n");
    } finally {
      await kube.stop();
    }
    expect(existsSync(kube.directory)).toBe(false);
    expect(await failureOf(kube.request("GET", "/readyz"))).not.toBe("");
  });

  kubeTest("ends with the process that started it, even by kill -9", async () => {
    const module = JSON.stringify(`${import.meta.dir}/../../sandbox/mod.ts`);
    const program = `const { startCluster } = await import(${module}); const kube = await startCluster(); console.log("up", kube.url, kube.directory); setInterval(() => {}, 1000);`;
    // The cache of programs is found by the home directory, so this one keeps it.
    await using parent = await startProcess([process.execPath, "-e", program], { home: process.env["HOME"] ?? "/" });
    const [, url = "", directory = ""] = await parent.line(/^up (\S+) (\S+)/);
    expect((await fetch(`${url}/livez`, { tls: { rejectUnauthorized: false } })).status).toBe(200);
    expect(existsSync(directory)).toBe(true);
    await parent.kill("SIGKILL");
    await eventually(() => !existsSync(directory), { what: "the end of its directory" });
    expect(await failureOf(fetch(`${url}/livez`, { tls: { rejectUnauthorized: false } }))).not.toBe("");
  });

  kubeTest("says in the API server's own words why it did not start", async () => {
    const message = await failureOf(startKube({ apiServerFlags: ["--no-such-flag"] }));
    expect(message).toMatch(/kube-apiserver ended while starting:[\s\S]*unknown flag: --no-such-flag/);
  });
});
