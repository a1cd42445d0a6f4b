import { beforeAll, describe, expect, test } from "bun:test";
import { type Proof, agentStatement } from "../protocol/mod.ts";
import { createIdentities } from "./identities.ts";
import { type IdentityRecord, identityRecords } from "./identity-records.ts";
import { ADMIN, FROM, type TestParts, codeOf, testParts } from "./parts-for-tests.ts";
import { signText } from "./pki/signature.ts";
import { stateOf, trustForTests } from "./pki/trust-for-tests.ts";
import { type Made, makeTestAgent, makeTestCa } from "./pki/certificates-for-tests.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
const HOUR_MS = 3_600_000;
const CHANNEL = "tls-server-end-point:11";
let ca: Made;
let agent: Made;
let renewed: Made;

beforeAll(async () => {
  ca = await makeTestCa(NOW_MS, { untilMs: NOW_MS + 10 * HOUR_MS });
  agent = await makeTestAgent(ca, "a", NOW_MS, { untilMs: NOW_MS + HOUR_MS });
  renewed = await makeTestAgent(ca, "a", NOW_MS, { untilMs: NOW_MS + 2 * HOUR_MS });
});

function keyOf(made: Made, more: Partial<IdentityRecord["keys"][number]> = {}): IdentityRecord["keys"][number] {
  const { certificate } = made;
  return {
    keySha256: certificate.keySha256,
    serial: certificate.serial,
    issuerKeySha256: ca.certificate.keySha256,
    anchorKeySha256: ca.certificate.keySha256,
    issuedAtMs: certificate.notBeforeMs,
    expiresAtMs: certificate.notAfterMs,
    ...more,
  };
}

const recordOf = (keys: IdentityRecord["keys"], more: Partial<IdentityRecord> = {}): IdentityRecord => ({
  enrolledAtMs: NOW_MS,
  enrolledBy: "token:t",
  labels: { site: "north" },
  keys,
  ...more,
});

async function bench(record?: IdentityRecord, options: { readonly issues?: boolean; readonly parts?: TestParts } = {}) {
  const parts = options.parts ?? testParts();
  const trust = trustForTests(stateOf([ca], { issues: options.issues ?? true }));
  if (record !== undefined) await identityRecords(parts).make("a", record);
  return { ...parts, parts, trust, identities: createIdentities({ parts, trust }) };
}

type Bench = Awaited<ReturnType<typeof bench>>;
interface Change {
  readonly agentId?: string;
  readonly ageMs?: number;
  readonly channels?: readonly string[];
  readonly proof?: Partial<Proof> | null | "none";
  readonly said?: Partial<Parameters<typeof agentStatement>[0]>;
  readonly signer?: Made;
}

/** What an agent answers that does all right, but for what a test changes. */
function answer({ identities }: Bench, made: Made, change: Change = {}) {
  const challenge = identities.challenge();
  const statement = agentStatement({
    audience: challenge.audience,
    nonce: challenge.nonce,
    agentId: "a",
    certificateSha256: made.certificate.sha256,
    channel: CHANNEL,
    ...change.said,
  });
  const proof: Proof = {
    certificate: made.pem,
    nonce: challenge.nonce,
    channel: CHANNEL,
    signature: signText(statement, (change.signer ?? made).keyPem),
    ...(typeof change.proof === "object" ? change.proof : {}),
  };
  return identities.verify({
    agentId: change.agentId ?? "a",
    proof: change.proof === null ? null : change.proof === "none" ? undefined : proof,
    challenge,
    ageMs: change.ageMs ?? 100,
    channels: change.channels ?? [CHANNEL],
    from: FROM,
  });
}

