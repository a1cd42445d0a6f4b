import { describe, expect, test } from "bun:test";
import { type ManualPorts, manualPorts, silentLogger } from "../kit/mod.ts";
import type { SocketHandlers } from "../net/mod.ts";
import { CLOSE } from "../protocol/mod.ts";
import { Connection } from "./connection.ts";

interface Dialled {
  readonly url: string;
  readonly handlers: SocketHandlers;
  readonly atMs: number;
  closedWith: number | undefined;
}

interface Rig {
  readonly time: ManualPorts;
  readonly connection: Connection;
  readonly dialled: readonly Dialled[];
  readonly frames: readonly string[];
  readonly last: () => Dialled;
  readonly register: (epoch?: number) => Dialled;
  /** The names of what was dialled, in order. */
  readonly names: () => string;
  /** How long it waits before it dials again. */
  readonly wait: () => Promise<number>;
}

function rig(options: { urls?: readonly string[]; random?: number; admit?: (epoch: number) => Promise<boolean> } = {}): Rig {
  const time = manualPorts({ random: () => options.random ?? 0 });
  const dialled: Dialled[] = [];
  const frames: string[] = [];
  const connection = new Connection({
    urls: options.urls ?? ["a", "b", "c"],
    dialer: (url, { handlers }) => {
      const one: Dialled = { url, handlers, atMs: time.ports.clock.monotonic(), closedWith: undefined };
      dialled.push(one);
      return {
        send: () => true,
        ping: () => undefined,
        close: (code) => (one.closedWith = code),
        terminate: () => handlers.close(1006, "", "terminated"),
        bufferedBytes: 0,
      };
    },
    dialOptions: () => ({}),
    register: () => "REGISTRATION",
    admit: options.admit ?? (() => Promise.resolve(true)),
    heartbeatIntervalMs: 10_000,
    heartbeat: () => ({}),
    ports: time.ports,
    log: silentLogger,
    onRegistered: () => frames.push("registered"),
    onFrame: (text) => frames.push(text),
    onLost: () => frames.push("lost"),
  });
  const last = (): Dialled => dialled.at(-1) as Dialled;
  connection.start();
  return {
    time,
    connection,
    dialled,
    frames,
    last,
    register(epoch) {
      const one = last();
      one.handlers.open();
      const reply = { status: "registered", protocol: "2", features: "ack", ...(epoch === undefined ? {} : { epoch: String(epoch) }) };
      one.handlers.message(JSON.stringify(reply));
      return one;
    },
    names: () => dialled.map(({ url }) => url).join(""),
    async wait() {
      const { length } = dialled;
      const beganMs = time.ports.clock.monotonic();
      for (let at = 0; at < 70_000 && dialled.length === length; at += 1) await time.advance(10);
      return Math.round(last().atMs - beganMs);
    },
  };
}

describe("several addresses", () => {
  test("it begins with any of them", () => {
    expect([0, 0.34, 0.67, 0.999999].map((random) => rig({ random }).names())).toEqual(["a", "b", "c", "c"]);
  });

  test("when one does not answer the next is dialled at once, and longer waits come only after all of them", async () => {
    const { last, wait, names } = rig({ random: 0.999999, urls: ["a", "b"] });
    const waits: number[] = [];
    for (let at = 0; at < 6; at += 1) {
      last().handlers.close(1006, "", "refused");
      waits.push(await wait());
    }
    expect(names()).toBe("bababab");
    expect(waits).toEqual([200, 200, 200, 400, 200, 800]);
  });

  test("one that stands still is left soon, and waited for longer once all were tried", async () => {
    const { dialled, time } = rig({ random: 0.5 });
    await time.advance(60_000);
    const waits = dialled.slice(1).map(({ atMs }, at) => Math.round(atMs - (dialled[at]?.atMs ?? 0)));
    // What is waited between two attempts is not part of this.
    expect(waits.slice(0, 5).map((ms) => (ms < 5_500 ? "soon" : "late"))).toEqual(["soon", "soon", "soon", "late", "late"]);
    const alone = rig({ random: 0.5, urls: ["a"] });
    await alone.time.advance(9_900);
    expect(alone.names()).toBe("a");
  });

  test("turned away by one, it asks the next at once", async () => {
    const { last, wait, names } = rig({ random: 0.5 });
    last().handlers.close(1006, "", "Expected 101 status code: 503");
    expect(await wait()).toBeLessThanOrEqual(200);
    last().handlers.close(1013, "", undefined);
    expect(await wait()).toBeLessThanOrEqual(200);
    last().handlers.close(1006, "", "Expected 101 status code: 503");
    expect(await wait()).toBe(500);
    expect(names()).toBe("bcab");
  });

  test("sent on, it goes to the next at once; sent on by each of them in turn, it takes its time", async () => {
    const { register, time, wait, names } = rig({ random: 0.999999 });
    register();
    await time.advance(6_000);
    register().handlers.close(CLOSE.moveOn, "stopping", undefined);
    expect(await wait()).toBeLessThanOrEqual(200);
    const waits: number[] = [];
    for (let at = 0; at < 4; at += 1) {
      register().handlers.close(CLOSE.moveOn, "stopping", undefined);
      waits.push(await wait());
    }
    expect(waits).toEqual([200, 400, 800, 1600]);
    expect(names()).toBe("cbacba");
  });

  test("one that had stood and is lost is followed by the next, within two seconds", async () => {
    const { register, last, time, wait, names } = rig({ random: 0.5 });
    register();
    await time.advance(6_000);
    last().handlers.close(1006, "", undefined);
    expect(await wait()).toBe(1_000);
    expect(names()).toBe("ba");
  });

  test("those who lose one control plane spread over the others", async () => {
    const next: string[] = [];
    for (const random of [0, 0.25, 0.49]) {
      const { register, time, wait, names } = rig({ random, urls: ["a", "b", "c", "d", "e"] });
      register();
      await time.advance(6_000);
      register().handlers.close(CLOSE.moveOn, "stopping", undefined);
      await wait();
      next.push(names());
    }
    expect(next).toEqual(["ab", "bd", "ce"]);
  });

  test("with one address, being sent on leads back there at once", async () => {
    const { register, time, wait } = rig({ random: 0.5, urls: ["a"] });
    register();
    await time.advance(6_000);
    register().handlers.close(CLOSE.moveOn, "stopping", undefined);
    expect(await wait()).toBe(100);
  });
});

