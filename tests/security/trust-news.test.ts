import { expect, test } from "bun:test";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { Entrant } from "../../src/cp/entrance.ts";
import type { AgentSession } from "../../src/cp/session.ts";
import { TrustNews } from "../../src/cp/trust-news.ts";
import { manualPorts } from "../../src/kit/mod.ts";
import { agentPrincipal, makeKey } from "../../src/security/mod.ts";
import { issueAgent, makeCa } from "../../src/security/pki/issue.ts";

const AGENTS = 400;

test("a new CA is told to one agent after the other, and only those of the old one have to renew", async () => {
  const manual = manualPorts();
  const { ports } = manual;
  const nowMs = Date.now();
  const [old, next] = [(await makeCa(nowMs)).issuer, (await makeCa(nowMs)).issuer];
  const publicKey = createPublicKey(createPrivateKey(makeKey()));
  const issue = async (by: typeof old): Promise<string> => (await issueAgent(by, { publicKey, agentId: "a", nowMs, ttlMs: 3_600_000 })).pem;
  const [ofOld, ofNext] = [await issue(old), await issue(next)];
  const told: { readonly id: string; readonly atMs: number; readonly renew: unknown; readonly bundle: unknown }[] = [];
  const sessionOf = (id: string, certificate: string): AgentSession => {
    const principal = agentPrincipal(id, "proof");
    const registration = {
      id,
      name: id,
      cluster_name: "c",
      version: "1",
      capabilities: ["k8s_crud"],
      proof: { certificate, nonce: "", channel: "", signature: "" },
    };
    const verified = { principal, keySha256: id, sameAs: [], serial: "1", expiresAtMs: nowMs + 3_600_000, labels: {} };
    const entrant = new Entrant(registration, principal, { address: "", requestId: "" }, verified);
    const send = (text: string): boolean => {
      const frame = JSON.parse(text) as { trust_bundle: unknown; renew?: unknown };
      told.push({ id, atMs: ports.clock.monotonic(), renew: frame.renew, bundle: frame.trust_bundle });
      return true;
    };
    return { agentId: id, entrant, send } as unknown as AgentSession;
  };
  const sessions = Array.from({ length: AGENTS }, (_, at) => sessionOf(`agent-${at}`, at % 4 === 0 ? ofNext : ofOld));
  let pem = old.certificate.pem;
  let change = (): void => undefined;
  const news = new TrustNews({
    trust: { bundle: () => ({ pem, pins: [] }), onChange: (listener) => ((change = listener), () => undefined) },
    sessions: () => sessions,
    ports,
  });
  news.start();
  // Files were read anew, and say the same.
  change();
  await manual.advance(5_000);
  expect(told).toEqual([]);
  pem = next.certificate.pem + old.certificate.pem;
  change();
  const beganMs = ports.clock.monotonic();
  await manual.advance(1_000);
  expect(told.length).toBeGreaterThan(20);
  expect(told.length).toBeLessThanOrEqual(45);
  // One that goes is told nothing, one that comes with an old certificate is told both.
  const gone = sessions.find(({ agentId }) => !told.some(({ id }) => id === agentId));
  if (gone === undefined) throw new Error("all were told");
  news.disconnected(gone);
  const late = sessionOf("late", ofOld);
  news.connected(late);
  expect(told.at(-1)).toMatchObject({ id: "late", renew: undefined, bundle: pem });
  await manual.advance(60_000);
  expect(told.filter(({ id }) => id === "late").map(({ renew }) => renew)).toEqual([undefined, true]);
  const others = told.filter(({ id }) => id !== "late");
  expect(others).toHaveLength(AGENTS - 1);
  expect(others.some(({ id }) => id === gone.agentId)).toBe(false);
  for (const { id, renew, bundle } of others) {
    expect(renew).toBe(Number(id.slice("agent-".length)) % 4 === 0 ? undefined : true);
    expect(bundle).toBe(pem);
  }
  expect(Math.max(...others.map(({ atMs }) => atMs)) - beganMs).toBeGreaterThan(9_000);
});
