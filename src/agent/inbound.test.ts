import { describe, expect, test } from "bun:test";
import { manualPorts, type ManualPorts, silentLogger, TransporterError } from "../kit/mod.ts";
import { decodeFrame, type Decoded } from "./delivery.ts";
import { Inbound, INBOUND_LIMITS } from "./inbound.ts";
import { type Ledger, MemoryLedger } from "./ledger.ts";

function frame(id: string, priority = 0): string {
  return JSON.stringify({
    type: "event",
    event: { id, type: "k8s_resource", target_agent: "a", payload: { manifests: ["x"] }, priority },
    revision: 1,
  });
}

class FailingLedger extends MemoryLedger {
  failures = 0;
  /** Ids of what was written, in order. */
  readonly written: string[] = [];
  /** Behind which key each was to be written. */
  readonly after: (string | undefined)[] = [];
  override record(...args: Parameters<Ledger["record"]>): Promise<void> {
    if (this.failures === 0) {
      this.written.push(args[0].delivery.work.eventId);
      this.after.push(args[1]);
      return super.record(args[0]);
    }
    this.failures -= 1;
    return Promise.reject(new TransporterError("STORE_FULL", "the disk of the ledger is full"));
  }
}

/** An event whose payload lies apart. */
function apart(id: string): string {
  return JSON.stringify({
    type: "event",
    event: { id, type: "k8s_resource", target_agent: "a", payload: {} },
    revision: 1,
    payload: { digest: "d".repeat(64), bytes: 10, encoding: "zstd", encoded_bytes: 5 },
  });
}

interface Rig {
  readonly inbound: Inbound;
  readonly ledger: FailingLedger;
  readonly time: ManualPorts;
  /** What happened, in order. */
  readonly events: string[];
  readonly held: Set<string>;
  /** Keys whose payload is being fetched. */
  readonly fetching: Set<string>;
  /** How many more the credit takes. */
  room: number;
  /** Frames that hold this text are decoded when released. */
  readonly slow: Map<string, PromiseWithResolvers<void>>;
}

function rig(): Rig {
  const time = manualPorts();
  const ledger = new FailingLedger();
  const events: string[] = [];
  const held = new Set<string>();
  const slow = new Map<string, PromiseWithResolvers<void>>();
  const fetching = new Set<string>();
  const one: { room: number } = { room: 100 };
  const inbound = new Inbound({
    ledger,
    credit: {
      take() {
        one.room -= 1;
        return one.room >= 0;
      },
      ledgerFailing: () => void events.push("ledger failing"),
    },
    fetch: {
      want(key, work, ref) {
        fetching.add(key);
        events.push(`fetch ${work.eventId} ${ref.bytes}`);
      },
      isFetching: (key) => fetching.has(key),
      nudge: () => void events.push("nudge"),
      piece: ({ offset }) => void events.push(`piece ${offset}`),
    },
    ports: time.ports,
    log: silentLogger,
    parsing: {
      frame(text): Decoded | Promise<Decoded> {
        for (const [part, gate] of slow) if (text.includes(part)) return gate.promise.then(() => decodeFrame(text));
        return decodeFrame(text);
      },
      manifests: () => Promise.resolve([]),
      payload: () => Promise.resolve({ kind: "damaged", why: "not asked" }),
      stop: () => undefined,
    },
    holds: (key) => held.has(key),
    accept(delivery) {
      held.add(delivery.key);
      events.push(`accept ${delivery.work.eventId}`);
    },
    reserve(delivery) {
      held.add(delivery.key);
      events.push(`reserve ${delivery.work.eventId}`);
    },
    cancel: (eventId, revision) => void events.push(`cancel ${eventId} ${revision}`),
    statusesLost: () => void events.push("lost"),
    tellOpen: () => void events.push("open"),
    trust: (bundle, renew) => void events.push(`trust ${bundle}${renew ? " and renew" : ""}`),
    beginAnew: () => void events.push("begin anew"),
    creditKnown: () => true,
    repeat: (_key, work) => void events.push(`repeat ${work.eventId}`),
    statusesStored: (bootId, seq) => void events.push(`stored ${bootId}:${seq}`),
    acknowledge: (work) => void events.push(`ack ${work.eventId}`),
    repeatsMeanAgain: () => false,
  });
  return Object.assign(one, { inbound, ledger, time, events, held, fetching, slow });
}

