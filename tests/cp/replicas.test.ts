import { describe, expect, test } from "bun:test";
import { CLOSE } from "../../src/protocol/mod.ts";
import { ableAgent, configMap, startBareCore, startSite } from "../support/bare-core.ts";
import { newEvent } from "../support/store-inputs.ts";
import { REGISTRATION_0_1 } from "../support/wire-agent.ts";

type Core = Awaited<ReturnType<typeof startBareCore>>;

/** So many control planes over one store, with one time for all. */
async function several(count: number): Promise<{ readonly site: Awaited<ReturnType<typeof startSite>>; readonly cores: Core[] }> {
  const site = await startSite();
  const cores: Core[] = [];
  for (let at = 0; at < count; at += 1) cores.push(await startBareCore({ site, replicaId: `cp-${at}` }));
  return { site, cores };
}

async function two(): Promise<{ readonly a: Core; readonly b: Core; readonly site: Awaited<ReturnType<typeof startSite>> }> {
  const { site, cores } = await several(2);
  return { site, a: cores[0] as Core, b: cores[1] as Core };
}

/** With what it has seen, as our agents register. */
function remembering(seen: number, parts: Record<string, unknown> = {}): Record<string, unknown> {
  return ableAgent({ seen_epoch: seen, ...parts });
}

describe("an event for an agent elsewhere", () => {
  test("gets there at once", async () => {
    const { a, b } = await two();
    const agent = await b.connect();
    await a.submit({ id: "one" });
    await b.advance(20);
    expect(agent.events()).toEqual(["one"]);
    agent.complete("one");
    await b.advance(200);
    expect((await a.event("one")).summary.state).toBe("completed");
  });

  test("gets there within two seconds where no word of it does", async () => {
    const { a, b } = await two();
    const agent = await b.connect();
    await b.advance(3_000);
    b.way.deaf = true;
    await a.submit({ id: "one" });
    await b.advance(2_100);
    expect(agent.events()).toEqual(["one"]);
  });

  test("is looked for when words were lost for certain, and what waits for its time is not looked for every second", async () => {
    const { a, b } = await two();
    const agent = await b.connect();
    await b.advance(1_000);
    b.way.deaf = true;
    await a.submit({ id: "now" });
    b.way.gap();
    await b.advance(20);
    expect(agent.events()).toEqual(["now"]);
    agent.complete("now");
    await a.submit({ id: "later", delay: "1h" });
    await b.advance(5_000);
    const before = b.way.asked.get("openDeliveries") ?? 0;
    await b.advance(20_000);
    expect((b.way.asked.get("openDeliveries") ?? 0) - before).toBeLessThanOrEqual(2);
  });

  test("is looked for though as much waited when it was looked last, and no word of it comes", async () => {
    const { a, b } = await two();
    const agent = await b.connect();
    b.way.deaf = true;
    for (const id of ["one", "two", "three"]) {
      await b.advance(1_000);
      await a.submit({ id });
      await b.advance(2_100);
      expect(agent.events()).toContain(id);
      agent.complete(id);
      await b.advance(500);
    }
    // As much waits as before, and what waited before is gone by itself.
    await a.submit({ id: "later", delay: "1h", ttl: "30s" });
    await b.advance(3_000);
    const cancelled = await a.during(
      a.store.cancelEvent({
        tenant: "default",
        eventId: "later",
        nowMs: a.ports.clock.now(),
        message: "cancelled",
        requestMessage: "asked for",
        audit: { tenant: "default", atMs: 0, principal: "test", action: "event_cancelled" },
      }),
    );
    expect(cancelled.kind).toBe("cancelled");
    await a.submit({ id: "four" });
    await b.advance(20_000);
    expect(agent.events()).toContain("four");
  });

  test("that stands as handed over and is known to nobody is handed over again when words were lost for certain", async () => {
    const { a, b, site } = await two();
    const agent = await b.connect(remembering(0));
    await a.submit({ id: "one" });
    await b.advance(20);
    agent.complete("one");
    await b.advance(500);
    // As after a store was put back to where it did not know the end yet.
    await a.during(
      site.shared.real.createEvent({
        ...newEvent({ id: "forgotten", agentId: "agent-1", state: "assigned", epoch: 1 }),
        receivedAtMs: a.ports.clock.now(),
        expiresAtMs: a.ports.clock.now() + 3_600_000,
      }),
    );
    await b.advance(3_000);
    expect(agent.events()).toEqual(["one"]);
    b.way.gap();
    await b.advance(50);
    expect(agent.events()).toEqual(["one", "forgotten"]);
  });

  test("is not overtaken by a later one that comes in where the agent is, whatever its priority", async () => {
    const { a, b } = await two();
    const agent = await b.connect(ableAgent({ credit: { deliveries: 1, bytes: 1_000_000 } }));
    b.way.deaf = true;
    await b.advance(100);
    const payload = { manifests: [configMap("same")] };
    await a.submit({ id: "first", payload });
    await b.submit({ id: "urgent", priority: 9, payload });
    await b.advance(2_100);
    expect(agent.events()).toEqual(["first"]);
    agent.complete("first");
    await b.advance(500);
    expect(agent.events()).toEqual(["first", "urgent"]);
  });

  test("is cancelled while it waits, and called back while it is carried out, from wherever", async () => {
    const { a, b } = await two();
    const agent = await b.connect();
    await a.submit({ id: "held" });
    await b.advance(20);
    const cancel = async (id: string): Promise<string> => {
      const outcome = await a.during(
        a.store.cancelEvent({
          tenant: "default",
          eventId: id,
          nowMs: a.ports.clock.now(),
          message: "cancelled",
          requestMessage: "asked for",
          audit: { tenant: "default", atMs: 0, principal: "test", action: "event_cancelled" },
        }),
      );
      await b.advance(20);
      return outcome.kind;
    };
    expect(await cancel("held")).toBe("requested");
    expect(agent.ofType("cancel")).toEqual([{ type: "cancel", event_id: "held", revision: 1 }]);
    agent.status("held", "cancelled", { phase: "failed", result: { success: false } });
    await b.advance(200);
    expect(await cancel("held")).toBe("already");
    await a.submit({ id: "waits", delay: "1h" });
    expect(await cancel("waits")).toBe("cancelled");
  });
});

