import { describe, expect, test } from "bun:test";
import { authenticatorBench as bench } from "./authenticator-for-tests.ts";
import { ADMIN, codeOf, FROM } from "./parts-for-tests.ts";
import { agentPrincipal, type Principal } from "./principal.ts";
import { makeToken } from "./token-format.ts";

describe("a browser's cookie", () => {
  async function browser() {
    const made = await bench();
    const { cookie, session } = await made.sessions.begin({ ...ADMIN, credential: (await made.user()).id }, FROM);
    const sent = cookie.split(";")[0] ?? "";
    return { ...made, sent, csrf: session.csrf_token };
  }

  test("is whoever began the session", async () => {
    const { ask, sent } = await browser();
    const principal = await ask(null, { cookie: sent });
    expect(principal).toMatchObject({ name: "token:boss", via: "cookie", role: "admin" });
    expect(ask(null, { cookie: sent })).toBe(principal);
  });

  test.each(["POST", "PUT", "PATCH", "DELETE", "get"])(
    "does not %s without its CSRF token, whether it is known already or not",
    async (method) => {
      const { ask, sent, csrf, whys } = await browser();
      for (let count = 0; count < 2; count += 1) {
        expect(await codeOf(() => ask(null, { cookie: sent, method }))).toBe("CSRF_REQUIRED");
        expect(await codeOf(() => ask(null, { cookie: sent, method, csrf: "" }))).toBe("CSRF_REQUIRED");
        expect(await codeOf(() => ask(null, { cookie: sent, method, csrf: `${csrf}x` }))).toBe("CSRF_REQUIRED");
        expect(await codeOf(() => ask(null, { cookie: sent, method, csrf }))).toBe("ok");
      }
      expect(whys()[0]).toBe("no CSRF token");
    },
  );

  test.each(["GET", "HEAD", "OPTIONS"])("may %s without it", async (method) => {
    const { ask, sent } = await browser();
    expect(await codeOf(() => ask(null, { cookie: sent, method }))).toBe("ok");
    expect(await codeOf(() => ask(null, { cookie: sent, method }))).toBe("ok");
  });

  test("does not stand in for a token that is wrong", async () => {
    const { ask, sent } = await browser();
    expect(await codeOf(() => ask(`Bearer ${makeToken("user").token}`, { cookie: sent }))).toBe("UNAUTHENTICATED");
    expect(await codeOf(() => ask("", { cookie: sent }))).toBe("UNAUTHENTICATED");
  });

  test("does not count as a bearer token, nor a bearer token as a cookie", async () => {
    const { ask, user, sent } = await browser();
    await ask(null, { cookie: sent });
    expect(await codeOf(() => ask(`Bearer ${sent.split("=")[1]}`))).toBe("UNAUTHENTICATED");
    const { token } = await user();
    await ask(`Bearer ${token}`);
    expect(await codeOf(() => ask(null, { cookie: `__Host-transporter-session=${token}` }))).toBe("UNAUTHENTICATED");
  });

  test("that is unknown is a guess", async () => {
    const { ask } = await browser();
    const codes = [];
    for (let count = 0; count < 21; count += 1) {
      codes.push(await codeOf(() => ask(null, { cookie: `__Host-transporter-session=${makeToken("session").token}` })));
    }
    expect(codes.filter((code) => code === "UNAUTHENTICATED")).toHaveLength(20);
    expect(codes.at(-1)).toBe("TOO_MANY_ATTEMPTS");
  });

  test("ends with its session, and with the token that began it", async () => {
    const { ask, sent, sessions, authenticator } = await browser();
    const principal = await ask(null, { cookie: sent });
    expect(await authenticator.isCurrent(principal)).toBe(true);
    await sessions.end(sent, FROM);
    expect(await authenticator.isCurrent(principal)).toBe(false);
    expect(await codeOf(() => ask(null, { cookie: sent }))).toBe("UNAUTHENTICATED");
    const other = await browser();
    const theirs = await other.ask(null, { cookie: other.sent });
    const [token] = await other.tokens.list({ kind: "user", limit: 1 });
    await other.tokens.revoke(token?.id ?? "", ADMIN, FROM);
    expect(await other.authenticator.isCurrent(theirs)).toBe(false);
    expect(await codeOf(() => other.ask(null, { cookie: other.sent }))).toBe("UNAUTHENTICATED");
  });
});

describe("whoever holds a connection", () => {
  test("is current as long as what they came by is", async () => {
    const { ask, user, tokens, authenticator, identities, ports, manual } = await bench();
    const { token, id } = await user();
    const principal = await ask(`Bearer ${token}`);
    expect(await authenticator.isCurrent(principal)).toBe(true);
    await tokens.revoke(id, ADMIN, FROM);
    expect(await authenticator.isCurrent(principal)).toBe(false);
    const agent = agentPrincipal("a", "proof");
    expect(await authenticator.isCurrent(agent)).toBe(false);
    identities.set("a", {});
    expect(await authenticator.isCurrent(agent)).toBe(true);
    identities.set("a", { revoked_at: "now" });
    expect(await authenticator.isCurrent(agent)).toBe(false);
    const oidc: Principal = {
      tenant: "default",
      name: "oidc:a",
      kind: "user",
      via: "oidc",
      role: "viewer",
      expiresAtMs: ports.clock.now() + 1,
    };
    expect(authenticator.isCurrent(oidc)).toBe(true);
    await manual.advance(1);
    expect(authenticator.isCurrent(oidc)).toBe(false);
  });
});
