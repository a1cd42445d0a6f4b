import { describe, expect, test } from "bun:test";
import { silentLogger, TransporterError, manualPorts, type ManualPorts } from "../kit/mod.ts";
import { RETRY_DEFAULTS } from "../protocol/mod.ts";
import type { Work } from "./delivery.ts";
import { type Ledger, MemoryLedger } from "./ledger.ts";
import { Outbound, OUTBOUND_LIMITS } from "./outbound.ts";
import type { Agreement } from "./registration.ts";
import type { Status, StatusRecord } from "./status.ts";

const MODERN: Agreement = { protocol: 2, acknowledges: true, features: new Set(["ack"]) };
const OLD: Agreement = { protocol: 0, acknowledges: false, features: new Set() };

function work(eventId: string): Work {
  return {
    eventId,
    revision: 1,
    type: "k8s_resource",
    priority: 0,
    deadlineMs: 1000,
    verifyTimeoutMs: 1000,
    forceConflicts: false,
    retry: RETRY_DEFAULTS,
    traceparent: undefined,
    fault: undefined,
  };
}
function step(message: string, more: Partial<Status> = {}): Status {
  return { state: "in_progress", phase: "applying", message, level: "info", ...more };
}
function ofBefore(seq: number, state: StatusRecord["state"]): StatusRecord {
  return { ...DONE, state, bootId: "before", seq, eventId: "old", revision: 1, timestamp: "" };
}
const DONE: Status = { state: "completed", phase: "completed", message: "done", level: "info" };

/** A ledger that writes down what it was asked, and whose `finish` waits or fails on demand. */
class WatchedLedger extends MemoryLedger {
  readonly acks: [string, number][] = [];
  readonly dropped: number[] = [];
  readonly added: number[] = [];
  override addStatus(...[record]: Parameters<Ledger["addStatus"]>): Promise<void> {
    this.added.push(record.seq);
    return Promise.resolve();
  }
  gate: Promise<void> = Promise.resolve();
  failures = 0;
  override async finish(...args: Parameters<Ledger["finish"]>): Promise<void> {
    await this.gate;
    if (this.failures > 0) {
      this.failures -= 1;
      throw new TransporterError("STORE_FULL", "the disk of the ledger is full");
    }
    return super.finish(...args);
  }
  override acknowledged(...[bootId, seq]: Parameters<Ledger["acknowledged"]>): Promise<void> {
    this.acks.push([bootId, seq]);
    return Promise.resolve();
  }
  override dropStatuses(...[records]: Parameters<Ledger["dropStatuses"]>): Promise<void> {
    this.dropped.push(...records.map((record) => record.seq));
    return Promise.resolve();
  }
}

interface Rig {
  readonly outbound: Outbound;
  readonly ledger: WatchedLedger;
  readonly time: ManualPorts;
  /** `boot:seq` or the message of each frame sent. */
  readonly sent: string[];
  link: boolean;
  ledgerFailures: number;
}

function rig(): Rig {
  const time = manualPorts();
  const ledger = new WatchedLedger();
  const sent: string[] = [];
  const one: Rig = {
    time,
    ledger,
    sent,
    link: true,
    ledgerFailures: 0,
    outbound: new Outbound({
      agentId: "a",
      bootId: "now",
      ledger,
      ports: time.ports,
      log: silentLogger,
      send(text) {
        if (!one.link) return false;
        const frame = JSON.parse(text) as { boot_id?: string; seq?: number; message: string };
        sent.push(frame.boot_id === undefined ? frame.message : `${frame.boot_id}:${frame.seq}`);
        return true;
      },
      bufferedBytes: () => 0,
      onLedgerFailing: () => (one.ledgerFailures += 1),
    }),
  };
  return one;
}

