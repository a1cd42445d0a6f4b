import { describe, expect, test } from "bun:test";
import { Approvals, type Asking, enrolmentId } from "./approvals.ts";
import { createEnrolment } from "./enrolment.ts";
import { createIdentities } from "./identities.ts";
import { LastUse } from "./last-use.ts";
import { ADMIN, FROM, codeOf, testParts } from "./parts-for-tests.ts";
import { makeCsr, makeKey, readCsr } from "./pki/csr.ts";
import { stateOf, trustForTests } from "./pki/trust-for-tests.ts";
import { makeTestCa } from "./pki/certificates-for-tests.ts";
import { Tokens } from "./tokens.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
const DAY_MS = 86_400_000;
const ASKING: Asking = { agentId: "a", keySha256: "aa", voucher: "token:1", vouchedBy: "token:one" };
const ID = enrolmentId(ASKING);

function bench() {
  const parts = testParts();
  return { ...parts, approvals: new Approvals(parts) };
}

describe("a request for a certificate", () => {
  test("waits, is shown, and is decided by somebody whom the audit names", async () => {
    const { approvals, documents, manual } = bench();
    expect(await approvals.ask(ASKING, FROM)).toBe("pending");
    const waiting = {
      id: ID,
      agent_id: "a",
      status: "pending",
      key_sha256: "aa",
      vouched_by: "token:one",
      remote_address: FROM.address,
      requested_at: "2026-01-01T00:00:00.000Z",
    } as const;
    expect(await approvals.list()).toStrictEqual([waiting]);
    await manual.advance(1000);
    const decided = { ...waiting, status: "approved", decided_at: "2026-01-01T00:00:01.000Z", decided_by: "token:boss" } as const;
    expect(await approvals.decide(ID, true, ADMIN, FROM)).toEqual(decided);
    expect(await approvals.ask(ASKING, FROM)).toBe("approved");
    expect(documents.audit).toMatchObject([
      { action: "enrolment_requested", principal: "token:one", agentId: "a", details: { key_sha256: "aa" } },
      { action: "enrolment_approved", principal: "token:boss", agentId: "a", details: { enrolment_id: ID } },
    ]);
  });

  test("is one for each agent and key", () => {
    expect(enrolmentId({ agentId: "a", keySha256: "bb" })).not.toBe(ID);
    expect(enrolmentId({ agentId: "b", keySha256: "aa" })).not.toBe(ID);
    expect(enrolmentId({ agentId: "aa", keySha256: "a" })).not.toBe(ID);
  });

  test("is decided once: the same again changes nothing, the opposite is refused", async () => {
    const { approvals, documents } = bench();
    await approvals.ask(ASKING, FROM);
    await approvals.decide(ID, false, ADMIN, FROM);
    expect((await approvals.decide(ID, false, ADMIN, FROM)).status).toBe("denied");
    expect(documents.audit).toHaveLength(2);
    expect(await codeOf(() => approvals.decide(ID, true, ADMIN, FROM))).toBe("IDENTITY_CONFLICT");
    expect(await approvals.ask(ASKING, FROM)).toBe("denied");
  });

  test("begins anew on another's word, whatever was decided before", async () => {
    const { approvals } = bench();
    await approvals.ask(ASKING, FROM);
    await approvals.decide(ID, true, ADMIN, FROM);
    const again = { ...ASKING, voucher: "token:2", vouchedBy: "token:two" };
    expect(await approvals.ask(again, FROM)).toBe("pending");
    expect(await approvals.list()).toMatchObject([{ status: "pending", vouched_by: "token:two" }]);
  });

  test("is gone after a day, even before it is swept away", async () => {
    const { approvals, documents, manual } = bench();
    await approvals.ask(ASKING, FROM);
    expect(documents.of("enrolment")).toMatchObject([{ expiresAtMs: NOW_MS + DAY_MS }]);
    await manual.advance(DAY_MS - 1);
    expect((await approvals.list()).length).toBe(1);
    await manual.advance(1);
    expect(await approvals.list()).toEqual([]);
    expect(await codeOf(() => approvals.decide(ID, true, ADMIN, FROM))).toBe("ENROLMENT_NOT_FOUND");
    expect(documents.audit.map(({ action }) => action)).toEqual(["enrolment_requested"]);
    expect(documents.of("enrolment")).toMatchObject([{ value: { status: "pending" } }]);
    await approvals.ask(ASKING, FROM);
    expect(await approvals.list()).toMatchObject([{ requested_at: "2026-01-02T00:00:00.000Z" }]);
  });

  test("that nobody made cannot be decided", async () => {
    expect(await codeOf(() => bench().approvals.decide("nothing", true, ADMIN, FROM))).toBe("ENROLMENT_NOT_FOUND");
  });

  test("is refused where a thousand wait; those that wait are answered, and may begin anew", async () => {
    const { approvals, documents } = bench();
    await approvals.ask({ ...ASKING, agentId: "a7" }, FROM);
    const [{ value } = { value: undefined }] = documents.of("enrolment");
    for (let index = 1; index < 1000; index += 1)
      await documents.writeDocument({
        tenant: "default",
        kind: "enrolment",
        id: `x${index}`,
        expect: 0,
        value: JSON.stringify(value),
        expiresAtMs: undefined,
      });
    expect(await codeOf(() => approvals.ask(ASKING, FROM))).toBe("ENROLMENT_REFUSED");
    expect(await approvals.ask({ ...ASKING, agentId: "a7" }, FROM)).toBe("pending");
    expect(await approvals.ask({ ...ASKING, agentId: "a7", voucher: "token:2" }, FROM)).toBe("pending");
    expect(await approvals.list()).toHaveLength(1000);
  });

  test("are shown oldest first", async () => {
    const { approvals, manual } = bench();
    for (const agentId of ["z", "y", "x"]) {
      await approvals.ask({ ...ASKING, agentId }, FROM);
      await manual.advance(1);
    }
    expect((await approvals.list()).map(({ agent_id }) => agent_id)).toEqual(["z", "y", "x"]);
  });
});

