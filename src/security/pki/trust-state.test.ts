import { beforeAll, describe, expect, test } from "bun:test";
import { SERVER_AUTH, CLIENT_AUTH } from "./certificate.ts";
import { findingsOf } from "./findings.ts";
import type { FileName, FoundFile, FoundFiles } from "./trust-files.ts";
import { renewedServer } from "./renew-server.ts";
import { type TrustState, readTrust, staleness, upwards } from "./trust-state.ts";
import { type Made, type Wanted, keyOf, makeCertificate, makeCrl, makeTestCa } from "./certificates-for-tests.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
const DAY_MS = 86_400_000;
let ca: Made;
let server: Made;

const serverOf = (wanted: Partial<Wanted> = {}): Promise<Made> =>
  makeCertificate({ by: ca, fromMs: NOW_MS, untilMs: NOW_MS + 300 * DAY_MS, usages: [SERVER_AUTH], names: ["cp"], ...wanted });

beforeAll(async () => {
  ca = await makeTestCa(NOW_MS, { untilMs: NOW_MS + 3000 * DAY_MS });
  server = await serverOf();
});

type Texts = { readonly [K in FileName]?: string | undefined };
function filesOf(texts: Texts, mode = 0o600): FoundFiles {
  const files: { [K in FileName]?: FoundFile } = {};
  for (const [name, text] of Object.entries({ ca: ca.pem, caKey: ca.keyPem, cert: server.pem, key: server.keyPem, ...texts }))
    if (text !== undefined) files[name as FileName] = { path: `/sec/${name}`, text, mode };
  return { files, digest: "" };
}
const read = (texts: Texts = {}): TrustState => readTrust(filesOf(texts));

describe("files are refused", () => {
  test("without a CA, and with half of the server's pair", () => {
    expect(() => read({ ca: undefined })).toThrow("there is no CA");
    expect(() => read({ key: undefined })).toThrow("/sec/cert is there without its key");
    expect(() => read({ cert: undefined })).toThrow("/sec/key is there without its certificate");
  });

  test("with what cannot be read", () => {
    for (const name of ["ca", "cert", "clientCa"] as const)
      expect(() => read({ [name]: "hello" })).toThrow(`/sec/${name} holds no PEM certificates`);
    expect(() => read({ ca: `${ca.pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n` })).toThrow(
      "holds no PEM certificates",
    );
    expect(() => read({ caKey: "hello" })).toThrow("/sec/caKey holds no private key that can be read");
    expect(() => read({ key: "hello" })).toThrow("/sec/key holds no private key that can be read");
    expect(() => read({ crl: "hello" })).toThrow("the revocation list /sec/crl cannot be used");
  });

  test("with a CA that is none, whose key is not for certificates, or that is too weak", async () => {
    expect(() => read({ ca: `${ca.pem}${server.pem}` })).toThrow("certificate 2 of /sec/ca is no CA's");
    const mute = await makeTestCa(NOW_MS, { keyUsage: ["cRLSign"] });
    expect(() => read({ ca: mute.pem })).toThrow("certificate 1 of /sec/ca is of a CA whose key is not for certificates");
    const weak = await makeTestCa(NOW_MS, { key: "rsa1024" });
    expect(() => read({ ca: weak.pem })).toThrow("certificate 1 of /sec/ca is too weak");
    expect(() => read({ clientCa: weak.pem })).toThrow("certificate 1 of /sec/clientCa is too weak");
  });

  test("with a CA that leads to no root in the file: TLS would believe nobody of it", async () => {
    const middle = await makeTestCa(NOW_MS, { by: ca });
    const lowest = await makeTestCa(NOW_MS, { by: middle });
    expect(() => read({ ca: `${ca.pem}${lowest.pem}` })).toThrow("certificate 2 of /sec/ca leads to no root in it");
    expect(() => read({ ca: middle.pem, caKey: undefined })).toThrow("certificate 1 of /sec/ca leads to no root in it");
    expect(read({ ca: `${lowest.pem}${middle.pem}${ca.pem}`, caKey: lowest.keyPem }).issuer?.chain).toEqual([lowest.pem, middle.pem]);
  });

  test("with keys that are of something else", () => {
    expect(() => read({ caKey: keyOf("p256") })).toThrow("/sec/caKey is the key of none of the CAs");
    expect(() => read({ key: keyOf("p256") })).toThrow("/sec/key is not the key of the first certificate of /sec/cert");
  });

  test("with a server certificate that is a CA's, for something else, or too weak", async () => {
    expect(() => read({ cert: ca.pem, key: ca.keyPem })).toThrow("the first certificate of /sec/cert is a CA's");
    const client = await serverOf({ usages: [CLIENT_AUTH] });
    expect(() => read({ cert: client.pem, key: client.keyPem })).toThrow("the first certificate of /sec/cert is not for servers");
    const weak = await serverOf({ key: "rsa1024" });
    expect(() => read({ cert: weak.pem, key: weak.keyPem })).toThrow("the first certificate of /sec/cert is too weak");
  });

  test("with a CA for people that issues for agents", async () => {
    expect(() => read({ clientCa: ca.pem })).toThrow("/sec/clientCa has a CA that issues for agents");
    // The same key under another name is the same CA.
    const again = await makeTestCa(NOW_MS, { key: { pem: ca.keyPem }, name: "another" });
    expect(() => read({ clientCa: again.pem })).toThrow("has a CA that issues for agents");
    const people = await makeTestCa(NOW_MS);
    expect(read({ clientCa: people.pem }).clientCas.map(({ sha256 }) => sha256)).toEqual([people.certificate.sha256]);
  });

  test("with hashes of tokens that are none, without telling what stands there", () => {
    const secret = "tpu_abcdefghijkl_secret";
    for (const name of ["adminTokens", "enrolmentTokens"] as const) {
      expect(() => read({ [name]: `# one\n\n${secret}\n` })).toThrow(`line 3 of /sec/${name} is not the hash of a token`);
      expect(() => read({ [name]: secret })).not.toThrow(secret);
    }
    expect(() => read({ enrolmentTokens: `${"a".repeat(12)}:${"0".repeat(64)}:1:%zz` })).toThrow("line 1");
  });
});

