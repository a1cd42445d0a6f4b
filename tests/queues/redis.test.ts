import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openRedis, parseRedisUrl } from "../../src/redis/mod.ts";
import { SKIP_REDIS, startRedis } from "../support/redis.ts";
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