describe("an agent shows who it is", () => {
  test("and is told what counts of it", async () => {
    const here = await bench(recordOf([keyOf(renewed), keyOf(agent)]));
    expect(await answer(here, agent)).toEqual({
      principal: {
        tenant: "default",
        name: "agent:a",
        kind: "agent",
        via: "proof",
        role: "agent",
        scope: { agents: ["a"] },
        credential: "agent:a",
      },
      keySha256: agent.certificate.keySha256,
      sameAs: [renewed.certificate.keySha256, agent.certificate.keySha256],
      serial: agent.certificate.serial,
      expiresAtMs: agent.certificate.notAfterMs,
      labels: { site: "north" },
    });
    expect(here.documents.audit).toEqual([]);
  });

  test("where it saw no certificate of the server", async () => {
    const here = await bench(recordOf([keyOf(agent)]));
    const change = { said: { channel: "none" }, proof: { channel: "none" } };
    expect(await codeOf(() => answer(here, agent, change))).toBe("ok");
    expect(await codeOf(() => answer(here, agent, { ...change, channels: [] }))).toBe("ok");
  });

  test("in the last moment of a challenge, which is another each time", async () => {
    const here = await bench(recordOf([keyOf(agent)]));
    expect(await codeOf(() => answer(here, agent, { ageMs: 10_000 }))).toBe("ok");
    const [one, other] = [here.identities.challenge(), here.identities.challenge()];
    expect(one.nonce).not.toBe(other.nonce);
    expect(Buffer.from(one.nonce, "base64url")).toHaveLength(32);
    expect(one.audience).toBe("installation-1");
  });

  test("a thousand times at once from one address", async () => {
    const here = await bench(recordOf([keyOf(agent)]));
    const all = await Promise.all(Array.from({ length: 100 }, () => codeOf(() => answer(here, agent))));
    expect(new Set(all)).toEqual(new Set(["ok"]));
  });

  test("and keeps the shortest of what is above it", async () => {
    const here = await bench(recordOf([keyOf(agent)]));
    const shortCa = await makeTestCa(NOW_MS, { key: { pem: ca.keyPem }, untilMs: NOW_MS + 5000 });
    const short = await makeTestAgent(shortCa, "a", NOW_MS, { key: { pem: agent.keyPem }, untilMs: NOW_MS + HOUR_MS });
    here.trust.change(stateOf([shortCa]));
    expect((await answer(here, short)).expiresAtMs).toBe(NOW_MS + 5000);
  });
});

describe("an agent is refused", () => {
  const refusals: readonly (readonly [string, Change, string, string])[] = [
    ["without proof", { proof: "none" }, "IDENTITY_REQUIRED", "the agent showed no certificate"],
    ["with an empty proof", { proof: null }, "IDENTITY_REQUIRED", "the agent showed no certificate"],
    ["too late", { ageMs: 10_001 }, "IDENTITY_REFUSED", "the answer to the challenge came too late"],
    [
      "with the answer to another challenge",
      { proof: { nonce: "AAAA" }, said: { nonce: "AAAA" } },
      "IDENTITY_REFUSED",
      "the answer is to another challenge",
    ],
    [
      "when it saw another server",
      { channels: ["tls-server-end-point:22"] },
      "IDENTITY_REFUSED",
      "the agent saw another server: somebody stands between",
    ],
    [
      "when it names another channel than it signed",
      { said: { channel: "none" } },
      "IDENTITY_REFUSED",
      "the signature is not of the certificate's key",
    ],
    [
      "when it signed for another installation",
      { said: { audience: "installation-2" } },
      "IDENTITY_REFUSED",
      "the signature is not of the certificate's key",
    ],
    ["when it signed another nonce", { said: { nonce: "AAAA" } }, "IDENTITY_REFUSED", "the signature is not of the certificate's key"],
    ["when it signed another id", { said: { agentId: "b" } }, "IDENTITY_REFUSED", "the signature is not of the certificate's key"],
    [
      "when it signed another certificate",
      { said: { certificateSha256: "00" } },
      "IDENTITY_REFUSED",
      "the signature is not of the certificate's key",
    ],
    ["under another id", { agentId: "b", said: { agentId: "b" } }, "IDENTITY_REFUSED", "the agent's certificate is another agent's"],
    [
      "with a certificate that cannot be read",
      { proof: { certificate: "hello" } },
      "IDENTITY_REFUSED",
      "the agent's certificate cannot be read",
    ],
  ];
  test.each(refusals)("%s, and it stands in the audit", async (_name, change, code, reason) => {
    const here = await bench(recordOf([keyOf(agent)]));
    expect(await codeOf(() => answer(here, agent, change))).toBe(code);
    expect(here.documents.audit).toMatchObject([
      {
        action: "proof_refused",
        agentId: change.agentId ?? "a",
        remoteAddress: FROM.address,
        requestId: FROM.requestId,
        details: { code, reason },
      },
    ]);
  });

  test("when another key has signed", async () => {
    const here = await bench(recordOf([keyOf(agent), keyOf(renewed)]));
    expect(await codeOf(() => answer(here, agent, { signer: renewed }))).toBe("IDENTITY_REFUSED");
  });

  test("when its certificate has run out", async () => {
    const here = await bench(recordOf([keyOf(agent)]));
    await here.manual.advance(HOUR_MS + 1);
    expect(await codeOf(() => answer(here, agent))).toBe("IDENTITY_EXPIRED");
  });

  test("when its certificate is on the revocation list", async () => {
    const here = await bench(recordOf([keyOf(agent)]));
    here.trust.change(stateOf([ca], { revocations: { size: 1, nextUpdateMs: undefined, isRevoked: () => true } }));
    expect(await codeOf(() => answer(here, agent))).toBe("IDENTITY_REVOKED");
  });

  test("when its CA is not trusted any more", async () => {
    const here = await bench(recordOf([keyOf(agent)]));
    here.trust.change(stateOf([await makeTestCa(NOW_MS)]));
    expect(await codeOf(() => answer(here, agent))).toBe("IDENTITY_REFUSED");
  });

  test("when nothing is known of it, though its certificate is good", async () => {
    const here = await bench();
    expect(await codeOf(() => answer(here, agent))).toBe("IDENTITY_REFUSED");
    expect(here.documents.of("identity")).toEqual([]);
  });

  test("with a key that is not known as its own", async () => {
    const here = await bench(recordOf([keyOf(renewed)]));
    expect(await codeOf(() => answer(here, agent))).toBe("IDENTITY_REFUSED");
  });

  test("with a key that was revoked, or as an agent that was", async () => {
    const keys = [keyOf(renewed), keyOf(agent, { revokedAtMs: NOW_MS })];
    const here = await bench(recordOf(keys));
    expect(await codeOf(() => answer(here, agent))).toBe("IDENTITY_REVOKED");
    expect((await answer(here, renewed)).sameAs).toEqual([renewed.certificate.keySha256]);
    const revoked = await bench(recordOf([keyOf(agent)], { revokedAtMs: NOW_MS }));
    expect(await codeOf(() => answer(revoked, agent))).toBe("IDENTITY_REVOKED");
  });

  test("who fails too often is held off, and that stands in the audit too", async () => {
    const here = await bench(recordOf([keyOf(agent)]));
    const codes: string[] = [];
    for (let index = 0; index < 21; index += 1) codes.push(await codeOf(() => answer(here, agent, { proof: null })));
    expect(codes.filter((code) => code === "IDENTITY_REQUIRED")).toHaveLength(20);
    expect(codes.at(-1)).toBe("TOO_MANY_ATTEMPTS");
    expect(here.documents.audit.at(-1)).toMatchObject({ action: "proof_refused", details: { code: "TOO_MANY_ATTEMPTS" } });
  });

  test("who is not known by the store counts as a failure as well", async () => {
    const here = await bench();
    const codes: string[] = [];
    for (let index = 0; index < 21; index += 1) codes.push(await codeOf(() => answer(here, agent)));
    expect(codes.at(-1)).toBe("TOO_MANY_ATTEMPTS");
  });

  test("a store that does not answer is nobody's failure, and in no audit", async () => {
    const here = await bench(recordOf([keyOf(agent)]));
    here.documents.failure = new Error("away");
    for (let index = 0; index < 30; index += 1) expect(await codeOf(() => answer(here, agent))).toBe("INTERNAL");
    here.documents.failure = undefined;
    expect(here.documents.audit).toEqual([]);
    expect(await codeOf(() => answer(here, agent))).toBe("ok");
  });
});

