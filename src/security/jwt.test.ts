import { describe, expect, test } from "bun:test";
import { CompactSign } from "jose";
import { manualPorts } from "../kit/mod.ts";
import { testIssuer } from "./issuer-for-tests.ts";
import { checkIssuerUrl } from "./issuer-keys.ts";
import { checkAlgorithms, claimedIssuer, looksLikeJwt, verifyJwt } from "./jwt.ts";
import { codeOf } from "./parts-for-tests.ts";

async function bench(jwks?: string) {
  const manual = manualPorts();
  const issuer = await testIssuer(manual);
  const rules = { issuer: issuer.url, audience: "transporter", algorithms: ["ES256", "RS256"], keys: issuer.keys(jwks) };
  const nowS = Math.floor(manual.ports.clock.now() / 1000);
  const why = async (token: string, more: Partial<typeof rules> = {}): Promise<string> => {
    const outcome = await verifyJwt(token, { ...rules, ...more }, manual.ports.clock.now());
    return "why" in outcome ? outcome.why : "ok";
  };
  return { manual, issuer, rules, nowS, why };
}

describe("a JWT", () => {
  test("with everything right is believed", async () => {
    const { manual, issuer, rules, why } = await bench();
    const token = await issuer.sign();
    expect(await verifyJwt(token, rules, manual.ports.clock.now())).toStrictEqual({
      payload: { ...issuer.claims, exp: issuer.claims.exp ?? 0 },
    });
    expect(await why(await issuer.sign({ aud: ["other", "transporter"] }))).toBe("ok");
    for (const typ of ["JWT", "at+jwt", "AT+JWT", "application/at+jwt"]) expect(await why(await issuer.sign({}, { typ }))).toBe("ok");
  });

  test("of another audience is refused", async () => {
    const { issuer, why } = await bench();
    expect(await why(await issuer.sign({ aud: "other" }))).toBe("wrong audience");
    expect(await why(await issuer.sign({ aud: ["other"] }))).toBe("wrong audience");
    expect(await why(await issuer.sign({ aud: undefined }))).toBe("wrong audience");
  });

  test("of another issuer is refused, though the key is right", async () => {
    const { issuer, why } = await bench();
    expect(await why(await issuer.sign({ iss: "https://other.example.com" }))).toBe("wrong issuer");
    expect(await why(await issuer.sign({ iss: `${issuer.url}/` }))).toBe("wrong issuer");
    expect(await why(await issuer.sign({ iss: undefined }))).toBe("wrong issuer");
  });

  test("by an algorithm that is not pinned is refused, though key and signature are right", async () => {
    const { issuer, why } = await bench();
    await issuer.addKey("k2", "ES384");
    expect(await why(await issuer.sign({}, { kid: "k2" }))).toBe("wrong algorithm");
    expect(await why(await issuer.sign({}, { kid: "k2" }), { algorithms: ["ES384"] })).toBe("ok");
  });

  test("with no algorithm is refused", async () => {
    const { issuer, why } = await bench();
    for (const alg of ["none", "None", "NONE", ""]) {
      const refused = await why(issuer.unsigned({ alg, kid: "k1" }));
      expect(["wrong algorithm", "malformed"]).toContain(refused);
      const pinned = await why(issuer.unsigned({ alg, kid: "k1" }), { algorithms: [alg] });
      expect(pinned).not.toBe("ok");
    }
  });

  test("signed by HS256 with the public key as secret is refused, even where somebody pinned HS256", async () => {
    const { issuer, why } = await bench();
    expect(await why(await issuer.signWithPublicKey("k1"))).toBe("wrong algorithm");
    expect(await why(await issuer.signWithPublicKey("k1"), { algorithms: ["HS256", "ES256"] })).not.toBe("ok");
  });

  test("signed with a symmetric key that stands in the set is refused, as everybody can read it", async () => {
    const { issuer, why } = await bench();
    const secret = new TextEncoder().encode("a secret that is not one any more");
    issuer.published.set("s", { kty: "oct", kid: "s", alg: "HS256", k: Buffer.from(secret).toString("base64url") });
    const token = await new CompactSign(Buffer.from(JSON.stringify(issuer.claims)))
      .setProtectedHeader({ alg: "HS256", kid: "s" })
      .sign(secret);
    expect(await why(token)).toBe("wrong algorithm");
    expect(await why(token, { algorithms: ["HS256"] })).not.toBe("ok");
  });

  test("signed with a key that is there to encrypt is refused", async () => {
    const { issuer, why } = await bench();
    const jwk = issuer.published.get("k1");
    issuer.published.set("k1", { ...jwk, use: "enc" });
    expect(await why(await issuer.sign())).toBe("unknown key");
  });

  test("that ran out, or does not count yet, is refused but for ten seconds", async () => {
    const { issuer, nowS, why } = await bench();
    expect(await why(await issuer.sign({ exp: nowS - 9 }))).toBe("ok");
    expect(await why(await issuer.sign({ exp: nowS - 10 }))).toBe("expired");
    expect(await why(await issuer.sign({ nbf: nowS + 10 }))).toBe("ok");
    expect(await why(await issuer.sign({ nbf: nowS + 11 }))).toBe("not valid yet");
    expect(await why(await issuer.sign({ exp: undefined }))).toBe("malformed");
  });

  test("of another type is refused: whoever is told to log somebody out must not log in with it", async () => {
    const { issuer, why } = await bench();
    expect(await why(await issuer.sign({}, { typ: "logout+jwt" }))).toBe("wrong type");
    expect(await why(await issuer.sign({}, { typ: "dpop+jwt" }))).toBe("wrong type");
  });

  test("with a changed letter is refused", async () => {
    const { issuer, why } = await bench();
    const [header = "", , signature = ""] = (await issuer.sign()).split(".");
    const claims = Buffer.from(JSON.stringify({ ...issuer.claims, groups: ["root"] })).toString("base64url");
    expect(await why(`${header}.${claims}.${signature}`)).toBe("wrong signature");
  });

  test("without a key id is refused where it could be several", async () => {
    const { issuer, why } = await bench();
    const token = await issuer.sign({}, { kid: undefined });
    expect(await why(token)).toBe("ok");
    await issuer.addKey("k2");
    const other = await bench();
    await other.issuer.addKey("k2");
    expect(await other.why(await other.issuer.sign({}, { kid: undefined }))).toBe("ambiguous key");
  });

  test("that is none is refused before anything is fetched", async () => {
    const { issuer, why } = await bench();
    for (const token of ["", "a.b", "a.b.c.d", "a b.c.d", "ä.b.c", `${"a".repeat(16_384)}.b.c`]) expect(await why(token)).toBe("malformed");
    expect(issuer.asked).toStrictEqual([]);
    expect(await why("a.b.c")).toBe("malformed");
    expect(looksLikeJwt(await issuer.sign())).toBe(true);
    expect(looksLikeJwt(`${"a".repeat(16_380)}.b.c`)).toBe(true);
    expect(looksLikeJwt(`${"a".repeat(16_381)}.b.c`)).toBe(false);
  });

  test("says who issued it, to whoever wants to know whom to ask", async () => {
    const { issuer } = await bench();
    expect(claimedIssuer(await issuer.sign())).toBe(issuer.url);
    for (const token of ["", "a", "a.!.c", `a.${btoa("null")}.c`, `a.${btoa("[]")}.c`, `a.${btoa('{"iss":1}')}.c`]) {
      expect(claimedIssuer(token)).toBeUndefined();
    }
  });
});

