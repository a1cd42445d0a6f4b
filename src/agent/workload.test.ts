import { describe, expect, test } from "bun:test";
import { manualPorts, type ManualPorts, silentLogger, TransporterError } from "../kit/mod.ts";
import type { ParsedObject } from "../manifests/mod.ts";
import { type Phase, RETRY_DEFAULTS } from "../protocol/mod.ts";
import type { Delivery, Work } from "./delivery.ts";
import { Executor, type ResourceSteps, type StepContext } from "./executor.ts";
import { WORKLOAD_LIMITS } from "./item.ts";
import { MemoryLedger, type OpenDelivery } from "./ledger.ts";
import { createParsing } from "./off-loop.ts";
import { Outbound } from "./outbound.ts";
import type { ScriptRunner } from "./script.ts";
import { Workload } from "./workload.ts";

const FAR = Number.POSITIVE_INFINITY;

function work(eventId: string, more: Partial<Work> = {}): Work {
  return {
    eventId,
    revision: 1,
    type: "k8s_resource",
    priority: 0,
    deadlineMs: 3_600_000,
    verifyTimeoutMs: 120_000,
    forceConflicts: false,
    retry: RETRY_DEFAULTS,
    traceparent: undefined,
    fault: undefined,
    ...more,
  };
}

function manifests(...names: readonly string[]): string {
  return JSON.stringify(names.map((name) => `{apiVersion: v1, kind: ConfigMap, metadata: {name: "${name}"}}`));
}

function delivery(eventId: string, manifestsJson: string, more: Partial<Work> = {}): Delivery {
  return { key: `key-${eventId}`, work: work(eventId, more), manifestsJson, payload: undefined, expiresInMs: undefined };
}

/** Remembers what it was told, and can be out of order for a while. */
class TestLedger extends MemoryLedger {
  readonly told: string[] = [];
  failing = false;

  override async started(key: string, phase: Phase): Promise<void> {
    if (this.failing) throw new TransporterError("STORE_FULL", "full");
    this.told.push(`started ${key} ${phase}`);
  }

  override interrupted(key: string): Promise<void> {
    this.told.push(`interrupted ${key}`);
    return Promise.resolve();
  }
}

interface Desk {
  readonly manual: ManualPorts;
  readonly workload: Workload;
  readonly ledger: TestLedger;
  /** Names of objects in the order their applying began. */
  readonly applied: string[];
  /** `EVENT STATE CODE` of each end. */
  readonly ends: string[];
  readonly messages: string[];
  /** Events that hold an object of this name stand still while they apply it. */
  readonly gates: Map<string, Promise<void>>;
  rooms(): number;
}

function desk(options: { maxConcurrent?: number; script?: ScriptRunner } = {}): Desk {
  const manual = manualPorts();
  const ledger = new TestLedger();
  const applied: string[] = [];
  const ends: string[] = [];
  const messages: string[] = [];
  const gates = new Map<string, Promise<void>>();
  let rooms = 0;
  const resources = (objects: readonly ParsedObject[], context: StepContext): ResourceSteps => ({
    validate: () => Promise.resolve(),
    preview: () => Promise.resolve(),
    async apply() {
      for (const { ref } of objects) {
        applied.push(ref.name);
        await gates.get(ref.name);
        context.halt.throwIfAborted();
      }
    },
    verify: () => Promise.resolve(),
    resources: () => [],
  });
  const outbound = new Outbound({
    agentId: "agent",
    bootId: "boot",
    ledger,
    ports: manual.ports,
    log: silentLogger,
    send: (text) => {
      const frame = JSON.parse(text) as {
        event_id: string;
        seq: number;
        state: string;
        message: string;
        details: { code?: string } | null;
      };
      if (frame.state !== "in_progress") ends.push(`${frame.event_id} ${frame.state} ${frame.details?.code ?? ""}`.trim());
      messages.push(`${frame.event_id}: ${frame.message}`);
      queueMicrotask(() => outbound.acknowledged("boot", frame.seq));
      return true;
    },
    bufferedBytes: () => 0,
    onLedgerFailing: () => undefined,
  });
  outbound.attach({ protocol: 2, acknowledges: true, features: new Set() });
  const workload = new Workload({
    ledger,
    outbound,
    parsing: createParsing(manual.ports.timers, FAR),
    executor: new Executor({
      readOnly: false,
      ports: manual.ports,
      log: silentLogger,
      resources,
      ...(options.script === undefined ? {} : { runners: { script: options.script } }),
    }),
    maxConcurrent: options.maxConcurrent ?? 4,
    defaultNamespace: "default",
    ports: manual.ports,
    log: silentLogger,
    onRoom: () => {
      rooms += 1;
    },
  });
  return { manual, workload, ledger, applied, ends, messages, gates, rooms: () => rooms };
}

/** Taken on as `inbound` does it: recorded first. */
async function give(to: Desk, one: Delivery, expiresAtMs?: number): Promise<void> {
  await to.ledger.record({ delivery: one, receivedAtMs: to.manual.ports.clock.now(), expiresAtMs });
  to.workload.accept(one, expiresAtMs);
}

