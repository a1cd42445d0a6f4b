import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect } from "bun:test";
import { silentLogger, systemPorts, TransporterError } from "../../src/kit/mod.ts";
import type { EventPage, EventSummary } from "../../src/protocol/mod.ts";
import { openQueue, type Queue } from "../../src/queues/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { anEvent, startCp, type TestControlPlane } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { uniqueName } from "../support/kube.ts";
import { type Nats, natsTest, SKIP_NATS, startNats } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";
import { dialAgent } from "../support/wire-agent.ts";
import { plainNats } from "./plain-nats.ts";

let nats: Nats;
beforeAll(async () => {
  if (!SKIP_NATS) nats = await startNats();
});
afterAll(async () => nats?.[Symbol.asyncDispose]());

type Json = Record<string, unknown>;

function urlOf(name: string, query = "ack-wait=1s"): string {
  return `${nats.url}/${name}?${query}`;
}
function open(url: string): Promise<Queue> {
  return openQueue(url, { log: silentLogger, ports: systemPorts });
}
function put(queue: Queue, event: Json, parts: { readonly id?: string; readonly priority?: number } = {}): Promise<unknown> {
  const body = new TextEncoder().encode(JSON.stringify(event));
  return queue.publish({ id: parts.id ?? String(event["id"]), body, priority: parts.priority ?? 0 });
}

async function eventsOf(cp: Pick<TestControlPlane, "json">): Promise<EventSummary[]> {
  const all: EventSummary[] = [];
  let cursor: string | undefined;
  do {
    const page: EventPage = await cp.json<EventPage>(`/v1/events?limit=500${cursor === undefined ? "" : `&cursor=${cursor}`}`);
    all.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return all;
}

async function empty(queue: Queue): Promise<void> {
  await eventually(
    async () => {
      const { waiting, inHand } = await queue.status();
      return waiting.urgent + waiting.normal + waiting.low + inHand === 0;
    },
    { timeoutMs: 20_000, what: "the queue to be empty" },
  );
}

natsTest("an event of the queue is taken, audited and delivered as one of HTTP is, and told where it came from", async () => {
  const name = uniqueName("intake");
  const queue = await open(urlOf(name));
  await using producer = disposable(await open(urlOf(name)));
  await using cp = await startCp({ queue });
  await using agent = await dialAgent(cp.wsUrl);
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const event = anEvent({ priority: 7 });
  await producer.queue.publish({ id: event.id, body: new TextEncoder().encode(JSON.stringify(event)), priority: 7, traceparent });
  const frame = (await agent.event(event.id))["event"] as Json;
  expect(frame).toMatchObject({ id: event.id, priority: 7 });
  expect(await cp.json<EventSummary>(`/v1/events/${event.id}`)).toMatchObject({ principal: "queue:nats", traceparent });
  const { items } = await cp.json<{ items: Json[] }>(`/v1/audit?event=${event.id}`);
  expect(items).toMatchObject([
    { action: "event_received", principal: "queue:nats", user: "test", remote_address: `${nats.url}/${name}`, agent_id: "agent-1" },
  ]);
  await empty(producer.queue);
  expect(await (await cp.get("/readyz?verbose")).text()).toContain(`[+]queue nats ${name} ok`);
  const metrics = await (await cp.get("/metrics", { accept: "text/plain" })).text();
  expect(metrics).toContain("transporter_queue_up 1\n");
  expect(metrics).toContain('transporter_queue_settled_total{outcome="stored"} 1\n');
  expect(metrics).toContain('transporter_queue_messages{band="urgent"} 0\n');
  expect(metrics).toContain("transporter_queue_in_hand 0\n");
  expect(metrics).toContain("transporter_queue_dead 0\n");
  expect(metrics).toContain("transporter_queue_oldest_seconds 0\n");
});

natsTest("what can never be taken goes to the dead letters by name, and the good ones beside it arrive", async () => {
  const name = uniqueName("poison");
  const queue = await open(urlOf(name));
  await using producer = disposable(await open(urlOf(name)));
  await using cp = await startCp({ queue, maxEventBytes: 5_000 });
  const good = Array.from({ length: 20 }, () => anEvent());
  const first = good[0] as Json;
  const bad: Readonly<Record<string, Json | string>> = {
    INVALID_JSON: "{",
    MISSING_EVENT_ID: anEvent({ id: "" }),
    EMPTY_MANIFESTS: anEvent({ id: "empty", payload: { manifests: [] } }),
    EVENT_EXPIRED: anEvent({ id: "late", created_at: "2020-01-01T00:00:00Z", ttl: 1e9 }),
    EVENT_CONFLICT: { ...first, created_by: "somebody", payload: { manifests: ["kind: Other"] } },
    BODY_TOO_LARGE: anEvent({ id: "large", payload: { manifests: ["x".repeat(6_000)] } }),
  };
  await put(producer.queue, first);
  await eventually(async () => (await eventsOf(cp)).length === 1);
  for (const [code, event] of Object.entries(bad)) {
    const body = typeof event === "string" ? event : JSON.stringify(event);
    await producer.queue.publish({ id: `message-${code}`, body: new TextEncoder().encode(body), priority: 0 });
  }
  await Promise.all(good.slice(1).map((event) => put(producer.queue, event)));
  await eventually(async () => (await eventsOf(cp)).length === good.length);
  await empty(producer.queue);
  await using plain = await plainNats(nats.port);
  const letters = await plain.deadLetters(name);
  expect(Object.fromEntries(letters.map((letter) => [letter.code, letter.eventId]))).toEqual({
    INVALID_JSON: "message-INVALID_JSON",
    MISSING_EVENT_ID: "message-MISSING_EVENT_ID",
    EMPTY_MANIFESTS: "empty",
    EVENT_EXPIRED: "late",
    EVENT_CONFLICT: String(first["id"]),
    BODY_TOO_LARGE: "large",
  });
  for (const { code, reason, body } of letters) {
    expect(reason.length).toBeGreaterThan(10);
    const event = bad[code] ?? "";
    expect(new TextDecoder().decode(body)).toBe(typeof event === "string" ? event : JSON.stringify(event));
  }
});

/** A store that can be switched off, as one whose server is gone. */
function switchable(real: Store): { readonly store: Store; off: boolean } {
  const state = { off: false };
  const store = new Proxy(real, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key);
      if (typeof value !== "function") return value;
      return (...args: readonly unknown[]): unknown => {
        if (state.off && (key === "createEvent" || key === "ping"))
          return Promise.reject(new TransporterError("STORE_UNAVAILABLE", "the store was switched off"));
        return (value as (...args: readonly unknown[]) => unknown).apply(target, [...args]);
      };
    },
  });
  return {
    store,
    get off() {
      return state.off;
    },
    set off(value) {
      state.off = value;
    },
  };
}

