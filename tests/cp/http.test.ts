import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { systemPorts } from "../../src/kit/mod.ts";
import type { AgentPage, AgentView, AuditPage, EventDetail, EventPage } from "../../src/protocol/mod.ts";
import { anEvent, problem, startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";

type Json = Record<string, unknown>;

describe("handing in", () => {
  test("under /v1 asks for JSON, and says where the event is", async () => {
    await using cp = await startCp();
    const event = anEvent({ id: "release 1/ü" });
    expect((await problem(await cp.post("/v1/events", event, { "content-type": "text/plain" }), 415)).code).toBe("UNSUPPORTED_MEDIA_TYPE");
    const response = await cp.post("/v1/events", event, { "content-type": "application/json; charset=utf-8" });
    expect(response.status).toBe(202);
    const location = response.headers.get("location") ?? "";
    expect(await cp.json<EventDetail>(location)).toMatchObject({ id: "release 1/ü", state: "queued" });
  });

  test("the same again is answered the same, other content is a conflict, key order and time do not matter", async () => {
    await using cp = await startCp();
    const event = anEvent({ labels: { a: "1", b: "2" } });
    expect((await cp.post("/events", event)).status).toBe(202);
    expect((await cp.post("/events", { ...event, created_at: undefined, created_by: "other", labels: { b: "2", a: "1" } })).status).toBe(
      202,
    );
    expect((await problem(await cp.post("/events", { ...event, priority: 1 }), 409)).code).toBe("EVENT_CONFLICT");
    expect((await cp.json<{ events: { total: number } }>("/metrics")).events.total).toBe(1);
  });

  test("the same again is answered the same after it finished and after its TTL", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl);
    const event = anEvent();
    await cp.post("/events", event);
    await agent.event(event.id);
    agent.report(event.id);
    await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "completed");
    expect((await cp.post("/events", event)).status).toBe(202);
    expect((await cp.post("/events", { ...event, created_at: "2020-01-01T00:00:00Z" })).status).toBe(202);
    expect(agent.deliveries(event.id)).toBe(1);
  });

  test("a body over the limit is refused by its announced length and while it comes", async () => {
    await using cp = await startCp({ maxEventBytes: 100_000 });
    const big = "x".repeat(100_001);
    expect((await problem(await cp.post("/events", big), 413)).code).toBe("BODY_TOO_LARGE");
    const chunk = new Uint8Array(65_536).fill(120);
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += chunk.length;
        // A gigabyte, were it taken.
        if (sent > 2 ** 30) controller.close();
        else controller.enqueue(chunk);
      },
    });
    const response = await fetch(`${cp.url}/events`, { method: "POST", body: endless });
    expect((await problem(response, 413)).detail).toContain("100000 bytes");
    expect(sent).toBeLessThan(2 ** 26);
    expect((await cp.get("/livez")).status).toBe(200);
  });

  test("an event of many megabytes is taken, kept exactly and handed on", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    const manifests = Array.from(
      { length: 40 },
      (_value, index) => `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: big-${index}\ndata:\n  text: "${"ü€".repeat(50_000)}"\n`,
    );
    const event = anEvent({ payload: { manifests } });
    expect((await cp.post("/events", event)).status).toBe(202);
    const frame = await agent.event(event.id);
    expect((frame["event"] as { payload: Json }).payload).toEqual({ manifests });
    const detail = await cp.json<EventDetail>(`/v1/events/${event.id}?payload=true`);
    expect(detail.payload).toEqual({ manifests });
    expect(detail.payload_bytes).toBeGreaterThan(10_000_000);
    expect((await cp.json<EventDetail>(`/v1/events/${event.id}`)).payload).toBeUndefined();
  });

  test("a sender's clock an hour ahead shortens nothing, an hour behind says what is wrong", async () => {
    await using cp = await startCp();
    const ahead = anEvent({ created_at: new Date(Date.now() + 3_600_000).toISOString(), ttl: 60_000_000_000 });
    expect((await cp.post("/events", ahead)).status).toBe(202);
    const { expires_at, received_at } = await cp.json<EventDetail>(`/v1/events/${ahead.id}`);
    expect(Date.parse(expires_at) - Date.parse(received_at)).toBe(60_000);
    const behind = anEvent({ created_at: new Date(Date.now() - 3_600_000).toISOString(), ttl: 60_000_000_000 });
    const refused = await problem(await cp.post("/events", behind), 410);
    expect(refused.detail).toContain("by this control plane's clock");
    expect(refused.remedy).toContain("clock");
    expect((await cp.get(`/v1/events/${behind.id}`)).status).toBe(404);
  });

  test("a trace context travels with the event", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const event = anEvent();
    await cp.post("/events", event, { traceparent });
    expect((await agent.event(event.id))["event"]).toMatchObject({ traceparent });
    expect(await cp.json<EventDetail>(`/v1/events/${event.id}`)).toMatchObject({ traceparent });
    const nonsense = anEvent();
    await cp.post("/events", nonsense, { traceparent: "nonsense" });
    expect((await cp.json<EventDetail>(`/v1/events/${nonsense.id}`)).traceparent).toBeUndefined();
  });
});

