import { expect } from "bun:test";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { type Queue, type QueueWriter, type Settlement, openOutlet, openQueue, openQueueWriter } from "../../src/queues/mod.ts";
import { openRedis, parseRedisUrl } from "../../src/redis/mod.ts";
import { eventually } from "../support/eventually.ts";
import { uniqueName } from "../support/kube.ts";
import { type RedisServer, SKIP_REDIS, redisTest, sharedRedis, startRedis } from "../support/redis.ts";
import { startRedisCluster } from "../support/redis-sets.ts";
import { codeOf } from "../support/store-inputs.ts";
import { type DeadLetter, type QueueBroker, queueConformance } from "./conformance.ts";

/** A Redis of the suite's own, which it may kill. */
async function redisBroker(): Promise<QueueBroker> {
  const server = await startRedis();
  return {
    port: server.port,
    url: (port, name, { ackWaitMs, maxDeliveries }) =>
      `redis://127.0.0.1:${port}/0?stream=${name}&claim-after=${ackWaitMs}ms${maxDeliveries === undefined ? "" : `&max-deliveries=${maxDeliveries}`}`,
    async deadLetters(name) {
      const link = await openRedis(parseRedisUrl(server.url), { ports: systemPorts, log: silentLogger, purpose: "test" });
      try {
        const rows = await link.client.xrangeBuffer(`{transporter}:queue:${name}:dead`, "-", "+");
        return rows.map(([, flat]): DeadLetter => {
          const at = (field: string): Buffer | undefined =>
            flat[flat.findIndex((each, index) => index % 2 === 0 && String(each) === field) + 1];
          return {
            code: String(at("code")),
            reason: String(at("reason")),
            eventId: at("event_id")?.toString() || undefined,
            body: at("body") ?? Buffer.alloc(0),
          };
        });
      } finally {
        await link.close();
      }
    },
    stop: () => server.kill(),
    start: () => server.start(),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

queueConformance("Redis Streams", { skip: SKIP_REDIS, start: redisBroker, ackWaitMs: 1000, tooLargeBytes: 33 * 1024 * 1024 });

async function ownQueue(server: RedisServer, user: string, role: "cp" | "producer"): Promise<Queue | QueueWriter> {
  const options = { log: silentLogger, ports: systemPorts, secrets: { password: "secret" } };
  const url = `redis://${user}@127.0.0.1:${server.port}/0`;
  return role === "cp" ? openQueue(url, options) : openQueueWriter(url, options);
}

redisTest("the rights that docs/queues.md lists are enough, for a control plane and for a producer", async () => {
  const page = await Bun.file(join(import.meta.dir, "../../docs/queues.md")).text();
  const rules = [...page.matchAll(/^ACL SETUSER (\S+) (.*)$/gm)].filter(([, name]) => name?.startsWith("queue-"));
  expect(rules.map(([, name]) => name)).toEqual(["queue-cp", "queue-producer"]);
  await using server = await startRedis();
  for (const [, name = "", rights = ""] of rules)
    await server.cli("ACL", "SETUSER", name, ...rights.replace("SECRET", "secret").split(" "));
  const producer = await ownQueue(server, "queue-producer", "producer");
  const queue = (await ownQueue(server, "queue-cp", "cp")) as Queue;
  const outlet = await openOutlet(`redis://queue-cp:secret@127.0.0.1:${server.port}/0`, { log: silentLogger, ports: systemPorts });
  try {
    await producer.publish({ id: "good", body: Buffer.from("good"), priority: 0 });
    await producer.publish({ id: "bad", body: Buffer.from("bad"), priority: 0 });
    await producer.deadLetters?.list(10);
    const consumption = await queue.consume({
      window: 4,
      onState: () => undefined,
      take: async ({ id }) => (id === "good" ? { kind: "done" } : { kind: "dead", code: "INVALID_EVENT", reason: "x", eventId: id }),
    });
    await eventually(async () => (await queue.status()).dead === 1 && (await queue.status()).inHand === 0);
    await consumption.stop(1000);
    const [letter] = (await queue.deadLetters?.list(10)) ?? [];
    expect(await queue.deadLetters?.resend(letter?.id ?? "")).toBe(true);
    await outlet.emit([{ id: "1", kind: "status", agentId: "a", body: "{}" }]);
    expect(await server.cli("ACL", "LOG")).toBe("");
  } finally {
    for (const each of [producer, queue, outlet]) await each.close();
  }
});

redisTest("urgent events find room in a window that is full of others", async () => {
  const { url } = await sharedRedis();
  const queue = await openQueue(`${url}/0?stream=${uniqueName("room")}`, { log: silentLogger, ports: systemPorts });
  try {
    for (let index = 0; index < 40; index += 1) await queue.publish({ id: `n${index}`, body: Buffer.from("x"), priority: 0 });
    const taken: string[] = [];
    const held = Promise.withResolvers<Settlement>();
    const consumption = await queue.consume({
      window: 16,
      onState: () => undefined,
      take: ({ id }) => {
        taken.push(id ?? "");
        return held.promise;
      },
    });
    await eventually(() => taken.length === 14);
    await queue.publish({ id: "urgent", body: Buffer.from("x"), priority: 9 });
    await eventually(() => taken.length === 15);
    expect(taken.at(-1)).toBe("urgent");
    held.resolve({ kind: "done" });
    await eventually(() => taken.length === 41);
    await consumption.stop(1000);
  } finally {
    await queue.close();
  }
});

redisTest("a message that somebody else put there with whatever in it blocks nothing, and a full band refuses", async () => {
  const server = await sharedRedis();
  const name = uniqueName("foreign");
  const key = `{transporter}:queue:${name}:normal`;
  const queue = await openQueue(`${server.url}/0?stream=${name}&max-length=3`, { log: silentLogger, ports: systemPorts });
  try {
    await server.cli("XADD", key, "*", ...Array.from({ length: 9000 }, (_, index) => [`f${index}`, "x"]).flat());
    await server.cli("XADD", key, "*", "body", "one", "body", "two");
    await queue.publish({ id: "last", body: Buffer.from("last"), priority: 0 });
    expect(await codeOf(queue.publish({ id: "more", body: Buffer.from("x"), priority: 0 }))).toBe("QUEUE_UNAVAILABLE");
    const bodies: string[] = [];
    const consumption = await queue.consume({
      window: 4,
      onState: () => undefined,
      take: async ({ id, body }) => {
        bodies.push(Buffer.from(body).toString());
        return id === "last" ? { kind: "done" } : { kind: "dead", code: "INVALID_JSON", reason: "no", eventId: undefined };
      },
    });
    await eventually(async () => (await queue.status()).dead === 2 && (await queue.status()).inHand === 0);
    expect(bodies.toSorted()).toEqual(["", "last", expect.stringMatching(/one|two/)]);
    await consumption.stop(1000);
  } finally {
    await queue.close();
  }
});

redisTest("an emptied server, and a stream that is deleted under a consumer, are taken from again", async () => {
  const server = await sharedRedis();
  const name = uniqueName("emptied");
  const queue = await openQueue(`${server.url}/0?stream=${name}`, { log: silentLogger, ports: systemPorts });
  try {
    const taken: string[] = [];
    const consumption = await queue.consume({
      window: 16,
      onState: () => undefined,
      take: async ({ id }) => {
        taken.push(id ?? "");
        return { kind: "done" };
      },
    });
    for (const [index, id] of ["first", "second", "third"].entries()) {
      await queue.publish({ id, body: Buffer.from("x"), priority: index - 1 });
      await eventually(() => taken.includes(id));
      for (const band of ["urgent", "normal", "low"]) await server.cli("DEL", `{transporter}:queue:${name}:${band}`);
    }
    await consumption.stop(1000);
    expect(taken).toEqual(["first", "second", "third"]);
  } finally {
    await queue.close();
  }
});

redisTest("a Redis Cluster keeps a queue together", async () => {
  await using cluster = await startRedisCluster();
  const options = { log: silentLogger, ports: systemPorts };
  await expect(openQueue(`${cluster.url}?wait=1`, options)).rejects.toMatchObject({ code: "QUEUE_INVALID" });
  const queue = await openQueue(`${cluster.url}?stream=together`, options);
  try {
    for (const priority of [-1, 0, 1]) await queue.publish({ id: `p${priority}`, body: Buffer.from("x"), priority });
    expect(await queue.publish({ id: "p0", body: Buffer.from("x"), priority: 0 })).toEqual({ duplicate: true });
    const taken: string[] = [];
    const consumption = await queue.consume({
      window: 8,
      onState: () => undefined,
      take: async ({ id, band }) => {
        taken.push(`${id} ${band}`);
        return band === "low" ? { kind: "dead", code: "INVALID_EVENT", reason: "no", eventId: id } : { kind: "done" };
      },
    });
    await eventually(async () => (await queue.status()).dead === 1);
    expect(taken).toEqual(["p1 urgent", "p0 normal", "p-1 low"]);
    // Waits for it on a connection of its own.
    await queue.publish({ id: "later", body: Buffer.from("x"), priority: 0 });
    await eventually(() => taken.includes("later normal"));
    await consumption.stop(1000);
    expect(await queue.status()).toMatchObject({ inHand: 0, dead: 1, waiting: { urgent: 0, normal: 0, low: 0 } });
  } finally {
    await queue.close();
  }
});
