import { describe, expect, test } from "bun:test";
import { type LogFields, silentLogger } from "../kit/mod.ts";
import type { TokenRequest } from "../protocol/mod.ts";
import { LastUse } from "./last-use.ts";
import { memoryDocuments } from "./memory-documents.ts";
import { ADMIN, codeOf, FROM, testParts } from "./parts-for-tests.ts";
import type { Principal } from "./principal.ts";
import { makeToken, sha256Hex } from "./token-format.ts";
import { Tokens } from "./tokens.ts";

const NS_PER_S = 1_000_000_000;
const DAY_MS = 86_400_000;
const KEY = "k".repeat(64);

function bench(documents = memoryDocuments()) {
  const parts = testParts(documents);
  const changed: string[] = [];
  const lastUse = new LastUse(parts);
  return { ...parts, lastUse, changed, tokens: new Tokens(parts, lastUse, (id) => void changed.push(id)) };
}

const operator = (scope: Principal["scope"]): Principal => ({
  ...ADMIN,
  name: "token:op",
  role: "operator",
  ...(scope === undefined ? {} : { scope }),
});

describe("a user token", () => {
  test("is shown once, kept as a digest, written down in the audit, and found again", async () => {
    const { tokens, documents, ports } = bench();
    const created = await tokens.create(
      { kind: "user", name: "ci", role: "producer", scope: { agents: ["a-*"], event_types: ["script"] } },
      ADMIN,
      FROM,
    );
    const nowMs = ports.clock.now();
    expect(created).toStrictEqual({
      token: created.token,
      id: created.id,
      kind: "user",
      name: "ci",
      role: "producer",
      scope: { agents: ["a-*"], event_types: ["script"] },
      created_at: new Date(nowMs).toISOString(),
      created_by: "token:boss",
      expires_at: new Date(nowMs + 90 * DAY_MS).toISOString(),
    });
    const kept = JSON.stringify([documents.of("token"), documents.audit]);
    expect(kept).toContain(sha256Hex(created.token));
    expect(kept).not.toContain(created.token.slice(17));
    expect(documents.of("token")).toMatchObject([{ id: created.id, expiresAtMs: nowMs + 120 * DAY_MS }]);
    expect(documents.audit).toMatchObject([
      {
        principal: "token:boss",
        action: "token_created",
        remoteAddress: FROM.address,
        requestId: FROM.requestId,
        details: { token_id: created.id },
      },
    ]);
    expect(await tokens.user(created.token)).toMatchObject({ id: created.id, record: { role: "producer" } });
    const { token: _token, ...view } = created;
    expect(await tokens.get(created.id)).toStrictEqual(view);
    expect(await tokens.current(created.id)).toMatchObject({ name: "ci" });
  });

  test("that could not be kept is not given out", async () => {
    const { tokens, documents } = bench();
    documents.writeDocument = () => Promise.resolve({ kind: "conflict", current: undefined });
    expect(await codeOf(() => tokens.create({ kind: "user", role: "viewer" }, ADMIN, FROM))).toBe("STORE_UNAVAILABLE");
  });

  test("has a name of its own and no scope where none restricts", async () => {
    const { tokens, documents } = bench();
    const created = await tokens.create({ kind: "user", role: "viewer", scope: {} }, ADMIN, FROM);
    expect(created.name).toBe(`user-${created.id}`);
    expect(documents.of("token")[0]?.value).not.toHaveProperty("scope");
  });

  test.each<[string, TokenRequest]>([
    ["no role", { kind: "user" }],
    ["an agent", { kind: "user", role: "viewer", agent: "a" }],
    ["labels", { kind: "user", role: "viewer", labels: {} }],
    ["a scope that cannot be used", { kind: "user", role: "viewer", scope: { agents: [] } }],
    ["the role of an agent and no agent", { kind: "user", role: "agent" }],
    ["the role of an agent and a scope without agents", { kind: "user", role: "agent", scope: { selector: "a" } }],
    ["a name with a line break", { kind: "user", role: "viewer", name: "a\nb" }],
    ["an empty name", { kind: "user", role: "viewer", name: "" }],
    ["an endless name", { kind: "user", role: "viewer", name: "a".repeat(101) }],
    ["no time", { kind: "user", role: "viewer", ttl: NS_PER_S - 1 }],
    ["all time", { kind: "user", role: "viewer", ttl: 3651 * DAY_MS * 1_000_000 }],
    ["no number", { kind: "user", role: "viewer", ttl: Number.NaN }],
    ["a negative time", { kind: "user", role: "viewer", ttl: -NS_PER_S }],
    ["endless time", { kind: "user", role: "viewer", ttl: Number.POSITIVE_INFINITY }],
  ])("is refused with %s", async (_name, request) => {
    const { tokens, documents } = bench();
    expect(await codeOf(() => tokens.create(request, ADMIN, FROM))).toBe("INVALID_REQUEST");
    expect(documents.of("token")).toStrictEqual([]);
  });

  test("lasts from a second to ten years", async () => {
    const { tokens, ports } = bench();
    for (const ms of [1_000, 3650 * DAY_MS]) {
      const { expires_at } = await tokens.create({ kind: "user", role: "viewer", ttl: ms * 1_000_000 }, ADMIN, FROM);
      expect(expires_at).toBe(new Date(ports.clock.now() + ms).toISOString());
    }
  });

  test("may be an agent's, of agents that are named", async () => {
    const { tokens } = bench();
    expect(await tokens.create({ kind: "user", role: "agent", scope: { agents: ["a"] } }, ADMIN, FROM)).toMatchObject({ role: "agent" });
  });

  test("is made and revoked by administrators without a scope only", async () => {
    const { tokens } = bench();
    const { id } = await tokens.create({ kind: "user", role: "viewer" }, ADMIN, FROM);
    for (const by of [operator(undefined), { ...ADMIN, scope: { agents: ["*"] } }, { ...ADMIN, role: "viewer" as const }]) {
      expect(await codeOf(() => tokens.create({ kind: "user", role: "viewer" }, by, FROM))).toBe("ACCESS_DENIED");
      expect(await codeOf(() => tokens.revoke(id, by, FROM))).toBe("ACCESS_DENIED");
    }
    expect(await tokens.current(id)).toBeDefined();
  });

  test("ends with its time", async () => {
    const { tokens, manual } = bench();
    const { token, id } = await tokens.create({ kind: "user", role: "viewer", ttl: 2 * NS_PER_S }, ADMIN, FROM);
    await manual.advance(1_999);
    expect(await tokens.user(token)).toMatchObject({ id });
    expect(await tokens.current(id)).toBeDefined();
    await manual.advance(1);
    expect(await tokens.user(token)).toStrictEqual({ why: "expired", id });
    expect(await tokens.current(id)).toBeUndefined();
  });

  test("ends when it is revoked, which is told and written down once", async () => {
    const { tokens, documents, changed, manual } = bench();
    const { token, id } = await tokens.create({ kind: "user", role: "viewer" }, ADMIN, FROM);
    const view = await tokens.revoke(id, ADMIN, FROM);
    expect(view.revoked_at).toBeDefined();
    expect(changed).toStrictEqual([id]);
    expect(await tokens.user(token)).toStrictEqual({ why: "revoked", id });
    expect(await tokens.current(id)).toBeUndefined();
    await manual.advance(1_000);
    expect(await tokens.revoke(id, ADMIN, FROM)).toStrictEqual(view);
    expect(documents.audit.map(({ action }) => action)).toStrictEqual(["token_created", "token_revoked"]);
    expect(await codeOf(() => tokens.revoke("unknown", ADMIN, FROM))).toBe("TOKEN_NOT_FOUND");
  });

  test("that is none, or another, is not taken for it", async () => {
    const { tokens } = bench();
    const { token, id } = await tokens.create({ kind: "user", role: "viewer" }, ADMIN, FROM);
    const enrolment = await tokens.create({ kind: "enrolment", agent: "a" }, ADMIN, FROM);
    expect(await tokens.user("")).toStrictEqual({ why: "malformed", id: undefined });
    expect(await tokens.user(`${token}x`)).toStrictEqual({ why: "malformed", id: undefined });
    const stranger = makeToken("user");
    expect(await tokens.user(stranger.token)).toStrictEqual({ why: "unknown", id: stranger.id });
    expect(await tokens.user(enrolment.token)).toStrictEqual({ why: "wrong kind", id: enrolment.id });
    expect(await tokens.current(enrolment.id)).toBeUndefined();
    expect(await tokens.current("unknown")).toBeUndefined();
    expect(await tokens.get("unknown")).toBeUndefined();
    // The id of one that counts, and a secret that somebody made up, with the right checksum.
    const guess = forged(id);
    expect(await tokens.user(guess)).toStrictEqual({ why: "unknown", id });
  });

  test("kept as another kind than its prefix says does not count", async () => {
    const { tokens, documents } = bench();
    const { token, id, sha256 } = makeToken("user");
    const record = { kind: "enrolment", name: "x", sha256, agent: "a", createdAtMs: 0, createdBy: "x", expiresAtMs: 9e15 };
    await documents.writeDocument({
      tenant: "default",
      kind: "token",
      id,
      expect: 0,
      value: JSON.stringify(record),
      expiresAtMs: undefined,
    });
    expect(await tokens.user(token)).toStrictEqual({ why: "wrong kind", id });
  });
});

