import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { type AgentWrite, openStore, type NewEvent, type StatusOutcome, type StatusWrite, type Store } from "../../src/stores/mod.ts";
import { cpuUs } from "./proc.ts";

export interface StoreFigures {
  /** Acknowledged events a second, nothing else going on. */
  readonly acceptedPerSecond: number;
  readonly acceptCpuUs: number;
  /** Events a second with their five statuses, each acknowledged. */
  readonly handledPerSecond: number;
  readonly handledCpuUs: number;
  /** Where the event's five statuses reach the store in five different transactions: the dearest way. */
  readonly apartPerSecond: number;
  readonly apartCpuUs: number;
  /** The longest that one event or status waited for its commit. */
  readonly slowestMs: number;
  /** Of the server, where there is one: for one that was accepted, and for one with its five statuses. */
  readonly serverCpuUs: { readonly accept: number; readonly handled: number; readonly apart: number } | undefined;
}

export interface StoreBenchOptions {
  readonly events?: number;
  /** Events in flight: what a control plane holds open at a time. */
  readonly concurrency?: number;
  readonly agents?: number;
  /** A file in the temporary directory when absent. */
  readonly url?: string;
  /** The process that keeps what the URL names, when that is another. */
  readonly serverPid?: number;
  /** `sorted` are UUIDs as our producer makes them; `random` ones, as 0.1's made them, each dirty another page of the index. */
  readonly ids?: "sorted" | "random";
}

const PAYLOAD = JSON.stringify({
  manifests: ['apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: default\ndata:\n  greeting: "hello"\n'],
});
const DIGEST = new Bun.CryptoHasher("sha256").update(PAYLOAD).digest("hex");

