import { describe, expect, test } from "bun:test";
import { manualPorts, silentLogger, TransporterError } from "../kit/mod.ts";
import type { ErrorCode } from "../protocol/mod.ts";
import type { ConsumeOptions, Queue, QueueMessage, Settlement } from "../queues/mod.ts";
import { queuePrincipal } from "../security/mod.ts";
import type { IntakeResult, IntakeSource } from "./intake.ts";
import { QueueIntake } from "./queue-intake.ts";

const INFO = { driver: "nats", location: "nats://somewhere", name: "EVENTS", maxMessageBytes: 1_000 } as const;
const STORED: IntakeResult = { eventId: "e", duplicate: false, state: "queued" };

function message(body = '{"id":"e"}'): QueueMessage {
  return { id: "m", body: new TextEncoder().encode(body), band: "normal", deliveries: 1, traceparent: "t", producer: "ci" };
}

/** An intake between a queue and a door that do what the test says, in time that it lets pass. */
function scene(submit: (tries: number, source: IntakeSource) => Promise<IntakeResult>, refusals: readonly ErrorCode[] = []) {
  const manual = manualPorts();
  const state = { tries: 0, pauses: 0, resumes: 0, stops: [] as number[], closed: false, storeOn: true, consuming: 0, pings: 0 };
  const left = [...refusals];
  let options: ConsumeOptions | undefined;
  const queue: Queue = {
    info: INFO,
    consume(given) {
      state.consuming += 1;
      const code = left.shift();
      if (code !== undefined) return Promise.reject(new TransporterError(code, "as told"));
      options = given;
      given.onState("connected", undefined);
      return Promise.resolve({
        pause: () => (state.pauses += 1),
        resume: () => (state.resumes += 1),
        stop: (patienceMs) => {
          state.stops.push(patienceMs);
          return Promise.resolve();
        },
      });
    },
    publish: () => Promise.reject(new Error("not here")),
    status: () => Promise.resolve({ waiting: { urgent: 1, normal: 2, low: 3 }, inHand: 4, dead: 5, oldestMs: 6 }),
    close() {
      state.closed = true;
      return Promise.resolve();
    },
  };
  const intake = new QueueIntake({
    queue,
    intake: {
      submit: (_body, source) => {
        state.tries += 1;
        return submit(state.tries, source);
      },
    },
    store: {
      ping() {
        state.pings += 1;
        return state.storeOn ? Promise.resolve() : Promise.reject(new Error("off"));
      },
    },
    ports: manual.ports,
    log: silentLogger,
    maxEventBytes: 100,
  });
  intake.start();
  return {
    settle: () => manual.settle(),
    advance: (ms: number) => manual.advance(ms),
    intake,
    state,
    /** What becomes of a message; undefined as long as that is open. */
    take: (one = message()): { readonly settlement: () => Settlement | undefined } => {
      let settled: Settlement | undefined;
      void options?.take(one).then((settlement) => (settled = settlement));
      return { settlement: () => settled };
    },
    tell: (kind: "connected" | "away", why?: string) => options?.onState(kind, why),
  };
}
const failing = (code: ErrorCode): Promise<IntakeResult> => Promise.reject(new TransporterError(code, `${code} as told`));

