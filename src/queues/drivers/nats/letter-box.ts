import { type JetStreamManager, type StoredMsg, jetstream } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { TransporterError } from "../../../kit/mod.ts";
import { BANDS, type DeadLetter, type DeadLetters } from "../../port.ts";
import { type NatsAddress, subjectOf } from "./address.ts";
import { domainOf } from "./dead-letters.ts";
import { API_CODE, apiCodeOf, queueFault } from "./fault.ts";
import { HEADER, headerOf, textOfHeader } from "./message.ts";

/** Letters that are asked for at once. */
const AT_ONCE = 16;

interface Access {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
}

/** The dead letters of a stream, for people to look at. */
export function letterBox(address: NatsAddress, access: () => Promise<Access>): DeadLetters {
  const stored = async (manager: JetStreamManager, seq: number): Promise<StoredMsg | null> => {
    try {
      return await manager.streams.getMessage(address.deadStream, { seq });
    } catch (error) {
      if (apiCodeOf(error) === API_CODE.messageNotFound || apiCodeOf(error) === API_CODE.streamNotFound) return null;
      throw error;
    }
  };
  const told = async <T>(what: string, run: (access: Access) => Promise<T>): Promise<T> => {
    try {
      return await run(await access());
    } catch (error) {
      throw queueFault(error, `${what} of stream ${address.deadStream}`);
    }
  };
  return {
    list: (limit) =>
      told("reading the dead letters", async ({ manager }) => {
        const range = await manager.streams.info(address.deadStream).then(
          ({ state }) => state,
          (error: unknown) => {
            if (apiCodeOf(error) === API_CODE.streamNotFound) return undefined;
            throw error;
          },
        );
        const letters: DeadLetter[] = [];
        if (range === undefined || range.messages === 0) return letters;
        for (let last = range.last_seq; last >= range.first_seq && letters.length < limit; last -= AT_ONCE) {
          const first = Math.max(range.first_seq, last - AT_ONCE + 1);
          const part = await Promise.all(Array.from({ length: last - first + 1 }, (_, index) => stored(manager, last - index)));
          letters.push(...part.flatMap((message) => (message === null ? [] : [letterOf(message)])));
        }
        return letters.slice(0, limit);
      }),
    resend: (letterId) =>
      told("sending again a dead letter", async ({ connection, manager }) => {
        const sequence = /^\d{1,15}$/.test(letterId) ? Number(letterId) : 0;
        const message = sequence === 0 ? null : await stored(manager, sequence);
        if (message === null) return false;
        if (headerOf(message.header, HEADER.truncated) !== undefined)
          throw new TransporterError("QUEUE_MESSAGE_TOO_LARGE", `dead letter ${letterId} holds only the beginning of its message`, {
            remedy: "Send the event again from where it came from.",
          });
        const made = headers();
        for (const name of [HEADER.producer, HEADER.traceparent]) {
          const value = headerOf(message.header, name);
          if (value !== undefined) made.set(name, value);
        }
        // Without the id that it had: the server may remember that one, and would drop it.
        await jetstream(connection, domainOf(address)).publish(subjectOf(address, bandOfLetter(message)), message.data, {
          headers: made,
          expect: { streamName: address.stream },
        });
        await manager.streams.deleteMessage(address.deadStream, sequence, false);
        return true;
      }),
  };
}

function bandOfLetter({ header }: StoredMsg): DeadLetter["band"] {
  const subject = headerOf(header, HEADER.subject) ?? "";
  return BANDS.find((band) => subject.endsWith(`.${band}`)) ?? "normal";
}

function letterOf(message: StoredMsg): DeadLetter {
  const { header } = message;
  const eventId = headerOf(header, HEADER.eventId);
  const deliveries = Number(headerOf(header, HEADER.deliveries) ?? Number.NaN);
  return {
    id: String(message.seq),
    eventId: eventId === undefined ? undefined : textOfHeader(eventId),
    code: headerOf(header, HEADER.code) ?? "",
    reason: headerOf(header, HEADER.reason) ?? "",
    band: bandOfLetter(message),
    deliveries: Number.isNaN(deliveries) ? undefined : deliveries,
    bytes: message.data.byteLength,
    atMs: message.time.getTime(),
  };
}
