import { beforeAll, describe, expect, test } from "bun:test";
import { CLIENT_AUTH, SERVER_AUTH } from "./certificate.ts";
import { type ChainQuery, verifyChain } from "./chain.ts";
import { NO_REVOCATIONS } from "./crl.ts";
import { type Made, type Wanted, makeCertificate, makeTestAgent, makeTestCa } from "./certificates-for-tests.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
let ca: Made;

beforeAll(async () => {
  ca = await makeTestCa(NOW_MS);
});

function ask(leaf: Made, more: Partial<ChainQuery> = {}): string {
  const result = verifyChain({
    leaf: leaf.certificate,
    others: [],
    anchors: [ca.certificate],
    revocations: NO_REVOCATIONS,
    nowMs: NOW_MS,
    usage: CLIENT_AUTH,
    ...more,
  });
  return result.ok ? `ok ${result.path.length}` : `${result.fault}: ${result.message}`;
}

const agent = (wanted: Partial<Wanted> = {}): Promise<Made> => makeTestAgent(ca, "a", NOW_MS, wanted);
/** Of an agent below a CA between. */
async function below(middle: Partial<Wanted>, root: Made = ca): Promise<{ readonly leaf: Made; readonly middle: Made }> {
  const made = await makeTestCa(NOW_MS, { by: root, ...middle });
  return { leaf: await makeTestAgent(made, "a", NOW_MS), middle: made };
}

describe("a certificate is believed", () => {
  test("when a CA that is trusted has issued it", async () => {
    expect(ask(await agent())).toBe("ok 2");
  });

  test.each(["p384", "rsa2048", "ed25519"] as const)("with a key of the kind %s", async (key) => {
    expect(ask(await agent({ key }))).toBe("ok 2");
  });

  test.each(["p384", "p521", "rsa2048", "ed25519"] as const)("when its CA has a key of the kind %s", async (key) => {
    const hash = key === "p521" ? "SHA-512" : key === "p384" ? "SHA-384" : "SHA-256";
    const other = await makeTestCa(NOW_MS, { key, hash });
    expect(ask(await makeTestAgent(other, "a", NOW_MS, { hash }), { anchors: [other.certificate] })).toBe("ok 2");
  });

  test("without any word on what its key is for", async () => {
    const { keyUsage: _, ...wanted } = { fromMs: NOW_MS, untilMs: NOW_MS + 1000, by: ca, usages: [CLIENT_AUTH], keyUsage: [] };
    expect(ask(await makeCertificate(wanted))).toBe("ok 2");
  });

  test("when a CA between comes along, and not without it", async () => {
    const { leaf, middle } = await below({});
    expect(ask(leaf, { others: [middle.certificate] })).toBe("ok 3");
    expect(ask(leaf)).toStartWith("untrusted");
  });

  test("when a CA between is what is trusted", async () => {
    const { leaf, middle } = await below({});
    expect(ask(leaf, { anchors: [middle.certificate] })).toBe("ok 2");
  });

  test("in its first and in its last moment, and within the grace that is asked for", async () => {
    const leaf = await agent({ fromMs: NOW_MS, untilMs: NOW_MS + 10_000 });
    expect(ask(leaf, { nowMs: NOW_MS })).toBe("ok 2");
    expect(ask(leaf, { nowMs: NOW_MS + 10_000 })).toBe("ok 2");
    expect(ask(leaf, { nowMs: NOW_MS + 15_000, graceMs: 5_000 })).toBe("ok 2");
  });

  test("when another CA of the same name did not issue it", async () => {
    const namesake = await makeTestCa(NOW_MS, { name: ca.certificate.x509.subject.slice(3) });
    expect(ask(await agent(), { anchors: [namesake.certificate, ca.certificate] })).toBe("ok 2");
  });

  test("when one of two ways up is good", async () => {
    const key = { pem: (await makeTestCa(NOW_MS)).keyPem };
    const name = "middle";
    const late = await makeTestCa(NOW_MS, { by: ca, key, name, untilMs: NOW_MS - 500 });
    const good = await makeTestCa(NOW_MS, { by: ca, key, name });
    const leaf = await makeTestAgent(good, "a", NOW_MS);
    expect(ask(leaf, { others: [late.certificate, good.certificate] })).toBe("ok 3");
    expect(ask(leaf, { others: [late.certificate] })).toStartWith("expired: a CA on the way ran out");
  });

  test("when the first way up leads nowhere", async () => {
    const key = { pem: (await makeTestCa(NOW_MS)).keyPem };
    const name = "middle";
    const [astray, good] = [
      await makeTestCa(NOW_MS, { by: await makeTestCa(NOW_MS), key, name }),
      await makeTestCa(NOW_MS, { by: ca, key, name }),
    ];
    const leaf = await makeTestAgent(good, "a", NOW_MS);
    expect(ask(leaf, { others: [astray.certificate, good.certificate] })).toBe("ok 3");
    expect(ask(leaf, { others: [astray.certificate] })).toStartWith("untrusted");
  });

  test("in the first and in the last moment of its CA", async () => {
    const short = await makeTestCa(NOW_MS, { fromMs: NOW_MS, untilMs: NOW_MS + 10_000 });
    const leaf = await makeTestAgent(short, "a", NOW_MS);
    for (const nowMs of [NOW_MS, NOW_MS + 10_000]) expect(ask(leaf, { anchors: [short.certificate], nowMs })).toBe("ok 2");
  });

  test("for any usage of a CA between that says so", async () => {
    for (const usages of [["2.5.29.37.0"], [CLIENT_AUTH, SERVER_AUTH]]) {
      const { leaf, middle } = await below({ usages });
      expect(ask(leaf, { others: [middle.certificate] })).toBe("ok 3");
    }
  });
});