describe("where somebody else's CA issues", () => {
  test("an agent is taken in as it comes, and is found again", async () => {
    const here = await bench(undefined, { issues: false });
    const verified = await answer(here, agent);
    expect(verified).toMatchObject({ sameAs: [agent.certificate.keySha256], labels: {} });
    expect(await here.identities.get("a")).toMatchObject({
      agent_id: "a",
      enrolled_by: "ca",
      certificates: [{ serial: agent.certificate.serial }],
    });
    expect(here.documents.audit).toMatchObject([{ action: "agent_enrolled", principal: "ca", agentId: "a" }]);
    const { calls } = here.documents;
    expect(await codeOf(() => answer(here, agent))).toBe("ok");
    expect(here.documents.audit).toHaveLength(1);
    expect(here.documents.calls - calls).toBe(1);
  });

  test("a further key is added, and is not taken for the same connection's", async () => {
    const here = await bench(recordOf([keyOf(agent)]), { issues: false });
    expect((await answer(here, renewed)).sameAs).toEqual([renewed.certificate.keySha256]);
    expect((await here.identities.get("a"))?.certificates.map(({ serial }) => serial)).toEqual([
      renewed.certificate.serial,
      agent.certificate.serial,
    ]);
  });

  test("a revoked agent stays out, with whatever key it comes", async () => {
    const here = await bench(recordOf([keyOf(agent)], { revokedAtMs: NOW_MS }), { issues: false });
    expect(await codeOf(() => answer(here, agent))).toBe("IDENTITY_REVOKED");
    expect(await codeOf(() => answer(here, renewed))).toBe("IDENTITY_REVOKED");
    expect((await here.identities.get("a"))?.certificates).toHaveLength(1);
  });

  test("one that comes twice at once is taken in once", async () => {
    const here = await bench(undefined, { issues: false });
    await Promise.all([answer(here, agent), answer(here, agent)]);
    expect(here.documents.audit).toHaveLength(1);
  });

  test("two that come at once are both known", async () => {
    const here = await bench(undefined, { issues: false });
    expect(await Promise.all([codeOf(() => answer(here, agent)), codeOf(() => answer(here, renewed))])).toEqual(["ok", "ok"]);
    expect((await here.identities.get("a"))?.certificates).toHaveLength(2);
  });
});

