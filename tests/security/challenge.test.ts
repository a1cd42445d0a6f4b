import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { ChallengeFrame } from "../../src/protocol/mod.ts";
import { problem } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { dialWithProof, type EnrolledAgent, type ProofOptions } from "../support/secure-agent.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";
import { protocol2, type WireAgent } from "../support/wire-agent.ts";
import { agentCertificate, type RogueOptions } from "./rogues.ts";

let one: SecureControlPlane;
let agent: EnrolledAgent;
let other: EnrolledAgent;

// One for each test: what is refused often is counted instead of written, and the address is slowed down.
beforeEach(async () => {
  one = await startSecureCp();
  agent = await one.enrol("agent-1");
  other = await one.enrol("agent-2");
});
afterEach(() => one.stop());

/** What an agent that is refused was told, and how its connection ended. */
async function refusal(dialled: Promise<WireAgent>): Promise<{ readonly code: unknown; readonly close: number }> {
  await using refused = await dialled;
  const { code } = await refused.closed;
  const said = refused.frames.find((frame) => frame["error"] !== undefined);
  expect(refused.frames.some((frame) => frame["status"] === "registered")).toBe(false);
  return { code: said?.["code"], close: code };
}

/** Refused, and one line more in the audit says so of this agent. */
async function refusedAndAudited(
  options: Partial<ProofOptions>,
  registration: Record<string, unknown> = {},
  who = agent,
): Promise<unknown> {
  const count = async (): Promise<number> => (await one.audit("proof_refused")).length;
  const before = await count();
  const { code, close } = await refusal(one.dial(who, registration, options));
  const after = await eventually(async () => ((await count()) > before ? (await one.audit("proof_refused")).at(-1) : undefined), {
    what: "a line in the audit",
  });
  expect(after.details).toMatchObject({ code });
  expect(after.remote_address).toBe("127.0.0.1");
  return { code, close, agent: after.agent_id };
}

const REFUSED = { code: "IDENTITY_REFUSED", close: 4007, agent: "agent-1" };

describe("the challenge", () => {
  test("comes first, is never the same, and lets in who answers it", async () => {
    await using first = await one.dial(agent, protocol2());
    const [challenge] = first.frames as unknown as ChallengeFrame[];
    expect(challenge).toMatchObject({ type: "challenge", audience: agent.audience });
    expect(Buffer.from(challenge?.nonce ?? "", "base64url")).toHaveLength(32);
    expect(first.frames[1]).toMatchObject({ status: "registered", message: "Agent agent-1 registered successfully" });
    await using second = await one.dial(other);
    expect((second.frames[0] as unknown as ChallengeFrame).nonce).not.toBe(challenge?.nonce ?? "");
    const { items } = await one.json<{ items: { id: string }[] }>("/v1/agents");
    expect(items.map(({ id }) => id)).toEqual(["agent-1", "agent-2"]);
    expect((await one.audit("agent_connected")).map(({ principal }) => principal)).toEqual(["agent:agent-1", "agent:agent-2"]);
  });

  test("tells what is to be trusted right after", async () => {
    await using connected = await one.dial(agent);
    expect(await connected.frame("trust")).toEqual({ type: "trust", trust_bundle: one.ca });
  });

  test("keeps the proof out of the store, and the granted labels over the claimed ones", async () => {
    const labelled = await one.enrol("labelled", { labels: { env: "test", team: "shop" } });
    await using _connected = await one.dial(labelled, { labels: { env: "production", zone: "a" } });
    const stored = await one.store.getAgent("default", "labelled");
    expect(stored?.registration.labels).toEqual({ env: "test", team: "shop", zone: "a" });
    expect(JSON.stringify(stored)).not.toContain("CERTIFICATE");
  });

  test("is not answered at all", async () => {
    expect(await refusedAndAudited({ proof: () => undefined })).toEqual({ ...REFUSED, code: "IDENTITY_REQUIRED" });
  });

  test("of another connection is answered", async () => {
    let seen = "";
    await using _other = await one.dial(other, {}, { claim: (claim) => ((seen = claim.nonce), claim) });
    expect(seen).not.toBe("");
    expect(await refusedAndAudited({ claim: (claim) => ({ ...claim, nonce: seen }) })).toEqual(REFUSED);
  });

  test("was answered before, and the whole answer is said again on another connection", async () => {
    let said: unknown;
    await using _connected = await one.dial(agent, {}, { proof: (proof) => ((said = proof), proof) });
    expect(await refusedAndAudited({ proof: () => said as never })).toEqual(REFUSED);
  });

  test("is answered under another nonce than it was signed for", async () => {
    let now = "";
    const options: Partial<ProofOptions> = {
      claim: (claim) => ((now = claim.nonce), { ...claim, nonce: "an earlier one" }),
      proof: (proof) => ({ ...proof, nonce: now }),
    };
    expect(await refusedAndAudited(options)).toEqual(REFUSED);
  });

  test("is answered for another installation", async () => {
    expect(await refusedAndAudited({ claim: (claim) => ({ ...claim, audience: crypto.randomUUID() }) })).toEqual(REFUSED);
  });

  test("is answered by one that saw another server's certificate", async () => {
    const channel = `tls-server-end-point:${"ab".repeat(32)}`;
    expect(await refusedAndAudited({ claim: (claim) => ({ ...claim, channel }) })).toEqual(REFUSED);
  });

  test("is answered by one that says that it saw another channel than it signed for", async () => {
    expect(await refusedAndAudited({ proof: (proof) => ({ ...proof, channel: "none" }) })).toEqual(REFUSED);
  });

  test("is answered by one that cannot see the server's certificate", async () => {
    await using connected = await one.dial(agent, {}, { claim: (claim) => ({ ...claim, channel: "none" }) });
    expect(connected.frames[1]).toMatchObject({ status: "registered" });
  });

  test("is answered by another key", async () => {
    expect(await refusedAndAudited({ agent: { ...agent, key: other.key }, client: agent })).toEqual(REFUSED);
  });

  test("is answered by another agent, under its own name or this one's", async () => {
    expect(await refusedAndAudited({ agent: other })).toEqual(REFUSED);
    expect(await refusedAndAudited({ agent: { ...other, agentId: "agent-1" } })).toEqual(REFUSED);
    // Its certificate in the handshake is good, which is not enough.
    expect(await refusedAndAudited({ proof: (proof) => ({ ...proof, certificate: other.certificate }) })).toEqual(REFUSED);
  });

  test("is answered once: what comes after a refusal is not looked at", async () => {
    await using refused = await one.dial(agent, {}, { proof: () => undefined });
    refused.send({ id: "agent-1", name: "a", cluster_name: "c", version: "1", capabilities: ["k8s_crud"] });
    expect((await refused.closed).code).toBe(4007);
    expect(refused.frames.filter((frame) => frame["error"] !== undefined)).toHaveLength(1);
  });
});