describe("every answer", () => {
  test("has a request id, and a problem says what to do", async () => {
    await using cp = await startCp();
    const answer = await problem(await cp.get("/v1/events/nope", { "x-request-id": "mine-1" }), 404);
    expect(answer).toMatchObject({
      code: "EVENT_NOT_FOUND",
      request_id: "mine-1",
      status: 404,
      type: "urn:transporter:problem:EVENT_NOT_FOUND",
    });
    expect(answer.remedy).not.toBe("");
    expect((await cp.get("/livez")).headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    expect((await problem(await cp.get("/nothing/here"), 404)).code).toBe("NOT_FOUND");
  });

  test("to a wrong method is 405 with Allow, on every path of the document", async () => {
    await using cp = await startCp();
    const document = await cp.json<{ openapi: string; paths: Record<string, Record<string, unknown>> }>("/openapi.json");
    expect(document.openapi).toBe("3.1.0");
    expect(Object.keys(document.paths).length).toBeGreaterThan(15);
    for (const [path, operations] of Object.entries(document.paths)) {
      const response = await fetch(cp.url + path.replaceAll(/\{\w+\}/g, "x"), { method: "PUT" });
      expect((await problem(response, 405)).code).toBe("METHOD_NOT_ALLOWED");
      const allow = (response.headers.get("allow") ?? "").split(", ");
      for (const method of Object.keys(operations)) expect(allow).toContain(method.toUpperCase());
    }
    expect((await problem(await cp.get("/ws"), 426)).code).toBe("UPGRADE_REQUIRED");
  });

  test("is denied to web pages and foreign hosts while nobody must prove who they are", async () => {
    await using cp = await startCp();
    for (const headers of [{ origin: "https://evil.example" }, { "sec-fetch-site": "cross-site" }, { host: "rebound.example:80" }]) {
      expect((await problem(await cp.post("/events", anEvent(), headers as Record<string, string>), 403)).code).toBe("FOREIGN_ORIGIN");
    }
    const upgrade = await cp.get("/ws", {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
      "sec-websocket-version": "13",
      origin: "http://evil.example",
    });
    expect((await problem(upgrade, 403)).code).toBe("FOREIGN_ORIGIN");
    expect((await cp.json<{ events: { total: number } }>("/metrics")).events.total).toBe(0);
  });
});

describe("listing", () => {
  test("filters by state, agent, type, label, creator and time, newest first, page by page", async () => {
    await using cp = await startCp();
    const ids: string[] = [];
    for (let index = 0; index < 7; index += 1) {
      const event = anEvent({
        target_agent: index % 2 === 0 ? "even" : "odd",
        created_by: `by-${index}`,
        labels: { n: String(index), "app.kubernetes.io/name": "x'); drop table event; --" },
      });
      ids.unshift(event.id);
      await cp.post("/events", event);
    }
    const all: string[] = [];
    let cursor: string | undefined;
    do {
      const page: EventPage = await cp.json(`/v1/events?limit=3${cursor === undefined ? "" : `&cursor=${encodeURIComponent(cursor)}`}`);
      all.push(...page.items.map(({ id }) => id));
      cursor = page.next_cursor;
      // A newer one does not disturb the walk.
      if (all.length === 3) await cp.post("/events", anEvent({ target_agent: "late" }));
    } while (cursor !== undefined);
    expect(all).toEqual(ids);
    const count = async (query: string): Promise<number> => (await cp.json<EventPage>(`/v1/events?${query}`)).items.length;
    expect(await count("agent=even")).toBe(4);
    expect(await count("created_by=by-3")).toBe(1);
    expect(await count("label=n=3")).toBe(1);
    expect(await count(`label=n=3&label=${encodeURIComponent("app.kubernetes.io/name=x'); drop table event; --")}`)).toBe(1);
    expect(await count("label=n=3&label=n2=1")).toBe(0);
    expect(await count("state=queued,created")).toBe(8);
    expect(await count("state=completed")).toBe(0);
    expect(await count("type=script")).toBe(0);
    expect(await count("since=1h")).toBe(8);
    expect(await count("until=1h")).toBe(0);
  });

  test.each(["limit=0", "limit=x", "limit=501", "state=done", "nonsense=1", "since=yesterday", "label=x", "type=k8s"])(
    "refuses %s by name",
    async (query) => {
      await using cp = await startCp();
      const answer = await problem(await cp.get(`/v1/events?${query}`), 400);
      expect(answer.code).toBe("INVALID_QUERY");
      expect(answer.detail).toContain(query.split("=")[0] ?? "");
    },
  );

  test("refuses a cursor that is not ours", async () => {
    await using cp = await startCp();
    for (const cursor of ["x", "eyJ2IjoxfQ", encodeURIComponent(Buffer.from('{"v":1,"ord":"1 or 1=1"}').toString("base64url"))]) {
      expect((await problem(await cp.get(`/v1/events?cursor=${cursor}`), 400)).code).toBe("INVALID_CURSOR");
    }
  });
});

describe("agents", () => {
  test("are listed with their health, clock and last contact, and stay listed when they are gone", async () => {
    await using cp = await startCp();
    const agent = await dialAgent(
      cp.wsUrl,
      protocol2({ sent_at: new Date(Date.now() - 3_600_000).toISOString(), labels: { site: "ship-7" } }),
    );
    const { items } = await cp.json<AgentPage>("/v1/agents");
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({
      id: "agent-1",
      status: "connected",
      protocol: 2,
      features: ["ack"],
      labels: { site: "ship-7" },
      paused: false,
    });
    expect(Math.abs((items[0]?.clock_offset_ms ?? 0) + 3_600_000)).toBeLessThan(5_000);
    agent.close();
    await eventually(async () => (await cp.json<AgentView>("/v1/agents/agent-1")).status === "disconnected");
    expect(await cp.json<Json>("/health")).toMatchObject({ agent_count: 0 });
  });

  test("are unhealthy when silent, and heard of again", async () => {
    await using cp = await startCp({ heartbeatTimeoutMs: 300 });
    await using agent = await dialAgent(cp.wsUrl);
    await eventually(async () => (await cp.json<AgentView>("/v1/agents/agent-1")).status === "unhealthy");
    agent.send({ type: "heartbeat", timestamp: new Date().toISOString(), metrics: {} });
    await eventually(async () => (await cp.json<AgentView>("/v1/agents/agent-1")).status === "connected");
  });

  test("a second connection replaces the first and gets the work", async () => {
    await using cp = await startCp();
    const first = await dialAgent(cp.wsUrl);
    await using second = await dialAgent(cp.wsUrl);
    expect(await first.closed).toMatchObject({ code: 4001 });
    const event = anEvent();
    await cp.post("/events", event);
    await second.event(event.id);
    expect(await cp.json<Json>("/health")).toMatchObject({ agent_count: 1 });
    expect(await cp.json<AgentView>("/v1/agents/agent-1")).toMatchObject({ status: "connected" });
  });

  test("can be paused and resumed", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    expect(await (await cp.post("/v1/agents/agent-1/pause", "")).json()).toMatchObject({ paused: true });
    const event = anEvent();
    await cp.post("/events", event);
    expect(await cp.json<EventDetail>(`/v1/events/${event.id}`)).toMatchObject({
      state: "queued",
      message: expect.stringContaining("paused") as string,
    });
    expect(agent.deliveries(event.id)).toBe(0);
    await cp.post("/v1/agents/agent-1/resume", "");
    await agent.event(event.id);
    expect((await problem(await cp.post("/v1/agents/nobody/pause", ""), 404)).code).toBe("AGENT_NOT_FOUND");
  });

  test("can be removed: what waits is cancelled, what was handed over is unknown, the socket is closed", async () => {
    await using cp = await startCp();
    const agent = await dialAgent(cp.wsUrl);
    const [handed, waiting] = [anEvent(), anEvent()];
    await cp.post("/events", handed);
    await cp.post("/events", waiting);
    await agent.event(handed.id);
    const response = await cp.delete("/v1/agents/agent-1");
    expect(await response.json()).toEqual({ agent_id: "agent-1", status: "removed", cancelled_events: 1 });
    expect(await agent.closed).toMatchObject({ code: 4005 });
    expect(await cp.json<EventDetail>(`/v1/events/${waiting.id}`)).toMatchObject({ state: "cancelled" });
    expect(await cp.json<EventDetail>(`/v1/events/${handed.id}`)).toMatchObject({
      state: "failed",
      result: { error_code: "OUTCOME_UNKNOWN" },
    });
    expect((await cp.get("/v1/agents/agent-1")).status).toBe(404);
  });

  test("that register badly are told why", async () => {
    await using cp = await startCp();
    for (const raw of [
      "{",
      "[]",
      '{"id":"a"}',
      JSON.stringify({ id: "a\u0007", name: "a", cluster_name: "c", version: "1", capabilities: ["k8s_crud"] }),
    ]) {
      await using agent = await dialAgent(cp.wsUrl, {}, { raw });
      expect(await agent.closed).toMatchObject({ code: 4003 });
      expect(typeof agent.frames[0]?.["error"]).toBe("string");
    }
    expect((await cp.json<AgentPage>("/v1/agents")).items).toEqual([]);
  });
});

