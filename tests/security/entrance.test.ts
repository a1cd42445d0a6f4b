import { describe, expect, test } from "bun:test";
import type { AgentDoor } from "../../src/cp/agent-door.ts";
import { TransporterError } from "../../src/kit/mod.ts";
import type { Proof } from "../../src/protocol/mod.ts";
import { agentPrincipal, type Security, type VerifiedAgent } from "../../src/security/mod.ts";
import type { Store } from "../../src/stores/mod.ts";
import { startBareCore } from "../support/bare-core.ts";
import { REGISTRATION_0_1 } from "../support/wire-agent.ts";

type Json = Record<string, unknown>;

const DOOR: AgentDoor = { kind: "proof", channel: "tls-server-end-point:ours" };

/** A control plane without doors whose agents are who they say, by the keys that the test says are theirs. */
async function start() {
  const revoked = new Set<string>();
  const questions: Parameters<Security["identities"]["verify"]>[0][] = [];
  const refused: { readonly code: string; readonly agentId?: string }[] = [];
  let claiming: Promise<void> | undefined;
  let away = false;
  let onEnded: (credential: string | undefined) => void = () => undefined;
  const security = {
    identities: {
      challenge: () => ({ type: "challenge", nonce: `nonce-${questions.length}`, audience: "here" }),
      verify: async (of: (typeof questions)[number]): Promise<VerifiedAgent> => {
        questions.push(of);
        if (away) throw new TransporterError("STORE_UNAVAILABLE", "away");
        if (of.proof === undefined || of.proof === null) throw new TransporterError("IDENTITY_REQUIRED", "no proof");
        const keySha256 = of.proof.signature;
        const principal = agentPrincipal(of.agentId, "proof");
        const sameAs = keySha256.startsWith("same-") ? ["same-1", "same-2"] : [keySha256];
        return { principal, keySha256, sameAs, serial: "1", expiresAtMs: 1e15, labels: {} };
      },
      still: async (agentId: string) => (revoked.has(agentId) ? undefined : { expiresAtMs: 1e15 }),
      get: async () => undefined,
    },
    trust: { bundle: () => ({ pem: "", pins: [] }), onChange: () => () => undefined },
    refusals: {
      note: async (refusal: (typeof refused)[number]) => {
        refused.push(refusal);
      },
    },
    onEnded: (listener: typeof onEnded) => {
      onEnded = listener;
      return () => undefined;
    },
    documentChanged: () => undefined,
    gap: () => undefined,
    start: () => undefined,
    stop: () => Promise.resolve(),
  } as unknown as Security;
  const around = (store: Store): Store =>
    new Proxy(store, {
      get(real, name: string) {
        const value: unknown = Reflect.get(real, name);
        if (name !== "claimAgent") return typeof value === "function" ? value.bind(real) : value;
        return async (...args: Parameters<Store["claimAgent"]>) => {
          await claiming;
          return real.claimAgent(...args);
        };
      },
    });
  const bare = await startBareCore({ security, around });
  const connect = (door: AgentDoor = DOOR) => {
    const frames: Json[] = [];
    const state = { closed: undefined as number | undefined };
    const peer = {
      remoteAddress: "127.0.0.1",
      congested: false,
      send: (text: string) => {
        frames.push(JSON.parse(text) as Json);
        return true;
      },
      close(code: number) {
        if (state.closed !== undefined) return;
        state.closed = code;
        bare.ports.timers.soon(() => socket.closed(code, ""));
      },
    };
    const socket = bare.core.gateway.accept(peer, { requestId: "request", door });
    const register = (key: string | undefined, id = "agent-1"): void => {
      const proof: Proof | undefined = key === undefined ? undefined : { certificate: "c", nonce: "n", channel: "seen", signature: key };
      socket.message(JSON.stringify({ ...REGISTRATION_0_1, id, ...(proof === undefined ? {} : { proof }) }));
    };
    return { frames, state, register, isRegistered: () => frames.some((frame) => frame["status"] === "registered") };
  };
  return {
    ...bare,
    connect,
    questions,
    refused,
    advance: (ms: number) => bare.advance(ms),
    revoke: (agentId: string): void => {
      revoked.add(agentId);
      onEnded(`agent:${agentId}`);
    },
    holdClaims: (until: Promise<void> | undefined): void => {
      claiming = until;
    },
    storeAway: (is: boolean): void => {
      away = is;
    },
  };
}

