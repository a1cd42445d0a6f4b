import { describe, expect, test } from "bun:test";
import { manualPorts, silentLogger, TransporterError } from "../kit/mod.ts";
import { agentPrincipal } from "../security/mod.ts";
import { Entrant } from "./entrance.ts";
import { IdentityWatch } from "./identity-watch.ts";
import { Registry } from "./registry.ts";
import type { AgentSession } from "./session.ts";

const HOUR_MS = 3_600_000;

function setUp(agentIds: readonly string[] = ["a"]) {
  const manual = manualPorts();
  const { ports } = manual;
  const registry = new Registry();
  const ended: string[] = [];
  const asked: string[] = [];
  const until = new Map<string, number | undefined>();
  const state = { away: false, hold: Promise.resolve() };
  const listeners = new Set<(credential: string | undefined) => void>();
  const sessionOf = (id: string): AgentSession => {
    const registration = { id, name: id, cluster_name: "c", version: "1", capabilities: ["k8s_crud"] };
    const expiresAtMs = ports.clock.now() + HOUR_MS;
    const principal = agentPrincipal(id, "proof");
    const verified = { principal, keySha256: `key-${id}`, sameAs: [], serial: "1", expiresAtMs, labels: {} };
    const entrant = new Entrant(registration, principal, { address: "127.0.0.1", requestId: "r" }, verified);
    until.set(id, expiresAtMs);
    return { agentId: id, entrant, closed: false } as unknown as AgentSession;
  };
  const sessions = agentIds.map(sessionOf);
  for (const session of sessions) registry.put(session);
  const still = async (id: string): Promise<{ expiresAtMs: number } | undefined> => {
    asked.push(id);
    const expiresAtMs = until.get(id);
    await state.hold;
    if (state.away) throw new TransporterError("STORE_UNAVAILABLE", "away");
    return expiresAtMs === undefined ? undefined : { expiresAtMs };
  };
  const watch = new IdentityWatch({
    security: {
      identities: { still } as never,
      onEnded: (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
    registry,
    ports,
    log: silentLogger,
    onEnded: (session, why) => {
      (session as { closed: boolean }).closed = true;
      ended.push(`${session.agentId} ${why}`);
    },
  });
  watch.start();
  const tell = (credential: string | undefined): void => {
    for (const listener of listeners) listener(credential);
  };
  return { manual, watch, sessions, ended, asked, until, state, tell, sessionOf, listeners };
}

describe("IdentityWatch", () => {
  test("asks about whom it is told of, and nobody else", async () => {
    const { manual, ended, asked, until, tell } = setUp(["a", "b"]);
    until.set("a", undefined);
    until.set("b", undefined);
    tell("token-id");
    tell("agent:nobody");
    tell("agent:a");
    await manual.advance(0);
    expect(asked).toEqual(["a"]);
    expect(ended).toEqual(["a revoked"]);
  });

  test("asks about all where nobody can say whom it is about", async () => {
    const ids = Array.from({ length: 100 }, (_, at) => `agent-${at}`);
    const { manual, ended, asked, until, tell } = setUp(ids);
    until.set("agent-3", undefined);
    until.set("agent-99", undefined);
    tell(undefined);
    await manual.advance(10);
    expect(new Set(asked)).toEqual(new Set(ids));
    expect(ended).toEqual(["agent-3 revoked", "agent-99 revoked"]);
  });

  test("leaves those that still stand", async () => {
    const { manual, ended, asked, tell } = setUp();
    tell("agent:a");
    await manual.advance(5_000);
    expect(asked).toEqual(["a"]);
    expect(ended).toEqual([]);
  });

  test("asks when the certificate runs out, and again then where the agent has renewed", async () => {
    const { manual, ended, asked, until } = setUp();
    await manual.advance(HOUR_MS - 2_000);
    expect(asked).toEqual([]);
    until.set("a", manual.ports.clock.now() + HOUR_MS);
    await manual.advance(4_000);
    expect(asked).toEqual(["a"]);
    expect(ended).toEqual([]);
    await manual.advance(HOUR_MS);
    expect(ended).toEqual(["a expired"]);
  });

  test("does not go on serving one that was revoked while the store was away", async () => {
    const { manual, ended, until, state, tell } = setUp();
    state.away = true;
    until.set("a", undefined);
    tell("agent:a");
    await manual.advance(10_000);
    expect(ended).toEqual([]);
    state.away = false;
    await manual.advance(4_000);
    expect(ended).toEqual(["a revoked"]);
  });

  test("notices what ended between the proof and the registration, however late that was told", async () => {
    const { manual, watch, until, state, tell, sessionOf } = setUp([]);
    const before = watch.endings;
    const coming = sessionOf("late");
    // Nothing ended: nobody is asked.
    until.set("late", undefined);
    expect(await watch.stands(coming, before)).toBe(true);
    tell("agent:late");
    expect(await watch.stands(coming, before)).toBe(false);
    // Told while the first answer is on its way.
    until.set("late", manual.ports.clock.now() + HOUR_MS);
    let goOn = (): void => undefined;
    state.hold = new Promise((resolve) => (goOn = resolve));
    const standing = watch.stands(coming, before);
    await manual.advance(0);
    until.set("late", undefined);
    tell("agent:late");
    goOn();
    expect(await standing).toBe(false);
  });

  test("stops listening", () => {
    const { watch, listeners } = setUp();
    expect(listeners.size).toBe(1);
    watch.stop();
    expect(listeners.size).toBe(0);
  });
});