describe("what nobody was told of what is in flight", () => {
  const audit = { tenant: "default", atMs: 0, principal: "test", action: "event_cancelled" };

  test("a wish reaches the agent within a minute or so, and at once when it is known that words were lost", async () => {
    const { a, b } = await two();
    const agent = await b.connect();
    await a.submit({ id: "one" }, { id: "two" });
    await b.advance(1_000);
    b.way.deaf = true;
    const cancel = async (id: string): Promise<void> => {
      const nowMs = a.ports.clock.now();
      const input = { tenant: "default", eventId: id, nowMs, message: "cancelled", requestMessage: "asked for", audit };
      expect((await a.during(a.store.cancelEvent(input))).kind).toBe("requested");
    };
    await cancel("one");
    await b.advance(65_000);
    expect(agent.ofType("cancel").map((frame) => frame["event_id"])).toContain("one");
    expect(agent.ofType("cancel").map((frame) => frame["event_id"])).not.toContain("two");
    await cancel("two");
    b.way.gap();
    await b.advance(50);
    expect(agent.ofType("cancel").map((frame) => frame["event_id"])).toContain("two");
  });

  test("an end that somebody else wrote frees its place, also where the agent cannot be asked what it holds", async () => {
    const { a, b } = await two();
    // Of 0.1: one at a time.
    const agent = await b.connect({});
    await a.submit({ id: "one", ttl: 3_600_000_000_000, deadline: "5s" }, { id: "two" });
    await b.advance(100);
    agent.status("one", "in_progress", { revision: undefined, boot_id: undefined, seq: undefined });
    await b.advance(1_000);
    b.way.deaf = true;
    await a.advance(60_000);
    expect((await a.event("one")).summary.state).toBe("failed");
    await b.advance(70_000);
    expect(agent.events()).toEqual(["one", "two"]);
  });

  test("what stands as handed over and was never sent is sent", async () => {
    const { a, b } = await two();
    const agent = await b.connect(remembering(0));
    await b.advance(3_000);
    const nowMs = a.ports.clock.now();
    const input = newEvent({ id: "late", agentId: "agent-1", state: "assigned", epoch: 1 });
    await a.during(a.store.createEvent({ ...input, receivedAtMs: nowMs, expiresAtMs: nowMs + 3_600_000 }));
    await b.advance(65_000);
    expect(agent.events()).toEqual(["late"]);
    const before = b.way.asked.get("openDeliveries") ?? 0;
    await b.advance(120_000);
    expect((b.way.asked.get("openDeliveries") ?? 0) - before).toBeLessThanOrEqual(1);
  });
});

