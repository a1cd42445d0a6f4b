import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { type Band, type Consumption, openQueue, type Queue, type QueueMessage, type Settlement } from "../../src/queues/mod.ts";
import { eventually } from "../support/eventually.ts";
import { flakyProxy, type FlakyProxy } from "../support/flaky-proxy.ts";
import { uniqueName } from "../support/kube.ts";
import { codeOf } from "../support/store-inputs.ts";

/** A real broker, and how to reach a queue on it. One serves all tests of a suite; each test has a queue name of its own. */
export interface QueueBroker extends AsyncDisposable {
  readonly port: number;
  /** Of the queue of this name, by this port (a relay's, mostly) of 127.0.0.1; made when it does not exist. */
  url(port: number, name: string, options: { readonly ackWaitMs: number; readonly maxDeliveries?: number }): string;
  /** What lies in the dead letters of the queue, read by a plain client. */
  deadLetters(name: string): Promise<readonly DeadLetter[]>;
  /** Ends it at once (SIGKILL). */
  stop(): Promise<void>;
  /** On the same port, with what it had written. */
  start(): Promise<void>;
}

export interface DeadLetter {
  readonly code: string;
  readonly reason: string;
  readonly eventId: string | undefined;
  readonly body: Uint8Array;
}

export interface QueueTraits {
  readonly skip: boolean;
  readonly start: () => Promise<QueueBroker>;
  /** How long a message may be in hand without a sign of life; the shortest that the engine allows, at least a second. */
  readonly ackWaitMs: number;
  /** A message that is too large even for the engine itself. */
  readonly tooLargeBytes: number;
}

const DONE: Settlement = { kind: "done" };
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const textOf = (message: { readonly body: Uint8Array }): string => decoder.decode(message.body);

function publishing(
  queue: Queue,
  id: string,
  parts: { readonly priority?: number; readonly body?: string } = {},
): Promise<{ duplicate: boolean }> {
  return queue.publish({ id, body: encoder.encode(parts.body ?? `body of ${id}`), priority: parts.priority ?? 0 });
}

interface Taken {
  readonly message: QueueMessage;
  settle(settlement?: Settlement): void;
}

/** A consumer that notes what it gets. `hold` decides which messages wait until the test settles them. */
async function consuming(
  queue: Queue,
  options: {
    readonly window?: number;
    readonly hold?: (message: QueueMessage) => boolean;
    readonly settle?: (message: QueueMessage) => Settlement;
  } = {},
) {
  const taken: Taken[] = [];
  const states: string[] = [];
  let atOnce = 0;
  let mostAtOnce = 0;
  const consumption = await queue.consume({
    window: options.window ?? 16,
    onState: (state) => states.push(state),
    async take(message) {
      atOnce += 1;
      mostAtOnce = Math.max(mostAtOnce, atOnce);
      const settled = Promise.withResolvers<Settlement>();
      taken.push({ message, settle: (settlement = DONE) => settled.resolve(settlement) });
      if (options.hold?.(message) !== true) settled.resolve(options.settle?.(message) ?? DONE);
      const settlement = await settled.promise;
      atOnce -= 1;
      return settlement;
    },
  });
  return {
    consumption,
    taken,
    states,
    ids: () => taken.map(({ message }) => message.id ?? ""),
    get mostAtOnce() {
      return mostAtOnce;
    },
    stop: () => consumption.stop(2_000),
  };
}

const always = (): boolean => true;

