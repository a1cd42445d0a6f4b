import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { silentLogger, systemPorts, toTransporterError } from "../../src/kit/mod.ts";
import { createSecurity, initTrust, memoryDocuments, type OidcOptions, type Security } from "../../src/security/mod.ts";

let directory: string;
let trust: string;
let issuer: Bun.Server<undefined>;
let jwks: string;
let keys: CryptoKeyPair;
/** Paths that were asked, and how they are answered. */
const asked: string[] = [];
let answer: (path: string) => Response;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "transporter-issuers-"));
  trust = join(directory, "security");
  await initTrust(trust, { ports: systemPorts, names: ["127.0.0.1"] });
  keys = await generateKeyPair("RS256", { extractable: true });
  jwks = JSON.stringify({ keys: [{ ...(await exportJWK(keys.publicKey)), kid: "k1", alg: "RS256" }] });
  issuer = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: Bun.file(join(trust, "server.crt")), key: Bun.file(join(trust, "server.key")) },
    fetch(request) {
      const { pathname } = new URL(request.url);
      asked.push(pathname);
      return answer(pathname);
    },
  });
});
afterAll(async () => {
  await issuer.stop(true);
  await rm(directory, { recursive: true });
});

const url = (): string => `https://127.0.0.1:${issuer.port}`;

function good(path: string): Response {
  return path === "/keys" ? new Response(jwks) : Response.json({ issuer: url(), jwks_uri: `${url()}/keys` });
}

function security(more: Partial<OidcOptions> = {}): Promise<Security> {
  asked.length = 0;
  return createSecurity({
    documents: memoryDocuments(),
    ports: systemPorts,
    log: silentLogger,
    trust: { directory: trust },
    certificateTtlMs: 3_600_000,
    renewalGraceMs: 3_600_000,
    approveByHand: false,
    agentUrls: [],
    clusters: [],
    oidc: {
      issuer: url(),
      audience: "transporter",
      algorithms: ["RS256"],
      usernameClaim: "sub",
      rolesClaim: "groups",
      roles: [{ role: "operator", value: "ops" }],
      caFile: join(trust, "ca.crt"),
      ...more,
    },
  });
}

async function outcome(of: Security): Promise<string> {
  const token = await new SignJWT({ groups: ["ops"] })
    .setProtectedHeader({ alg: "RS256", kid: "k1" })
    .setIssuer(url())
    .setAudience("transporter")
    .setSubject("alice")
    .setIssuedAt()
    .setExpirationTime("5m")
    .sign(keys.privateKey);
  const credentials = { method: "GET", authorization: `Bearer ${token}`, cookie: null, csrf: null, address: "127.0.0.1", requestId: "r" };
  try {
    const { name, role } = await of.authenticator.authenticate(credentials);
    return `${name} ${role}`;
  } catch (error) {
    return toTransporterError(error).code;
  }
}

describe("an identity provider over TLS", () => {
  test("is asked for its keys by its discovery document, and vouches for people", async () => {
    answer = good;
    expect(await outcome(await security())).toBe("oidc:alice operator");
    expect(asked).toEqual(["/.well-known/openid-configuration", "/keys"]);
  });

  test("is asked at the address that was named, or not at all where a file has its keys", async () => {
    answer = good;
    expect(await outcome(await security({ jwks: `${url()}/keys` }))).toBe("oidc:alice operator");
    expect(asked).toEqual(["/keys"]);
    const path = join(directory, "keys.json");
    await Bun.write(path, jwks);
    expect(await outcome(await security({ jwks: path }))).toBe("oidc:alice operator");
    expect(asked).toEqual([]);
  });

  test("is not believed where its certificate is not", async () => {
    answer = good;
    const other = join(directory, "other");
    await initTrust(other, { ports: systemPorts, names: ["127.0.0.1"] });
    expect(await outcome(await security({ caFile: join(other, "ca.crt") }))).toBe("ISSUER_UNAVAILABLE");
    expect(asked).toEqual([]);
  });

  test.each([
    ["an error", () => new Response(jwks, { status: 500 })],
    ["a redirect", () => Response.redirect(`${url()}/keys`)],
    ["no JSON", () => new Response("<html>")],
    ["other JSON", () => Response.json({ keys: "none" })],
    ["more than a mebibyte", () => new Response(" ".repeat(1024 * 1024) + jwks)],
  ])("that answers with %s vouches for nobody", async (_name, reply) => {
    answer = () => reply();
    expect(await outcome(await security({ jwks: `${url()}/start` }))).toBe("ISSUER_UNAVAILABLE");
    expect(asked).toEqual(["/start"]);
  });
});
