import { describe, expect, test } from "bun:test";
import { join, resolve } from "node:path";
import { startCp } from "../support/cp.ts";
import { runCli, temporaryDirectory } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { runTransporter, startTransporter } from "../support/process.ts";

const ROOT = resolve(import.meta.dir, "../..");

// Command lines as they stand in 0.1's documentation and in its users' scripts; only the name of the program is ours.
describe("0.1's producer", () => {
  const NS = "examples/manifests/namespace.yaml";
  const NGINX = "examples/manifests/nginx-deployment.yaml";
  test.each([
    [`send k8s --agent kind-agent-1 --manifest ${NS} --cp-url CP --mode http`, 1],
    [`send k8s --agent=kind-agent-1 --manifest=${NS} --manifest=${NGINX} --cp-url=CP`, 2],
    [`send k8s -m ${NS},${NGINX} --agent kind-agent-1 --cp-url CP/`, 2],
    [`send k8s --agent kind-agent-1 -m ${NS} -m ${NGINX} --cp-url CP --created-by cli --ttl 24h --priority 0`, 2],
    [`send --agent kind-agent-1 --cp-url CP --ttl 1h30m k8s -m ${NS}`, 1],
    [
      `send --agent=kind-agent-1 k8s -m=${NS} --cp-url=CP --memphis-host localhost:6666 --memphis-username root --memphis-station transporter-events --memphis-account-id 1`,
      1,
    ],
  ])("%s", async (line, manifests) => {
    await using cp = await startCp();
    const { exitCode, stderr, stdout } = await runTransporter(line.replace("CP", cp.url).split(" "), { cwd: ROOT });
    expect(exitCode).toBe(0);
    expect(stderr).toContain("Event published successfully!");
    expect(stderr).toContain(`  Manifests:    ${manifests} file(s)`);
    const event = await cp.json<{ target_agent: string }>(`/v1/events/${stdout.trim()}`);
    expect(event.target_agent).toBe("kind-agent-1");
  });

  test("a password on the command line works, with a warning", async () => {
    await using cp = await startCp();
    const run = await runCli(["send", "k8s", "--agent", "a", "-m", join(ROOT, NS), "--cp-url", cp.url, "--memphis-password", "memphis"]);
    expect(run.code).toBe(0);
    expect(run.err).toContain("use TRANSPORTER_MEMPHIS_PASSWORD instead");
  });

  test("flags before the command are checked like any other", async () => {
    expect((await runCli(["send", "--agnet", "a", "k8s"])).err).toContain("Did you mean --agent?");
    expect((await runCli(["--debug", "--config", "/nonexistent/transporter.yaml", "get", "agents"])).err).toContain(
      "/nonexistent/transporter.yaml: no such file",
    );
    expect((await runCli(["--agent", "x", "send", "k8s"])).code).toBe(2);
  });
});

const KUBECONFIG = `apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
`;

describe("0.1's agent", () => {
  test("with every flag it had registers as what it was told to be, and says goodbye on SIGTERM", async () => {
    await using cp = await startCp();
    await using files = await temporaryDirectory();
    const kubeconfig = await files.file("kubeconfig", KUBECONFIG);
    await using running = await startTransporter(
      `agent --agent-id agent-cluster-agent-1 --agent-name Agent --cluster-name agent-cluster --cluster-provider kind --region local --namespace default --cp-url ${cp.wsUrl} --kubeconfig ${kubeconfig} --in-cluster=false --heartbeat-interval 10s --debug --config=${await files.file("none.yaml", "")}`.split(
        " ",
      ),
    );
    await running.line(/"message":"Connected to Control Plane"|"message":"Agent registered successfully"/);
    const agent = await eventually(() => cp.json<Record<string, unknown>>("/v1/agents/agent-cluster-agent-1"));
    expect(agent).toMatchObject({
      name: "Agent",
      cluster_name: "agent-cluster",
      cluster_provider: "kind",
      region: "local",
      namespace: "default",
      status: "connected",
    });
    expect(await running.kill("SIGTERM")).toBe(0);
    await eventually(async () => (await cp.json<{ status: string }>("/v1/agents/agent-cluster-agent-1")).status === "disconnected");
  });

  test("takes its settings from variables and the file alone", async () => {
    await using cp = await startCp();
    await using home = await temporaryDirectory();
    const kubeconfig = await home.file("kubeconfig", KUBECONFIG);
    await home.file(".transporter.yaml", `cluster_name: from-file\nagent-id: from-file\nlabels: {zone: a}\n`);
    await using running = await startTransporter(["agent"], {
      home: home.path,
      env: { TRANSPORTER_AGENT_ID: "from-env", TRANSPORTER_CP_URL: cp.url, TRANSPORTER_KUBECONFIG: kubeconfig },
    });
    const agent = await eventually(() => cp.json<Record<string, unknown>>("/v1/agents/from-env"));
    expect(agent).toMatchObject({ cluster_name: "from-file", labels: { zone: "a" } });
    expect(running.stdout()).toBe("");
  });
});