describe("an agent that has gone to another control plane", () => {
  test("is not answered, acknowledged or handed anything where it was, and nothing of it is lost", async () => {
    const { a, b } = await two();
    const ghost = await a.connect(remembering(0));
    await a.submit({ id: "one" });
    expect(ghost.events()).toEqual(["one"]);
    // As if this control plane was stopped for a while: it hears nothing of what comes next.
    a.way.deaf = true;
    const agent = await b.connect(remembering(1));
    expect(agent.frames[0]).toMatchObject({ status: "registered", epoch: "2" });
    expect(agent.events()).toEqual(["one"]);
    agent.complete("one");
    await b.advance(200);
    // What was on its way on the earlier connection arrives only now.
    ghost.status("one", "failed", { result: { success: false } });
    await a.advance(1_000);
    expect(ghost.ofType("status_ack")).toEqual([]);
    expect(ghost.closedWith).toBe(CLOSE.replaced);
    expect((await a.event("one")).summary.state).toBe("completed");
    await a.submit({ id: "two" });
    await b.advance(2_000);
    expect(ghost.events()).toEqual(["one"]);
    expect(agent.events()).toEqual(["one", "two"]);
  });

  test("is given what was taken in for its earlier connection", async () => {
    const { a, b } = await two();
    const ghost = await a.connect(remembering(0));
    a.way.deaf = true;
    const agent = await b.connect(remembering(1));
    await a.submit({ id: "one" }, { id: "two" });
    expect((await a.event("one")).summary.state).not.toBe("completed");
    await b.advance(50);
    expect(agent.events()).toEqual(["one", "two"]);
    expect(ghost.events()).toEqual([]);
    await a.advance(1_000);
    expect(ghost.closedWith).toBe(CLOSE.replaced);
  });

  test("is left alone at once where the word of it comes through, and within seconds where none does", async () => {
    const { a, b } = await two();
    const told = await a.connect(remembering(0, { id: "told" }));
    await b.connect(remembering(1, { id: "told" }));
    await a.advance(1_000);
    expect(told.closedWith).toBe(CLOSE.replaced);
    const untold = await a.connect(remembering(0, { id: "untold" }));
    a.way.deaf = true;
    await b.connect(remembering(1, { id: "untold" }));
    untold.send({ type: "heartbeat" });
    await a.advance(16_000);
    expect(untold.closedWith).toBe(CLOSE.replaced);
  });

  test("comes again at once where whoever claimed it does not have it", async () => {
    const { a, b } = await two();
    const agent = await a.connect(remembering(0));
    await a.submit({ id: "one" });
    // It dialled the other first, which stood still; its registration is read there only now, from a socket that is gone.
    const late = Promise.withResolvers<void>();
    b.way.frozen = late.promise;
    const gone = await b.connect(remembering(0));
    gone.hangUp();
    await b.advance(10);
    b.way.frozen = undefined;
    late.resolve();
    await a.advance(1_000);
    expect(agent.closedWith).toBe(CLOSE.moveOn);
    const back = await a.connect(remembering(1));
    expect(back.frames[0]).toMatchObject({ status: "registered", epoch: "3" });
    expect(back.events()).toEqual(["one"]);
    expect(await a.during(a.store.getAgent("default", "agent-1"))).toMatchObject({ status: "connected", replicaId: "cp-0", epoch: 3 });
  });

  test("has an epoch above what it has seen, though the store was put back to an earlier state", async () => {
    const { a } = await two();
    const agent = await a.connect(remembering(41));
    expect(agent.frames[0]).toMatchObject({ epoch: "42" });
    const old = await a.connect({ ...REGISTRATION_0_1, id: "old" });
    expect(old.frames[0]).toEqual({ status: "registered", message: "Agent old registered successfully" });
  });

  test("of 0.1 works wherever it connects", async () => {
    const { a, b } = await two();
    const first = await a.connect({ ...REGISTRATION_0_1, id: "old" });
    await b.submit({ id: "one", target_agent: "old" }, { id: "two", target_agent: "old" });
    await a.advance(50);
    expect(first.events()).toEqual(["one"]);
    first.hangUp();
    await a.advance(50);
    const second = await b.connect({ ...REGISTRATION_0_1, id: "old" });
    second.send({ type: "status_update", event_id: "one", state: "completed", phase: "completed", result: { success: true } });
    await b.advance(200);
    expect(second.events()).toEqual(["one", "two"]);
    expect((await a.event("one")).summary.state).toBe("completed");
  });
});

