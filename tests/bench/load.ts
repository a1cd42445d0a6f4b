/**
 * The load of the benchmarks, a process of its own: `bun load.ts '{"mode":…}'`. It holds the agents too, so that one clock sees the
 * POST and its arrival. Its last line of output is the result as JSON.
 */
import * as v from "valibot";
import { HttpPool } from "./http-pool.ts";
import { flood, probe } from "./large-load.ts";
import { cpuUs } from "./proc.ts";
import type { FleetFile } from "../support/fleet.ts";
import { Swarm, type Wire } from "./swarm.ts";

const Target = { url: v.string(), pid: v.number(), agents: v.number(), wire: v.picklist(["protocol-2", "0.1"]), phaseMs: v.number() };
const TaskSchema = v.variant("mode", [
  /** Keeps `unfinished` events between their POST and their last status, until `events` are done. */
  v.object({
    mode: v.literal("closed"),
    ...Target,
    events: v.number(),
    warmUp: v.number(),
    unfinished: v.number(),
    /** Where everybody is asked who they are: the agents' address, a producer's token, and the file of a fleet. */
    secure: v.optional(v.object({ agentsUrl: v.string(), token: v.string(), path: v.string() })),
  }),
  /**
   * The same with several control planes on one store, which `storePid` serves: each has its part of the agents, and each event goes to the next
   * control plane, whoever has its agent.
   */
  v.object({
    mode: v.literal("shared"),
    ...Target,
    more: v.array(v.object({ url: v.string(), pid: v.number() })),
    storePid: v.optional(v.number()),
    events: v.number(),
    warmUp: v.number(),
    unfinished: v.number(),
  }),
  /** Puts events into a queue, `concurrency` at a time, which `queuePid` serves. */
  v.object({
    mode: v.literal("publish"),
    url: v.string(),
    pid: v.number(),
    agents: v.number(),
    events: v.number(),
    warmUp: v.number(),
    concurrency: v.number(),
  }),
  /** POSTs as fast as they are answered, `connections` at a time, whatever the agents do. */
  v.object({ mode: v.literal("burst"), ...Target, events: v.number(), connections: v.number() }),
  /** POSTs as fast as they are answered, for agents that are not there: what the door alone takes in. */
  v.object({ mode: v.literal("intake"), ...Target, events: v.number(), warmUp: v.number(), connections: v.number() }),
  /** POSTs at given moments, whatever the answers do; latencies count from those moments. */
  v.object({ mode: v.literal("open"), ...Target, perSecond: v.number(), seconds: v.number(), warmUp: v.number() }),
  /** Hands in large events one after the other. */
  v.object({ mode: v.literal("flood"), url: v.string(), events: v.number(), bytes: v.number() }),
  /** POSTs small events at a steady pace for agents that are not there: what becomes of them while something else goes on. */
  v.object({ mode: v.literal("probe"), url: v.string(), perSecond: v.number(), seconds: v.number() }),
  /** Connects, heartbeats, and stays until it is ended. */
  v.object({ mode: v.literal("hold"), url: v.string(), agents: v.number(), heartbeatMs: v.number(), prefix: v.string() }),
]);
export type LoadTask = v.InferOutput<typeof TaskSchema>;

export interface ClosedResult {
  readonly perSecond: number;
  /** Of the server, per event with its statuses. */
  readonly serverCpuUs: number;
  /** Of this process, per event: that it is less than the server's says that the server was measured. */
  readonly loadCpuUs: number;
}
export interface SharedResult extends ClosedResult {
  /** Of the server behind the store, per event; 0 where there is none. */
  readonly storeCpuUs: number;
}
export interface PublishResult {
  readonly perSecond: number;
  /** Of this process, which publishes, and of the queue's server, per event. */
  readonly loadCpuUs: number;
  readonly queueCpuUs: number;
}
export interface BurstResult {
  readonly acceptedPerSecond: number;
  readonly finishedPerSecond: number;
}
export interface IntakeResult {
  readonly acceptedPerSecond: number;
  readonly serverCpuUs: number;
  readonly loadCpuUs: number;
  readonly latenciesMs: readonly number[];
}
export interface OpenResult {
  /** POST to agent, milliseconds, from the moment each POST was due. */
  readonly latenciesMs: readonly number[];
  readonly serverCpuUs: number;
  /** How late the load itself sent, worst case. */
  readonly sentLateMaxMs: number;
}

const run = crypto.randomUUID().slice(0, 8);
let numbers = 0;