/** What every queue has to do, against a real server. */
export function queueConformance(engine: string, traits: QueueTraits): void {
  describe.skipIf(traits.skip)(`queue on ${engine}`, () => {
    let broker: QueueBroker;
    beforeAll(async () => {
      broker = await traits.start();
    }, 60_000);
    afterAll(async () => broker[Symbol.asyncDispose]());

    /** A queue of the test's own. Each `open` has a way of its own to the broker, which can be cut as when its process dies. */
    async function site(limits: { readonly maxDeliveries?: number } = {}) {
      const name = uniqueName("queue");
      const opened: { readonly queue: Queue; readonly proxy: FlakyProxy }[] = [];
      return {
        name,
        async open(): Promise<Queue> {
          const proxy = await flakyProxy({ targetPort: broker.port });
          const url = broker.url(proxy.port, name, { ackWaitMs: traits.ackWaitMs, ...limits });
          const queue = await openQueue(url, { log: silentLogger, ports: systemPorts });
          opened.push({ queue, proxy });
          return queue;
        },
        /** It can say nothing more to the broker, which learns of it as of a killed process: its connection is reset. */
        kill(queue: Queue): void {
          const proxy = opened.find((one) => one.queue === queue)?.proxy;
          if (proxy === undefined) throw new Error("not opened here");
          proxy.accepting = false;
          proxy.cut();
        },
        deadLetters: () => broker.deadLetters(name),
        async [Symbol.asyncDispose]() {
          for (const { queue, proxy } of opened) {
            await queue.close();
            await proxy[Symbol.asyncDispose]();
          }
        },
      };
    }
    type Site = Awaited<ReturnType<typeof site>>;

    /** Waits until nothing waits, nothing is in hand; answers how many are dead. */
    async function drained(queue: Queue): Promise<number | undefined> {
      return (
        await eventually(
          async () => {
            const status = await queue.status();
            const waiting = status.waiting.urgent + status.waiting.normal + status.waiting.low;
            return waiting === 0 && status.inHand === 0 && { dead: status.dead };
          },
          { timeoutMs: 15_000, what: "the queue to be empty" },
        )
      ).dead;
    }

    async function publishAll(queue: Queue, ids: readonly string[], priority = 0): Promise<void> {
      await Promise.all(ids.map((id) => publishing(queue, id, { priority })));
    }
    const numbered = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}-${index}`);

    test("hands out all that is published, once, with id, band, body, trace context and count", async () => {
      await using place: Site = await site();
      const queue = await place.open();
      const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
      await queue.publish({ id: "traced", body: encoder.encode("{}"), priority: 3, traceparent });
      await publishAll(queue, numbered("event", 50));
      await publishAll(queue, ["calm"], -2);
      const consumer = await consuming(queue);
      await eventually(() => consumer.taken.length === 52, { what: "52 messages" });
      await drained(queue);
      await consumer.stop();
      expect(consumer.ids().toSorted()).toEqual(["calm", "traced", ...numbered("event", 50)].toSorted());
      expect(consumer.states.at(0)).toBe("connected");
      for (const { message } of consumer.taken) {
        const band: Band = message.id === "traced" ? "urgent" : message.id === "calm" ? "low" : "normal";
        expect(message).toMatchObject({ band, deliveries: 1 });
        expect(message.traceparent).toBe(message.id === "traced" ? traceparent : undefined);
        expect(textOf(message)).toBe(message.id === "traced" ? "{}" : `body of ${message.id}`);
      }
    });

    test("keeps bytes and ids as they are", async () => {
      await using place = await site();
      const queue = await place.open();
      const bytes = Uint8Array.from({ length: 1_024 }, (_, index) => index % 256);
      const ids = ["ünïcode-☃", "with spaces", "a.b*c>d", " leading", "leading", "x".repeat(253), "~tilde"];
      for (const id of ids) expect(await queue.publish({ id, body: bytes, priority: 0 })).toEqual({ duplicate: false });
      await publishing(queue, "text", { body: '{"grüße":"☃\u2028\\n"}' });
      const consumer = await consuming(queue);
      await eventually(() => consumer.taken.length === ids.length + 1);
      await consumer.stop();
      expect(consumer.ids().toSorted()).toEqual([...ids, "text"].toSorted());
      for (const { message } of consumer.taken)
        if (message.id === "text") expect(textOf(message)).toBe('{"grüße":"☃\u2028\\n"}');
        else expect(Buffer.from(message.body).equals(Buffer.from(bytes))).toBe(true);
    });

    test("keeps the same id once", async () => {
      await using place = await site();
      const queue = await place.open();
      expect(await publishing(queue, "same")).toEqual({ duplicate: false });
      expect(await publishing(queue, "same")).toEqual({ duplicate: true });
      await publishing(queue, "other");
      const consumer = await consuming(queue);
      await eventually(() => consumer.taken.length === 2);
      await drained(queue);
      await consumer.stop();
      expect(consumer.ids().toSorted()).toEqual(["other", "same"]);
    });

    test("hands to another what a consumer had in hand when it died, counted", async () => {
      await using place = await site();
      const [first, second] = [await place.open(), await place.open()];
      await publishAll(second, numbered("event", 5));
      const dying = await consuming(first, { hold: always });
      await eventually(() => dying.taken.length === 5);
      place.kill(first);
      const heir = await consuming(second);
      await eventually(() => heir.taken.length === 5, { timeoutMs: 5 * traits.ackWaitMs + 5_000, what: "what the dead one held" });
      await drained(second);
      expect(heir.ids().toSorted()).toEqual(numbered("event", 5));
      for (const { message } of heir.taken) expect(message.deliveries).toBeGreaterThan(1);
      expect(dying.states.at(-1)).toBe("away");
      await heir.stop();
    });

    test("keeps alive what is in hand for long, and hands it out once", async () => {
      await using place = await site();
      const [first, second] = [await place.open(), await place.open()];
      await publishAll(first, ["slow"]);
      const holder = await consuming(first, { hold: always });
      await eventually(() => holder.taken.length === 1);
      const other = await consuming(second);
      await Bun.sleep(2.5 * traits.ackWaitMs);
      expect(await second.status()).toMatchObject({ waiting: { urgent: 0, normal: 0, low: 0 }, inHand: 1 });
      holder.taken[0]?.settle();
      await drained(second);
      expect(other.taken).toHaveLength(0);
      expect(holder.taken).toHaveLength(1);
      await holder.stop();
      await other.stop();
    });

    test("puts what is dead apart, with code, reason, id and body, and goes on with the rest", async () => {
      await using place = await site();
      const queue = await place.open();
      const body = '{"poison":"☠"}';
      for (const id of numbered("good", 5)) await publishing(queue, id);
      await publishing(queue, "poison", { body });
      for (const id of numbered("late", 5)) await publishing(queue, id);
      const reason = "a reason — with ünïcode,\r\nand two lines";
      const consumer = await consuming(queue, {
        window: 1,
        settle: (message) => (textOf(message) === body ? { kind: "dead", code: "INVALID_EVENT", reason, eventId: "from-body" } : DONE),
      });
      await eventually(() => consumer.taken.length === 11);
      expect(await drained(queue)).toBeOneOf([1, undefined]);
      const letters = await eventually(async () => {
        const all = await place.deadLetters();
        return all.length > 0 && all;
      });
      expect(letters).toHaveLength(1);
      expect(letters[0]).toMatchObject({ code: "INVALID_EVENT", eventId: "from-body" });
      expect(letters[0]?.reason).toContain("a reason — with ünïcode,");
      expect(letters[0]?.reason).toContain("and two lines");
      expect(decoder.decode(letters[0]?.body)).toBe(body);
      expect(consumer.taken).toHaveLength(11);
      await consumer.stop();
    });

    test("a message that is never settled blocks nobody and ends in the dead letters", async () => {
      await using place = await site({ maxDeliveries: 5 });
      const queue = await place.open();
      await publishing(queue, "murderer");
      let handedOut = 0;
      // Each consumer dies of it, with a connection of its own.
      for (let deaths = 0; deaths < 12; deaths += 1) {
        const victim = await place.open();
        const dying = await consuming(victim, { hold: (message) => message.id === "murderer" });
        const outcome = await eventually(
          async () => {
            if (dying.taken.some(({ message }) => message.id === "murderer")) return "taken";
            return (await place.deadLetters()).length > 0 && "dead";
          },
          { timeoutMs: 5 * traits.ackWaitMs + 5_000, everyMs: 25, what: "the message to be handed out again, or to be dead" },
        );
        if (outcome === "dead") {
          await dying.stop();
          break;
        }
        handedOut += 1;
        // What is given back at an orderly end counts as handed out as well, or not: either way it ends.
        place.kill(victim);
      }
      expect(handedOut).toBeGreaterThanOrEqual(2);
      expect(handedOut).toBeLessThanOrEqual(6);
      const [letter, ...more] = await place.deadLetters();
      expect(more).toEqual([]);
      expect(letter).toMatchObject({ code: "QUEUE_DELIVERIES_EXHAUSTED", eventId: "murderer" });
      expect(decoder.decode(letter?.body)).toBe("body of murderer");
      await publishing(queue, "next");
      const consumer = await consuming(queue);
      await eventually(() => consumer.ids().includes("next"));
      await drained(queue);
      expect(consumer.ids()).toEqual(["next"]);
      await consumer.stop();
    });

    test("hands out urgent ones first, though published last behind a full queue", async () => {
      await using place = await site();
      const queue = await place.open();
      const [normal, low, urgent] = [numbered("normal", 200), numbered("low", 20), numbered("urgent", 20)];
      await publishAll(queue, low, -1);
      await publishAll(queue, normal);
      const consumer = await consuming(queue, { window: 8, hold: always });
      await eventually(() => consumer.taken.length === 8);
      await publishAll(queue, urgent, 1);
      await eventually(async () => (await queue.status()).waiting.urgent >= 12);
      let settled = 0;
      await eventually(
        () => {
          for (; settled < consumer.taken.length; settled += 1) consumer.taken[settled]?.settle();
          return consumer.taken.length === 240;
        },
        { everyMs: 1, timeoutMs: 20_000 },
      );
      await consumer.stop();
      const positions = (band: Band): number[] =>
        consumer.taken.flatMap(({ message }, index) => (message.band === band ? [index] : [])).toSorted((a, b) => a - b);
      expect(positions("urgent")).toHaveLength(20);
      // What was in hand or on its way when they came, a window or two, may stay before them; all else comes after.
      expect(positions("urgent").at(-1)).toBeLessThan(20 + 3 * 8);
      // The same holds between the others, but for what was handed out before the broker had counted the rest.
      expect(positions("low").filter((position) => position <= 200).length).toBeLessThanOrEqual(2 * 8);
      expect(consumer.mostAtOnce).toBe(8);
    });

    test("several consumers share the work without doubling it", async () => {
      await using place = await site();
      const queues = [await place.open(), await place.open(), await place.open()];
      const consumers = await Promise.all(queues.map((queue) => consuming(queue, { window: 4 })));
      const ids = numbered("event", 300);
      await publishAll(queues[0] as Queue, ids);
      await eventually(() => consumers.reduce((sum, { taken }) => sum + taken.length, 0) >= 300, { timeoutMs: 15_000 });
      await drained(queues[1] as Queue);
      expect(consumers.flatMap((consumer) => consumer.ids()).toSorted()).toEqual(ids.toSorted());
      await Promise.all(consumers.map((consumer) => consumer.stop()));
    });

    test("hands out nothing while paused, keeps what is in hand, and goes on", async () => {
      await using place = await site();
      const queue = await place.open();
      await publishAll(queue, ["first"]);
      const consumer = await consuming(queue, { hold: ({ id }) => id === "first" });
      await eventually(() => consumer.taken.length === 1);
      consumer.consumption.pause();
      await publishAll(queue, numbered("later", 5));
      await Bun.sleep(1.5 * traits.ackWaitMs);
      expect(consumer.ids()).toEqual(["first"]);
      consumer.taken[0]?.settle();
      consumer.consumption.resume();
      await eventually(() => consumer.taken.length === 6);
      await drained(queue);
      expect(consumer.ids().toSorted()).toEqual(["first", ...numbered("later", 5)]);
      await consumer.stop();
    });

    test("stop waits for what is in hand, and leaves the rest to others", async () => {
      await using place = await site();
      const [first, second] = [await place.open(), await place.open()];
      await publishAll(first, ["quick", "stuck"]);
      const leaving = await consuming(first, { hold: always });
      await eventually(() => leaving.taken.length === 2);
      const stopped = leaving.consumption.stop(300);
      await publishAll(second, ["afterwards"]);
      leaving.taken.find(({ message }) => message.id === "quick")?.settle();
      await stopped;
      const heir = await consuming(second);
      await eventually(() => heir.taken.length === 2, { timeoutMs: 3 * traits.ackWaitMs + 5_000 });
      await drained(second);
      expect(heir.ids().toSorted()).toEqual(["afterwards", "stuck"]);
      expect(leaving.taken).toHaveLength(2);
      await heir.stop();
    });

    test("tells how much waits, by band, what is in hand and what is dead", async () => {
      await using place = await site();
      const queue = await place.open();
      await publishAll(queue, ["a"], 5);
      await publishAll(queue, ["b", "c"]);
      await publishAll(queue, ["d", "e", "f"], -5);
      // A broker may count a moment later than it stores.
      await eventually(async () => {
        expect(await queue.status()).toMatchObject({ waiting: { urgent: 1, normal: 2, low: 3 }, inHand: 0 });
        return true;
      });
      const { oldestMs, dead } = await queue.status();
      if (oldestMs !== undefined) expect(oldestMs).toBeWithin(0, 60_000);
      expect(dead).toBeOneOf([0, undefined]);
      const consumer = await consuming(queue, { window: 2, hold: always });
      await eventually(async () => (await queue.status()).inHand >= 2 && consumer.taken.length === 2);
      expect(consumer.taken.map(({ message }) => message.id)[0]).toBe("a");
      let settled = 0;
      await eventually(() => {
        for (; settled < consumer.taken.length; settled += 1) consumer.taken[settled]?.settle();
        return settled === 6;
      });
      await drained(queue);
      await consumer.stop();
    });

    test("refuses by name what is too large, and keeps nothing of it", async () => {
      await using place = await site();
      const queue = await place.open();
      await publishing(queue, "small");
      expect(queue.info.maxMessageBytes).toBeLessThan(traits.tooLargeBytes);
      const body = new Uint8Array(traits.tooLargeBytes).fill(97);
      expect(await codeOf(queue.publish({ id: "large", body, priority: 0 }))).toBe("QUEUE_MESSAGE_TOO_LARGE");
      const largest = new Uint8Array(queue.info.maxMessageBytes).fill(97);
      await queue.publish({ id: "largest", body: largest, priority: 0 });
      await eventually(async () => (await queue.status()).waiting.normal === 2);
      const consumer = await consuming(queue);
      await eventually(() => consumer.taken.length === 2);
      expect(consumer.taken.find(({ message }) => message.id === "largest")?.message.body.byteLength).toBe(largest.byteLength);
      await drained(queue);
      await consumer.stop();
    });

    test("goes on by itself after the broker was killed, and loses nothing that it had taken", async () => {
      await using place = await site();
      const queue = await place.open();
      const consumer = await consuming(queue, { window: 4, hold: ({ id }) => id?.startsWith("held") === true });
      await publishAll(queue, ["held-1", "held-2"]);
      await eventually(() => consumer.taken.length === 2);
      await broker.stop();
      await eventually(() => consumer.states.at(-1) === "away", { timeoutMs: 15_000, what: "away" });
      expect(await codeOf(queue.status())).toBe("QUEUE_UNAVAILABLE");
      // Settled while there is nobody to tell: it comes again, and is settled then.
      consumer.taken[0]?.settle();
      await broker.start();
      await eventually(() => consumer.states.at(-1) === "connected", { timeoutMs: 15_000, what: "connected again" });
      const ids = numbered("event", 20);
      await publishAll(queue, ids);
      await eventually(
        () => {
          for (const one of consumer.taken) one.settle();
          return ids.every((id) => consumer.ids().includes(id));
        },
        { timeoutMs: 15_000, what: "all that was published after" },
      );
      await eventually(
        async () => {
          for (const one of consumer.taken) one.settle();
          return (await queue.status()).inHand === 0;
        },
        { timeoutMs: 5 * traits.ackWaitMs + 10_000, what: "nothing in hand" },
      );
      expect(new Set(consumer.ids())).toEqual(new Set(["held-1", "held-2", ...ids]));
      await consumer.stop();
    }, 60_000);

    test("can be opened and consumed from before the broker is there", async () => {
      await using place = await site();
      await broker.stop();
      const queue = await place.open();
      expect(await codeOf(queue.status())).toBe("QUEUE_UNAVAILABLE");
      const starting = consuming(queue);
      await broker.start();
      const consumer = await starting;
      await eventually(async () => {
        await publishing(queue, "early");
        return true;
      });
      await eventually(() => consumer.ids().includes("early"), { timeoutMs: 15_000 });
      await drained(queue);
      await consumer.stop();
    }, 60_000);

    test("an end while something is on its way leaves nothing behind", async () => {
      await using place = await site();
      const queue = await place.open();
      const consumer = await consuming(queue);
      const publishes = numbered("event", 100).map((id) => publishing(queue, id));
      await Promise.all(publishes);
      const stopped: Promise<void> = (consumer.consumption satisfies Consumption).stop(2_000);
      await stopped;
      const heir = await consuming(await place.open());
      await eventually(() => new Set([...consumer.ids(), ...heir.ids()]).size === 100, { timeoutMs: 3 * traits.ackWaitMs + 5_000 });
      await heir.stop();
    });
  });
}
