import { describe, expect, test } from "bun:test";
import type { Scope } from "../../src/protocol/mod.ts";
import { ANONYMOUS, legacyPrincipal, type Principal, queuePrincipal } from "../../src/security/mod.ts";
import { ableAgent, startBareCore } from "../support/bare-core.ts";
import { anEvent } from "../support/cp.ts";

const DENIED = { code: "ACCESS_DENIED" };

function producer(scope?: Scope, parts: Partial<Principal> = {}): Principal {
  return {
    ...ANONYMOUS,
    name: "token:ci",
    kind: "user",
    via: "token",
    role: "producer",
    ...(scope === undefined ? {} : { scope }),
    ...parts,
  };
}

async function setUp() {
  const cp = await startBareCore();
  return {
    cp,
    hand: (principal: Principal, parts: Record<string, unknown> = {}, more: { idempotencyKey?: string; via?: "http" | "queue" } = {}) =>
      cp.during(
        cp.core.intake.submit(JSON.stringify(anEvent({ created_at: undefined, ...parts })), {
          principal,
          remoteAddress: "",
          requestId: "",
          traceparent: undefined,
          ...more,
        }),
      ),
  };
}

describe("whichever way an event comes in", () => {
  test("it is for an agent of the scope, or refused, and then nothing is kept", async () => {
    const { cp, hand } = await setUp();
    const mine = producer({ agents: ["shop-*"] });
    expect(await hand(mine, { target_agent: "shop-1" })).toMatchObject({ duplicate: false });
    await expect(hand(mine, { id: "foreign", target_agent: "other" })).rejects.toMatchObject(DENIED);
    expect(await cp.during(cp.store.getEvent("default", "foreign", { payload: false, log: false }))).toBeUndefined();
  });

  test("it is of a type of the scope", async () => {
    const { hand } = await setUp();
    const scripts = producer({ event_types: ["script"] });
    await expect(hand(scripts)).rejects.toMatchObject(DENIED);
    expect(await hand(scripts, { type: "script", payload: { script: "true" } })).toMatchObject({ duplicate: false });
  });

  test("it is for an agent whose labels the selector wants: one that never came has none", async () => {
    const { cp, hand } = await setUp();
    await cp.connect(ableAgent({ id: "agent-1", labels: { env: "test" } }));
    const testers = producer({ selector: "env=test" });
    expect(await hand(testers, { target_agent: "agent-1" })).toMatchObject({ duplicate: false });
    await expect(hand(testers, { target_agent: "nobody-yet" })).rejects.toMatchObject(DENIED);
  });

  test("whoever hands it in has a role that may", async () => {
    const { hand } = await setUp();
    await expect(hand(producer(undefined, { role: "viewer" }))).rejects.toMatchObject(DENIED);
    await expect(hand(producer({ agents: ["agent-1"] }, { role: "agent" }))).rejects.toMatchObject(DENIED);
  });

  test("the queue hands in for all, 0.1 for the agents that were named for it", async () => {
    const { hand } = await setUp();
    expect(await hand(queuePrincipal("nats"), { target_agent: "any" }, { via: "queue" })).toMatchObject({ duplicate: false });
    const old = legacyPrincipal(["agent-1"]);
    expect(await hand(old, { target_agent: "agent-1" })).toMatchObject({ duplicate: false });
    await expect(hand(old, { target_agent: "agent-2" })).rejects.toMatchObject(DENIED);
  });

  test("whoever may not is told the same of an event that is there, that has run out, and that never was", async () => {
    const { hand } = await setUp();
    const event = anEvent({ target_agent: "other" });
    await hand(producer(), event);
    const mine = producer({ agents: ["mine"] });
    for (const parts of [event, { ...event, ttl: 60_000_000_000, created_at: "2020-01-01T00:00:00Z" }, { target_agent: "other" }])
      await expect(hand(mine, parts)).rejects.toMatchObject(DENIED);
  });
});

test("one Idempotency-Key of two principals is two events", async () => {
  const { hand } = await setUp();
  const parts = { id: undefined };
  const [one, other] = [producer(), producer(undefined, { name: "token:other" })];
  const first = await hand(one, parts, { idempotencyKey: "k" });
  const second = await hand(other, parts, { idempotencyKey: "k" });
  expect(second).toMatchObject({ duplicate: false });
  expect(second.eventId).not.toBe(first.eventId);
  expect(await hand(one, parts, { idempotencyKey: "k" })).toEqual({ ...first, duplicate: true });
});