function newEvent(agentId: string): { readonly id: string; readonly body: string } {
  numbers += 1;
  const id = `bench-${run}-${numbers}`;
  const body =
    `{"id":"${id}","type":"k8s_resource","target_agent":"${agentId}","payload":{"manifests":["apiVersion: v1\\nkind: ConfigMap\\nmetadata:\\n  name: settings-${run}-${numbers}\\n` +
    `  namespace: default\\n  labels:\\n    app: web\\n    environment: test\\ndata:\\n  greeting: \\"hello ${numbers}\\"\\n  log_level: info\\n  retries: \\"3\\"\\n"]},` +
    `"created_at":"${new Date().toISOString()}","created_by":"bench","ttl":3600000000000,"priority":0,"labels":{"environment":"test"}}`;
  return { id, body };
}

async function accept(pool: HttpPool, body: string): Promise<void> {
  const status = await pool.post(body);
  if (status !== 202) throw new Error(`an event was answered with ${status} instead of 202`);
}

function wsUrl(url: string): string {
  return `${url.replace(/^http/, "ws")}/ws`;
}

interface Watched {
  readonly swarm: Swarm;
  /** Resolves when this event's last status is in. */
  readonly finished: (eventId: string) => Promise<void>;
  /** When events came to their agents. */
  readonly arrivedMs: Map<string, number>;
}

/** `part` tells the agents of several control planes apart. */
async function watch(
  task: { url: string; agents: number; wire: Wire; phaseMs: number; part?: number },
  keepArrivals: boolean,
  secure?: { readonly agentsUrl: string; readonly fleet: FleetFile },
): Promise<Watched> {
  const arrivedMs = new Map<string, number>();
  const waiting = new Map<string, () => void>();
  const early = new Set<string>();
  const swarm = await Swarm.connect({
    wsUrl: secure?.agentsUrl ?? wsUrl(task.url),
    ...(secure === undefined ? {} : { secure: secure.fleet }),
    agents: task.agents,
    wire: task.wire,
    phaseMs: task.phaseMs,
    heartbeatMs: 10_000,
    prefix: task.part === undefined ? `bench-${run}` : `bench-${run}-at-${task.part}`,
    onEvent: (eventId, atMs) => {
      if (keepArrivals) arrivedMs.set(eventId, atMs);
    },
    onFinished: (eventId) => {
      const resolve = waiting.get(eventId);
      if (resolve === undefined) early.add(eventId);
      waiting.delete(eventId);
      resolve?.();
    },
  });
  return {
    swarm,
    arrivedMs,
    finished: (eventId) => (early.delete(eventId) ? Promise.resolve() : new Promise((resolve) => waiting.set(eventId, resolve))),
  };
}

async function closed(task: Extract<LoadTask, { mode: "closed" }>): Promise<ClosedResult> {
  const { secure } = task;
  const fleet = secure === undefined ? undefined : ((await Bun.file(secure.path).json()) as FleetFile);
  const asked = secure === undefined || fleet === undefined ? undefined : { agentsUrl: secure.agentsUrl, fleet };
  const { swarm, finished } = await watch(task, false, asked);
  const pool = new HttpPool(
    task.url,
    "/events",
    secure === undefined || fleet === undefined ? undefined : { ca: fleet.ca, token: secure.token },
  );
  await pool.warm(task.unfinished);
  const phase = async (events: number): Promise<void> => {
    let begun = 0;
    const worker = async (_: unknown, at: number): Promise<void> => {
      const agentId = swarm.agents[at % swarm.agents.length]?.id ?? "";
      while (begun < events) {
        begun += 1;
        const { id, body } = newEvent(agentId);
        const done = finished(id);
        await accept(pool, body);
        await done;
      }
    };
    await Promise.all(Array.from({ length: task.unfinished }, worker));
  };
  await phase(task.warmUp);
  const [serverBefore, ownBefore, startedMs] = [cpuUs(task.pid), cpuUs(process.pid), performance.now()];
  await phase(task.events);
  const seconds = (performance.now() - startedMs) / 1000;
  const result = {
    perSecond: task.events / seconds,
    serverCpuUs: (cpuUs(task.pid) - serverBefore) / task.events,
    loadCpuUs: (cpuUs(process.pid) - ownBefore) / task.events,
  };
  pool.close();
  swarm.close();
  return result;
}