describe("a message of the queue", () => {
  test("is done when its event is stored, and says where it came from", async () => {
    const sources: IntakeSource[] = [];
    const { take, settle, intake } = scene((_, source) => {
      sources.push(source);
      return Promise.resolve({ ...STORED, duplicate: sources.length === 2 });
    });
    await settle();
    const [first, second] = [take(), take()];
    await settle();
    expect([first.settlement(), second.settlement()]).toEqual([{ kind: "done" }, { kind: "done" }]);
    expect(sources[0]).toMatchObject({ via: "queue", remoteAddress: "nats://somewhere", traceparent: "t" });
    expect(sources[0]?.principal).toEqual(queuePrincipal("nats"));
    expect(intake.view.counts).toEqual({ taken: 2, done: 2, duplicates: 1, dead: 0, retries: 0 });
  });

  test.each(["INVALID_JSON", "EVENT_CONFLICT", "EVENT_EXPIRED", "FORBIDDEN"] as const)("is dead at once for %s", async (code) => {
    const { take, settle, state } = scene(() => failing(code));
    await settle();
    const taken = take();
    await settle();
    expect(taken.settlement()).toEqual({ kind: "dead", code, reason: `${code} as told`, eventId: "e" });
    expect(state.tries).toBe(1);
  });

  test("is dead when it is larger than HTTP would take, without being looked at", async () => {
    const { take, settle, state } = scene(() => Promise.resolve(STORED));
    await settle();
    const taken = take(message(`{"id":"large","x":"${"y".repeat(100)}"}`));
    await settle();
    expect(taken.settlement()).toMatchObject({ kind: "dead", code: "BODY_TOO_LARGE", eventId: "large" });
    expect(state.tries).toBe(0);
  });

  test("has the id of the message where its body has none", async () => {
    const { take, settle } = scene(() => failing("INVALID_JSON"));
    await settle();
    const [broken, empty] = [take(message("{")), take(message('{"id":""}'))];
    await settle();
    expect([broken.settlement(), empty.settlement()]).toMatchObject([{ eventId: "m" }, { eventId: "m" }]);
  });

  test("is tried again while an agent has too much, without a pause for the others", async () => {
    const { take, settle, advance, state } = scene((tries) => (tries < 20 ? failing("TOO_MANY_REQUESTS") : Promise.resolve(STORED)));
    await settle();
    const taken = take();
    await advance(10_000);
    expect(taken.settlement()).toBeUndefined();
    expect(state.pauses).toBe(0);
    await advance(120_000);
    expect(taken.settlement()).toEqual({ kind: "done" });
  });

  test("is dead after a few tries when it meets a fault of ours each time", async () => {
    const { take, settle, advance, state } = scene(() => Promise.reject(new Error("a bug")));
    await settle();
    const taken = take();
    await advance(60_000);
    expect(taken.settlement()).toMatchObject({ kind: "dead", code: "INTERNAL" });
    expect(state.tries).toBe(5);
  });
});

describe("while the store is away", () => {
  test.each(["STORE_UNAVAILABLE", "STORE_FULL", "STORE_CORRUPT"] as const)(
    "nothing is taken, one asks for all, and all goes on: %s",
    async (code) => {
      const { take, settle, advance, state, intake } = scene(() => (state.storeOn ? Promise.resolve(STORED) : failing(code)));
      await settle();
      state.storeOn = false;
      const all = Array.from({ length: 10 }, () => take());
      await advance(60_000);
      expect(state).toMatchObject({ pauses: 1, resumes: 0 });
      expect(state.pings).toBeLessThan(120);
      expect(state.tries).toBe(10);
      expect(intake.view.paused).toBe(true);
      state.storeOn = true;
      await advance(10_000);
      expect(all.map(({ settlement }) => settlement())).toEqual(all.map(() => ({ kind: "done" })));
      expect(state).toMatchObject({ pauses: 1, resumes: 1 });
      expect(intake.view.paused).toBe(false);
    },
  );

  test("a stop settles nothing that is not stored, and closes the queue", async () => {
    const { take, settle, advance, state, intake } = scene(() => failing("STORE_UNAVAILABLE"));
    await settle();
    state.storeOn = false;
    const taken = take();
    await advance(5_000);
    await intake.stop();
    await advance(60_000);
    expect(taken.settlement()).toBeUndefined();
    expect(state.stops).toHaveLength(1);
    expect(state.closed).toBe(true);
  });
});

describe("the queue", () => {
  test("that does not let us in is asked again, and the reason is there to be seen", async () => {
    const { settle, advance, state, intake } = scene(() => Promise.resolve(STORED), ["QUEUE_DENIED", "QUEUE_INVALID"]);
    await settle();
    expect(intake.view).toMatchObject({ state: "away", why: "QUEUE_DENIED: as told" });
    await advance(120_000);
    expect(state.consuming).toBe(3);
    expect(intake.view).toMatchObject({ state: "connected", why: undefined });
  });

  test("that goes away and comes back says so", async () => {
    const { settle, tell, intake } = scene(() => Promise.resolve(STORED));
    await settle();
    tell("away", "the connection was lost");
    expect(intake.view).toMatchObject({ state: "away", why: "the connection was lost" });
    tell("connected");
    expect(intake.view).toMatchObject({ state: "connected", why: undefined });
  });

  test("is asked how it is at most every two seconds", async () => {
    const { settle, advance, intake } = scene(() => Promise.resolve(STORED));
    await settle();
    const first = intake.status();
    expect(intake.status()).toBe(first);
    await advance(2_100);
    expect(intake.status()).not.toBe(first);
    expect(await first).toMatchObject({ inHand: 4 });
  });
});
