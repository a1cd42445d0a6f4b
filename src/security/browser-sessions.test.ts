import { describe, expect, test } from "bun:test";
import { sessionCookie, StoredBrowserSessions } from "./browser-sessions.ts";
import { memoryDocuments } from "./memory-documents.ts";
import { ADMIN, codeOf, FROM, testParts } from "./parts-for-tests.ts";
import { agentPrincipal, ANONYMOUS } from "./principal.ts";
import { makeToken } from "./token-format.ts";

const HOUR_MS = 3_600_000;

function bench(documents = memoryDocuments()) {
  const parts = testParts(documents);
  const ended = new Set<string>();
  const changed: string[] = [];
  const sessions = new StoredBrowserSessions(
    parts,
    async (credential) => {
      expect(credential).toBeString();
      return !ended.has(credential);
    },
    (id) => void changed.push(id),
  );
  return { ...parts, ended, changed, sessions };
}

const secretOf = (cookie: string): string => sessionCookie(cookie.split(";")[0] ?? "") ?? "";

describe("a browser's session", () => {
  test("begins with a cookie that scripts cannot read and other sites cannot send, and a CSRF token", async () => {
    const { sessions, documents, ports } = bench();
    const { cookie, session } = await sessions.begin(ADMIN, FROM);
    expect(cookie).toMatch(/^__Host-transporter-session=tpb_[0-9A-Za-z_]+; Path=\/; Secure; HttpOnly; SameSite=Strict; Max-Age=43200$/);
    expect(session.expires_at).toBe(new Date(ports.clock.now() + 12 * HOUR_MS).toISOString());
    const secret = secretOf(cookie);
    const kept = JSON.stringify([documents.of("session"), documents.audit]);
    expect(kept).not.toContain(secret.slice(17));
    expect(kept).not.toContain(session.csrf_token);
    expect(documents.audit).toMatchObject([{ principal: "token:boss", action: "session_begun", remoteAddress: FROM.address }]);
    const found = await sessions.find(secret);
    expect(found).toStrictEqual({
      principal: {
        tenant: "default",
        name: "token:boss",
        kind: "user",
        via: "cookie",
        role: "admin",
        credential: `session:${secret.slice(4, 16)}`,
        expiresAtMs: ports.clock.now() + 12 * HOUR_MS,
      },
      csrf: session.csrf_token,
      parent: ADMIN.credential,
    });
    expect(documents.of("session")).toMatchObject([{ expiresAtMs: ports.clock.now() + 12 * HOUR_MS + 60_000 }]);
    expect((await sessions.begin(ADMIN, FROM)).session.csrf_token).not.toBe(session.csrf_token);
  });

  test("has the role and scope of whoever began it, and ends no later", async () => {
    const { sessions, ports, manual } = bench();
    const scope = { agents: ["a"] };
    const { credential: _none, ...oidc } = { ...ADMIN, role: "viewer" as const, scope, expiresAtMs: ports.clock.now() + 5_000 };
    const { cookie } = await sessions.begin(oidc, FROM);
    expect(cookie).toContain("Max-Age=5");
    expect(await sessions.find(secretOf(cookie))).toMatchObject({ principal: { role: "viewer", scope }, parent: undefined });
    await manual.advance(4_999);
    expect(await sessions.isCurrent(secretOf(cookie).slice(4, 16))).toBe(true);
    await manual.advance(1);
    expect(await sessions.find(secretOf(cookie))).toStrictEqual({ why: "expired" });
    expect(await sessions.isCurrent(secretOf(cookie).slice(4, 16))).toBe(false);
  });

  test("that could not be kept is not begun", async () => {
    const { sessions, documents } = bench();
    documents.writeDocument = () => Promise.resolve({ kind: "conflict", current: undefined });
    expect(await codeOf(() => sessions.begin(ADMIN, FROM))).toBe("STORE_UNAVAILABLE");
  });

  test("is not begun by a session, an agent, or nobody", async () => {
    const { sessions } = bench();
    const { cookie } = await sessions.begin(ADMIN, FROM);
    const found = await sessions.find(secretOf(cookie));
    if ("why" in found) throw new Error(found.why);
    for (const principal of [found.principal, agentPrincipal("a", "proof"), ANONYMOUS]) {
      expect(await codeOf(() => sessions.begin(principal, FROM))).toBe("ACCESS_DENIED");
    }
  });

  test("ends with what it was begun with", async () => {
    const { sessions, ended } = bench();
    const { cookie } = await sessions.begin(ADMIN, FROM);
    ended.add(ADMIN.credential ?? "");
    expect(await sessions.find(secretOf(cookie))).toStrictEqual({ why: "begun with what counts no more" });
  });

  test("ends when it is told to, which is told and written down once", async () => {
    const { sessions, changed, documents } = bench();
    const { cookie } = await sessions.begin(ADMIN, FROM);
    const sent = cookie.split(";")[0] ?? "";
    expect(await sessions.end(sent, FROM)).toBe("__Host-transporter-session=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    expect(changed).toStrictEqual([secretOf(cookie).slice(4, 16)]);
    expect(await sessions.find(secretOf(cookie))).toStrictEqual({ why: "ended" });
    await sessions.end(sent, FROM);
    expect(documents.audit.map(({ action }) => action)).toStrictEqual(["session_begun", "session_ended"]);
  });

  test("is not ended by whoever only knows its id", async () => {
    const { sessions, documents } = bench();
    const { cookie } = await sessions.begin(ADMIN, FROM);
    const [held] = documents.of("session");
    const secret = secretOf(cookie);
    documents.remove("session", secret.slice(4, 16));
    const value = JSON.stringify({ ...(held?.value as object), sha256: "0".repeat(64) });
    await documents.writeDocument({
      tenant: "default",
      kind: "session",
      id: secret.slice(4, 16),
      expect: 0,
      value,
      expiresAtMs: undefined,
    });
    await sessions.end(`__Host-transporter-session=${secret}`, FROM);
    expect(documents.of("session")[0]?.value).not.toHaveProperty("endedAtMs");
    expect(await sessions.find(secret)).toStrictEqual({ why: "unknown" });
  });

  test("that is none is nobody's, and nothing to end", async () => {
    const { sessions, documents } = bench();
    expect(await sessions.find("")).toStrictEqual({ why: "malformed" });
    expect(await sessions.find(makeToken("user").token)).toStrictEqual({ why: "malformed" });
    expect(await sessions.find(makeToken("session").token)).toStrictEqual({ why: "unknown" });
    expect(await sessions.isCurrent("unknown")).toBe(false);
    for (const cookie of [null, "a=b", `__Host-transporter-session=${makeToken("user").token}`]) {
      expect(await sessions.end(cookie, FROM)).toContain("Max-Age=0");
    }
    expect(documents.audit).toStrictEqual([]);
  });
});

describe("the cookie", () => {
  test.each([
    [null, undefined],
    ["", undefined],
    ["__Host-transporter-session=x", "x"],
    ["a=b; __Host-transporter-session=x; c=d", "x"],
    ["a=__Host-transporter-session=x", undefined],
    ["transporter-session=x", undefined],
    ["__Host-transporter-session=x; __Host-transporter-session=y", undefined],
  ])("of %p is %p", (header, expected) => {
    expect(sessionCookie(header)).toBe(expected);
  });
});