function recovered(eventId: string, more: Partial<OpenDelivery> = {}): OpenDelivery {
  return { key: `key-${eventId}`, work: work(eventId), expiresAtMs: undefined, started: true, crashes: 1, ...more };
}

function gate(to: Desk, name: string): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  to.gates.set(name, promise);
  return resolve;
}

describe("calling back", () => {
  test("one that waits ends at once, never starts, and gives its place to what waited for it", async () => {
    const all = desk();
    const open = gate(all, "x");
    await give(all, delivery("first", manifests("x")));
    await give(all, delivery("second", manifests("x", "y")));
    await give(all, delivery("third", manifests("y")));
    await all.manual.settle();
    expect(all.applied).toEqual(["x"]);
    expect(all.workload.cancel("second", 1)).toBe("held");
    await all.manual.settle();
    expect(all.ends).toEqual(["second cancelled EVENT_CANCELLED", "third completed"]);
    expect(all.messages).toContain("second: Event cancelled before it was started");
    open();
    await all.manual.settle();
    expect(all.ends.at(-1)).toBe("first completed");
    expect(all.applied).toEqual(["x", "y"]);
  });

  test("one that runs stops between two objects; said twice it is the same", async () => {
    const all = desk();
    const open = gate(all, "x");
    await give(all, delivery("e", manifests("x", "y")));
    await all.manual.settle();
    expect([all.workload.cancel("e", 1), all.workload.cancel("e", 1)]).toEqual(["held", "held"]);
    await all.manual.settle();
    expect(all.ends).toEqual([]);
    open();
    await all.manual.settle();
    expect(all.ends).toEqual(["e cancelled EVENT_CANCELLED"]);
    expect(all.applied).toEqual(["x"]);
  });

  test("of what is not open here, or is another revision, nothing is known", async () => {
    const all = desk();
    expect(all.workload.cancel("e", 1)).toBe("unknown");
    gate(all, "x");
    await give(all, delivery("e", manifests("x")));
    expect(all.workload.cancel("e", 2)).toBe("unknown");
  });

  test("one whose manifests are still on their way ends at once, and when they arrive nothing happens", async () => {
    const all = desk();
    all.workload.reserve(delivery("e", "[]"), undefined);
    expect(all.workload.cancel("e", 1)).toBe("held");
    await all.manual.settle();
    all.workload.arrived("key-e");
    all.workload.failed("key-e", new TransporterError("PAYLOAD_LOST", "gone"));
    await all.manual.settle();
    expect(all.ends).toEqual(["e cancelled EVENT_CANCELLED"]);
  });
});

describe("a delivery whose manifests are still on their way", () => {
  test("keeps its place: what came after it waits, what came before does not", async () => {
    const all = desk();
    await give(all, delivery("before", manifests("a")));
    const large = delivery("large", "[]");
    all.workload.reserve(large, undefined);
    await give(all, delivery("after", manifests("c"), { priority: 100 }));
    await all.manual.settle();
    expect(all.applied).toEqual(["a"]);
    await all.ledger.record({ delivery: { ...large, manifestsJson: manifests("b") }, receivedAtMs: 0, expiresAtMs: undefined });
    all.workload.arrived("key-large", { ...large.work, forceConflicts: true });
    await all.manual.settle();
    expect(all.applied).toEqual(["a", "c", "b"]);
    expect(all.ends).toContain("large completed");
  });

  test("that cannot be had fails, and lets the others go", async () => {
    const all = desk();
    all.workload.reserve(delivery("large", "[]"), undefined);
    await give(all, delivery("after", manifests("c")));
    await all.manual.settle();
    all.workload.failed("key-large", new TransporterError("PAYLOAD_LOST", "gone"));
    await all.manual.settle();
    expect(all.ends).toEqual(["large failed PAYLOAD_LOST", "after completed"]);
  });

  test("expires meanwhile like any other, and after a restart as well", async () => {
    const all = desk();
    const nowMs = all.manual.ports.clock.now();
    all.workload.reserve(delivery("new", "[]"), nowMs + 5_000);
    all.workload.recover([recovered("old", { started: false, crashes: 0, fetching: true, expiresAtMs: nowMs + 9_000 })]);
    await all.manual.advance(6_000);
    expect(all.ends).toEqual(["new expired EVENT_EXPIRED"]);
    await all.manual.advance(6_000);
    expect(all.ends).toEqual(["new expired EVENT_EXPIRED", "old expired EVENT_EXPIRED"]);
  });
});

describe("what is open", () => {
  test("waits or runs; what has ended is told by others", async () => {
    const all = desk({ maxConcurrent: 1 });
    const open = gate(all, "a");
    for (const id of ["a", "b"]) await give(all, delivery(id, manifests(id)));
    await give(all, delivery("old", manifests("o"), { revision: undefined }));
    await all.manual.settle();
    expect([...all.workload.open()]).toEqual([
      { eventId: "a", revision: 1, state: "running" },
      { eventId: "b", revision: 1, state: "waiting" },
    ]);
    open();
    await all.manual.settle();
    expect([...all.workload.open()]).toEqual([]);
    expect(all.rooms()).toBe(3);
  });
});