describe("an agent elsewhere", () => {
  test("is paused, goes on and is removed from wherever", async () => {
    const { a, b } = await two();
    const agent = await b.connect();
    const audit = { tenant: "default", atMs: 0, principal: "test", action: "agent_paused" };
    await a.during(a.store.setPaused("default", "agent-1", true, audit));
    await b.advance(20);
    await a.submit({ id: "one" });
    await b.advance(3_000);
    expect(agent.events()).toEqual([]);
    await a.during(a.store.setPaused("default", "agent-1", false, audit));
    await b.advance(20);
    expect(agent.events()).toEqual(["one"]);
    await a.during(a.store.removeAgent("default", "agent-1", a.ports.clock.now(), audit));
    await b.advance(20);
    expect(agent.closedWith).toBe(CLOSE.removed);
    expect(await a.during(a.store.getAgent("default", "agent-1"))).toBeUndefined();
  });

  test("is paused though nobody said so, as soon as it is known that words were lost", async () => {
    const { a, b } = await two();
    const agent = await b.connect();
    b.way.deaf = true;
    const audit = { tenant: "default", atMs: 0, principal: "test", action: "agent_paused" };
    await a.during(a.store.setPaused("default", "agent-1", true, audit));
    b.way.gap();
    await b.advance(20);
    await a.submit({ id: "one" });
    await b.advance(3_000);
    expect(agent.events()).toEqual([]);
  });
});

