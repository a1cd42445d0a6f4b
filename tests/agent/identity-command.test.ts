import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { startCli } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { freshDirectory } from "../support/identity-agent.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";

const KUBECONFIG = `apiVersion: v1
kind: Config
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
`;

async function connected(cp: SecureControlPlane, agentId: string): Promise<void> {
  await eventually(
    async () =>
      (await cp.json<{ items: { id: string; status: string }[] }>("/v1/agents")).items.some(
        (agent) => agent.id === agentId && agent.status === "connected",
      ),
    { what: `${agentId} to be connected` },
  );
}

describe("transporter agent", () => {
  test("needs the API's address, the CA's hash and a token in the environment, once; then the address alone", async () => {
    await using cp = await startSecureCp();
    await using home = await freshDirectory();
    const kubeconfig = join(home.path, "kubeconfig");
    await Bun.write(kubeconfig, KUBECONFIG);
    const { token } = await cp.token({ kind: "enrolment", agent: "ship-1" });
    const args = ["agent", "--agent-id", "ship-1", "--cp-url", cp.url, "--kubeconfig", kubeconfig, "--log-format", "json"];
    const env = { HOME: home.path, XDG_STATE_HOME: join(home.path, "state") };
    const first = startCli([...args, "--ca-hash", cp.pin.toUpperCase().replace("SHA256", "sha256")], {
      env: { ...env, TRANSPORTER_ENROLMENT_TOKEN: token },
    });
    await connected(cp, "ship-1");
    first.signal("SIGTERM");
    const { code, err } = await first.ended;
    expect(code).toBe(0);
    expect(err).toContain("Agent is enrolled");
    expect(err).not.toContain(token);
    expect(err).not.toContain("PRIVATE KEY");
    const again = startCli(args, { env });
    await connected(cp, "ship-1");
    again.signal("SIGTERM");
    expect((await again.ended).code).toBe(0);
  });

  test("ends with a word about it where it cannot be enrolled", async () => {
    await using cp = await startSecureCp();
    await using home = await freshDirectory();
    const kubeconfig = join(home.path, "kubeconfig");
    const tokenFile = join(home.path, "token");
    await Bun.write(kubeconfig, KUBECONFIG);
    await Bun.write(tokenFile, "two words");
    const { token } = await cp.token({ kind: "enrolment", agent: "ship-1" });
    const env = { HOME: home.path, XDG_STATE_HOME: join(home.path, "state"), TRANSPORTER_ENROLMENT_TOKEN: token };
    const run = (id: string, ...more: string[]) =>
      startCli(["agent", "--agent-id", id, "--cp-url", cp.url, "--kubeconfig", kubeconfig, ...more], { env }).ended;
    const otherPin = await run("ship-1", "--ca-hash", `sha256:${"0".repeat(64)}`);
    expect(otherPin.err).toContain("CA_MISMATCH");
    const otherId = await run("ship-2", "--ca-hash", cp.pin);
    expect(otherId.err).toContain("ENROLMENT_REFUSED");
    const badFile = await run("ship-1", "--ca-hash", cp.pin, "--enrolment-token-file", tokenFile);
    expect(badFile.err).toContain("does not hold one token");
    const noHash = await run("ship-1", "--ca-hash", "sha256:12");
    expect(noHash.err).toContain("64 hex digits");
    for (const { code, err } of [otherPin, otherId, badFile, noHash]) {
      expect(code).not.toBe(0);
      expect(err).not.toContain(token);
    }
  });
});
