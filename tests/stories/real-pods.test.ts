import { afterAll, beforeAll, expect } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { imageOfProgram, type PodClusters, preparePodPrograms, startPodClusters } from "../../sandbox/mod.ts";
import { podTest, SKIP_PODS } from "../support/pods.ts";
import { Stack } from "../support/stack.ts";
import { deployment, type Story, tell } from "./story.ts";

/** A program that serves, and ends with 1 where it cannot reach what it is told to get. */
const IMAGE = "transporter.test/stories/probe:1";
const NAMESPACE = "default";

let clusters: PodClusters;
let stack: Stack;

beforeAll(async () => {
  if (SKIP_PODS) return;
  clusters = await startPodClusters({ clusters: [{ name: "stories" }] });
  const cluster = clusters.cluster("stories");
  const archives = await mkdtemp(join(tmpdir(), "transporter-stories-"));
  try {
    const archive = join(archives, "probe.tar");
    await writeFile(archive, await imageOfProgram(IMAGE, (await preparePodPrograms()).paths.probe, []));
    await cluster.importImage(archive);
  } finally {
    await rm(archives, { recursive: true, force: true });
  }
  stack = await Stack.start({ compiled: false, kubeconfig: cluster.kubeconfigPath });
}, 1_800_000);

afterAll(async () => {
  if (SKIP_PODS) return;
  await stack[Symbol.asyncDispose]();
  await clusters.stop();
}, 60_000);

const serving = { image: IMAGE, imagePullPolicy: "IfNotPresent", args: ["serve", ":8080", "hello"] };

function named(name: string, container: Readonly<Record<string, unknown>>): unknown {
  // Without it a container that runs for a moment is ready for a moment, and that is all that a Deployment asks.
  return deployment({ namespace: NAMESPACE, name, container: { ...serving, ...container }, spec: { minReadySeconds: 5 } });
}

function message({ object }: Story, name: string): string {
  return object(name)?.message ?? "";
}

podTest(
  "a real kubelet's words: an image that does not come, a crash loop, a missing Secret, a probe that fails",
  async () => {
    const story = await tell(
      stack,
      [
        named("good", {}),
        named("pull", { image: "registry.invalid/none:1" }),
        named("crash", { args: ["get", "http://127.0.0.1:1/orders"] }),
        named("config", { envFrom: [{ secretRef: { name: "missing" } }] }),
        named("probe", { readinessProbe: { httpGet: { port: 1234, path: "/healthz" }, periodSeconds: 1 } }),
      ],
      { verify_timeout: "60s" },
    );
    expect(story.code).toBe("VERIFY_TIMEOUT");
    expect(story.object("good")?.message).toBe("Resource created successfully");
    const pull = message(story, "pull");
    expect(pull).toMatch(/the image "registry\.invalid\/none:1" of container main cannot be pulled \((?:ImagePullBackOff|ErrImagePull): /);
    expect(pull).toContain('failed to resolve reference "registry.invalid/none:1"');
    // Between two ends of it the kubelet waits, or has just seen it end.
    expect(message(story, "crash")).toMatch(
      /container main (?:\(image "[^"]+"\) is in CrashLoopBackOff after \d+ restarts?: back-off \w+ restarting failed container=main \(last )?ended with code 1/,
    );
    expect(message(story, "crash")).toContain(
      'container main wrote last: Get "http://127.0.0.1:1/orders": dial tcp 127.0.0.1:1: connect: connection refused',
    );
    expect(message(story, "config")).toContain('is in CreateContainerConfigError: secret "missing" not found');
    expect(message(story, "probe")).toContain("container main runs and is not ready yet");
    expect(message(story, "probe")).toMatch(/last warning of Pod probe-[\w-]+: Unhealthy: Readiness probe failed: .*connection refused/);
  },
  300_000,
);
