import { anEvent } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { startSecureCp } from "../support/secure-cp.ts";
import { dialAgent } from "../support/wire-agent.ts";
import { openOutlet, openQueue } from "../../src/queues/mod.ts";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";

/** Of each metric the labels that its series have, with the values seen. */
type Exposition = ReadonlyMap<string, ReadonlyMap<string, ReadonlySet<string>>>;

export function readExposition(text: string): Exposition {
  const metrics = new Map<string, Map<string, Set<string>>>();
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$/.exec(line);
    if (match === null) continue;
    const [, name = "", labels = ""] = match;
    const known = metrics.get(name) ?? new Map<string, Set<string>>();
    metrics.set(name, known);
    for (const [, label = "", value = ""] of labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      known.set(label, (known.get(label) ?? new Set()).add(value));
  }
  return metrics;
}

/**
 * What a control plane with everything switched on tells Prometheus after work: agents with and without identity, events by HTTP and
 * through a queue, statuses that were published, somebody who was refused.
 */
export async function everything(natsUrl: string, name: string): Promise<Exposition> {
  const shared = { log: silentLogger, ports: systemPorts };
  const queue = await openQueue(`${natsUrl}/${name}`, shared);
  const outlet = await openOutlet(`${natsUrl}/${name}-out`, shared);
  await using one = await startSecureCp({
    queue,
    outlet: { outlet, kinds: ["status", "audit"] },
    legacy: { host: "127.0.0.1", port: 0, agentIds: ["old-1"] },
    probes: { host: "127.0.0.1", port: 0 },
  });
  await using agent = await one.dial(await one.enrol("agent-1"));
  await using _old = await dialAgent(`${one.cp.legacyUrl?.replace("http", "ws")}/ws`, { id: "old-1" });
  const producer = await openQueue(`${natsUrl}/${name}`, shared);
  await using _producer = { [Symbol.asyncDispose]: () => producer.close() };
  const byHttp = anEvent();
  const byQueue = anEvent();
  await one.json("/v1/events", { method: "POST", body: JSON.stringify(byHttp), headers: { "content-type": "application/json" } }, 202);
  await producer.publish({ id: byQueue.id, body: new TextEncoder().encode(JSON.stringify(byQueue)), priority: 0 });
  for (const { id } of [byHttp, byQueue]) {
    await agent.event(id);
    agent.end(id, "completed");
    await eventually(async () => (await one.json<{ state: string }>(`/v1/events/${id}`)).state === "completed");
  }
  await fetch(`${one.cp.legacyUrl}/events`, { method: "POST", body: JSON.stringify(anEvent({ target_agent: "old-1" })) });
  await one.fetch("/v1/agents");
  await fetch(`${one.cp.probesUrl}/readyz`);
  await fetch(`${one.cp.probesUrl}/livez`);
  const scrape = async (): Promise<string> => (await fetch(`${one.cp.probesUrl}/metrics`, { headers: { accept: "text/plain" } })).text();
  const text = await eventually(async () => {
    const now = await scrape();
    return /transporter_outlet_published_total\{kind="status"\} [1-9]/.test(now) && now;
  });
  return readExposition(text);
}
