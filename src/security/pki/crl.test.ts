import { beforeAll, describe, expect, test } from "bun:test";
import { sign } from "node:crypto";
import { type Revocations, readRevocations } from "./crl.ts";
import { TAG, encode } from "./der.ts";
import { type Made, makeCrl, makeTestAgent, makeTestCa } from "./certificates-for-tests.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
let ca: Made;
let other: Made;

beforeAll(async () => {
  [ca, other] = await Promise.all([makeTestCa(NOW_MS), makeTestCa(NOW_MS)]);
});

const list = (by: Made, more: Partial<Parameters<typeof makeCrl>[1]> = {}): Promise<string> =>
  makeCrl(by, { serials: ["0a01", "00ff"], fromMs: NOW_MS, nextUpdateMs: NOW_MS + 5000, ...more });
const read = (pem: string, cas: readonly Made[] = [ca, other]): Revocations =>
  readRevocations(
    pem,
    cas.map(({ certificate }) => certificate),
    "crl.pem",
  );

const VERSION = encode(TAG.integer, Uint8Array.of(1));
const THIS_UPDATE = encode(TAG.utcTime, Buffer.from("260101000000Z"));
const entries = (...serials: readonly string[]): Uint8Array =>
  encode(TAG.sequence, ...serials.map((serial) => encode(TAG.sequence, encode(TAG.integer, Buffer.from(serial, "hex")), THIS_UPDATE)));

/** A list that `ca` signed, with these parts, among which the algorithm and the issuer come after the version. */
function handMade(parts: readonly Uint8Array[]): string {
  const algorithm = encode(TAG.sequence, Buffer.from("06082a8648ce3d040302", "hex"));
  const [version, rest] = parts[0] === VERSION ? [[VERSION], parts.slice(1)] : [[], parts];
  const body = encode(TAG.sequence, ...version, algorithm, encode(TAG.sequence), ...rest);
  const signature = encode(TAG.bitString, Uint8Array.of(0), sign("sha256", body, ca.keyPem));
  const text = Buffer.from(encode(TAG.sequence, body, algorithm, signature)).toString("base64");
  return `-----BEGIN X509 CRL-----\n${text}\n-----END X509 CRL-----\n`;
}

describe("a revocation list", () => {
  test("names serial numbers of its own issuer", async () => {
    const found = read(await list(ca));
    const issuer = ca.certificate.keySha256;
    expect([found.isRevoked(issuer, "a01"), found.isRevoked(issuer, "ff"), found.isRevoked(issuer, "a02")]).toEqual([true, true, false]);
    expect(found.isRevoked(other.certificate.keySha256, "a01")).toBe(false);
    expect(found.size).toBe(2);
    expect(found.nextUpdateMs).toBe(NOW_MS + 5000);
  });

  test("names a certificate the way the certificate names itself", async () => {
    for (const serial of ["0001", "7f", "00ff00ff", "40000000000000000001"]) {
      const { certificate } = await makeTestAgent(ca, "a", NOW_MS, { serial });
      const found = read(await list(ca, { serials: [serial] }));
      expect(found.isRevoked(ca.certificate.keySha256, certificate.serial)).toBe(true);
    }
  });

  test("may be empty, and without a next one", async () => {
    const found = read(await makeCrl(ca, { serials: [], fromMs: NOW_MS }));
    expect([found.size, found.nextUpdateMs]).toEqual([0, undefined]);
  });

  test("may stand beside others; the next that is due is the first of all", async () => {
    const found = read(
      `${await list(ca, { nextUpdateMs: NOW_MS + 9000 })}${await list(other, { serials: ["05"], nextUpdateMs: NOW_MS + 3000 })}`,
    );
    expect(found.isRevoked(ca.certificate.keySha256, "a01")).toBe(true);
    expect(found.isRevoked(other.certificate.keySha256, "5")).toBe(true);
    expect(found.isRevoked(other.certificate.keySha256, "a01")).toBe(false);
    expect(found.nextUpdateMs).toBe(NOW_MS + 3000);
  });

  test("may have extensions that can be passed over", async () => {
    const extra = [{ oid: "2.5.29.20", critical: false }];
    expect(read(await list(ca, { extra, entryExtra: extra })).size).toBe(2);
  });

  test("may be of the first version, and name times after 2049", () => {
    const cases: readonly (readonly [string, readonly Uint8Array[], string])[] = [
      ["a first version", [THIS_UPDATE], "0"],
      ["a second version", [VERSION, THIS_UPDATE], "0"],
      ["a late time", [encode(TAG.generalizedTime, Buffer.from("20500101000000Z")), entries("07")], "1"],
      ["a next time", [THIS_UPDATE, THIS_UPDATE, entries("07", "08")], "2"],
      ["no time", [entries("07")], "it has no date"],
      ["nothing", [], "it has no date"],
      ["no list of extensions", [THIS_UPDATE, encode(0xa0)], "tag 48 is missing"],
    ];
    for (const [name, parts, expected] of cases) {
      let outcome: string;
      try {
        outcome = String(read(handMade(parts)).size);
      } catch (error) {
        outcome = (error as Error).message;
      }
      expect(`${name}: ${outcome}`).toContain(expected);
    }
  });

  test("is refused with a critical extension, which would change what it means", async () => {
    const extra = [{ oid: "2.5.29.28", critical: true }];
    const [whole, entry] = await Promise.all([list(ca, { extra }), list(ca, { entryExtra: extra })]);
    expect(() => read(whole)).toThrow("critical extension that is not understood (2.5.29.28)");
    expect(() => read(entry)).toThrow("critical extension that is not understood (2.5.29.28)");
  });

  test("is refused where nobody who is trusted has signed it", async () => {
    const text = await list(ca);
    expect(() => read(text, [other])).toThrow("no CA that is trusted here has signed it");
    expect(() => read(text, [])).toThrow("no CA");
  });

  test("is refused where its CA's key is not for revocation lists", async () => {
    const mute = await makeTestCa(NOW_MS, { keyUsage: ["keyCertSign"] });
    const text = await list(mute);
    expect(() => read(text, [mute])).toThrow("no CA that is trusted here has signed it");
    const vague = await makeTestCa(NOW_MS, { key: { pem: mute.keyPem }, keyUsage: ["keyCertSign", "cRLSign"] });
    expect(read(text, [vague]).size).toBe(2);
  });

  test("is refused when it was changed", async () => {
    const text = await list(ca);
    const bytes = Buffer.from(text.replace(/-----[^-]+-----|\s/g, ""), "base64");
    for (let at = 0; at < bytes.length; at += 3) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      expect(() => read(`-----BEGIN X509 CRL-----\n${changed.toString("base64")}\n-----END X509 CRL-----\n`)).toThrow("cannot be used");
    }
  });

  test("is refused where it is none", () => {
    expect(() => read("hello")).toThrow("no PEM block of an X509 CRL");
    expect(() => read(ca.pem)).toThrow("no PEM block of an X509 CRL");
    expect(() => read("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")).toThrow("cannot be used");
    expect(() => read("-----BEGIN X509 CRL-----\n\n-----END X509 CRL-----\n")).toThrow("cannot be used");
  });
});
