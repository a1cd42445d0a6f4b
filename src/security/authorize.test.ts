import { describe, expect, test } from "bun:test";
import { systemPorts, TransporterError } from "../kit/mod.ts";
import type { Role, Scope } from "../protocol/mod.ts";
import { type Action, ACTIONS, type Target } from "./access.ts";
import { allows, demand, judge, needsLabels } from "./authorize.ts";
import { agentPrincipal, ANONYMOUS, legacyPrincipal, type Principal } from "./principal.ts";
import { checkScope, isScoped, matchesPattern, patternWithin } from "./scope.ts";

function who(role: Role, scope?: Scope): Principal {
  return { tenant: "default", name: "token:x", kind: "user", via: "token", role, ...(scope === undefined ? {} : { scope }) };
}

const ROLES: readonly Role[] = ["viewer", "producer", "operator", "admin", "agent"];
const TARGET: Target = { agentId: "north-1", agentLabels: { site: "north" }, eventType: "k8s_resource" };

/** Told again, so that a right that slips into the table is seen here. */
const MATRIX: Readonly<Record<Action, readonly Role[]>> = {
  "events:create": ["producer", "operator", "admin"],
  "events:read": ["viewer", "producer", "operator", "admin", "agent"],
  "events:read-payload": ["operator", "admin", "agent"],
  "events:cancel": ["producer", "operator", "admin"],
  "events:retry": ["producer", "operator", "admin"],
  "agents:read": ["viewer", "producer", "operator", "admin", "agent"],
  "agents:pause": ["operator", "admin"],
  "agents:remove": ["operator", "admin"],
  "audit:read": ["operator", "admin"],
  "status:read": ["viewer", "producer", "operator", "admin", "agent"],
  "enrolments:manage": ["operator", "admin"],
  "tokens:manage": ["admin"],
};
const NAMES = Object.keys(ACTIONS) as Action[];

describe("roles", () => {
  test.each(NAMES)("%s is for those of the table", (action) => {
    expect(ROLES.filter((role) => allows(who(role), action, TARGET))).toEqual(ROLES.filter((role) => MATRIX[action].includes(role)));
    expect(ROLES.filter((role) => allows(who(role), action))).toEqual(ROLES.filter((role) => MATRIX[action].includes(role)));
  });

  test("whoever may make user tokens may do everything, so that no token gives more than its maker has", () => {
    for (const role of ACTIONS["tokens:manage"].roles) expect(NAMES.every((action) => allows(who(role), action, TARGET))).toBe(true);
    expect(ACTIONS["tokens:manage"].over).toBe("installation");
  });

  test("anybody may do anything where nobody is asked", () => {
    expect(NAMES.every((action) => allows(ANONYMOUS, action, TARGET))).toBe(true);
  });
});

describe("a scope", () => {
  test.each<[string, Scope, Target, boolean]>([
    ["its agent", { agents: ["north-1"] }, TARGET, true],
    ["a pattern", { agents: ["south", "north-*"] }, TARGET, true],
    ["another agent", { agents: ["north-2"] }, TARGET, false],
    ["labels", { selector: "site=north" }, TARGET, true],
    ["other labels", { selector: "site=south" }, TARGET, false],
    ["labels that nobody looked up", { selector: "!site" }, { agentId: "north-1" }, false],
    ["a selector that cannot be read", { selector: "((" }, TARGET, false],
    ["its type", { event_types: ["k8s_resource"] }, TARGET, true],
    ["another type", { event_types: ["script"] }, TARGET, false],
    ["a type that nobody told", { event_types: ["script"] }, { agentId: "north-1" }, false],
    ["all of it", { agents: ["*"], selector: "site", event_types: ["k8s_resource"] }, TARGET, true],
    ["all but the labels", { agents: ["*"], selector: "!site", event_types: ["k8s_resource"] }, TARGET, false],
    ["nobody", { agents: [] }, TARGET, false],
    ["no type", { event_types: [] }, TARGET, false],
    ["nothing restricted", {}, TARGET, true],
  ])("events of %s", (_name, scope, target, expected) => {
    expect(allows(who("operator", scope), "events:read", target)).toBe(expected);
  });

  test("of types says nothing of an agent, where no event is in play", () => {
    const scoped = who("operator", { event_types: ["script"] });
    expect(allows(scoped, "agents:pause", { agentId: "a" })).toBe(true);
    expect(allows(scoped, "audit:read", { agentId: "a", eventType: "policy" })).toBe(false);
  });

  test("keeps away from what is about all, and not from what tells of nobody", () => {
    const scoped = who("admin", { agents: ["*"] });
    expect(judge(scoped, "tokens:manage")).toMatchObject({ allowed: false });
    expect(judge(scoped, "tokens:manage", TARGET)).toMatchObject({ allowed: false });
    expect(allows(who("admin", {}), "tokens:manage")).toBe(true);
    expect(allows(who("viewer", { agents: [] }), "status:read")).toBe(true);
    expect(allows(who("viewer", { agents: [] }), "status:read", TARGET)).toBe(true);
  });

  test("lets the role speak where there is no target yet", () => {
    expect(allows(who("operator", { agents: [] }), "agents:pause")).toBe(true);
    expect(allows(who("viewer", { agents: [] }), "agents:pause")).toBe(false);
  });

  test("of an agent is itself, even where its id looks like a pattern", () => {
    expect(allows(agentPrincipal("a", "proof"), "events:read", { agentId: "a" })).toBe(true);
    expect(allows(agentPrincipal("a", "proof"), "events:read", { agentId: "b" })).toBe(false);
    expect(allows(agentPrincipal("*", "proof"), "events:read", { agentId: "b" })).toBe(false);
    expect(allows(agentPrincipal("*", "proof"), "events:read", { agentId: "*" })).toBe(true);
    expect(allows(agentPrincipal("a", "proof"), "events:create", { agentId: "a" })).toBe(false);
  });

  test("of the old listener is the agents that were named for it", () => {
    expect(allows(legacyPrincipal(["a"]), "events:create", { agentId: "a", eventType: "script" })).toBe(true);
    expect(allows(legacyPrincipal(["a"]), "events:create", { agentId: "b", eventType: "script" })).toBe(false);
  });
});

