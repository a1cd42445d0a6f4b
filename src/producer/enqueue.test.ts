import { describe, expect, test } from "bun:test";
import type { Client } from "../client/mod.ts";
import { TransporterError, manualPorts } from "../kit/mod.ts";
import type { EventDetail } from "../protocol/mod.ts";
import type { OutgoingEvent, QueueWriter } from "../queues/mod.ts";
import { enqueueEvent } from "./enqueue.ts";
import { waitForEvent } from "./wait.ts";

const away = new TransporterError("QUEUE_UNAVAILABLE", "away");
const event = { json: '{"id":"e"}', wire: { id: "e", type: "k8s_resource", target_agent: "a", payload: {}, priority: 7 } } as const;

function writer(publish: (event: OutgoingEvent) => Promise<{ duplicate: boolean }>, maxMessageBytes = 1000): QueueWriter {
  return { info: { driver: "nats", location: "nats://n", name: "S", maxMessageBytes }, publish, close: () => Promise.resolve() };
}

describe("putting an event into a queue", () => {
  test("says the very same again while the queue is away, for some seconds", async () => {
    const manual = manualPorts();
    const said: OutgoingEvent[] = [];
    const told: string[] = [];
    const flaky = writer(async (one) => {
      said.push(one);
      if (said.length < 3) throw away;
      return { duplicate: true };
    });
    const options = { signal: new AbortController().signal, onRetry: (why: Error) => told.push(why.message) };
    const result = enqueueEvent(flaky, event, manual.ports, options);
    await manual.advance(5_000);
    expect(await result).toEqual({ duplicate: true });
    expect(told).toEqual(["away", "away"]);
    for (const one of said) expect(one).toEqual({ id: "e", body: new TextEncoder().encode(event.json), priority: 7 });

    const gone = enqueueEvent(
      writer(async () => {
        throw away;
      }),
      event,
      manual.ports,
      options,
    ).catch((error: unknown) => error);
    await manual.advance(10_000);
    expect(await gone).toBe(away);
    expect(manual.pending).toBe(0);
  });

  test("does not ask again where that is of no use, and asks nothing for what is too large", async () => {
    const { ports } = manualPorts();
    const options = { signal: new AbortController().signal };
    const denied = new TransporterError("QUEUE_DENIED", "no");
    const refusing = writer(async () => {
      throw denied;
    });
    expect(await enqueueEvent(refusing, event, ports, options).catch((error: unknown) => error)).toBe(denied);
    await expect(
      enqueueEvent(
        writer(() => Promise.reject(new Error("asked")), 5),
        event,
        ports,
        options,
      ),
    ).rejects.toThrow("event e has 10 bytes, and a message in S at nats://n may have 5");
  });
});

test("an event that comes through a queue is waited for until the control plane knows it", async () => {
  const manual = manualPorts();
  const answers = [
    new TransporterError("CP_UNREACHABLE", "down"),
    ...Array.from({ length: 9 }, () => new TransporterError("EVENT_NOT_FOUND", "no")),
  ];
  const detail = { state: "completed", message: "", result: undefined } as unknown as EventDetail;
  const client = {
    getEvent: async () => {
      const error = answers.shift();
      if (error !== undefined) throw error;
      return detail;
    },
    async *followEvent() {
      // Finished before anybody looked.
    },
  } as unknown as Client;
  const interruptions: (string | undefined)[] = [];
  const unknown: number[] = [];
  const waiting = waitForEvent(client, "e", {
    timers: manual.ports.timers,
    signal: new AbortController().signal,
    patient: true,
    onUnknown: (waitedMs) => void unknown.push(waitedMs),
    onInterruption: (why) => interruptions.push(why?.message),
  });
  await manual.advance(10_000);
  expect((await waiting).state).toBe("completed");
  expect(interruptions).toEqual(["down", undefined]);
  expect(unknown).toEqual([1000, 2000]);
});
