import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type Logger, systemPorts } from "../../src/kit/mod.ts";
import { anEvent, problem } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";
import { dialAgent } from "../support/wire-agent.ts";

/** How often the control plane looks whether somebody has enrolled meanwhile; here it is in a hurry. */
const LOOK_MS = 5_000;

let one: SecureControlPlane;
let slowMs: number;
const lines: { readonly message: string; readonly fields: unknown }[] = [];

beforeEach(async () => {
  slowMs = 0;
  lines.length = 0;
  const note = (message: string, fields?: unknown): void => void lines.push({ message, fields });
  const log: Logger = { debug: () => undefined, info: () => undefined, warn: note, error: note, with: () => log };
  const { clock, timers } = systemPorts;
  one = await startSecureCp({
    legacy: { host: "127.0.0.1", port: 0, agentIds: ["old-1", "old-2"] },
    probes: { host: "127.0.0.1", port: 0 },
    log,
    ports: {
      ...systemPorts,
      clock: { ...clock, monotonic: () => clock.monotonic() + slowMs },
      timers: { ...timers, every: (ms, run, options) => timers.every(ms === LOOK_MS ? 20 : ms, run, options) },
    },
  });
});
afterEach(() => one.stop());

const url = (): string => one.cp.legacyUrl ?? "";
const dialOld = (id: string, at = url()) => dialAgent(`${at.replace("http", "ws")}/ws`, { id, name: id });
const post = (event: Record<string, unknown>): Promise<Response> =>
  fetch(`${url()}/events`, { method: "POST", body: JSON.stringify(event) });