describe("urgency", () => {
  test("an urgent event overtakes more than is read ahead", async () => {
    const all = desk({ maxConcurrent: 1 });
    const open = gate(all, "n0");
    const many = WORKLOAD_LIMITS.preparedCount * 3;
    for (let at = 0; at < many; at += 1) await give(all, delivery(`n${at}`, manifests(`n${at}`)));
    await give(all, delivery("urgent", manifests("u"), { priority: 10 }));
    await all.manual.advance(1);
    await all.manual.advance(1);
    open();
    while (all.ends.length < many + 1) await all.manual.advance(1);
    expect(all.applied.slice(0, 2)).toEqual(["n0", "u"]);
    expect(all.applied.slice(2)).toEqual(Array.from({ length: many - 1 }, (_, at) => `n${at + 1}`));
  });

  test("an urgent event does not overtake an earlier one that touches the same object, but takes it along", async () => {
    const all = desk({ maxConcurrent: 1 });
    const open = gate(all, "first");
    await give(all, delivery("first", manifests("first")));
    await give(all, delivery("normal", manifests("other"), { priority: 5 }));
    await give(all, delivery("old", manifests("shared")));
    await give(all, delivery("urgent", manifests("shared"), { priority: 100 }));
    await all.manual.settle();
    open();
    await all.manual.advance(1);
    expect(all.ends.map((end) => end.split(" ")[0])).toEqual(["first", "old", "urgent", "normal"]);
  });
});

describe("an event that ended the agent's process", () => {
  test("three times is put aside, with how often and where; others go on", async () => {
    const all = desk();
    await give(all, delivery("good", manifests("g")));
    all.workload.recover([recovered("poison", { crashes: 3, diedIn: "applying" })]);
    await all.manual.settle();
    expect(all.ends.toSorted()).toEqual(["good completed", "poison failed EVENT_QUARANTINED"]);
    expect(all.messages).toContain(
      "poison: the agent's process ended 3 times while it carried out this event, the last time while applying",
    );
    expect(all.applied).toEqual(["g"]);
  });

  test("before is tried again, one of them at a time, and how far it comes is written down", async () => {
    const all = desk();
    const open = gate(all, "one");
    for (const id of ["one", "two"]) {
      const given = delivery(id, manifests(id));
      await all.ledger.record({ delivery: given, receivedAtMs: 0, expiresAtMs: undefined });
      all.workload.recover([recovered(id)]);
    }
    await give(all, delivery("new", manifests("n")));
    await all.manual.settle();
    expect(all.applied).toEqual(["one", "n"]);
    open();
    await all.manual.settle();
    expect(all.applied).toEqual(["one", "n", "two"]);
    expect(all.ledger.told.filter((told) => told.includes("key-one"))).toEqual([
      "started key-one validating",
      "started key-one applying",
      "started key-one verifying",
    ]);
    expect(all.ledger.told.filter((told) => told.includes("key-new"))).toEqual(["started key-new validating"]);
  });
});

describe("a script", () => {
  test("whose run was cut off is not run again, and its end says that nobody knows", async () => {
    let runs = 0;
    const all = desk({
      script: () => {
        runs += 1;
        return Promise.resolve({ success: true });
      },
    });
    all.workload.recover([recovered("cut", { work: work("cut", { type: "script" }) })]);
    await give(all, delivery("fresh", JSON.stringify(["echo"]), { type: "script" }));
    await all.manual.settle();
    expect(all.ends.toSorted()).toEqual(["cut failed OUTCOME_UNKNOWN", "fresh completed"]);
    expect(runs).toBe(1);
  });

  test("does not run while the ledger cannot be written, and does when it can", async () => {
    let runs = 0;
    const all = desk({
      script: () => {
        runs += 1;
        return Promise.resolve({ success: true });
      },
    });
    all.ledger.failing = true;
    await give(all, delivery("e", JSON.stringify(["echo", "x"]), { type: "script" }));
    await all.manual.advance(60_000);
    expect(runs).toBe(0);
    all.ledger.failing = false;
    await all.manual.advance(60_000);
    expect(runs).toBe(1);
    expect(all.ends).toEqual(["e completed"]);
  });

  test("that waits for the ledger can still be called back", async () => {
    let runs = 0;
    const all = desk({
      script: () => {
        runs += 1;
        return Promise.resolve({ success: true });
      },
    });
    all.ledger.failing = true;
    await give(all, delivery("e", JSON.stringify(["echo"]), { type: "script" }));
    await all.manual.advance(1_000);
    all.workload.cancel("e", 1);
    await all.manual.advance(60_000);
    expect([runs, all.ends]).toEqual([0, ["e cancelled EVENT_CANCELLED"]]);
  });
});