natsTest("while the store is away nothing is taken, given back or lost, and all of it arrives when it is back", async () => {
  const name = uniqueName("away");
  const queue = await open(urlOf(name));
  await using producer = disposable(await open(urlOf(name)));
  const wrapped = switchable(await openStore("memory:", { ports: systemPorts, log: silentLogger }));
  await using cp = await startCp({ queue, store: wrapped.store });
  await eventually(async () => (await (await cp.get("/readyz?verbose")).text()).includes(`[+]queue nats ${name} ok`));
  wrapped.off = true;
  const events = Array.from({ length: 400 }, () => anEvent());
  await put(producer.queue, events[0] as Json);
  await eventually(async () => (await (await cp.get("/readyz?verbose")).text()).includes("nothing is taken while the store is away"));
  await Promise.all(events.slice(1).map((event) => put(producer.queue, event)));
  // Two of its ack waits: what is in hand is kept alive.
  await Bun.sleep(2_100);
  const { waiting, inHand } = await producer.queue.status();
  expect(inHand).toBeLessThan(10);
  expect(waiting.normal + inHand).toBe(400);
  expect(await eventsOf(cp)).toHaveLength(0);
  wrapped.off = false;
  await eventually(async () => (await eventsOf(cp)).length === 400, { timeoutMs: 15_000 });
  await empty(producer.queue);
  expect(await producer.queue.status()).toMatchObject({ dead: 0 });
  await using plain = await plainNats(nats.port);
  expect(await plain.redelivered(name)).toBe(0);
});

