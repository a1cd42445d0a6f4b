import { describe, expect, test } from "bun:test";
import { authenticatorBench as bench } from "./authenticator-for-tests.ts";
import { memoryDocuments } from "./memory-documents.ts";
import { ADMIN, codeOf, FROM } from "./parts-for-tests.ts";
import { type Principal } from "./principal.ts";
import { makeToken } from "./token-format.ts";

describe("a bearer token", () => {
  test("is its user, with role and scope, and was used", async () => {
    const { ask, user, lastUse, ports } = await bench();
    const { token, id } = await user({ name: "ci", role: "operator", scope: { agents: ["a"] } });
    const principal = await ask(`Bearer ${token}`);
    expect(principal).toStrictEqual({
      tenant: "default",
      name: "token:ci",
      kind: "user",
      via: "token",
      role: "operator",
      scope: { agents: ["a"] },
      credential: id,
      expiresAtMs: ports.clock.now() + 90 * 86_400_000,
    });
    expect((await lastUse.of([id])).has(id)).toBe(true);
    const plain = await user();
    expect(await ask(`bearer  ${plain.token}`)).not.toHaveProperty("scope");
  });

  test("needs nothing that only browsers need, and a refusal tells nothing that there is not", async () => {
    const { ask, user, documents } = await bench();
    const { token } = await user();
    expect(await ask(`Bearer ${token}`, { method: "POST" })).toHaveProperty("credential");
    expect(ask(`Bearer ${token}`, { method: "DELETE" })).toHaveProperty("credential");
    await codeOf(() => ask(null));
    expect(documents.audit.at(-1)?.details).toStrictEqual({ code: "UNAUTHENTICATED", why: "no credentials" });
  });

  test("is known at once the second time, and looked at anew after five seconds", async () => {
    const { ask, user, documents, manual } = await bench();
    const { token } = await user();
    const first = await ask(`Bearer ${token}`);
    const { calls } = documents;
    expect(ask(`Bearer ${token}`)).toBe(first);
    expect(documents.calls).toBe(calls);
    await manual.advance(5_000);
    expect(ask(`Bearer ${token}`)).toBeInstanceOf(Promise);
    await manual.settle();
    expect(documents.calls).toBe(calls + 1);
  });

  test("of a hundred requests at the same time is looked at once, and takes no attempt away", async () => {
    const { ask, user, documents } = await bench();
    const { token } = await user();
    const { calls } = documents;
    const all = await Promise.all(Array.from({ length: 19 }, () => ask(`Bearer ${token}`)));
    expect(new Set(all).size).toBe(1);
    expect(documents.calls).toBe(calls + 1);
  });

  test("that was revoked counts no more, also while it was being looked at", async () => {
    const { ask, user, tokens, documents } = await bench();
    const { token, id } = await user();
    const get = documents.getDocument.bind(documents);
    let revoked: Promise<unknown> | undefined;
    documents.getDocument = async (key) => {
      const found = await get(key);
      if (revoked === undefined) {
        revoked = Promise.resolve();
        revoked = tokens.revoke(id, ADMIN, FROM);
        await revoked;
      }
      return found;
    };
    expect(await codeOf(() => ask(`Bearer ${token}`))).toBe("UNAUTHENTICATED");
    expect(await codeOf(() => ask(`Bearer ${token}`))).toBe("UNAUTHENTICATED");
  });

  test("is not looked at again and again because others end all the time", async () => {
    const { ask, user, known, documents } = await bench();
    const { token } = await user();
    const get = documents.getDocument.bind(documents);
    documents.getDocument = async (key) => {
      const found = await get(key);
      known.end("others");
      return found;
    };
    const { calls } = documents;
    await ask(`Bearer ${token}`);
    expect(documents.calls).toBe(calls + 1);
  });

  test.each([
    ["nothing", null, "no credentials"],
    ["an empty header", "", "no bearer token"],
    ["another scheme", "Basic YTpi", "no bearer token"],
    ["two tokens", "Bearer a b", "no bearer token"],
    ["no token", "Bearer ", "no bearer token"],
    ["an endless token", `Bearer ${"a".repeat(20_000)}`, "no bearer token"],
    ["any text", "Bearer secret", "malformed"],
    ["as long a text as may be", `Bearer ${"a".repeat(16_493)}`, "malformed"],
    ["a token that nobody made", `Bearer ${makeToken("user").token}`, "unknown"],
    ["a short token that nobody made", `Bearer ${makeToken("short").token}`, "unknown"],
    ["a token that is for enrolment", `Bearer ${makeToken("enrolment").token}`, "wrong kind"],
    ["the secret of a cookie", `Bearer ${makeToken("session").token}`, "wrong kind"],
    ["a JWT of nobody", "Bearer e30.e30.x", "unknown issuer"],
  ])("%s is refused, and the audit says why", async (_name, header, why) => {
    const { ask, documents } = await bench();
    expect(await codeOf(() => ask(header))).toBe("UNAUTHENTICATED");
    expect(documents.audit).toMatchObject([
      {
        action: "authentication_refused",
        remoteAddress: FROM.address,
        requestId: FROM.requestId,
        details: { code: "UNAUTHENTICATED", why },
      },
    ]);
  });

  test("is named in the audit by its id, and the answer does not tell what is wrong with it", async () => {
    const { ask, user, tokens, documents } = await bench();
    const [revoked, unknown] = [await user(), makeToken("user")];
    await tokens.revoke(revoked.id, ADMIN, FROM);
    const messages = [];
    for (const { token } of [revoked, unknown]) {
      try {
        await ask(`Bearer ${token}`);
      } catch (error) {
        messages.push((error as Error).message);
      }
    }
    expect(messages).toHaveLength(2);
    expect(messages[0]).toBe(messages[1]);
    for (const { token } of [revoked, unknown]) expect(JSON.stringify(documents.audit)).not.toContain(token.slice(17));
    expect(documents.audit.slice(-2).map(({ details }) => details)).toStrictEqual([
      { code: "UNAUTHENTICATED", why: "revoked", token_id: revoked.id },
      { code: "UNAUTHENTICATED", why: "unknown", token_id: unknown.id },
    ]);
  });

  test("that runs out counts no more, though it was known a moment ago", async () => {
    const { ask, user, manual } = await bench();
    const { token } = await user({ ttl: 2_000_000_000 });
    await ask(`Bearer ${token}`);
    await manual.advance(2_000);
    expect(await codeOf(() => ask(`Bearer ${token}`))).toBe("UNAUTHENTICATED");
  });
});

