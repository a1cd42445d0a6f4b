import { describe, expect, test } from "bun:test";
import { manualPorts, silentLogger } from "../kit/mod.ts";
import type { Peer } from "../net/mod.ts";
import { agentPrincipal } from "../security/mod.ts";
import type { DeliveryMove, DispatchItem, OpenQuery, Store } from "../stores/mod.ts";
import { Bell } from "./bell.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Entrant } from "./entrance.ts";
import { Pulse } from "./pulse.ts";
import { FootprintBudget, TOUCHES_NOTHING } from "./precedence.ts";
import { AgentSession } from "./session.ts";

function item(eventId: string, expiresAtMs: number, state: "queued" | "in_progress" = "queued", payloadBytes = 2): DispatchItem {
  return {
    delivery: {
      ord: 1,
      tenant: "default",
      eventId,
      agentId: "agent-1",
      revision: 1,
      state,
      priority: 0,
      expiresAtMs,
      payloadBytes,
      cancelRequested: false,
    },
    event: {
      id: eventId,
      type: "k8s_resource",
      targetAgent: "agent-1",
      createdAt: "2026-01-01T00:00:00Z",
      createdAtMs: 0,
      createdBy: "",
      ttlNs: 1e9,
      ttlMs: 1000,
      priority: 0,
      labels: {},
      deadlineMs: undefined,
      notBeforeMs: undefined,
      delayMs: undefined,
      retry: undefined,
      traceparent: undefined,
      extra: {},
    },
    payload: { text: "{}" },
  };
}

/** A dispatcher with one connected agent, over a store that holds these deliveries and answers when it is told to. */
function setUp(open: DispatchItem[], parts: { readonly onOverdue?: () => Promise<boolean>; readonly maxInFlight?: number } = {}) {
  const manual = manualPorts();
  const { ports } = manual;
  const sent: Record<string, unknown>[] = [];
  const peer = {
    remoteAddress: "127.0.0.1",
    congested: false as boolean,
    send: (text: string) => sent.push(JSON.parse(text) as Record<string, unknown>) > 0,
    close: () => undefined,
  } satisfies Peer;
  const looks: OpenQuery[] = [];
  const moved = new Set<string>();
  const putBack: string[] = [];
  const held: { answers: (() => void)[] | undefined } = { answers: undefined };
  const store = {
    openDeliveries(query: OpenQuery) {
      looks.push(query);
      if (looks.length > 50) return Promise.reject(new Error("asked without end"));
      const found = open
        .filter(
          ({ delivery }) => query.states.includes(delivery.state) && !moved.has(delivery.eventId) && !query.skip.has(delivery.eventId),
        )
        .slice(0, query.maxItems)
        .filter(({ delivery }, at) => at === 0 || delivery.payloadBytes * (at + 1) <= query.maxBytes);
      if (held.answers === undefined) return Promise.resolve(found);
      return new Promise<DispatchItem[]>((resolve) => held.answers?.push(() => resolve(found)));
    },
    waitingBefore: () => Promise.resolve([]),
    nextStartMs: () => Promise.resolve(undefined),
    moveDelivery({ eventId, to }: DeliveryMove) {
      if (to === "queued") putBack.push(eventId);
      else moved.add(eventId);
      return Promise.resolve({ kind: "moved", entry: undefined });
    },
  } as unknown as Store;
  const session = new AgentSession({
    tenant: "default",
    entrant: new Entrant(
      {
        id: "agent-1",
        name: "a",
        cluster_name: "c",
        version: "1",
        capabilities: ["k8s_crud"],
        protocol: 2,
        features: ["ack"],
        boot_id: "boot-1",
      },
      agentPrincipal("agent-1"),
      { address: "127.0.0.1", requestId: "request" },
    ),
    peer,
    store,
    ports,
    log: silentLogger,
    pulse: new Pulse(ports.timers, 0),
    events: {
      acknowledged: () => undefined,
      status: () => undefined,
      credit: () => undefined,
      payload: () => undefined,
      heartbeat: () => undefined,
      opened: () => undefined,
      fenced: () => undefined,
      foreign: () => undefined,
    },
  });
  const dispatcher = new Dispatcher({
    tenant: "default",
    store,
    bell: new Bell(),
    payloads: { text: () => Promise.resolve(undefined) },
    footprints: { of: () => TOUCHES_NOTHING },
    budget: new FootprintBudget(1000),
    ports,
    log: silentLogger,
    maxInFlight: parts.maxInFlight ?? 4,
    maxResends: 3,
    onOverdue: parts.onOverdue ?? (() => Promise.resolve(true)),
    onFenced: () => undefined,
  });
  const ids = (): unknown[] => sent.map((frame) => (frame["event"] as { id: string }).id);
  return { ...manual, dispatcher, session, peer, sent, ids, looks, held, putBack };
}