describe("statuses to a control plane that acknowledges", () => {
  test("count from 1, are kept until acknowledged, and an acknowledgement covers all up to its number", async () => {
    const { outbound, ledger, sent, time } = rig();
    outbound.attach(MODERN);
    outbound.report("k", work("e"), step("one"));
    outbound.report("k", work("e"), step("two"));
    await outbound.finish("k", work("e"), DONE);
    expect(sent).toEqual(["now:1", "now:2", "now:3"]);
    outbound.acknowledged("now", 2);
    expect(outbound.unacknowledged).toBe(1);
    outbound.acknowledged("now", 3);
    expect(outbound.unacknowledged).toBe(0);
    await time.advance(OUTBOUND_LIMITS.saveAfterMs);
    expect(ledger.acks).toEqual([["now", 3]]);
    outbound.acknowledged("now", 3);
    await time.advance(OUTBOUND_LIMITS.saveAfterMs);
    expect(ledger.acks).toHaveLength(1);
  });

  test("reach the ledger in order, together, and not at all when they are acknowledged soon; the last one at once", async () => {
    const { outbound, ledger, time } = rig();
    outbound.attach(MODERN);
    outbound.report("k", work("e"), step("one"));
    outbound.acknowledged("now", 1);
    outbound.report("k", work("e"), step("two"));
    expect(ledger.added).toEqual([]);
    await time.advance(OUTBOUND_LIMITS.saveAfterMs);
    expect(ledger.added).toEqual([2]);
    outbound.report("k", work("e"), step("three"));
    await outbound.finish("k", work("e"), DONE);
    expect(ledger.added).toEqual([2, 3]);
    outbound.report("k2", work("f"), step("one"));
    outbound.stop();
    expect(ledger.added).toEqual([2, 3, 5]);
  });

  test("after a reconnect all that is not acknowledged goes again, in order, older boots first with their own numbers", async () => {
    const { outbound, sent } = rig();
    outbound.restore([ofBefore(7, "in_progress"), ofBefore(8, "completed")]);
    outbound.report("k", work("e"), step("one"));
    outbound.attach(MODERN);
    expect(sent).toEqual(["before:7", "before:8", "now:1"]);
    outbound.acknowledged("before", 8);
    outbound.detach();
    outbound.report("k", work("e"), step("two"));
    expect(sent).toHaveLength(3);
    outbound.attach(MODERN);
    expect(sent.slice(3)).toEqual(["now:1", "now:2"]);
  });

  test("an acknowledgement of another boot touches nothing of this one", () => {
    const { outbound } = rig();
    outbound.attach(MODERN);
    outbound.report("k", work("e"), step("one"));
    outbound.acknowledged("before", 99);
    expect(outbound.unacknowledged).toBe(1);
  });

  test("the last status waits for the ledger, and what comes after it waits too, so that no acknowledgement can overtake it", async () => {
    const { outbound, ledger, sent, time } = rig();
    const gate = Promise.withResolvers<void>();
    ledger.gate = gate.promise;
    outbound.attach(MODERN);
    const finished = outbound.finish("k", work("e"), DONE);
    outbound.report("other", work("f"), step("one"));
    await time.settle();
    expect(sent).toEqual([]);
    gate.resolve();
    await finished;
    expect(sent).toEqual(["now:1", "now:2"]);
  });

  test("with a full disk the last status is not sent and not lost: it is tried until the ledger has it", async () => {
    const one = rig();
    const { outbound, ledger, sent, time } = one;
    ledger.failures = 4;
    outbound.attach(MODERN);
    const finished = outbound.finish("k", work("e"), DONE);
    await time.settle();
    expect(sent).toEqual([]);
    expect(one.ledgerFailures).toBe(1);
    await time.advance(10_000);
    await finished;
    expect(sent).toEqual(["now:1"]);
    expect((await ledger.finished("k"))?.message).toBe("done");
  });

  test("no more than a window is on its way at once; the rest follows as acknowledgements come", () => {
    const { outbound, sent } = rig();
    outbound.attach(MODERN);
    for (let at = 0; at < OUTBOUND_LIMITS.windowFrames + 10; at += 1) outbound.report("k", work("e"), step("x"));
    expect(sent).toHaveLength(OUTBOUND_LIMITS.windowFrames);
    outbound.acknowledged("now", 4);
    expect(sent).toHaveLength(OUTBOUND_LIMITS.windowFrames + 4);
    outbound.acknowledged("now", 100);
    expect(sent).toHaveLength(OUTBOUND_LIMITS.windowFrames + 10);
  });

  test("one status larger than the window still goes, alone", async () => {
    const { outbound, sent } = rig();
    outbound.attach(MODERN);
    const result = {
      success: true,
      resource_status: Array.from({ length: 60_000 }, (_, at) => ({
        kind: "ConfigMap",
        name: `n${at}`,
        status: "created",
        message: "x".repeat(60),
      })),
    };
    await outbound.finish("k", work("e"), { ...DONE, result });
    await outbound.finish("l", work("f"), DONE);
    expect(sent).toEqual(["now:1"]);
    outbound.acknowledged("now", 1);
    expect(sent).toEqual(["now:1", "now:2"]);
  });

  test("under pressure what lies between is left out, never the newest and never a last one", async () => {
    const { outbound, ledger, sent, time } = rig();
    await outbound.finish("first", work("first"), DONE);
    const many = OUTBOUND_LIMITS.heldRecords + 5;
    for (let at = 0; at < many; at += 1) {
      outbound.report("k", work("e"), step(`s${at}`));
      if (at === 1000) await time.advance(OUTBOUND_LIMITS.saveAfterMs);
    }
    await outbound.finish("last", work("last"), DONE);
    expect(outbound.unacknowledged).toBeLessThanOrEqual(OUTBOUND_LIMITS.heldRecords);
    outbound.attach(MODERN);
    for (let seq = 0; seq <= many + 2; seq += 100) outbound.acknowledged("now", seq);
    expect(sent[0]).toBe("now:1");
    expect(sent).toContain(`now:${many + 1}`);
    expect(sent.at(-1)).toBe(`now:${many + 2}`);
    // Only what it was given: everything between that was written before the pressure.
    expect(ledger.dropped).toHaveLength(1001);
  });

  test("a finished event that is handed over again is told again under a new number, once while that is on its way", async () => {
    const { outbound, ledger, sent } = rig();
    outbound.attach(MODERN);
    await outbound.finish("k", work("e"), DONE);
    const final = await ledger.finished("k");
    if (final === undefined) throw new Error("the ledger forgot");
    outbound.repeat("k", work("e"), final);
    expect(sent).toEqual(["now:1"]);
    outbound.acknowledged("now", 1);
    outbound.repeat("k", work("e"), final);
    outbound.repeat("k", work("e"), final);
    expect(sent).toEqual(["now:1", "now:2"]);
  });

  test("a link that takes nothing loses nothing", () => {
    const one = rig();
    one.link = false;
    one.outbound.attach(MODERN);
    one.outbound.report("k", work("e"), step("one"));
    one.link = true;
    one.outbound.report("k", work("e"), step("two"));
    expect(one.sent).toEqual(["now:1", "now:2"]);
  });
});

