import { describe, expect, test } from "bun:test";
import { type KeyObject, createPrivateKey, createPublicKey, createSign, sign } from "node:crypto";
import { isKnownSignature, keyProblem, keySha256, signText, verifySigned, verifyText } from "./signature.ts";
import { type KeyKind, keyOf } from "./certificates-for-tests.ts";

const publicOf = (pem: string): KeyObject => createPublicKey(createPrivateKey(pem));
const TAKEN: readonly KeyKind[] = ["p256", "p384", "rsa2048", "ed25519"];

describe("a signed text", () => {
  test.each(TAKEN)("is of its key (%s), and of no other text, key or signature", (kind) => {
    const [key, other] = [keyOf(kind), keyOf(kind)];
    const signature = signText("statement", key);
    expect(verifyText("statement", signature, publicOf(key))).toBe(true);
    expect(verifyText("statement ", signature, publicOf(key))).toBe(false);
    expect(verifyText("statement", signature, publicOf(other))).toBe(false);
    expect(verifyText("statement", signText("statement", other), publicOf(key))).toBe(false);
    for (const none of ["", "AAAA", "A".repeat(100_000)]) expect(verifyText("statement", none, publicOf(key))).toBe(false);
  });

  test.each(["rsa1024", "p521", "p224"] as const)("is refused where the key is not taken (%s)", (kind) => {
    const key = keyOf(kind);
    expect(verifyText("statement", signText("statement", key), publicOf(key))).toBe(false);
  });

  test("is refused by a key that cannot sign at all", () => {
    expect(verifyText("statement", "AAAA", publicOf(keyOf("x25519")))).toBe(false);
  });

  test("is refused with another digest", () => {
    const key = keyOf("rsa2048");
    const signature = sign("sha1", Buffer.from("statement"), key).toString("base64");
    expect(verifyText("statement", signature, publicOf(key))).toBe(false);
    expect(verifyText("statement", createSign("sha512").update("statement").sign(key, "base64"), publicOf(key))).toBe(false);
  });

  test("has one spelling only", () => {
    const key = keyOf("rsa2048");
    const signature = signText("statement", key);
    for (const other of [
      `${signature}\n`,
      `${signature}====`,
      ` ${signature}`,
      signature.replace(/=+$/, ""),
      `${signature.slice(0, 4)}!!!!${signature.slice(4)}`,
    ])
      expect(verifyText("statement", other, publicOf(key))).toBe(false);
  });
});

describe("a key", () => {
  test.each(TAKEN)("of the kind %s is strong enough", (kind) => {
    expect(keyProblem(publicOf(keyOf(kind)))).toBeUndefined();
  });

  test.each([
    ["rsa1024", "1024 bits"],
    ["p521", "secp521r1"],
    ["p224", "secp224r1"],
    ["x25519", "x25519"],
  ] as const)("of the kind %s is not", (kind, why) => {
    expect(keyProblem(publicOf(keyOf(kind)))).toContain(why);
  });

  test("of a CA may be on P-521, which somebody else chose, and still not on any curve", () => {
    expect(keyProblem(publicOf(keyOf("p521")), "ca")).toBeUndefined();
    expect(keyProblem(publicOf(keyOf("p224")), "ca")).toContain("secp224r1");
    expect(keyProblem(publicOf(keyOf("rsa1024")), "ca")).toContain("1024");
  });

  test("is named by the digest of its SubjectPublicKeyInfo", () => {
    const key = publicOf(keyOf("p256"));
    const digest = new Bun.CryptoHasher("sha256").update(key.export({ type: "spki", format: "der" })).digest("hex");
    expect(keySha256(key)).toBe(digest);
  });
});

describe("what is signed by an algorithm that it names", () => {
  const bytes = Buffer.from("bytes");
  const RSA_SHA256 = "1.2.840.113549.1.1.11";
  const ECDSA_SHA256 = "1.2.840.10045.4.3.2";

  test("holds for the key and the algorithm", () => {
    const [rsa, ec] = [keyOf("rsa2048"), keyOf("p256")];
    expect(verifySigned(RSA_SHA256, bytes, sign("sha256", bytes, rsa), publicOf(rsa))).toBe(true);
    expect(verifySigned(ECDSA_SHA256, bytes, sign("sha256", bytes, ec), publicOf(ec))).toBe(true);
    expect(verifySigned(ECDSA_SHA256, Buffer.from("other"), sign("sha256", bytes, ec), publicOf(ec))).toBe(false);
    expect(verifySigned(ECDSA_SHA256, bytes, Buffer.from("no signature"), publicOf(ec))).toBe(false);
  });

  test("is refused where the key is of another kind than the algorithm", () => {
    const rsa = keyOf("rsa2048");
    expect(verifySigned(ECDSA_SHA256, bytes, sign("sha256", bytes, rsa), publicOf(rsa))).toBe(false);
  });

  test("is refused with SHA-1, MD5 and what nobody knows", () => {
    const rsa = keyOf("rsa2048");
    for (const [algorithm, digest] of [
      ["1.2.840.113549.1.1.5", "sha1"],
      ["1.2.840.113549.1.1.4", "md5"],
      ["1.2.3", "sha256"],
    ] as const) {
      expect(isKnownSignature(algorithm)).toBe(false);
      expect(verifySigned(algorithm, bytes, sign(digest, bytes, rsa), publicOf(rsa))).toBe(false);
    }
  });
});
