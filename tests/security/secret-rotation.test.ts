import { expect } from "bun:test";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { join } from "node:path";
import type { CreatedToken } from "../../src/protocol/mod.ts";
import { keepingLogger } from "../support/agent.ts";
import { runCli, temporaryDirectory } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { registered, startIdentityAgent } from "../support/identity-agent.ts";
import { freshNamespace, kubeTest } from "../support/kube.ts";
import { startRedis } from "../support/redis.ts";
import { secretPlace, servedAt, startSecretCp } from "../support/secret-cp.ts";

/** A port that nobody uses at this moment. */
function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

kubeTest(
  "a CA in a Secret is replaced under two control planes and their agents, and no connection is dropped",
  async () => {
    await using space = await freshNamespace();
    const place = await secretPlace(space);
    await using redis = await startRedis();
    const store = ["--store", `redis://127.0.0.1:${redis.port}/0`];
    const ports = [freePort(), freePort()] as const;
    await using one = await startSecretCp(place, [...store, "--agent-port", String(ports[0])]);
    await using two = await startSecretCp(place, [...store, "--agent-port", String(ports[1])]);
    const urls = [await servedAt(one), await servedAt(two)] as const;
    const first = await place.entries();
    const { "admin-token": token = "", "ca.crt": oldCa = "" } = first;
    await using home = await temporaryDirectory();
    const caFile = join(home.path, "ca.pem");
    await Bun.write(caFile, oldCa);

    const agentAt = async (at: 0 | 1) => {
      const id = `agent-${at}`;
      const response = await fetch(`${urls[at]}/v1/tokens`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify({ kind: "enrolment", agent: id, ttl: 3_600_000_000_000 }),
        tls: { ca: oldCa },
      });
      const created = (await response.json()) as CreatedToken;
      const { log, lines } = keepingLogger();
      const agent = await startIdentityAgent({
        id,
        log,
        directory: join(home.path, id),
        stateDir: join(home.path, `${id}-state`),
        cp: { url: urls[at], agentsUrl: `wss://127.0.0.1:${ports[at]}/ws` },
        token: created.token,
        identity: { caHash: first["ca-hash"] ?? "" },
      });
      return { agent, lines };
    };
    const agents = [await agentAt(0), await agentAt(1)] as const;
    await using stack = new AsyncDisposableStack();
    for (const { agent } of agents) stack.use(agent);
    for (const { agent } of agents) await registered(agent);
    const env = { HOME: home.path, TRANSPORTER_TOKEN: token };
    const ca = (...args: string[]) => runCli(["cp", "ca", ...args, ...place.flags], { env });

    const rotated = await ca("rotate");
    const [newPin, oldPin] = rotated.out.match(/sha256:[0-9a-f]{64}/g) ?? [];
    expect([rotated.code, oldPin]).toEqual([0, first["ca-hash"] ?? ""]);
    const between = await place.entries();
    expect([between["ca-hash"], between["admin-token"]]).toEqual([newPin, token]);
    const [newCa = "", stillOld = ""] = between["ca.crt"]?.split(/(?<=-----END CERTIFICATE-----\n)/) ?? [];
    expect(stillOld).toBe(oldCa);
    expect(new X509Certificate(newCa).checkPrivateKey(createPrivateKey(between["ca.key"] ?? ""))).toBe(true);
    expect(JSON.parse((await ca("show", "-o", "json")).out)).toMatchObject({ items: [{ use: "issues", pin: newPin }, { pin: oldPin }] });

    // By the looks that they take themselves.
    for (const cp of [one, two]) await cp.line(/certificates were read anew/, { timeoutMs: 60_000 });
    const retire = () => ca("retire", "--cp-url", urls[1], "--ca-file", caFile);
    const retired = await eventually(
      async () => {
        const answer = await retire();
        if (answer.code !== 0) expect(answer.err).toContain("nothing but a certificate of the old CA");
        return answer.code === 0 ? answer : undefined;
      },
      { timeoutMs: 60_000, everyMs: 1_000, what: "the renewal of all agents" },
    );
    expect(retired.out).toBe(`No longer trusted: ${oldPin ?? ""}\n`);

    const readTwice = /(certificates were read anew[^]*){2}/;
    for (const cp of [one, two]) {
      process.kill(cp.pid, "SIGHUP");
      await eventually(() => readTwice.test(cp.stderr()), { what: "the second new state" });
    }
    for (const [at, url] of urls.entries()) {
      const who = await fetch(`${url}/v1/whoami`, {
        headers: { authorization: `Bearer ${token}` },
        tls: { ca: newCa },
        keepalive: false,
      });
      expect(who.status).toBe(200);
      const refused = fetch(`${url}/livez`, { tls: { ca: oldCa }, keepalive: false }).then(
        () => "believed",
        () => "refused",
      );
      expect(await refused).toBe("refused");
      const { agent } = agents[at === 0 ? 0 : 1].agent;
      expect(agent.state()).toMatchObject({ link: "registered", registrations: 1 });
    }
  },
  240_000,
);