describe("a certificate is refused", () => {
  const leaves: readonly (readonly [string, Partial<Wanted>, string])[] = [
    ["that is not valid yet", { fromMs: NOW_MS + 1000 }, "not_yet"],
    ["that has run out", { untilMs: NOW_MS - 1000, fromMs: NOW_MS - 5000 }, "expired"],
    ["for servers only", { usages: [SERVER_AUTH] }, "usage: it is not for this usage"],
    ["for anything", { usages: ["2.5.29.37.0"] }, "usage: it is not for this usage"],
    ["whose key is for something else", { keyUsage: ["keyEncipherment"] }, "usage: its key is not for signatures"],
    ["that is a CA's", { ca: true }, "not_end"],
    ["with an RSA key of 1024 bits", { key: "rsa1024" }, "weak"],
    ["of a curve that is not taken", { key: "p521" }, "weak"],
    ["that is signed with SHA-1", { hash: "SHA-1" }, "weak: it is signed by an algorithm"],
    ["with a critical extension that nobody knows", { extra: [{ oid: "1.2.3.4", critical: true }] }, "critical"],
  ];
  test.each(leaves)("%s", async (_name, wanted, expected) => {
    expect(ask(await agent(wanted))).toStartWith(expected);
  });

  test("not for an extension that may be passed over", async () => {
    expect(ask(await agent({ extra: [{ oid: "1.2.3.4", critical: false }] }))).toBe("ok 2");
  });

  test("that says nothing of its usage", async () => {
    expect(ask(await makeCertificate({ by: ca, fromMs: NOW_MS, untilMs: NOW_MS + 1000 }))).toStartWith("usage");
  });

  test("beyond the grace", async () => {
    const leaf = await agent({ fromMs: NOW_MS, untilMs: NOW_MS + 10_000 });
    expect(ask(leaf, { nowMs: NOW_MS + 15_001, graceMs: 5_000 })).toStartWith("expired");
  });

  test("of another CA, even one of the same name", async () => {
    const stranger = await makeTestCa(NOW_MS, { name: ca.certificate.x509.subject.slice(3) });
    expect(ask(await makeTestAgent(stranger, "a", NOW_MS))).toStartWith("untrusted");
  });

  test("that signed itself", async () => {
    expect(ask(await makeCertificate({ fromMs: NOW_MS, untilMs: NOW_MS + 1000, usages: [CLIENT_AUTH] }))).toStartWith("untrusted");
  });

  test("of another agent's certificate", async () => {
    const other = await agent({ keyUsage: ["digitalSignature", "keyCertSign"] });
    expect(ask(await makeTestAgent(other, "b", NOW_MS), { others: [other.certificate] })).toBe(
      "untrusted: it was issued by one that is no CA",
    );
    expect(ask(await makeTestAgent(other, "b", NOW_MS), { anchors: [other.certificate] })).toStartWith("untrusted");
  });

  test("on the revocation list, by the key of who issued it", async () => {
    const leaf = await agent();
    const { serial } = leaf.certificate;
    const listed = { isRevoked: (issuer: string, one: string) => issuer === ca.certificate.keySha256 && one === serial };
    expect(ask(leaf, { revocations: listed })).toBe("revoked: it is on the revocation list");
    expect(ask(leaf, { revocations: { isRevoked: (issuer, one) => issuer !== ca.certificate.keySha256 && one === serial } })).toBe("ok 2");
  });

  test("when a CA between is on the revocation list", async () => {
    const { leaf, middle } = await below({});
    const revocations = { isRevoked: (_issuer: string, serial: string) => serial === middle.certificate.serial };
    expect(ask(leaf, { others: [middle.certificate], revocations })).toBe("revoked: a CA on the way is on the revocation list");
  });
});

