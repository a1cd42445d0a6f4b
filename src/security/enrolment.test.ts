import { beforeAll, describe, expect, test } from "bun:test";
import { TransporterError } from "../kit/mod.ts";
import { type EnrolmentAnswer, renewalStatement } from "../protocol/mod.ts";
import { enrolmentId } from "./approvals.ts";
import { createEnrolment } from "./enrolment.ts";
import { LastUse } from "./last-use.ts";
import { createIdentities } from "./identities.ts";
import { ADMIN, FROM, codeOf, testParts } from "./parts-for-tests.ts";
import type { ClusterAccounts } from "./parts.ts";
import { CLIENT_AUTH, readCertificates } from "./pki/certificate.ts";
import { verifyChain } from "./pki/chain.ts";
import { csrSha256, makeCsr, makeKey, readCsr } from "./pki/csr.ts";
import { NO_REVOCATIONS } from "./pki/crl.ts";
import { signText } from "./pki/signature.ts";
import { stateOf, trustForTests } from "./pki/trust-for-tests.ts";
import { type Made, makeTestCa } from "./pki/certificates-for-tests.ts";
import { Tokens } from "./tokens.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
const HOUR_MS = 3_600_000;
let ca: Made;

beforeAll(async () => {
  ca = await makeTestCa(NOW_MS, { fromMs: NOW_MS - HOUR_MS, untilMs: NOW_MS + 1000 * HOUR_MS });
});

const noClusters: ClusterAccounts = { claims: () => false, verify: async () => ({ why: "unknown issuer" }) };
const clusterOf = (agent: string): ClusterAccounts => ({
  claims: (bearer) => bearer.startsWith("eyJ"),
  verify: async (bearer) =>
    bearer === "eyJgood"
      ? { account: { cluster: "east", subject: "system:serviceaccount:transporter:agent", agent } }
      : { why: "unknown issuer" },
});

function bench(more: { readonly issues?: boolean; readonly approveByHand?: boolean; readonly clusters?: ClusterAccounts } = {}) {
  const parts = testParts();
  const trust = trustForTests(stateOf([ca], { issues: more.issues ?? true }));
  const tokens = new Tokens(parts, new LastUse(parts), () => undefined);
  const enrolment = createEnrolment({
    parts,
    trust,
    tokens,
    clusters: more.clusters ?? noClusters,
    certificateTtlMs: HOUR_MS,
    renewalGraceMs: 2 * HOUR_MS,
    approveByHand: more.approveByHand ?? false,
    agentUrls: ["wss://cp.example.com:8443"],
  });
  const token = async (agent: string, labels?: Record<string, string>): Promise<string> =>
    (await tokens.create({ kind: "enrolment", agent, ...(labels === undefined ? {} : { labels }) }, ADMIN, FROM)).token;
  const ask = (agentId: string, key: string, bearer: string): Promise<EnrolmentAnswer> =>
    enrolment.request({ agent_id: agentId, csr: makeCsr(key) }, bearer, FROM);
  return { ...parts, trust, tokens, enrolment, identities: createIdentities({ parts, trust }), token, ask };
}

const lastAudit = ({ documents }: ReturnType<typeof bench>) => documents.audit.at(-1);
const keyOf = (key: string): string => readCsr(makeCsr(key)).keySha256;