describe("who comes in", () => {
  test("is asked first, and what it answers goes with what was asked, how long it took, and by which listener", async () => {
    const { advance, connect, questions } = await start();
    const one = connect();
    expect(one.frames).toEqual([{ type: "challenge", nonce: "nonce-0", audience: "here" }]);
    await advance(4_000);
    one.register("key-1");
    await advance(100);
    expect(one.isRegistered()).toBe(true);
    const proxied = connect({ kind: "proof", channel: undefined });
    proxied.register("key-1");
    await advance(100);
    const [first, second] = questions;
    expect(first).toMatchObject({ agentId: "agent-1", ageMs: 4_000, channels: ["tls-server-end-point:ours"] });
    expect(first?.challenge.nonce).toBe("nonce-0");
    // Whoever let agents in behind a proxy does not know its certificate.
    expect(second?.channels).toEqual(["seen"]);
  });

  test("is asked nothing at an open door", async () => {
    const { advance, connect, questions } = await start();
    const one = connect({ kind: "open" });
    one.register(undefined);
    await advance(100);
    expect(one.isRegistered()).toBe(true);
    expect(questions).toEqual([]);
  });

  test("is told to come again where the store does not answer, and is not refused", async () => {
    const { advance, connect, storeAway, refused } = await start();
    storeAway(true);
    const one = connect();
    one.register("key-1");
    await advance(100);
    expect(one.state.closed).toBe(1013);
    expect(refused).toEqual([]);
  });

  test("is not registered where it was revoked between its proof and that", async () => {
    const { advance, connect, holdClaims, revoke, store, during } = await start();
    let claim = (): void => undefined;
    holdClaims(new Promise((resolve) => (claim = resolve)));
    const one = connect();
    one.register("key-1");
    await advance(100);
    revoke("agent-1");
    claim();
    await advance(100);
    expect(one.isRegistered()).toBe(false);
    expect(one.state.closed).toBe(4008);
    expect((await during(store.getAgent("default", "agent-1")))?.status).toBe("disconnected");
  });

  test("with another key is refused while the first is on its way to be registered, and when it is", async () => {
    const { advance, connect, holdClaims, refused } = await start();
    let claim = (): void => undefined;
    holdClaims(new Promise((resolve) => (claim = resolve)));
    const [first, second, elsewhere] = [connect(), connect(), connect()];
    first.register("key-1");
    second.register("key-2");
    elsewhere.register("key-2", "agent-2");
    await advance(100);
    claim();
    holdClaims(undefined);
    await advance(100);
    expect([first, second, elsewhere].map((one) => one.isRegistered())).toEqual([true, false, true]);
    expect(second.state.closed).toBe(4007);
    expect(second.frames.at(-1)).toMatchObject({ code: "IDENTITY_CONFLICT" });
    const third = connect();
    third.register("key-3");
    await advance(100);
    expect(third.state.closed).toBe(4007);
    expect(first.state.closed).toBeUndefined();
    expect(refused.map(({ code, agentId }) => [code, agentId])).toEqual([
      ["IDENTITY_CONFLICT", "agent-1"],
      ["IDENTITY_CONFLICT", "agent-1"],
    ]);
  });

  test("with another key of the same identity takes the place of the first", async () => {
    const { advance, connect } = await start();
    const [first, second] = [connect(), connect()];
    first.register("same-1");
    await advance(100);
    second.register("same-2");
    await advance(100);
    expect(second.isRegistered()).toBe(true);
    expect(first.state.closed).toBe(4001);
  });
});
