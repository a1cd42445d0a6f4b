import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openStore, type NewEvent, type StatusWrite, type Store } from "../../src/stores/mod.ts";

export interface StoreFigures {
  /** Acknowledged events a second, nothing else going on. */
  readonly acceptedPerSecond: number;
  readonly acceptCpuUs: number;
  /** Events a second with their five statuses, each acknowledged. */
  readonly handledPerSecond: number;
  readonly handledCpuUs: number;
  /** Where the event's five statuses reach the store in five different transactions: the dearest way. */
  readonly apartCpuUs: number;
  /** The longest that one event or status waited for its commit. */
  readonly slowestMs: number;
}

export interface StoreBenchOptions {
  readonly events?: number;
  /** Events in flight: what a control plane holds open at a time. */
  readonly concurrency?: number;
  readonly agents?: number;
  /** A sqlite: or memory: URL; a file in the temporary directory when absent. */
  readonly url?: string;
  /** `sorted` are UUIDs as our producer makes them; `random` ones, as 0.1's made them, each dirty another page of the index. */
  readonly ids?: "sorted" | "random";
}

const PAYLOAD = JSON.stringify({
  manifests: ['apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: default\ndata:\n  greeting: "hello"\n'],
});
const DIGEST = new Bun.CryptoHasher("sha256").update(PAYLOAD).digest("hex");

function newEvent(id: string, agentId: string, nowMs: number): NewEvent {
  return {
    tenant: "default",
    principal: "local",
    event: {
      id,
      type: "k8s_resource",
      targetAgent: agentId,
      createdAt: "2026-02-10T10:00:00Z",
      createdAtMs: nowMs,
      createdBy: "bench",
      ttlNs: 3_600_000_000_000,
      ttlMs: 3_600_000,
      priority: 0,
      labels: { environment: "test" },
      deadlineMs: undefined,
      notBeforeMs: undefined,
      delayMs: undefined,
      retry: undefined,
      traceparent: undefined,
      extra: {},
    },
    payloadText: PAYLOAD,
    payloadDigest: DIGEST,
    payloadBytes: PAYLOAD.length,
    contentDigest: new Bun.CryptoHasher("sha256").update(id).digest("hex"),
    receivedAtMs: nowMs,
    expiresAtMs: nowMs + 3_600_000,
    notBeforeMs: undefined,
    state: "assigned",
    message: `Event assigned to agent ${agentId}`,
    audit: {
      tenant: "default",
      atMs: nowMs,
      principal: "local",
      action: "event_received_http",
      eventId: id,
      agentId,
      user: "bench",
      remoteAddress: "127.0.0.1",
      requestId: id,
    },
  };
}

const PHASES = [
  ["in_progress", "received", "Event received by agent"],
  ["in_progress", "validating", "Validating 1 object"],
  ["in_progress", "applying", "Applying 1 object"],
  ["in_progress", "verifying", "Verifying that 1 object is ready"],
  ["completed", "completed", "1 object applied: 1 created"],
] as const;

function statuses(id: string, agentId: string, bootId: string, nowMs: number): StatusWrite[] {
  const timestamp = new Date(nowMs).toISOString();
  return PHASES.map(([state, phase, message], at) => ({
    tenant: "default",
    eventId: id,
    revision: 1,
    agentId,
    bootId,
    seq: nextSeq + at,
    state,
    phase,
    level: "info",
    message,
    details: undefined,
    result:
      state === "completed"
        ? {
            success: true,
            resource_status: [
              { kind: "ConfigMap", name: "settings", namespace: "default", api_version: "v1", status: "created", message: "" },
            ],
            completed_at: timestamp,
            duration: 41_000_000,
          }
        : undefined,
    timestamp,
    nowMs,
  }));
}
let nextSeq = 1;

interface Run {
  readonly perSecond: number;
  readonly cpuUs: number;
  readonly slowestMs: number;
}

async function drive(count: number, concurrency: number, one: (at: number) => Promise<void>): Promise<Run> {
  let at = 0;
  let slowestMs = 0;
  const cpu = process.cpuUsage();
  const began = performance.now();
  const worker = async (): Promise<void> => {
    while (at < count) {
      const mine = at;
      at += 1;
      const started = performance.now();
      await one(mine);
      slowestMs = Math.max(slowestMs, performance.now() - started);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  const seconds = (performance.now() - began) / 1000;
  const used = process.cpuUsage(cpu);
  return { perSecond: count / seconds, cpuUs: (used.user + used.system) / count, slowestMs };
}

/** Measures a store with synchronous FULL. The CPU is this process's own, from getrusage, the making of the input included. */
export async function benchStore(options: StoreBenchOptions = {}): Promise<StoreFigures> {
  const { events = 20_000, concurrency = 64, agents = 50, ids = "sorted" } = options;
  const directory = await mkdtemp(join(tmpdir(), "transporter-bench-"));
  const store: Store = await openStore(options.url ?? `sqlite:${join(directory, "store.db")}`, { ports: systemPorts, log: silentLogger });
  const bootId = systemPorts.ids.uuid();
  const newId = (): string => (ids === "sorted" ? systemPorts.ids.uuid() : crypto.randomUUID());
  try {
    const accept = (id: string, agentId: string) => store.createEvent(newEvent(id, agentId, Date.now()));
    await drive(2000, concurrency, async (at) => void (await accept(`warm-${at}`, "warm")));
    const accepted = await drive(events, concurrency, async (at) => void (await accept(newId(), `agent-${at % agents}`)));
    const together = await drive(events, concurrency, async (at) => {
      const [id, agentId] = [newId(), `agent-${at % agents}`];
      await accept(id, agentId);
      nextSeq += PHASES.length;
      await Promise.all(statuses(id, agentId, bootId, Date.now()).map((status) => store.applyStatus(status)));
    });
    const apart = await drive(events, concurrency, async (at) => {
      const [id, agentId] = [newId(), `agent-${at % agents}`];
      await accept(id, agentId);
      nextSeq += PHASES.length;
      for (const status of statuses(id, agentId, bootId, Date.now())) await store.applyStatus(status);
    });
    return {
      acceptedPerSecond: accepted.perSecond,
      acceptCpuUs: accepted.cpuUs,
      handledPerSecond: together.perSecond,
      handledCpuUs: together.cpuUs,
      apartCpuUs: apart.cpuUs,
      slowestMs: Math.max(accepted.slowestMs, together.slowestMs),
    };
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Prints the figures, a line for each kind of id. */
export async function printStoreBench(options: StoreBenchOptions = {}): Promise<void> {
  for (const ids of ["sorted", "random"] as const) {
    const figures = await benchStore({ ...options, ids });
    console.log(
      `store, ${ids} ids: accepted ${figures.acceptedPerSecond.toFixed(0)} events/s, ${figures.acceptCpuUs.toFixed(1)} µs CPU each;` +
        ` with five statuses ${figures.handledPerSecond.toFixed(0)} events/s, ${figures.handledCpuUs.toFixed(1)} µs CPU each` +
        ` (${figures.apartCpuUs.toFixed(1)} µs with a transaction for each status); slowest ${figures.slowestMs.toFixed(1)} ms`,
    );
  }
}

if (import.meta.main) {
  const [events = "20000", concurrency = "64", agents = "50", url] = process.argv.slice(2);
  await printStoreBench({
    events: Number(events),
    concurrency: Number(concurrency),
    agents: Number(agents),
    ...(url === undefined ? {} : { url }),
  });
}