function newEvent(id: string, agentId: string, epoch: number, nowMs: number): NewEvent {
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
    epoch,
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

function statuses(id: string, agentId: string, epoch: number, bootId: string, nowMs: number): StatusWrite[] {
  const timestamp = new Date(nowMs).toISOString();
  return PHASES.map(([state, phase, message], at) => ({
    tenant: "default",
    eventId: id,
    revision: 1,
    agentId,
    epoch,
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
  readonly serverCpuUs: number;
  readonly slowestMs: number;
}

async function drive(
  { count, concurrency, serverPid }: { readonly count: number; readonly concurrency: number; readonly serverPid: number | undefined },
  one: (at: number) => Promise<void>,
): Promise<Run> {
  let at = 0;
  let slowestMs = 0;
  const serverUs = (): number => (serverPid === undefined ? 0 : cpuUs(serverPid));
  const serverBefore = serverUs();
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
  return {
    perSecond: count / seconds,
    cpuUs: (used.user + used.system) / count,
    serverCpuUs: (serverUs() - serverBefore) / count,
    slowestMs,
  };
}

/** A connected agent, as a control plane writes it down; answers the epoch under which its deliveries are written. */
async function claim(store: Store, id: string, nowMs: number): Promise<number> {
  const agent: AgentWrite = {
    tenant: "default",
    id,
    registration: { id, name: id, cluster_name: `cluster-of-${id}`, version: "0.2.0", capabilities: ["k8s_crud"] },
    status: "connected",
    principal: `agent:${id}`,
    remoteAddress: "127.0.0.1",
    connectedAtMs: nowMs,
    disconnectedAtMs: undefined,
    lastSeenMs: nowMs,
    clockOffsetMs: undefined,
  };
  const audit = { tenant: "default", atMs: nowMs, principal: "local", action: "agent_registered", agentId: id };
  return (await store.claimAgent({ agent, replicaId: REPLICA, seenEpoch: 0 }, audit)).epoch;
}
const REPLICA = "bench";

/**
 * Measures a store: SQLite with synchronous FULL, or what the URL names. The CPU is this process's own, from getrusage, the making of the
 * input included.
 */
export async function benchStore(options: StoreBenchOptions = {}): Promise<StoreFigures> {
  const { events = 20_000, concurrency = 64, agents = 50, ids = "sorted", serverPid } = options;
  const directory = await mkdtemp(join(tmpdir(), "transporter-bench-"));
  const store: Store = await openStore(options.url ?? `sqlite:${join(directory, "store.db")}`, { ports: systemPorts, log: silentLogger });
  const bootId = systemPorts.ids.uuid();
  const newId = (): string => (ids === "sorted" ? systemPorts.ids.uuid() : crypto.randomUUID());
  try {
    const startedAtMs = Date.now();
    await store.renewLease({ replica: { id: REPLICA, version: "bench", address: "", startedAtMs }, ttlMs: 3_600_000, nowMs: startedAtMs });
    const known = await Promise.all(
      Array.from({ length: agents }, async (_, at) => ({ id: `agent-${at}`, epoch: await claim(store, `agent-${at}`, startedAtMs) })),
    );
    const agentOf = (at: number): { readonly id: string; readonly epoch: number } => known[at % known.length] ?? { id: "", epoch: 0 };
    const accept = async (id: string, agent: { readonly id: string; readonly epoch: number }): Promise<void> => {
      const outcome = await store.createEvent(newEvent(id, agent.id, agent.epoch, Date.now()));
      if (outcome.kind !== "created" || outcome.delivery.state !== "assigned")
        throw new Error(`an event was ${outcome.kind === "created" ? outcome.delivery.state : outcome.kind}`);
    };
    const handle = async (at: number, tell: (writes: readonly StatusWrite[]) => Promise<readonly StatusOutcome[]>): Promise<void> => {
      const [id, agent] = [newId(), agentOf(at)];
      await accept(id, agent);
      nextSeq += PHASES.length;
      const outcomes = await tell(statuses(id, agent.id, agent.epoch, bootId, Date.now()));
      const other = outcomes.find(({ verdict }) => verdict !== "apply");
      if (other !== undefined) throw new Error(`a status was judged as ${other.verdict}`);
    };
    const task = { count: events, concurrency, serverPid };
    await drive({ ...task, count: 2_000 }, (at) => accept(newId(), agentOf(at)));
    const accepted = await drive(task, (at) => accept(newId(), agentOf(at)));
    const together = await drive(task, (at) => handle(at, (writes) => Promise.all(writes.map((status) => store.applyStatus(status)))));
    const apart = await drive(task, (at) =>
      handle(at, async (writes) => {
        const outcomes: StatusOutcome[] = [];
        for (const status of writes) outcomes.push(await store.applyStatus(status));
        return outcomes;
      }),
    );
    return {
      acceptedPerSecond: accepted.perSecond,
      acceptCpuUs: accepted.cpuUs,
      handledPerSecond: together.perSecond,
      handledCpuUs: together.cpuUs,
      apartPerSecond: apart.perSecond,
      apartCpuUs: apart.cpuUs,
      slowestMs: Math.max(accepted.slowestMs, together.slowestMs),
      serverCpuUs:
        serverPid === undefined ? undefined : { accept: accepted.serverCpuUs, handled: together.serverCpuUs, apart: apart.serverCpuUs },
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
        ` (${figures.apartCpuUs.toFixed(1)} µs with a transaction for each status); slowest ${figures.slowestMs.toFixed(1)} ms` +
        (figures.serverCpuUs === undefined
          ? ""
          : `; CPU of the server ${figures.serverCpuUs.accept.toFixed(1)} µs to accept, ${figures.serverCpuUs.handled.toFixed(1)} µs in all` +
            ` (${figures.serverCpuUs.apart.toFixed(1)} µs apart)`),
    );
  }
}

if (import.meta.main) {
  const [events = "20000", concurrency = "64", agents = "50", url, serverPid] = process.argv.slice(2);
  await printStoreBench({
    events: Number(events),
    concurrency: Number(concurrency),
    agents: Number(agents),
    ...(url === undefined ? {} : { url }),
    ...(serverPid === undefined ? {} : { serverPid: Number(serverPid) }),
  });
}