describe("a CA on the way is refused", () => {
  const middles: readonly (readonly [string, Partial<Wanted>, string])[] = [
    ["that is none", { ca: false }, "untrusted: it was issued by one that is no CA"],
    ["that is not valid yet", { fromMs: NOW_MS + 1000 }, "not_yet: a CA on the way"],
    ["that has run out", { fromMs: NOW_MS - 5000, untilMs: NOW_MS - 1000 }, "expired: a CA on the way"],
    ["for another usage", { usages: [SERVER_AUTH] }, "usage: a CA on the way"],
    ["with an RSA key of 1024 bits", { key: "rsa1024" }, "weak"],
    ["with a critical extension that nobody knows", { extra: [{ oid: "2.5.29.30", critical: true }] }, "critical"],
    ["that is signed with SHA-1", { hash: "SHA-1" }, "weak: it is signed by an algorithm"],
  ];
  test.each(middles)("%s", async (_name, wanted, expected) => {
    const { leaf, middle } = await below(wanted);
    expect(ask(leaf, { others: [middle.certificate] })).toStartWith(expected);
  });

  test("whose key is not for certificates", async () => {
    const { leaf, middle } = await below({ keyUsage: ["digitalSignature"] });
    expect(ask(leaf, { others: [middle.certificate] })).toBe("untrusted: it was issued by a CA whose key is not for certificates");
  });

  test("when a CA above it allows none below", async () => {
    const root = await makeTestCa(NOW_MS, { ca: 0 });
    const { leaf, middle } = await below({}, root);
    expect(ask(leaf, { anchors: [root.certificate], others: [middle.certificate] })).toBe(
      "untrusted: a CA on the way must not have that many below it",
    );
    expect(ask(await makeTestAgent(root, "a", NOW_MS), { anchors: [root.certificate] })).toBe("ok 2");
  });

  test("when it ran out, though the agent has a grace", async () => {
    const short = await makeTestCa(NOW_MS, { untilMs: NOW_MS + 5_000 });
    const leaf = await makeTestAgent(short, "a", NOW_MS, { untilMs: NOW_MS + 5_000 });
    expect(ask(leaf, { anchors: [short.certificate], nowMs: NOW_MS + 6_000, graceMs: 60_000 })).toStartWith("expired: a CA");
  });

  test("when there are too many of them", async () => {
    let top = ca;
    const others: Made[] = [];
    for (let depth = 0; depth < 6; depth += 1) {
      top = await makeTestCa(NOW_MS, { by: top });
      others.push(top);
      const leaf = await makeTestAgent(top, "a", NOW_MS);
      const outcome = ask(leaf, { others: others.map(({ certificate }) => certificate) });
      expect(outcome.startsWith("ok")).toBe(depth < 4);
    }
  });

  test("when finding the way would take too many signatures", async () => {
    // Many of one name, none of which signed it: each has to be tried.
    const name = "many";
    const leafCa = await makeTestCa(NOW_MS, { name, by: ca });
    const decoys = await Promise.all(Array.from({ length: 33 }, () => makeTestCa(NOW_MS, { name, by: ca })));
    const leaf = await makeTestAgent(leafCa, "a", NOW_MS);
    const order = [...decoys, leafCa].map(({ certificate }) => certificate);
    expect(ask(leaf, { others: order })).toStartWith("untrusted");
    expect(ask(leaf, { others: order.toReversed() })).toBe("ok 3");
    // One for each that is tried, and one for the way on from there.
    expect(ask(leaf, { others: order.slice(-31) })).toBe("ok 3");
    expect(ask(leaf, { others: order.slice(-32) })).toStartWith("untrusted");
    // Others' names are no work.
    const { leaf: another, middle } = await below({});
    expect(ask(another, { others: [...order, middle.certificate] })).toBe("ok 3");
  });
});