async function shared(task: Extract<LoadTask, { mode: "shared" }>): Promise<SharedResult> {
  const targets = [{ url: task.url, pid: task.pid }, ...task.more];
  const each = Math.ceil(task.agents / targets.length);
  const watched = await Promise.all(targets.map(({ url }, part) => watch({ ...task, url, agents: each, part }, false)));
  const agents = watched.flatMap(({ swarm, finished }) => swarm.agents.map(({ id }) => ({ id, finished })));
  const pools = targets.map(({ url }) => new HttpPool(url, "/events"));
  await Promise.all(pools.map((pool) => pool.warm(Math.ceil(task.unfinished / targets.length))));
  const phase = async (events: number): Promise<void> => {
    let begun = 0;
    const worker = async (_: unknown, at: number): Promise<void> => {
      const agent = agents[at % agents.length];
      if (agent === undefined) return;
      for (let mine = begun++; mine < events; mine = begun++) {
        const { id, body } = newEvent(agent.id);
        const done = agent.finished(id);
        const pool = pools[mine % pools.length];
        if (pool !== undefined) await accept(pool, body);
        await done;
      }
    };
    await Promise.all(Array.from({ length: task.unfinished }, worker));
  };
  await phase(task.warmUp);
  const pids = targets.map(({ pid }) => pid);
  const used = (): readonly number[] => [
    pids.reduce((sum, pid) => sum + cpuUs(pid), 0),
    task.storePid === undefined ? 0 : cpuUs(task.storePid),
    cpuUs(process.pid),
  ];
  const [before, startedMs] = [used(), performance.now()];
  await phase(task.events);
  const seconds = (performance.now() - startedMs) / 1000;
  const [serverCpuUs = 0, storeCpuUs = 0, loadCpuUs = 0] = used().map((us, at) => (us - (before[at] ?? 0)) / task.events);
  for (const pool of pools) pool.close();
  for (const { swarm } of watched) swarm.close();
  return { perSecond: task.events / seconds, serverCpuUs, storeCpuUs, loadCpuUs };
}

async function publish(task: Extract<LoadTask, { mode: "publish" }>): Promise<PublishResult> {
  // Its libraries are nothing for the other loads.
  const [{ openQueueWriter }, { silentLogger, systemPorts }] = await Promise.all([
    import("../../src/queues/mod.ts"),
    import("../../src/kit/mod.ts"),
  ]);
  const queue = await openQueueWriter(task.url, { log: silentLogger, ports: systemPorts, clientName: "bench" });
  const encoder = new TextEncoder();
  const phase = async (events: number): Promise<void> => {
    let begun = 0;
    const worker = async (): Promise<void> => {
      for (let mine = begun++; mine < events; mine = begun++) {
        const { id, body } = newEvent(`absent-${run}-${mine % task.agents}`);
        await queue.publish({ id, body: encoder.encode(body), priority: 0 });
      }
    };
    await Promise.all(Array.from({ length: task.concurrency }, worker));
  };
  // Whoever only publishes does not make the stream: a control plane may be about to.
  const patienceMs = performance.now() + 15_000;
  for (let made = false; !made;)
    made = await phase(1).then(
      () => true,
      async (error: unknown) => {
        if (performance.now() > patienceMs) throw error;
        await Bun.sleep(100);
        return false;
      },
    );
  await phase(task.warmUp);
  const [queueBefore, ownBefore, startedMs] = [cpuUs(task.pid), cpuUs(process.pid), performance.now()];
  await phase(task.events);
  const seconds = (performance.now() - startedMs) / 1000;
  const result = {
    perSecond: task.events / seconds,
    loadCpuUs: (cpuUs(process.pid) - ownBefore) / task.events,
    queueCpuUs: (cpuUs(task.pid) - queueBefore) / task.events,
  };
  await queue.close();
  return result;
}

async function burst(task: Extract<LoadTask, { mode: "burst" }>): Promise<BurstResult> {
  const { swarm, finished } = await watch(task, false);
  const pool = new HttpPool(task.url, "/events");
  await pool.warm(task.connections);
  const events = Array.from({ length: task.events }, (_, at) => newEvent(swarm.agents[at % swarm.agents.length]?.id ?? ""));
  const all = events.map(({ id }) => finished(id));
  const startedMs = performance.now();
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let event = events[next++]; event !== undefined; event = events[next++]) await accept(pool, event.body);
  };
  await Promise.all(Array.from({ length: task.connections }, worker));
  const acceptedMs = performance.now() - startedMs;
  await Promise.all(all);
  const finishedMs = performance.now() - startedMs;
  pool.close();
  swarm.close();
  return { acceptedPerSecond: task.events / (acceptedMs / 1000), finishedPerSecond: task.events / (finishedMs / 1000) };
}

