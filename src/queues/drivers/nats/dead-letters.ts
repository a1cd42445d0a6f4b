import { jetstream, type JetStreamManager } from "@nats-io/jetstream";
import { headers, type MsgHdrs, type NatsConnection } from "@nats-io/transport-node";
import type { Settlement } from "../../port.ts";
import type { NatsAddress } from "./address.ts";
import { API_CODE, apiCodeOf } from "./fault.ts";
import { HEADER, HEADER_ROOM_BYTES, headerOf, headerText, textOfHeader } from "./message.ts";

const REASON_CHARS = 1_000;
const EVENT_ID_CHARS = 253;

export interface DeadMessage {
  readonly body: Uint8Array;
  readonly headers: MsgHdrs | undefined;
  readonly subject: string;
  readonly sequence: number;
  readonly storedAtMs: number;
  readonly deliveries: number | undefined;
}

/** One line, so that it can be a header; short, so that it fits. */
function headerLine(text: string, most: number): string {
  const line = text.replace(/[\u0000-\u001f\u007f]+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

/** Resolves when the letter is stored. The same message again is kept once. */
export async function buryMessage(
  connection: NatsConnection,
  address: NatsAddress,
  dead: DeadMessage,
  settlement: Extract<Settlement, { kind: "dead" }>,
): Promise<void> {
  const made = headers();
  made.set(HEADER.code, settlement.code);
  made.set(HEADER.reason, headerLine(settlement.reason, REASON_CHARS));
  const id = headerOf(dead.headers, HEADER.id);
  const eventId = settlement.eventId ?? (id === undefined ? undefined : textOfHeader(id));
  if (eventId !== undefined && eventId !== "") made.set(HEADER.eventId, headerText(eventId.slice(0, EVENT_ID_CHARS)));
  made.set(HEADER.subject, dead.subject);
  made.set(HEADER.sequence, String(dead.sequence));
  if (dead.deliveries !== undefined) made.set(HEADER.deliveries, String(dead.deliveries));
  for (const name of [HEADER.producer, HEADER.traceparent]) {
    const value = headerOf(dead.headers, name);
    if (value !== undefined && value.length < EVENT_ID_CHARS) made.set(name, value);
  }
  // A message of the largest size, of a producer other than ours, has no room left for what comes with it.
  const room = (connection.info?.max_payload ?? Number.POSITIVE_INFINITY) - HEADER_ROOM_BYTES;
  const body = dead.body.byteLength > room ? dead.body.subarray(0, room) : dead.body;
  if (body !== dead.body) made.set(HEADER.truncated, String(dead.body.byteLength));
  await jetstream(connection, domainOf(address)).publish(address.deadSubject, body, {
    // A stream that was deleted and made again gives its numbers again.
    msgID: `${address.stream}-${dead.sequence}-${dead.storedAtMs}`,
    headers: made,
    timeout: address.timeoutMs,
    expect: { streamName: address.deadStream },
  });
}

export function domainOf(address: NatsAddress): { readonly domain?: string; readonly timeout: number } {
  return { timeout: address.timeoutMs, ...(address.domain === undefined ? {} : { domain: address.domain }) };
}

/** A message that the server hands out no more goes to the dead letters, and out of the stream. Answers whether it was there. */
export async function buryBySequence(
  connection: NatsConnection,
  manager: JetStreamManager,
  address: NatsAddress,
  sequence: number,
  settlement: Extract<Settlement, { kind: "dead" }>,
): Promise<boolean> {
  const stored = await manager.streams.getMessage(address.stream, { seq: sequence }).catch((error: unknown) => {
    if (apiCodeOf(error) === API_CODE.messageNotFound) return null;
    throw error;
  });
  if (stored === null) return false;
  const { data, header, subject, time } = stored;
  const dead = { body: data, headers: header, subject, sequence, storedAtMs: time.getTime(), deliveries: undefined };
  await buryMessage(connection, address, dead, settlement);
  await manager.streams.deleteMessage(address.stream, sequence, false);
  return true;
}
