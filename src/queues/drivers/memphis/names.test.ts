import { expect, test } from "bun:test";
import { headers } from "@nats-io/nats-core";
import { readAckSubject } from "./hand.ts";
import { messageBytes, messageHeaders, readHeaders } from "./headers.ts";
import { internalName, memphisName, partitionsOf } from "./names.ts";
import { murmur3, partitionForKey } from "./partition-key.ts";

test("names are kept in lower case, and refused as the broker would", () => {
  expect(memphisName("station", "Transporter.Events_1-a")).toBe("transporter.events_1-a");
  expect(memphisName("station", "x".repeat(128))).toHaveLength(128);
  for (const bad of ["", "-bad-", "bad name", "probe#hash", ".a", "a.", "x".repeat(129), "ä"])
    expect(() => memphisName("station", bad)).toThrow("cannot be used");
  expect(internalName("a.b.c-d")).toBe("a#b#c-d");
});

test("a station consists of a stream for each partition, and of one without number on an old broker", () => {
  expect(partitionsOf("parts.3", [1, 2])).toEqual([
    { number: 1, stream: "parts#3$1", subject: "parts#3$1.final" },
    { number: 2, stream: "parts#3$2", subject: "parts#3$2.final" },
  ]);
  expect(partitionsOf("old.one", [])).toEqual([{ number: 1, stream: "old#one", subject: "old#one.final" }]);
});

test("keys go to the partitions that the broker's own clients choose", () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  expect(["a", "b", "key-1", "tenant/42"].map((key) => murmur3(bytes(key), 31))).toEqual([
    3_387_765_255, 279_955_767, 3_864_697_147, 3_042_900_296,
  ]);
  expect(["a", "b", "key-1", "tenant/42"].map((key) => partitionForKey([1, 2, 3], key))).toEqual([1, 1, 2, 3]);
  expect(partitionForKey(["only"], "☃")).toBe("only");
});

test("where a message is acknowledged tells how often it was handed out, with and without a domain", () => {
  expect(readAckSubject("$JS.ACK.transporter-events$1.transporter#group.2.4.6.1795310858039035801.0")).toEqual({
    deliveries: 2,
    sequence: 4,
  });
  expect(readAckSubject("$JS.ACK.hub.HASH.s$1.g.3.17.20.1795310858039035801.5.random")).toEqual({ deliveries: 3, sequence: 17 });
  expect(readAckSubject("")).toBeUndefined();
  expect(readAckSubject("_INBOX.x.y.z.1.2.3.4.5")).toBeUndefined();
});

test("ids that a header cannot hold are written so that they come back, and never as somebody else's", () => {
  const ids = ["plain-id/1", "with spaces", " leading", "ünï-☃", "a%20b", "a b", "x:y", "~"];
  const written = ids.map((id) => messageHeaders({ id, body: new Uint8Array(), priority: 0 }, "c", "p"));
  expect(written.map((made) => readHeaders(made).id)).toEqual(ids);
  expect(new Set(written.map((made) => made.get("msg-id"))).size).toBe(ids.length);
  // 0.1 wrote them as they are, so those that can stay so.
  expect(written[0]?.get("msg-id")).toBe("plain-id/1");
  const foreign = headers();
  foreign.set("msg-id", "a%20b");
  expect(readHeaders(foreign)).toEqual({ id: "a%20b", traceparent: undefined, producer: undefined });
  expect(readHeaders(undefined)).toEqual({ id: undefined, traceparent: undefined, producer: undefined });
});

test("the bytes of a message are counted as they go over the wire", () => {
  const made = messageHeaders({ id: "id-☃", body: new Uint8Array(), priority: 0, traceparent: "00-a-b-01" }, "connection", "producer");
  const lines = [...made].map(([name, values]) => `${name}: ${values.join("")}\r\n`).join("");
  expect(messageBytes(made, new Uint8Array(10))).toBe(`NATS/1.0\r\n${lines}\r\n`.length + 10);
});