describe("a connected agent", () => {
  test("may stay as long as its newest certificate is good", async () => {
    const { identities, manual } = await bench(recordOf([keyOf(renewed), keyOf(agent)]));
    expect(await identities.still("a", agent.certificate.keySha256)).toEqual({ expiresAtMs: NOW_MS + 2 * HOUR_MS });
    await manual.advance(2 * HOUR_MS);
    expect(await identities.still("a", agent.certificate.keySha256)).toBeUndefined();
  });

  test("may not when it, its key or all of it is unknown or revoked", async () => {
    const { identities } = await bench(recordOf([keyOf(renewed), keyOf(agent, { revokedAtMs: NOW_MS })]));
    expect(await identities.still("b", agent.certificate.keySha256)).toBeUndefined();
    expect(await identities.still("a", "00")).toBeUndefined();
    expect(await identities.still("a", agent.certificate.keySha256)).toBeUndefined();
    await identities.revoke("a", ADMIN, FROM);
    expect(await identities.still("a", renewed.certificate.keySha256)).toBeUndefined();
  });

  test("may not by a certificate that was revoked, that is on the revocation list, or whose CA was retired", async () => {
    const keys = [keyOf(renewed, { revokedAtMs: NOW_MS }), keyOf(agent)];
    const { identities, trust } = await bench(recordOf(keys));
    const still = () => identities.still("a", agent.certificate.keySha256);
    expect(await still()).toEqual({ expiresAtMs: agent.certificate.notAfterMs });
    const isRevoked = (issuer: string, serial: string): boolean =>
      issuer === ca.certificate.keySha256 && serial === agent.certificate.serial;
    trust.change(stateOf([ca], { revocations: { size: 1, nextUpdateMs: undefined, isRevoked } }));
    expect(await still()).toBeUndefined();
    trust.change(stateOf([ca]));
    expect(await still()).toBeDefined();
    const next = await makeTestCa(NOW_MS);
    trust.change(stateOf([next, ca]));
    expect(await still()).toBeDefined();
    trust.change(stateOf([next]));
    expect(await still()).toBeUndefined();
    trust.change(stateOf([next, ca]));
    expect(await still()).toBeDefined();
  });
});

describe("identities", () => {
  test("are listed and shown without anything secret", async () => {
    const { identities } = await bench(recordOf([keyOf(agent, { revokedAtMs: NOW_MS })], { revokedAtMs: NOW_MS }));
    const view = {
      agent_id: "a",
      enrolled_at: "2026-01-01T00:00:00.000Z",
      enrolled_by: "token:t",
      labels: { site: "north" },
      revoked_at: "2026-01-01T00:00:00.000Z",
      certificates: [
        {
          serial: agent.certificate.serial,
          key_sha256: agent.certificate.keySha256,
          ca_key_sha256: ca.certificate.keySha256,
          issued_at: "2025-12-31T23:59:59.000Z",
          expires_at: "2026-01-01T01:00:00.000Z",
          revoked_at: "2026-01-01T00:00:00.000Z",
        },
      ],
    };
    expect(await identities.get("a")).toEqual(view);
    expect(await identities.list({ limit: 10 })).toEqual([view]);
    expect(await identities.list({ limit: 10, after: "a" })).toEqual([]);
    expect(await identities.get("b")).toBeUndefined();
  });

  test("are revoked once, with all their keys, by somebody whom the audit names", async () => {
    const { identities, documents, manual } = await bench(recordOf([keyOf(renewed), keyOf(agent, { revokedAtMs: NOW_MS - 5000 })]));
    const view = await identities.revoke("a", ADMIN, FROM);
    expect(view.revoked_at).toBe("2026-01-01T00:00:00.000Z");
    expect(view.certificates.map(({ revoked_at }) => revoked_at)).toEqual(["2026-01-01T00:00:00.000Z", "2025-12-31T23:59:55.000Z"]);
    await manual.advance(1000);
    expect((await identities.revoke("a", ADMIN, FROM)).revoked_at).toBe("2026-01-01T00:00:00.000Z");
    expect(documents.audit).toMatchObject([
      { action: "identity_revoked", principal: "token:boss", agentId: "a", remoteAddress: FROM.address },
    ]);
    expect(await codeOf(() => identities.revoke("nobody", ADMIN, FROM))).toBe("IDENTITY_NOT_FOUND");
  });
});
