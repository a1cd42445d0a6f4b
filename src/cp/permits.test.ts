import { expect, test } from "bun:test";
import { manualPorts } from "../kit/mod.ts";
import type { Scope } from "../protocol/mod.ts";
import { agentPrincipal, ANONYMOUS, type Principal } from "../security/mod.ts";
import { Permits, type PermitsOptions } from "./permits.ts";

function somebody(scope?: Scope): Principal {
  return { ...ANONYMOUS, name: "token:ci", kind: "user", via: "token", role: "operator", ...(scope === undefined ? {} : { scope }) };
}

/** Agents by what the store knows of them, and events by their type; what is looked up is counted. */
function setUp(
  of: {
    readonly stored?: Readonly<Record<string, Readonly<Record<string, string>>>>;
    readonly connected?: Readonly<Record<string, Readonly<Record<string, string>>>>;
    readonly granted?: Readonly<Record<string, Readonly<Record<string, string>>>>;
    readonly types?: Readonly<Record<string, string>>;
  } = {},
) {
  const manual = manualPorts();
  const looks = { agents: 0, events: 0 };
  const sessionOf = (id: string) => (of.connected?.[id] === undefined ? undefined : { registration: { labels: of.connected[id] } });
  const permits = new Permits({
    registry: { get: sessionOf },
    store: {
      getAgent: (_tenant: string, id: string) => {
        looks.agents += 1;
        return Promise.resolve(of.stored?.[id] === undefined ? undefined : { registration: { labels: of.stored[id] } });
      },
      getEvent: (_tenant: string, id: string) => {
        looks.events += 1;
        return Promise.resolve(of.types?.[id] === undefined ? undefined : { event: { type: of.types[id] } });
      },
    },
    ports: manual.ports,
    granted: (id: string) => Promise.resolve(of.granted?.[id]),
  } as unknown as PermitsOptions);
  return { permits, looks, advance: (ms: number) => manual.advance(ms) };
}

test("nobody but who has a selector waits for labels", () => {
  const { permits, looks } = setUp();
  expect(permits.sees(somebody(), "agents:read", { agentId: "a" })).toBe(true);
  expect(permits.sees(somebody({ agents: ["a*"] }), "agents:read", { agentId: "a1" })).toBe(true);
  expect(permits.sees(somebody({ agents: ["a*"] }), "agents:read", { agentId: "b1" })).toBe(false);
  expect(permits.sees(agentPrincipal("a"), "events:read", { agentId: "b", eventType: "script" })).toBe(false);
  expect(looks.agents).toBe(0);
});

test("the role decides as well", () => {
  const { permits } = setUp();
  const viewer: Principal = { ...somebody(), role: "viewer" };
  expect(permits.sees(viewer, "events:create", { agentId: "a", eventType: "script" })).toBe(false);
  expect(() => permits.require(viewer, "events:create", { agentId: "a", eventType: "script" })).toThrow("events:create");
});

test("a selector is asked of the socket first, then of the store, with what was granted over what is claimed", async () => {
  const { permits, looks } = setUp({
    connected: { here: { env: "test" } },
    stored: { here: { env: "prod" }, there: { env: "test" }, liar: { env: "test" } },
    granted: { liar: { env: "prod" }, fresh: { env: "test" } },
  });
  const tester = somebody({ selector: "env=test" });
  const seen = async (agentId: string): Promise<boolean> => permits.sees(tester, "agents:read", { agentId });
  expect(await seen("here")).toBe(true);
  expect(looks.agents).toBe(0);
  expect(await seen("there")).toBe(true);
  expect(await seen("liar")).toBe(false);
  expect(await seen("fresh")).toBe(true);
  expect(await seen("unknown")).toBe(false);
});

test("labels are remembered for some seconds, and looked at again after that", async () => {
  const stored: Record<string, Record<string, string>> = { a: { env: "test" } };
  const { permits, looks, advance } = setUp({ stored });
  const tester = somebody({ selector: "env=test" });
  const seen = async (): Promise<boolean> => permits.sees(tester, "agents:read", { agentId: "a" });
  expect([await seen(), await seen()]).toEqual([true, true]);
  expect(looks.agents).toBe(1);
  stored["a"] = { env: "prod" };
  await advance(5_001);
  expect(await seen()).toBe(false);
  expect(looks.agents).toBe(2);
});

test("what lies beyond a scope is refused, at once or after the labels are known", async () => {
  const { permits } = setUp({ stored: { a: { env: "prod" } } });
  expect(() => permits.require(somebody({ agents: ["b"] }), "agents:pause", { agentId: "a" })).toThrow("token:ci may not");
  const tester = somebody({ selector: "env=test" });
  await expect((async () => permits.require(tester, "agents:pause", { agentId: "a" }))()).rejects.toThrow("token:ci may not");
});

test("the type of an event is looked up once, and only for a scope that says types", async () => {
  const { permits, looks } = setUp({ types: { one: "script", two: "policy" } });
  const all = somebody({ agents: ["a"] });
  expect(await permits.seesEvent(all, "audit:read", "a", "gone")).toBe(true);
  expect(looks.events).toBe(0);
  const scripts = somebody({ event_types: ["script"] });
  expect(await permits.seesEvent(scripts, "events:read", "a", "one")).toBe(true);
  expect(await permits.seesEvent(scripts, "events:read", "a", "one")).toBe(true);
  expect(looks.events).toBe(1);
  expect(await permits.seesEvent(scripts, "events:read", "a", "two")).toBe(false);
  expect(await permits.seesEvent(scripts, "events:read", "a", "gone")).toBe(false);
  // A line of the audit outlives its event.
  expect(await permits.seesEvent(scripts, "audit:read", "a", "gone")).toBe(false);
});
