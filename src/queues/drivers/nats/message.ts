import { headers, type Msg, type MsgHdrs } from "@nats-io/transport-node";
import type { Band, OutgoingEvent, QueueMessage } from "../../port.ts";

export const HEADER = {
  /** The server drops what has the same one within the stream's window. */
  id: "Nats-Msg-Id",
  traceparent: "traceparent",
  producer: "Transporter-Producer",
  code: "Transporter-Code",
  reason: "Transporter-Reason",
  eventId: "Transporter-Event-Id",
  subject: "Transporter-Subject",
  sequence: "Transporter-Sequence",
  deliveries: "Transporter-Deliveries",
  truncated: "Transporter-Full-Bytes",
} as const;

/** What headers may take, ours and those that come with a dead letter. */
export const HEADER_ROOM_BYTES = 4_096;

const PLAIN = /^[\x21-\x7d][\x21-\x7e]*$/;

/** A header loses spaces at its ends and cannot have every character, and two ids must never become one: others than plain ones are encoded. */
export function headerText(text: string): string {
  return PLAIN.test(text) ? text : `~${encodeURIComponent(text.toWellFormed())}`;
}
export function textOfHeader(header: string): string {
  if (!header.startsWith("~")) return header;
  try {
    return decodeURIComponent(header.slice(1));
  } catch {
    return header;
  }
}

export function headersOf(event: OutgoingEvent, producer: string): MsgHdrs {
  const made = headers();
  made.set(HEADER.producer, headerText(producer));
  if (event.traceparent !== undefined && PLAIN.test(event.traceparent)) made.set(HEADER.traceparent, event.traceparent);
  return made;
}

export function headerOf(from: MsgHdrs | undefined, name: string): string | undefined {
  const value = from?.get(name);
  return value === undefined || value === "" ? undefined : value;
}

/** Where a message stands in its stream; said by the subject on which it is acknowledged. */
export interface Place {
  readonly stream: string;
  readonly consumer: string;
  readonly sequence: number;
  readonly deliveries: number;
  /** When it was stored, in whole milliseconds. */
  readonly storedAtMs: number;
}

/**
 * Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or its longer form with domain and account
 * hash in front. Source: nats-architecture-and-design, ADR-15.
 */
export function placeOf(reply: string): Place | undefined {
  const tokens = reply.split(".");
  if (tokens[0] !== "$JS" || tokens[1] !== "ACK") return undefined;
  const at = tokens.length >= 11 ? 4 : 2;
  const [stream, consumer, deliveries, sequence, , nanoseconds = ""] = tokens.slice(at, at + 6);
  if (stream === undefined || consumer === undefined || !(Number(sequence) > 0) || !(Number(deliveries) > 0)) return undefined;
  return { stream, consumer, sequence: Number(sequence), deliveries: Number(deliveries), storedAtMs: Number(nanoseconds.slice(0, -6)) };
}

export function queueMessage(message: Msg, band: Band, place: Place): QueueMessage {
  const id = headerOf(message.headers, HEADER.id);
  const producer = headerOf(message.headers, HEADER.producer);
  return {
    id: id === undefined ? undefined : textOfHeader(id),
    body: message.data,
    band,
    deliveries: place.deliveries,
    traceparent: headerOf(message.headers, HEADER.traceparent),
    producer: producer === undefined ? undefined : textOfHeader(producer),
  };
}
