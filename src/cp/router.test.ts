import { describe, expect, test } from "bun:test";
import { OperationSchema } from "../protocol/mod.ts";
import { type Candidate, route } from "./router.ts";

const PLAIN: Candidate = { paused: false, capabilities: ["k8s_crud"] };
const ABLE: Candidate = { paused: false, capabilities: ["k8s_crud", "k8s_operations"] };

describe("route", () => {
  test("sends what the agent can do", () => {
    expect(route({ type: "k8s_resource" }, "a", PLAIN)).toEqual({ kind: "send" });
    for (const operation of OperationSchema.options)
      expect(route({ type: "k8s_resource", operation }, "a", ABLE)).toEqual({ kind: "send" });
  });

  test("refuses every operation to an agent that does not know operations, and an apply of which more is asked", () => {
    for (const operation of OperationSchema.options)
      expect(route({ type: "k8s_resource", operation }, "a", PLAIN)).toMatchObject({ kind: "refuse" });
    expect(route({ type: "k8s_resource", operation: "delete" }, "a", PLAIN)).toEqual({
      kind: "refuse",
      why: "agent a has no capability k8s_operations and would not heed the operation delete; it has k8s_crud; upgrade it",
    });
    expect(route({ type: "k8s_resource", operation: "apply" }, "a", PLAIN)).toEqual({
      kind: "refuse",
      why: "agent a has no capability k8s_operations and would not heed how this apply is to be done; it has k8s_crud; upgrade it",
    });
  });

  test("refuses a type that the agent cannot do, whatever operations it knows", () => {
    expect(route({ type: "script" }, "a", ABLE)).toMatchObject({ kind: "refuse", why: expect.stringContaining("script_exec") });
    expect(route({ type: "k8s_resource", operation: "delete" }, "a", { paused: false, capabilities: ["k8s_operations"] })).toMatchObject({
      kind: "refuse",
      why: expect.stringContaining("k8s_crud"),
    });
  });

  test("lets wait what can be done later: the agent is away, or paused", () => {
    expect(route({ type: "k8s_resource", operation: "delete" }, "a", undefined)).toMatchObject({ kind: "wait" });
    expect(route({ type: "k8s_resource", operation: "delete" }, "a", { ...PLAIN, paused: true })).toMatchObject({ kind: "wait" });
  });
});
