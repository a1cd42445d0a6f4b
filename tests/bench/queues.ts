import { startMemphis } from "../support/memphis.ts";
import { startNats } from "../support/nats.ts";
import { startRedis } from "../support/redis.ts";
import type { Figure } from "./figures.ts";
import type { PublishResult } from "./load.ts";
import { cpuUs } from "./proc.ts";
import type { Service, Workbench } from "./workbench.ts";

const PART = "Queues in front of one control plane on SQLite (events for agents that are not there)";

interface Engine extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
}

const ENGINES: Readonly<Record<string, () => Promise<Engine>>> = {
  "NATS JetStream": async () => {
    const nats = await startNats();
    return { url: `${nats.url}/bench`, pid: nats.pid, [Symbol.asyncDispose]: () => nats[Symbol.asyncDispose]() };
  },
  "Redis Streams": async () => {
    const redis = await startRedis();
    return { url: `${redis.url}/0?stream=bench`, pid: redis.pid, [Symbol.asyncDispose]: () => redis[Symbol.asyncDispose]() };
  },
  // A nats-server with what a Memphis broker has beside it, in this process: the rates are those of the double, our own CPU is what counts.
  "Memphis (double)": async () => {
    const memphis = await startMemphis();
    return { url: memphis.url("bench"), pid: memphis.nats.pid, [Symbol.asyncDispose]: () => memphis[Symbol.asyncDispose]() };
  },
};

interface Taken {
  readonly perSecond: number;
  readonly cpCpuUs: number;
  readonly queueCpuUs: number;
}

async function total(cp: Service): Promise<number> {
  const { events } = (await (await fetch(`${cp.url}/metrics`)).json()) as { readonly events: { readonly total: number } };
  return events.total;
}

/** Waits until a control plane has so many; answers how many it has. */
async function reached(cp: Service, count: number): Promise<number> {
  const untilMs = performance.now() + 120_000;
  for (;;) {
    const at = await total(cp);
    if (at >= count) return at;
    if (performance.now() > untilMs) throw new Error(`${at} of ${count} were taken in two minutes`);
    await Bun.sleep(5);
  }
}

/** Lets a fresh control plane empty the queue, and measures between the first and the last tenth. */
async function drain(bench: Workbench, engine: Engine, events: number): Promise<Taken> {
  const cp = await bench.startControlPlane(["--queue", engine.url]);
  const mark = async (count: number): Promise<{ at: number; ms: number; cp: number; queue: number }> => {
    const at = await reached(cp, count);
    return { at, ms: performance.now(), cp: cpuUs(cp.pid), queue: cpuUs(engine.pid) };
  };
  const from = await mark(Math.ceil(events / 10));
  const to = await mark(events);
  if (to.at > events) throw new Error(`${events} were published, and ${to.at} taken`);
  await cp.stop();
  const taken = to.at - from.at;
  return {
    perSecond: (taken / (to.ms - from.ms)) * 1_000,
    cpCpuUs: (to.cp - from.cp) / taken,
    queueCpuUs: (to.queue - from.queue) / taken,
  };
}

/** What each engine takes in and gives out: published and durable there, then taken and durable in the store. */
export async function queues(bench: Workbench): Promise<Figure[]> {
  const figures: Figure[] = [];
  const [events, warmUp] = [bench.count(20_000, 1_000), bench.count(2_000, 200)];
  for (const [name, start] of Object.entries(ENGINES)) {
    await using engine = await start();
    const publish = (count: number): Promise<PublishResult> =>
      bench.load(engine, { mode: "publish", agents: 50, events: count, warmUp, concurrency: 256 });
    // It makes the stream, or whatever the engine has, and is gone before anything is measured.
    const maker = await bench.startControlPlane(["--queue", engine.url]);
    await publish(1);
    await reached(maker, warmUp + 2);
    await maker.stop();
    const published = await publish(events);
    const taken = await drain(bench, engine, events + warmUp + 1);
    figures.push(
      {
        part: PART,
        name: `${name}: published, 256 at a time`,
        value: published.perSecond,
        unit: "/s",
        note: `CPU each: ${published.loadCpuUs.toFixed(0)} µs of who publishes, ${published.queueCpuUs.toFixed(0)} of the queue`,
      },
      {
        part: PART,
        name: `${name}: taken, durable in the store, settled`,
        value: taken.perSecond,
        unit: "/s",
        note: `CPU each: ${taken.cpCpuUs.toFixed(0)} µs of the control plane, ${taken.queueCpuUs.toFixed(0)} of the queue`,
      },
    );
  }
  return figures;
}