describe("epochs", () => {
  test("no frame is looked at before the epoch is kept, and then in order", async () => {
    const kept = Promise.withResolvers<boolean>();
    const { register, last, frames, time, connection } = rig({ admit: () => kept.promise });
    register(7);
    last().handlers.message("one");
    last().handlers.message("two");
    await time.settle();
    expect(frames).toEqual([]);
    expect(connection.send("x")).toBe(false);
    kept.resolve(true);
    await time.settle();
    last().handlers.message("three");
    expect(frames).toEqual(["registered", "one", "two", "three"]);
    expect(connection.agreement?.epoch).toBe(7);
  });

  test("one that is not above what was seen is left, and the next is asked", async () => {
    const { register, last, frames, time, wait, names } = rig({ random: 0.5, admit: (epoch) => Promise.resolve(epoch > 7) });
    const behind = register(7);
    await time.settle();
    expect(behind.closedWith).toBe(CLOSE.goingAway);
    behind.handlers.message("a command");
    behind.handlers.close(1001, "", undefined);
    await wait();
    register(8);
    await time.settle();
    last().handlers.message("another");
    expect(frames).toEqual(["registered", "another"]);
    expect(names()).toBe("bc");
  });

  test("one that answers no epoch is taken on at once, as before", () => {
    const { register, frames } = rig({ admit: () => Promise.reject(new Error("not asked")) });
    register();
    expect(frames).toEqual(["registered"]);
  });

  test("a connection that is gone while its epoch is being kept is not registered", async () => {
    const kept = Promise.withResolvers<boolean>();
    const { register, frames, time, connection } = rig({ admit: () => kept.promise });
    register(7).handlers.close(1006, "", undefined);
    kept.resolve(true);
    await time.settle();
    expect(frames).toEqual([]);
    expect(connection.state).toBe("waiting");
  });
});

describe("replaced by another connection", () => {
  test.each([
    [0, 1_000, 30_000],
    [0.999999, 3_000, 60_000],
  ])("it comes again soon; replaced again, it stays away for 30 to 60 s", async (random, first, then) => {
    const { register, wait } = rig({ random, urls: ["a"] });
    const replaced = (): Promise<number> => {
      register().handlers.close(CLOSE.replaced, "replaced", undefined);
      return wait();
    };
    expect(Math.abs((await replaced()) - first)).toBeLessThanOrEqual(10);
    expect(Math.abs((await replaced()) - then)).toBeLessThanOrEqual(10);
    expect(Math.abs((await replaced()) - then)).toBeLessThanOrEqual(10);
  });

  test("which may be one whose answer it did not wait for, it comes again soon each time", async () => {
    const { register, wait } = rig({ random: 0.5, urls: ["a"] });
    expect(await wait()).toBeGreaterThanOrEqual(10_000);
    for (let round = 0; round < 3; round += 1) {
      register().handlers.close(CLOSE.replaced, "replaced", undefined);
      expect(await wait()).toBeLessThanOrEqual(3_000);
    }
  });
});