/** A well-formed token with this id, as anybody can make who knows the checksum. */
function forged(id: string): string {
  const { token } = makeToken("user");
  const body = `tpu_${id}_${token.slice(17, 51)}`;
  const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  let rest = Bun.hash.crc32(body);
  let code = "";
  for (let at = 0; at < 6; at += 1) {
    code = `${alphabet[rest % 62]}${code}`;
    rest = Math.floor(rest / 62);
  }
  return `${body}${code}`;
}

describe("an enrolment token", () => {
  test("is bound to an agent or a pattern, and to labels", async () => {
    const { tokens, ports } = bench();
    const { token, id, expires_at } = await tokens.create(
      { kind: "enrolment", agent: "ship-*", labels: { fleet: "a" } },
      operator(undefined),
      FROM,
    );
    expect(expires_at).toBe(new Date(ports.clock.now() + 15 * 60_000).toISOString());
    expect(await tokens.find(token)).toStrictEqual({
      token: {
        id,
        name: `enrolment-${id}`,
        agent: "ship-*",
        labels: { fleet: "a" },
        createdAtMs: ports.clock.now(),
        createdBy: "token:op",
        usedBy: undefined,
      },
    });
  });

  test("is shown without what it has not", async () => {
    const { tokens, ports } = bench();
    const created = await tokens.create({ kind: "enrolment", agent: "a" }, ADMIN, FROM);
    const { token: _token, ...view } = created;
    const nowMs = ports.clock.now();
    expect(view).toStrictEqual({
      id: created.id,
      kind: "enrolment",
      name: `enrolment-${created.id}`,
      agent: "a",
      created_at: new Date(nowMs).toISOString(),
      created_by: "token:boss",
      expires_at: new Date(nowMs + 15 * 60_000).toISOString(),
    });
    await tokens.bind(created.id, { agentId: "a", keySha256: KEY });
    await tokens.revoke(created.id, ADMIN, FROM);
    const at = new Date(nowMs).toISOString();
    expect(await tokens.get(created.id)).toStrictEqual({ ...view, revoked_at: at, used_at: at, used_by: "a" });
  });

  test("names its agent in the audit, unless it is a pattern", async () => {
    const { tokens, documents } = bench();
    await tokens.create({ kind: "enrolment", agent: "a" }, ADMIN, FROM);
    await tokens.create({ kind: "enrolment", agent: "a*" }, ADMIN, FROM);
    expect(documents.audit.map(({ agentId }) => agentId)).toStrictEqual(["a", undefined]);
  });

  test.each<[string, TokenRequest]>([
    ["no agent", { kind: "enrolment" }],
    ["a role", { kind: "enrolment", agent: "a", role: "viewer" }],
    ["a scope", { kind: "enrolment", agent: "a", scope: {} }],
    ["an empty agent", { kind: "enrolment", agent: "" }],
    ["labels that are none", { kind: "enrolment", agent: "a", labels: { "a b": "c" } }],
    ["too much time", { kind: "enrolment", agent: "a", ttl: 31 * DAY_MS * 1_000_000 }],
  ])("is refused with %s", async (_name, request) => {
    expect(await codeOf(() => bench().tokens.create(request, ADMIN, FROM))).toBe("INVALID_REQUEST");
  });

  test.each<[string, Principal["scope"], TokenRequest, string]>([
    ["an agent of the scope", { agents: ["ship-*"] }, { kind: "enrolment", agent: "ship-1" }, "ok"],
    ["a narrower pattern", { agents: ["ship-*"] }, { kind: "enrolment", agent: "ship-1*" }, "ok"],
    ["a wider pattern", { agents: ["ship-*"] }, { kind: "enrolment", agent: "*" }, "ACCESS_DENIED"],
    ["another agent", { agents: ["ship-*"] }, { kind: "enrolment", agent: "shore-1" }, "ACCESS_DENIED"],
    ["labels of the scope", { selector: "fleet=a" }, { kind: "enrolment", agent: "x", labels: { fleet: "a" } }, "ok"],
    ["other labels", { selector: "fleet=a" }, { kind: "enrolment", agent: "x", labels: { fleet: "b" } }, "ACCESS_DENIED"],
    ["no labels", { selector: "fleet=a" }, { kind: "enrolment", agent: "x" }, "ACCESS_DENIED"],
    ["its agent and other labels", { agents: ["x"], selector: "fleet=a" }, { kind: "enrolment", agent: "x" }, "ACCESS_DENIED"],
    ["its agent and some types", { agents: ["x"], event_types: ["script"] }, { kind: "enrolment", agent: "x" }, "ACCESS_DENIED"],
    ["no scope", undefined, { kind: "enrolment", agent: "*" }, "ok"],
  ])("for %s", async (_name, scope, request, expected) => {
    const { tokens } = bench();
    expect(await codeOf(() => tokens.create(request, operator(scope), FROM))).toBe(expected);
    const { id } = await tokens.create(request, ADMIN, FROM);
    expect(await codeOf(() => tokens.revoke(id, operator(scope), FROM))).toBe(expected);
  });

  test("is not for those who may not enrol", async () => {
    const { tokens } = bench();
    const request = { kind: "enrolment", agent: "a" } as const;
    expect(await codeOf(() => tokens.create(request, { ...ADMIN, role: "producer" }, FROM))).toBe("ACCESS_DENIED");
  });

  test("is bound to one key of one agent, on whichever control plane", async () => {
    const documents = memoryDocuments();
    const [one, other] = [bench(documents), bench(documents)];
    const { token, id } = await one.tokens.create({ kind: "enrolment", agent: "a" }, ADMIN, FROM);
    const bound = await Promise.all([
      one.tokens.bind(id, { agentId: "a", keySha256: KEY }),
      other.tokens.bind(id, { agentId: "a", keySha256: "o".repeat(64) }),
    ]);
    expect(bound.filter(Boolean)).toHaveLength(1);
    const winner = bound[0] ? KEY : "o".repeat(64);
    expect(await one.tokens.bind(id, { agentId: "a", keySha256: winner })).toBe(true);
    expect(await one.tokens.bind(id, { agentId: "b", keySha256: winner })).toBe(false);
    expect(await one.tokens.bind("unknown", { agentId: "a", keySha256: KEY })).toBe(false);
    expect(await other.tokens.find(token)).toMatchObject({ token: { usedBy: { agentId: "a", keySha256: winner } } });
    expect(await other.tokens.get(id)).toMatchObject({ used_by: "a" });
  });

  test("that was revoked binds nobody, not even whom it was bound to", async () => {
    const { tokens } = bench();
    const { id, token } = await tokens.create({ kind: "enrolment", agent: "a" }, ADMIN, FROM);
    const fresh = await tokens.create({ kind: "enrolment", agent: "a" }, ADMIN, FROM);
    expect(await tokens.bind(id, { agentId: "a", keySha256: KEY })).toBe(true);
    await tokens.revoke(id, ADMIN, FROM);
    await tokens.revoke(fresh.id, ADMIN, FROM);
    expect(await tokens.bind(id, { agentId: "a", keySha256: KEY })).toBe(false);
    expect(await tokens.bind(fresh.id, { agentId: "a", keySha256: KEY })).toBe(false);
    expect(await tokens.get(fresh.id)).not.toHaveProperty("used_by");
    expect(await tokens.find(token)).toStrictEqual({ why: "revoked", id });
  });

  test("ends with its time, and a day after it was used", async () => {
    const { tokens, manual } = bench();
    const [unused, used] = [
      await tokens.create({ kind: "enrolment", agent: "a", ttl: 60 * NS_PER_S }, ADMIN, FROM),
      await tokens.create({ kind: "enrolment", agent: "a", ttl: 60 * NS_PER_S }, ADMIN, FROM),
    ];
    await tokens.bind(used.id, { agentId: "a", keySha256: KEY });
    await manual.advance(60_000);
    expect(await tokens.find(unused.token)).toStrictEqual({ why: "expired", id: unused.id });
    expect(await tokens.find(used.token)).toHaveProperty("token");
    await manual.advance(DAY_MS - 60_000);
    expect(await tokens.find(used.token)).toStrictEqual({ why: "expired", id: used.id });
  });

  test("is no user token", async () => {
    const { tokens } = bench();
    const { token, id } = await tokens.create({ kind: "user", role: "admin" }, ADMIN, FROM);
    expect(await tokens.find(token)).toStrictEqual({ why: "wrong kind", id });
  });
});

