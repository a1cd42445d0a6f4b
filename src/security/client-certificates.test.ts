import { describe, expect, test } from "bun:test";
import { TransporterError } from "../kit/mod.ts";
import { type CertificateLogin, loginStatement } from "../protocol/mod.ts";
import { type CertificateTrust, ClientCertificates } from "./client-certificates.ts";
import { LoginNonces } from "./login-nonces.ts";
import { memoryDocuments } from "./memory-documents.ts";
import { codeOf, FROM, testParts } from "./parts-for-tests.ts";
import { CLIENT_AUTH, SERVER_AUTH } from "./pki/certificate.ts";
import { NO_REVOCATIONS, readRevocations } from "./pki/crl.ts";
import { signText } from "./pki/signature.ts";
import { type Made, makeCertificate, makeCrl, makeTestAgent, makeTestCa, type Wanted } from "./pki/certificates-for-tests.ts";
import { subjectOf } from "./subject.ts";
import { makeToken } from "./token-format.ts";

const START_MS = testParts().ports.clock.now();
const NONCE_MS = 60_000;
const NONCE_KEY = "ab".repeat(32);
const [peopleCa, agentsCa, strangerCa] = await Promise.all([makeTestCa(START_MS), makeTestCa(START_MS), makeTestCa(START_MS)]);

type State = { people: readonly Made[]; agents: readonly Made[]; revocations: ReturnType<CertificateTrust["revocations"]> };

function bench(documents = memoryDocuments()) {
  const parts = testParts(documents);
  const state: State = { people: [peopleCa], agents: [agentsCa], revocations: NO_REVOCATIONS };
  const trust: CertificateTrust = {
    clientCas: () => state.people.map(({ certificate }) => certificate),
    agentCas: () => state.agents.map(({ certificate }) => certificate),
    revocations: () => state.revocations,
  };
  const living = new Set<string>();
  const identities = {
    still: async (agentId: string, key: string) => (living.has(`${agentId} ${key}`) ? { expiresAtMs: 9e15 } : undefined),
  };
  const nonces = new LoginNonces({ documents, ports: parts.ports, tenant: "default", key: NONCE_KEY });
  const certificates = new ClientCertificates(parts, trust, identities, nonces);
  const answer = (of: Made, more: Partial<CertificateLogin> & { readonly audience?: string } = {}): CertificateLogin => {
    const { audience = parts.audience, ...rest } = more;
    const nonce = more.nonce ?? certificates.challenge().nonce;
    const statement = loginStatement({ audience, nonce, certificateSha256: of.certificate.sha256 });
    return { nonce, certificate: of.pem, signature: signText(statement, of.keyPem), ...rest };
  };
  /** Why it is refused, as the audit has it; `ok` where it is not. */
  let asked = 0;
  const why = async (login: CertificateLogin): Promise<unknown> => {
    const before = documents.audit.length;
    asked += 1;
    // Of one address only the first few are written by themselves.
    const from = { ...FROM, address: `192.0.2.${asked}` };
    const code = await codeOf(() => certificates.login(login, from));
    const line = documents.audit[before];
    if (code !== "ok") expect(line).toMatchObject({ action: "login_refused", remoteAddress: from.address, details: { code } });
    return code === "ok" ? code : (line?.details?.["why"] ?? code);
  };
  return { ...parts, state, living, nonces, certificates, answer, why };
}

function person(more: Partial<Wanted> = {}): Promise<Made> {
  return makeCertificate({
    by: peopleCa,
    fromMs: START_MS - 1000,
    untilMs: START_MS + 3_000_000,
    usages: [CLIENT_AUTH],
    keyUsage: ["digitalSignature"],
    subject: [
      ["O", "Example"],
      ["O", "transporter:operator"],
      ["CN", "alice"],
    ],
    ...more,
  });
}
const alice = await person();

