import { describe, expect, test } from "bun:test";
import { channelOf, isIssuedBy, pinOf, readCertificates } from "./certificate.ts";
import { TAG, childrenOf, elementAt, encode, expectTag, integerHex, oidText, serialText, timeMs, wholeElement } from "./der.ts";
import { makeCertificate, makeTestAgent, makeTestCa } from "./certificates-for-tests.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(" ", ""), "hex");

describe("a certificate", () => {
  test("is read with all that is asked of it", async () => {
    const made = await makeCertificate({
      fromMs: NOW_MS,
      untilMs: NOW_MS + 1000,
      ca: 3,
      keyUsage: ["keyCertSign"],
      usages: ["1.3.6.1.5.5.7.3.2", "2.999.1"],
      uris: ["https://example.com/a,b"],
      names: ["example.com", "192.0.2.1", "::1"],
      extra: [
        { oid: "1.2.3", critical: true },
        { oid: "1.2.4", critical: false },
      ],
      serial: "0000ab",
    });
    const [found] = readCertificates(made.pem) ?? [];
    expect(found).toMatchObject({
      pem: made.pem,
      serial: "ab",
      notBeforeMs: NOW_MS,
      notAfterMs: NOW_MS + 1000,
      selfSigned: true,
      signatureAlgorithm: "1.2.840.10045.4.3.2",
      ca: true,
      pathLength: 3,
      keyUsage: { digitalSignature: false, certSign: true, crlSign: false },
      extendedKeyUsage: ["1.3.6.1.5.5.7.3.2", "2.999.1"],
      uris: ["https://example.com/a,b"],
      names: ["example.com", "192.0.2.1", "0000:0000:0000:0000:0000:0000:0000:0001"],
      unknownCritical: ["1.2.3"],
    });
    expect(found?.sha256).toBe(found?.x509.fingerprint256.replaceAll(":", "").toLowerCase() ?? "");
    expect(found === undefined ? "" : pinOf(found)).toBe(`sha256:${found?.keySha256}`);
    expect(found === undefined ? "" : channelOf(found)).toBe(`tls-server-end-point:${found?.sha256}`);
  });

  test("that says nothing has nothing", async () => {
    const { certificate } = await makeCertificate({ fromMs: NOW_MS, untilMs: NOW_MS + 1000 });
    expect(certificate).toMatchObject({
      ca: false,
      pathLength: undefined,
      keyUsage: undefined,
      extendedKeyUsage: undefined,
      uris: [],
      names: [],
    });
  });

  test("signed itself only if its name and its key did", async () => {
    const ca = await makeTestCa(NOW_MS);
    const name = ca.certificate.x509.subject.slice(3);
    const namesake = await makeTestCa(NOW_MS, { by: ca, name });
    expect([ca.certificate.selfSigned, namesake.certificate.selfSigned]).toEqual([true, false]);
    const again = await makeTestCa(NOW_MS, { by: ca, key: { pem: ca.keyPem } });
    expect(again.certificate.selfSigned).toBe(false);
  });

  test("is issued by who signed it under that name", async () => {
    const ca = await makeTestCa(NOW_MS);
    const { certificate } = await makeTestAgent(ca, "a", NOW_MS);
    const otherName = await makeTestCa(NOW_MS, { key: { pem: ca.keyPem } });
    const otherKey = await makeTestCa(NOW_MS, { name: ca.certificate.x509.subject.slice(3) });
    expect([ca, otherName, otherKey].map((one) => isIssuedBy(certificate, one.certificate))).toEqual([true, false, false]);
  });
});

describe("certificates in a text", () => {
  test("are all found, whatever stands between them", async () => {
    const [one, two] = [await makeTestCa(NOW_MS), await makeTestCa(NOW_MS)];
    expect(readCertificates(`first\n${one.pem}\nsecond ${two.pem} end`)?.map(({ sha256 }) => sha256)).toEqual([
      one.certificate.sha256,
      two.certificate.sha256,
    ]);
    expect(readCertificates("nothing")).toEqual([]);
  });

  test("are none where one of them cannot be read, or there are too many", async () => {
    const { pem } = await makeTestCa(NOW_MS);
    expect(readCertificates(`${pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----`)).toBeUndefined();
    expect(readCertificates(`${pem}-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----`)).toBeUndefined();
    expect(readCertificates(`${pem}-----BEGIN CERTIFICATE-----`)).toBeUndefined();
    expect(readCertificates(pem.repeat(3), 2)).toBeUndefined();
    expect(readCertificates(pem.repeat(2), 2)).toHaveLength(2);
  });
});

