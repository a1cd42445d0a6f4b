import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemPorts, TransporterError } from "../../src/kit/mod.ts";
import type { EventDetail, LogEntry } from "../../src/protocol/mod.ts";
import { configMap } from "../support/bare-core.ts";
import { anEvent, startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { dialSlowAgent } from "../support/slow-agent.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";

/** A clock that the test can put forward. */
function shiftedClock(): { clock: Clock; forward: (ms: number) => void } {
  let shiftMs = 0;
  return {
    clock: { now: () => Date.now() + shiftMs, monotonic: () => performance.now() + shiftMs },
    forward: (ms) => {
      shiftMs += ms;
    },
  };
}

async function stateDir(): Promise<AsyncDisposable & { readonly url: string }> {
  const dir = await mkdtemp(join(tmpdir(), "transporter-cp-"));
  return { url: `sqlite:${join(dir, "store.db")}`, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}

test("an event for an absent agent waits and goes out the moment it connects", async () => {
  await using cp = await startCp();
  const event = anEvent();
  await cp.post("/events", event);
  expect(await cp.json<EventDetail>(`/v1/events/${event.id}`)).toMatchObject({ state: "queued" });
  await using agent = await dialAgent(cp.wsUrl);
  await agent.event(event.id);
});

test("what waits goes out by priority, then in the order accepted, in a window", async () => {
  await using cp = await startCp({ maxInFlight: 2 });
  const [low, high] = [0, 9].map((priority) =>
    ["a", "b"].map((name) => anEvent({ priority, payload: { manifests: [configMap(`${name}-${priority}`)] } })),
  ) as [ReturnType<typeof anEvent>[], ReturnType<typeof anEvent>[]];
  for (const event of [...low, ...high]) await cp.post("/events", event);
  await using agent = await dialAgent(cp.wsUrl, protocol2());
  await eventually(() => agent.frames.filter((frame) => frame["type"] === "event").length === 2);
  const order = (): unknown[] =>
    agent.frames.filter((frame) => frame["type"] === "event").map((frame) => (frame["event"] as { id: string }).id);
  for (const { id } of high) agent.report(id);
  await eventually(() => order().length === 4);
  expect(order()).toEqual([...high, ...low].map(({ id }) => id));
});

test("nothing new overtakes what waits, though there is room for a moment", async () => {
  await using cp = await startCp({ maxInFlight: 1 });
  await using agent = await dialAgent(cp.wsUrl, protocol2());
  const events = Array.from({ length: 30 }, () => anEvent());
  const posting = (async () => {
    for (const event of events) await cp.post("/events", event);
  })();
  for (const { id } of events) {
    await agent.event(id);
    agent.report(id);
  }
  await posting;
  expect(agent.frames.filter((frame) => frame["type"] === "event").map((frame) => (frame["event"] as { id: string }).id)).toEqual(
    events.map(({ id }) => id),
  );
});

test("a control plane that was killed after 202 delivers when it is back", async () => {
  await using state = await stateDir();
  const event = anEvent();
  {
    await using cp = await startCp({ storeUrl: state.url });
    expect((await cp.post("/events", event)).status).toBe(202);
  }
  await using cp = await startCp({ storeUrl: state.url });
  await using agent = await dialAgent(cp.wsUrl);
  await agent.event(event.id);
  agent.report(event.id);
  await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "completed");
});

test("a TTL that runs out expires the event once, also over a restart", async () => {
  await using state = await stateDir();
  const { clock, forward } = shiftedClock();
  const ports = { ...systemPorts, clock };
  const [early, late] = [anEvent({ ttl: 60_000_000_000, created_at: undefined }), anEvent({ ttl: 600_000_000_000, created_at: undefined })];
  {
    await using cp = await startCp({ storeUrl: state.url, ports });
    await cp.post("/events", early);
    await cp.post("/events", late);
  }
  forward(61_000);
  await using cp = await startCp({ storeUrl: state.url, ports });
  const detail = await eventually(async () => {
    const seen = await cp.json<EventDetail>(`/v1/events/${early.id}`);
    return seen.state === "expired" ? seen : undefined;
  });
  expect(detail.log.filter(({ state }) => state === "expired")).toHaveLength(1);
  expect(await cp.json<EventDetail>(`/v1/events/${late.id}`)).toMatchObject({ state: "queued" });
  expect((await cp.json<{ events: { expired: number } }>("/metrics")).events.expired).toBe(1);
  await using agent = await dialAgent(cp.wsUrl);
  await agent.event(late.id);
  expect(agent.deliveries(early.id)).toBe(0);
});

test("a short TTL expires on its own, without anybody asking", async () => {
  await using cp = await startCp();
  const event = anEvent({ ttl: 150_000_000, created_at: undefined });
  await cp.post("/events", event);
  await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "expired");
});

