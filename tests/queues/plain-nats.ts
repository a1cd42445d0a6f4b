import { JetStreamApiError, type JetStreamManager, jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { HEADER, headerOf, textOfHeader } from "../../src/queues/drivers/nats/message.ts";
import type { DeadLetter } from "./conformance.ts";

/** Undefined for what is not there; any other fault is one. */
function absent(error: unknown): undefined {
  if (error instanceof JetStreamApiError && error.status === 404) return undefined;
  throw error;
}

/** A NATS client that knows nothing of ours: what somebody else sees. */
export async function plainNats(port: number) {
  const connection: NatsConnection = await connect({ servers: `127.0.0.1:${port}` });
  const manager: JetStreamManager = await jetstreamManager(connection);
  /** All that a stream holds, oldest first; nothing where there is no such stream. */
  const messages = async (stream: string): Promise<StoredMsg[]> => {
    const info = await manager.streams.info(stream).catch((error: unknown) => absent(error));
    const all: StoredMsg[] = [];
    for (let seq = info?.state.first_seq ?? 1; seq <= (info?.state.last_seq ?? 0); seq += 1) {
      const stored = await manager.streams.getMessage(stream, { seq }).catch((error: unknown) => absent(error));
      if (stored !== null && stored !== undefined) all.push(stored);
    }
    return all;
  };
  return {
    connection,
    manager,
    messages,
    async deadLetters(name: string): Promise<DeadLetter[]> {
      return (await messages(`${name}_DEAD`)).map(({ header, data }) => {
        const eventId = headerOf(header, HEADER.eventId);
        return {
          code: headerOf(header, HEADER.code) ?? "",
          reason: headerOf(header, HEADER.reason) ?? "",
          eventId: eventId === undefined ? undefined : textOfHeader(eventId),
          body: data,
        };
      });
    },
    /** Messages in hand that were handed out more than once. */
    async redelivered(name: string): Promise<number> {
      const infos = await Promise.all(["urgent", "normal", "low"].map((band) => manager.consumers.info(name, `transporter-cp-${band}`)));
      return infos.reduce((sum, { num_redelivered }) => sum + num_redelivered, 0);
    },
    [Symbol.asyncDispose]: () => connection.close(),
  };
}
