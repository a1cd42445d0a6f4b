import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ManualPorts, manualPorts, silentLogger } from "../kit/mod.ts";
import type { Security } from "./gate.ts";
import { initTrust, type InitialisedTrust } from "./init-trust.ts";
import { memoryDocuments, type MemoryDocuments } from "./memory-documents.ts";
import { ADMIN, codeOf, FROM } from "./parts-for-tests.ts";
import { createSecurity, type SecurityOptions } from "./security.ts";
import { makeToken } from "./token-format.ts";

let directory: string;
let made: InitialisedTrust;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "transporter-security-"));
  made = await initTrust(join(directory, "s"), { ports: manualPorts().ports, names: ["localhost"], agents: ["a-1"] });
});
afterAll(() => rm(directory, { recursive: true }));

interface Bench {
  readonly security: Security;
  readonly manual: ManualPorts;
  readonly documents: MemoryDocuments;
  readonly ended: (string | undefined)[];
}

async function bench(documents = memoryDocuments(), more: Partial<SecurityOptions> = {}): Promise<Bench> {
  const manual = manualPorts();
  const security = await createSecurity({
    documents,
    ports: manual.ports,
    log: silentLogger,
    trust: { directory: made.directory },
    certificateTtlMs: 3_600_000,
    renewalGraceMs: 3_600_000,
    approveByHand: false,
    agentUrls: [],
    clusters: [],
    ...more,
  });
  const ended: (string | undefined)[] = [];
  security.onEnded((credential) => void ended.push(credential));
  return { security, manual, documents, ended };
}

const request = (token: string | undefined, more: object = {}) => ({
  method: "GET",
  authorization: token === undefined ? null : `Bearer ${token}`,
  cookie: null,
  csrf: null,
  ...FROM,
  ...more,
});

