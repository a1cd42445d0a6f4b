import { describe, expect, test } from "bun:test";
import { silentLogger, systemPorts, TransporterError } from "../../src/kit/mod.ts";
import { type EventDetail, type EventPage, LIMITS, type Retried } from "../../src/protocol/mod.ts";
import { type NewEvent, openStore, type Store } from "../../src/stores/mod.ts";
import { anEvent, problem, startCp, type TestControlPlane } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";

type Json = Record<string, unknown>;
const JSON_TYPE = { "content-type": "application/json" };
const UUID_V8 = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** An event without an id. */
function nameless(parts: Json = {}): Json {
  const { id: _id, ...event } = anEvent(parts);
  return event;
}

async function accepted(response: Response): Promise<{ readonly id: string; readonly replayed: string | null }> {
  expect(response.status).toBe(202);
  const { event_id: id } = (await response.json()) as { event_id: string };
  return { id, replayed: response.headers.get("idempotency-replayed") };
}

describe("an Idempotency-Key", () => {
  test("names the event of those who let the control plane make the id, for as long as the event is kept", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    const event = nameless();
    const send = (path: string, key: string, body: Json = event): Promise<Response> =>
      cp.post(path, body, { ...JSON_TYPE, "idempotency-key": key });
    const first = await accepted(await send("/v1/events", "deploy-7"));
    expect(first.id).toMatch(UUID_V8);
    expect(first.replayed).toBeNull();
    await agent.event(first.id);
    expect(await accepted(await send("/v1/events", "deploy-7"))).toEqual({ id: first.id, replayed: "true" });
    expect(await accepted(await send("/events", "deploy-7", { ...event, created_at: undefined }))).toEqual({
      id: first.id,
      replayed: "true",
    });
    agent.report(first.id);
    await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${first.id}`)).state === "completed");
    const answer = await send("/v1/events", "deploy-7");
    expect(answer.headers.get("location")).toBe(`/v1/events/${first.id}`);
    expect(await accepted(answer)).toEqual({ id: first.id, replayed: "true" });
    expect((await problem(await send("/v1/events", "deploy-7", { ...event, priority: 3 }), 409)).code).toBe("EVENT_CONFLICT");
    expect((await accepted(await send("/v1/events", "deploy-8"))).id).not.toBe(first.id);
    expect(agent.deliveries(first.id)).toBe(1);
  });

  test("contradicts another id, and is 1 to 255 visible characters", async () => {
    await using cp = await startCp();
    const send = (key: string, body: Json = nameless()): Promise<Response> =>
      cp.post("/v1/events", body, { ...JSON_TYPE, "idempotency-key": key });
    const { id } = await accepted(await send("k".repeat(LIMITS.idempotencyKeyChars)));
    const refused = await problem(await send("k", { ...nameless(), id: "mine" }), 400);
    expect(refused).toMatchObject({ code: "INVALID_IDEMPOTENCY_KEY", pointer: "/id" });
    expect((await problem(await send("k".repeat(LIMITS.idempotencyKeyChars + 1)), 400)).code).toBe("INVALID_IDEMPOTENCY_KEY");
    expect((await problem(await send("two words"), 400)).code).toBe("INVALID_IDEMPOTENCY_KEY");
    expect((await send("k".repeat(LIMITS.idempotencyKeyChars), { ...anEvent(), id })).status).toBe(202);
    expect((await cp.json<EventPage>("/v1/events")).items.map((event) => event.id)).toEqual([id]);
  });

  test("without it an id is made under /v1, and 0.1's path asks for one as ever; an id of one's own is replayed alike", async () => {
    await using cp = await startCp();
    expect((await accepted(await cp.post("/v1/events", nameless()))).id).toMatch(UUID_V7);
    expect((await problem(await cp.post("/events", nameless()), 400)).code).toBe("MISSING_EVENT_ID");
    const event = anEvent();
    expect(await accepted(await cp.post("/events", event))).toEqual({ id: event.id, replayed: null });
    expect(await accepted(await cp.post("/events", event))).toEqual({ id: event.id, replayed: "true" });
  });

  test("stands in the OpenAPI document with what it does to the answer", async () => {
    await using cp = await startCp();
    const { paths } = await cp.json<{ paths: Record<string, Record<string, { parameters: Json[]; responses: Record<string, Json> }>> }>(
      "/openapi.json",
    );
    const post = paths["/v1/events"]?.["post"];
    expect(post?.parameters).toContainEqual(expect.objectContaining({ name: "Idempotency-Key", in: "header" }));
    expect(post?.responses["202"]?.["headers"]).toHaveProperty("Idempotency-Replayed");
    expect(paths["/v1/events/{id}/retry"]).toHaveProperty("post");
    expect(paths["/v1/events/{id}"]?.["delete"]?.responses).toHaveProperty("202");
  });
});

describe("a start that is to come later", () => {
  const inMs = (ms: number): string => new Date(Date.now() + ms).toISOString();

  test("waits, and its TTL counts from then", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    const at = inMs(3_600_000);
    const later = anEvent({ not_before: at, ttl: 60_000_000_000 });
    const delayed = anEvent({ delay: "2h", not_before: at, ttl: "1m" });
    for (const event of [later, delayed]) expect((await cp.post("/events", event)).status).toBe(202);
    const shown = await cp.json<EventDetail>(`/v1/events/${later.id}`);
    expect(shown).toMatchObject({ state: "queued", message: `Event waits until ${at}`, not_before: at });
    expect(Date.parse(shown.expires_at) - Date.parse(at)).toBe(60_000);
    const { not_before, received_at, expires_at } = await cp.json<EventDetail>(`/v1/events/${delayed.id}`);
    expect(Date.parse(not_before ?? "") - Date.parse(received_at)).toBe(7_200_000);
    expect(Date.parse(expires_at) - Date.parse(received_at)).toBe(7_260_000);
    const now = anEvent();
    await cp.post("/events", now);
    await agent.event(now.id);
    expect(agent.deliveries(later.id) + agent.deliveries(delayed.id)).toBe(0);
    expect((await cp.delete(`/v1/events/${later.id}`)).status).toBe(200);
  });

  test("comes, and the agent is not told of it; a retry policy it is told", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    const event = anEvent({ delay: 150_000_000, not_before: inMs(-1_000), retry: { attempts: 3, backoff: "2s" } });
    await cp.post("/events", event);
    const frame = (await agent.event(event.id))["event"] as Json;
    expect(frame["retry"]).toEqual({ attempts: 3, backoff: 2_000_000_000, max_backoff: 60_000_000_000 });
    expect(frame).not.toHaveProperty("delay");
    expect(frame).not.toHaveProperty("not_before");
    const shown = await cp.json<EventDetail>(`/v1/events/${event.id}`);
    expect(shown.retry).toEqual({ attempts: 3, backoff: 2_000_000_000, max_backoff: 60_000_000_000 });
    expect(Date.parse(shown.log.find((entry) => entry.state === "assigned")?.timestamp ?? "")).toBeGreaterThanOrEqual(
      Date.parse(shown.not_before ?? ""),
    );
  });

  test("that has passed is at once, one beyond ten years or of nonsense is refused", async () => {
    await using cp = await startCp();
    const past = anEvent({ not_before: inMs(-10_000) });
    expect((await cp.post("/events", past)).status).toBe(202);
    expect(await cp.json<EventDetail>(`/v1/events/${past.id}`)).not.toHaveProperty("not_before");
    for (const [parts, code] of [
      [{ not_before: inMs(11 * 365 * 86_400_000) }, "INVALID_TIMESTAMP"],
      [{ not_before: "tomorrow" }, "INVALID_TIMESTAMP"],
      [{ delay: "-1s" }, "INVALID_TTL"],
      [{ delay: 0 }, "INVALID_TTL"],
      [{ delay: 11 * 365 * 86_400_000_000_000_000 }, "INVALID_TTL"],
      [{ retry: { attempts: 0 } }, "INVALID_EVENT"],
    ] as const) {
      const refused = await problem(await cp.post("/events", anEvent(parts)), 400);
      expect(refused).toMatchObject({ code, pointer: expect.stringContaining(`/${Object.keys(parts)[0]}`) });
    }
  });

  test("and the retry policy are part of what is asked for", async () => {
    await using cp = await startCp();
    const event = anEvent({ delay: "1h", retry: { attempts: 3 } });
    expect((await cp.post("/events", event)).status).toBe(202);
    expect((await cp.post("/events", event)).status).toBe(202);
    for (const parts of [{ delay: "2h" }, { delay: undefined }, { retry: { attempts: 4 } }, { not_before: "2020-01-01T00:00:00Z" }])
      expect((await problem(await cp.post("/events", { ...event, ...parts }), 409)).code).toBe("EVENT_CONFLICT");
  });
});

describe("trying again", () => {
  const retry = (cp: TestControlPlane, id: string): Promise<Response> =>
    fetch(`${cp.url}/v1/events/${encodeURIComponent(id)}/retry`, { method: "POST" });

  test("makes the next revision of an event that has ended, and keeps the log of the one before", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    const event = anEvent();
    await cp.post("/events", event);
    await agent.event(event.id);
    expect((await problem(await retry(cp, event.id), 409)).code).toBe("EVENT_NOT_RETRYABLE");
    expect((await problem(await retry(cp, "nobody"), 404)).code).toBe("EVENT_NOT_FOUND");
    agent.report(event.id, "failed");
    await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "failed");
    const answer = await retry(cp, event.id);
    expect(answer.status).toBe(202);
    expect(answer.headers.get("location")).toBe(`/v1/events/${event.id}`);
    expect((await answer.json()) as Retried).toEqual({
      event_id: event.id,
      revision: 2,
      status: "accepted",
      message: "Event tried again as revision 2",
    });
    await eventually(() => agent.deliveries(event.id) === 2);
    expect(agent.frames.filter((frame) => frame["type"] === "event").map((frame) => frame["revision"])).toEqual([1, 2]);
    const shown = await cp.json<EventDetail>(`/v1/events/${event.id}`);
    expect(shown).toMatchObject({ revision: 2, state: "assigned" });
    expect(new Set(shown.log.map((entry) => entry.revision))).toEqual(new Set([1, 2]));
    // The first answer still holds for the same event handed in again.
    expect((await cp.post("/events", event)).status).toBe(202);
    const { items } = await cp.json<{ items: { action: string }[] }>(`/v1/audit?event=${event.id}`);
    expect(items.map(({ action }) => action)).toEqual(["event_retried", "event_received_http"]);
  });

  test("is followed to its own end, not to that of the attempt before", async () => {
    await using cp = await startCp();
    const event = anEvent();
    await cp.post("/events", event);
    await cp.delete(`/v1/events/${event.id}`);
    expect((await retry(cp, event.id)).status).toBe(202);
    const stream = await cp.get(`/v1/events/${event.id}/stream`);
    const reader = stream.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    const until = async (pattern: RegExp): Promise<void> => {
      while (!pattern.test(text)) {
        const part = await reader?.read();
        if (part === undefined || part.done) throw new Error(`the stream ended without ${pattern}: ${text}`);
        text += part.value;
      }
    };
    await until(/"revision":2,[^\n]*"state":"queued"/);
    expect(text).toContain('"state":"cancelled"');
    expect(text).not.toContain("event: end");
    await cp.delete(`/v1/events/${event.id}`);
    await until(/event: end/);
    expect(text.match(/"state":"cancelled"/g)).toHaveLength(2);
  });
});

describe("too much at once is turned away and never lost", () => {
  test("by how many wait for an agent, exactly, also in a burst", async () => {
    await using cp = await startCp({ intake: { queuedPerAgent: 20 } });
    const send = (agent: string): Promise<Response> => cp.post("/events", anEvent({ target_agent: agent }));
    const answers = await Promise.all(Array.from({ length: 60 }, () => send("away")));
    expect(answers.filter(({ status }) => status === 202)).toHaveLength(20);
    const turnedAway = answers.filter(({ status }) => status === 429);
    expect(turnedAway).toHaveLength(40);
    expect(Number(turnedAway[0]?.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await turnedAway[0]?.json()) as Json).toMatchObject({
      code: "TOO_MANY_REQUESTS",
      detail: "20 events wait for agent away already",
    });
    // Another agent's events are not in that queue.
    expect((await send("other")).status).toBe(202);
    expect((await cp.json<EventPage>("/v1/events?agent=away&limit=100")).items).toHaveLength(20);
    // What goes makes room.
    const { items } = await cp.json<EventPage>("/v1/events?agent=away&limit=5");
    for (const { id } of items) expect((await cp.delete(`/v1/events/${id}`)).status).toBe(200);
    const again = await eventually(async () => {
      const response = await send("away");
      return response.status === 202 ? response : undefined;
    });
    expect(again.status).toBe(202);
  });

  test("by how many are being written", async () => {
    const inner = await openStore("memory:", { ports: systemPorts, log: silentLogger });
    const gate = Promise.withResolvers<void>();
    let writing = 0;
    const store: Store = {
      ...inner,
      async createEvent(input: NewEvent) {
        writing += 1;
        await gate.promise;
        return inner.createEvent(input);
      },
    };
    await using cp = await startCp({ store, intake: { committing: 8 } });
    let answered = 0;
    const answers = Array.from({ length: 30 }, async (_, at) => {
      const { status } = await cp.post("/events", anEvent({ target_agent: `agent-${at}` }));
      answered += 1;
      return status;
    });
    // All have come to the door by then, so that none finds the room that the first make.
    await eventually(() => writing + answered === 30);
    expect(writing).toBe(8);
    gate.resolve();
    const statuses = await Promise.all(answers);
    expect(statuses.filter((status) => status === 202)).toHaveLength(8);
    expect(statuses.filter((status) => status === 429)).toHaveLength(22);
    expect((await cp.json<EventPage>("/v1/events")).items).toHaveLength(8);
    expect((await cp.post("/events", anEvent())).status).toBe(202);
  });
});

test("a store that denies us its rights is no fault of the sender, who is told to come again", async () => {
  const inner = await openStore("memory:", { ports: systemPorts, log: silentLogger });
  const state = { denied: true };
  const store: Store = {
    ...inner,
    createEvent: (input: NewEvent) =>
      state.denied ? Promise.reject(new TransporterError("STORE_DENIED", "the store lets nobody in")) : inner.createEvent(input),
  };
  await using cp = await startCp({ store });
  const event = anEvent();
  expect((await cp.post("/events", event)).status).toBe(503);
  state.denied = false;
  expect((await cp.post("/events", event)).status).toBe(202);
});