describe("an agent enrols by a token", () => {
  test("and gets a certificate for its key, its id and nothing more", async () => {
    const here = bench();
    const key = makeKey();
    const answer = await here.ask("a b", key, await here.token("a b", { site: "north" }));
    expect(answer).toMatchObject({
      status: "issued",
      id: enrolmentId({ agentId: "a b", keySha256: keyOf(key) }),
      trust_bundle: ca.pem,
      audience: "installation-1",
      agent_urls: ["wss://cp.example.com:8443"],
      expires_at: "2026-01-01T01:00:00.000Z",
      renew_at: "2026-01-01T00:40:00.000Z",
    });
    const [certificate] = readCertificates(answer.certificate ?? "") ?? [];
    if (certificate === undefined) throw new Error("no certificate");
    expect(certificate.keySha256).toBe(keyOf(key));
    expect(certificate.uris).toEqual(["transporter://agent/a%20b"]);
    expect(certificate.names).toEqual([]);
    expect(certificate.extendedKeyUsage).toEqual([CLIENT_AUTH]);
    expect(certificate.ca).toBe(false);
    const query = {
      leaf: certificate,
      others: [],
      anchors: [ca.certificate],
      revocations: NO_REVOCATIONS,
      nowMs: NOW_MS,
      usage: CLIENT_AUTH,
    };
    expect(verifyChain(query).ok).toBe(true);
    expect(await here.identities.get("a b")).toMatchObject({ labels: { site: "north" }, certificates: [{ key_sha256: keyOf(key) }] });
    expect(lastAudit(here)).toMatchObject({ action: "agent_enrolled", agentId: "a b", remoteAddress: FROM.address });
  });

  test("and asks again with the same key where the answer was lost", async () => {
    const here = bench();
    const [key, token] = [makeKey(), await here.token("a")];
    await here.ask("a", key, token);
    expect((await here.ask("a", key, token)).status).toBe("issued");
    expect((await here.identities.get("a"))?.certificates).toHaveLength(1);
  });

  test("and asks again with its first key when it has renewed: the newer key stays its own", async () => {
    const here = bench();
    const [first, second, token] = [makeKey(), makeKey(), await here.token("a")];
    const { certificate = "" } = await here.ask("a", first, token);
    const csr = makeCsr(second);
    const [{ sha256 } = { sha256: "" }] = readCertificates(certificate) ?? [];
    const signature = signText(renewalStatement({ certificateSha256: sha256, csrSha256: csrSha256(csr) }), first);
    await here.enrolment.renew({ certificate, csr, signature }, FROM);
    await here.ask("a", first, token);
    expect(await here.identities.still("a", keyOf(second))).toBeDefined();
    expect(await here.identities.still("a", keyOf(first))).toBeDefined();
  });

  test("of a pattern, and the same token lets no second one in", async () => {
    const here = bench();
    const token = await here.token("shop-*");
    const key = makeKey();
    expect((await here.ask("shop-1", key, token)).status).toBe("issued");
    expect(await codeOf(() => here.ask("shop-2", key, token))).toBe("ENROLMENT_REFUSED");
    expect(await codeOf(() => here.ask("shop-2", makeKey(), token))).toBe("ENROLMENT_REFUSED");
  });

  test("of a CA that is not at the top, with what leads there", async () => {
    const here = bench();
    const issuer = here.trust.state().issuer;
    here.trust.change(stateOf([ca], { issuer: issuer === undefined ? undefined : { ...issuer, chain: ["between\n"] } }));
    expect((await here.ask("a", makeKey(), await here.token("a"))).certificate).toEndWith("-----END CERTIFICATE-----\nbetween\n");
  });
});

