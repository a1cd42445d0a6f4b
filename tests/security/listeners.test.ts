import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { join } from "node:path";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { systemPorts, toTransporterError } from "../../src/kit/mod.ts";
import { makeKey, readCertificates, retireTrust, rotateTrust } from "../../src/security/mod.ts";
import { issueServer, makeCa } from "../../src/security/pki/issue.ts";
import { makeCrl } from "../../src/security/pki/certificates-for-tests.ts";
import { anEvent, problem, startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";
import type { EnrolledAgent } from "../support/secure-agent.ts";
import { protocol2, type WireAgent } from "../support/wire-agent.ts";
import { issuerOf } from "./rogues.ts";

let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

const start = async (options: Parameters<typeof startSecureCp>[0] = {}): Promise<SecureControlPlane> =>
  stack.use(await startSecureCp(options));

/** The digest of the certificate that a listener shows now. */
async function shown(one: SecureControlPlane, ca = one.ca): Promise<string> {
  let fingerprint = "";
  const tls = {
    ca,
    checkServerIdentity(host: string, certificate: PeerCertificate) {
      fingerprint = certificate.fingerprint256;
      return checkServerIdentity(host, certificate);
    },
  };
  await (await fetch(`${one.url}/livez`, { tls, keepalive: false })).text();
  return fingerprint;
}

/** Puts a new server certificate of the same CA in place, and has it read. */
async function renewServer(one: SecureControlPlane): Promise<void> {
  const key = makeKey();
  const publicKey = createPublicKey(createPrivateKey(key));
  const issued = await issueServer(await issuerOf(one.directory), { publicKey, names: ["127.0.0.1"], nowMs: Date.now() });
  await Bun.write(join(one.directory, "server.key"), key);
  await Bun.write(join(one.directory, "server.crt"), issued.pem);
  await one.security.trust.reload();
}

describe("a new server certificate", () => {
  test("is shown to whoever comes, and drops nobody who is there", async () => {
    const one = await start();
    const mine = await one.enrol("agent-1");
    await using agent = await one.dial(mine, protocol2());
    const event = anEvent({ target_agent: "agent-1" });
    const stream = await one.fetch("/v1/stream", { token: one.tokens.admin });
    expect(stream.status).toBe(200);
    const before = await shown(one);
    await renewServer(one);
    expect(await shown(one)).not.toBe(before);
    // And again, so that there are three generations of each listener.
    await renewServer(one);
    const response = await one.fetch("/v1/events", {
      method: "POST",
      body: JSON.stringify(event),
      token: one.tokens.producer,
      headers: { "content-type": "application/json" },
    });
    expect(response.status).toBe(202);
    await agent.event(event.id);
    agent.end(event.id, "completed");
    let told = "";
    for await (const chunk of stream.body as ReadableStream<Uint8Array>) {
      told += new TextDecoder().decode(chunk);
      if (told.includes(`"completed"`)) break;
    }
    expect(told).toContain(event.id);
    expect(await one.audit("agent_disconnected")).toEqual([]);
    // Whoever comes now has seen the new certificate, and proves that.
    await using other = await one.dial(await one.enrol("agent-2"));
    expect(other.frames[1]).toMatchObject({ status: "registered" });
    await one.cp.stop();
    expect((await agent.closed).code).toBe(1001);
    expect((await other.closed).code).toBe(1001);
  });

  test("that is not good is left, and the old one goes on", async () => {
    const one = await start();
    const before = await shown(one);
    await Bun.write(join(one.directory, "server.crt"), "nonsense");
    await one.security.trust.reload();
    expect(await shown(one)).toBe(before);
    await using agent = await one.dial(await one.enrol("agent-1"));
    expect(agent.frames[1]).toMatchObject({ status: "registered" });
    const ready = await one.fetch("/readyz?verbose", { token: one.tokens.admin });
    expect(await ready.text()).toMatch(/\[!\]trust /);
  });
});

describe("another CA", () => {
  test("that is trusted as well is told to the agents that are connected, and nobody has to renew for it", async () => {
    const one = await start();
    await using agent = await one.dial(await one.enrol("agent-1"));
    expect(await agent.frame("trust")).toEqual({ type: "trust", trust_bundle: one.ca });
    const another = (await makeCa(Date.now())).issuer.certificate.pem;
    await Bun.write(join(one.directory, "ca.crt"), one.ca + another);
    await one.security.trust.reload();
    const told = await agent.frame("trust", 1);
    expect(told["trust_bundle"]).toContain(another.trim());
    expect(told["renew"]).toBeUndefined();
  });

  test("that issues from now on is told with a word to renew, one agent after the other, and nobody is dropped before the old one is retired", async () => {
    const one = await start();
    const enrolled = await Promise.all(["agent-1", "agent-2", "agent-3"].map((id) => one.enrol(id)));
    const agents = await Promise.all(enrolled.map((mine) => one.dial(mine)));
    for (const agent of agents) stack.use(agent);
    await rotateTrust(one.directory, { ports: systemPorts });
    await one.security.trust.reload();
    for (const agent of agents) expect(await agent.frame("trust", 1)).toMatchObject({ renew: true });
    const [mine, , idle] = enrolled as [EnrolledAgent, EnrolledAgent, EnrolledAgent];
    // It has the old certificate still and trusts the old CA alone: it is let in, and told again.
    await using again = await one.dial(idle);
    expect(await again.frame("trust", 1)).toMatchObject({ renew: true });
    const renewed = await one.renew(mine);
    expect(renewed.trust).not.toBe(mine.trust);
    await using fresh = await one.dial(renewed, {}, { ca: renewed.trust });
    await fresh.frame("trust");
    expect(await one.audit("proof_refused")).toEqual([]);
    await retireTrust(one.directory);
    await one.security.trust.reload();
    expect((await again.closed).code).toBe(4008);
    expect((await (agents[1] as WireAgent).closed).code).toBe(4008);
    expect(await fresh.frame("trust", 1)).not.toHaveProperty("renew");
    expect((await one.audit("agent_disconnected")).map(({ agent_id }) => agent_id)).not.toContain("agent-1");
  });
});

test("a revocation list that comes ends whom it names, and nobody else", async () => {
  const one = await start();
  const [mine, theirs] = [await one.enrol("agent-1"), await one.enrol("agent-2")];
  await using agent = await one.dial(mine);
  await using other = await one.dial(theirs);
  const { certificate, key } = await issuerOf(one.directory);
  const by = { pem: certificate.pem, certificate, keyPem: key.export({ type: "pkcs8", format: "pem" }) };
  const [serial] = readCertificates(mine.certificate, 1)?.map((read) => read.serial) ?? [];
  await Bun.write(
    join(one.directory, "crl.pem"),
    await makeCrl(by, { serials: [serial ?? ""], fromMs: Date.now() - 1_000, nextUpdateMs: Date.now() + 3_600_000 }),
  );
  await one.security.trust.reload();
  expect((await agent.closed).code).toBe(4008);
  await using again = await one.dial(mine);
  expect((await again.closed).code).toBe(4008);
  other.send({ type: "heartbeat" });
  expect((await one.audit("agent_disconnected")).map(({ agent_id }) => agent_id)).toEqual(["agent-1"]);
});

describe("the listener for probes", () => {
  test("answers anybody, and has nothing else", async () => {
    const one = await start({ probes: { host: "127.0.0.1", port: 0 } });
    const url = one.cp.probesUrl ?? "";
    expect(url).toStartWith("http://");
    expect(await (await fetch(`${url}/livez`)).text()).toBe("ok\n");
    expect(await (await fetch(`${url}/readyz?verbose`)).text()).toContain("[+]store");
    const metrics = await fetch(`${url}/metrics`, { headers: { accept: "text/plain" } });
    expect(await metrics.text()).toContain("transporter_agents");
    for (const path of ["/v1/agents", "/health", "/events", "/v1/ca", "/openapi.json", "/ws", "/v1/whoami"])
      await problem(await fetch(url + path), 404);
    await problem(await fetch(`${url}/metrics`, { method: "POST" }), 405);
  });

  test("can be had where nobody is asked who they are", async () => {
    await using cp = await startCp({ probes: { host: "127.0.0.1", port: 0 } });
    expect((await cp.get("/readyz")).status).toBe(200);
  });
});

describe("behind a proxy", () => {
  const from = { "x-forwarded-for": "203.0.113.9, 127.0.0.1", "x-forwarded-proto": "https" };

  test("that ends TLS the API speaks HTTP to it, and takes the address from what it says", async () => {
    const one = await start({ tls: { min: "1.3", byProxy: true }, trustedProxies: ["127.0.0.0/8"] });
    expect(one.url).toStartWith("http://");
    expect((await one.fetch("/v1/whoami", { token: one.tokens.viewer, headers: from })).status).toBe(200);
    await problem(await one.fetch("/v1/whoami", { token: "tpu_nobody", headers: from }), 401);
    const lines = await eventually(async () => {
      const found = await one.audit("authentication_refused");
      return found.length > 0 ? found : undefined;
    });
    expect(lines.map(({ remote_address }) => remote_address)).toEqual(["203.0.113.9"]);
    const plain = await one.fetch("/v1/whoami", { token: one.tokens.viewer, headers: { ...from, "x-forwarded-proto": "http" } });
    expect((await problem(plain, 403)).code).toBe("ACCESS_DENIED");
    // Agents come by their own listener all the same, with their certificates.
    await using agent = await one.dial(await one.enrol("agent-1"));
    expect(agent.frames[1]).toMatchObject({ status: "registered" });
  });

  test("that is not named nobody is answered", async () => {
    const one = await start({ tls: { min: "1.3", byProxy: true }, trustedProxies: ["127.0.0.0/8"] });
    const other = await startSecureCp({ like: one, tls: { min: "1.3", byProxy: true }, trustedProxies: ["10.0.0.0/8"] });
    stack.use(other);
    for (const path of ["/livez", "/v1/whoami", "/v1/ca", "/nowhere"])
      expect((await problem(await other.fetch(path, { token: one.tokens.admin, headers: from }), 403)).code).toBe("ACCESS_DENIED");
  });

  test("that is not trusted what it says of the address is not believed", async () => {
    const one = await start({ trustedProxies: ["10.0.0.0/8"] });
    await problem(await one.fetch("/v1/whoami", { token: "tpu_nobody", headers: from }), 401);
    const lines = await eventually(async () => {
      const found = await one.audit("authentication_refused");
      return found.length > 0 ? found : undefined;
    });
    expect(lines.map(({ remote_address }) => remote_address)).toEqual(["127.0.0.1"]);
  });
});

test("readiness tells nobody what is wrong but those who may know", async () => {
  const probes = { host: "127.0.0.1", port: 0 };
  const one = await start({ probes, legacy: { host: "127.0.0.1", port: 0, agentIds: ["old-1"] } });
  one.store.ping = () => Promise.reject(new Error("10.1.2.3 has said no"));
  const told = await one.fetch("/readyz");
  expect(told.status).toBe(503);
  const text = await told.text();
  expect(text).toContain("[-]store memory failed");
  for (const inner of ["10.1.2.3", "legacy"]) expect(text).not.toContain(inner);
  for (const answer of [await one.fetch("/readyz?verbose", { token: one.tokens.viewer }), await fetch(`${one.cp.probesUrl}/readyz`)])
    expect(await answer.text()).toContain("10.1.2.3 has said no");
});

describe("what makes no sense is refused, and nothing is left listening", () => {
  const code = (starting: Promise<unknown>): Promise<string> =>
    starting.then(
      () => "started",
      (error: unknown) => toTransporterError(error).code,
    );

  test.each([
    ["a proxy that ends TLS and is not named", { tls: { min: "1.3", byProxy: true } }],
    ["a pattern among the agents of 0.1", { legacy: { host: "127.0.0.1", port: 0, agentIds: ["agent-*"] } }],
    ["no agents of 0.1", { legacy: { host: "127.0.0.1", port: 0, agentIds: [] } }],
  ] as const)("%s", async (_what, options) => {
    expect(await code(startSecureCp(options))).toBe("CONFIG_INVALID");
  });

  test("agents of 0.1 or certificates where nobody is asked who they are", async () => {
    expect(await code(startCp({ legacy: { host: "127.0.0.1", port: 0, agentIds: ["a"] } }))).toBe("CONFIG_INVALID");
    expect(await code(startCp({ agents: { host: "127.0.0.1", port: 0 } }))).toBe("CONFIG_INVALID");
  });

  test("a port that somebody else has, though it can be shared with a successor of one's own", async () => {
    const one = await start();
    const port = Number(new URL(one.agentsUrl).port);
    expect(await code(startSecureCp({ like: one, agents: { host: "127.0.0.1", port } }))).toBe("CONFIG_INVALID");
    expect(await code(startSecureCp({ like: one, port: one.cp.port }))).toBe("CONFIG_INVALID");
  });
});