describe("a person's client certificate", () => {
  test("becomes a token for a quarter of an hour, for its name and role", async () => {
    const { certificates, answer, documents, ports } = bench();
    const { token, expires_at } = await certificates.login(answer(alice), FROM);
    const expiresAtMs = ports.clock.now() + 15 * 60_000;
    expect(expires_at).toBe(new Date(expiresAtMs).toISOString());
    const found = await certificates.find(token);
    const id = token.slice(4, 16);
    expect(found).toStrictEqual({
      principal: {
        tenant: "default",
        name: "cert:alice",
        kind: "user",
        via: "certificate",
        role: "operator",
        credential: `short:${id}`,
        expiresAtMs,
      },
    });
    expect(await certificates.isCurrent(id)).toBe(true);
    expect(documents.audit).toMatchObject([
      {
        principal: "cert:alice",
        action: "certificate_login",
        remoteAddress: FROM.address,
        details: { token_id: id, serial: alice.certificate.serial },
      },
    ]);
    expect(JSON.stringify([documents.of("short-token"), documents.audit])).not.toContain(token.slice(17));
    expect(documents.of("short-token")).toMatchObject([{ expiresAtMs: expiresAtMs + 60_000 }]);
  });

  test("counts no longer than itself", async () => {
    const { certificates, answer, manual } = bench();
    const { token } = await certificates.login(answer(await person({ untilMs: START_MS + 30_000 })), FROM);
    await manual.advance(29_999);
    expect(await certificates.find(token)).toHaveProperty("principal");
    await manual.advance(1);
    expect(await certificates.find(token)).toStrictEqual({ why: "expired" });
    expect(await certificates.isCurrent(token.slice(4, 16))).toBe(false);
  });

  test("that was revoked, or whose CA went, ends its token as well", async () => {
    const { certificates, answer, state } = bench();
    const { token } = await certificates.login(answer(alice), FROM);
    const crl = await makeCrl(peopleCa, { serials: [alice.certificate.serial], fromMs: START_MS });
    state.revocations = readRevocations(crl, [peopleCa.certificate], "crl.pem");
    expect(await certificates.find(token)).toStrictEqual({ why: "revoked" });
    state.revocations = NO_REVOCATIONS;
    state.people = [strangerCa];
    expect(await certificates.find(token)).toStrictEqual({ why: "CA not trusted any more" });
    state.people = [peopleCa];
    expect(await certificates.find(token)).toHaveProperty("principal");
  });

  test("is refused when it is on the revocation list", async () => {
    const { why, answer, state } = bench();
    const crl = await makeCrl(peopleCa, { serials: [alice.certificate.serial], fromMs: START_MS });
    state.revocations = readRevocations(crl, [peopleCa.certificate], "crl.pem");
    expect(await why(answer(alice))).toBe("it is on the revocation list");
  });

  test.each<[string, Partial<Wanted>, string]>([
    ["of another CA", { by: strangerCa }, "no CA that is trusted here has issued it"],
    ["for servers", { usages: [SERVER_AUTH] }, "it is not for this usage"],
    ["for nothing", { usages: undefined } as unknown as Partial<Wanted>, "it is not for this usage"],
    ["of the future", { fromMs: START_MS + 60_000 }, "it is not valid yet; compare the clocks"],
    ["of the past", { untilMs: START_MS - 1000, fromMs: START_MS - 2000 }, "it ran out at 2025-12-31T23:59:59.000Z"],
    ["that is a CA", { ca: true }, "it is a CA's certificate"],
    ["without a role", { subject: [["CN", "alice"]] }, "no role"],
    [
      "with a role that is none",
      {
        subject: [
          ["CN", "alice"],
          ["O", "transporter:root"],
        ],
      },
      "no role",
    ],
    [
      "with the role of agents",
      {
        subject: [
          ["CN", "alice"],
          ["O", "transporter:agent"],
        ],
      },
      "no role",
    ],
    [
      "with two roles",
      {
        subject: [
          ["CN", "alice"],
          ["O", "transporter:viewer"],
          ["O", "transporter:admin"],
        ],
      },
      "no role",
    ],
    [
      "with its role elsewhere",
      {
        subject: [
          ["CN", "alice"],
          ["OU", "transporter:admin"],
        ],
      },
      "no role",
    ],
    ["without a name", { subject: [["O", "transporter:viewer"]] }, "no usable name"],
    [
      "with two names",
      {
        subject: [
          ["CN", "alice"],
          ["CN", "bob"],
          ["O", "transporter:viewer"],
        ],
      },
      "no usable name",
    ],
    [
      "with a name of two lines",
      {
        subject: [
          ["CN", "alice\nO=transporter:admin"],
          ["O", "transporter:viewer"],
        ],
      },
      "no usable name",
    ],
    [
      "with an endless name",
      {
        subject: [
          ["CN", "a".repeat(101)],
          ["O", "transporter:viewer"],
        ],
      },
      "no usable name",
    ],
  ])("%s is refused", async (_name, wanted, reason) => {
    const { why, answer } = bench();
    expect(await why(answer(await person(wanted)))).toBe(reason);
  });

  test("makes nobody a person by the agents' own CA, though that stands below the people's", async () => {
    const { certificates, why, answer, state, living } = bench();
    const below = await makeTestCa(START_MS, { by: peopleCa });
    state.agents = [below];
    const sly = await person({ by: below, uris: ["transporter://agent/a-1"] });
    const chained = { certificate: `${sly.pem}${below.pem}` };
    expect(await why(answer(sly, chained))).toBe("identity revoked");
    living.add(`a-1 ${sly.certificate.keySha256}`);
    const { token } = await certificates.login(answer(sly, chained), FROM);
    expect(await certificates.find(token)).toMatchObject({ principal: { name: "agent:a-1", role: "agent" } });
    expect(await why(answer(alice))).toBe("ok");
  });

  test("takes its role from no text that whoever chose another attribute could write", async () => {
    const { certificates, answer } = bench();
    const sly = await person({
      subject: [
        ["CN", "alice, O=transporter:admin"],
        ["O", "transporter:viewer"],
      ],
    });
    const { token } = await certificates.login(answer(sly), FROM);
    expect(await certificates.find(token)).toMatchObject({ principal: { name: "cert:alice, O=transporter:admin", role: "viewer" } });
  });
});