describe("guesses", () => {
  const guess = () => `Bearer ${makeToken("user").token}`;

  test("are twenty at once, and one a second after; each is refused and counted in the audit", async () => {
    const { ask, documents, manual, refusals } = await bench();
    const codes = await Promise.all(Array.from({ length: 50 }, () => codeOf(() => ask(guess()))));
    expect(codes.filter((code) => code === "UNAUTHENTICATED")).toHaveLength(20);
    expect(codes.filter((code) => code === "TOO_MANY_ATTEMPTS")).toHaveLength(30);
    await manual.advance(1_000);
    expect(await codeOf(() => ask(guess()))).toBe("UNAUTHENTICATED");
    expect(await codeOf(() => ask(guess()))).toBe("TOO_MANY_ATTEMPTS");
    await refusals.stop();
    const counted = documents.audit.filter(({ action }) => action === "authentication_refused");
    const count = (code: string) =>
      counted.filter(({ details }) => details?.["code"] === code).reduce((sum, { details }) => sum + Number(details?.["further"] ?? 1), 0);
    expect([count("UNAUTHENTICATED"), count("TOO_MANY_ATTEMPTS")]).toStrictEqual([21, 31]);
  });

  test("are not what many connections do that begin together with one token", async () => {
    const { ask, user } = await bench();
    const { token } = await user();
    const codes = await Promise.all(Array.from({ length: 100 }, () => codeOf(() => ask(`Bearer ${token}`))));
    expect(codes.filter((code) => code !== "ok")).toEqual([]);
  });

  test("of one address do not keep others out, nor those behind it who are known", async () => {
    const { ask, user, manual } = await bench();
    const [mine, neighbours] = [await user(), await user()];
    await ask(`Bearer ${mine.token}`);
    for (let count = 0; count < 30; count += 1) await codeOf(() => ask(guess()));
    expect(await codeOf(() => ask(`Bearer ${mine.token}`))).toBe("ok");
    await manual.advance(0);
    expect(await codeOf(() => ask(`Bearer ${neighbours.token}`))).toBe("TOO_MANY_ATTEMPTS");
    expect(await codeOf(() => ask(`Bearer ${neighbours.token}`, { address: "192.0.2.200" }))).toBe("ok");
  });

  test("do not keep out who was known, when they are looked at anew", async () => {
    const { ask, user, known } = await bench();
    const { token } = await user();
    await ask(`Bearer ${token}`);
    for (let count = 0; count < 30; count += 1) await codeOf(() => ask(guess()));
    known.end(undefined);
    expect(await codeOf(() => ask(`Bearer ${token}`))).toBe("ok");
  });

  test("are not made possible by somebody who is known", async () => {
    const { ask, user, known, documents } = await bench();
    const { token } = await user();
    await ask(`Bearer ${token}`);
    for (let count = 0; count < 20; count += 1) await codeOf(() => ask(guess()));
    known.end(undefined);
    await ask(`Bearer ${token}`);
    known.end(undefined);
    documents.failure = new Error("gone");
    await codeOf(() => ask(`Bearer ${token}`));
    documents.failure = undefined;
    expect(await codeOf(() => ask(guess()))).toBe("TOO_MANY_ATTEMPTS");
  });

  test("with a token that was revoked are guesses from the second on", async () => {
    const { ask, user, tokens } = await bench();
    const { token, id } = await user();
    await ask(`Bearer ${token}`);
    await tokens.revoke(id, ADMIN, FROM);
    const codes = [];
    for (let count = 0; count < 22; count += 1) codes.push(await codeOf(() => ask(`Bearer ${token}`)));
    expect(codes.filter((code) => code === "UNAUTHENTICATED")).toHaveLength(21);
    expect(codes.at(-1)).toBe("TOO_MANY_ATTEMPTS");
  });

  test("are not what is asked while the store is away", async () => {
    const { ask, user, documents } = await bench();
    const { token } = await user();
    documents.failure = new Error("gone");
    for (let count = 0; count < 30; count += 1) expect(await codeOf(() => ask(`Bearer ${token}`))).toBe("INTERNAL");
    documents.failure = undefined;
    expect(await codeOf(() => ask(`Bearer ${token}`))).toBe("ok");
  });

  test("are taken back for each that was right", async () => {
    const { ask, user } = await bench();
    for (let count = 0; count < 25; count += 1) expect(await codeOf(async () => ask(`Bearer ${(await user()).token}`))).toBe("ok");
  });
});

