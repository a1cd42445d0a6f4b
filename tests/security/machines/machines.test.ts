/**
 * The set-up of the documentation, as somebody new types it: a control plane, an agent and a producer, each on a machine of its own (a network
 * namespace), the compiled executable on each. And whoever has no token gets in nowhere. In full runs only: it needs root.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, writeFile, copyFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { freshNamespace, type Namespace, sharedKube, SKIP_KUBE } from "../../support/kube.ts";
import { EXECUTABLE_PATH, type RunningProcess } from "../../support/process.ts";
import { PROVE } from "../../support/prove.ts";
import { type Machine, Network, noNetworks } from "./network.ts";

const missing = PROVE
  ? (noNetworks() ?? (SKIP_KUBE ? "there is no API server" : existsSync(EXECUTABLE_PATH) ? undefined : "there is no executable"))
  : "";
if (missing !== undefined && missing !== "") console.warn(`\nSKIPPED: three machines: ${missing}\n`);

describe.skipIf(missing !== undefined)("three machines", () => {
  let network: Network;
  let namespace: Namespace;
  let cp: Machine;
  let worker: Machine;
  let desk: Machine;
  let printed: string[];
  let adminToken: string;
  const running: RunningProcess[] = [];

  /** The line of what `cp init` printed that begins like this. */
  const line = (begin: string): string => {
    const found = printed.find((one) => one.startsWith(begin));
    if (found === undefined) throw new Error(`no line begins with ${begin}:\n${printed.join("\n")}`);
    return found;
  };

  beforeAll(async () => {
    const kube = await sharedKube();
    namespace = await freshNamespace(kube);
    network = await Network.open();
    cp = await network.machine("cp");
    worker = await network.machine("worker");
    desk = await network.machine("desk");
    await network.carry(worker, Number(new URL(kube.url).port));
    await mkdir(join(worker.home, ".kube"));
    await copyFile(kube.kubeconfigPath, join(worker.home, ".kube/config"));
  }, 180_000);
  afterAll(async () => {
    for (const one of running) await one[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
    await namespace?.[Symbol.asyncDispose]();
  });

  test("are set up by six lines, an event from the third is carried out by the second, and nobody gets in without a token", async () => {
    // 1 and 2, on the machine of the control plane.
    const init = await cp.run(`transporter cp init --name ${cp.address} --agent agent-1`);
    expect(init.exitCode).toBe(0);
    printed = init.stdout.split("\n").map((one) => one.trim());
    adminToken = line("tpu_");
    const plane = await cp.type("transporter cp");
    running.push(plane);
    await plane.line(/listening/i);

    // 3 and 4, where the cluster can be reached: as they were printed.
    const agent = await worker.type(`${line("export TRANSPORTER_ENROLMENT_TOKEN=")}\n${line("transporter agent --agent-id agent-1")}`);
    running.push(agent);

    // 5 and 6, where somebody works.
    const login = await desk.run(line("transporter login "), { input: `${adminToken}\n` });
    expect(login.stderr + login.stdout).not.toContain(adminToken);
    expect(login.exitCode).toBe(0);
    await eventually(async () => (await desk.run("transporter get agents")).stdout.includes("agent-1"), { timeoutMs: 30_000 });
    await writeFile(
      join(desk.home, "deployment.yaml"),
      `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: six-lines, namespace: ${namespace.name}}\ndata: {came: from-afar}\n`,
    );
    const sent = await desk.run("transporter send k8s --agent agent-1 -f deployment.yaml --wait");
    expect(sent).toMatchObject({ exitCode: 0 });
    expect(await namespace.get("configmap", "six-lines")).toMatchObject({ data: { came: "from-afar" } });
    // No secret stands where others of the machine can read it.
    for (const one of running) {
      const own = (await Bun.file(`/proc/${one.pid}/task/${one.pid}/children`).text()).trim().split(" ");
      for (const child of own) expect(await Bun.file(`/proc/${child}/cmdline`).text()).toMatch(/^transporter\0(?!.*tp[ue]_)/s);
    }

    // And nobody else gets in.
    const stranger = await network.machine("stranger");
    const loginLine = line("transporter login ");
    const hash = /--ca-hash (\S+)/.exec(loginLine)?.[1] ?? "";
    const url = `https://${cp.address}:8080`;
    await writeFile(join(stranger.home, "x.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stolen}\n");
    const tries: readonly (readonly [string, RegExp])[] = [
      // Who is unknown learns no more than that.
      [`curl -sk -o /dev/null -w '%{http_code}' ${url}/v1/agents`, /^401$/],
      [`curl -sk -o /dev/null -w '%{http_code}' -X POST -H 'content-type: application/json' -d '{}' ${url}/v1/events`, /^401$/],
      [`curl -sk -o /dev/null -w '%{http_code}' -X POST -H 'content-type: application/json' -d '{}' ${url}/events`, /^401$/],
      [`curl -sk -o /dev/null -w '%{http_code}' ${url}/metrics`, /^401$/],
      [`curl -sk -o /dev/null -w '%{http_code}' ${url}/v1/stream`, /^401$/],
      [`curl -sk -o /dev/null -w '%{http_code}' -H 'authorization: Bearer ${adminToken.slice(0, -1)}x' ${url}/v1/agents`, /^401$/],
      [
        `curl -sk -o /dev/null -w '%{http_code}' -H 'connection: upgrade' -H 'upgrade: websocket' -H 'sec-websocket-version: 13' -H 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==' ${url}/ws`,
        /^40[013]$/,
      ],
      // The agents' listener ends the handshake of whoever shows no certificate of the CA.
      [`curl -sk -o /dev/null -w '%{http_code}' https://${cp.address}:8443/ws || true`, /^000$/],
      [`curl -s -o /dev/null -w '%{http_code}' http://${cp.address}:8080/v1/agents || true`, /^(000|400)$/],
      // Nobody reads from outside how it is, or takes the certificate for one that he trusts.
      [`curl -s -o /dev/null -w '%{http_code}' ${url}/livez || true`, /^000$/],
    ];
    for (const [command, expected] of tries)
      expect([command, (await stranger.run(command)).stdout]).toEqual([command, expect.stringMatching(expected)]);

    const robbed = await stranger.run(`transporter send k8s --cp-url ${url} --agent agent-1 -f x.yaml --wait --insecure`);
    expect(robbed.exitCode).not.toBe(0);
    const foreign = await stranger.run(loginLine.replace(hash, `sha256:${"0".repeat(64)}`), { input: `${adminToken}\n` });
    expect(foreign.exitCode).not.toBe(0);
    // What enrolled agent-1 is used up, for that id and for any other.
    const used = line("export TRANSPORTER_ENROLMENT_TOKEN=").split("=")[1] ?? "";
    for (const [id, token] of [
      ["agent-1", used],
      ["agent-2", used],
      ["agent-1", adminToken],
      ["agent-2", "tpe_000000000000_00000000000000000000000000000000000000"],
    ]) {
      const agent = await stranger.type(
        `transporter agent --agent-id ${id} --cp-url ${url} --ca-hash ${hash} --kubeconfig /dev/null --log-format json`,
        { env: { TRANSPORTER_ENROLMENT_TOKEN: token ?? "" } },
      );
      await Promise.race([agent.exited, Bun.sleep(4_000)]);
      expect(agent.stdout() + agent.stderr()).not.toMatch(/"message":"(Registered|Connected)/);
      await agent[Symbol.asyncDispose]();
    }
    const agents = await desk.run("transporter get agents -o json");
    expect((JSON.parse(agents.stdout) as { items?: unknown[] }).items ?? JSON.parse(agents.stdout)).toHaveLength(1);
    const audit = await desk.run("transporter audit -o json");
    expect(audit.stdout).toContain("refused");
    expect(audit.stdout).not.toContain(used);
  }, 240_000);
});
