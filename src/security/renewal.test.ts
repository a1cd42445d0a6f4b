import { beforeAll, describe, expect, test } from "bun:test";
import { renewalStatement } from "../protocol/mod.ts";
import { createEnrolment } from "./enrolment.ts";
import { createIdentities } from "./identities.ts";
import { identityRecords } from "./identity-records.ts";
import { ADMIN, FROM, codeOf, testParts } from "./parts-for-tests.ts";
import { readCertificates } from "./pki/certificate.ts";
import { csrSha256, makeCsr, makeKey, readCsr } from "./pki/csr.ts";
import { signText } from "./pki/signature.ts";
import { stateOf, trustForTests } from "./pki/trust-for-tests.ts";
import { type Made, makeTestAgent, makeTestCa } from "./pki/certificates-for-tests.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
const HOUR_MS = 3_600_000;
let ca: Made;
let agent: Made;

beforeAll(async () => {
  ca = await makeTestCa(NOW_MS, { untilMs: NOW_MS + 100 * HOUR_MS });
  agent = await makeTestAgent(ca, "a", NOW_MS, { untilMs: NOW_MS + HOUR_MS });
});

async function bench(options: { readonly issues?: boolean; readonly known?: boolean; readonly approveByHand?: boolean } = {}) {
  const parts = testParts();
  const trust = trustForTests(stateOf([ca], { issues: options.issues ?? true }));
  const { keySha256, serial, notAfterMs } = agent.certificate;
  const caKey = ca.certificate.keySha256;
  const key = { keySha256, serial, issuerKeySha256: caKey, anchorKeySha256: caKey, issuedAtMs: NOW_MS, expiresAtMs: notAfterMs };
  if (options.known ?? true)
    await identityRecords(parts).make("a", { enrolledAtMs: NOW_MS, enrolledBy: "token:t", labels: { site: "north" }, keys: [key] });
  const enrolment = createEnrolment({
    parts,
    trust,
    tokens: { find: async () => ({ why: "unknown", id: undefined }), bind: async () => false },
    clusters: { claims: () => false, verify: async () => ({ why: "unknown issuer" }) },
    certificateTtlMs: HOUR_MS,
    renewalGraceMs: 2 * HOUR_MS,
    approveByHand: options.approveByHand ?? false,
    agentUrls: [],
  });
  return { ...parts, trust, enrolment, identities: createIdentities({ parts, trust }) };
}

interface Change {
  readonly made?: Made;
  readonly signer?: string;
  readonly said?: Partial<Parameters<typeof renewalStatement>[0]>;
  readonly csr?: string;
  readonly certificate?: string;
}

function renew({ enrolment }: Awaited<ReturnType<typeof bench>>, nextKey: string, change: Change = {}) {
  const { made = agent } = change;
  const csr = change.csr ?? makeCsr(nextKey);
  const statement = renewalStatement({
    certificateSha256: made.certificate.sha256,
    csrSha256: csrSha256(makeCsr(nextKey)),
    ...change.said,
  });
  const exact =
    change.csr === undefined && change.said === undefined
      ? renewalStatement({ certificateSha256: made.certificate.sha256, csrSha256: csrSha256(csr) })
      : statement;
  const signature = signText(exact, change.signer ?? made.keyPem);
  return enrolment.renew({ certificate: change.certificate ?? made.pem, csr, signature }, FROM);
}

const keyOf = (key: string): string => readCsr(makeCsr(key)).keySha256;

describe("an agent renews", () => {
  test("by its old key, for a new one, and both are its own", async () => {
    const here = await bench({ approveByHand: true });
    await here.manual.advance(HOUR_MS / 2);
    const next = makeKey();
    const answer = await renew(here, next);
    expect(answer).toMatchObject({ status: "issued", audience: "installation-1", expires_at: "2026-01-01T01:30:00.000Z" });
    const [certificate] = readCertificates(answer.certificate ?? "") ?? [];
    expect(certificate?.keySha256).toBe(keyOf(next));
    expect(certificate?.uris).toEqual(["transporter://agent/a"]);
    const view = await here.identities.get("a");
    expect(view?.certificates.map(({ key_sha256 }) => key_sha256)).toEqual([keyOf(next), agent.certificate.keySha256]);
    expect(view).toMatchObject({ labels: { site: "north" }, enrolled_by: "token:t" });
    expect(await here.identities.still("a", agent.certificate.keySha256)).toEqual({ expiresAtMs: NOW_MS + 1.5 * HOUR_MS });
    expect(here.documents.audit.at(-1)).toMatchObject({ action: "agent_renewed", principal: "agent:a", agentId: "a" });
  });

  test("with the key that it has", async () => {
    const here = await bench();
    const answer = await renew(here, agent.keyPem);
    expect(answer.status).toBe("issued");
    expect((await here.identities.get("a"))?.certificates).toHaveLength(1);
  });

  test("again where the answer was lost", async () => {
    const here = await bench();
    const next = makeKey();
    await renew(here, next);
    await renew(here, next);
    expect((await here.identities.get("a"))?.certificates).toHaveLength(2);
  });

  test("within the grace after its certificate ran out, and not beyond", async () => {
    const here = await bench();
    await here.manual.advance(3 * HOUR_MS);
    expect((await renew(here, makeKey())).status).toBe("issued");
    const late = await bench();
    await late.manual.advance(3 * HOUR_MS + 1);
    expect(await codeOf(() => renew(late, makeKey()))).toBe("IDENTITY_EXPIRED");
  });

  test("without end, and only what still counts is remembered", async () => {
    const here = await bench();
    let made = agent;
    for (let round = 0; round < 8; round += 1) {
      const key = makeKey();
      const { certificate = "" } = await renew(here, key, { made });
      const [next] = readCertificates(certificate) ?? [];
      if (next === undefined) throw new Error("no certificate");
      made = { certificate: next, pem: certificate, keyPem: key };
      await here.manual.advance(HOUR_MS);
    }
    const kept = (await here.identities.get("a"))?.certificates ?? [];
    expect(kept.length).toBeLessThan(5);
    expect(kept[0]?.key_sha256).toBe(made.certificate.keySha256);
  });
});

