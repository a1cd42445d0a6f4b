import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../../src/kit/mod.ts";
import { type Trust, createTrust } from "../../../src/security/mod.ts";
import { checkAgentCertificate } from "../../../src/security/agent-certificate.ts";
import { SERVER_AUTH } from "../../../src/security/pki/certificate.ts";
import { type Made, makeCertificate, makeTestAgent, makeTestCa } from "../../../src/security/pki/certificates-for-tests.ts";

/** A company's own CA, with one between: files as cert-manager writes them into a Secret, and real handshakes. */
let root: string;
let top: Made;
let middle: Made;
let trust: Trust;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "transporter-own-ca-"));
  const nowMs = Date.now();
  top = await makeTestCa(nowMs);
  middle = await makeTestCa(nowMs, { by: top });
  const server = await makeCertificate({
    by: middle,
    fromMs: nowMs - 1000,
    untilMs: nowMs + 60_000,
    usages: [SERVER_AUTH],
    names: ["127.0.0.1"],
  });
  await Promise.all([
    Bun.write(join(root, "ca.crt"), top.pem),
    Bun.write(join(root, "tls.crt"), `${server.pem}${middle.pem}`),
    Bun.write(join(root, "tls.key"), server.keyPem),
  ]);
  trust = await createTrust({ files: { directory: root }, ports: systemPorts, log: silentLogger });
});
afterAll(() => rm(root, { recursive: true }));

async function handshake(cert: string, key: string): Promise<string> {
  const { cert: shown, key: own, clientCas: ca } = trust.tls();
  const tls = { cert: shown, key: own, ca, requestCert: true, rejectUnauthorized: true };
  using server = Bun.serve({ port: 0, hostname: "127.0.0.1", tls, fetch: () => new Response("in") });
  try {
    const url = `https://127.0.0.1:${server.port}/`;
    return await (await fetch(url, { tls: { ca: trust.bundle().pem, cert, key }, keepalive: false })).text();
  } catch {
    return "out";
  }
}

describe("with a company's own CA", () => {
  test("an agent's certificate comes through the gate and is believed, with what leads to the root", async () => {
    const agent = await makeTestAgent(middle, "a", Date.now());
    const chain = `${agent.pem}${middle.pem}`;
    expect(await handshake(chain, agent.keyPem)).toBe("in");
    expect(checkAgentCertificate(chain, trust.state(), Date.now()).agentId).toBe("a");
    expect(await handshake(agent.pem, agent.keyPem)).toBe("out");
    expect(() => checkAgentCertificate(agent.pem, trust.state(), Date.now())).toThrow("no CA that is trusted here has issued it");
    expect(trust.state().issuer).toBeUndefined();
  });

  test("a bundle that stops below the root is refused here, because TLS refuses it too", async () => {
    const short = join(root, "middle.crt");
    await Bun.write(short, middle.pem);
    const opened = createTrust({ files: { directory: root, caFile: short }, ports: systemPorts, log: silentLogger });
    expect(await opened.catch((error: Error) => error.message)).toContain("leads to no root in it");
    const tls = { ...trust.tls(), ca: middle.pem, requestCert: true, rejectUnauthorized: true };
    const agent = await makeTestAgent(middle, "a", Date.now());
    using server = Bun.serve({ port: 0, hostname: "127.0.0.1", tls, fetch: () => new Response("in") });
    const asked = fetch(`https://127.0.0.1:${server.port}/`, {
      tls: { ca: top.pem, cert: agent.pem, key: agent.keyPem },
      keepalive: false,
    });
    expect(
      await asked.then(
        () => "in",
        () => "out",
      ),
    ).toBe("out");
  });
});
