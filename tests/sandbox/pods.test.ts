import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { imageOfProgram, type PodCluster, type PodClusters, preparePodPrograms, startPodClusters, Watchdog } from "../../sandbox/mod.ts";
import { eventually } from "../support/eventually.ts";
import { podTest, SKIP_PODS } from "../support/pods.ts";

const IMAGE = "localhost/transporter-sandbox/probe:1";
const NODE_PORT = 30_080;
const CHILD = resolve(import.meta.dir, "pods-child.ts");

let clusters: PodClusters;
let east: PodCluster;
let west: PodCluster;

/** Serves its own name. */
function pod(name: string, extra: Readonly<Record<string, unknown>> = {}): string {
  const probe = { httpGet: { path: "/", port: 8080 }, periodSeconds: 1 };
  const container = {
    name: "probe",
    image: IMAGE,
    imagePullPolicy: "Never",
    args: ["serve", ":8080", name],
    readinessProbe: probe,
    ...extra,
  };
  const spec = { terminationGracePeriodSeconds: 1, containers: [container] };
  return JSON.stringify({ apiVersion: "v1", kind: "Pod", metadata: { name, labels: { app: name } }, spec });
}

function nodePortService(name: string): string {
  const spec = { type: "NodePort", selector: { app: name }, ports: [{ port: 80, targetPort: 8080, nodePort: NODE_PORT }] };
  return JSON.stringify({ apiVersion: "v1", kind: "Service", metadata: { name: `${name}-service` }, spec });
}

function get(from: PodCluster, podName: string, url: string): Promise<string> {
  return from.kubectl(["exec", podName, "--", "/probe", "get", url]);
}

/** What is left on this machine of the clusters in this directory: processes, control groups, mounts, the directory itself. */
async function traces(directory: string): Promise<string[]> {
  const unique = basename(directory);
  const found: string[] = existsSync(directory) ? [directory] : [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const texts = ["cmdline", "cgroup"].map((file) => readFile(join("/proc", pid, file), "utf8").catch(() => ""));
    if ((await Promise.all(texts)).some((text) => text.includes(unique))) found.push(`process ${pid}`);
  }
  // In version 1 there is a level of controllers above the groups, in version 2 there is not.
  for (const above of await readdir("/sys/fs/cgroup"))
    for (const path of [above, ...(await readdir(join("/sys/fs/cgroup", above)).catch(() => [])).map((group) => `${above}/${group}`)])
      if (basename(path).includes(unique)) found.push(`control group ${path}`);
  if ((await readFile("/proc/self/mounts", "utf8")).includes(unique)) found.push("mounts");
  return found;
}

beforeAll(async () => {
  if (SKIP_PODS) return;
  clusters = await startPodClusters({ clusters: [{ name: "east" }, { name: "west" }], onProgress: (line) => console.log(line) });
  east = clusters.cluster("east");
  west = clusters.cluster("west");
  const archives = await mkdtemp(join(tmpdir(), "transporter-pods-test-"));
  try {
    const archive = join(archives, "probe.tar");
    await writeFile(archive, await imageOfProgram(IMAGE, (await preparePodPrograms()).paths.probe, []));
    for (const cluster of clusters.clusters) expect(await cluster.importImage(archive)).toEqual([IMAGE]);
  } finally {
    await rm(archives, { recursive: true, force: true });
  }
  await Promise.all(
    clusters.clusters.map(async (cluster) => {
      await cluster.kubectl(["apply", "-f", "-"], { input: pod(`${cluster.name}-web`) });
      await cluster.kubectl(["apply", "-f", "-"], { input: nodePortService(`${cluster.name}-web`) });
      await cluster.kubectl(["wait", "--for=condition=Ready", `pod/${cluster.name}-web`, "--timeout=120s"]);
    }),
  );
}, 1_800_000);

afterAll(async () => {
  if (SKIP_PODS) return;
  await clusters.stop();
  expect(await traces(clusters.directory)).toEqual([]);
}, 60_000);