describe("files that fit together", () => {
  test("put the CA whose key is there first, whatever their order", async () => {
    const other = await makeTestCa(NOW_MS);
    const state = read({ ca: `${other.pem}${ca.pem}` });
    expect(state.cas.map(({ sha256 }) => sha256)).toEqual([ca.certificate.sha256, other.certificate.sha256]);
    expect(state.bundle.pins[0]).toBe(`sha256:${ca.certificate.keySha256}`);
  });

  test("of a CA between bring along what leads to its root", async () => {
    const middle = await makeTestCa(NOW_MS, { by: ca });
    const state = read({ ca: `${middle.pem}${ca.pem}`, caKey: middle.keyPem });
    expect(state.issuer?.chain).toEqual([middle.pem]);
    expect(read().issuer?.chain).toEqual([]);
  });

  test("bring along nothing else that stands beside the server's certificate", async () => {
    const middle = await makeTestCa(NOW_MS, { by: ca });
    expect(read({ cert: `${server.pem}${middle.pem}${ca.pem}` }).issuer?.chain).toEqual([]);
  });

  test("lead upwards to a root, and round no circle", async () => {
    const [one, two] = [await makeTestCa(NOW_MS), await makeTestCa(NOW_MS)];
    const [key, name] = [{ pem: two.keyPem }, two.certificate.x509.subject.slice(3)];
    const twoByOne = await makeTestCa(NOW_MS, { by: one, key, name });
    const oneByTwo = await makeTestCa(NOW_MS, { by: two, key: { pem: one.keyPem }, name: one.certificate.x509.subject.slice(3) });
    const way = (...of: readonly Made[]) =>
      upwards(
        (of[0] ?? one).certificate,
        of.map(({ certificate }) => certificate),
      ).length;
    expect([way(one), way(one, one), way(twoByOne, one), way(twoByOne)]).toEqual([1, 1, 2, 1]);
    expect(() => read({ ca: `${twoByOne.pem}${oneByTwo.pem}`, caKey: undefined })).toThrow("leads to no root");
  });

  test("have their server's usage left open", async () => {
    const vague = await makeCertificate({ by: ca, fromMs: NOW_MS, untilMs: NOW_MS + DAY_MS });
    expect(read({ cert: vague.pem, key: vague.keyPem }).server).toHaveLength(1);
  });

  test("read lines of hashes, comments and blanks", () => {
    const sha256 = "0a".repeat(32);
    expect(read({ adminTokens: `# mine\n\n abcdefABCDEF:${sha256} \n` }).adminTokens).toEqual([{ id: "abcdefABCDEF", sha256 }]);
  });

  test("have revocation lists of people's CAs too", async () => {
    const people = await makeTestCa(NOW_MS);
    const crl = await makeCrl(people, { serials: ["07"], fromMs: NOW_MS });
    expect(read({ clientCa: people.pem, crl }).revocations.isRevoked(people.certificate.keySha256, "7")).toBe(true);
    expect(() => read({ crl })).toThrow("no CA that is trusted here has signed it");
  });

  test("are stale before and after their time", async () => {
    expect(staleness(read(), NOW_MS + DAY_MS)).toBeUndefined();
    expect([NOW_MS, NOW_MS + 300 * DAY_MS].map((nowMs) => staleness(read(), nowMs))).toEqual([undefined, undefined]);
    expect(staleness(read({ cert: undefined, key: undefined }), NOW_MS)).toBeUndefined();
    expect(staleness(read(), NOW_MS + 301 * DAY_MS)).toBe("the server's certificate has run out");
    expect(staleness(read(), NOW_MS + 3001 * DAY_MS)).toBe("the CA has run out");
    expect(staleness(read(), NOW_MS - DAY_MS)).toBe("the CA is not valid yet");
    const early = await serverOf({ fromMs: NOW_MS + DAY_MS });
    expect(staleness(read({ cert: early.pem, key: early.keyPem }), NOW_MS)).toBe("the server's certificate is not valid yet");
  });
});