async function intake(task: Extract<LoadTask, { mode: "intake" }>): Promise<IntakeResult> {
  const pool = new HttpPool(task.url, "/events");
  await pool.warm(task.connections);
  const latenciesMs: number[] = [];
  const phase = async (count: number): Promise<void> => {
    const bodies = Array.from({ length: count }, (_, at) => newEvent(`absent-${run}-${at % task.agents}`).body);
    let next = 0;
    const worker = async (): Promise<void> => {
      for (let body = bodies[next++]; body !== undefined; body = bodies[next++]) {
        const sentMs = performance.now();
        await accept(pool, body);
        latenciesMs.push(performance.now() - sentMs);
      }
    };
    await Promise.all(Array.from({ length: task.connections }, worker));
  };
  await phase(task.warmUp);
  latenciesMs.length = 0;
  const [serverBefore, ownBefore, startedMs] = [cpuUs(task.pid), cpuUs(process.pid), performance.now()];
  await phase(task.events);
  const seconds = (performance.now() - startedMs) / 1000;
  pool.close();
  return {
    acceptedPerSecond: task.events / seconds,
    serverCpuUs: (cpuUs(task.pid) - serverBefore) / task.events,
    loadCpuUs: (cpuUs(process.pid) - ownBefore) / task.events,
    latenciesMs,
  };
}

/** Timers are a millisecond coarse, so the last stretch is spent in turns of the event loop, which goes on serving its sockets. */
async function until(dueMs: number): Promise<void> {
  const coarseMs = dueMs - performance.now() - 2;
  if (coarseMs >= 1) await Bun.sleep(Math.floor(coarseMs));
  while (performance.now() < dueMs) await new Promise<void>((resolve) => setImmediate(resolve));
}

async function open(task: Extract<LoadTask, { mode: "open" }>): Promise<OpenResult> {
  const { swarm, finished, arrivedMs } = await watch(task, true);
  const pool = new HttpPool(task.url, "/events");
  await pool.warm(16);
  let sentLateMaxMs = 0;
  const phase = async (count: number, perSecond: number): Promise<Map<string, number>> => {
    const due = new Map<string, number>();
    const all: Promise<void>[] = [];
    const originMs = performance.now() + 50;
    sentLateMaxMs = 0;
    for (let at = 0; at < count; at += 1) {
      const { id, body } = newEvent(swarm.agents[at % swarm.agents.length]?.id ?? "");
      const dueMs = originMs + (at * 1000) / perSecond;
      due.set(id, dueMs);
      all.push(finished(id));
      await until(dueMs);
      sentLateMaxMs = Math.max(sentLateMaxMs, performance.now() - dueMs);
      all.push(accept(pool, body));
    }
    await Promise.all(all);
    return due;
  };
  // Quicker than what is measured: a control plane that has run for an hour is compiled through, and so must this one be.
  await phase(task.warmUp, Math.max(1_000, task.perSecond));
  const count = Math.round(task.perSecond * task.seconds);
  const cpuBefore = cpuUs(task.pid);
  const due = await phase(count, task.perSecond);
  const serverCpuUs = (cpuUs(task.pid) - cpuBefore) / count;
  pool.close();
  swarm.close();
  const latenciesMs = [...due].map(([id, dueMs]) => {
    const atMs = arrivedMs.get(id);
    if (atMs === undefined) throw new Error(`event ${id} never came to its agent`);
    return atMs - dueMs;
  });
  return { latenciesMs, serverCpuUs, sentLateMaxMs };
}

async function hold(task: Extract<LoadTask, { mode: "hold" }>): Promise<never> {
  await Swarm.connect({
    wsUrl: wsUrl(task.url),
    agents: task.agents,
    wire: "protocol-2",
    phaseMs: 1000,
    heartbeatMs: task.heartbeatMs,
    prefix: task.prefix,
    onEvent: () => undefined,
    onFinished: () => undefined,
  });
  console.log(JSON.stringify({ connected: task.agents }));
  return new Promise(() => undefined);
}

function carryOut(task: LoadTask): Promise<unknown> {
  switch (task.mode) {
    case "closed":
      return closed(task);
    case "shared":
      return shared(task);
    case "publish":
      return publish(task);
    case "burst":
      return burst(task);
    case "intake":
      return intake(task);
    case "open":
      return open(task);
    case "flood":
      return flood(task);
    case "probe":
      return probe(task);
    case "hold":
      return hold(task);
  }
}

if (import.meta.main) {
  const result = await carryOut(v.parse(TaskSchema, JSON.parse(process.argv[2] ?? "")));
  console.log(JSON.stringify(result));
  process.exit(0);
}