describe("clusters with real pods", () => {
  podTest("serve the same NodePort side by side, to each other's pods and through a relay to us", async () => {
    for (const [cluster, other] of [
      [east, west],
      [west, east],
    ] as const) {
      expect(await get(other, `${other.name}-web`, `http://${cluster.nodeAddress}:${NODE_PORT}/`)).toBe(`${cluster.name}-web\n`);
      expect(await get(other, `${other.name}-web`, `http://${cluster.nodeHostname}:${NODE_PORT}/`)).toBe(`${cluster.name}-web\n`);
      const port = await cluster.relay(NODE_PORT);
      expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe(`${cluster.name}-web\n`);
    }
  });

  podTest("let pods find Services by name, themselves included", async () => {
    for (const name of ["east-web-service", "east-web-service.default.svc", "east-web-service.default.svc.cluster.local"])
      expect(await get(east, "east-web", `http://${name}/`)).toBe("east-web\n");
  });

  podTest("have working logs and port-forward", async () => {
    await get(west, "west-web", "http://west-web-service/some-path-of-the-log");
    expect(await west.kubectl(["logs", "west-web"])).toContain("GET /some-path-of-the-log");
    const forward = Bun.spawn([west.kubectlPath, "--kubeconfig", west.kubeconfigPath, "port-forward", "pod/west-web", ":8080"], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    try {
      const { value } = await forward.stdout.getReader().read();
      const port = /127\.0\.0\.1:(\d+)/.exec(new TextDecoder().decode(value))?.[1];
      expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe("west-web\n");
    } finally {
      forward.kill();
      await forward.exited;
    }
  });

  podTest("run a pod as little privileged as it asks to, within its limits", async () => {
    const extra = {
      resources: { limits: { memory: "64Mi", cpu: "500m" } },
      securityContext: {
        runAsUser: 65_532,
        runAsNonRoot: true,
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"] },
        seccompProfile: { type: "RuntimeDefault" },
      },
    };
    await east.kubectl(["apply", "-f", "-"], { input: pod("careful", extra) });
    await east.kubectl(["wait", "--for=condition=Ready", "pod/careful", "--timeout=60s"]);
    await east.kubectl(["delete", "pod/careful", "--wait", "--timeout=60s"]);
  });

  podTest("say that an image is not there", async () => {
    await west.kubectl(["run", "nowhere", "--image=localhost/not/there:1", "--image-pull-policy=Never", "--restart=Never"]);
    await eventually(async () => (await west.kubectl(["get", "pod", "nowhere", "--output=json"])).includes("ErrImageNeverPull"), {
      timeoutMs: 60_000,
    });
    await west.kubectl(["delete", "pod/nowhere", "--wait", "--timeout=60s"]);
  });

  podTest("are cut from each other by a broken link, and come back", async () => {
    const url = `http://${east.nodeAddress}:${NODE_PORT}/`;
    await clusters.cutLink("east");
    try {
      await expect(get(west, "west-web", url)).rejects.toThrow("ended with 1");
      // Whoever watches still sees both, and inside of each all goes on.
      expect(await get(east, "east-web", "http://east-web-service/")).toBe("east-web\n");
    } finally {
      await clusters.healLink("east");
    }
    await eventually(() => get(west, "west-web", url), { timeoutMs: 30_000 });
  });

  podTest("leave nothing in the machine's own namespaces while they run", async () => {
    expect(await readFile("/proc/self/mounts", "utf8")).not.toContain(clusters.directory);
    expect(await readdir("/sys/class/net")).not.toContain("hub");
    for (const name of ["kubelet.sock", "device-plugins"]) expect(existsSync(join("/var/lib/kubelet", name))).toBe(false);
    expect(await traces(clusters.directory)).toContainEqual(expect.stringContaining(`/${basename(clusters.directory)}-1`));
  });

  podTest(
    "end with whoever started them, killed or not, and without harm to others with the same addresses",
    async () => {
      // Should this test itself be ended, the child must not stay.
      const watchdog = new Watchdog();
      const child = Bun.spawn([process.execPath, CHILD], { stdin: "ignore", stdout: "pipe", stderr: "inherit", detached: true });
      watchdog.add(child.pid);
      const { value } = await child.stdout.getReader().read();
      const { directory } = JSON.parse(new TextDecoder().decode(value)) as { directory: string };
      expect((await traces(directory)).length).toBeGreaterThan(10);
      child.kill("SIGKILL");
      await child.exited;
      watchdog.close();
      await eventually(async () => (await traces(directory)).length === 0, { timeoutMs: 30_000, what: `the end of all in ${directory}` });
      expect(await get(west, "west-web", `http://${east.nodeAddress}:${NODE_PORT}/`)).toBe("east-web\n");
    },
    180_000,
  );
});