describe("security of a control plane", () => {
  test("knows the first administrator, and forgets nobody who was revoked when it starts again", async () => {
    const { security, documents } = await bench();
    const admin = await security.authenticator.authenticate(request(made.adminToken));
    expect(admin).toMatchObject({ name: "token:bootstrap-admin", role: "admin", kind: "user", via: "token" });
    expect(admin.scope).toBeUndefined();
    await security.tokens.revoke(admin.credential ?? "", ADMIN, FROM);
    expect(await codeOf(() => security.authenticator.authenticate(request(made.adminToken)))).toBe("UNAUTHENTICATED");
    const again = await bench(documents);
    expect(await codeOf(() => again.security.authenticator.authenticate(request(made.adminToken)))).toBe("UNAUTHENTICATED");
  });

  test("knows the enrolment tokens of its directory", async () => {
    const { security } = await bench();
    expect(await security.tokens.list({ kind: "enrolment", limit: 10 })).toMatchObject([{ agent: "a-1", kind: "enrolment" }]);
  });

  test("is one installation for all control planes of a store", async () => {
    const one = await bench();
    const other = await bench(one.documents);
    const { audience } = one.security.authenticator.challenge();
    expect(other.security.authenticator.challenge().audience).toBe(audience);
    expect(other.security.identities.challenge().audience).toBe(audience);
    expect((await bench()).security.authenticator.challenge().nonce).not.toBe(one.security.authenticator.challenge().nonce);
  });

  test("says at once who ended here, within a second who ended elsewhere, and as soon as the word comes", async () => {
    const one = await bench();
    const other = await bench(one.documents);
    const third = await bench(one.documents);
    other.security.start();
    const { token, id } = await one.security.tokens.create({ kind: "user", role: "viewer" }, ADMIN, FROM);
    for (const { security } of [one, other, third])
      expect(await security.authenticator.authenticate(request(token))).toMatchObject({ credential: id });
    await one.security.tokens.revoke(id, ADMIN, FROM);
    await one.manual.settle();
    expect(one.ended).toStrictEqual([id]);
    await other.manual.advance(999);
    expect(other.ended).toStrictEqual([]);
    await other.manual.advance(1);
    expect(other.ended).toStrictEqual([id]);
    third.security.documentChanged("token", id);
    await third.manual.settle();
    expect(third.ended).toStrictEqual([id]);
    for (const { security } of [one, other, third]) {
      expect(await codeOf(() => security.authenticator.authenticate(request(token)))).toBe("UNAUTHENTICATED");
      await security.stop();
    }
    expect(other.manual.pending).toBe(0);
  });

  test("keeps no agent out for what others guess from its address", async () => {
    const { security } = await bench();
    const guess = () => codeOf(() => security.authenticator.authenticate(request("tpu_guess")));
    for (let tries = 0; tries < 20; tries += 1) expect(await guess()).toBe("UNAUTHENTICATED");
    expect(await guess()).toBe("TOO_MANY_ATTEMPTS");
    const { identities } = security;
    const question = { agentId: "a-1", proof: undefined, challenge: identities.challenge(), ageMs: 0, channels: [], from: FROM };
    const prove = () => codeOf(() => identities.verify(question));
    for (let tries = 0; tries < 20; tries += 1) expect(await prove()).toBe("IDENTITY_REQUIRED");
    expect(await prove()).toBe("TOO_MANY_ATTEMPTS");
  });

  test("asks everybody again where words may have been lost", async () => {
    const { security, ended } = await bench();
    security.gap();
    expect(ended).toStrictEqual([undefined]);
  });

  test("ends a browser's session with its token", async () => {
    const { security, manual, ended } = await bench();
    const { token, id } = await security.tokens.create({ kind: "user", role: "viewer" }, ADMIN, FROM);
    const principal = await security.authenticator.authenticate(request(token));
    const { cookie, session } = await security.browserSessions.begin(principal, FROM);
    const sent = request(undefined, { cookie: cookie.split(";")[0] });
    const browser = await security.authenticator.authenticate(sent);
    expect(browser).toMatchObject({ name: principal.name, role: "viewer", via: "cookie" });
    expect(await codeOf(() => security.authenticator.authenticate({ ...sent, method: "POST" }))).toBe("CSRF_REQUIRED");
    expect(await security.authenticator.authenticate({ ...sent, method: "POST", csrf: session.csrf_token })).toMatchObject({
      via: "cookie",
    });
    await security.tokens.revoke(id, ADMIN, FROM);
    await manual.settle();
    expect(ended).toStrictEqual([id, browser.credential]);
    expect(await codeOf(() => security.authenticator.authenticate(sent))).toBe("UNAUTHENTICATED");
  });

  test("takes an administrator's token from a file, and only such a token", async () => {
    const path = join(directory, "token");
    const { token } = makeToken("user");
    await writeFile(path, `${token}\n`);
    const { security, documents } = await bench(memoryDocuments(), { adminTokenFile: path });
    expect(await security.authenticator.authenticate(request(token))).toMatchObject({ role: "admin" });
    expect(JSON.stringify(documents.of("token"))).not.toContain(token.slice(20));
    const hashed = makeToken("user");
    await writeFile(path, `${hashed.id}:${hashed.sha256}\n`);
    const { security: byHash } = await bench(memoryDocuments(), { adminTokenFile: path });
    expect(await byHash.authenticator.authenticate(request(hashed.token))).toMatchObject({ role: "admin" });
    await writeFile(path, `${hashed.id}:${hashed.token}\n`);
    expect(await codeOf(() => bench(memoryDocuments(), { adminTokenFile: path }))).toBe("CONFIG_INVALID");
    await writeFile(path, makeToken("enrolment").token);
    expect(await codeOf(() => bench(memoryDocuments(), { adminTokenFile: path }))).toBe("CONFIG_INVALID");
    await writeFile(path, "secret");
    expect(await codeOf(() => bench(memoryDocuments(), { adminTokenFile: path }))).toBe("CONFIG_INVALID");
    expect(await codeOf(() => bench(memoryDocuments(), { adminTokenFile: join(directory, "absent") }))).toBe("FILE_UNREADABLE");
  });

  test("refuses issuers whose keys anybody could answer for, and algorithms that anybody could sign by", async () => {
    const oidc = {
      issuer: "https://id.example.com",
      audience: "transporter",
      algorithms: ["RS256"],
      usernameClaim: "sub",
      rolesClaim: "groups",
      roles: [],
    };
    expect(await codeOf(() => bench(memoryDocuments(), { oidc }))).toBe("ok");
    expect(await codeOf(() => bench(memoryDocuments(), { oidc: { ...oidc, issuer: "http://id.example.com" } }))).toBe("CONFIG_INVALID");
    expect(await codeOf(() => bench(memoryDocuments(), { oidc: { ...oidc, algorithms: ["HS256"] } }))).toBe("CONFIG_INVALID");
    expect(await codeOf(() => bench(memoryDocuments(), { oidc: { ...oidc, caFile: join(directory, "absent") } }))).toBe("FILE_UNREADABLE");
    const cluster = {
      name: "c",
      issuer: "https://k.example.com",
      jwks: "http://k.example.com/keys",
      audience: "t",
      subjects: [],
      agents: "*",
    };
    expect(await codeOf(() => bench(memoryDocuments(), { clusters: [cluster] }))).toBe("CONFIG_INVALID");
  });
});