test("an agent that vanished with an event leaves it failed with OUTCOME_UNKNOWN, and its late word goes to the log", async () => {
  const { clock, forward } = shiftedClock();
  await using cp = await startCp({ ports: { ...systemPorts, clock } });
  const event = anEvent({ deadline: 60_000_000_000 });
  {
    await using agent = await dialAgent(cp.wsUrl);
    await cp.post("/events", event);
    await agent.event(event.id);
    agent.report(event.id, "received");
    await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "in_progress");
  }
  forward(91_000);
  // A new event wakes the expiry, as time passing would.
  await cp.post("/events", anEvent({ target_agent: "other", ttl: 20_000_000, created_at: undefined }));
  await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "failed");
  await using back = await dialAgent(cp.wsUrl);
  back.report(event.id);
  const detail = await eventually(async () => {
    const seen = await cp.json<EventDetail>(`/v1/events/${event.id}`);
    return seen.log.some(({ details }) => details?.["late"] === true) ? seen : undefined;
  });
  expect(detail).toMatchObject({ state: "failed", result: { error_code: "OUTCOME_UNKNOWN" } });
  expect(back.deliveries(event.id)).toBe(0);
});

test("an agent cannot speak for another", async () => {
  await using cp = await startCp();
  await using owner = await dialAgent(cp.wsUrl);
  await using stranger = await dialAgent(cp.wsUrl, { id: "stranger", name: "stranger" });
  const event = anEvent();
  await cp.post("/events", event);
  await owner.event(event.id);
  stranger.report(event.id);
  owner.report(event.id, "received");
  await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "in_progress");
  expect((await cp.json<EventDetail>(`/v1/events/${event.id}`)).log.map(({ phase }) => phase)).toEqual(["", "received"]);
});

test("statuses that are sent again change nothing", async () => {
  await using cp = await startCp();
  const bootId = crypto.randomUUID();
  const event = anEvent();
  {
    await using agent = await dialAgent(cp.wsUrl, protocol2({ boot_id: bootId }));
    await cp.post("/events", event);
    await agent.event(event.id);
    agent.report(event.id);
    await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "completed");
  }
  await using again = await dialAgent(cp.wsUrl, protocol2({ boot_id: bootId }));
  again.report(event.id);
  await eventually(() => again.frames.some((frame) => frame["type"] === "status_ack" && frame["seq"] === 5));
  expect((await cp.json<EventDetail>(`/v1/events/${event.id}`)).log).toHaveLength(6);
});

/** Reads server-sent events until `enough` says so; answers data objects and the last id. */
async function follow(
  url: string,
  enough: (entries: LogEntry[], names: string[]) => boolean,
  headers: Record<string, string> = {},
): Promise<{ entries: LogEntry[]; names: string[]; lastId: string }> {
  const abort = new AbortController();
  const response = await fetch(url, { headers, signal: abort.signal });
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  const entries: LogEntry[] = [];
  const names: string[] = [];
  let lastId = "";
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true });
    for (let at = text.indexOf("\n\n"); at >= 0; at = text.indexOf("\n\n")) {
      const fields = new Map(
        text
          .slice(0, at)
          .split("\n")
          .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)] as const),
      );
      text = text.slice(at + 2);
      const name = fields.get("event");
      if (name === undefined) continue;
      names.push(name);
      if (name === "status") entries.push(JSON.parse(fields.get("data") ?? "") as LogEntry);
      lastId = fields.get("id") ?? lastId;
    }
    if (enough(entries, names)) break;
  }
  abort.abort();
  return { entries, names, lastId };
}

