import { headers, type MsgHdrs } from "@nats-io/nats-core";
import type { OutgoingEvent } from "../../port.ts";

/** Tells that `msg-id` is percent-encoded: an id may have characters that a header cannot hold, or would lose. */
const ENCODED = "transporter-id-encoding";
const PLAIN = /^[\x21-\x24\x26-\x7e]+$/;

/** The headers of a message; `msg-id` is what the broker de-duplicates by. */
export function messageHeaders(event: OutgoingEvent, connectionId: string, producer: string): MsgHdrs {
  const made = headers();
  made.set("$memphis_connectionId", connectionId);
  made.set("$memphis_producedBy", producer);
  const plain = PLAIN.test(event.id);
  made.set("msg-id", plain ? event.id : encodeURIComponent(event.id.toWellFormed()));
  if (!plain) made.set(ENCODED, "percent");
  if (event.traceparent !== undefined) made.set("traceparent", event.traceparent.replace(/[^\x20-\x7e]/g, ""));
  return made;
}

/** What the headers of a message tell; those of other producers, 0.1's among them, have any or none. */
export function readHeaders(given: MsgHdrs | undefined): {
  readonly id: string | undefined;
  readonly traceparent: string | undefined;
  readonly producer: string | undefined;
} {
  const text = (name: string): string | undefined => {
    const value = given?.get(name) ?? "";
    return value === "" ? undefined : value;
  };
  let id = text("msg-id");
  if (id !== undefined && text(ENCODED) === "percent")
    try {
      id = decodeURIComponent(id);
    } catch {
      // Somebody else's header; the id stays as it came.
    }
  return { id, traceparent: text("traceparent"), producer: text("$memphis_producedBy") };
}

/** Bytes that a message counts against the broker's limit. */
export function messageBytes(made: MsgHdrs, body: Uint8Array): number {
  // Lines of `name: value`, after a line for the version and before an empty one.
  let bytes = "NATS/1.0\r\n\r\n".length + body.byteLength;
  for (const [name, values] of made)
    for (const value of values) bytes += Buffer.byteLength(name) + Buffer.byteLength(value) + ": \r\n".length;
  return bytes;
}
