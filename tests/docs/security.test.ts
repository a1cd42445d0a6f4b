import { describe, expect, test } from "bun:test";
import { ACTIONS, type Action } from "../../src/security/mod.ts";
import { RoleSchema } from "../../src/protocol/mod.ts";
import { readText, tableBelow } from "./markdown.ts";

describe("docs/security.md", () => {
  test("has the roles and their actions as they are", async () => {
    const rows = tableBelow(await readText("docs/security.md"), "## People and programs");
    const told = new Map(rows.map(([action = "", ...cells]) => [action.replaceAll("`", ""), cells]));
    expect([...told.keys()].toSorted()).toEqual(Object.keys(ACTIONS).toSorted());
    for (const action of Object.keys(ACTIONS) as Action[]) {
      const { roles, over } = ACTIONS[action];
      const expected = RoleSchema.options.map((role) =>
        (roles as readonly string[]).includes(role) ? (role === "agent" && over === "agents" ? "own" : "yes") : "",
      );
      expect(told.get(action), action).toEqual(expected);
    }
  });
});
