import { expect } from "bun:test";
import { join, resolve } from "node:path";
import { bigManifest } from "../support/big-event.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, sharedKube, uniqueName } from "../support/kube.ts";
import { compiledKubeTest } from "../support/process.ts";
import { count } from "../support/prove.ts";
import { Stack } from "../support/stack.ts";

const EXAMPLES = resolve(import.meta.dir, "../../examples");
type Json = Record<string, unknown>;

/** A Deployment whose pods report that their image cannot be pulled. */
const unpullable = (name: string, namespace: string, image: string): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}, annotations: {transporter.dev/image-error: "true"}}
    spec: {containers: [{name: main, image: "${image}"}]}
`;

compiledKubeTest("the examples go from a producer's command line into a real cluster, phase by phase", async () => {
  const kube = await sharedKube();
  await using stack = await Stack.start({ compiled: true, kubeconfig: kube.kubeconfigPath });
  const first = await stack.run([
    "send",
    "k8s",
    "--agent",
    stack.agentId,
    "--manifest",
    join(EXAMPLES, "manifests/namespace.yaml"),
    "--wait",
  ]);
  expect(first).toMatchObject({ exitCode: 0 });
  for (const phase of ["received", "validating", "applying", "verifying", "completed"])
    expect(first.stderr + first.stdout).toContain(phase);
  const second = await stack.run([
    "send",
    "k8s",
    "--agent",
    stack.agentId,
    "--manifest",
    join(EXAMPLES, "manifests/nginx-deployment.yaml"),
    "--wait",
  ]);
  expect(second).toMatchObject({ exitCode: 0 });
  // Both documents of the one file, and pods that really are ready.
  const deployment = JSON.parse(await kube.kubectl(["-n", "transporter-test", "get", "deployment", "nginx-test", "-o", "json"])) as {
    status: Json;
    spec: Json;
  };
  expect(deployment.status["availableReplicas"]).toBe(deployment.spec["replicas"]);
  const services = JSON.parse(await kube.kubectl(["-n", "transporter-test", "get", "services", "-o", "json"])) as { items: unknown[] };
  expect(services.items).toHaveLength(1);
  expect(second.stdout + second.stderr).toMatch(/Deployment.*nginx-test.*created/);
  const again = await stack.run([
    "send",
    "k8s",
    "--agent",
    stack.agentId,
    "--manifest",
    join(EXAMPLES, "manifests/nginx-deployment.yaml"),
    "--wait",
  ]);
  expect(again.stdout + again.stderr).toMatch(/Deployment.*nginx-test.*unchanged/);
  const fromFile = await stack.run([
    "send",
    "from-file",
    "--file",
    join(EXAMPLES, "events/sample-k8s-event.yaml"),
    "--dry-run=client",
    "-o",
    "json",
  ]);
  expect(fromFile).toMatchObject({ exitCode: 0 });
  await kube.kubectl(["delete", "namespace", "transporter-test", "--wait=false"]);
});

compiledKubeTest("a Deployment whose image cannot be pulled ends failed and says why", async () => {
  await using namespace = await freshNamespace();
  await using stack = await Stack.start({ compiled: true, kubeconfig: namespace.kube.kubeconfigPath });
  const detail = await stack.carryOut(
    [unpullable("broken", namespace.name, "registry.example/does-not:exist")],
    {},
    { verify_timeout: "6s" },
  );
  expect(detail.state).toBe("failed");
  expect(detail.result?.error_code).toMatch(/^VERIFY_(TIMEOUT|FAILED)$/);
  expect(detail.message).toContain(`Deployment ${namespace.name}/broken`);
  expect(detail.message).toMatch(/ImagePullBackOff|ErrImagePull/);
  expect(detail.message).toContain("registry.example/does-not:exist");
  expect(detail.result?.resource_status?.[0]).toMatchObject({ kind: "Deployment", status: "created" });
});

compiledKubeTest(
  "300 objects and more with their CRDs, over two megabytes, in one event",
  async () => {
    await using namespace = await freshNamespace();
    const group = `${uniqueName("line")}.example.test`;
    const big = bigManifest({ namespace: namespace.name, group, apps: count(50, 250), crds: 6, configBytes: 45_000 });
    expect(big.objects).toBeGreaterThan(300);
    expect(big.yaml.length).toBeGreaterThan(2 * 1024 * 1024);
    await using stack = await Stack.start({ compiled: true, kubeconfig: namespace.kube.kubeconfigPath });
    const detail = await stack.ended(await stack.submit([big.yaml]), count(110_000, 600_000));
    expect(detail).toMatchObject({ state: "completed", result: { success: true } });
    expect(detail.result?.resource_status).toHaveLength(big.objects);
    expect(detail.result?.resource_status?.every(({ status }) => status === "created")).toBe(true);
    const machine = JSON.parse(await namespace.kubectl(["get", `machine3s.${group}`, "press-3", "-o", "json"])) as { spec: Json };
    // As kubectl reads them: an octal number, a quoted word that looks like a boolean, and a bare `y`, which is one.
    expect(machine.spec).toMatchObject({ setting0: 420, setting1: "no", anything: { deep: [1, 2, { x: true }] } });
    const policy = JSON.parse(await namespace.kubectl(["get", "networkpolicy", "app-7", "-o", "json"])) as { spec: { ingress: Json[] } };
    expect(policy.spec.ingress[0]?.["from"]).toEqual([{ namespaceSelector: { matchLabels: { team: "ops" } } }]);
    await namespace.kube.kubectl([
      "delete",
      "crd",
      ...Array.from({ length: 6 }, (_value, index) => `machine${index}s.${group}`),
      "--wait=false",
    ]);
  },
  count(150_000, 900_000),
);

compiledKubeTest(
  "a control plane killed between 202 and delivery, and an agent killed while applying, lose nothing",
  async () => {
    await using namespace = await freshNamespace();
    await using stack = await Stack.start({ compiled: true, kubeconfig: namespace.kube.kubeconfigPath });
    const manifest = (name: string, objects: number): string =>
      Array.from(
        { length: objects },
        (_value, index) =>
          `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}-${index}, namespace: ${namespace.name}, labels: {part-of: ${name}}}\ndata: {a: "${index}"}\n`,
      ).join("---\n");
    // Asked of the API server itself: kubectl takes longer to start than many objects to be made.
    const made = async (name: string): Promise<number> => {
      const response = await namespace.kube.request(
        "GET",
        `/api/v1/namespaces/${namespace.name}/configmaps?labelSelector=part-of%3D${name}`,
      );
      return ((await response.json()) as { items: unknown[] }).items.length;
    };
    for (let round = 0; round < count(1, 15); round += 1) {
      // The agent is gone, so the 202 is all that happened when the control plane dies.
      await stack.agent.kill("SIGKILL");
      const first = await stack.submit([manifest(`first${round}`, 3)]);
      await stack.cp.kill("SIGKILL");
      await stack.startCp();
      await stack.startAgent();
      expect(await stack.ended(first)).toMatchObject({ state: "completed" });
      // Many objects, so that the kill falls into the applying; a while after it began, another in each round.
      const second = await stack.submit([manifest(`second${round}`, 400)]);
      await eventually(async () => (await made(`second${round}`)) > round * 10, { timeoutMs: 30_000, everyMs: 5 });
      await stack.agent.kill("SIGKILL");
      expect(await made(`second${round}`)).toBeLessThan(400);
      await stack.startAgent();
      expect(await stack.ended(second)).toMatchObject({ state: "completed" });
      expect(await made(`second${round}`)).toBe(400);
    }
  },
  count(120_000, 1_200_000),
);

compiledKubeTest("a read-only agent says what it would do and changes nothing", async () => {
  await using namespace = await freshNamespace();
  await using stack = await Stack.start({ compiled: true, kubeconfig: namespace.kube.kubeconfigPath, agentArgs: ["--read-only"] });
  const detail = await stack.carryOut([`apiVersion: v1\nkind: ConfigMap\nmetadata: {name: quiet, namespace: ${namespace.name}}\n`]);
  expect(await namespace.get("configmap", "quiet")).toBeUndefined();
  expect(JSON.stringify(detail.result)).not.toContain('"created"');
  expect(detail.message.toLowerCase()).toContain("read-only");
});

compiledKubeTest(
  "SIGTERM ends both within ten seconds, with work in flight, and it is finished afterwards",
  async () => {
    await using namespace = await freshNamespace();
    await using stack = await Stack.start({ compiled: true, kubeconfig: namespace.kube.kubeconfigPath });
    const id = await stack.submit([unpullable("slow", namespace.name, "registry.example/slow")], {}, { verify_timeout: "5s" });
    await eventually(async () => (await namespace.get("deployment", "slow")) !== undefined);
    const startedMs = performance.now();
    const [agentCode, cpCode] = await Promise.all([stack.agent.kill("SIGTERM"), stack.cp.kill("SIGTERM")]);
    expect(performance.now() - startedMs).toBeLessThan(10_500);
    expect([agentCode, cpCode]).toEqual([0, 0]);
    await stack.startCp();
    await stack.startAgent();
    const detail = await stack.ended(id);
    expect(detail).toMatchObject({ state: "failed", result: { error_code: "VERIFY_TIMEOUT" } });
    expect(detail.log.map(({ message }) => message)).toContain("Execution resumed after a restart of the agent");
  },
  200_000,
);