describe("a renewal is refused", () => {
  const refusals: readonly (readonly [string, () => Promise<Change>, string])[] = [
    ["when another key has signed", async () => ({ signer: makeKey() }), "IDENTITY_REFUSED"],
    ["when another request was signed", async () => ({ said: { csrSha256: "00" } }), "IDENTITY_REFUSED"],
    ["when another certificate was signed", async () => ({ said: { certificateSha256: "00" } }), "IDENTITY_REFUSED"],
    ["when somebody changed the request on the way", async () => ({ csr: makeCsr(makeKey()), said: {} }), "IDENTITY_REFUSED"],
    ["when the certificate cannot be read", async () => ({ certificate: "hello" }), "IDENTITY_REFUSED"],
    [
      "when the certificate is of another CA",
      async () => ({ made: await makeTestAgent(await makeTestCa(NOW_MS), "a", NOW_MS) }),
      "IDENTITY_REFUSED",
    ],
    ["when the key is not known as this agent's", async () => ({ made: await makeTestAgent(ca, "a", NOW_MS) }), "IDENTITY_REFUSED"],
    ["when the agent is not known at all", async () => ({ made: await makeTestAgent(ca, "b", NOW_MS) }), "IDENTITY_REFUSED"],
  ];
  test.each(refusals)("%s, and it stands in the audit", async (_name, change, code) => {
    const here = await bench();
    expect(await codeOf(async () => renew(here, makeKey(), await change()))).toBe(code);
    expect(here.documents.audit.at(-1)).toMatchObject({ action: "renewal_refused", remoteAddress: FROM.address, details: { code } });
    expect((await here.identities.get("a"))?.certificates).toHaveLength(1);
  });

  test("and names no agent where nobody knows whose it is", async () => {
    const here = await bench();
    await codeOf(() => renew(here, makeKey(), { certificate: "hello" }));
    const [line] = here.documents.audit;
    expect(Object.keys(line ?? {})).toContain("remoteAddress");
    expect(Object.keys(line ?? {})).not.toContain("agentId");
  });

  test("when the request is none", async () => {
    const here = await bench();
    const renewal = here.enrolment.renew({ certificate: agent.pem, csr: "hello", signature: "" }, FROM);
    expect(await codeOf(() => renewal)).toBe("INVALID_CSR");
    expect(here.documents.audit.at(-1)).toMatchObject({ action: "renewal_refused", agentId: "a", details: { code: "INVALID_CSR" } });
  });

  test("when the identity was revoked, or the certificate is on the revocation list", async () => {
    const here = await bench();
    await here.identities.revoke("a", ADMIN, FROM);
    expect(await codeOf(() => renew(here, makeKey()))).toBe("IDENTITY_REVOKED");
    const listed = await bench();
    listed.trust.change(stateOf([ca], { revocations: { size: 1, nextUpdateMs: undefined, isRevoked: () => true } }));
    expect(await codeOf(() => renew(listed, makeKey()))).toBe("IDENTITY_REVOKED");
  });

  test("when it is revoked while the certificate is being made", async () => {
    const here = await bench();
    const renewal = codeOf(() => renew(here, makeKey()));
    await here.identities.revoke("a", ADMIN, FROM);
    expect(await renewal).toBe("IDENTITY_REVOKED");
    expect((await here.identities.get("a"))?.certificates).toHaveLength(1);
  });

  test("for a key that was revoked", async () => {
    const here = await bench();
    const lost = makeKey();
    await renew(here, lost);
    await identityRecords(here).change("a", (record) => ({
      record: { ...record, keys: record.keys.map((key) => (key.keySha256 === keyOf(lost) ? { ...key, revokedAtMs: NOW_MS } : key)) },
    }));
    expect(await codeOf(() => renew(here, lost))).toBe("IDENTITY_REVOKED");
    expect((await renew(here, makeKey())).status).toBe("issued");
  });

  test("where nothing issues here", async () => {
    expect(await codeOf(async () => renew(await bench({ issues: false }), makeKey()))).toBe("ENROLMENT_DISABLED");
  });

  test("after too many that failed, and after very many that did not", async () => {
    const here = await bench();
    for (let index = 0; index < 20; index += 1)
      await codeOf(() => renew(here, makeKey(), { signer: agent.keyPem, said: { csrSha256: "00" } }));
    expect(await codeOf(() => renew(here, makeKey()))).toBe("TOO_MANY_ATTEMPTS");
    const busy = await bench();
    const next = makeKey();
    for (let index = 0; index < 99; index += 1) busy.signings.take(FROM.address);
    expect(await codeOf(() => renew(busy, next))).toBe("ok");
    expect(await codeOf(() => renew(busy, next))).toBe("TOO_MANY_ATTEMPTS");
  });
});
