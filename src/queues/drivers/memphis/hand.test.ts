import { expect, test } from "bun:test";
import type { Msg } from "@nats-io/nats-core";
import type { Band } from "../../port.ts";
import { Hand, type Source } from "./hand.ts";

function sourceOf(band: Band): Source {
  const partition = { number: 1, stream: `s.${band}`, subject: `s.${band}.final` };
  return { band, station: "s", partition, stream: partition.stream, durable: "g" };
}

function messageOf(sequence: number, deliveries = 1): Msg {
  return { reply: `$JS.ACK.s.g.${deliveries}.${sequence}.${sequence}.1.0`, data: new Uint8Array() } as unknown as Msg;
}

test("the most urgent is taken first, whatever came first", () => {
  const hand = new Hand();
  for (const [band, sequence] of [
    ["low", 1],
    ["normal", 1],
    ["urgent", 1],
    ["normal", 2],
    ["urgent", 2],
  ] as const)
    hand.add(sourceOf(band), messageOf(sequence));
  const order = Array.from({ length: 6 }, () => hand.take()).map((held) =>
    held === undefined ? "none" : `${held.source.band} ${held.sequence}`,
  );
  expect(order).toEqual(["urgent 1", "urgent 2", "normal 1", "normal 2", "low 1", "none"]);
});

test("what is handed out again while it is in hand is the same message, told of where it was last handed out", () => {
  const hand = new Hand();
  const source = sourceOf("normal");
  const held = hand.add(source, messageOf(7));
  expect(held?.message.deliveries).toBe(1);
  expect(hand.add(source, messageOf(7, 2))).toBeUndefined();
  expect(held?.reply).toContain(".2.7.");
  expect(hand).toMatchObject({ open: 1, settling: 0, ready: 1 });
  if (hand.take() !== held || held === undefined) throw new Error("another was taken");
  hand.settle(held);
  expect(hand).toMatchObject({ open: 0, settling: 1, ready: 0 });
  // Still: the broker has not said that it knows.
  expect(hand.add(source, messageOf(7, 3))).toBeUndefined();
  hand.drop(held);
  expect(hand).toMatchObject({ open: 0, settling: 0, ready: 0 });
  expect(hand.add(source, messageOf(7, 4))?.message.deliveries).toBe(4);
});