test("a cancel stops what was not handed over, surely, and nothing else", async () => {
  await using cp = await startCp();
  const event = anEvent();
  await cp.post("/events", event);
  expect((await cp.delete(`/v1/events/${event.id}`)).status).toBe(200);
  expect((await cp.delete(`/v1/events/${event.id}`)).status).toBe(200);
  await using agent = await dialAgent(cp.wsUrl);
  const next = anEvent();
  await cp.post("/events", next);
  await agent.event(next.id);
  expect(agent.deliveries(event.id)).toBe(0);
  expect((await problem(await cp.delete(`/v1/events/${next.id}`), 409)).code).toBe("EVENT_NOT_CANCELLABLE");
  expect((await problem(await cp.delete("/v1/events/nope"), 404)).code).toBe("EVENT_NOT_FOUND");
});

test("script and policy events end failed with CAPABILITY_MISSING, also those that waited", async () => {
  await using cp = await startCp();
  const waiting = anEvent({ type: "policy", payload: { policy_rules: [{ name: "r", type: "required_label" }] } });
  await cp.post("/events", waiting);
  await using agent = await dialAgent(cp.wsUrl);
  const script = anEvent({ type: "script", payload: { script: "true" } });
  await cp.post("/events", script);
  for (const { id } of [waiting, script]) {
    const detail = await eventually(async () => {
      const seen = await cp.json<EventDetail>(`/v1/events/${id}`);
      return seen.state === "failed" ? seen : undefined;
    });
    expect(detail.result?.error_code).toBe("CAPABILITY_MISSING");
  }
  expect(agent.frames).toHaveLength(1);
});

