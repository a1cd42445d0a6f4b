import { describe, expect, test } from "bun:test";
import { CloudEvent, HTTP, type Message } from "cloudevents";
import type { EventDetail, EventPage } from "../../src/protocol/mod.ts";
import { configMap } from "../support/bare-core.ts";
import { anEvent, problem, startCp, type TestControlPlane } from "../support/cp.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";

type Json = Record<string, unknown>;

/** What the data of a CloudEvent is here: an event without an id. */
function asked(parts: Json = {}): Json {
  return { type: "k8s_resource", target_agent: "agent-1", payload: { manifests: [configMap("a")] }, ...parts };
}

function cloudEvent(parts: Json = {}): CloudEvent<Json> {
  return new CloudEvent<Json>({
    id: crypto.randomUUID(),
    source: "https://ci.example.com/jobs/7",
    type: "dev.transporter.event.v1",
    datacontenttype: "application/json",
    data: asked(),
    ...parts,
  });
}

function send(cp: TestControlPlane, path: string, { headers, body }: Message): Promise<Response> {
  return cp.post(path, body, Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])));
}

async function accepted(response: Response): Promise<{ readonly id: string; readonly replayed: string | null }> {
  expect(response.status).toBe(202);
  const { event_id: id } = (await response.json()) as { event_id: string };
  return { id, replayed: response.headers.get("idempotency-replayed") };
}

const MODES = { structured: HTTP.structured, binary: HTTP.binary } as const;

for (const [mode, toMessage] of Object.entries(MODES))
  for (const path of ["/events", "/v1/events"])
    describe(`a CloudEvent in ${mode} mode at ${path}`, () => {
      test("is the event that is its data, and goes to its agent", async () => {
        await using cp = await startCp();
        await using agent = await dialAgent(cp.wsUrl, protocol2());
        const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        const sent = cloudEvent({ subject: "shop", traceparent });
        const response = await send(cp, path, toMessage(sent));
        const { id } = await accepted(response);
        expect(response.headers.get("location")).toBe(path === "/events" ? null : `/v1/events/${id}`);
        const { event } = (await agent.event(id)) as { event: Json };
        expect(event).toMatchObject({ ...asked(), id, created_by: sent.source, created_at: sent.time, traceparent });
        expect(await cp.json<EventDetail>(`/v1/events/${id}`)).toMatchObject({
          id,
          created_by: sent.source,
          traceparent,
          cloudevent: { id: sent.id, source: sent.source, type: sent.type, subject: "shop" },
        });
      });

      test("is one event for as long as source and id are the same, and refused with other content", async () => {
        await using cp = await startCp();
        const sent = cloudEvent();
        const first = await accepted(await send(cp, path, toMessage(sent)));
        expect(first.replayed).toBeNull();
        expect(await accepted(await send(cp, path, toMessage(sent)))).toEqual({ id: first.id, replayed: "true" });
        // What else it says is no content.
        const retold = sent.cloneWith({
          time: new Date(Date.now() - 1_000).toISOString(),
          subject: "told again",
          type: "com.example.again",
        });
        expect(await accepted(await send(cp, path, toMessage(retold)))).toEqual({ id: first.id, replayed: "true" });
        const other = sent.cloneWith({ data: asked({ priority: 1 }) });
        expect(await problem(await send(cp, path, toMessage(other)), 409)).toMatchObject({ code: "EVENT_CONFLICT" });
        const elsewhere = await accepted(await send(cp, path, toMessage(sent.cloneWith({ source: "/elsewhere" }))));
        const next = await accepted(await send(cp, path, toMessage(sent.cloneWith({ id: "next" }))));
        expect(new Set([first.id, elsewhere.id, next.id]).size).toBe(3);
        expect((await cp.json<EventPage>("/v1/events")).items).toHaveLength(3);
      });

      test("may be larger than is read at once", async () => {
        await using cp = await startCp();
        const manifest = `${configMap("large")}data: {text: ${"x".repeat(600_000)}}\n`;
        const sent = cloudEvent({ data: asked({ payload: { manifests: [manifest] } }) });
        const { id } = await accepted(await send(cp, path, toMessage(sent)));
        expect(await accepted(await send(cp, path, toMessage(sent)))).toEqual({ id, replayed: "true" });
        expect((await cp.json<EventDetail>(`/v1/events/${id}?payload=true`)).payload).toEqual({ manifests: [manifest] });
      });

      test("can have no other identity beside its own, and is refused with what is wrong with its event", async () => {
        await using cp = await startCp();
        const keyed = toMessage(cloudEvent());
        const refused = await send(cp, path, { ...keyed, headers: { ...keyed.headers, "idempotency-key": "k" } });
        expect(await problem(refused, 400)).toMatchObject({ code: "INVALID_IDEMPOTENCY_KEY" });
        const at = mode === "binary" ? "" : "/data";
        const named = await send(cp, path, toMessage(cloudEvent({ data: asked({ id: "mine" }) })));
        expect(await problem(named, 400)).toMatchObject({ code: "INVALID_CLOUDEVENT", pointer: `${at}/id` });
        const empty = await send(cp, path, toMessage(cloudEvent({ data: asked({ payload: { manifests: [] } }) })));
        expect(await problem(empty, 400)).toMatchObject({ code: "EMPTY_MANIFESTS", pointer: `${at}/payload/manifests` });
        expect((await cp.json<EventPage>("/v1/events")).items).toEqual([]);
      });
    });

