import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { join } from "node:path";
import { type Ports, silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { makeKey, type SecurityOptions } from "../../src/security/mod.ts";
import { issueAgent } from "../../src/security/pki/issue.ts";
import { openStore } from "../../src/stores/mod.ts";
import { anEvent } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { redisTest, sharedRedis } from "../support/redis.ts";
import type { EnrolledAgent } from "../support/secure-agent.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";
import { SharedStore } from "../support/shared-store.ts";
import { protocol2 } from "../support/wire-agent.ts";
import { issuerOf } from "./rogues.ts";

/** Without the look that is taken each second: what is noticed then was told. */
const UNTOLD_NEVER: Ports = {
  ...systemPorts,
  timers: {
    ...systemPorts.timers,
    every: (ms, run, options) => (ms === 1_000 ? { cancel: () => undefined } : systemPorts.timers.every(ms, run, options)),
  },
};

let one: SecureControlPlane;
let stack: AsyncDisposableStack;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  one = await startSecureCp();
});
afterEach(async () => {
  await stack.disposeAsync();
  await one.stop();
});

async function send(to: SecureControlPlane, event: Record<string, unknown>, token = to.tokens.producer): Promise<void> {
  const response = await to.fetch("/v1/events", {
    method: "POST",
    body: JSON.stringify(event),
    token,
    headers: { "content-type": "application/json" },
  });
  if (response.status !== 202) throw new Error(`the event was answered with ${response.status}: ${await response.text()}`);
}

async function stateOf(to: SecureControlPlane, id: string): Promise<string> {
  return (await to.json<{ state: string }>(`/v1/events/${id}`)).state;
}

describe("an agent is itself only", () => {
  let mine: EnrolledAgent;
  let theirs: EnrolledAgent;
  beforeEach(async () => {
    mine = await one.enrol("agent-1");
    theirs = await one.enrol("agent-2");
  });

  test("a status for another agent's event changes nothing, and stands in the audit", async () => {
    await using agent = await one.dial(mine, protocol2());
    await using other = await one.dial(theirs, protocol2());
    const event = anEvent({ target_agent: "agent-1" });
    await send(one, event);
    await agent.event(event.id);
    other.end(event.id, "completed");
    const [line] = await eventually(async () => {
      const lines = await one.audit("status_refused");
      return lines.length > 0 ? lines : undefined;
    });
    expect(line).toMatchObject({ principal: "agent:agent-2", agent_id: "agent-2", event_id: event.id, details: { code: "ACCESS_DENIED" } });
    expect(await stateOf(one, event.id)).toBe("assigned");
    agent.end(event.id, "completed");
    await eventually(async () => (await stateOf(one, event.id)) === "completed");
    expect(await one.audit("status_refused")).toHaveLength(1);
  });

  test("a status in another agent's name is not stored, and those after it are", async () => {
    await using agent = await one.dial(mine, protocol2({ boot_id: "boot-1" }));
    const event = anEvent({ target_agent: "agent-1" });
    await send(one, event);
    await agent.event(event.id);
    const status = {
      type: "status_update",
      event_id: event.id,
      revision: 1,
      boot_id: "boot-1",
      state: "failed",
      phase: "failed",
      message: "m",
    };
    agent.send({ ...status, agent_id: "agent-2", seq: 1 });
    const [line] = await eventually(async () => {
      const lines = await one.audit("status_refused");
      return lines.length > 0 ? lines : undefined;
    });
    expect(line).toMatchObject({ principal: "agent:agent-1", details: { named: "agent-2" } });
    expect(await stateOf(one, event.id)).toBe("assigned");
    agent.send({ ...status, agent_id: "agent-1", seq: 2, state: "completed", phase: "completed" });
    await eventually(async () => (await stateOf(one, event.id)) === "completed");
    expect(await agent.frame("status_ack")).toMatchObject({ boot_id: "boot-1", seq: 2 });
  });

  test("a status of an event that is gone is nobody's fault", async () => {
    await using agent = await one.dial(mine, protocol2());
    agent.end("an-event-that-never-was", "completed");
    const event = anEvent({ target_agent: "agent-1" });
    await send(one, event);
    await agent.event(event.id);
    agent.end(event.id, "completed");
    await eventually(async () => (await stateOf(one, event.id)) === "completed");
    expect(await one.audit("status_refused")).toEqual([]);
  });

  test("another connection with its own key takes the place of the first", async () => {
    await using first = await one.dial(mine);
    await using second = await one.dial(mine);
    expect((await first.closed).code).toBe(4001);
    expect(second.frames.some((frame) => frame["status"] === "registered")).toBe(true);
  });

  test("so does one with the key that it has renewed to", async () => {
    await using first = await one.dial(mine);
    const renewed = await one.renew(mine);
    expect(renewed.key).not.toBe(mine.key);
    await using _second = await one.dial(renewed);
    expect((await first.closed).code).toBe(4001);
    // And the other way round: the old key is good until it runs out.
    await using _third = await one.dial(mine);
  });
});