describe("an access token of the identity provider", () => {
  test("is somebody, until it runs out", async () => {
    const { ask, issuer, manual } = await bench();
    const token = await issuer.sign({ groups: ["staff"] });
    expect(await ask(`Bearer ${token}`)).toMatchObject({ name: "oidc:alice", via: "oidc", role: "viewer" });
    await manual.advance(3_600_000 + 10_000);
    expect(await codeOf(() => ask(`Bearer ${token}`))).toBe("UNAUTHENTICATED");
  });

  test("that gives no role is somebody who may nothing, and no guess", async () => {
    const { ask, issuer, whys } = await bench();
    for (let count = 0; count < 25; count += 1) {
      const token = await issuer.sign({ groups: [], jti: String(count) });
      expect(await codeOf(() => ask(`Bearer ${token}`))).toBe("ACCESS_DENIED");
    }
    expect(whys()[0]).toBe("no role");
  });

  test("that does not hold is refused for what is wrong with it", async () => {
    const { ask, issuer, whys } = await bench();
    const wrong = [
      await issuer.sign({ aud: "x" }),
      await issuer.sign({ exp: 1 }),
      issuer.unsigned({ alg: "none" }),
      await issuer.signWithPublicKey("k1"),
    ];
    for (const token of wrong) expect(await codeOf(() => ask(`Bearer ${token}`.replace(/\.$/, ".x")))).toBe("UNAUTHENTICATED");
    expect(whys()).toStrictEqual(["wrong audience", "expired", "wrong algorithm", "wrong algorithm"]);
  });

  test("is nobody's where there is no provider", async () => {
    const { ask, issuer, whys } = await bench(memoryDocuments(), false);
    expect(await codeOf(async () => ask(`Bearer ${await issuer.sign()}`))).toBe("UNAUTHENTICATED");
    expect(whys()).toStrictEqual(["unknown issuer"]);
  });

  test("of another issuer is not even looked at", async () => {
    const { ask, issuer, whys } = await bench();
    expect(await codeOf(async () => ask(`Bearer ${await issuer.sign({ iss: "https://other" })}`))).toBe("UNAUTHENTICATED");
    expect(whys()).toStrictEqual(["unknown issuer"]);
    expect(issuer.asked).toStrictEqual([]);
  });

  test("is no fault of whoever sends it where the issuer is away", async () => {
    const { ask, issuer } = await bench();
    issuer.failure = new Error("away");
    const token = await issuer.sign({ groups: ["staff"] });
    for (let count = 0; count < 25; count += 1) expect(await codeOf(() => ask(`Bearer ${token}`))).toBe("ISSUER_UNAVAILABLE");
  });
});

describe("a short token", () => {
  test("is whom its certificate names", async () => {
    const { ask, shorts, authenticator } = await bench();
    const { token, id } = makeToken("short");
    const principal: Principal = { ...ADMIN, name: "cert:alice", via: "certificate", credential: `short:${id}` };
    shorts.set(token, principal);
    expect(await ask(`Bearer ${token}`)).toBe(principal);
    expect(await authenticator.isCurrent(principal)).toBe(true);
    shorts.clear();
    expect(await authenticator.isCurrent(principal)).toBe(false);
  });

  test("comes by a challenge and a login", async () => {
    const { authenticator } = await bench();
    expect(authenticator.challenge().nonce).toBe("n");
    expect(await authenticator.certificateLogin({ nonce: "x", certificate: "", signature: "" }, FROM)).toStrictEqual({
      token: "x",
      expires_at: FROM.address,
    });
  });
});