test("the audit says who did what, when and from where", async () => {
  await using cp = await startCp();
  await using _agent = await dialAgent(cp.wsUrl);
  const event = anEvent({ target_agent: "elsewhere" });
  await cp.post("/events", event, { "x-request-id": "req-7" });
  await cp.delete(`/v1/events/${event.id}`);
  const { items } = await cp.json<AuditPage>("/v1/audit");
  expect(items.map(({ action }) => action)).toEqual(["event_cancelled", "event_received_http", "agent_connected"]);
  expect(items[1]).toMatchObject({
    principal: "anonymous",
    event_id: event.id,
    agent_id: "elsewhere",
    user: "test",
    remote_address: "127.0.0.1",
    request_id: "req-7",
  });
  expect((await cp.json<AuditPage>(`/v1/audit?event=${event.id}&action=event_cancelled`)).items).toHaveLength(1);
});

test("metrics come as Prometheus text when asked for", async () => {
  await using cp = await startCp();
  await using _agent = await dialAgent(cp.wsUrl);
  await cp.post("/events", anEvent());
  // What JavaScript's HTTP clients say when nobody tells them what to say: 0.1's JSON is meant.
  expect(await (await cp.get("/metrics", { accept: "application/json, text/plain, */*" })).json()).toHaveProperty("events.total");
  for (const accept of ["text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2"]) {
    const response = await cp.get("/metrics", { accept });
    const text = await response.text();
    expect(response.headers.get("content-type")).toContain("text/plain");
    expect(text).toContain('transporter_events_total{state="assigned"} 1');
    expect(text).toContain('transporter_agents{status="connected"} 1');
    expect(text).toMatch(/transporter_http_request_duration_seconds_count\{route="\/events",method="POST",status="202"\} 1/);
  }
});

