import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../../src/kit/mod.ts";
import { type Trust, createTrust, initTrust, makeKey, retireTrust, rotateTrust } from "../../../src/security/mod.ts";
import { issueAgent } from "../../../src/security/pki/issue.ts";
import { createPrivateKey, createPublicKey } from "node:crypto";

/** What a TLS server shows and asks for while the CA behind it changes, seen by real clients. */
interface Client {
  readonly cert: string;
  readonly key: string;
}

let root: string;
let trust: Trust;
let old: { readonly ca: string; readonly client: Client };
let next: { readonly ca: string; readonly client: Client };

async function client(): Promise<Client> {
  const { issuer } = trust.state();
  if (issuer === undefined) throw new Error("no CA");
  const key = makeKey();
  const publicKey = createPublicKey(createPrivateKey(key));
  const certificate = await issueAgent(issuer, { publicKey, agentId: "a", nowMs: Date.now(), ttlMs: 60_000 });
  return { key, cert: [certificate.pem, ...issuer.chain].join("") };
}

const issuing = (): string => trust.state().issuer?.certificate.pem ?? "";

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "transporter-rollover-"));
  const directory = join(root, "security");
  await initTrust(directory, { ports: systemPorts, names: ["localhost", "127.0.0.1"] });
  trust = await createTrust({ files: { directory }, ports: systemPorts, log: silentLogger });
  old = { ca: issuing(), client: await client() };
  await rotateTrust(directory, { ports: systemPorts });
  await trust.reload();
  next = { ca: issuing(), client: await client() };
});
afterAll(() => rm(root, { recursive: true }));

/** What a request with these comes to, at a server with what the trust says, or with other CAs for its clients. */
async function ask(ca: string | undefined, shown: Client | undefined, clientCas?: string): Promise<string> {
  const { cert, key, clientCas: trusted } = trust.tls();
  const gate = shown === undefined ? {} : { ca: clientCas ?? trusted, requestCert: true, rejectUnauthorized: true };
  using server = Bun.serve({ port: 0, hostname: "127.0.0.1", tls: { cert, key, ...gate }, fetch: () => new Response("in") });
  try {
    const tls = { ...(ca === undefined ? {} : { ca }), ...shown };
    return await (await fetch(`https://127.0.0.1:${server.port}/`, { tls, keepalive: false })).text();
  } catch {
    return "out";
  }
}

/** For one test. */
function instead(other: Trust): Disposable {
  const before = trust;
  trust = other;
  return { [Symbol.dispose]: () => void (trust = before) };
}

async function openssl(ca: string, version: string): Promise<boolean> {
  const { cert, key } = trust.tls();
  using server = Bun.serve({ port: 0, hostname: "127.0.0.1", tls: { cert, key }, fetch: () => new Response("in") });
  const file = join(root, "client-ca.crt");
  await Bun.write(file, ca);
  const run = Bun.spawn(
    [
      "openssl",
      "s_client",
      "-connect",
      `127.0.0.1:${server.port}`,
      "-CAfile",
      file,
      "-verify_return_error",
      "-verify_ip",
      "127.0.0.1",
      version,
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "ignore" },
  );
  const out = await new Response(run.stdout).text();
  await run.exited;
  return out.includes("Verification: OK");
}

describe("after the CA was replaced", () => {
  test("who trusts the old one, the new one or both still finds the server to be the one that is meant", async () => {
    for (const ca of [old.ca, next.ca, old.ca + next.ca, next.ca + old.ca]) expect(await ask(ca, undefined)).toBe("in");
    expect(await ask(undefined, undefined)).toBe("out");
    for (const ca of [old.ca, next.ca]) expect(await openssl(ca, "-tls1_3")).toBe(true);
  });

  test("agents of the old one and of the new one come through the gate", async () => {
    for (const { client } of [old, next]) expect(await ask(trust.bundle().pem, client)).toBe("in");
  });

  test("an agent of the new one comes through the gate of a control plane that knows only the old one yet", async () => {
    expect(await ask(old.ca, next.client, old.ca)).toBe("in");
  });

  test("an agent of the old one does not where only the new one is trusted any more", async () => {
    expect(await ask(next.ca, old.client, next.ca)).toBe("out");
    expect(await ask(next.ca, next.client, next.ca)).toBe("in");
  });

  test("and the old one was retired, who trusts only that one is told so by the handshake", async () => {
    // A copy: the other tests are about the time before.
    const directory = join(root, "retired");
    await cp(join(root, "security"), directory, { recursive: true });
    await retireTrust(directory);
    using _ = instead(await createTrust({ files: { directory }, ports: systemPorts, log: silentLogger }));
    expect([await ask(old.ca, undefined), await ask(next.ca, undefined)]).toEqual(["out", "in"]);
    expect(await openssl(old.ca, "-tls1_3")).toBe(false);
    expect([await ask(next.ca, old.client), await ask(next.ca, next.client)]).toEqual(["out", "in"]);
  });
});
