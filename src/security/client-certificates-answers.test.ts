import { describe, expect, test } from "bun:test";
import { TransporterError } from "../kit/mod.ts";
import { LoginNonces } from "./login-nonces.ts";
import { memoryDocuments } from "./memory-documents.ts";
import { codeOf, FROM, testParts } from "./parts-for-tests.ts";
import { makeToken } from "./token-format.ts";
import { alice, certificatesBench as bench, person, agentsCa, START_MS, NONCE_MS, NONCE_KEY } from "./client-certificates-for-tests.ts";

describe("an answer to a challenge", () => {
  test("counts once, on whichever control plane", async () => {
    const documents = memoryDocuments();
    const [one, other] = [bench(documents), bench(documents)];
    const login = one.answer(alice);
    expect(await other.why(login)).toBe("ok");
    expect(await one.why(login)).toBe("replayed");
    const racing = one.answer(alice);
    const codes = await Promise.all([one, other].map(({ certificates }) => codeOf(() => certificates.login(racing, FROM))));
    expect(codes.toSorted()).toStrictEqual(["UNAUTHENTICATED", "ok"]);
    const [used] = documents.of("login-nonce");
    expect(used?.expiresAtMs).toBe(START_MS + 10 * NONCE_MS);
  });

  test("counts for a minute", async () => {
    const { why, answer, manual, certificates } = bench();
    const { nonce, audience, expires_at } = certificates.challenge();
    expect({ audience, expires_at }).toStrictEqual({ audience: "installation-1", expires_at: new Date(START_MS + NONCE_MS).toISOString() });
    const late = answer(alice);
    await manual.advance(NONCE_MS);
    expect(await why(answer(alice, { nonce }))).toBe("ok");
    await manual.advance(1);
    expect(await why(late)).toBe("late answer");
  });

  test("is not taken for one that comes from the future, but for clocks that differ a little", () => {
    const [now, soon, later] = [testParts(), testParts(), testParts()];
    soon.manual.setWallClock(START_MS + 10_000);
    later.manual.setWallClock(START_MS + 10_001);
    const at = ({ ports, documents }: ReturnType<typeof testParts>) =>
      new LoginNonces({ documents, ports, tenant: "default", key: NONCE_KEY });
    expect(at(now).problem(at(soon).make().nonce)).toBeUndefined();
    expect(at(now).problem(at(later).make().nonce)).toBe("late answer");
  });

  test("is refused where nobody gave the challenge out", async () => {
    const { why, answer, certificates, documents, ports } = bench();
    const { nonce } = certificates.challenge();
    const [time = "", random = "", mac = ""] = nonce.split(".");
    const elsewhere = new LoginNonces({ documents, ports, tenant: "default", key: "cd".repeat(32) }).make().nonce;
    const made = [
      elsewhere,
      `${(START_MS + 1).toString(36)}.${random}.${mac}`,
      `${time}.${random.replace(/^./, "-")}.${mac}`,
      "",
      "a.b.c",
      `${nonce}0`,
    ];
    for (const forged of made) expect(await why(answer(alice, { nonce: forged }))).toBe("unknown challenge");
    expect(documents.of("login-nonce")).toStrictEqual([]);
  });

  test("is refused unless it is signed by the certificate's key, for this installation and this challenge", async () => {
    const { why, answer, certificates } = bench();
    const other = await person();
    expect(await why(answer(alice, { signature: answer(other).signature }))).toBe("wrong signature");
    expect(await why(answer(alice, { audience: "installation-2" }))).toBe("wrong signature");
    expect(await why({ ...answer(alice), nonce: certificates.challenge().nonce })).toBe("wrong signature");
    expect(await why({ ...answer(alice), certificate: other.pem })).toBe("wrong signature");
    expect(await why(answer(alice, { certificate: "nothing" }))).toBe("unreadable certificate");
    expect(await why(answer(alice, { certificate: alice.pem.repeat(7) }))).toBe("unreadable certificate");
    expect(await why(answer(alice, { certificate: alice.pem.repeat(6) }))).toBe("ok");
    expect(await why(answer(alice, { signature: "" }))).toBe("wrong signature");
  });

  test("is refused after too many wrong ones, which is written down, and right ones cost nothing", async () => {
    const { certificates, answer, documents } = bench();
    for (let count = 0; count < 25; count += 1) await certificates.login(answer(alice), FROM);
    for (let count = 0; count < 20; count += 1) {
      expect(await codeOf(() => certificates.login(answer(alice, { signature: "" }), FROM))).toBe("UNAUTHENTICATED");
    }
    expect(await codeOf(() => certificates.login(answer(alice), FROM))).toBe("TOO_MANY_ATTEMPTS");
    expect(documents.audit.at(-1)).toMatchObject({ action: "login_refused", details: { code: "TOO_MANY_ATTEMPTS" } });
    expect(await codeOf(() => certificates.login(answer(alice), { ...FROM, address: "192.0.2.99" }))).toBe("ok");
  });

  test("is bounded also where each is right, as each costs a signature", async () => {
    const { certificates, answer } = bench();
    for (let count = 0; count < 100; count += 1) await certificates.login(answer(alice), FROM);
    expect(await codeOf(() => certificates.login(answer(alice), FROM))).toBe("TOO_MANY_ATTEMPTS");
  });

  test("costs nothing where it is the store that is away", async () => {
    const { certificates, answer, documents, attempts } = bench();
    documents.failure = new TransporterError("STORE_UNAVAILABLE", "gone");
    for (let count = 0; count < 30; count += 1) {
      expect(await codeOf(() => certificates.login(answer(alice), FROM))).toBe("STORE_UNAVAILABLE");
    }
    documents.failure = undefined;
    let left = 0;
    while ((await codeOf(() => attempts.take(FROM.address))) === "ok") left += 1;
    expect(left).toBe(20);
  });
});