describe("the list of tokens", () => {
  test("comes in pages, by kind, with their last use", async () => {
    const { tokens, lastUse, documents } = bench();
    for (let count = 0; count < 230; count += 1) await tokens.create({ kind: "enrolment", agent: "a" }, ADMIN, FROM);
    const users = [];
    for (let count = 0; count < 5; count += 1) users.push((await tokens.create({ kind: "user", role: "viewer" }, ADMIN, FROM)).id);
    const sorted = users.toSorted();
    lastUse.note(sorted[0] ?? "", undefined);
    const { calls } = documents;
    expect(await tokens.list({ limit: 3 })).toHaveLength(3);
    // One page, and the last use of each.
    expect(documents.calls - calls).toBeLessThanOrEqual(1 + 3);
    const first = await tokens.list({ kind: "user", limit: 3 });
    expect(first.map(({ id }) => id)).toStrictEqual(sorted.slice(0, 3));
    expect(first.map(({ last_used_at: at }) => at !== undefined)).toStrictEqual([true, false, false]);
    expect(await tokens.get(sorted[0] ?? "")).toHaveProperty("last_used_at");
    expect((await tokens.list({ kind: "user", after: sorted[2] ?? "", limit: 10 })).map(({ id }) => id)).toStrictEqual(sorted.slice(3));
    expect(await tokens.list({ limit: 1_000 })).toHaveLength(235);
    expect(await tokens.list({ kind: "enrolment", limit: 1_000 })).toHaveLength(230);
  });
});

