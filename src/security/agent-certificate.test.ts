import { beforeAll, describe, expect, test } from "bun:test";
import { checkAgentCertificate } from "./agent-certificate.ts";
import { stateOf } from "./pki/trust-for-tests.ts";
import type { TrustState } from "./pki/trust-state.ts";
import { type Made, type Wanted, makeTestAgent, makeTestCa } from "./pki/certificates-for-tests.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
let ca: Made;
let trust: TrustState;

beforeAll(async () => {
  ca = await makeTestCa(NOW_MS);
  trust = stateOf([ca]);
});

function check(pem: string, nowMs = NOW_MS, graceMs = 0, by = trust): string {
  try {
    return `ok ${checkAgentCertificate(pem, by, nowMs, graceMs).agentId}`;
  } catch (error) {
    const { code, message } = error as { readonly code: string; readonly message: string };
    return `${code}: ${message}`;
  }
}
const agent = (uris: readonly string[], more: Partial<Wanted> = {}): Promise<Made> => makeTestAgent(ca, "", NOW_MS, { uris, ...more });

describe("an agent's certificate", () => {
  test.each([
    [["transporter://agent/a%20b"], "ok a b"],
    [["spiffe://example.com/a", "transporter://agent/a"], "ok a"],
    [["transporter://agent/a", "transporter://agent/b"], "does not name one agent"],
    [["transporter://agent/a", "transporter://people/b"], "does not name one agent"],
    [["transporter://agent/"], "does not name one agent"],
    [["transporter://agent/a b"], "does not name one agent"],
    [["transporter://agent/%61"], "does not name one agent"],
    [["transporter://agent/%zz"], "does not name one agent"],
    [["spiffe://example.com/a"], "does not name one agent"],
    [[], "does not name one agent"],
  ] as const)("that names %j: %s", async (uris, expected) => {
    expect(check((await agent(uris)).pem)).toEndWith(expected);
  });

  test("comes with what leads to a CA that is trusted, and says by whom it is", async () => {
    const middle = await makeTestCa(NOW_MS, { by: ca, untilMs: NOW_MS + 30_000 });
    const leaf = await makeTestAgent(middle, "a", NOW_MS);
    const found = checkAgentCertificate(`${leaf.pem}${middle.pem}`, trust, NOW_MS);
    expect([found.issuerKeySha256, found.anchorKeySha256]).toEqual([middle.certificate.keySha256, ca.certificate.keySha256]);
    expect(found.expiresAtMs).toBe(NOW_MS + 30_000);
    const direct = checkAgentCertificate((await makeTestAgent(ca, "a", NOW_MS)).pem, trust, NOW_MS);
    expect([direct.issuerKeySha256, direct.anchorKeySha256]).toEqual([ca.certificate.keySha256, ca.certificate.keySha256]);
  });

  test("that ran out has another code than one that was never good", async () => {
    const late = await agent(["transporter://agent/a"], { untilMs: NOW_MS + 1000 });
    expect(check(late.pem, NOW_MS + 3000)).toStartWith("IDENTITY_EXPIRED: the agent's certificate is not taken: it ran out at");
    expect(check(late.pem, NOW_MS + 3000, 2000)).toBe("ok a");
    const stranger = await makeTestAgent(await makeTestCa(NOW_MS), "a", NOW_MS);
    expect(check(stranger.pem)).toStartWith("IDENTITY_REFUSED: the agent's certificate is not taken: no CA");
    const revoked = stateOf([ca], { revocations: { size: 1, nextUpdateMs: undefined, isRevoked: () => true } });
    expect(check(late.pem, NOW_MS, 0, revoked)).toStartWith("IDENTITY_REVOKED");
  });

  test("is refused where it cannot be read, or brings too much", async () => {
    const { pem } = await agent(["transporter://agent/a"]);
    for (const other of [
      "",
      "hello",
      ca.keyPem,
      `-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
      pem.repeat(7),
      `${pem}${" ".repeat(65_536)}`,
    ])
      expect(check(other)).toBe("IDENTITY_REFUSED: the agent's certificate cannot be read");
    expect(check(pem.repeat(6))).toBe("ok a");
    expect(check(pem.padEnd(65_536))).toBe("ok a");
    expect(check(pem.padEnd(65_537))).toStartWith("IDENTITY_REFUSED");
  });
});
