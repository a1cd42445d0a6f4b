import { afterAll, describe, expect, test } from "bun:test";
import { createHash, X509Certificate } from "node:crypto";
import { join } from "node:path";
import { dial, type DialOptions } from "../../src/net/mod.ts";
import { connectProxy } from "../support/flaky-proxy.ts";

const TLS = join(import.meta.dir, "../fixtures/tls");
const cert = await Bun.file(join(TLS, "server.pem")).text();
const key = await Bun.file(join(TLS, "server-key.pem")).text();
const stranger = await Bun.file(join(TLS, "stranger.pem")).text();
const sha256 = createHash("sha256").update(new X509Certificate(cert).raw).digest("hex");

interface Outcome {
  readonly seen: string | undefined;
  readonly opened: boolean;
  readonly fault: string | undefined;
}

/** What comes of one connection, which is closed as soon as it stands. */
function outcome(url: string, options: Omit<DialOptions, "handlers">): Promise<Outcome> {
  return new Promise((resolve) => {
    let seen: string | undefined;
    let opened = false;
    const socket = dial(url, {
      ...options,
      handlers: {
        open() {
          opened = true;
          seen = socket.serverCertificateSha256;
          socket.close(1000, "");
        },
        message: () => undefined,
        alive: () => undefined,
        close: (_code, _reason, fault) => resolve({ seen, opened, fault }),
      },
    });
  });
}

describe("the certificate that a server shows", () => {
  let upgrades = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert, key },
    fetch(request, upgrading) {
      upgrades += 1;
      return upgrading.upgrade(request) ? undefined : new Response("no");
    },
    websocket: { message: () => undefined },
  });
  afterAll(() => server.stop(true));
  const url = `wss://127.0.0.1:${server.port}/ws`;

  test("is known when the connection opens", async () => {
    expect(await outcome(url, { ca: cert })).toEqual({ seen: sha256, opened: true, fault: undefined });
  });

  test("is not known where any is taken", async () => {
    expect(await outcome(url, { insecureTls: true })).toEqual({ seen: undefined, opened: true, fault: undefined });
  });

  test.each([
    ["of another CA", "127.0.0.1", stranger],
    ["for another name", "localhost", cert],
  ])("%s ends the connection before anything is sent", async (_what, host, ca) => {
    const before = upgrades;
    const { opened, fault } = await outcome(`wss://${host}:${server.port}/ws`, { ca });
    expect({ opened, upgrades }).toEqual({ opened: false, upgrades: before });
    expect(fault).toBeString();
  });
});

describe("behind a proxy", () => {
  test("the certificate is still the server's, and so is its name", async () => {
    await using proxy = await connectProxy();
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      tls: { cert, key },
      fetch: (request, upgrading) => (upgrading.upgrade(request) ? undefined : new Response("no")),
      websocket: { message: () => undefined },
    });
    try {
      const options = { ca: cert, proxy: `http://127.0.0.1:${proxy.port}` };
      const right = await outcome(`wss://cp.internal:${server.port}/ws`, options);
      expect(right).toEqual({ seen: sha256, opened: true, fault: undefined });
      expect(await outcome(`wss://other.internal:${server.port}/ws`, options)).toMatchObject({ opened: false, seen: undefined });
      expect(proxy.requests).toHaveLength(2);
    } finally {
      await server.stop(true);
    }
  });
});

describe("a server that asks for a certificate", () => {
  // Any certificate will do to see that it is shown: this one is its own CA.
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert, key, ca: cert, requestCert: true, rejectUnauthorized: true },
    fetch: (request, upgrading) => (upgrading.upgrade(request) ? undefined : new Response("no")),
    websocket: { message: () => undefined },
  });
  afterAll(() => server.stop(true));
  const url = `wss://127.0.0.1:${server.port}/ws`;

  test("lets in whoever has one", async () => {
    expect(await outcome(url, { ca: cert, client: { certificate: cert, key } })).toMatchObject({ opened: true });
  });

  test("and nobody else", async () => {
    expect(await outcome(url, { ca: cert })).toMatchObject({ opened: false });
  });
});