describe("algorithms", () => {
  test.each([
    [["RS256", "PS512", "ES384", "EdDSA", "Ed25519"], "ok"],
    [["none"], "CONFIG_INVALID"],
    [["RS256", "HS256"], "CONFIG_INVALID"],
    [["rs256"], "CONFIG_INVALID"],
    [[], "CONFIG_INVALID"],
  ] as const)("%p: %s", async (algorithms, expected) => {
    expect(await codeOf(() => checkAlgorithms(algorithms))).toBe(expected);
  });
});

describe("an issuer's keys", () => {
  test("are found by its discovery document, once for many", async () => {
    const { issuer, why } = await bench();
    const token = await issuer.sign();
    await Promise.all([why(token), why(token), why(token)]);
    expect(await why(token)).toBe("ok");
    expect(issuer.asked).toStrictEqual([`${issuer.url}/.well-known/openid-configuration`, "https://keys.example.com/jwks"]);
  });

  test("are found at an address or in a file that was named", async () => {
    for (const jwks of ["https://elsewhere.example.com/keys", "/etc/keys.json"]) {
      const { issuer, why } = await bench(jwks);
      expect(await why(await issuer.sign())).toBe("ok");
      expect(issuer.asked).toStrictEqual([jwks.startsWith("/") ? `file ${jwks}` : jwks]);
    }
  });

  test("are not taken from a discovery document of another issuer, nor from an address that anybody could answer for", async () => {
    const { manual, issuer, why } = await bench();
    const token = await issuer.sign();
    for (const discovery of [
      { issuer: "https://evil.example.com", jwks_uri: "https://keys.example.com/jwks" },
      { issuer: issuer.url, jwks_uri: "http://keys.example.com/jwks" },
      { issuer: issuer.url },
      {},
    ]) {
      issuer.discovery = discovery;
      expect(await codeOf(() => why(token))).toBe("ISSUER_UNAVAILABLE");
      await manual.advance(5_000);
    }
    expect(issuer.asked.every((address) => address.includes(".well-known"))).toBe(true);
  });

  test("are asked for again when one is not among them, at most every thirty seconds", async () => {
    const { manual, issuer, why } = await bench("https://k.example.com");
    expect(await why(await issuer.sign())).toBe("ok");
    await issuer.addKey("k2");
    const rotated = await issuer.sign({}, { kid: "k2" });
    expect(await why(rotated)).toBe("unknown key");
    await manual.advance(29_999);
    expect(await why(rotated)).toBe("unknown key");
    expect(issuer.asked).toHaveLength(1);
    await manual.advance(1);
    expect(await why(rotated)).toBe("ok");
    expect(issuer.asked).toHaveLength(2);
    await issuer.addKey("made-up");
    issuer.published.delete("made-up");
    const unknown = await issuer.sign({}, { kid: "made-up" });
    for (let count = 0; count < 20; count += 1) expect(await why(unknown)).toBe("unknown key");
    expect(issuer.asked).toHaveLength(2);
    await manual.advance(30_000);
    expect(await Promise.all([why(unknown), why(unknown)])).toStrictEqual(["unknown key", "unknown key"]);
    expect(issuer.asked).toHaveLength(3);
  });

  test("are asked for once by all who lack the same one, and each gets it", async () => {
    const { manual, issuer, why } = await bench("https://k.example.com");
    await why(await issuer.sign());
    await issuer.addKey("k2");
    await manual.advance(30_000);
    const rotated = await issuer.sign({}, { kid: "k2" });
    expect(await Promise.all([why(rotated), why(rotated)])).toStrictEqual(["ok", "ok"]);
    expect(issuer.asked).toHaveLength(2);
  });

  test("are not asked for again because of a token that is wrong otherwise, nor where others asked already", async () => {
    const { manual, issuer, rules, why } = await bench("https://k.example.com");
    const old = await rules.keys.get();
    await manual.advance(60_000);
    expect(await why(await issuer.sign({ aud: "other" }))).toBe("wrong audience");
    expect(issuer.asked).toHaveLength(1);
    await manual.advance(540_000);
    const newer = await rules.keys.get();
    await manual.advance(60_000);
    expect(await rules.keys.newerThan(old)).toBe(newer);
    expect(issuer.asked).toHaveLength(2);
  });

  test("by discovery count for ten minutes, and a slash at the issuer's end is no second one", async () => {
    const manual = manualPorts();
    const issuer = await testIssuer(manual, "https://id.example.com/tenant/");
    const keys = issuer.keys();
    await keys.get();
    await manual.advance(599_999);
    await keys.get();
    expect(issuer.asked).toStrictEqual(["https://id.example.com/tenant/.well-known/openid-configuration", "https://keys.example.com/jwks"]);
  });

  test("go when they leave the set", async () => {
    const { manual, issuer, why } = await bench("https://k.example.com");
    const token = await issuer.sign();
    expect(await why(token)).toBe("ok");
    await issuer.addKey("k2");
    issuer.published.delete("k1");
    await manual.advance(599_999);
    expect(await why(token)).toBe("ok");
    await manual.advance(1);
    expect(await why(token)).toBe("unknown key");
  });

  test("of a file are read again every ten seconds", async () => {
    const { manual, issuer, why } = await bench("/etc/keys.json");
    const token = await issuer.sign();
    expect(await why(token)).toBe("ok");
    issuer.published.delete("k1");
    await manual.advance(10_000);
    expect(await why(token)).toBe("unknown key");
    await issuer.addKey("k3");
    await manual.advance(10_000);
    expect(await why(await issuer.sign({}, { kid: "k3" }))).toBe("ok");
  });

  test("go on for a day while the issuer is away, and no longer", async () => {
    const { manual, issuer, why } = await bench("https://k.example.com");
    const token = await issuer.sign({ exp: Number(issuer.claims.exp) + 200_000 });
    expect(await why(token)).toBe("ok");
    issuer.failure = new Error("away");
    await manual.advance(600_000);
    expect(await why(token)).toBe("ok");
    expect(await why(token)).toBe("ok");
    expect(issuer.asked).toHaveLength(2);
    await manual.advance(86_400_000 - 600_001);
    expect(await why(token)).toBe("ok");
    await manual.advance(1);
    expect(await codeOf(() => why(token))).toBe("ISSUER_UNAVAILABLE");
    issuer.failure = undefined;
    expect(await codeOf(() => why(token))).toBe("ISSUER_UNAVAILABLE");
    await manual.advance(5_000);
    expect(await why(token)).toBe("ok");
  });

  test("that are too many are not taken", async () => {
    const { manual, issuer, why } = await bench("https://k.example.com");
    const token = await issuer.sign();
    const jwk = issuer.published.get("k1") ?? {};
    for (let count = 0; count < 100; count += 1) issuer.published.set(`x${count}`, { ...jwk, kid: `x${count}` });
    expect(await codeOf(() => why(token))).toBe("ISSUER_UNAVAILABLE");
    issuer.published.delete("x0");
    await manual.advance(5_000);
    expect(await why(token)).toBe("ok");
  });

  test.each([
    ["https://id.example.com", "ok"],
    ["http://localhost:8080", "ok"],
    ["http://127.0.0.1", "ok"],
    ["http://[::1]:1", "ok"],
    ["http://id.example.com", "CONFIG_INVALID"],
    ["http://127.0.0.1.example.com", "CONFIG_INVALID"],
    ["http://localhost.example.com", "CONFIG_INVALID"],
    ["file:///etc/passwd", "CONFIG_INVALID"],
    ["ftp://localhost", "CONFIG_INVALID"],
    ["", "CONFIG_INVALID"],
  ])("are fetched from %s: %s", async (url, expected) => {
    expect(await codeOf(() => checkIssuerUrl(url))).toBe(expected);
  });

  test("are not fetched from where they could be anybody's", async () => {
    const manual = manualPorts();
    const wrong = await testIssuer(manual, "http://id.example.com");
    expect(await codeOf(() => wrong.keys())).toBe("CONFIG_INVALID");
    expect(await codeOf(() => wrong.keys("http://keys.example.com"))).toBe("CONFIG_INVALID");
    expect(await codeOf(() => wrong.keys("/keys.json"))).toBe("ok");
  });
});
