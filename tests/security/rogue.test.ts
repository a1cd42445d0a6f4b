import { createPrivateKey, createPublicKey } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeKey, readCertificates } from "../../src/security/mod.ts";
import { crossSign, type Issuer, issueAgent, makeCa } from "../../src/security/pki/issue.ts";
import type { EnrolledAgent } from "../support/secure-agent.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";
import { agentCertificate, issuerOf, withNewSerial } from "./rogues.ts";

/** As many as the issue of the runtime says that one in five got through of, once. */
const ATTEMPTS = 1_000;
const AT_ONCE = 24;

let one: SecureControlPlane;
let agent: EnrolledAgent;

beforeAll(async () => {
  one = await startSecureCp();
  agent = await one.enrol("agent-1");
});
afterAll(() => one.stop());

interface Client {
  readonly certificate: string;
  readonly key: string;
}

/** Whether a client gets as far as a WebSocket; what the server said first then. */
function knock(client: Client | undefined, url = one.agentsUrl, ca = one.ca): Promise<"refused" | "let in"> {
  return new Promise((resolve) => {
    const tls = { ca, ...(client === undefined ? {} : { cert: client.certificate, key: client.key }) };
    const socket = new WebSocket(url, { tls });
    socket.addEventListener("open", () => {
      resolve("let in");
      socket.close();
    });
    socket.addEventListener("close", () => resolve("refused"));
    socket.addEventListener("error", () => resolve("refused"));
  });
}

/** How many of so many were let in. */
async function letIn(count: number, attempt: (at: number) => Promise<"refused" | "let in">): Promise<number> {
  let next = 0;
  let through = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const at = next;
      next += 1;
      if ((await attempt(at)) === "let in") through += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return through;
}

/** A CA that says that it is ours, by name, and is not. */
async function impostor(): Promise<Issuer> {
  const { certificate: real } = await issuerOf(one.directory);
  const nowMs = Date.now();
  const own = await makeCa(nowMs);
  const keyPem = makeKey();
  const key = createPrivateKey(keyPem);
  const [certificate] = readCertificates(await crossSign({ ...real, publicKey: createPublicKey(key) }, own.issuer, nowMs), 1) ?? [];
  if (certificate === undefined) throw new Error("no certificate was made");
  return { certificate, key, chain: [] };
}

describe("the agents' listener", () => {
  test("lets none of a thousand certificates in that somebody else issued, while it serves its own", async () => {
    const nowMs = Date.now();
    const key = makeKey();
    const publicKey = createPublicKey(createPrivateKey(key));
    // Each says that it is the agent that is connected.
    const of = { publicKey, agentId: "agent-1", nowMs, ttlMs: 3_600_000 };
    const issuers = [await issuerOf(one.directory), (await makeCa(nowMs)).issuer, await impostor()];
    const [own, ...rogues] = await Promise.all(issuers.map(async (by) => ({ by, pem: (await issueAgent(by, of)).pem })));
    const knockWith = (made: (typeof rogues)[number] | undefined): ReturnType<typeof knock> =>
      knock(made === undefined ? undefined : { certificate: withNewSerial(made.pem, made.by.key), key });
    await using connected = await one.dial(agent);
    // What the thousand are made by makes good ones, where the CA's key does it.
    expect(await knockWith(own)).toBe("let in");
    const through = await letIn(ATTEMPTS, (at) => knockWith(rogues[at % rogues.length]));
    expect(through).toBe(0);
    expect(await knock(agent)).toBe("let in");
    connected.send({ type: "heartbeat", timestamp: new Date().toISOString() });
    expect((await one.audit("agent_connected")).length).toBe(1);
    expect((await one.audit("agent_disconnected")).length).toBe(0);
  }, 60_000);

  test("lets none of a thousand in that show no certificate", async () => {
    expect(await letIn(ATTEMPTS, () => knock(undefined))).toBe(0);
    expect(await knock(agent)).toBe("let in");
  }, 60_000);

  test.each([
    ["ran out", { nowMs: Date.now() - 7_200_000, ttlMs: 3_600_000 }],
    ["is not valid yet", { nowMs: Date.now() + 7_200_000, ttlMs: 3_600_000 }],
    ["is for servers", { usage: "server" }],
    ["is of another CA", { otherCa: true }],
  ] as const)("refuses a certificate that %s", async (_what, parts) => {
    const key = makeKey();
    const certificate = await agentCertificate(one.directory, { agentId: "agent-1", key, ...parts });
    expect(await letIn(20, () => knock({ certificate, key }))).toBe(0);
    expect(await knock(agent)).toBe("let in");
  });

  test("is not asked for agents by whoever does not trust it", async () => {
    expect(await knock(agent, one.agentsUrl, (await makeCa(Date.now())).issuer.certificate.pem)).toBe("refused");
  });
});