natsTest("an agent that has too much waiting holds up its own events only", async () => {
  const name = uniqueName("bound");
  const queue = await open(urlOf(name));
  await using producer = disposable(await open(urlOf(name)));
  await using cp = await startCp({ queue, intake: { queuedPerAgent: 5 } });
  const many = Array.from({ length: 12 }, () => anEvent({ target_agent: "full" }));
  await Promise.all(many.map((event) => put(producer.queue, event)));
  await eventually(async () => (await eventsOf(cp)).length === 5);
  const others = Array.from({ length: 5 }, () => anEvent({ target_agent: "free" }));
  await Promise.all(others.map((event) => put(producer.queue, event)));
  await eventually(async () => (await eventsOf(cp)).filter((event) => event.target_agent === "free").length === 5);
  expect((await eventsOf(cp)).length).toBe(10);
  expect(await producer.queue.status()).toMatchObject({ inHand: 7, dead: 0 });
  // Its agent comes and works: the others follow.
  await using agent = await dialAgent(cp.wsUrl, { id: "full" });
  const reported = new Set<string>();
  await eventually(
    async () => {
      for (const frame of agent.frames) {
        const id = (frame["event"] as Json | undefined)?.["id"];
        if (typeof id !== "string" || reported.has(id)) continue;
        reported.add(id);
        agent.report(id);
      }
      return reported.size === 12;
    },
    { timeoutMs: 25_000 },
  );
  await empty(producer.queue);
  expect(await producer.queue.status()).toMatchObject({ dead: 0 });
});

natsTest("a window that is full of what cannot go on leaves room for urgent events", async () => {
  const name = uniqueName("urgent");
  const queue = await open(urlOf(name));
  await using producer = disposable(await open(urlOf(name)));
  await using cp = await startCp({ queue, intake: { queuedPerAgent: 1 } });
  const many = Array.from({ length: 400 }, () => anEvent({ target_agent: "full" }));
  await Promise.all(many.map((event) => put(producer.queue, event)));
  // Seven eighths of 256.
  await eventually(async () => (await producer.queue.status()).inHand >= 224);
  const [calm, urgent] = [anEvent({ target_agent: "free" }), anEvent({ target_agent: "free", priority: 5 })];
  await put(producer.queue, calm);
  await put(producer.queue, urgent, { priority: 5 });
  await eventually(async () => (await eventsOf(cp)).some(({ id }) => id === urgent.id));
  expect((await eventsOf(cp)).some(({ id }) => id === calm.id)).toBe(false);
  expect(await producer.queue.status()).toMatchObject({ dead: 0 });
});

natsTest("a control plane that is killed with messages in hand leaves each event to the next one, none lost, none doubled", async () => {
  const name = uniqueName("killed");
  const directory = await mkdtemp(join(tmpdir(), "transporter-queue-"));
  try {
    await using producer = disposable(await open(urlOf(name)));
    const events = Array.from({ length: 300 }, () => anEvent());
    await Promise.all(events.map((event) => put(producer.queue, event)));
    const storeUrl = `sqlite:${join(directory, "cp.db")}`;
    const child = [process.execPath, join(import.meta.dir, "cp-child.ts"), storeUrl, urlOf(name)];
    // Killed between the store's commit and the acknowledgement, then between the check and the commit.
    for (const order of ["cp.intake.committed@40", "cp.intake.checked@90"]) {
      await using dying = await startProcess([...child, order]);
      await dying.exited;
      expect(dying.signal()).toBe("SIGKILL");
    }
    const before = await producer.queue.status();
    expect(before.waiting.normal + before.inHand).toBeGreaterThan(0);
    await using heir = await startProcess(child);
    const [, url = ""] = await heir.line(/^listening (\S+)/);
    const cp = {
      async json<T>(path: string): Promise<T> {
        return (await (await fetch(url + path)).json()) as T;
      },
    };
    await empty(producer.queue);
    expect((await eventsOf(cp)).map(({ id }) => id).toSorted()).toEqual(events.map(({ id }) => id).toSorted());
    expect(await cp.json<Json>("/metrics")).toMatchObject({ events: { total: 300 } });
    expect(await producer.queue.status()).toMatchObject({ dead: 0 });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

function disposable(queue: Queue): AsyncDisposable & { readonly queue: Queue } {
  return { queue, [Symbol.asyncDispose]: () => queue.close() };
}
