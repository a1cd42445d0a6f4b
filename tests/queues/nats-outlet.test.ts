import { afterAll, beforeAll, expect } from "bun:test";
import type { StoredMsg } from "@nats-io/jetstream";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import type { AuditPage, EventSummary, LogEntry } from "../../src/protocol/mod.ts";
import { openOutlet, type Outlet } from "../../src/queues/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { anEvent, startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { flakyProxy } from "../support/flaky-proxy.ts";
import { uniqueName } from "../support/kube.ts";
import { type Nats, natsTest, SKIP_NATS, startNats } from "../support/nats.ts";
import { dialAgent } from "../support/wire-agent.ts";
import { plainNats } from "./plain-nats.ts";

let nats: Nats;
let plain: Awaited<ReturnType<typeof plainNats>>;
beforeAll(async () => {
  if (SKIP_NATS) return;
  nats = await startNats();
  plain = await plainNats(nats.port);
});
afterAll(async () => {
  await plain?.[Symbol.asyncDispose]();
  await nats?.[Symbol.asyncDispose]();
});

type Json = Record<string, unknown>;
const KINDS = ["status", "audit"] as const;

function open(port: number, name: string): Promise<Outlet> {
  return openOutlet(`nats://127.0.0.1:${port}/${name}`, { log: silentLogger, ports: systemPorts });
}
const said = (message: StoredMsg): Json => JSON.parse(new TextDecoder().decode(message.data)) as Json;

/** A store that outlives the control planes on it. */
async function lastingStore(): Promise<{ readonly store: Store; close(): Promise<void> }> {
  const real = await openStore("memory:", { ports: systemPorts, log: silentLogger });
  const store = new Proxy(real, {
    get(target, key) {
      if (key === "close") return () => Promise.resolve();
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? (value as (...args: readonly unknown[]) => unknown).bind(target) : value;
    },
  });
  return { store, close: () => real.close() };
}

async function logOf(store: Store): Promise<LogEntry[]> {
  return store.logAfter({ tenant: "default", afterSeq: 0, limit: 10_000 });
}

natsTest("what happens is published as CloudEvents under the agent's subject, and audit entries beside it", async () => {
  const name = uniqueName("out");
  await using cp = await startCp({ outlet: { outlet: await open(nats.port, name), kinds: KINDS } });
  await using agent = await dialAgent(cp.wsUrl, { id: "edge.eu west", boot_id: undefined });
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const event = anEvent({ target_agent: "edge.eu west", traceparent });
  await cp.post("/v1/events", event);
  await agent.event(event.id);
  agent.report(event.id);
  const log = await eventually(async () => {
    const entries = await logOf(cp.store);
    return entries.some(({ state }) => state === "completed") && entries;
  });
  const statuses = await eventually(async () => {
    const published = (await plain.messages(`${name}_OUT`)).filter(({ subject }) => subject.includes(".status."));
    return published.length === log.length && published;
  });
  for (const [index, message] of statuses.entries()) {
    const entry = log[index];
    expect(message.subject).toBe(`${name}.status.edge%2Eeu%20west`);
    expect(message.header.get("Content-Type")).toBe("application/cloudevents+json; charset=utf-8");
    expect(said(message)).toEqual({
      specversion: "1.0",
      id: `status-${entry?.seq}`,
      source: expect.stringMatching(/^urn:transporter:[0-9a-f-]{36}$/),
      type: "dev.transporter.event.status.v1",
      subject: event.id,
      time: entry?.timestamp,
      datacontenttype: "application/json",
      traceparent,
      data: { ...entry },
    });
  }
  const audit = (await cp.json<AuditPage>("/v1/audit?limit=100")).items;
  const audited = await eventually(async () => {
    const published = (await plain.messages(`${name}_OUT`)).filter(({ subject }) => subject === `${name}.audit`);
    return published.length >= audit.length && published.map(said);
  });
  expect(audited.map(({ id, type, data }) => ({ id, type, action: (data as Json)["action"] }))).toEqual(
    audit.toReversed().map(({ seq, action }) => ({ id: `audit-${seq}`, type: "dev.transporter.audit.v1", action })),
  );
  const metrics = await (await cp.get("/metrics", { accept: "text/plain" })).text();
  expect(metrics).toContain(`transporter_outlet_published_total{kind="status"} ${log.length}\n`);
  expect(metrics).toContain('transporter_outlet_lag{kind="status"} 0\n');
});