describe("where somebody has to approve", () => {
  async function agentBench() {
    const parts = testParts();
    const trust = trustForTests(stateOf([await makeTestCa(NOW_MS, { untilMs: NOW_MS + DAY_MS })]));
    const tokens = new Tokens(parts, new LastUse(parts), () => undefined);
    const clusters = {
      claims: (bearer: string) => bearer.startsWith("eyJ"),
      verify: async () => ({ account: { cluster: "east", subject: "agent", agent: "a" } }),
    };
    const times = { certificateTtlMs: 60_000, renewalGraceMs: 0 };
    const enrolment = createEnrolment({ parts, trust, tokens, clusters, ...times, approveByHand: true, agentUrls: [] });
    const key = makeKey();
    const token = (await tokens.create({ kind: "enrolment", agent: "a" }, ADMIN, FROM)).token;
    const ask = (bearer = token, by = key) => enrolment.request({ agent_id: "a", csr: makeCsr(by) }, bearer, FROM);
    const id = enrolmentId({ agentId: "a", keySha256: readCsr(makeCsr(key)).keySha256 });
    return { ...parts, enrolment, identities: createIdentities({ parts, trust }), ask, id };
  }

  test("an agent waits, asks again, and then has its certificate, long after its token ran out", async () => {
    const { ask, enrolment, id, identities, manual } = await agentBench();
    expect(await ask()).toMatchObject({ status: "pending", id, audience: "installation-1" });
    expect((await ask()).certificate).toBeUndefined();
    expect(await identities.get("a")).toBeUndefined();
    await manual.advance(3_600_000);
    expect(await enrolment.list()).toMatchObject([{ id, status: "pending" }]);
    await enrolment.decide(id, true, ADMIN, FROM);
    expect(await ask()).toMatchObject({ status: "issued", id });
    expect(await identities.get("a")).toBeDefined();
  });

  test("an agent that is denied gets none", async () => {
    const { ask, enrolment, id, identities } = await agentBench();
    await ask();
    await enrolment.decide(id, false, ADMIN, FROM);
    const answer = await ask();
    expect([answer.status, answer.certificate]).toEqual(["denied", undefined]);
    expect(await identities.get("a")).toBeUndefined();
  });

  test("an approval from before a revocation does not undo it", async () => {
    const { ask, enrolment, id, identities, manual } = await agentBench();
    await ask("eyJ");
    await manual.advance(1);
    await enrolment.decide(id, true, ADMIN, FROM);
    await ask("eyJ");
    await manual.advance(1);
    await identities.revoke("a", ADMIN, FROM);
    expect(await codeOf(() => ask("eyJ"))).toBe("ENROLMENT_REFUSED");
  });
});
