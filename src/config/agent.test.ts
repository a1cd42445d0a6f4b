import { describe, expect, test } from "bun:test";
import { controlPlaneAddresses } from "./address.ts";
import { AGENT_SETTINGS, agentConfig } from "./agent.ts";
import { resolveSettings } from "./resolve.ts";

describe("where an agent with an identity goes", () => {
  test.each([
    ["https://cp.example.com:8080", "https://cp.example.com:8080", [], ["wss://cp.example.com:8443/ws"]],
    ["https://cp.example.com", "https://cp.example.com", [], ["wss://cp.example.com:8443/ws"]],
    ["https://[::1]:8080/", "https://[::1]:8080", [], ["wss://[::1]:8443/ws"]],
    ["https://gate.example.com/transporter", "https://gate.example.com/transporter", [], ["wss://gate.example.com/transporter/ws"]],
    ["wss://cp.example.com:8443/ws", "https://cp.example.com:8080", ["wss://cp.example.com:8443/ws"], []],
    ["wss://gate.example.com/ws", "https://gate.example.com", ["wss://gate.example.com/ws"], []],
    ["ws://localhost:8080/ws", "http://localhost:8080", ["ws://localhost:8080/ws"], []],
    ["http://localhost:8080", "http://localhost:8080", [], ["ws://localhost:8080/ws"]],
  ])("%s", (text, api, agents, guessed) => {
    expect(controlPlaneAddresses([text])).toEqual({ apiUrls: [api], agentUrls: agents, guessedUrls: guessed });
  });

  test("several, each once; what is none is left out", () => {
    expect(controlPlaneAddresses(["https://a:8080", "wss://a:8443/ws", "https://b:8080", "https://a:8080/", "ftp://a"])).toEqual({
      apiUrls: ["https://a:8080", "https://b:8080"],
      agentUrls: ["wss://a:8443/ws"],
      guessedUrls: ["wss://a:8443/ws", "wss://b:8443/ws"],
    });
  });
});

describe("an agent's settings of identity", () => {
  const read = (env: Record<string, string>) =>
    agentConfig(resolveSettings(AGENT_SETTINGS, { flags: new Map(), env: { TRANSPORTER_AGENT_ID: "a/b", ...env }, file: undefined }), {
      config: undefined,
      state: "/state",
      cache: undefined,
      homeFile: undefined,
    });
  const hash = "ab".repeat(32);

  test("lie below the state directory, or where they are told to", () => {
    expect(read({}).identityHome).toEqual({ directory: "/state/agents/a%2Fb/identity" });
    expect(read({ TRANSPORTER_STATE_DIR: "/here" }).identityHome).toEqual({ directory: "/here/identity" });
    expect(read({ TRANSPORTER_IDENTITY_DIR: "/there" }).identityHome).toEqual({ directory: "/there" });
    expect(read({ TRANSPORTER_IDENTITY_SECRET: "ns/agent.identity" }).identityHome).toEqual({
      secret: { namespace: "ns", name: "agent.identity" },
    });
  });

  test("a hash in either case", () => {
    expect(read({ TRANSPORTER_CA_HASH: `SHA256:${hash.toUpperCase()}` }).caHash).toBe(`sha256:${hash}`);
    expect(read({}).caHash).toBeUndefined();
  });

  test.each([
    [{ TRANSPORTER_CA_HASH: hash }, "sha256:"],
    [{ TRANSPORTER_CA_HASH: `sha256:${hash}0` }, "sha256:"],
    [{ TRANSPORTER_IDENTITY_SECRET: "name" }, "NAMESPACE/NAME"],
    [{ TRANSPORTER_IDENTITY_SECRET: "ns/../x" }, "NAMESPACE/NAME"],
    [{ TRANSPORTER_IDENTITY_SECRET: "ns/x", TRANSPORTER_IDENTITY_DIR: "/there" }, "one place"],
  ])("%p is refused", (env, said) => {
    expect(() => read(env as Record<string, string>)).toThrow(said);
  });

  test("no setting takes the token itself", () => {
    expect(Object.keys(AGENT_SETTINGS).filter((name) => name.includes("token"))).toEqual(["enrolment-token-file"]);
  });
});
