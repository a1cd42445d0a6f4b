import { SKIP_NATS, startNats } from "../support/nats.ts";
import { queueConformance } from "./conformance.ts";
import { plainNats } from "./plain-nats.ts";

queueConformance("NATS JetStream", {
  skip: SKIP_NATS,
  ackWaitMs: 1_000,
  tooLargeBytes: 1024 * 1024 + 1,
  async start() {
    const server = await startNats();
    return {
      port: server.port,
      url: (port, name, { ackWaitMs, maxDeliveries }) =>
        `nats://127.0.0.1:${port}/${name}?ack-wait=${ackWaitMs}ms${maxDeliveries === undefined ? "" : `&max-deliver=${maxDeliveries}`}`,
      async deadLetters(name) {
        await using plain = await plainNats(server.port);
        return await plain.deadLetters(name);
      },
      stop: () => server.stop(),
      start: () => server.start(),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
});
