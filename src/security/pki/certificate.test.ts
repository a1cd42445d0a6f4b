import { describe, expect, test } from "bun:test";
import { createPrivateKey, createPublicKey, sign } from "node:crypto";
import { channelOf, isIssuedBy, pinOf, readCertificates, readExtensions } from "./certificate.ts";
import { makeKey } from "./csr.ts";
import {
  TAG,
  childrenOf,
  elementAt,
  encode,
  expectTag,
  integerHex,
  oidText,
  serialText,
  signedParts,
  timeMs,
  wholeElement,
} from "./der.ts";
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

  test("of the first version, which tells no version and has no extensions, is read with its names", () => {
    const keyPem = makeKey();
    const algorithm = encode(TAG.sequence, hex("06 08 2a 86 48 ce 3d 04 03 02"));
    const name = (text: string): Uint8Array =>
      encode(TAG.sequence, encode(0x31, encode(TAG.sequence, hex("06 03 55 04 03"), encode(0x0c, Buffer.from(text)))));
    const [issuer, subject] = [name("issuer"), name("subject")];
    const dates = ["260101000000Z", "270101000000Z"].map((text) => encode(TAG.utcTime, Buffer.from(text)));
    const spki = createPublicKey(createPrivateKey(keyPem)).export({ type: "spki", format: "der" });
    const body = encode(TAG.sequence, hex("02 01 05"), algorithm, issuer, encode(TAG.sequence, ...dates), subject, spki);
    const signature = encode(TAG.bitString, hex("00"), sign("sha256", body, keyPem));
    const der = Buffer.from(encode(TAG.sequence, body, algorithm, signature)).toString("base64");
    expect(readCertificates(`-----BEGIN CERTIFICATE-----\n${der}\n-----END CERTIFICATE-----`)).toMatchObject([
      {
        issuer: Buffer.from(issuer).toString("hex"),
        subject: Buffer.from(subject).toString("hex"),
        serial: "5",
        selfSigned: false,
        ca: false,
        unknownCritical: [],
      },
    ]);
  });

  test.each([
    ["30 03 01 01 ff", true, undefined],
    ["30 03 01 01 00", false, undefined],
    ["30 06 01 01 00 02 01 01", false, 1],
    ["30 03 02 01 01", false, 1],
    ["30 00", false, undefined],
  ])("with the constraints %s is a CA's: %p", async (constraints, ca, pathLength) => {
    const extra = [{ oid: "2.5.29.19", critical: true, value: hex(constraints) }];
    const { certificate } = await makeCertificate({ fromMs: NOW_MS, untilMs: NOW_MS + 1000, extra });
    expect([certificate.ca, certificate.pathLength]).toEqual([ca, pathLength]);
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

describe("extensions", () => {
  const read = (...entries: string[]) => {
    const bytes = encode(TAG.sequence, ...entries.map((entry) => encode(TAG.sequence, hex(entry))));
    return [...readExtensions(bytes, wholeElement(bytes, TAG.sequence)).values()].map(({ oid, critical, value }) => [
      oid,
      critical,
      Buffer.from(value).toString("hex"),
    ]);
  };

  test("are critical where they say so", () => {
    expect(read("06 01 2a 04 01 07", "06 01 2b 01 01 ff 04 01 08", "06 01 2c 01 01 00 04 01 09")).toEqual([
      ["1.2", false, "07"],
      ["1.3", true, "08"],
      ["1.4", false, "09"],
    ]);
  });

  test("are refused where one is there twice, has no name or has no value", () => {
    expect(() => read("06 01 2a 04 01 07", "06 01 2a 04 01 08")).toThrow("an extension is there twice");
    expect(() => read("")).toThrow("tag 6 is missing");
    expect(() => read("04 01 07 04 01 07")).toThrow("tag 6 is missing");
    expect(() => read("06 01 2a")).toThrow("tag 4 is missing");
    expect(() => read("06 01 2a 01 01 ff")).toThrow("tag 4 is missing");
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
    [`30 82 00 80${"00".repeat(128)}`, "a length is written longer than it has to be"],
    ["30 84 7f ff ff ff", "it is cut off"],
  ])("%j is refused: %s", (bytes, message) => {
    expect(() => elementAt(hex(bytes), 0, hex(bytes).length)).toThrow(message);
  });

  test("ends within what it stands in, whatever comes behind that", () => {
    const bytes = hex("30 01 05 00 00");
    expect(() => childrenOf(bytes, elementAt(bytes, 0, bytes.length))).toThrow("it is cut off");
  });

  test("of what is signed has three parts, and a signature of whole bytes", () => {
    const [body, algorithm, signature] = [hex("30 00"), hex("30 03 06 01 2a"), hex("03 02 00 07")];
    const parts = (...of: Uint8Array[]) => signedParts(encode(TAG.sequence, ...of));
    expect(parts(body, algorithm, signature)).toMatchObject({ algorithm: "1.2", signature: Buffer.from("07", "hex") });
    expect(() => parts(body, algorithm, signature, hex("05 00"))).toThrow("something stands behind the signature");
    expect(() => parts(body, algorithm, hex("03 02 01 07"))).toThrow("the signature has no known form");
    expect(() => parts(body, hex("30 00"), signature)).toThrow("tag 6 is missing");
    expect(() => parts(hex("05 00"), algorithm, signature)).toThrow("tag 48 is missing");
    expect(() => parts(body, algorithm)).toThrow("tag 3 is missing");
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
    expect(read("06 04 2a 81 80 00", oidText)).toBe("1.2.16384");
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