describe("what arrives", () => {
  test("is acknowledged after it is recorded and before it is accepted, in the order it came", async () => {
    const { inbound, events, ledger, time, held } = rig();
    inbound.receive(frame("a"));
    inbound.receive(frame("b"));
    await time.settle();
    expect(events).toEqual(["ack a", "accept a", "ack b", "accept b"]);
    // They may share a commit, of which the ledger must not take the second alone.
    expect(ledger.after).toEqual([undefined, [...held][0]]);
  });

  test("waits for a large one before it, but for what is small and means the same whenever it is read", async () => {
    const { inbound, events, time, slow } = rig();
    slow.set('"big"', Promise.withResolvers());
    inbound.receive(frame("big"));
    inbound.receive(frame("small"));
    inbound.receive('{"type":"cancel","event_id":"big","revision":1}');
    await time.settle();
    expect(events).toEqual([]);
    inbound.receive('{"type":"status_ack","boot_id":"b","seq":1}');
    inbound.receive(`{"type":"payload_piece","digest":"${"d".repeat(64)}","offset":7,"data":null}`);
    inbound.receive('{"type":"status_resend"}');
    inbound.receive('{"type":"resync"}');
    inbound.receive('{"type":"trust","trust_bundle":"PEM","renew":true}');
    expect(events.splice(0)).toEqual(["stored b:1", "piece 7", "lost", "open", "trust PEM and renew"]);
    slow.get('"big"')?.resolve();
    await time.settle();
    expect(events.filter((event) => event.startsWith("accept"))).toEqual(["accept big", "accept small"]);
    expect(events).toContain("cancel big 1");
    inbound.receive(frame("later"));
    await time.settle();
    expect(events.at(-1)).toBe("accept later");
  });

  test("is not recorded before what came earlier and could not be, so that a crash does not turn them round", async () => {
    const { inbound, events, ledger, time } = rig();
    ledger.failures = 1;
    inbound.receive(frame("a"));
    await time.settle();
    inbound.receive(frame("b"));
    inbound.receive(frame("c"));
    await time.settle();
    expect(ledger.written).toEqual([]);
    await time.advance(60_000);
    expect(ledger.written).toEqual(["a", "b", "c"]);
    inbound.receive(frame("d"));
    await time.settle();
    expect(events.filter((event) => event.startsWith("accept"))).toEqual(["accept a", "accept b", "accept c", "accept d"]);
  });

  test("with a full disk is neither acknowledged nor accepted, and both once there is room; nothing behind overtakes it", async () => {
    const { inbound, events, ledger, time } = rig();
    ledger.failures = 4;
    inbound.receive(frame("a"));
    inbound.receive(frame("b"));
    inbound.receive(frame("a"));
    inbound.receive('{"type":"status_ack","boot_id":"b","seq":1}');
    await time.settle();
    expect(events).toContain("stored b:1");
    await time.advance(60_000);
    const done = events.filter((event) => event !== "ledger failing");
    expect(done.slice(1)).toEqual(["ack a", "accept a", "ack b", "accept b"]);
    expect(events.length - done.length).toBe(4);
  });

  test("again while it is held is acknowledged and not accepted twice; finished, its end is told again", async () => {
    const { inbound, events, held, ledger, time } = rig();
    inbound.receive(frame("a"));
    await time.settle();
    inbound.receive(frame("a"));
    await time.settle();
    expect(events.splice(0)).toEqual(["ack a", "accept a", "ack a"]);
    const [key = ""] = held;
    const decoded = decodeFrame(frame("a"));
    if (decoded.kind !== "event") throw new Error("no event");
    const final = {
      state: "completed",
      phase: "completed",
      message: "",
      level: "info",
      bootId: "b",
      seq: 1,
      eventId: "a",
      revision: 1,
      timestamp: "",
    } as const;
    await ledger.finish(key, decoded.delivery.work, final, 0);
    held.clear();
    inbound.receive(frame("a"));
    await time.settle();
    expect(events).toEqual(["ack a", "repeat a"]);
  });

  test("after the stop is not taken, but acknowledgements still count", async () => {
    const { inbound, events, ledger, time } = rig();
    ledger.failures = 100;
    inbound.receive(frame("stuck"));
    await time.settle();
    inbound.stop();
    ledger.failures = 0;
    inbound.receive(frame("late"));
    inbound.receive('{"type":"status_ack","boot_id":"b","seq":1}');
    await time.advance(60_000);
    expect(events).toEqual(["ledger failing", "stored b:1"]);
    expect(time.pending).toBe(0);
  });

  test("without its payload takes its place, is fetched, and is not acknowledged by this; again, it is asked after", async () => {
    const { inbound, events, fetching, ledger, time } = rig();
    inbound.receive(apart("a"));
    await time.settle();
    expect(events.splice(0)).toEqual(["reserve a", "fetch a 10"]);
    const [key = ""] = fetching;
    expect(await ledger.manifests(key)).toBeUndefined();
    inbound.receive(apart("a"));
    await time.settle();
    expect(events.splice(0)).toEqual(["nudge"]);
    fetching.clear();
    inbound.receive(apart("a"));
    await time.settle();
    expect(events).toEqual(["ack a"]);
  });

  test("beyond the credit is left alone, neither recorded nor acknowledged; handed over again when there is room, it is taken", async () => {
    const one = rig();
    one.room = 1;
    one.inbound.receive(frame("a"));
    one.inbound.receive(frame("b"));
    one.inbound.receive(frame("c"));
    await one.time.settle();
    // The connection begins anew, so that nothing overtakes what was left out.
    expect(one.events.splice(0)).toEqual(["begin anew", "ack a", "accept a"]);
    one.inbound.attach();
    // What is held already needs no room.
    one.inbound.receive(frame("a"));
    await one.time.settle();
    expect(one.events.splice(0)).toEqual(["ack a"]);
    one.room = 1;
    one.inbound.receive(frame("b"));
    await one.time.settle();
    expect(one.events).toEqual(["ack b", "accept b"]);
  });

  test("behind a large one is not kept without bound; what was kept is taken, and the rest comes on a new connection", async () => {
    const { inbound, events, time, slow } = rig();
    slow.set('"big"', Promise.withResolvers());
    inbound.receive(frame("big"));
    const filler = "x".repeat(INBOUND_LIMITS.backlogChars - 2_000);
    inbound.receive(frame("first").replace('["x"]', `["${filler}"]`));
    inbound.receive(frame("second").replace('["x"]', `["${"y".repeat(4_000)}"]`));
    inbound.receive(frame("third"));
    expect(events).toEqual([]);
    slow.get('"big"')?.resolve();
    await time.settle();
    expect(events.filter((event) => !event.startsWith("ack"))).toEqual(["accept big", "begin anew", "accept first"]);
    events.length = 0;
    inbound.attach();
    for (const id of ["second", "third"]) inbound.receive(frame(id));
    await time.settle();
    expect(events).toEqual(["ack second", "accept second", "ack third", "accept third"]);
  });

  test("is not taken when one before it is missing, nor is anything after it, until a new connection brings all of it", async () => {
    const { inbound, events, time } = rig();
    const counted = (id: string, nth: number): string => frame(id).replace(/}$/, `,"nth":${nth}}`);
    inbound.attach();
    inbound.receive(counted("a", 0));
    inbound.receive(counted("a", 0));
    inbound.receive(counted("c", 2));
    // What comes late, or after it, must not overtake what is missing.
    inbound.receive(counted("b", 1));
    inbound.receive(counted("d", 3));
    await time.settle();
    expect(events.splice(0)).toEqual(["begin anew", "ack a", "accept a"]);
    inbound.attach();
    for (const [nth, id] of ["a", "b", "c", "d"].entries()) inbound.receive(counted(id, nth));
    await time.settle();
    expect(events).toEqual(["ack a", "ack b", "accept b", "ack c", "accept c", "ack d", "accept d"]);
  });

  test("after one that makes no sense is taken: that one was counted too", async () => {
    const { inbound, events, time } = rig();
    inbound.attach();
    inbound.receive('{"type":"event","event":{"id":"","type":"k8s_resource","target_agent":"a","payload":{}},"revision":1,"nth":0}');
    inbound.receive('{"type":"event","event":{},"revision":1,"nth":1}');
    inbound.receive(frame("b").replace(/}$/, ',"nth":2}'));
    await time.settle();
    expect(events).toEqual(["ack b", "accept b"]);
  });

  test("of a connection that is gone by the time it is decoded is not taken: it comes again", async () => {
    const { inbound, events, time, slow } = rig();
    slow.set('"big"', Promise.withResolvers());
    inbound.attach();
    inbound.receive(frame("big"));
    inbound.attach();
    inbound.receive(frame("small"));
    slow.get('"big"')?.resolve();
    await time.settle();
    expect(events).toEqual(["ack small", "accept small"]);
  });

  test("of an earlier process and not whole is fetched on", async () => {
    const { inbound, events, ledger, time } = rig();
    for (const id of ["a", "b"]) {
      const decoded = decodeFrame(id === "a" ? apart(id) : frame(id));
      if (decoded.kind !== "event") throw new Error("no event");
      const { delivery } = decoded;
      await ledger.record({ delivery, receivedAtMs: 0, expiresAtMs: undefined });
      const { key, work, payload } = delivery;
      inbound.recover([
        {
          key,
          work,
          expiresAtMs: undefined,
          started: false,
          crashes: 0,
          fetching: payload !== undefined,
          ...(payload === undefined ? {} : { payload }),
        },
      ]);
    }
    await time.settle();
    expect(events).toEqual(["fetch a 10"]);
  });
});