describe("leases and duties", () => {
  test("everybody knows everybody, with the agents that each holds; who ends is forgotten at once, who dies some seconds later", async () => {
    const { cores } = await several(3);
    const [a, b, c] = cores as [Core, Core, Core];
    await b.connect(ableAgent({ id: "x" }));
    await b.connect(ableAgent({ id: "y" }));
    await a.advance(4_100);
    expect(a.core.membership.replicas.map(({ id, agents }) => [id, agents?.registered])).toEqual([
      ["cp-0", 0],
      ["cp-1", 2],
      ["cp-2", 0],
    ]);
    expect(a.core.membership.agents).toEqual({ connected: 2, registered: 2 });
    await a.during(c.core.membership.stop());
    b.way.frozen = new Promise(() => undefined);
    await a.advance(2_100);
    expect(a.core.membership.replicas.map(({ id }) => id)).toEqual(["cp-0", "cp-1"]);
    await a.advance(6_100);
    expect(a.core.membership.replicas.map(({ id }) => id)).toEqual(["cp-0"]);
    expect(await a.during(a.store.getAgent("default", "x"))).toMatchObject({ status: "disconnected" });
  });

  test("who was taken for dead notices, has its agents back, and leaves those that went elsewhere", async () => {
    const { a, b } = await two();
    const stays = await a.connect(remembering(0, { id: "stays" }));
    const goes = await a.connect(remembering(0, { id: "goes" }));
    const thaw = Promise.withResolvers<void>();
    a.way.frozen = thaw.promise;
    a.way.deaf = true;
    await b.advance(9_000);
    expect(await b.during(b.store.getAgent("default", "stays"))).toMatchObject({ status: "disconnected" });
    expect(a.core.membership.holds).toBe(false);
    await b.connect(remembering(1, { id: "goes" }));
    a.way.frozen = undefined;
    thaw.resolve();
    await a.advance(4_000);
    expect(a.core.membership.lapses).toBe(1);
    expect(a.core.membership.holds).toBe(true);
    expect(goes.closedWith).toBe(CLOSE.replaced);
    expect(stays.closedWith).toBeUndefined();
    expect(await b.during(b.store.getAgent("default", "stays"))).toMatchObject({ status: "connected", replicaId: "cp-0" });
    expect(await b.during(b.store.getAgent("default", "goes"))).toMatchObject({ status: "connected", replicaId: "cp-1" });
  });

  test("one looks for what is due, for all; another does within seconds when that one dies", async () => {
    const { a, b } = await two();
    await a.advance(2_100);
    expect([a, b].map(({ core }) => core.duties.holds("expiry"))).toEqual([true, false]);
    await b.submit({ id: "one", ttl: 3_000_000_000 });
    const before = b.way.asked.get("expireDue") ?? 0;
    await b.advance(5_000);
    expect((await b.event("one")).summary.state).toBe("expired");
    expect(b.way.asked.get("expireDue") ?? 0).toBe(before);
    a.way.frozen = new Promise(() => undefined);
    await b.submit({ id: "two", ttl: 1_000_000_000 });
    await b.advance(9_000);
    expect(b.core.duties.holds("expiry")).toBe(true);
    expect((await b.event("two")).summary.state).toBe("expired");
  });

  test("what is overdue when its agent asks for it ends wherever that is", async () => {
    const { a, b } = await two();
    a.way.frozen = undefined;
    await b.submit({ id: "one", ttl: 1_000_000_000 });
    a.way.frozen = new Promise(() => undefined);
    await b.advance(1_500);
    const agent = await b.connect();
    await b.advance(100);
    expect(agent.events()).toEqual([]);
    expect((await b.event("one")).summary.state).toBe("expired");
  });
});

describe("an agent of whom nobody knows", () => {
  test("stands as disconnected a minute or two after a claim whose outcome was never told", async () => {
    const { a, b } = await two();
    a.way.breaking = (operation) => operation === "claimAgent";
    const gone = await a.connect(remembering(0));
    gone.hangUp();
    await a.advance(20_000);
    a.way.breaking = () => false;
    expect(await b.during(b.store.getAgent("default", "agent-1"))).toMatchObject({ status: "connected", replicaId: "cp-0" });
    const here = await a.connect(remembering(0, { id: "here" }));
    await a.advance(130_000);
    expect(await b.during(b.store.getAgent("default", "agent-1"))).toMatchObject({ status: "disconnected", replicaId: undefined });
    expect(here.closedWith).toBeUndefined();
    expect(await b.during(b.store.getAgent("default", "here"))).toMatchObject({ status: "connected", replicaId: "cp-0" });
  });

  test("one that has gone elsewhere while the store was away is left in peace where it is", async () => {
    const { a, b } = await two();
    a.way.away = true;
    const impatient = await a.connect(remembering(0));
    impatient.hangUp();
    await a.advance(100);
    a.way.away = false;
    const agent = await b.connect(remembering(0));
    await b.advance(12_000);
    expect(agent.closedWith).toBeUndefined();
    expect(await b.during(b.store.getAgent("default", "agent-1"))).toMatchObject({ status: "connected", replicaId: "cp-1", epoch: 1 });
  });

  test("one that goes while others are written down stands as disconnected", async () => {
    const { a, b } = await two();
    const [first, goes] = [await a.connect(remembering(0, { id: "first" })), await a.connect(remembering(0, { id: "goes" }))];
    a.way.away = true;
    first.hangUp();
    await a.advance(100);
    a.way.away = false;
    goes.send({ type: "heartbeat", timestamp: "2026-01-01T00:00:00Z" });
    const thaw = Promise.withResolvers<void>();
    a.way.frozen = thaw.promise;
    await a.advance(15_000);
    goes.hangUp();
    await a.advance(100);
    a.way.frozen = undefined;
    thaw.resolve();
    await a.advance(1_000);
    for (const id of ["first", "goes"])
      expect(await b.during(b.store.getAgent("default", id))).toMatchObject({ status: "disconnected", replicaId: undefined });
  });

  test("a removal that was not heard of ends its connection all the same", async () => {
    const { a, b } = await two();
    const agent = await b.connect(remembering(0));
    b.way.deaf = true;
    const audit = { tenant: "default", atMs: 0, principal: "test", action: "agent_removed" };
    await a.during(a.store.removeAgent("default", "agent-1", a.ports.clock.now(), audit));
    b.way.gap();
    await b.advance(1_000);
    expect(agent.closedWith).toBeDefined();
  });
});

