import { afterEach, describe, expect, test } from "bun:test";
import { Bell } from "../../src/cp/bell.ts";
import { Publisher } from "../../src/cp/outlet.ts";
import { manualPorts, silentLogger, TransporterError } from "../../src/kit/mod.ts";
import type { OutletEvent } from "../../src/queues/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { anAudit, newEvent, TENANT } from "../support/store-inputs.ts";

const stores: Store[] = [];
const manual = manualPorts();
const { ports } = manual;

/** What is asked of the store takes no time, and its answers come when time passes all the same. */
async function during<T>(promise: Promise<T>): Promise<T> {
  const state = { settled: false };
  const mark = (): void => {
    state.settled = true;
  };
  promise.then(mark, mark);
  for (let turn = 0; turn < 5_000 && !state.settled; turn += 1) await manual.advance(1);
  return promise;
}
afterEach(async () => {
  for (const store of stores.splice(0)) await during(store.close());
});

async function scene() {
  const store = await openStore("memory:", { ports, log: silentLogger });
  stores.push(store);
  const bell = new Bell();
  const emitted: OutletEvent[] = [];
  const state = { due: true, outletOn: true, lookups: 0 };
  const publishers: Publisher[] = [];
  const open = (): Publisher => {
    const publisher = new Publisher({
      outlet: {
        info: { driver: "nats", location: "nats://somewhere", name: "OUT", maxMessageBytes: 100_000 },
        emit(events) {
          if (!state.outletOn) return Promise.reject(new TransporterError("QUEUE_UNAVAILABLE", "off"));
          emitted.push(...events);
          return Promise.resolve();
        },
        close: () => Promise.resolve(),
      },
      kinds: ["status", "audit"],
      store: new Proxy(store, {
        get(target, key) {
          if (key === "getEvent") state.lookups += 1;
          const value: unknown = Reflect.get(target, key);
          return typeof value === "function" ? (value as (...args: readonly unknown[]) => unknown).bind(target) : value;
        },
      }),
      bell,
      ports,
      log: silentLogger,
      tenant: TENANT,
      isDue: () => state.due,
    });
    publishers.push(publisher);
    return publisher;
  };
  return {
    store,
    state,
    emitted,
    open,
    /** Ids of the CloudEvents, in the order in which they went out. */
    ids: (kind: "status" | "audit") =>
      emitted.filter((one) => one.kind === kind).map(({ body }) => (JSON.parse(body) as { id: string }).id),
    happens: async (count: number): Promise<void> => {
      for (let at = 0; at < count; at += 1) {
        const outcome = await during(store.createEvent(newEvent()));
        if (outcome.kind === "created") for (const entry of outcome.entries) bell.ring(entry);
      }
    },
    end: async (): Promise<void> => {
      for (const publisher of publishers) await during(publisher.stop());
    },
  };
}
const numbered = (kind: string, from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => `${kind}-${from + index}`);

describe("publishing", () => {
  test("begins with what happens after it was switched on, and follows soon", async () => {
    const { happens, open, ids, emitted, state, end } = await scene();
    await happens(3);
    const publisher = open();
    await during(publisher.begin());
    publisher.start();
    await happens(4);
    await manual.advance(200);
    expect(ids("status")).toEqual(numbered("status", 4, 7));
    await manual.advance(2_000);
    expect(ids("audit")).toEqual(numbered("audit", 4, 7));
    expect(new Set(emitted.map(({ id }) => id)).size).toBe(8);
    expect(state.lookups).toBe(4);
    expect(publisher.figures).toMatchObject([
      { kind: "status", published: 4, lag: 0 },
      { kind: "audit", published: 4, lag: 0 },
    ]);
    await end();
  });

  test("goes on where it was when its outlet comes back, and says how far it is behind", async () => {
    const { happens, open, ids, state, end } = await scene();
    const publisher = open();
    await during(publisher.begin());
    publisher.start();
    state.outletOn = false;
    await happens(30);
    await manual.advance(60_000);
    expect(ids("status")).toEqual([]);
    expect(publisher.figures).toMatchObject([{ lag: 30 }, { lag: 30 }]);
    state.outletOn = true;
    await manual.advance(30_000);
    expect(ids("status")).toEqual(numbered("status", 1, 30));
    expect(publisher.figures).toMatchObject([{ lag: 0 }, { lag: 0 }]);
    await end();
  });

  test("is done by whoever has the duty: the next one goes on from the mark", async () => {
    const { happens, open, ids, state, store, end } = await scene();
    const first = open();
    await during(first.begin());
    first.start();
    await happens(5);
    await manual.advance(2_000);
    state.due = false;
    await manual.advance(2_000);
    await happens(5);
    await manual.advance(2_000);
    expect(ids("status")).toEqual(numbered("status", 1, 5));
    expect(first.figures).toEqual([]);
    state.due = true;
    const second = open();
    second.start();
    await manual.advance(2_000);
    expect(ids("status")).toEqual(numbered("status", 1, 10));
    expect(await during(store.mark("outlet-status"))).toBe("10");
    await end();
  });

  test("of a store that lost its last second says what it has rather than wait for numbers that are given again", async () => {
    const { happens, open, ids, store, end } = await scene();
    const publisher = open();
    await during(publisher.begin());
    await happens(3);
    // As if a hundred more had been published before the store forgot them.
    await during(store.saveMark("outlet-status", "103"));
    publisher.start();
    await manual.advance(2_000);
    await happens(2);
    await manual.advance(2_000);
    expect(ids("status")).toEqual(numbered("status", 1, 5));
    await end();
  });

  test("takes many entries in several goes, none left out", async () => {
    const { open, ids, store, end } = await scene();
    const publisher = open();
    await during(publisher.begin());
    await during(Promise.all(Array.from({ length: 1_203 }, () => store.appendAudit(anAudit()))));
    publisher.start();
    await manual.advance(5_000);
    expect(ids("audit")).toEqual(numbered("audit", 1, 1_203));
    await end();
  });
});