describe("binary mode", () => {
  const headers = (parts: Record<string, string> = {}): Record<string, string> => ({
    "ce-specversion": "1.0",
    "ce-id": "7",
    "ce-source": "/ci",
    "ce-type": "com.example.deploy",
    "content-type": "application/json",
    ...parts,
  });

  test("has its headers decoded", async () => {
    await using cp = await startCp();
    const encoded = headers({ "ce-id": "Euro%20%e2%82%AC%20%F0%9F%98%80", "CE-Subject": '"two \\"words\\""', "ce-source": "/a%2520b" });
    const { id } = await accepted(await cp.post("/v1/events", asked(), encoded));
    expect((await cp.json<EventDetail>(`/v1/events/${id}`)).cloudevent).toEqual({
      id: "Euro € 😀",
      source: "/a%20b",
      type: "com.example.deploy",
      subject: 'two "words"',
    });
    // The same pair in structured mode is the same event.
    const structured = { specversion: "1.0", id: "Euro € 😀", source: "/a%20b", type: "x", data: asked() };
    const again = await cp.post("/v1/events", structured, { "content-type": "application/cloudevents+json" });
    expect(await accepted(again)).toEqual({ id, replayed: "true" });
  });

  test("is refused with headers that cannot be read, are missing, or say what the body says", async () => {
    await using cp = await startCp();
    for (const [parts, why] of [
      [{ "ce-id": "%C0%A0" }, "ce-id is not percent-encoded UTF-8"],
      [{ "ce-id": "50%" }, "ce-id is not percent-encoded UTF-8"],
      [{ "ce-id": "" }, "id is empty"],
      [{ "ce-specversion": "0.3" }, "1.0 is spoken here"],
      [{ "ce-source": "no source" }, "is not a URI reference"],
      [{ "ce-time": "now" }, "is not an RFC 3339 time"],
      [{ "ce-datacontenttype": "application/json" }, "ce-datacontenttype is none of a CloudEvent"],
      [{ "ce-my_extension": "x" }, "is no name of an attribute"],
    ] as const) {
      for (const path of ["/events", "/v1/events"]) {
        const refused = await problem(await cp.post(path, asked(), headers(parts)), 400);
        expect([parts, refused.code]).toEqual([parts, "INVALID_CLOUDEVENT"]);
        expect(refused.detail).toContain(why);
      }
    }
    const { "ce-type": _type, ...typeless } = headers();
    expect((await problem(await cp.post("/events", asked(), typeless), 400)).detail).toContain("type is missing");
    const { "ce-specversion": _version, ...versionless } = headers();
    expect((await problem(await cp.post("/v1/events", asked(), versionless), 400)).detail).toContain("specversion is missing");
  });

  test("is JSON, whether the content type says so or says nothing", async () => {
    await using cp = await startCp();
    const { "content-type": _type, ...untyped } = headers();
    const bytes = new TextEncoder().encode(JSON.stringify(asked()));
    expect((await accepted(await cp.post("/v1/events", bytes, untyped))).replayed).toBeNull();
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"])
      expect((await problem(await cp.post("/events", asked(), headers({ "content-type": type })), 415)).code).toBe(
        "UNSUPPORTED_MEDIA_TYPE",
      );
    expect((await problem(await cp.post("/events", "not json", headers({ "ce-id": "8" })), 400)).code).toBe("INVALID_JSON");
  });
});