describe("a short token", () => {
  test("that could not be kept is not given out", async () => {
    const { certificates, answer, documents } = bench();
    const write = documents.writeDocument.bind(documents);
    documents.writeDocument = (of) => (of.kind === "short-token" ? Promise.resolve({ kind: "conflict", current: undefined }) : write(of));
    expect(await codeOf(() => certificates.login(answer(alice), FROM))).toBe("STORE_UNAVAILABLE");
  });

  test("that is none is refused", async () => {
    const { certificates } = bench();
    expect(await certificates.find("")).toStrictEqual({ why: "malformed" });
    expect(await certificates.find(makeToken("user").token)).toStrictEqual({ why: "malformed" });
    expect(await certificates.find(makeToken("short").token)).toStrictEqual({ why: "unknown" });
    expect(await certificates.isCurrent("unknown")).toBe(false);
  });

  test("with the id of another, and the hash of itself, is refused", async () => {
    const { certificates, answer, documents } = bench();
    const { token } = await certificates.login(answer(alice), FROM);
    const id = token.slice(4, 16);
    const [held] = documents.of("short-token");
    documents.remove("short-token", id);
    const other = { ...(held?.value as object), sha256: "0".repeat(64) };
    await documents.writeDocument({
      tenant: "default",
      kind: "short-token",
      id,
      expect: 0,
      value: JSON.stringify(other),
      expiresAtMs: undefined,
    });
    expect(await certificates.find(token)).toStrictEqual({ why: "unknown" });
  });

  test("of nobody counts for nobody", async () => {
    const { certificates, documents } = bench();
    const { token, id, sha256 } = makeToken("short");
    const value = JSON.stringify({ sha256, expiresAtMs: 9e15, anchor: agentsCa.certificate.sha256, path: [] });
    await documents.writeDocument({ tenant: "default", kind: "short-token", id, expect: 0, value, expiresAtMs: undefined });
    expect(await certificates.find(token)).toStrictEqual({ why: "identity revoked" });
  });
});