describe("revocation", () => {
  test("ends the connection at once, and nobody comes back with that key", async () => {
    await one.stop();
    one = await startSecureCp({ ports: UNTOLD_NEVER });
    const mine = await one.enrol("agent-1");
    await using agent = await one.dial(mine, protocol2());
    const event = anEvent({ target_agent: "agent-1" });
    await send(one, event);
    await agent.event(event.id);
    await one.json("/v1/identities/agent-1/revoke", { method: "POST" });
    const { code, reason } = await agent.closed;
    expect({ code, reason }).toEqual({ code: 4008, reason: "the agent's identity was revoked" });
    await using again = await one.dial(mine);
    expect((await again.closed).code).toBe(4008);
    expect(again.frames.at(-1)).toMatchObject({ code: "IDENTITY_REVOKED" });
    // A key that a fresh token was bound to is another matter.
    await using back = await one.dial(await one.enrol("agent-1"), protocol2());
    await back.event(event.id);
  });

  test("leaves other agents alone", async () => {
    await using other = await one.dial(await one.enrol("agent-2"));
    await using agent = await one.dial(await one.enrol("agent-1"));
    await one.json("/v1/identities/agent-1/revoke", { method: "POST" });
    expect((await agent.closed).code).toBe(4008);
    other.send({ type: "heartbeat" });
    await one.json("/v1/identities/agent-2/revoke", { method: "POST" });
    expect((await other.closed).code).toBe(4008);
  });

  test("by a new token for just this agent ends the connection of the old key", async () => {
    const mine = await one.enrol("agent-1");
    await using agent = await one.dial(mine);
    const fresh = await one.enrol("agent-1");
    expect((await agent.closed).code).toBe(4008);
    await using _back = await one.dial(fresh);
    await using old = await one.dial(mine);
    expect((await old.closed).code).toBe(4008);
  });

  test("at one control plane ends the connection at another, whether its word comes, or a word that some were lost, or none", async () => {
    const shared = new SharedStore(await openStore("memory:", { ports: systemPorts, log: silentLogger }), systemPorts);
    stack.defer(() => shared.real.close());
    const here = stack.use(await startSecureCp({ store: shared.way().store }));
    for (const how of ["told", "gap", "look"]) {
      const way = shared.way();
      way.deaf = how !== "told";
      await using there = await startSecureCp({ store: way.store, like: here, ...(how === "look" ? {} : { ports: UNTOLD_NEVER }) });
      const mine = await here.enrol(`agent-${how}`);
      await using agent = await there.dial(mine);
      await here.json(`/v1/identities/${mine.agentId}/revoke`, { method: "POST" });
      if (how === "gap") way.gap();
      expect((await agent.closed).code).toBe(4008);
      await using again = await there.dial(mine);
      expect((await again.closed).code).toBe(4008);
    }
  });
});

redisTest("revocation goes from one control plane to another over a real Redis, and so does the agent", async () => {
  const server = await sharedRedis();
  const storeUrl = `${server.url}?prefix=identity-${process.pid}`;
  await using here = await startSecureCp({ storeUrl });
  await using there = await startSecureCp({ storeUrl, like: here, ports: UNTOLD_NEVER });
  const mine = await here.enrol("agent-1");
  await using first = await here.dial(mine, protocol2());
  await using second = await there.dial(mine, protocol2());
  expect((await first.closed).code).toBe(4001);
  const event = anEvent({ target_agent: "agent-1" });
  await send(here, event);
  await second.event(event.id);
  await here.json("/v1/identities/agent-1/revoke", { method: "POST" });
  expect((await second.closed).code).toBe(4008);
  for (const cp of [here, there]) {
    await using again = await cp.dial(mine);
    expect((await again.closed).code).toBe(4008);
  }
});

