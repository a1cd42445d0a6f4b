import { describe, expect, test } from "bun:test";
import { makeToken, parseToken, sameDigest, sha256Hex, type TokenType } from "./token-format.ts";

const TYPES: readonly (readonly [TokenType, string])[] = [
  ["user", "tpu"],
  ["enrolment", "tpe"],
  ["short", "tps"],
  ["session", "tpb"],
];

describe("a token", () => {
  test.each(TYPES)("of the type %s begins with %s, and is read as what it is", (type, prefix) => {
    const { token, id, sha256 } = makeToken(type);
    expect(token).toMatch(new RegExp(`^${prefix}_[0-9A-Za-z]{12}_[0-9A-Za-z]{40}$`));
    expect(parseToken(token)).toStrictEqual({ type, id, sha256 });
    expect(sha256).toBe(sha256Hex(token));
    expect(token).toContain(`_${id}_`);
  });

  test("is another each time, and uses every letter", () => {
    const tokens = Array.from({ length: 500 }, () => makeToken("user").token);
    expect(new Set(tokens).size).toBe(500);
    const letters = new Map<string, number>();
    for (const letter of tokens.map((token) => token.slice(17, 51)).join("")) letters.set(letter, (letters.get(letter) ?? 0) + 1);
    expect(letters.size).toBe(62);
    // 17,000 letters of 62: 274 each, give or take. A byte taken modulo 62 would favour eight of them by a quarter.
    expect(Math.max(...letters.values())).toBeLessThan(274 * 1.35);
    expect(Math.min(...letters.values())).toBeGreaterThan(274 * 0.65);
  });

  test("with one letter wrong is none", () => {
    const { token } = makeToken("user");
    for (let at = 0; at < token.length; at += 1) {
      const other = token[at] === "x" ? "y" : "x";
      expect(parseToken(`${token.slice(0, at)}${other}${token.slice(at + 1)}`)).toBeUndefined();
    }
    expect(parseToken(token.slice(0, -1))).toBeUndefined();
    expect(parseToken(`${token}x`)).toBeUndefined();
    expect(parseToken(` ${token}`)).toBeUndefined();
    expect(parseToken(`${token}\n`)).toBeUndefined();
    expect(parseToken("")).toBeUndefined();
  });
});

describe("digests", () => {
  test("are the same or not", () => {
    const digest = sha256Hex("a");
    expect(digest).toBe("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
    expect(sameDigest(digest, digest)).toBe(true);
    expect(sameDigest(digest, sha256Hex("b"))).toBe(false);
    expect(sameDigest(digest, digest.slice(1))).toBe(false);
    expect(sameDigest(digest, "")).toBe(false);
  });
});
