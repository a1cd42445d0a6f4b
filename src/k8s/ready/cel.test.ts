import { describe, expect, test } from "bun:test";
import { expressionProblem, judgeObject } from "./cel.ts";

const CLUSTER = {
  apiVersion: "example.org/v1",
  kind: "Cluster",
  metadata: { name: "one", generation: 2, labels: { "example.org/tier": "gold" } },
  spec: { members: 3, ratio: 0.5 },
  status: {
    phase: "Running",
    members: 3,
    conditions: [
      { type: "Healthy", status: "True", observedGeneration: 2 },
      { type: "Backup", status: "False", reason: "Never" },
    ],
  },
};

describe("expressions over an object", () => {
  const TRUE = [
    'self.status.phase == "Running"',
    "self.status.members == 3",
    "self.status.members >= self.spec.members",
    "self.spec.members * 2 == 6",
    "type(self.spec.members) == int",
    "self.spec.ratio * 2.0 == 1.0",
    "self.spec.members > 2.5",
    'self.status.conditions.exists(c, c.type == "Healthy" && c.status == "True")',
    'self.status.conditions.filter(c, c.type == "Healthy").all(c, c.observedGeneration == self.metadata.generation)',
    'self.metadata.labels["example.org/tier"] == "gold"',
    '"example.org/tier" in self.metadata.labels',
    "!has(self.status.error)",
    'self.status.?error.orValue("none") == "none"',
    "self.status.conditions.size() == 2",
    'object.kind == "Cluster" && object == self',
    'self.status.phase.matches("^Run")',
    // As CEL has it: an error beside what decides by itself does not count.
    "self.status.nothing == 1 || self.status.members == 3",
  ];
  for (const expression of TRUE)
    test(`${expression} is so`, () => {
      expect(expressionProblem(expression)).toBeUndefined();
      expect(judgeObject([expression], CLUSTER)).toEqual([{ kind: "true" }]);
    });

  test("what is not so, what is not there yet, and what is neither", () => {
    expect(judgeObject(['self.status.phase == "Failed"', "self.status.ready", "self.status.phase"], CLUSTER)).toEqual([
      { kind: "false" },
      { kind: "unknown", why: "No such key: ready" },
      { kind: "unusable", why: "it gave string, and has to be true or false" },
    ]);
  });

  test("nothing of JavaScript is to be had through an object", () => {
    for (const name of ["constructor", "__proto__", "toString", "get"]) {
      expect(judgeObject([`has(self.${name})`], CLUSTER)).toEqual([{ kind: "false" }]);
      expect(judgeObject([`self.${name} == 1`], CLUSTER)).toEqual([{ kind: "unknown", why: `No such key: ${name}` }]);
    }
  });
});

describe("expressions that can never be used", () => {
  const CASES: readonly (readonly [string, string])[] = [
    ["self.status.phase ==", "Unexpected token: EOF"],
    ["status.phase == 'Ready'", "Unknown variable: status"],
    ["self.status.members + 1", "it gives int, and has to be true or false"],
    ["'Ready'", "it gives string, and has to be true or false"],
    ["nothing(self)", "found no matching overload for 'nothing(map<dyn, dyn>)'"],
    ["'a' + 1 == 'a1'", "no such overload: string + int"],
    [`self.status.phase == "${"x".repeat(4_977)}"`, "it has 5000 characters, and 4096 are the most"],
  ];
  for (const [expression, problem] of CASES)
    test(expression.slice(0, 40), () => {
      expect(expressionProblem(expression)).toBe(problem);
    });

  test("one that is nested or long beyond any condition", () => {
    expect(expressionProblem(`${"(".repeat(200)}true${")".repeat(200)}`)).toBe("Exceeded maxDepth (50)");
    expect(expressionProblem(`size([${"0,".repeat(600)}0]) == 601`)).toBe("Exceeded maxListElements (500)");
  });
});