describe("tokens of files", () => {
  test("are taken in once, and stay what they became", async () => {
    const documents = memoryDocuments();
    const { tokens, ports } = bench(documents);
    const [admin, agent, late] = [makeToken("user"), makeToken("enrolment"), makeToken("enrolment")];
    const files = {
      admins: [{ id: admin.id, sha256: admin.sha256 }],
      enrolments: [
        { id: agent.id, sha256: agent.sha256, agent: "a", expiresAtMs: ports.clock.now() + 1 },
        { id: late.id, sha256: late.sha256, agent: "a", expiresAtMs: ports.clock.now() },
      ],
    };
    await tokens.bootstrap(files);
    expect(await tokens.user(admin.token)).toMatchObject({ record: { role: "admin", name: "bootstrap-admin" } });
    expect(await tokens.find(agent.token)).toMatchObject({ token: { agent: "a" } });
    expect(await tokens.find(late.token)).toMatchObject({ why: "unknown" });
    expect(documents.of("token").find(({ id }) => id === admin.id)?.expiresAtMs).toBeUndefined();
    expect(documents.audit.map(({ principal, action }) => `${principal} ${action}`)).toStrictEqual([
      "system token_created",
      "system token_created",
    ]);
    await tokens.revoke(admin.id, ADMIN, FROM);
    await bench(documents).tokens.bootstrap(files);
    expect(await tokens.user(admin.token)).toStrictEqual({ why: "revoked", id: admin.id });
    expect(documents.audit).toHaveLength(3);
  });

  test("are told of once, when they are taken in", async () => {
    const parts = testParts();
    const told: (LogFields | undefined)[] = [];
    const log = { ...silentLogger, info: (_message: string, fields?: LogFields) => void told.push(fields) };
    const tokens = new Tokens({ ...parts, log }, new LastUse(parts), () => undefined);
    const admin = makeToken("user");
    for (let count = 0; count < 2; count += 1) await tokens.bootstrap({ admins: [admin], enrolments: [] });
    expect(told).toStrictEqual([{ token_id: admin.id, kind: "user" }]);
  });

  test("count for long, but not for ever", async () => {
    const { tokens, manual } = bench();
    const admin = makeToken("user");
    await tokens.bootstrap({ admins: [admin], enrolments: [] });
    await manual.advance(3650 * DAY_MS);
    expect(await tokens.user(admin.token)).toStrictEqual({ why: "expired", id: admin.id });
  });
});