describe("the listener of 0.1", () => {
  test("serves 0.1's agents and producers as ever, for the agents that were named", async () => {
    await using agent = await dialOld("old-1");
    expect(agent.frames).toEqual([{ status: "registered", message: "Agent old-1 registered successfully" }]);
    const event = anEvent({ target_agent: "old-1" });
    const response = await post(event);
    expect(response.status).toBe(202);
    expect(await response.json()).toMatchObject({ event_id: event.id, status: "accepted" });
    await agent.event(event.id);
    agent.report(event.id);
    await eventually(async () => (await one.json<{ state: string }>(`/v1/events/${event.id}`)).state === "completed");
    expect(await (await fetch(`${url()}/health`)).json()).toMatchObject({ agent_count: 1, status: "healthy" });
    expect(await (await fetch(`${url()}/metrics`)).json()).toMatchObject({ agents: { connected: 1 } });
    const [received] = await one.audit("event_received_http");
    expect(received).toMatchObject({ principal: "legacy" });
  });

  test("has nothing else", async () => {
    for (const path of ["/v1/agents", "/v1/events", "/v1/ca", "/livez", "/readyz", "/openapi.json", "/v1/tokens"])
      await problem(await fetch(url() + path), 404);
    await problem(await fetch(`${url()}/v1/events`, { method: "POST", body: JSON.stringify(anEvent({ target_agent: "old-1" })) }), 404);
  });

  test("takes nothing of a web page, whatever name it let lead here", async () => {
    const page = { host: "evil.example:8081", origin: "http://evil.example:8081" };
    const body = JSON.stringify(anEvent({ target_agent: "old-1" }));
    const sent = await problem(await fetch(`${url()}/events`, { method: "POST", headers: page, body }), 403);
    expect(sent.code).toBe("FOREIGN_ORIGIN");
    const upgrade = { ...page, upgrade: "websocket", connection: "upgrade" };
    expect((await problem(await fetch(`${url()}/ws`, { headers: upgrade }), 403)).code).toBe("FOREIGN_ORIGIN");
    expect((await fetch(`${url()}/health`, { headers: { origin: url() } })).status).toBe(200);
  });

  test("takes no event for an agent that was not named", async () => {
    await one.enrol("agent-1");
    for (const target of ["agent-1", "old-3", "old-"]) {
      const refused = await problem(await post(anEvent({ target_agent: target })), 403);
      expect(refused.code).toBe("ACCESS_DENIED");
    }
    const refusals = await eventually(async () => {
      const found = await one.audit("access_refused");
      return found.length === 3 ? found : undefined;
    });
    expect(refusals[0]).toMatchObject({ principal: "legacy", remote_address: "127.0.0.1" });
  });

  test("lets no agent in that was not named, or that has an identity", async () => {
    const mine = await one.enrol("old-2");
    for (const id of ["old-3", "old-2"]) {
      await using refused = await dialOld(id);
      expect((await refused.closed).code).toBe(4007);
      expect(refused.frames).toMatchObject([{ code: "IDENTITY_REQUIRED" }]);
    }
    const refusals = await one.audit("proof_refused");
    expect(refusals.map(({ agent_id, details }) => [agent_id, details?.["code"]])).toEqual([
      ["old-3", "IDENTITY_REQUIRED"],
      ["old-2", "IDENTITY_REQUIRED"],
    ]);
    await using agent = await one.dial(mine);
    await using intruder = await dialOld("old-2");
    expect((await intruder.closed).code).toBe(4007);
    agent.send({ type: "heartbeat" });
    expect(await one.audit("agent_disconnected")).toEqual([]);
    expect((await problem(await post(anEvent({ target_agent: "old-2" })), 403)).code).toBe("ACCESS_DENIED");
  });

  test("is closed to an agent that enrols meanwhile, its connection and events for it included", async () => {
    await using agent = await dialOld("old-1");
    await using other = await dialOld("old-2");
    expect((await post(anEvent({ target_agent: "old-1" }))).status).toBe(202);
    await one.enrol("old-1");
    expect((await agent.closed).code).toBe(4007);
    slowMs += 6_000;
    expect((await problem(await post(anEvent({ target_agent: "old-1" })), 403)).code).toBe("ACCESS_DENIED");
    expect((await post(anEvent({ target_agent: "old-2" }))).status).toBe(202);
    other.send({ type: "heartbeat" });
    // Revoked is not as if it had never enrolled.
    await one.json("/v1/identities/old-1/revoke", { method: "POST" });
    await using again = await dialOld("old-1");
    expect((await again.closed).code).toBe(4007);
  });

  test("gives way to the agent's own identity: its connection takes the place of the one that shows none", async () => {
    await using old = await dialOld("old-1");
    await using _agent = await one.dial(await one.enrol("old-1"));
    expect([4001, 4007]).toContain((await old.closed).code);
  });

  test("is told loudly: in the log, in readyz and in the metrics", async () => {
    await using _agent = await dialOld("old-1");
    await post(anEvent({ target_agent: "old-1" }));
    expect(lines.find(({ message }) => message.startsWith("Agents and producers of 0.1 are let in"))?.fields).toMatchObject({
      agents: "old-1, old-2",
    });
    expect(lines.find(({ message }) => message === "Agent let in without showing who it is")?.fields).toMatchObject({ agent_id: "old-1" });
    const ready = await (await fetch(`${one.cp.probesUrl}/readyz?verbose`)).text();
    expect(ready).toContain("[!]legacy: 2 agents are let in without showing who they are (connected: 1)");
    const metrics = await (await fetch(`${one.cp.probesUrl}/metrics`, { headers: { accept: "text/plain" } })).text();
    for (const line of ["transporter_legacy_agents 2", "transporter_legacy_connections 1", "transporter_legacy_events_total 1"])
      expect(metrics.split("\n")).toContain(line);
  });
});

test("whoever fills it with sockets keeps nobody out who shows who they are", async () => {
  await using full = await startSecureCp({
    legacy: { host: "127.0.0.1", port: 0, agentIds: ["old-1"] },
    admission: { atOnce: 5 },
  });
  const sockets = Array.from({ length: 5 }, () => new WebSocket(`${full.cp.legacyUrl?.replace("http", "ws")}/ws`));
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.addEventListener("open", resolve))));
  await problem(await fetch(`${full.cp.legacyUrl}/ws`), 503);
  await using agent = await full.dial(await full.enrol("agent-1"));
  expect(agent.frames[1]).toMatchObject({ status: "registered" });
  for (const socket of sockets) socket.close();
});

test("where it was not asked for there is no such listener, and nothing is said of one", async () => {
  await using closed = await startSecureCp({ probes: { host: "127.0.0.1", port: 0 } });
  expect(closed.cp.legacyUrl).toBeUndefined();
  const metrics = await (await fetch(`${closed.cp.probesUrl}/metrics`, { headers: { accept: "text/plain" } })).text();
  expect(metrics).not.toContain("transporter_legacy");
  expect(await (await fetch(`${closed.cp.probesUrl}/readyz?verbose`)).text()).not.toContain("legacy");
});