describe("the certificate", () => {
  const shown = async (parts: Omit<RogueOptions, "agentId">): Promise<unknown> => {
    const certificate = await agentCertificate(one.directory, { key: agent.key, ...parts, agentId: "agent-1" });
    return refusedAndAudited({ proof: (proof) => proof, agent: { ...agent, certificate }, client: agent });
  };

  test("was not issued here, though its CA is trusted", async () => {
    const certificate = await agentCertificate(one.directory, { agentId: "stranger", key: agent.key });
    const stranger: EnrolledAgent = { ...agent, agentId: "stranger", certificate };
    expect(await refusedAndAudited({}, {}, stranger)).toEqual({ ...REFUSED, agent: "stranger" });
  });

  test("ran out", async () => {
    expect(await shown({ nowMs: Date.now() - 3_600_000, ttlMs: 60_000 })).toEqual({ ...REFUSED, code: "IDENTITY_EXPIRED", close: 4008 });
  });

  test("is not valid yet", async () => {
    expect(await shown({ nowMs: Date.now() + 3_600_000, ttlMs: 3_600_000 })).toEqual(REFUSED);
  });

  test("is for servers", async () => {
    expect(await shown({ usage: "server" })).toEqual(REFUSED);
  });

  test("is of another CA of the same name", async () => {
    expect(await shown({ otherCa: true })).toEqual(REFUSED);
  });

  test("cannot be read", async () => {
    expect(await refusedAndAudited({ proof: (proof) => ({ ...proof, certificate: "nonsense" }) })).toEqual(REFUSED);
  });
});

test("an agent is sent to its own listener by that of the API", async () => {
  const response = await one.fetch("/ws", {
    headers: {
      connection: "upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    },
  });
  expect(response.status).toBe(403);
  expect(await response.json()).toMatchObject({ code: "ACCESS_DENIED" });
});

test("the agents' listener serves agents, and nothing else", async () => {
  const tls = { ca: one.ca, cert: agent.certificate, key: agent.key };
  const at = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`https://127.0.0.1:${new URL(one.agentsUrl).port}${path}`, { tls, headers });
  expect((await problem(await at("/ws", { origin: "https://elsewhere.example" }), 403)).code).toBe("FOREIGN_ORIGIN");
  expect((await problem(await at("/ws"), 426)).code).toBe("UPGRADE_REQUIRED");
  expect((await at("/livez")).status).toBe(200);
  for (const path of ["/v1/agents", "/v1/ca", "/metrics", "/readyz", "/openapi.json", "/events"]) expect((await at(path)).status).toBe(404);
});

describe("behind a proxy that ends TLS", () => {
  test("agents are let in on the API's listener, by signature alone, whatever certificate they saw", async () => {
    await using behind = await startSecureCp({ agentsBehindProxy: true });
    const enrolled = await behind.enrol("agent-1");
    const url = `${behind.url.replace("https:", "wss:")}/ws`;
    const dial = (options: Partial<ProofOptions>): Promise<WireAgent> =>
      dialWithProof(url, { ca: behind.ca, agent: enrolled, client: null, ...options }, { id: "agent-1" });
    await using connected = await dial({ claim: (claim) => ({ ...claim, channel: `tls-server-end-point:${"cd".repeat(32)}` }) });
    expect(connected.frames[1]).toMatchObject({ status: "registered" });
    expect(await refusal(dial({ proof: () => undefined }))).toEqual({ code: "IDENTITY_REQUIRED", close: 4007 });
    expect(await refusal(dial({ claim: (claim) => ({ ...claim, nonce: "other" }) }))).toEqual({ code: "IDENTITY_REFUSED", close: 4007 });
  });
});