test("readiness names its checks and follows the store", async () => {
  await using cp = await startCp();
  expect(await (await cp.get("/readyz")).text()).toBe("ok\n");
  expect(await (await cp.get("/readyz?verbose")).text()).toContain("readyz check passed");
  const broken = {
    ...cp.store,
    info: cp.store.info,
    ping: () => Promise.reject(new Error("disk on fire, as password=hunter2 says")),
    renewLease: () => Promise.resolve({ replicas: [], lapsed: false, orphaned: [] }),
    endLease: () => Promise.resolve(),
    close: () => Promise.resolve(),
    nextDueMs: () => Promise.resolve(undefined),
    expireDue: () => Promise.resolve([]),
    sweep: () => Promise.resolve({ events: 0, audit: 0, documents: 0 }),
  } as unknown as typeof cp.store;
  await using sick = await startCp({ store: broken });
  const response = await sick.get("/readyz");
  expect(response.status).toBe(503);
  // Anybody may ask for it.
  expect(await response.text()).toContain("disk on fire, as password=[redacted] says");
  expect((await sick.get("/livez")).status).toBe(200);
});

test("beyond loopback it does not listen unless told that nobody is kept out", async () => {
  await expect(startCp({ host: "0.0.0.0" })).rejects.toMatchObject({ code: "INSECURE_REFUSED" });
  await using cp = await startCp({ host: "0.0.0.0", insecure: true });
  expect(cp.url).toContain("0.0.0.0");
});

test("a stop tells agents to come back and takes nothing new", async () => {
  const cp = await startCp({ ports: systemPorts });
  const agent = await dialAgent(cp.wsUrl);
  await cp.stop();
  expect(await agent.closed).toMatchObject({ code: 1001 });
  await expect(cp.get("/livez")).rejects.toThrow();
});

test("a live stream and a body that never ends do not hold up the stop", async () => {
  const cp = await startCp();
  const following = await fetch(`${cp.url}/v1/stream`);
  const reader = following.body?.getReader();
  await reader?.read();
  const { hostname, port } = new URL(cp.url);
  const halfway = connect(Number(port), hostname);
  halfway.on("error", () => undefined);
  await new Promise<void>((resolve) => halfway.once("connect", () => resolve()));
  halfway.write("POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{");
  const beganMs = performance.now();
  await cp.stop();
  // The store is closed within the time there is, not given up on.
  expect(performance.now() - beganMs).toBeLessThan(6_000);
  await expect(cp.store.ping()).rejects.toThrow("closed");
  halfway.destroy();
  await reader?.cancel().catch(() => undefined);
});
