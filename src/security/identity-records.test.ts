import { describe, expect, test } from "bun:test";
import { type IdentityKey, type IdentityRecord, isAlive, revokedKeys, soundKey, withKey } from "./identity-records.ts";

const NOW_MS = 1_000_000;
const key = (keySha256: string, more: Partial<IdentityKey> = {}): IdentityKey => ({
  keySha256,
  serial: "1",
  issuerKeySha256: "ca",
  anchorKeySha256: "ca",
  issuedAtMs: 0,
  expiresAtMs: NOW_MS,
  ...more,
});
const record = (keys: IdentityKey[], more: Partial<IdentityRecord> = {}): IdentityRecord => ({
  enrolledAtMs: 0,
  enrolledBy: "token:t",
  labels: {},
  keys,
  ...more,
});
const names = ({ keys }: IdentityRecord): string[] => keys.map(({ keySha256 }) => keySha256);

describe("what is known of an agent", () => {
  test("has a key that may be used, unless it or all of it was revoked", () => {
    const known = record([key("a"), key("b", { revokedAtMs: 1 })]);
    expect([soundKey(known, "a")?.keySha256, soundKey(known, "b"), soundKey(known, "c")]).toEqual(["a", undefined, undefined]);
    expect(soundKey({ ...known, revokedAtMs: 1 }, "a")).toBeUndefined();
  });

  test("is alive until the grace of its last certificate is over", () => {
    const known = record([key("a", { expiresAtMs: NOW_MS - 100 }), key("b")]);
    expect([isAlive(known, NOW_MS + 49, 50), isAlive(known, NOW_MS + 50, 50)]).toEqual([true, false]);
    expect(isAlive(record([key("a", { revokedAtMs: 1 })]), 0, 50)).toBe(false);
    expect(isAlive({ ...known, revokedAtMs: 1 }, 0, 50)).toBe(false);
    expect(isAlive(record([]), 0, 50)).toBe(false);
  });

  test("takes a further key in front, the same key once, and forgets what is over", () => {
    const known = record([key("a"), key("b"), key("c", { expiresAtMs: NOW_MS - 50 })]);
    expect(names(withKey(known, key("d"), NOW_MS - 1, 50))).toEqual(["d", "a", "b", "c"]);
    expect(names(withKey(known, key("b", { serial: "2" }), NOW_MS, 50))).toEqual(["b", "a"]);
    expect(withKey(known, key("b", { serial: "2" }), NOW_MS, 50).keys[0]?.serial).toBe("2");
  });

  test("is bounded: of very many keys the newest stay", () => {
    const many = Array.from({ length: 30 }, (_, at) => key(`k${at}`, { expiresAtMs: NOW_MS * 2 }));
    const kept = names(withKey(record(many), key("new"), NOW_MS, 0));
    expect([kept.length, kept[0], kept.at(-1)]).toEqual([20, "new", "k18"]);
  });

  test("keeps when a key was revoked first", () => {
    expect(revokedKeys([key("a"), key("b", { revokedAtMs: 1 })], 5).map(({ revokedAtMs }) => revokedAtMs)).toEqual([5, 1]);
  });
});
