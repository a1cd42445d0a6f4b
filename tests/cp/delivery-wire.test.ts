import { expect, test } from "bun:test";
import { openDigest, type EventDetail } from "../../src/protocol/mod.ts";
import { ableAgent, configMap } from "../support/bare-core.ts";
import { anEvent, startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { dialSlowAgent } from "../support/slow-agent.ts";
import { dialAgent } from "../support/wire-agent.ts";

const able = (parts: Record<string, unknown> = {}) =>
  ableAgent({ boot_id: crypto.randomUUID(), sent_at: new Date().toISOString(), ...parts });

test("an event that its agent holds is called back, and ends as cancelled", async () => {
  await using cp = await startCp();
  await using agent = await dialAgent(cp.wsUrl, able());
  const event = anEvent();
  await cp.post("/events", event);
  await agent.event(event.id);
  const answer = await cp.delete(`/v1/events/${event.id}`);
  expect(answer.status).toBe(202);
  expect(await agent.frame("cancel")).toEqual({ type: "cancel", event_id: event.id, revision: 1 });
  agent.report(event.id, "received");
  agent.send({ type: "status_update", event_id: event.id, state: "cancelled", phase: "failed", revision: 1, message: "stopped" });
  await eventually(async () => (await cp.json<EventDetail>(`/v1/events/${event.id}`)).state === "cancelled");
});

test("an agent is given what its credit covers, and a payload in pieces that it asks for", async () => {
  await using cp = await startCp();
  await using agent = await dialAgent(cp.wsUrl, able({ credit: { deliveries: 1, bytes: 1_000_000 } }));
  // Such that it cannot be made much smaller.
  const noise = Buffer.from(crypto.getRandomValues(new Uint8Array(60_000))).toString("base64");
  const large = anEvent({ payload: { manifests: [`${configMap("large")}data:\n  x: ${noise.repeat(4)}${"y".repeat(50_000)}\n`] } });
  const small = anEvent();
  expect((await cp.post("/events", large)).status).toBe(202);
  expect((await cp.post("/events", small)).status).toBe(202);
  const frame = await agent.event(large.id);
  const ref = frame["payload"] as { digest: string; bytes: number; encoded_bytes: number };
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < ref.encoded_bytes;) {
    agent.send({ type: "payload_get", digest: ref.digest, offset });
    const piece = await agent.frame("payload_piece", pieces.length);
    pieces.push(Buffer.from(String(piece["data"]), "base64"));
    offset += pieces.at(-1)?.length ?? 0;
  }
  const text = Bun.zstdDecompressSync(Buffer.concat(pieces)).toString();
  expect(Buffer.byteLength(text)).toBe(ref.bytes);
  expect(JSON.parse(text)).toEqual(large["payload"]);
  expect(agent.deliveries(small.id)).toBe(0);
  agent.send({ type: "credit", deliveries: 2, bytes: 1_000_000 });
  await agent.event(small.id);
});

test("a status that is lost is asked for, and what an agent lost is handed to it again", async () => {
  await using cp = await startCp();
  await using agent = await dialAgent(cp.wsUrl, able());
  const event = anEvent();
  await cp.post("/events", event);
  await agent.event(event.id);
  agent.send({ type: "event_ack", event_id: event.id, revision: 1 });
  agent.send({ type: "status_update", event_id: event.id, state: "in_progress", phase: "applying", revision: 1, nth: 1 });
  await agent.frame("status_resend");
  expect(await cp.json<EventDetail>(`/v1/events/${event.id}`)).toMatchObject({ state: "assigned" });
  const nothing = { type: "heartbeat", open: openDigest([]) };
  agent.send(nothing);
  agent.send(nothing);
  await agent.frame("resync", 1);
  agent.send({ type: "open", deliveries: [] });
  await eventually(() => agent.deliveries(event.id) === 2);
});

test("agents that come too fast are sent away with the time to come again, and requests are answered meanwhile", async () => {
  await using cp = await startCp({ admission: { burst: 3, perSecond: 0.001 } });
  const upgrade = (): Promise<Response> =>
    fetch(`${cp.url}/ws`, {
      headers: {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
      },
    });
  await using _first = await dialAgent(cp.wsUrl, able({ id: "a" }));
  await using _second = await dialAgent(cp.wsUrl, able({ id: "b" }));
  await using _third = await dialAgent(cp.wsUrl, able({ id: "c" }));
  const waits = new Set<string>();
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const response = await upgrade();
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ code: "TOO_MANY_AGENTS" });
    waits.add(response.headers.get("retry-after") ?? "");
  }
  expect(waits.size).toBeGreaterThan(2);
  expect((await cp.get("/livez")).status).toBe(200);
});

test("a slow agent costs the others nothing, and gets all in the end", async () => {
  await using cp = await startCp();
  const filler = "x".repeat(200_000);
  const events = Array.from({ length: 60 }, (_, at) =>
    anEvent({ target_agent: "slow", payload: { manifests: [`${configMap(`slow-${at}`)}data:\n  x: ${filler}\n`] } }),
  );
  await using slow = await dialSlowAgent(cp.wsUrl, able({ id: "slow" }));
  for (const event of events) expect((await cp.post("/events", event)).status).toBe(202);
  await using quick = await dialAgent(cp.wsUrl, able({ id: "quick" }));
  for (let at = 0; at < 20; at += 1) {
    const event = anEvent({ target_agent: "quick" });
    await cp.post("/events", event);
    await quick.event(event.id);
    quick.report(event.id);
  }
  expect(slow.closed()).toBe(false);
  // A window of it at most is on its way: what it has not finished holds back the rest.
  // It pauses after each piece, so on a busy machine this takes a while.
  await eventually(() => slow.receivedBytes() > 16 * filler.length, { timeoutMs: 60_000 });
  expect((await cp.json<EventDetail>(`/v1/events/${events.at(-1)?.id ?? ""}`)).state).toBe("queued");
}, 90_000);

test("an urgent event waits for large ones that touch the same object, wherever their payload lies", async () => {
  await using cp = await startCp({ maxInFlight: 1 });
  const sized = (name: string, chars: number, priority = 0) =>
    anEvent({ priority, payload: { manifests: [`${configMap(name)}data:\n  filler: "${"x".repeat(chars)}"\n`] } });
  const [other, inline, apart] = [sized("other", 10), sized("shared", 100_000), sized("shared", 400_000)];
  const urgent = sized("shared", 10, 9);
  for (const event of [other, inline, apart, urgent]) expect((await cp.post("/events", event)).status).toBe(202);
  await using agent = await dialAgent(cp.wsUrl, able());
  for (const event of [inline, apart, urgent, other]) {
    await agent.event(event.id);
    agent.report(event.id);
  }
  const order = agent.frames.filter((frame) => frame["type"] === "event").map((frame) => (frame["event"] as { id: string }).id);
  expect(order).toEqual([inline, apart, urgent, other].map(({ id }) => id));
});