describe("demand", () => {
  test("says who may not, and why, and names nobody's labels", () => {
    const refusals = (
      [
        [who("viewer"), "agents:pause", TARGET],
        [who("viewer", { agents: ["x"] }), "agents:read", TARGET],
        [who("viewer", { selector: "site=south" }), "agents:read", TARGET],
        [who("viewer", { event_types: ["script"] }), "events:read", TARGET],
        [who("admin", { agents: ["x"] }), "tokens:manage", undefined],
        [agentPrincipal("x"), "agents:read", TARGET],
      ] as const
    ).map(([principal, action, target]) => {
      try {
        demand(principal, action, target);
        return "allowed";
      } catch (error) {
        expect(error).toMatchObject({ code: "ACCESS_DENIED", details: { action } });
        return (error as TransporterError).message;
      }
    });
    expect(refusals).toEqual([
      "token:x may not: the role viewer does not include agents:pause",
      "token:x may not: the agent is not of the scope",
      "token:x may not: the agent's labels are not of the scope",
      "token:x may not: the event type is not of the scope",
      "token:x may not: tokens:manage is about all agents, and the scope is not",
      "agent:x may not: the agent is not of the scope",
    ]);
    expect(() => demand(who("viewer"), "agents:read", TARGET)).not.toThrow();
  });

  test("needs labels only where they decide", () => {
    expect(needsLabels(who("viewer", { selector: "a" }))).toBe(true);
    expect(needsLabels(who("viewer", { agents: ["a"] }))).toBe(false);
    expect(needsLabels(who("viewer"))).toBe(false);
  });
});

describe("a pattern", () => {
  test.each([
    ["a", "a", true],
    ["a", "ab", false],
    ["a", "b", false],
    ["*", "", true],
    ["*", "anything", true],
    ["a*", "abc", true],
    ["a*", "ba", false],
    ["*c", "abc", true],
    ["*c", "abcd", false],
    ["a*c", "ac", true],
    ["a*c", "abbc", true],
    ["a*c", "a", false],
    ["ab*ba", "aba", false],
    ["ab*ba", "abba", true],
    ["a*b*c", "a-b-c", true],
    ["a*b*c", "abc", true],
    ["*b*b", "b", false],
    ["a*b*c", "a-c", false],
    ["a*b*c", "acb", false],
    ["*b*b*", "b", false],
    ["*b*b*", "bb", true],
    ["a*bc*c", "abc", false],
    ["**", "x", true],
    ["a.c", "abc", false],
    ["a+", "aa", false],
    ["[ab]", "a", false],
    ["A", "a", false],
  ])("%p fits %p: %p", (pattern, id, expected) => {
    expect(matchesPattern(pattern, id)).toBe(expected);
  });

  test.each([
    ["a", "a", true],
    ["a-1", "a-*", true],
    ["a-*", "a-*", true],
    ["a-b*", "a-*", true],
    ["a*", "a-*", false],
    ["*", "a-*", false],
    ["*", "*", true],
    ["a-*-z", "a-*", true],
    ["*a", "a*", false],
  ])("%p is within %p: %p", (inner, outer, expected) => {
    expect(patternWithin(inner, outer)).toBe(expected);
  });

  test("takes no time, whatever it looks like", () => {
    const startedMs = systemPorts.clock.monotonic();
    const id = "a".repeat(300);
    for (let count = 0; count < 1_000; count += 1) matchesPattern(`${"a*".repeat(149)}b`, id);
    expect(systemPorts.clock.monotonic() - startedMs).toBeLessThan(1_000);
  });
});

describe("a scope that somebody asks for", () => {
  test.each<[string, Scope]>([
    ["an empty list of agents", { agents: [] }],
    ["an empty list of types", { event_types: [] }],
    ["too many agents", { agents: Array.from({ length: 101 }, (_, at) => `a${at}`) }],
    ["an empty id", { agents: [""] }],
    ["an endless id", { agents: ["a".repeat(301)] }],
    ["a control character", { agents: ["a\nb"] }],
    ["a selector that cannot be read", { selector: "a in" }],
  ])("is refused: %s", (_name, scope) => {
    expect(() => checkScope(scope)).toThrow(TransporterError);
  });

  test("is taken otherwise", () => {
    expect(() => checkScope({ agents: ["a", "b*"], selector: "a,!b", event_types: ["script"] })).not.toThrow();
    expect(() => checkScope({ agents: Array.from({ length: 100 }, () => "a".repeat(300)) })).not.toThrow();
    expect(() => checkScope({})).not.toThrow();
  });

  test("restricts by each of its parts", () => {
    expect([undefined, {}, { agents: [] }, { selector: "" }, { event_types: [] }].map(isScoped)).toEqual([false, false, true, true, true]);
  });
});
