import { expect, test } from "bun:test";
import { freePorts } from "../../sandbox/mod.ts";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openQueue, type Queue, type QueueMessage, type Settlement } from "../../src/queues/mod.ts";
import { eventually } from "../support/eventually.ts";
import { flakyProxy } from "../support/flaky-proxy.ts";
import { type Nats, SKIP_NATS, startNats } from "../support/nats.ts";
import { PROVE } from "../support/prove.ts";
import { plainNats } from "./plain-nats.ts";

const PRODUCERS = 16;
/** One in so many is refused for good. */
const DEAD_EVERY = 500;

function open(url: string): Promise<Queue> {
  return openQueue(url, { log: silentLogger, ports: systemPorts });
}

/** Publishes for a while, and gives the ids of what the queue said that it has. */
async function publishing(queue: Queue, forMs: number): Promise<Set<string>> {
  const ids = new Set<string>();
  const untilMs = performance.now() + forMs;
  let next = 0;
  await Promise.all(
    Array.from({ length: PRODUCERS }, async () => {
      while (performance.now() < untilMs) {
        next += 1;
        const id = `event-${next}`;
        await queue.publish({ id, body: new TextEncoder().encode(`body of ${id}`), priority: (next % 3) - 1 });
        ids.add(id);
        await Bun.sleep(40);
      }
    }),
  );
  return ids;
}

/** Consumers that take a moment for each message, and note how often each id was settled. */
async function consuming(queues: readonly Queue[]) {
  const settled = new Map<string, number>();
  const dead = new Set<string>();
  const take = async ({ id = "", body }: QueueMessage): Promise<Settlement> => {
    await Bun.sleep(Math.random() * 20);
    expect(new TextDecoder().decode(body)).toBe(`body of ${id}`);
    settled.set(id, (settled.get(id) ?? 0) + 1);
    if (Number(id.split("-")[1]) % DEAD_EVERY !== 0) return { kind: "done" };
    dead.add(id);
    return { kind: "dead", code: "INVALID_EVENT", reason: "as planned", eventId: id };
  };
  const consumptions = await Promise.all(queues.map((queue) => queue.consume({ window: 64, onState: () => undefined, take })));
  return { settled, dead, stop: () => Promise.all(consumptions.map((consumption) => consumption.stop(2_000))) };
}

async function reckoned(
  name: string,
  ids: ReadonlySet<string>,
  consumers: Awaited<ReturnType<typeof consuming>>,
  queue: Queue,
  nats: Nats,
) {
  await eventually(
    async () => {
      const { waiting, inHand } = await queue.status();
      return waiting.urgent + waiting.normal + waiting.low + inHand === 0;
    },
    { timeoutMs: 60_000, everyMs: 250, what: "the queue to be empty" },
  );
  const lost = [...ids].filter((id) => !consumers.settled.has(id));
  expect(lost).toEqual([]);
  await using plain = await plainNats(nats.port);
  const letters = (await plain.deadLetters(name)).map(({ eventId }) => eventId ?? "");
  expect(letters.toSorted()).toEqual([...consumers.dead].toSorted());
  const again = [...consumers.settled.values()].filter((times) => times > 1).length;
  console.log(`  ${name}: ${ids.size} published, ${lost.length} lost, ${again} handed out again, ${letters.length} dead letters`);
}

test.skipIf(SKIP_NATS || !PROVE)(
  "a server that is killed and stands still, and connections that are cut, lose no message and no dead letter",
  async () => {
    await using nats = await startNats();
    const proxies = await Promise.all([0, 1, 2].map(() => flakyProxy({ targetPort: nats.port })));
    const url = (port: number): string => `nats://127.0.0.1:${port}/STORM?ack-wait=2s&timeout=30s`;
    const queues = await Promise.all(proxies.map(({ port }) => open(url(port))));
    const producer = await open(url(nats.port));
    const consumers = await consuming(queues);
    const state = { over: false };
    const weather = async (): Promise<void> => {
      for (let round = 1; !state.over; round += 1) {
        await Bun.sleep(1_200);
        if (round % 3 === 0) {
          await nats.stop();
          await nats.start();
        } else if (round % 7 === 0) {
          nats.pause();
          await Bun.sleep(800);
          nats.resume();
        } else proxies[round % 3]?.cut();
      }
    };
    const storm = weather();
    const ids = await publishing(producer, 60_000);
    state.over = true;
    await storm;
    await reckoned("STORM", ids, consumers, producer, nats);
    await consumers.stop();
    await Promise.all([...queues, producer].map((queue) => queue.close()));
    await Promise.all(proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
  },
  180_000,
);

test.skipIf(SKIP_NATS || !PROVE)(
  "a cluster of three, one of which is killed every few seconds, loses no message and no dead letter",
  async () => {
    const routes = freePorts(3);
    const named = routes.map((port) => `"nats://127.0.0.1:${port}"`).join(", ");
    const nodes = await Promise.all(
      routes.map((port, at) =>
        startNats({ config: `server_name: n${at}\ncluster { name: c, listen: "127.0.0.1:${port}", routes: [${named}] }` }),
      ),
    );
    const url = `nats://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")}/STORM?ack-wait=3s&timeout=60s&replicas=3`;
    const queues = await Promise.all([0, 1, 2].map(() => open(url)));
    const producer = await open(url);
    const consumers = await consuming(queues);
    const state = { over: false };
    const weather = async (): Promise<void> => {
      for (let round = 0; !state.over; round += 1) {
        await Bun.sleep(4_000);
        const node = nodes[round % 3];
        await node?.stop();
        await Bun.sleep(2_000);
        await node?.start();
      }
    };
    const storm = weather();
    const ids = await publishing(producer, 60_000);
    state.over = true;
    await storm;
    await reckoned("STORM", ids, consumers, producer, nodes[0] as Nats);
    await consumers.stop();
    await Promise.all([...queues, producer].map((queue) => queue.close()));
    await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
  },
  240_000,
);
