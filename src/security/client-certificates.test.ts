import { describe, expect, test } from "bun:test";
import { FROM } from "./parts-for-tests.ts";
import { SERVER_AUTH } from "./pki/certificate.ts";
import { NO_REVOCATIONS, readRevocations } from "./pki/crl.ts";
import { makeCrl, makeTestAgent, makeTestCa, type Wanted } from "./pki/certificates-for-tests.ts";
import { alice, certificatesBench as bench, person, peopleCa, agentsCa, strangerCa, START_MS } from "./client-certificates-for-tests.ts";

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