describe("statuses to a 0.1 control plane", () => {
  test("carry no numbers, are forgotten once handed over, and leave out what a 0.1 agent would not say", async () => {
    const { outbound, sent } = rig();
    outbound.attach(OLD);
    outbound.report("k", work("e"), step("one"));
    outbound.report("k", work("e"), step("waiting for x", { progress: true }));
    await outbound.finish("k", work("e"), DONE);
    expect(sent).toEqual(["one", "done"]);
    expect(outbound.unacknowledged).toBe(0);
  });

  test("wait for a link when there is none", () => {
    const { outbound, sent } = rig();
    outbound.report("k", work("e"), step("one"));
    expect(outbound.unacknowledged).toBe(1);
    outbound.attach(OLD);
    expect(sent).toEqual(["one"]);
  });
});

describe("the end of the agent", () => {
  test("flush waits for acknowledgements, within its time, and not at all without a link", async () => {
    const { outbound, time } = rig();
    outbound.report("k", work("e"), step("one"));
    await outbound.flush(1000);
    outbound.attach(MODERN);
    let flushed = false;
    void outbound.flush(1000).then(() => (flushed = true));
    await time.advance(500);
    expect(flushed).toBe(false);
    outbound.acknowledged("now", 1);
    await time.settle();
    expect(flushed).toBe(true);
    outbound.report("k", work("e"), step("two"));
    const late = outbound.flush(1000);
    await time.advance(1000);
    await late;
  });
});