describe("findings", () => {
  function findings(texts: Texts = {}, nowMs = NOW_MS, mode = 0o600): string[] {
    const found = filesOf(texts, mode);
    return findingsOf(readTrust(found), found, { nowMs, leftAsTheyWere: false, names: [] })
      .filter(({ level }) => level !== "ok")
      .map(({ level, name, message }) => `${level} ${name}: ${message}`);
  }

  test("are none where all is well", () => {
    expect(findings()).toEqual([]);
  });

  test("tell what runs out soon, has run out, or is not valid yet", () => {
    expect(findings({}, NOW_MS + 271 * DAY_MS)).toEqual([
      expect.stringContaining("warning server certificate: the server's certificate runs out at"),
    ]);
    expect(findings({}, NOW_MS + 270 * DAY_MS)).toEqual([]);
    expect(findings({}, NOW_MS + 300 * DAY_MS)).toEqual([expect.stringContaining("warning server certificate")]);
    expect(findings({}, NOW_MS + 301 * DAY_MS)).toEqual([
      expect.stringContaining("error server certificate: the server's certificate ran out at"),
    ]);
    expect(findings({}, NOW_MS - DAY_MS)).toEqual([
      expect.stringContaining("error ca: the CA is not valid yet"),
      expect.stringContaining("error server certificate: the server's certificate is not valid yet"),
    ]);
  });

  test("warn of short certificates in their last tenth", async () => {
    const short = await serverOf({ untilMs: NOW_MS + 10_000 });
    const texts = { cert: short.pem, key: short.keyPem };
    expect(findings(texts, NOW_MS + 8_000)).toEqual([]);
    expect(findings(texts, NOW_MS + 9_500)).toEqual([expect.stringContaining("warning server certificate")]);
  });

  test("tell which CA runs out, and where agents' certificates come from", async () => {
    const second = await makeTestCa(NOW_MS, { untilMs: NOW_MS + DAY_MS });
    expect(findings({ ca: `${ca.pem}${second.pem}` }, NOW_MS + 2 * DAY_MS)).toEqual([expect.stringContaining("error ca: CA 2 ran out at")]);
    for (const caKey of [ca.keyPem, undefined]) {
      const found = filesOf({ caKey });
      const named = findingsOf(readTrust(found), found, { nowMs: NOW_MS, leftAsTheyWere: false, names: [] }).some(
        ({ name }) => name === "enrolment",
      );
      expect(named).toBe(caKey === undefined);
    }
  });

  test("tell who may read the keys", () => {
    expect(findings({}, NOW_MS, 0o640)).toEqual([
      "warning ca key: /sec/caKey can be read by its group; chmod 600 it",
      "warning server key: /sec/key can be read by its group; chmod 600 it",
    ]);
    expect(findings({ caKey: undefined }, NOW_MS, 0o604)).toEqual([
      "error server key: /sec/key can be read by everybody on this machine; chmod 600 it",
    ]);
  });

  test("tell of a server certificate without a name, or of another CA", async () => {
    const nameless = await serverOf({ names: [] });
    expect(findings({ cert: nameless.pem, key: nameless.keyPem })).toEqual([
      "warning server certificate: it names no host; clients will refuse it",
    ]);
    const foreign = await serverOf({ by: await makeTestCa(NOW_MS) });
    expect(findings({ cert: foreign.pem, key: foreign.keyPem })).toEqual([expect.stringContaining("none of the CAs here has issued it")]);
  });

  test("tell of a revocation list that should have been replaced", async () => {
    const crl = await makeCrl(ca, { serials: [], fromMs: NOW_MS, nextUpdateMs: NOW_MS + 5000 });
    expect(findings({ crl }, NOW_MS + 5000)).toEqual([]);
    expect(findings({ crl }, NOW_MS + 6000)).toEqual([
      expect.stringContaining("error revocation list: it should have been replaced by 2026-01-01T00:00:05"),
    ]);
  });
});