describe("an agent is refused", () => {
  const refusals: readonly (readonly [string, (here: ReturnType<typeof bench>) => Promise<unknown>, string, string | undefined])[] = [
    [
      "with a token that nobody knows",
      (here) => here.ask("a", makeKey(), "tpe_x"),
      "ENROLMENT_REFUSED",
      "the token is not taken: malformed",
    ],
    [
      "with a token for another agent",
      async (here) => here.ask("b", makeKey(), await here.token("a")),
      "ENROLMENT_REFUSED",
      "what vouches for it is for another agent",
    ],
    [
      "with a token that another key has used",
      async (here) => {
        const token = await here.token("a");
        await here.ask("a", makeKey(), token);
        return here.ask("a", makeKey(), token);
      },
      "ENROLMENT_REFUSED",
      "the token was used already, with another key",
    ],
    [
      "with an id that cannot be one",
      async (here) => here.ask("a\u0000", makeKey(), await here.token("*")),
      "INVALID_REQUEST",
      "agent_id contains a control character",
    ],
    [
      "with a request that is none",
      async (here) => here.enrolment.request({ agent_id: "a", csr: "hello" }, await here.token("a"), FROM),
      "INVALID_CSR",
      undefined,
    ],
    [
      "by a pattern where another key has the id",
      async (here) => {
        await here.ask("a", makeKey(), await here.token("a"));
        return here.ask("a", makeKey(), await here.token("*"));
      },
      "IDENTITY_CONFLICT",
      'the id "a" belongs to another key',
    ],
  ];
  test.each(refusals)("%s, and it stands in the audit", async (_name, run, code, reason) => {
    const here = bench();
    expect(await codeOf(() => run(here))).toBe(code);
    expect(lastAudit(here)).toMatchObject({ action: "enrolment_refused", remoteAddress: FROM.address, details: { code } });
    if (reason !== undefined) expect(lastAudit(here)?.details?.["reason"]).toBe(reason);
  });

  test("and the audit names the token, where there is one", async () => {
    const here = bench();
    const token = await here.token("a");
    await here.tokens.revoke(token.slice(4, 16), ADMIN, FROM);
    expect(await codeOf(() => here.ask("a", makeKey(), token))).toBe("ENROLMENT_REFUSED");
    expect(lastAudit(here)?.details).toMatchObject({ token_id: token.slice(4, 16), reason: "the token is not taken: revoked" });
    await codeOf(() => here.ask("a", makeKey(), "hello"));
    expect(Object.keys(lastAudit(here)?.details ?? {})).not.toContain("token_id");
  });

  test("where nothing issues here, as nobody's failure", async () => {
    const here = bench({ issues: false });
    for (let index = 0; index < 25; index += 1) expect(await codeOf(() => here.ask("a", makeKey(), "tpe_x"))).toBe("ENROLMENT_DISABLED");
  });

  test("with a guessed token after some, whoever it is", async () => {
    const here = bench();
    for (let index = 0; index < 20; index += 1) expect(await codeOf(() => here.ask("a", makeKey(), "tpe_x"))).toBe("ENROLMENT_REFUSED");
    expect(await codeOf(async () => here.ask("a", makeKey(), await here.token("a")))).toBe("TOO_MANY_ATTEMPTS");
    expect(lastAudit(here)).toMatchObject({ action: "enrolment_refused", details: { code: "TOO_MANY_ATTEMPTS" } });
  });

  test.each([
    ["requests that are none", "INVALID_CSR"],
    ["an id that is another's", "IDENTITY_CONFLICT"],
  ])("after too many %s as well", async (_name, code) => {
    const here = bench();
    await here.ask("a", makeKey(), await here.token("a"));
    const [pattern, csr] = [await here.token("*"), code === "INVALID_CSR" ? "hello" : makeCsr(makeKey())];
    const ask = () => here.enrolment.request({ agent_id: "a", csr }, pattern, FROM);
    for (let index = 0; index < 20; index += 1) expect(await codeOf(ask)).toBe(code);
    expect(await codeOf(ask)).toBe("TOO_MANY_ATTEMPTS");
  });

  test("with a good one after very many, as each costs a signature", async () => {
    const here = bench();
    const [key, token] = [makeKey(), await here.token("a")];
    for (let index = 0; index < 99; index += 1) here.signings.take(FROM.address);
    expect(await codeOf(() => here.ask("a", key, token))).toBe("ok");
    expect(await codeOf(() => here.ask("a", key, token))).toBe("TOO_MANY_ATTEMPTS");
  });

  test("but is not held off for what others did wrong elsewhere, nor for what it did right", async () => {
    const here = bench();
    const [key, token] = [makeKey(), await here.token("a")];
    for (let index = 0; index < 21; index += 1) expect((await here.ask("a", key, token)).status).toBe("issued");
  });

  test("by a store that does not answer, which is nobody's failure and in no audit", async () => {
    const here = bench();
    const [key, token] = [makeKey(), await here.token("a")];
    const before = here.documents.audit.length;
    here.documents.failure = new TransporterError("STORE_UNAVAILABLE", "away");
    for (let index = 0; index < 25; index += 1) expect(await codeOf(() => here.ask("a", key, token))).toBe("STORE_UNAVAILABLE");
    here.documents.failure = undefined;
    expect(here.documents.audit).toHaveLength(before);
    expect((await here.ask("a", key, token)).status).toBe("issued");
  });

  test("without using up the token, where another key has the id", async () => {
    const here = bench();
    await here.ask("a", makeKey(), await here.token("a"));
    const token = await here.token("*");
    const key = makeKey();
    expect(await codeOf(() => here.ask("a", key, token))).toBe("IDENTITY_CONFLICT");
    expect((await here.ask("b", key, token)).status).toBe("issued");
  });

  test("when its identity is removed while it is being written", async () => {
    const here = bench();
    const token = await here.token("a");
    const { documents } = here;
    const write = documents.writeDocument.bind(documents);
    documents.writeDocument = async (wanted) => (wanted.kind === "identity" ? { kind: "conflict", current: undefined } : write(wanted));
    expect(await codeOf(() => here.ask("a", makeKey(), token))).toBe("STORE_UNAVAILABLE");
  });

  test("when two keys ask with one token at once: one of them", async () => {
    const here = bench();
    const token = await here.token("a");
    const codes = await Promise.all([makeKey(), makeKey()].map((key) => codeOf(() => here.ask("a", key, token))));
    expect(codes.toSorted()).toEqual(["ENROLMENT_REFUSED", "ok"]);
  });

  test("when two ask for one id by patterns at once: one of them", async () => {
    const here = bench();
    const tokens = [await here.token("*"), await here.token("*")];
    const codes = await Promise.all(tokens.map((token) => codeOf(() => here.ask("a", makeKey(), token))));
    expect(codes.toSorted()).toEqual(["IDENTITY_CONFLICT", "ok"]);
  });
});

