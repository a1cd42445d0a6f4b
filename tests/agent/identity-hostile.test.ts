import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp as copy, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { dial } from "../../src/net/mod.ts";
import { makeKey } from "../../src/security/mod.ts";
import { fastPorts, MapCluster, startTestAgent } from "../support/agent.ts";
import { startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { connectProxy } from "../support/flaky-proxy.ts";
import { freshDirectory, registered, startIdentityAgent } from "../support/identity-agent.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";
import { agentCertificate } from "../security/rogues.ts";

type Json = Record<string, unknown>;

interface Server extends AsyncDisposable {
  readonly url: string;
  readonly agentsUrl: string;
  /** What was asked over HTTP, and with which authorization. */
  readonly requests: { readonly path: string; readonly authorization: string | null }[];
  /** What came over WebSockets. */
  readonly frames: string[];
}

/** A server that has a certificate, answers what the test says, and begins each WebSocket with this frame. */
function server(of: {
  readonly cert: string;
  readonly key: string;
  readonly answer?: (path: string) => Response | Promise<Response>;
  readonly first?: Json;
}): Server {
  const requests: Server["requests"] = [];
  const frames: string[] = [];
  const running = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: of.cert, key: of.key },
    fetch(request, upgrading) {
      const path = new URL(request.url).pathname;
      if (path === "/ws" && upgrading.upgrade(request)) return undefined;
      requests.push({ path, authorization: request.headers.get("authorization") });
      return of.answer?.(path) ?? new Response("no", { status: 404 });
    },
    websocket: {
      open(socket) {
        if (of.first !== undefined) socket.send(JSON.stringify(of.first));
      },
      message: (_socket, message) => void frames.push(String(message)),
    },
  });
  return {
    url: `https://127.0.0.1:${running.port}`,
    agentsUrl: `wss://127.0.0.1:${running.port}/ws`,
    requests,
    frames,
    [Symbol.asyncDispose]: () => running.stop(true),
  };
}

let cp: SecureControlPlane;
let home: Awaited<ReturnType<typeof freshDirectory>>;
/** Where the identity of `ship-1` lies, which was enrolled. */
let enrolled: string;
/** Has a certificate of the installation's own CA for this address, and no right to it. */
let stolen: { readonly cert: string; readonly key: string };

beforeAll(async () => {
  cp = await startSecureCp();
  home = await freshDirectory();
  enrolled = join(home.path, "enrolled");
  const { token } = await cp.token({ kind: "enrolment", agent: "ship-1" });
  await using running = await startIdentityAgent({ id: "ship-1", directory: enrolled, cp, token, identity: { caHash: cp.pin } });
  await registered(running);
  const key = makeKey();
  stolen = { cert: await agentCertificate(cp.directory, { agentId: "x", usage: "server", key }), key };
});
afterAll(async () => {
  await cp.stop();
  await home[Symbol.asyncDispose]();
});

/** The agent that was enrolled, with this address of the agents' listener and no other. */
function shipOne(agentsUrl: string, options: Partial<Parameters<typeof startIdentityAgent>[0]> = {}) {
  const identity = { agentUrls: [agentsUrl], guessedUrls: [] };
  return startIdentityAgent({ id: "ship-1", directory: enrolled, cp: { url: cp.url, agentsUrl }, identity, ...options });
}

/** A copy of the identity, to be spoilt. */
async function copied(name: string): Promise<string> {
  const directory = join(home.path, name);
  await copy(enrolled, directory, { recursive: true });
  return directory;
}