describe("Dispatcher", () => {
  test("an agent that takes slowly is given no more than it takes", async () => {
    const later = manualPorts().ports.clock.now() + 600_000;
    const large = 32 * 1024 * 1024;
    const made = setUp(["one", "two", "three"].map((id) => item(id, later, "queued", large)));
    const takeOne = made.peer.send;
    made.peer.send = (text) => {
      made.peer.congested = true;
      return takeOne(text);
    };
    made.dispatcher.connected(made.session);
    await made.settle();
    expect(made.ids()).toEqual(["one"]);
    expect(made.dispatcher.reserve({ type: "k8s_resource" }, "agent-1")).toHaveProperty("why");
    // It is on its way still, so it is not said twice and the agent is not sent away.
    made.dispatcher.start();
    await made.advance(300_000);
    expect(made.ids()).toEqual(["one"]);
    made.peer.congested = false;
    made.dispatcher.drained(made.session);
    await made.settle();
    expect(made.ids()).toEqual(["one", "two"]);
  });

  test("what was promised to an agent that went away during the commit waits again, the last first, and nothing is handed over before", async () => {
    const { ports } = manualPorts();
    const made = setUp([]);
    const { delivery, event, payload } = item("one", ports.clock.now() + 60_000);
    const promise = () => {
      const place = made.dispatcher.reserve({ type: "k8s_resource" }, "agent-1");
      if (!("reservation" in place)) throw new Error(place.why);
      return place.reservation;
    };
    made.dispatcher.connected(made.session);
    await made.settle();
    const [first, second] = [promise(), promise()];
    made.session.closed = true;
    made.dispatcher.disconnected(made.session);
    made.dispatcher.connected(made.session);
    made.session.closed = false;
    made.dispatcher.deliver(first, delivery, event, payload);
    await made.settle();
    // One promise is still out: until it is kept or given up, nothing goes to the agent, though it is back.
    expect(made.putBack).toEqual([]);
    expect(made.looks).toHaveLength(2);
    made.dispatcher.deliver(second, { ...delivery, eventId: "two", ord: 2 }, event, payload);
    await made.settle();
    expect(made.putBack).toEqual(["two", "one"]);
    expect(made.sent).toEqual([]);
    expect(made.looks.length).toBeGreaterThan(2);
  });

  test("a resume that comes while a look into the store is under way is not lost", async () => {
    const { ports } = manualPorts();
    const made = setUp([item("one", ports.clock.now() + 60_000)]);
    made.held.answers = [];
    made.dispatcher.connected(made.session);
    await made.settle();
    made.held.answers.shift()?.();
    await made.settle();
    // The look for what waits is under way. Its answer finds the agent paused, and the resume comes before the loop has ended.
    const [answer] = made.held.answers;
    made.held.answers = undefined;
    made.session.paused = true;
    answer?.();
    await Promise.resolve();
    made.session.paused = false;
    made.dispatcher.queued("agent-1");
    await made.settle();
    expect(made.ids()).toEqual(["one"]);
  });

  test("what is overdue and cannot be ended is not asked for without pause", async () => {
    const { ports } = manualPorts();
    const made = setUp([item("old", ports.clock.now() - 1)], { onOverdue: () => Promise.resolve(false) });
    made.dispatcher.connected(made.session);
    await made.settle();
    expect(made.ids()).toEqual([]);
    expect(made.looks.length).toBeLessThan(4);
    await made.advance(5_000);
    expect(made.looks.length).toBeGreaterThan(4);
    expect(made.looks.length).toBeLessThan(20);
  });

  test("what was begun is handed over again without bound: the TTL counts until the start", async () => {
    const { ports } = manualPorts();
    const made = setUp([item("begun", ports.clock.now() - 1, "in_progress")]);
    made.dispatcher.connected(made.session);
    await made.settle();
    expect(made.ids()).toEqual(["begun"]);
    expect(made.sent[0]).not.toHaveProperty("expires_in_ms");
  });

  test("what ends while it is looked for is not sent any more, and keeps no place", async () => {
    const { ports } = manualPorts();
    const open = [item("begun", ports.clock.now() + 60_000, "in_progress")];
    const made = setUp(open);
    made.held.answers = [];
    made.dispatcher.connected(made.session);
    await made.settle();
    const [answer] = made.held.answers;
    made.held.answers = undefined;
    // The store has answered already when its last status is stored.
    answer?.();
    open.length = 0;
    made.dispatcher.forget("agent-1", "begun", 1);
    await made.settle();
    expect(made.ids()).toEqual([]);
    expect(made.dispatcher.inFlightOf("agent-1")).toBe(0);
  });
});
