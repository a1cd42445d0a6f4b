import { describe, expect, test } from "bun:test";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { CLIENT_AUTH, SERVER_AUTH, readCertificates } from "./certificate.ts";
import { verifyChain } from "./chain.ts";
import { NO_REVOCATIONS } from "./crl.ts";
import { makeKey } from "./csr.ts";
import { type Issuer, crossSign, issueAgent, issueServer, makeCa } from "./issue.ts";
import { type KeyKind, type Made, keyOf, makeTestCa } from "./certificates-for-tests.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00.700Z");
const HOUR_MS = 3_600_000;

const issuerOf = (ca: Made): Issuer => ({ certificate: ca.certificate, key: createPrivateKey(ca.keyPem), chain: [] });
const publicKey = createPublicKey(createPrivateKey(makeKey()));
const agentOf = (by: Issuer, ttlMs = HOUR_MS) => issueAgent(by, { publicKey, agentId: "ä/b", nowMs: NOW_MS, ttlMs });

describe("what is issued", () => {
  test("counts from a little before, in whole seconds, and as long as was asked for", async () => {
    const certificate = await agentOf((await makeCa(NOW_MS - HOUR_MS)).issuer);
    expect([certificate.notBeforeMs, certificate.notAfterMs]).toEqual([
      Date.parse("2025-12-31T23:55:00Z"),
      Date.parse("2026-01-01T01:00:00Z"),
    ]);
  });

  test("counts neither before its CA nor after it", async () => {
    const ca = await makeTestCa(NOW_MS, { fromMs: NOW_MS - 10_700, untilMs: NOW_MS + 20_300 });
    const certificate = await agentOf(issuerOf(ca));
    expect(certificate.notBeforeMs).toBe(ca.certificate.notBeforeMs);
    expect(certificate.notAfterMs).toBe(ca.certificate.notAfterMs);
  });

  test("has a serial number that nobody can guess, positive and not longer than allowed", async () => {
    const { issuer } = await makeCa(NOW_MS);
    const serials = await Promise.all(Array.from({ length: 8 }, async () => (await agentOf(issuer)).serial));
    expect(new Set(serials).size).toBe(8);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9a-f]{31}$/);
  });

  test("to an agent is a client and nothing else", async () => {
    expect(await agentOf((await makeCa(NOW_MS)).issuer)).toMatchObject({
      ca: false,
      keyUsage: { digitalSignature: true, certSign: false, crlSign: false },
      extendedKeyUsage: [CLIENT_AUTH],
      uris: ["transporter://agent/%C3%A4%2Fb"],
      names: [],
      unknownCritical: [],
    });
  });

  test("to a server is a server and nothing else", async () => {
    const { issuer } = await makeCa(NOW_MS);
    expect(await issueServer(issuer, { publicKey, names: ["cp", "127.0.0.1"], nowMs: NOW_MS, ttlMs: HOUR_MS })).toMatchObject({
      ca: false,
      keyUsage: { digitalSignature: true, certSign: false, crlSign: false },
      extendedKeyUsage: [SERVER_AUTH],
      uris: [],
      names: ["cp", "127.0.0.1"],
    });
  });

  test.each(["p256", "p384", "p521", "rsa2048", "ed25519"] as const)("leads to a CA with a key of the kind %s", async (kind: KeyKind) => {
    const hash = kind === "p521" ? "SHA-512" : kind === "p384" ? "SHA-384" : "SHA-256";
    const ca = await makeTestCa(NOW_MS, { key: kind, hash });
    const leaf = await agentOf(issuerOf(ca), 1000);
    const query = { leaf, others: [], anchors: [ca.certificate], revocations: NO_REVOCATIONS, nowMs: NOW_MS, usage: CLIENT_AUTH };
    expect(verifyChain(query).ok).toBe(true);
  });

  test("is nothing where the CA's key cannot sign here", async () => {
    const ca = await makeTestCa(NOW_MS);
    for (const kind of ["x25519", "p224"] as const)
      expect(await agentOf({ ...issuerOf(ca), key: createPrivateKey(keyOf(kind)) }).catch((error: Error) => error.message)).toContain(
        "cannot sign here",
      );
  });
});

test("a CA without a name has no cross-certificate", async () => {
  const nameless = await makeTestCa(NOW_MS, { subject: [["O", "Example"]] });
  const { issuer } = await makeCa(NOW_MS);
  expect(await crossSign(nameless.certificate, issuer, NOW_MS).catch((error: Error) => error.message)).toBe("the new CA has no name (CN)");
});

test("a cross-certificate has the new CA's name and key, and vouches for nobody below it", async () => {
  const [old, next] = [(await makeCa(NOW_MS)).issuer, (await makeCa(NOW_MS)).issuer];
  const [crossed] = readCertificates(await crossSign(next.certificate, old, NOW_MS)) ?? [];
  expect(crossed).toMatchObject({
    subject: next.certificate.subject,
    keySha256: next.certificate.keySha256,
    issuer: old.certificate.subject,
    ca: true,
    pathLength: 0,
    selfSigned: false,
  });
  expect(crossed?.notAfterMs).toBeLessThanOrEqual(old.certificate.notAfterMs);
});