describe("by another client of TLS", () => {
  let directory: string;
  const file = (name: string): string => join(directory, name);

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "transporter-rogue-"));
    const key = makeKey();
    await Bun.write(file("ca.pem"), one.ca);
    await Bun.write(file("good.pem"), agent.certificate);
    await Bun.write(file("good.key"), agent.key);
    await Bun.write(file("rogue.pem"), await agentCertificate(one.directory, { agentId: "agent-1", key, otherCa: true }));
    await Bun.write(file("rogue.key"), key);
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** The status line of GET /livez; empty where the server hung up. */
  async function livez(port: string, ...more: readonly string[]): Promise<string> {
    const child = Bun.spawn(["openssl", "s_client", "-quiet", "-connect", `127.0.0.1:${port}`, "-CAfile", file("ca.pem"), ...more], {
      stdin: new TextEncoder().encode("GET /livez HTTP/1.1\r\nhost: cp\r\nconnection: close\r\n\r\n"),
      stdout: "pipe",
      stderr: "ignore",
    });
    const answer = await new Response(child.stdout).text();
    await child.exited;
    return answer.split("\r\n", 1)[0] ?? "";
  }
  const good = (): string[] => ["-cert", file("good.pem"), "-key", file("good.key")];
  const rogue = (): string[] => ["-cert", file("rogue.pem"), "-key", file("rogue.key")];

  test.skipIf(Bun.which("openssl") === null)("a certificate is asked for whatever name is asked for, or none", async () => {
    const { port } = new URL(one.agentsUrl);
    const named = [["-noservername"], ["-servername", "localhost"], ["-servername", "elsewhere.example"]];
    const answers = await Promise.all(
      named.map(async (name) => [
        await livez(port, ...good(), ...name),
        await livez(port, ...rogue(), ...name),
        await livez(port, ...name),
      ]),
    );
    for (const answer of answers) expect(answer).toEqual(["HTTP/1.1 200 OK", "", ""]);
  });

  test.skipIf(Bun.which("openssl") === null)("TLS 1.2 is for whoever chose it", async () => {
    const agents = new URL(one.agentsUrl).port;
    const api = new URL(one.url).port;
    expect(await livez(agents, ...good(), "-tls1_2")).toBe("");
    expect(await livez(api, "-tls1_2")).toBe("");
    expect(await livez(api, "-tls1_3")).toBe("HTTP/1.1 200 OK");
    await using older = await startSecureCp({ tls: { min: "1.2", byProxy: false }, like: one });
    expect(await livez(new URL(older.agentsUrl).port, ...good(), "-tls1_2")).toBe("HTTP/1.1 200 OK");
    expect(await livez(new URL(older.agentsUrl).port, ...rogue(), "-tls1_2")).toBe("");
    expect(await livez(new URL(older.agentsUrl).port, "-tls1_2")).toBe("");
    expect(await livez(new URL(older.url).port, "-tls1_2")).toBe("HTTP/1.1 200 OK");
    expect(await livez(new URL(older.url).port, "-tls1_1")).toBe("");
  });
});