describe("an agent's certificate", () => {
  test("becomes a token that is the agent and nobody else, until its identity is revoked", async () => {
    const { certificates, answer, living, documents } = bench();
    const agent = await makeTestAgent(agentsCa, "a-1", START_MS);
    living.add(`a-1 ${agent.certificate.keySha256}`);
    const { token } = await certificates.login(answer(agent), FROM);
    expect(documents.audit).toMatchObject([{ principal: "agent:a-1", action: "certificate_login" }]);
    expect(await certificates.find(token)).toMatchObject({
      principal: {
        name: "agent:a-1",
        kind: "agent",
        via: "certificate",
        role: "agent",
        scope: { agents: ["a-1"] },
        credential: "agent:a-1",
      },
    });
    living.clear();
    expect(await certificates.find(token)).toStrictEqual({ why: "identity revoked" });
    expect(await certificates.isCurrent(token.slice(4, 16))).toBe(false);
  });

  test("whose CA went ends its token as well", async () => {
    const { certificates, answer, living, state } = bench();
    const agent = await makeTestAgent(agentsCa, "a-1", START_MS);
    living.add(`a-1 ${agent.certificate.keySha256}`);
    const { token } = await certificates.login(answer(agent), FROM);
    state.agents = [peopleCa];
    expect(await certificates.find(token)).toStrictEqual({ why: "CA not trusted any more" });
  });

  test("is refused where the identity is not known, is revoked, or is no one agent's", async () => {
    const { why, answer, living } = bench();
    const agent = await makeTestAgent(agentsCa, "a-1", START_MS);
    living.add(`a-2 ${agent.certificate.keySha256}`);
    expect(await why(answer(agent))).toBe("identity revoked");
    const elsewhere = await makeTestAgent(agentsCa, "a-1", START_MS, { uris: ["https://agent.example.com"] });
    expect(await why(answer(elsewhere))).toBe("no agent's certificate");
    const nobody = await makeTestAgent(agentsCa, "a-1", START_MS, { uris: [] });
    expect(await why(answer(nobody))).toBe("no agent's certificate");
    const two = await makeTestAgent(agentsCa, "a-1", START_MS, { uris: ["transporter://agent/a-1", "transporter://agent/a-2"] });
    expect(await why(answer(two))).toBe("no agent's certificate");
  });

  test("is no administrator's, whatever its subject says, and a person's is no agent's", async () => {
    const { why, answer, living } = bench();
    const subject = [
      ["CN", "alice"],
      ["O", "transporter:admin"],
    ] as const;
    const sly = await makeTestAgent(agentsCa, "a-1", START_MS, { subject, uris: [] });
    expect(await why(answer(sly))).toBe("no agent's certificate");
    const slyPerson = await person({ subject: [["CN", "alice"]], uris: ["transporter://agent/a-1"] });
    living.add(`a-1 ${slyPerson.certificate.keySha256}`);
    expect(await why(answer(slyPerson))).toBe("no role");
  });
});

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

describe("a subject", () => {
  test("is read from the bytes, and not at all where it is none", async () => {
    expect(subjectOf(alice.certificate.x509.raw)).toStrictEqual({
      commonNames: ["alice"],
      organisations: ["Example", "transporter:operator"],
    });
    expect(subjectOf(new Uint8Array())).toBeUndefined();
    const { raw } = alice.certificate.x509;
    const at = raw.indexOf("alice");
    // The same letters as a BMPString, which means other letters; and no letters.
    expect(subjectOf(raw.with(at - 2, 0x1e))).toBeUndefined();
    expect(subjectOf(raw.with(at, 0xff))).toBeUndefined();
    expect(subjectOf(raw.with(at, 0x41))?.commonNames).toStrictEqual(["Alice"]);
    expect(subjectOf(alice.certificate.x509.raw.subarray(1))).toBeUndefined();
  });
});
