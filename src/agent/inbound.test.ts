import { describe, expect, test } from "bun:test";
import { manualPorts, type ManualPorts, silentLogger, TransporterError } from "../kit/mod.ts";
import { decodeFrame, type Decoded } from "./delivery.ts";
import { Inbound } from "./inbound.ts";
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
  override record(...args: Parameters<Ledger["record"]>): Promise<void> {
    if (this.failures === 0) return super.record(...args);
    this.failures -= 1;
    return Promise.reject(new TransporterError("STORE_FULL", "the disk of the ledger is full"));
  }
}

interface Rig {
  readonly inbound: Inbound;
  readonly ledger: FailingLedger;
  readonly time: ManualPorts;
  /** What happened, in order. */
  readonly events: string[];
  readonly held: Set<string>;
  /** Frames that hold this text are decoded when released. */
  readonly slow: Map<string, PromiseWithResolvers<void>>;
}

function rig(): Rig {
  const time = manualPorts();
  const ledger = new FailingLedger();
  const events: string[] = [];
  const held = new Set<string>();
  const slow = new Map<string, PromiseWithResolvers<void>>();
  const inbound = new Inbound({
    ledger,
    ports: time.ports,
    log: silentLogger,
    parsing: {
      frame(text): Decoded | Promise<Decoded> {
        for (const [part, gate] of slow) if (text.includes(part)) return gate.promise.then(() => decodeFrame(text));
        return decodeFrame(text);
      },
      manifests: () => Promise.resolve([]),
      stop: () => undefined,
    },
    holds: (key) => held.has(key),
    accept(delivery) {
      held.add(delivery.key);
      events.push(`accept ${delivery.work.eventId}`);
    },
    repeat: (_key, work) => void events.push(`repeat ${work.eventId}`),
    statusesStored: (bootId, seq) => void events.push(`stored ${bootId}:${seq}`),
    acknowledge: (work) => void events.push(`ack ${work.eventId}`),
    repeatsMeanAgain: () => false,
  });
  return { inbound, ledger, time, events, held, slow };
}

describe("what arrives", () => {
  test("is acknowledged after it is recorded and before it is accepted, in the order it came", async () => {
    const { inbound, events, time } = rig();
    inbound.receive(frame("a"));
    inbound.receive(frame("b"));
    await time.settle();
    expect(events).toEqual(["ack a", "accept a", "ack b", "accept b"]);
  });

  test("waits for a large one before it", async () => {
    const { inbound, events, time, slow } = rig();
    slow.set('"big"', Promise.withResolvers());
    inbound.receive(frame("big"));
    inbound.receive(frame("small"));
    inbound.receive('{"type":"status_ack","boot_id":"b","seq":1}');
    await time.settle();
    expect(events).toEqual([]);
    slow.get('"big"')?.resolve();
    await time.settle();
    expect(events.filter((event) => event.startsWith("accept"))).toEqual(["accept big", "accept small"]);
    inbound.receive(frame("later"));
    await time.settle();
    expect(events.at(-1)).toBe("accept later");
  });

  test("with a full disk is neither acknowledged nor accepted, and both once there is room; nothing behind overtakes it", async () => {
    const { inbound, events, ledger, time } = rig();
    ledger.failures = 4;
    inbound.receive(frame("a"));
    inbound.receive(frame("b"));
    inbound.receive(frame("a"));
    inbound.receive('{"type":"status_ack","boot_id":"b","seq":1}');
    await time.settle();
    expect(events).toEqual(["stored b:1"]);
    await time.advance(60_000);
    expect(events.slice(1)).toEqual(["ack a", "accept a", "ack b", "accept b"]);
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
    expect(events).toEqual(["stored b:1"]);
    expect(time.pending).toBe(0);
  });
});