test("one event can be followed to its end, and again from where a reader was cut off", async () => {
  await using cp = await startCp();
  await using agent = await dialAgent(cp.wsUrl);
  const event = anEvent();
  await cp.post("/events", event);
  await agent.event(event.id);
  const following = follow(`${cp.url}/v1/events/${event.id}/stream`, (_entries, names) => names.includes("end"));
  agent.report(event.id);
  const { entries, names } = await following;
  expect(entries.map(({ phase }) => phase)).toEqual(["", "received", "validating", "applying", "verifying", "completed"]);
  expect(entries.at(-1)?.result).toMatchObject({ success: true });
  expect(names.at(-1)).toBe("end");
  const seqs = entries.map(({ seq }) => seq);
  expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  const resumed = await follow(`${cp.url}/v1/events/${event.id}/stream`, (_entries, seen) => seen.includes("end"), {
    "last-event-id": String(seqs[3]),
  });
  expect(resumed.entries.map(({ seq }) => seq)).toEqual(seqs.slice(4));
});

test("all events can be followed from now on, and from where a reader was", async () => {
  await using cp = await startCp();
  await cp.post("/events", anEvent({ target_agent: "before" }));
  const before = await cp.store.lastSeq();
  const following = follow(`${cp.url}/v1/stream`, (entries) => entries.length === 3);
  await eventually(async () => (await (await cp.get("/metrics", { accept: "text/plain" })).text()).includes("transporter_live_streams 1"));
  const events = [anEvent({ target_agent: "x" }), anEvent({ target_agent: "x" }), anEvent({ target_agent: "x" })];
  for (const event of events) await cp.post("/events", event);
  const { entries } = await following;
  expect(entries.map(({ event_id }) => event_id)).toEqual(events.map(({ id }) => id));
  const resumed = await follow(`${cp.url}/v1/stream`, (seen) => seen.length === 3, { "last-event-id": String(before) });
  expect(resumed.entries).toEqual(entries);
  // Readers that went away, and one that only asked for the head, leave nothing behind.
  expect((await fetch(`${cp.url}/v1/stream`, { method: "HEAD" })).headers.get("content-type")).toBe("text/event-stream");
  await eventually(async () => (await (await cp.get("/metrics", { accept: "text/plain" })).text()).includes("transporter_live_streams 0"));
});

test("a delivery that is not acknowledged is sent again a few times, then the connection is given up and the next one gets it", async () => {
  const { clock, forward } = shiftedClock();
  const timers = {
    ...systemPorts.timers,
    every: (_ms: number, run: () => void) => systemPorts.timers.every(20, run, { background: true }),
  };
  await using cp = await startCp({ ports: { ...systemPorts, clock, timers }, eventRetryMax: 2, heartbeatTimeoutMs: 3_600_000 });
  const event = anEvent();
  const deaf = await dialAgent(cp.wsUrl, protocol2());
  await cp.post("/events", event);
  for (let sent = 1; sent <= 3; sent += 1) {
    await eventually(() => deaf.deliveries(event.id) === sent);
    // It is heard of all the time, and yet acknowledges nothing.
    for (let step = 0; step < 2; step += 1) {
      forward(15_500);
      deaf.send({ type: "heartbeat", timestamp: new Date().toISOString(), metrics: {} });
      await cp.json("/v1/agents");
    }
  }
  expect(await deaf.closed).toMatchObject({ code: 4004 });
  await using agent = await dialAgent(cp.wsUrl, protocol2());
  await agent.event(event.id);
  agent.send({ type: "event_ack", event_id: event.id, revision: 1 });
  agent.report(event.id);
  await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "completed");
  expect(agent.deliveries(event.id)).toBe(1);
});

