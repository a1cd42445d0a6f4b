import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { HEADER, headerOf, textOfHeader } from "../../src/queues/drivers/nats/message.ts";
import { startNats, SKIP_NATS } from "../support/nats.ts";
import { type DeadLetter, queueConformance } from "./conformance.ts";

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
        const connection = await connect({ servers: `127.0.0.1:${server.port}` });
        try {
          const { streams } = await jetstreamManager(connection);
          const info = await streams.info(`${name}_DEAD`).catch(() => undefined);
          const letters: DeadLetter[] = [];
          for (let seq = info?.state.first_seq ?? 1; seq <= (info?.state.last_seq ?? 0); seq += 1) {
            const stored = await streams.getMessage(`${name}_DEAD`, { seq });
            if (stored === null) continue;
            const text = (header: string): string | undefined => headerOf(stored.header, header);
            const eventId = text(HEADER.eventId);
            letters.push({
              code: text(HEADER.code) ?? "",
              reason: text(HEADER.reason) ?? "",
              eventId: eventId === undefined ? undefined : textOfHeader(eventId),
              body: stored.data,
            });
          }
          return letters;
        } finally {
          await connection.close();
        }
      },
      stop: () => server.stop(),
      start: () => server.start(),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
});