natsTest("cut off, restarted and killed in between, every entry is there, once after de-duplication", async () => {
  const name = uniqueName("cut");
  await using proxy = await flakyProxy({ targetPort: nats.port });
  const lasting = await lastingStore();
  const send = async (cp: Awaited<ReturnType<typeof startCp>>, count: number): Promise<void> => {
    const answers = await Promise.all(Array.from({ length: count }, () => cp.post("/v1/events", anEvent())));
    for (const answer of answers) expect(answer.status).toBe(202);
  };
  {
    await using cp = await startCp({ store: lasting.store, outlet: { outlet: await open(proxy.port, name), kinds: KINDS } });
    await send(cp, 50);
    await eventually(async () => (await plain.messages(`${name}_OUT`)).length > 0);
    for (let round = 0; round < 5; round += 1) {
      const sending = send(cp, 40);
      proxy.cut();
      await sending;
    }
    // It ends while its outlet cannot be reached.
    proxy.accepting = false;
    proxy.cut();
    await send(cp, 30);
  }
  proxy.accepting = true;
  {
    // The next one begins before its mark, as after a kill between what was published and the mark.
    const mark = Number(await lasting.store.mark("outlet-status"));
    expect(mark).toBeGreaterThan(0);
    await lasting.store.saveMark("outlet-status", String(Math.max(0, mark - 20)));
    await using cp = await startCp({ store: lasting.store, outlet: { outlet: await open(proxy.port, name), kinds: KINDS } });
    await send(cp, 30);
    const log = await logOf(lasting.store);
    expect(log.length).toBeGreaterThanOrEqual(310);
    const ids = await eventually(
      async () => {
        const published = (await plain.messages(`${name}_OUT`)).map(said).filter(({ id }) => String(id).startsWith("status-"));
        return new Set(published.map(({ id }) => id)).size >= log.length && published.map(({ id }) => String(id));
      },
      { timeoutMs: 20_000, everyMs: 200 },
    );
    // The stream itself drops what is published again within its window, so that each stands there once.
    expect(ids.toSorted()).toEqual(log.map(({ seq }) => `status-${seq}`).toSorted());
    expect(await cp.json<EventSummary>(`/v1/events/${log[0]?.event_id}`)).toMatchObject({ target_agent: "agent-1" });
  }
  await lasting.close();
});

natsTest("a status that is larger than a message may be is published without its result, and holds up nothing", async () => {
  const name = uniqueName("large");
  await using cp = await startCp({ outlet: { outlet: await open(nats.port, name), kinds: ["status"] } });
  await using agent = await dialAgent(cp.wsUrl, { protocol: 2, features: ["ack"], boot_id: "boot-1" });
  const [large, small] = [anEvent(), anEvent()];
  await cp.post("/v1/events", large);
  await agent.event(large.id);
  agent.send({ type: "event_ack", event_id: large.id, revision: 1 });
  agent.send({
    type: "status_update",
    event_id: large.id,
    revision: 1,
    boot_id: "boot-1",
    seq: 1,
    state: "failed",
    phase: "failed",
    message: "it failed",
    result: { success: false, error_code: "APPLY_FAILED", error_message: "x", details: { text: "y".repeat(2_000_000) } },
  });
  await eventually(async () => (await cp.json<EventSummary>(`/v1/events/${large.id}`)).state === "failed");
  await cp.post("/v1/events", small);
  const published = await eventually(async () => {
    const all = (await plain.messages(`${name}_OUT`)).map(said);
    return all.some(({ subject }) => subject === small.id) && all;
  });
  const last = published.findLast(({ subject }) => subject === large.id)?.["data"] as Json;
  expect(last).toMatchObject({ state: "failed", message: "it failed", left_out: expect.arrayContaining(["result"]) as unknown });
});