test("an agent behind a slow link gets a window of large events on one connection", async () => {
  await using cp = await startCp();
  const filler = "x".repeat(12 * 1024 * 1024);
  const events = Array.from({ length: 10 }, (_, at) => anEvent({ payload: { manifests: [`a: ${at}${filler}`] } }));
  for (const event of events) expect((await cp.post("/events", event)).status).toBe(202);
  await using agent = await dialSlowAgent(cp.wsUrl, protocol2({ id: "agent-1" }));
  // It reads a little at a time, so that what is sent piles up in the control plane.
  await eventually(() => agent.receivedBytes() > events.length * filler.length || agent.closed(), { timeoutMs: 30_000 });
  expect(agent.closed()).toBe(false);
});

test("a status that cannot be stored at all is not covered by a later acknowledgement, and told again on the next connection", async () => {
  await using inner = await startCp();
  const real = inner.store;
  let broken = true;
  // Everything of the real store, but one status that meets a fault of ours.
  const store: typeof real = new Proxy(real, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (name === "close") return () => Promise.resolve();
      if (name !== "applyStatus") return typeof value === "function" ? (value.bind(target) as unknown) : value;
      return (status: Parameters<typeof real.applyStatus>[0]) =>
        broken && status.phase === "validating" ? Promise.reject(new Error("a fault of ours")) : target.applyStatus(status);
    },
  });
  await using cp = await startCp({ store });
  const registration = protocol2();
  const event = anEvent();
  const agent = await dialAgent(cp.wsUrl, registration);
  await cp.post("/events", event);
  await agent.event(event.id);
  agent.report(event.id);
  await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "completed");
  const acked = (): number[] => agent.frames.filter((frame) => frame["type"] === "status_ack").map((frame) => Number(frame["seq"]));
  await eventually(() => acked().length > 0);
  expect(Math.max(...acked())).toBe(1);
  agent.close();
  await agent.closed;
  broken = false;
  await using again = await dialAgent(cp.wsUrl, registration);
  again.report(event.id);
  await eventually(() => again.frames.some((frame) => frame["type"] === "status_ack" && frame["seq"] === 5));
});

test("a status that the store does not take for its own reasons is stored as it was said, and acknowledged, once it does", async () => {
  await using inner = await startCp();
  const real = inner.store;
  let refused = 0;
  const store: typeof real = new Proxy(real, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (name === "close") return () => Promise.resolve();
      if (name !== "applyStatus") return typeof value === "function" ? (value.bind(target) as unknown) : value;
      return (status: Parameters<typeof real.applyStatus>[0]) => {
        if (status.state !== "completed" || refused > 0) return target.applyStatus(status);
        refused += 1;
        return Promise.reject(new TransporterError("STORE_DENIED", "its rights were taken away for a moment"));
      };
    },
  });
  await using cp = await startCp({ store });
  const event = anEvent();
  await using agent = await dialAgent(cp.wsUrl, protocol2());
  await cp.post("/events", event);
  await agent.event(event.id);
  agent.report(event.id);
  await eventually(() => agent.frames.some((frame) => frame["type"] === "status_ack" && frame["seq"] === 5));
  expect(refused).toBe(1);
  expect((await cp.json<EventDetail>(`/v1/events/${event.id}`)).result).toMatchObject({ success: true });
});

test("an agent that was paused while it was away gets nothing when it is back, whatever happens while it registers", async () => {
  await using cp = await startCp();
  {
    await using _agent = await dialAgent(cp.wsUrl, protocol2());
  }
  const pausing = cp.post("/v1/agents/agent-1/pause", "");
  await using agent = await dialAgent(cp.wsUrl, protocol2());
  expect((await pausing).status).toBe(200);
  const event = anEvent();
  await cp.post("/events", event);
  expect(await cp.json<EventDetail>(`/v1/events/${event.id}`)).toMatchObject({
    state: "queued",
    message: expect.stringContaining("paused") as string,
  });
  await cp.post("/v1/agents/agent-1/resume", "");
  await agent.event(event.id);
});