describe("a store whose link breaks", () => {
  test("an event that was kept though its sender was refused is handed over when the store answers", async () => {
    const { a } = await two();
    const agent = await a.connect();
    a.way.breaking = (operation) => operation === "createEvent";
    expect(await a.codeOf(a.submitting({ id: "one", payload: { manifests: [configMap("one")] } }))).toBe("STORE_UNAVAILABLE");
    a.way.breaking = () => false;
    await a.advance(50);
    expect(agent.events()).toEqual(["one"]);
    agent.complete("one");
    await a.advance(200);
    expect((await a.event("one")).summary.state).toBe("completed");
  });

  test("an event that was kept as waiting, likewise", async () => {
    const { a, b } = await two();
    const agent = await b.connect();
    await b.advance(1_500);
    a.way.breaking = (operation) => operation === "createEvent";
    expect(await a.codeOf(a.submitting({ id: "one", payload: { manifests: [configMap("one")] } }))).toBe("STORE_UNAVAILABLE");
    await b.advance(2_100);
    expect(agent.events()).toEqual(["one"]);
  });

  test("what was written as handed over and not sent is sent, in order, once", async () => {
    const { a } = await two();
    await a.submit({ id: "one", object: "x" }, { id: "two", object: "x" }, { id: "three", object: "x" });
    let broken = 0;
    a.way.breaking = (operation, args) => {
      if (operation !== "moveDelivery" || (args[0] as { eventId: string }).eventId !== "two" || broken > 0) return false;
      broken += 1;
      return true;
    };
    const agent = await a.connect();
    await a.advance(3_000);
    expect(broken).toBe(1);
    expect(agent.events()).toEqual(["one", "two", "three"]);
  });

  test("what was put back though that was not answered goes to the next connection", async () => {
    const { a } = await two();
    const first = await a.connect();
    await a.during(a.core.gauge.sample());
    const committed = Promise.withResolvers<void>();
    a.way.frozen = committed.promise;
    const submitting = a.submitting({ id: "one", payload: { manifests: [configMap("one")] } });
    await a.advance(5);
    first.hangUp();
    await a.advance(5);
    a.way.frozen = undefined;
    let broken = 0;
    a.way.breaking = (operation) => operation === "moveDelivery" && (broken += 1) === 1;
    committed.resolve();
    await a.during(submitting);
    await a.advance(1_500);
    expect(broken).toBe(2);
    const second = await a.connect();
    await a.advance(100);
    expect(first.events()).toEqual([]);
    expect(second.events()).toEqual(["one"]);
  });

  test("agents that are connected stay while it is away, and say again nothing that was not kept", async () => {
    const { a } = await two();
    const agent = await a.connect(remembering(0));
    await a.submit({ id: "one" });
    a.way.away = true;
    agent.complete("one");
    expect(await a.codeOf(a.submitting({ id: "two" }))).toBe("STORE_UNAVAILABLE");
    await a.advance(40_000);
    expect(agent.closedWith).toBeUndefined();
    expect(agent.ofType("status_ack")).toEqual([]);
    const turnedAway = await a.connect(remembering(0, { id: "other" }));
    await a.advance(10_000);
    expect(turnedAway.closedWith).toBe(1013);
    a.way.away = false;
    await a.advance(6_000);
    expect((await a.event("one")).summary.state).toBe("completed");
    expect(agent.ofType("status_ack")).toHaveLength(1);
    await a.submit({ id: "three" });
    await a.advance(50);
    expect(agent.events()).toEqual(["one", "three"]);
  });
});