describe("structured mode", () => {
  const post = (cp: TestControlPlane, body: unknown, type = "application/cloudevents+json", path = "/events"): Promise<Response> =>
    cp.post(path, body, { "content-type": type });

  test("is known whatever the case and the parameters of its content type", async () => {
    await using cp = await startCp();
    const sent = {
      specversion: "1.0",
      id: "7",
      source: "/ci",
      type: "t",
      data_base64: Buffer.from(JSON.stringify(asked())).toString("base64"),
    };
    const { id } = await accepted(await post(cp, sent, "Application/CloudEvents+JSON; charset=UTF-8"));
    expect(await accepted(await post(cp, { ...sent, data_base64: null, data: asked() }))).toEqual({ id, replayed: "true" });
  });

  test("is refused in batches and in formats that are not spoken here", async () => {
    await using cp = await startCp();
    for (const path of ["/events", "/v1/events"]) {
      const batch = await problem(await post(cp, [cloudEvent()], "application/cloudevents-batch+json", path), 415);
      expect(batch).toMatchObject({ code: "UNSUPPORTED_MEDIA_TYPE", detail: expect.stringContaining("CloudEvents are taken one by one") });
      expect(batch.remedy).toContain("application/cloudevents+json");
      for (const type of ["application/cloudevents+avro", "application/cloudevents", "application/cloudevents+json; charset=utf-16"])
        expect((await problem(await post(cp, cloudEvent(), type, path), 415)).code).toBe("UNSUPPORTED_MEDIA_TYPE");
      expect((await problem(await post(cp, [cloudEvent()], undefined, path), 400)).detail).toContain("not an array");
      expect((await problem(await post(cp, "{", undefined, path), 400)).code).toBe("INVALID_JSON");
    }
  });

  test("what a control plane gives out is not taken in", async () => {
    await using cp = await startCp();
    const refused = await problem(await post(cp, cloudEvent({ type: "dev.transporter.event.status.v1" }).toJSON()), 400);
    expect(refused).toMatchObject({ code: "INVALID_CLOUDEVENT", pointer: "/type" });
  });

  test("past its TTL by the time that it gives itself is told so", async () => {
    await using cp = await startCp();
    const old = cloudEvent({ time: "2018-04-05T17:31:00Z" });
    expect((await problem(await post(cp, old.toJSON()), 410)).code).toBe("EVENT_EXPIRED");
  });
});

test("an event of 0.1 is taken as ever, whatever its content type and whatever else its headers say", async () => {
  await using cp = await startCp();
  for (const type of ["application/json", "application/cloudevents+json", "application/x-www-form-urlencoded", "text/plain", "nonsense"]) {
    const event = anEvent();
    const response = await cp.post("/events", event, { "content-type": type, "ce-id": "7", "ce-source": "/ci" });
    expect(response.status).toBe(202);
    expect(await response.text()).toBe(`{"event_id":"${event.id}","message":"Event routed to agent","status":"accepted"}`);
  }
  const nameless = { ...anEvent(), id: undefined };
  const keyed = { "content-type": "application/cloudevents+json", "idempotency-key": "k" };
  const first = await accepted(await cp.post("/events", nameless, keyed));
  expect(await accepted(await cp.post("/events", nameless, { ...keyed, "content-type": "text/plain" }))).toEqual({
    ...first,
    replayed: "true",
  });
});
