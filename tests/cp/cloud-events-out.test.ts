import { expect, test } from "bun:test";
import { CloudEvent, HTTP } from "cloudevents";
import { SseParser } from "../../src/client/sse.ts";
import type { EventDetail, LogEntry } from "../../src/protocol/mod.ts";
import type { OutletEvent } from "../../src/queues/mod.ts";
import { anEvent, problem, startCp, type TestControlPlane } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

interface Told {
  readonly id: string;
  readonly data: string;
}

/** What a stream tells, until `enough` of it came or it ended. */
async function follow(
  cp: TestControlPlane,
  path: string,
  enough: (told: readonly Told[]) => boolean = () => false,
  headers: Record<string, string> = {},
): Promise<Told[]> {
  const connection = new AbortController();
  const response = await fetch(cp.url + path, { headers, signal: connection.signal });
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
  const parser = new SseParser();
  const decoder = new TextDecoder();
  const told: Told[] = [];
  for await (const chunk of response.body ?? []) {
    for (const { event, id, data } of parser.push(decoder.decode(chunk, { stream: true }))) if (event === "status") told.push({ id, data });
    if (enough(told)) break;
  }
  connection.abort();
  return told;
}

/** As the specification's own program reads it, strictly. */
function read({ data }: Told): CloudEvent<LogEntry> {
  const event = HTTP.toEvent<LogEntry>({ headers: { "content-type": "application/cloudevents+json" }, body: data });
  if (Array.isArray(event)) throw new Error("a batch");
  return (event as CloudEvent<LogEntry>).cloneWith({}, true);
}

/** A control plane that publishes too, so that both ways out can be compared. */
async function publishing(): Promise<{ readonly cp: TestControlPlane; readonly emitted: OutletEvent[] }> {
  const emitted: OutletEvent[] = [];
  const outlet = {
    info: { driver: "nats" as const, location: "nats://somewhere", name: "OUT", maxMessageBytes: 1_000_000 },
    emit: (events: readonly OutletEvent[]) => {
      emitted.push(...events);
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
  return { cp: await startCp({ outlet: { outlet, kinds: ["status"] } }), emitted };
}

test("one event is told as CloudEvents to its end, the same that are published", async () => {
  const { cp, emitted } = await publishing();
  await using _cp = cp;
  await using agent = await dialAgent(cp.wsUrl, protocol2());
  const event = anEvent({ traceparent: TRACEPARENT });
  await cp.post("/events", event);
  await agent.event(event.id);
  const path = `/v1/events/${event.id}/stream?format=cloudevents`;
  const following = follow(cp, path);
  agent.report(event.id);
  const told = await following;
  const { log } = await cp.json<EventDetail>(`/v1/events/${event.id}`);
  expect(log).toHaveLength(6);
  const seen = told.map(read);
  expect(seen.map(({ data }) => data)).toEqual(log);
  expect(seen.map(({ id, subject, type, specversion }) => ({ id, subject, type, specversion }))).toEqual(
    log.map(({ seq }) => ({ id: `status-${seq}`, subject: event.id, type: "dev.transporter.event.status.v1", specversion: "1.0" })),
  );
  expect(new Set(seen.map(({ traceparent }) => traceparent))).toEqual(new Set([TRACEPARENT]));
  expect(new Set(seen.map(({ source }) => source)).size).toBe(1);
  expect(seen[0]?.source).toMatch(/^urn:transporter:[0-9a-f-]{36}$/);
  for (const [at, one] of seen.entries()) expect(Date.parse(one.time ?? "")).toBe(Date.parse(log[at]?.timestamp ?? ""));
  await eventually(() => emitted.length === log.length);
  expect(emitted.map(({ body }) => body)).toEqual(told.map(({ data }) => data));
  // The stream's own numbers are as ever: whoever comes back gets what was missed.
  expect(told.map(({ id }) => id)).toEqual(log.map(({ seq }) => String(seq)));
  expect(await follow(cp, path, undefined, { "last-event-id": told[3]?.id ?? "" })).toEqual(told.slice(4));
});

test("all events are told as CloudEvents, each in its own trace", async () => {
  await using cp = await startCp();
  await cp.post("/events", anEvent({ target_agent: "before" }));
  const before = await cp.store.lastSeq();
  const [traced, plain] = [anEvent({ target_agent: "x", traceparent: TRACEPARENT }), anEvent({ target_agent: "x" })];
  for (const event of [traced, plain]) await cp.post("/events", event);
  const told = await follow(cp, "/v1/stream?format=cloudevents", ({ length }) => length === 2, { "last-event-id": String(before) });
  const seen = told.map(read);
  expect(seen.map(({ subject }) => subject)).toEqual([traced.id, plain.id]);
  expect(seen.map(({ traceparent }) => traceparent)).toEqual([TRACEPARENT, undefined]);
});

test("a time of an agent that is none is left out, and told with the entry all the same", async () => {
  await using cp = await startCp();
  await using agent = await dialAgent(cp.wsUrl);
  const event = anEvent();
  await cp.post("/events", event);
  await agent.event(event.id);
  agent.send({
    type: "status_update",
    event_id: event.id,
    state: "failed",
    phase: "failed",
    message: "no clock here",
    timestamp: "half past nine",
  });
  const last = (await follow(cp, `/v1/events/${event.id}/stream?format=cloudevents`)).at(-1);
  const told = JSON.parse(last?.data ?? "{}") as { time?: string; data?: LogEntry };
  expect(told.data).toMatchObject({ message: "no clock here", timestamp: "half past nine" });
  expect(told).not.toHaveProperty("time");
});

test("without a word about it entries are told as ever, and a format that is none is refused", async () => {
  await using cp = await startCp();
  const event = anEvent();
  await cp.post("/events", event);
  const [told] = await follow(cp, `/v1/events/${event.id}/stream`, ({ length }) => length === 1);
  expect(JSON.parse(told?.data ?? "")).toMatchObject({ event_id: event.id, state: "queued" });
  for (const path of [`/v1/events/${event.id}/stream`, "/v1/stream"]) {
    expect((await problem(await cp.get(`${path}?format=xml`), 400)).code).toBe("INVALID_QUERY");
    expect((await problem(await cp.get(`${path}?formats=cloudevents`), 400)).code).toBe("INVALID_QUERY");
  }
});