describe("an id that is taken", () => {
  test("goes to another key by a token for exactly it, and the one before counts no more", async () => {
    const here = bench();
    const [first, second] = [makeKey(), makeKey()];
    await here.ask("a", first, await here.token("a", { site: "north" }));
    await here.ask("a", second, await here.token("a"));
    const view = await here.identities.get("a");
    expect(view?.certificates.map(({ key_sha256, revoked_at }) => [key_sha256, revoked_at !== undefined])).toEqual([
      [keyOf(second), false],
      [keyOf(first), true],
    ]);
    expect(view?.labels).toEqual({});
    expect(await here.identities.still("a", keyOf(first))).toBeUndefined();
  });

  test("stays with who has it where the token was made before that", async () => {
    const here = bench();
    const before = await here.token("a");
    await here.manual.advance(10);
    const key = makeKey();
    await here.ask("a", key, await here.token("a", { site: "north" }));
    expect(await codeOf(() => here.ask("a", makeKey(), before))).toBe("IDENTITY_CONFLICT");
    expect((await here.identities.get("a"))?.labels).toEqual({ site: "north" });
    expect(await here.identities.still("a", keyOf(key))).toBeDefined();
  });

  test("is free for a pattern again when its last certificate ran out beyond the grace", async () => {
    const here = bench();
    await here.ask("a", makeKey(), await here.token("a"));
    await here.manual.advance(3 * HOUR_MS - 1);
    expect(await codeOf(async () => here.ask("a", makeKey(), await here.token("*")))).toBe("IDENTITY_CONFLICT");
    await here.manual.advance(1);
    expect(await codeOf(async () => here.ask("a", makeKey(), await here.token("*")))).toBe("ok");
  });

  test("that was revoked comes back by a token made after that only", async () => {
    const here = bench();
    const [key, used, before] = [makeKey(), await here.token("a"), await here.token("a")];
    await here.ask("a", key, used);
    await here.manual.advance(10);
    await here.identities.revoke("a", ADMIN, FROM);
    expect(await codeOf(() => here.ask("a", key, used))).toBe("ENROLMENT_REFUSED");
    expect(await codeOf(() => here.ask("a", makeKey(), before))).toBe("ENROLMENT_REFUSED");
    expect(await codeOf(async () => here.ask("a", makeKey(), await here.token("a")))).toBe("ENROLMENT_REFUSED");
    await here.manual.advance(1);
    const next = makeKey();
    expect((await here.ask("a", next, await here.token("a"))).status).toBe("issued");
    expect(await here.identities.still("a", keyOf(next))).toBeDefined();
    expect(await here.identities.still("a", keyOf(key))).toBeUndefined();
  });
});

describe("an agent enrols by the account of a cluster that is trusted", () => {
  test("again and again with its own key, and takes no id of another key by a pattern", async () => {
    const here = bench({ clusters: clusterOf("east-*") });
    const key = makeKey();
    for (let index = 0; index < 2; index += 1) expect((await here.ask("east-1", key, "eyJgood")).status).toBe("issued");
    expect((await here.identities.get("east-1"))?.enrolled_by).toBe("cluster:east:system:serviceaccount:transporter:agent");
    expect(await codeOf(() => here.ask("east-1", makeKey(), "eyJgood"))).toBe("IDENTITY_CONFLICT");
    expect(await codeOf(() => here.ask("west-1", key, "eyJgood"))).toBe("ENROLMENT_REFUSED");
    expect(await codeOf(() => here.ask("east-2", key, "eyJbad"))).toBe("ENROLMENT_REFUSED");
  });

  test("is in no audit where the cluster's keys cannot be had: nobody was refused", async () => {
    const verify = () => Promise.reject(new TransporterError("ISSUER_UNAVAILABLE", "away"));
    const here = bench({ clusters: { claims: () => true, verify } });
    for (let index = 0; index < 25; index += 1) expect(await codeOf(() => here.ask("a", makeKey(), "eyJ"))).toBe("ISSUER_UNAVAILABLE");
    expect(here.documents.audit).toEqual([]);
  });

  test("takes its own id from a key that was lost", async () => {
    const here = bench({ clusters: clusterOf("east") });
    await here.ask("east", makeKey(), "eyJgood");
    expect((await here.ask("east", makeKey(), "eyJgood")).status).toBe("issued");
  });

  test("takes no labels away that somebody gave it, with its own key or with another", async () => {
    const here = bench({ clusters: clusterOf("east") });
    const key = makeKey();
    await here.ask("east", key, await here.token("east", { env: "test" }));
    for (const next of [key, makeKey()]) {
      expect((await here.ask("east", next, "eyJgood")).status).toBe("issued");
      expect((await here.identities.get("east"))?.labels).toEqual({ env: "test" });
    }
  });

  test("does not undo a revocation", async () => {
    const here = bench({ clusters: clusterOf("east") });
    await here.ask("east", makeKey(), "eyJgood");
    await here.identities.revoke("east", ADMIN, FROM);
    await here.manual.advance(HOUR_MS);
    expect(await codeOf(() => here.ask("east", makeKey(), "eyJgood"))).toBe("ENROLMENT_REFUSED");
  });
});