describe("time", () => {
  const DAY_MS = 86_400_000;
  let skewMs: number;
  let slowMs: number;
  let later: SecureControlPlane;
  beforeEach(async () => {
    skewMs = 0;
    slowMs = 0;
    const clock = { now: () => systemPorts.clock.now() + skewMs, monotonic: () => systemPorts.clock.monotonic() + slowMs };
    later = stack.use(await startSecureCp({ ports: { ...systemPorts, clock } }));
  });

  test("a certificate that ran out ends the connection, unless the agent has renewed it", async () => {
    const [mine, theirs] = [await later.enrol("agent-1"), await later.enrol("agent-2")];
    await using agent = await later.dial(mine);
    await using other = await later.dial(theirs);
    skewMs = 20 * DAY_MS;
    await later.renew(theirs);
    skewMs = 31 * DAY_MS;
    const { code, reason } = await agent.closed;
    expect({ code, reason }).toEqual({ code: 4008, reason: "the agent's certificate ran out" });
    skewMs = 51 * DAY_MS;
    expect(await other.closed).toMatchObject({ code: 4008 });
    expect((await later.audit("agent_disconnected")).map(({ agent_id }) => agent_id)).toEqual(["agent-1", "agent-2"]);
  });

  test("a challenge counts for ten seconds", async () => {
    const mine = await later.enrol("agent-1");
    const after = (ms: number) => later.dial(mine, {}, { hold: () => ((slowMs += ms), Promise.resolve()) });
    await using intime = await after(9_000);
    expect(intime.frames.at(1)).toMatchObject({ status: "registered" });
    await using late = await after(10_500);
    expect((await late.closed).code).toBe(4007);
    const [line] = await later.audit("proof_refused");
    expect(line).toMatchObject({ agent_id: "agent-1", details: { code: "IDENTITY_REFUSED" } });
  });
});

describe("where somebody else's CA vouches for agents", () => {
  async function certified(by: SecureControlPlane, agentId: string): Promise<EnrolledAgent> {
    const key = makeKey();
    const publicKey = createPublicKey(createPrivateKey(key));
    const issued = await issueAgent(await issuerOf(by.directory), { publicKey, agentId, nowMs: Date.now(), ttlMs: 3_600_000 });
    return { agentId, key, certificate: issued.pem, trust: by.ca, audience: "" };
  }
  /** It has the CA's certificate, and not its key. */
  const trusting = (directory: string): Partial<SecurityOptions> => ({
    trust: {
      caFile: join(directory, "ca.crt"),
      certFile: join(directory, "server.crt"),
      keyFile: join(directory, "server.key"),
    },
  });

  test("an agent comes without having enrolled, and another key is kept out while it is connected", async () => {
    const here = stack.use(await startSecureCp({ like: one, securityOptions: trusting(one.directory), store: one.store }));
    const [first, second] = [await certified(one, "agent-1"), await certified(one, "agent-1")];
    await using agent = await here.dial(first);
    expect(agent.frames[1]).toMatchObject({ status: "registered" });
    await using refused = await here.dial(second);
    expect((await refused.closed).code).toBe(4007);
    expect(refused.frames.at(-1)).toMatchObject({ code: "IDENTITY_CONFLICT" });
    const lines = await here.audit("proof_refused");
    expect(lines.at(-1)).toMatchObject({ agent_id: "agent-1", details: { code: "IDENTITY_CONFLICT" } });
    agent.send({ type: "heartbeat" });
    agent.close();
    await agent.closed;
    await eventually(async () => {
      await using later = await here.dial(second);
      return later.frames.some((frame) => frame["status"] === "registered");
    });
  });

  test("another key is kept out while the agent is connected elsewhere", async () => {
    const shared = new SharedStore(await openStore("memory:", { ports: systemPorts, log: silentLogger }), systemPorts);
    stack.defer(() => shared.real.close());
    const securityOptions = trusting(one.directory);
    const here = stack.use(await startSecureCp({ like: one, securityOptions, store: shared.way().store }));
    const there = stack.use(await startSecureCp({ like: one, securityOptions, store: shared.way().store }));
    const [first, second] = [await certified(one, "agent-1"), await certified(one, "agent-1")];
    await using agent = await here.dial(first);
    await using refused = await there.dial(second);
    expect((await refused.closed).code).toBe(4007);
    expect(refused.frames.at(-1)).toMatchObject({ code: "IDENTITY_CONFLICT" });
    // The same key may go where it likes.
    await using _moved = await there.dial(first);
    expect((await agent.closed).code).toBe(4001);
  });
});