describe("DER", () => {
  test.each([
    ["", "it is cut off"],
    ["30", "it is cut off"],
    ["30 02 00", "it is cut off"],
    ["1f 81 00 00", "a tag has several bytes"],
    ["30 80 00 00", "a length has no known form"],
    ["30 85 00 00 00 00 01 00", "a length has no known form"],
    ["30 81 05 00 00 00 00 00", "a length is written longer than it has to be"],
    ["30 82 00 05 00 00 00 00 00", "a length is written longer than it has to be"],
    ["30 84 7f ff ff ff", "it is cut off"],
  ])("%j is refused: %s", (bytes, message) => {
    expect(() => elementAt(hex(bytes), 0, hex(bytes).length)).toThrow(message);
  });

  test("has nothing behind its end, and the tag that is wanted", () => {
    expect(() => wholeElement(hex("30 00 00"), TAG.sequence)).toThrow("something stands behind its end");
    expect(() => wholeElement(hex("30 00"), TAG.integer)).toThrow("tag 2 is missing");
    expect(() => expectTag(undefined, TAG.integer)).toThrow("tag 2 is missing");
  });

  test("is written as it is read, at every length of lengths", () => {
    for (const length of [0, 1, 127, 128, 255, 256, 65_535, 65_536]) {
      const bytes = encode(TAG.octetString, new Uint8Array(length));
      const { from, to } = wholeElement(bytes, TAG.octetString);
      expect([to - from, to]).toEqual([length, bytes.length]);
    }
    const pair = encode(TAG.sequence, encode(TAG.integer, hex("01")), encode(TAG.integer, hex("02")));
    expect(childrenOf(pair, wholeElement(pair, TAG.sequence)).map((element) => integerHex(pair, element))).toEqual(["1", "2"]);
  });

  test("reads object identifiers, numbers and times", () => {
    const read = <T>(text: string, how: (bytes: Uint8Array, element: ReturnType<typeof elementAt>) => T): T =>
      how(hex(text), elementAt(hex(text), 0, hex(text).length));
    expect(read("06 03 2a 03 04", oidText)).toBe("1.2.3.4");
    expect(read("06 03 88 37 01", oidText)).toBe("2.999.1");
    expect(read("06 01 05", oidText)).toBe("0.5");
    expect(() => read("06 0a ff ff ff ff ff ff ff ff ff 7f", oidText)).toThrow("too long");
    expect(() => read("02 01 00", oidText)).toThrow("tag 6");
    expect(() => read("04 01 00", integerHex)).toThrow("tag 2");
    expect(["00ff", "0", "000", "AB", ""].map(serialText)).toEqual(["ff", "0", "0", "ab", ""]);
    const time = (tag: string, text: string): number => {
      const bytes = encode(Number.parseInt(tag, 16), Buffer.from(text));
      return timeMs(bytes, elementAt(bytes, 0, bytes.length));
    };
    expect(time("17", "260101000000Z")).toBe(NOW_MS);
    expect(time("17", "491231235959Z")).toBe(Date.UTC(2049, 11, 31, 23, 59, 59));
    expect(time("17", "500101000000Z")).toBe(Date.UTC(1950, 0, 1));
    expect(time("18", "20260101000000Z")).toBe(NOW_MS);
    for (const [tag, text] of [
      ["17", "20260101000000Z"],
      ["18", "260101000000Z"],
      ["17", "2601010000Z"],
      ["18", "20260101000000.5Z"],
      ["17", "260101000000+0100"],
    ])
      expect(() => time(tag ?? "", text ?? "")).toThrow("a time has no known form");
    expect(() => time("04", "260101000000Z")).toThrow("a time is missing");
  });
});
