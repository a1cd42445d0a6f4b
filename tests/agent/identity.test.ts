import { describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { EnrolmentView, EventDetail } from "../../src/protocol/mod.ts";
import { rotateTrust, retireTrust } from "../../src/security/mod.ts";
import { systemPorts } from "../../src/kit/mod.ts";
import { configMap, fastPorts, MapCluster } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { flakyProxy } from "../support/flaky-proxy.ts";
import { freshDirectory, registered, startIdentityAgent } from "../support/identity-agent.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";

async function enrolmentToken(cp: SecureControlPlane, agent: string): Promise<string> {
  return (await cp.token({ kind: "enrolment", agent })).token;
}

const read = (directory: string, file: string): Promise<string> => Bun.file(join(directory, file)).text();
const serialOf = async (directory: string): Promise<string> => new X509Certificate(await read(directory, "certificate.pem")).serialNumber;

/** Hands an event in and waits for its end. */
async function carryOut(cp: SecureControlPlane, agentId: string, name: string): Promise<string> {
  const id = crypto.randomUUID();
  await cp.json(
    "/events",
    {
      method: "POST",
      body: JSON.stringify({ id, type: "k8s_resource", target_agent: agentId, payload: { manifests: [configMap(name)] } }),
      headers: { "content-type": "application/json" },
    },
    202,
  );
  const detail = await eventually(
    async () => {
      const now = await cp.json<EventDetail>(`/v1/events/${id}`);
      return now.state === "completed" || now.state === "failed" ? now : undefined;
    },
    { timeoutMs: 20_000, everyMs: 25 },
  );
  return detail.state;
}

describe("an agent that is enrolled", () => {
  test("with the CA's hash and a token gets in, keeps its key for itself, and is itself again after a restart, without the token", async () => {
    await using cp = await startSecureCp();
    await using home = await freshDirectory();
    const token = await enrolmentToken(cp, "ship-1");
    const directory = join(home.path, "identity");
    const identity = { caHash: cp.pin };
    {
      await using running = await startIdentityAgent({ id: "ship-1", directory, cp, token, identity });
      await registered(running);
      expect(await carryOut(cp, "ship-1", "one")).toBe("completed");
      const key = await read(directory, "key.pem");
      expect(JSON.stringify(running.lines)).not.toContain(key.split("\n")[1] ?? "");
      expect(JSON.stringify(running.lines)).not.toContain(token);
    }
    expect((await readdir(directory)).toSorted()).toEqual(["certificate.pem", "identity.json", "key.pem", "trust.pem"]);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    for (const file of await readdir(directory)) expect((await stat(join(directory, file))).mode & 0o777).toBe(0o600);
    const serial = await serialOf(directory);
    await using again = await startIdentityAgent({ id: "ship-1", directory, cp });
    await registered(again);
    expect(await serialOf(directory)).toBe(serial);
    expect(again.agent.state().certificateExpiresAtMs).toBe(
      new X509Certificate(await read(directory, "certificate.pem")).validToDate.getTime(),
    );
  });

  test("a token is good once, and the refusal says what to do", async () => {
    await using cp = await startSecureCp();
    await using home = await freshDirectory();
    const token = await enrolmentToken(cp, "ship-*");
    await using first = await startIdentityAgent({
      id: "ship-1",
      directory: join(home.path, "1"),
      cp,
      token,
      identity: { caHash: cp.pin },
    });
    await registered(first);
    await using second = await startIdentityAgent({
      id: "ship-2",
      directory: join(home.path, "2"),
      cp,
      token,
      identity: { caHash: cp.pin },
    });
    expect(await second.agent.ended).toMatchObject({
      code: "ENROLMENT_REFUSED",
      remedy: expect.stringContaining("transporter token create"),
    });
    expect(second.agent.state()).toMatchObject({ registrations: 0, link: "idle" });
  });

  test("waits for approval, says which key is to be compared, and is stopped meanwhile without delay", async () => {
    await using cp = await startSecureCp({ securityOptions: { approveByHand: true } });
    await using home = await freshDirectory();
    const start = async () =>
      startIdentityAgent({ id: "ship-1", directory: home.path, cp, token, identity: { caHash: cp.pin }, ports: fastPorts(10) });
    const token = await enrolmentToken(cp, "ship-1");
    const waits = "The agent's enrolment waits for somebody to approve it";
    const pending = async (): Promise<EnrolmentView | undefined> =>
      (await cp.json<{ items: EnrolmentView[] }>("/v1/enrolments")).items.find(({ status }) => status === "pending");
    {
      await using running = await start();
      await eventually(() => running.said(waits).length > 0);
    }
    const before = await pending();
    await using running = await start();
    await eventually(() => running.said(waits).length > 0);
    const asked = await pending();
    // The same key, so the same request.
    expect(asked).toEqual(before as EnrolmentView);
    expect(running.said(waits)[0]?.fields["key_sha256"]).toBe(asked?.key_sha256);
    await cp.json(`/v1/enrolments/${asked?.id}/approve`, { method: "POST" });
    await registered(running);
    expect(running.said(waits)).toHaveLength(1);
  });

  test("that is denied ends, and says so", async () => {
    await using cp = await startSecureCp({ securityOptions: { approveByHand: true } });
    await using home = await freshDirectory();
    const token = await enrolmentToken(cp, "ship-1");
    await using running = await startIdentityAgent({
      id: "ship-1",
      directory: home.path,
      cp,
      token,
      identity: { caHash: cp.pin },
      ports: fastPorts(10),
    });
    const asked = await eventually(async () =>
      (await cp.json<{ items: EnrolmentView[] }>("/v1/enrolments")).items.find(({ status }) => status === "pending"),
    );
    await cp.json(`/v1/enrolments/${asked.id}/deny`, { method: "POST" });
    expect(await running.agent.ended).toMatchObject({ code: "ENROLMENT_REFUSED" });
  });

  test("without a hash trusts the CA file that it was given, and no other", async () => {
    await using cp = await startSecureCp();
    await using home = await freshDirectory();
    const token = await enrolmentToken(cp, "ship-1");
    await using untrusting = await startIdentityAgent({ id: "ship-1", directory: join(home.path, "1"), cp, token });
    expect(await untrusting.agent.ended).toMatchObject({ code: "CA_MISMATCH" });
    await using running = await startIdentityAgent({ id: "ship-1", directory: join(home.path, "2"), cp, token, caPem: cp.ca });
    await registered(running);
  });
});

describe("a certificate that comes to its end", () => {
  test("is renewed again and again with a new key under load: nothing is lost, and the connection stands", async () => {
    await using cp = await startSecureCp({ securityOptions: { certificateTtlMs: 8_000 } });
    await using home = await freshDirectory();
    const cluster = new MapCluster();
    await using running = await startIdentityAgent({
      id: "ship-1",
      directory: home.path,
      cp,
      token: await enrolmentToken(cp, "ship-1"),
      identity: { caHash: cp.pin },
      // Its two thirds are over in less than two seconds, long before the certificate is.
      ports: fastPorts(3),
      cluster: { resources: cluster.resources },
    });
    await registered(running);
    const key = await read(home.path, "key.pem");
    const renewed = "Agent's certificate is renewed";
    let sent = 0;
    while (running.said(renewed).length < 2) {
      expect(await carryOut(cp, "ship-1", `object-${sent}`)).toBe("completed");
      sent += 1;
    }
    expect([...cluster.objects.values()]).toEqual(Array.from({ length: sent }, () => 1));
    expect(running.agent.state().registrations).toBe(1);
    expect(await read(home.path, "key.pem")).not.toBe(key);
    const identity = await cp.json<{ certificates: unknown[] }>("/v1/identities/ship-1");
    expect(identity.certificates.length).toBeGreaterThanOrEqual(3);
  });

  test("ran out within the grace: the agent renews it as it starts, and gets in", async () => {
    await using cp = await startSecureCp({ securityOptions: { certificateTtlMs: 1_500 } });
    await using home = await freshDirectory();
    const options = { id: "ship-1", directory: home.path, cp, identity: { caHash: cp.pin } };
    {
      await using running = await startIdentityAgent({ ...options, token: await enrolmentToken(cp, "ship-1") });
      await registered(running);
    }
    const serial = await serialOf(home.path);
    const { validToDate } = new X509Certificate(await read(home.path, "certificate.pem"));
    await eventually(() => Date.now() > validToDate.getTime() + 50);
    await using again = await startIdentityAgent(options);
    await registered(again);
    expect(await serialOf(home.path)).not.toBe(serial);
  });

  test("ran out past the grace: only a fresh token helps, which may come while the agent runs", async () => {
    await using cp = await startSecureCp({ securityOptions: { certificateTtlMs: 1_500, renewalGraceMs: 1 } });
    await using home = await freshDirectory();
    const options = { id: "ship-1", directory: home.path, cp, identity: { caHash: cp.pin } };
    {
      await using running = await startIdentityAgent({ ...options, token: await enrolmentToken(cp, "ship-1") });
      await registered(running);
    }
    const { validToDate } = new X509Certificate(await read(home.path, "certificate.pem"));
    await eventually(() => Date.now() > validToDate.getTime() + 50);
    let token: string | undefined;
    await using again = await startIdentityAgent({ ...options, token: () => Promise.resolve(token), ports: fastPorts(50) });
    const [line] = await eventually(() => {
      const said = again.said("The agent's certificate is not renewed any more, and only a fresh token helps");
      return said.length > 0 ? said : undefined;
    });
    expect(line?.fields).toMatchObject({ code: "IDENTITY_EXPIRED", remedy: expect.stringContaining("transporter token create") });
    expect(again.agent.state().registrations).toBe(0);
    token = await enrolmentToken(cp, "ship-1");
    await registered(again);
  });

  test("revoked: the connection ends at once, the agent says so and stays away, and a fresh token lets it in again", async () => {
    await using cp = await startSecureCp();
    await using home = await freshDirectory();
    let token: string | undefined = await enrolmentToken(cp, "ship-1");
    await using running = await startIdentityAgent({
      id: "ship-1",
      directory: home.path,
      cp,
      identity: { caHash: cp.pin },
      token: () => Promise.resolve(token),
      ports: fastPorts(30),
    });
    await registered(running);
    token = undefined;
    await cp.json("/v1/identities/ship-1/revoke", { method: "POST" });
    await eventually(() => running.said("The Control Plane does not let this agent in").length > 0);
    const [line] = running.said("The Control Plane does not let this agent in");
    expect(line?.fields).toMatchObject({ code: 4008 });
    expect(Number(line?.fields["retry_in_ms"])).toBeGreaterThanOrEqual(30_000);
    await eventually(() => running.said("The agent's certificate is not renewed any more, and only a fresh token helps").length > 0);
    expect(running.agent.state().link).not.toBe("registered");
    token = await enrolmentToken(cp, "ship-1");
    await registered(running, 2);
  });
});

test("a new CA beside the old: agents are told, renew, and go on when the old one is gone, over the same connection", async () => {
  await using cp = await startSecureCp();
  await using home = await freshDirectory();
  await using link = await flakyProxy({ targetPort: Number(new URL(cp.agentsUrl).port) });
  const identity = { caHash: cp.pin, agentUrls: [`wss://127.0.0.1:${link.port}/ws`], guessedUrls: [] };
  const options = { id: "ship-1", directory: home.path, cp, identity };
  {
    await using running = await startIdentityAgent({ ...options, token: await enrolmentToken(cp, "ship-1") });
    await registered(running);
    const before = new X509Certificate(await read(home.path, "certificate.pem"));
    await rotateTrust(cp.directory, { ports: systemPorts });
    await cp.security.trust.reload();
    await eventually(async () => new X509Certificate(await read(home.path, "certificate.pem")).issuer !== before.issuer, {
      timeoutMs: 15_000,
    });
    expect((await read(home.path, "trust.pem")).match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    await retireTrust(cp.directory);
    await cp.security.trust.reload();
    await eventually(async () => (await read(home.path, "trust.pem")).match(/BEGIN CERTIFICATE/g)?.length === 1);
    expect(running.agent.state().registrations).toBe(1);
    // The gate takes the old one no more, so what is shown from now on is the new one.
    link.cut();
    await registered(running, 2);
  }
  await using again = await startIdentityAgent(options);
  await registered(again);
});

test("a new CA while an agent is away: what it trusts leads it to the new one, and it goes over to that", async () => {
  await using cp = await startSecureCp();
  await using home = await freshDirectory();
  const options = { id: "ship-1", directory: home.path, cp, identity: { caHash: cp.pin } };
  {
    await using running = await startIdentityAgent({ ...options, token: await enrolmentToken(cp, "ship-1") });
    await registered(running);
  }
  const before = new X509Certificate(await read(home.path, "certificate.pem"));
  await rotateTrust(cp.directory, { ports: systemPorts });
  await cp.security.trust.reload();
  await using again = await startIdentityAgent(options);
  await registered(again);
  await eventually(async () => new X509Certificate(await read(home.path, "certificate.pem")).issuer !== before.issuer);
  expect(again.agent.state().registrations).toBe(1);
});
