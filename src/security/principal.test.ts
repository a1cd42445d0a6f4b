import { expect, test } from "bun:test";
import { agentPrincipal } from "./mod.ts";

test("only an agent that proved who it is has something that can be revoked", () => {
  expect(agentPrincipal("a", "proof")).toMatchObject({ via: "proof", credential: "agent:a", scope: { agents: ["a"] } });
  expect(agentPrincipal("a", "legacy")).not.toHaveProperty("credential");
  expect(agentPrincipal("a")).not.toHaveProperty("credential");
});