describe("the first contact", () => {
  const SECRET = "tpe_000000000000_thesecretthatnobodymaysee";

  test("with another CA than the one that was pinned is refused before any secret is sent", async () => {
    await using other = await startSecureCp();
    const { url, agentsUrl } = other;
    const seen: unknown[] = [];
    const mine = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      tls: stolen,
      fetch(request) {
        seen.push([new URL(request.url).pathname, request.headers.get("authorization"), request.method]);
        return fetch(`${url}/v1/ca`, { tls: { ca: other.ca } });
      },
    });
    try {
      await using running = await startIdentityAgent({
        id: "ship-2",
        directory: join(home.path, "pin"),
        cp: { url: `https://127.0.0.1:${mine.port}`, agentsUrl },
        token: SECRET,
        identity: { caHash: cp.pin },
      });
      expect(await running.agent.ended).toMatchObject({ code: "CA_MISMATCH", message: expect.stringContaining(cp.pin) });
      expect(seen).toEqual([["/v1/ca", null, "GET"]]);
    } finally {
      await mine.stop(true);
    }
  });

  test("with somebody who passes the right CA on, and adds his own, ends before any secret is sent", async () => {
    await using other = await startSecureCp();
    const key = makeKey();
    const cert = await agentCertificate(other.directory, { agentId: "x", usage: "server", key });
    const bundle = { trust_bundle: `${cp.ca}\n${other.ca}`, pins: [cp.pin, other.pin] };
    await using between = server({ cert, key, answer: () => Response.json(bundle) });
    await using running = await startIdentityAgent({
      id: "ship-2",
      directory: join(home.path, "between"),
      cp: between,
      token: SECRET,
      identity: { caHash: cp.pin },
    });
    expect(await running.agent.ended).toMatchObject({ code: "CA_MISMATCH" });
    expect(between.requests).toEqual([{ path: "/v1/ca", authorization: null }]);
  });

  test.each([
    ["is no control plane", () => new Response("hello"), "CP_ANSWER"],
    ["has no identities", () => new Response("not found", { status: 404 }), "CP_ANSWER"],
    ["sends elsewhere", () => new Response(null, { status: 302, headers: { location: "http://127.0.0.1:9/" } }), "CP_ANSWER"],
    ["names a CA that cannot be read", () => Response.json({ trust_bundle: "no", pins: [] }), "CP_ANSWER"],
  ])("with what %s ends with a word about it", async (_what, answer, code) => {
    await using there = server({ ...stolen, answer });
    await using running = await startIdentityAgent({
      id: "ship-2",
      directory: join(home.path, "none"),
      cp: there,
      token: SECRET,
      identity: { caHash: cp.pin },
    });
    expect(await running.agent.ended).toMatchObject({ code });
    expect(there.requests.every(({ authorization }) => authorization === null)).toBe(true);
  });

  test("sends no token without TLS", async () => {
    await using plain = await startCp();
    await using running = await startIdentityAgent({
      id: "ship-2",
      directory: join(home.path, "plain"),
      cp: { url: plain.url, agentsUrl: plain.wsUrl },
      token: SECRET,
    });
    expect(await running.agent.ended).toMatchObject({ code: "CONFIG_INVALID", remedy: expect.stringContaining("https://") });
  });

  test("through a proxy holds the control plane to its name all the same", async () => {
    await using proxy = await connectProxy();
    const { token } = await cp.token({ kind: "enrolment", agent: "ship-3" });
    const through = (url: string): string => url.replace("127.0.0.1", "127.0.0.1.nip.example");
    // Loopback never goes through a proxy, so the proxy is the one who knows where this name is; the certificate is not for it.
    await using running = await startIdentityAgent({
      id: "ship-3",
      directory: join(home.path, "proxy"),
      cp: { url: through(cp.url), agentsUrl: through(cp.agentsUrl) },
      token,
      identity: { caHash: cp.pin },
      proxyEnv: { HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` },
    });
    expect(await running.agent.ended).toMatchObject({ code: "CA_MISMATCH", message: expect.stringContaining("ALTNAME") });
    expect(proxy.requests.length).toBeGreaterThanOrEqual(2);
  });
});

describe("an agent with an identity says nothing", () => {
  test("to who does not ask", async () => {
    await using silent = server(stolen);
    await using running = await shipOne(silent.agentsUrl, { ports: fastPorts(20) });
    await eventually(() => running.said("The Control Plane did not ask who this agent is, so nothing was said to it").length > 0);
    expect(silent.frames).toEqual([]);
  });

  test("to who begins with anything else", async () => {
    await using rash = server({ ...stolen, first: { status: "registered", message: "come in" } });
    await using running = await shipOne(rash.agentsUrl);
    await eventually(() => running.said("This Control Plane is not the one that this agent belongs to, and is left").length > 0);
    expect(rash.frames).toEqual([]);
    expect(running.agent.state().registrations).toBe(0);
  });

  test("to another installation", async () => {
    await using other = server({ ...stolen, first: { type: "challenge", nonce: "bm9uY2U", audience: crypto.randomUUID() } });
    await using running = await shipOne(other.agentsUrl);
    const [line] = await eventually(() => {
      const said = running.said("This Control Plane is not the one that this agent belongs to, and is left");
      return said.length > 0 ? said : undefined;
    });
    expect(String(line?.fields["error"])).toContain("another installation");
    expect(other.frames).toEqual([]);
  });

  test("to who has no certificate of its CA", async () => {
    await using other = await startSecureCp();
    await using running = await shipOne(other.agentsUrl);
    await eventually(() => running.said("Cannot connect to Control Plane").length > 0);
    expect(running.agent.state().registrations).toBe(0);
  });

  test("without TLS, unless it was told to", async () => {
    await using plain = await startCp();
    await using running = await shipOne(plain.wsUrl);
    expect(await running.agent.ended).toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("ws://") });
    await using told = await shipOne(plain.wsUrl, { insecureTls: true, ports: fastPorts(20) });
    // There it is not asked, and says nothing all the same.
    await eventually(() => told.said("The Control Plane did not ask who this agent is, so nothing was said to it").length > 0);
  });
});

test("somebody between with a certificate of the same CA is found out: what the agent signs names the certificate that it saw", async () => {
  const mallory = await cp.enrol("mallory");
  const frames: string[] = [];
  // Passes everything on, both ways, by a connection of its own to the real gate.
  const between = Bun.serve<{ upstream: WebSocket; early: string[] }>({
    hostname: "127.0.0.1",
    port: 0,
    tls: stolen,
    fetch: (request, upgrading) =>
      upgrading.upgrade(request, { data: { upstream: new WebSocket("ws://127.0.0.1:1"), early: [] } }) ? undefined : new Response("no"),
    websocket: {
      open(socket) {
        const upstream = new WebSocket(cp.agentsUrl, { tls: { ca: cp.ca, cert: mallory.certificate, key: mallory.key } });
        socket.data.upstream = upstream;
        upstream.addEventListener("message", ({ data }) => void socket.send(String(data)));
        upstream.addEventListener("close", ({ code }) => socket.close(code === 1006 ? 1000 : code));
      },
      message(socket, message) {
        frames.push(String(message));
        socket.data.upstream.send(String(message));
      },
    },
  });
  try {
    await using running = await shipOne(`wss://127.0.0.1:${between.port}/ws`);
    await eventually(() => running.said("The Control Plane does not let this agent in").length > 0);
    expect(frames.length).toBeGreaterThan(0);
    expect(running.agent.state().registrations).toBe(0);
    await eventually(
      async () =>
        (await cp.audit("proof_refused")).some(
          (entry) => entry.agent_id === "ship-1" && String(entry.details?.["reason"]).includes("somebody stands between"),
        ),
      { what: "a line in the audit" },
    );
  } finally {
    await between.stop(true);
  }
  await using running = await startIdentityAgent({ id: "ship-1", directory: enrolled, cp });
  await registered(running);
});

describe("what lies in the directory", () => {
  test("of another agent is refused, and so is a key that is not the certificate's", async () => {
    await using other = await startIdentityAgent({ id: "ship-9", directory: enrolled, cp });
    expect(await other.agent.ended).toMatchObject({ code: "IDENTITY_REFUSED", message: expect.stringContaining('agent "ship-1"') });
    const directory = await copied("spoilt");
    await Bun.write(join(directory, "key.pem"), makeKey());
    await using spoilt = await startIdentityAgent({ id: "ship-1", directory, cp });
    expect(await spoilt.agent.ended).toMatchObject({ code: "IDENTITY_REFUSED", message: expect.stringContaining("another key") });
  });

  test.each([
    [
      "the certificate cannot be read",
      async (directory: string) =>
        void (await Bun.write(join(directory, "certificate.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
    ],
    ["there is no CA to trust", (directory: string) => rm(join(directory, "trust.pem"))],
    ["identity.json is missing", (directory: string) => rm(join(directory, "identity.json"))],
  ])("damaged (%s) is refused, and a fresh token mends it", async (what, spoil) => {
    const directory = await copied(`damaged ${what}`);
    await spoil(directory);
    {
      await using running = await startIdentityAgent({ id: "ship-1", directory, cp });
      expect(await running.agent.ended).toMatchObject({ code: "IDENTITY_REFUSED" });
    }
    const { token } = await cp.token({ kind: "enrolment", agent: "ship-1" });
    await using running = await startIdentityAgent({ id: "ship-1", directory, cp, token, identity: { caHash: cp.pin } });
    await registered(running);
    await rm(enrolled, { recursive: true });
    await copy(directory, enrolled, { recursive: true });
  });

  test("as a crash right after the certificate was written leaves it, is taken and tidied up", async () => {
    const directory = await copied("crashed");
    await rename(join(directory, "key.pem"), join(directory, "next-key.pem"));
    await Bun.write(join(directory, "key.pem"), makeKey());
    await using running = await startIdentityAgent({ id: "ship-1", directory, cp });
    await registered(running);
    await eventually(async () => !(await Bun.file(join(directory, "next-key.pem")).exists()));
    expect(await Bun.file(join(directory, "key.pem")).text()).toBe(await Bun.file(join(enrolled, "key.pem")).text());
  });

  test("as cert-manager would write it, is shown, and read again when it is another", async () => {
    await using outside = await startSecureCp();
    const directory = join(home.path, "cert-manager");
    const key = makeKey();
    const [first, second] = [
      await agentCertificate(outside.directory, { agentId: "ship-5", key }),
      await agentCertificate(outside.directory, { agentId: "ship-5", key }),
    ];
    // Whoever has it issues; this control plane does not.
    await rm(join(outside.directory, "ca.key"));
    await outside.security.trust.reload();
    await Bun.write(join(directory, "tls.key"), key);
    await Bun.write(join(directory, "tls.crt"), first);
    await Bun.write(join(directory, "ca.crt"), outside.ca);
    await using running = await startIdentityAgent({ id: "ship-5", directory, cp: outside, ports: fastPorts(100) });
    await registered(running);
    await Bun.write(join(directory, "tls.crt"), second);
    await eventually(() => running.said("Agent has a new identity").length > 0);
    expect(running.agent.state().registrations).toBe(1);
  });
});

test("an agent without an identity is told what it lacks, and stays away for half a minute", async () => {
  const cluster = { resources: new MapCluster().resources };
  const client = { certificate: await agentCertificate(cp.directory, { agentId: "ship-7", key: stolen.key }), key: stolen.key };
  await using running = await startTestAgent({
    id: "ship-7",
    cpUrl: cp.agentsUrl,
    caPem: cp.ca,
    cluster,
    dialer: (url, options) => dial(url, { ...options, client }),
  });
  const [line] = await eventually(() => {
    const said = running.said("The Control Plane does not let this agent in");
    return said.length > 0 ? said : undefined;
  });
  expect(line?.fields).toMatchObject({ code: 4007 });
  expect(Number(line?.fields["retry_in_ms"])).toBeGreaterThanOrEqual(30_000);
  const [asked] = running.said("The Control Plane asks who its agents are, and this one has nothing to show");
  expect(String(asked?.fields["remedy"])).toContain("transporter token create");
});