test("a server's certificate is renewed from the last third of its time on, where there is one and its CA is here", async () => {
  const own = await serverOf({ untilMs: NOW_MS + 3_000 });
  const state = read({ cert: own.pem, key: own.keyPem });
  expect(await renewedServer(state, NOW_MS + 1_999)).toBeUndefined();
  expect(await renewedServer(state, NOW_MS + 2_000)).toContain("BEGIN CERTIFICATE");
  expect(await renewedServer(read({ cert: undefined, key: undefined }), NOW_MS + 2_000)).toBeUndefined();
  expect(await renewedServer(read({ cert: own.pem, key: own.keyPem, caKey: undefined }), NOW_MS + 2_000)).toBeUndefined();
});

test("a server's certificate that ends with its CA is not renewed: another one would end then, too", async () => {
  const ends = NOW_MS + 3000 * DAY_MS;
  const lasting = await serverOf({ untilMs: ends });
  expect(await renewedServer(read({ cert: lasting.pem, key: lasting.keyPem }), ends - 1_000)).toBeUndefined();
  const shorter = await serverOf({ untilMs: ends - 1_000 });
  expect(await renewedServer(read({ cert: shorter.pem, key: shorter.keyPem }), ends - 2_000)).toContain("BEGIN CERTIFICATE");
});

test("of a certificate that lives long it is said a month before that it ends", async () => {
  const lasting = await serverOf({ untilMs: NOW_MS + 1000 * DAY_MS });
  const files = filesOf({ cert: lasting.pem, key: lasting.keyPem });
  const levelAt = (daysLeft: number): string | undefined =>
    findingsOf(readTrust(files), files, { nowMs: NOW_MS + (1000 - daysLeft) * DAY_MS, leftAsTheyWere: false, names: [] }).find(
      ({ message }) => message.startsWith("the server's"),
    )?.level;
  expect([31, 30, 29].map(levelAt)).toEqual(["ok", "ok", "warning"]);
});
